r"""Descent of the energy by Newton steps in a trust region, each row at its own pace.

Newton steps by conjugate gradients in a trust region (Steihaug 1983) descend the energy itself: the
force's norm has spurious minima, the energy has none. On the box between kinks the steps are
projected and the pinned units left out, as in TRON (Lin & Moré 1999).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.kkt import pinned_units, project, residual, residual_vector
from ctebm.equilibria.quadratic_model import QuadraticModel
from ctebm.equilibria.rows import Iteration, Rows
from ctebm.networks.energy import Network
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["Descended", "descend", "energy_rounding"]

# The radius first is the force, which may be tiny at a saddle and must not end the descent there.
SMALLEST_FIRST_RADIUS = 1e-3
SMALLEST_RADIUS = 1e-14  # relative to the state: it changes nothing but the last digits
# A model is trusted further where the energy falls by this share of what it predicts, and less
# where by less than that one; the radius then grows or shrinks by a factor.
GOOD_RATIO, POOR_RATIO = 0.75, 0.25
WIDEN, NARROW = 3.0, 0.25
ROUNDINGS = 4  # of an energy, a sum of terms, that are noise
# Of the decrease that the gradient predicts, what a projected step must reach (Armijo).
SUFFICIENT = 0.1
# Step sizes of the projected gradient grow while they succeed, and are halved where they fail.
GROW, SHRINK = 1.5, 2
# CG solves a Newton step to this share of the force far from equilibrium, and with kinks to the
# second one where the pinned units are known.
COARSE, FINE = 0.1, 1e-8
# The last CG on a face of the box solves this far below the tolerance, so that its step ends it.
BELOW_TOL = 100
LOOSEST = 0.5  # the factor by which CG lowers the residual however near rounding
GROWTH = 1e12  # a state that has grown by this factor is on its way to infinity
# How often a projected Newton step that does not fall is cut to a third.
CUTS = 4


class Descended(NamedTuple):
    """Where rows have ended, whether at equilibria or where they can't move any more.

    Attributes
    ----------
    state : Tensor
        ``(row, unit)``.
    steps : Tensor
        Steps taken, ``(row,)``.
    energy, force : Tensor
        Of these states, ``(row,)`` and ``(row, unit)``.
    """

    state: Tensor
    steps: Tensor
    energy: Tensor
    force: Tensor


def descend(
    rows: Rows[Network],
    s: Tensor,
    tol: float,
    max_iterations: int,
    patience: float = math.inf,
    known: tuple[Tensor, Tensor] | None = None,
) -> Descended:
    """Descend the energy from each row until the residual is within `tol`.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the residual.
    max_iterations : int
        Bound on the steps of each row.
    patience : float
        Bound on the steps, one after another, by which the energy falls by less than its rounding.
    known : tuple of Tensor, optional
        The energies and forces at the starts.

    Returns
    -------
    Descended
        Rows that cannot move any more end before; whether the states are equilibria is for the
        caller to judge.
    """
    descent = _Descent(rows, s, known)
    iteration = Iteration(rows, s, descent.E, descent.f)
    for _ in range(max_iterations):
        if rows.whole.box is not None:
            descent.relax()
        descent.step(tol)
        going = descent.going(tol) & (descent.flat_steps < patience)
        all_go_on = iteration.advance(going, descent.s, descent.E, descent.f)
        if iteration.over:
            break
        if not all_go_on:
            descent.keep(going)
    state, energy, force = iteration.ended
    return Descended(state, iteration.steps, energy, force)


def energy_rounding(network: Network, s: Tensor, E: Tensor) -> Tensor:
    r"""Return within how much the energy of states is known, ``(*batch)``.

    An energy is a difference of large terms, whose roundings it has: not those of the small number
    that is left. Of eq. 6 the terms are known, :math:`r'Wr/2` from the energy and the others.

    Parameters
    ----------
    network : Network
        Whose energy it is.
    s : Tensor
        States, ``(*batch, unit)``.
    E : Tensor
        Their energies.
    """
    square, unit = (s * s).sum(-1), ROUNDINGS * torch.finfo(E.dtype).eps
    if not isinstance(network, PairwiseNetwork):
        return unit * (square + E.abs() + 1)
    driven, constant = network.bias * network.activation(s), network.constant
    coupled = torch.add(constant - E, square, alpha=0.5).sub_(driven.sum(-1)).abs_()
    terms = driven.abs_().sum(-1).add_(coupled).add_(square).add_(E.abs()).add_(constant.abs() + 1)
    return terms.mul_(unit)


class _Descent:
    """States on their way down: energy, force, trust radius and relaxation step of each."""

    def __init__(
        self, rows: Rows[Network], s: Tensor, known: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.rows, self.s = rows, s
        self.E, self.f = rows.network.energy_and_force(s) if known is None else known
        self.radius = _length(self.f).clamp(min=SMALLEST_FIRST_RADIUS)
        self.h = torch.ones_like(self.E)
        self.pins_known = torch.zeros_like(self.E, dtype=torch.bool)
        self.far = GROWTH * (1 + _length(s))
        self.flat_steps = torch.zeros_like(self.E)

    def relax(self) -> None:
        """Take a projected step along the force, which tells which units the kinks hold."""
        trial = project(self.rows.network, self.s + self.h.unsqueeze(-1) * self.f)
        E, f = self.rows.network.energy_and_force(trial)
        # sufficient decrease, which a step below 1/lambda_max always has
        low_enough = self.E - SUFFICIENT * (trial - self.s).square().sum(-1) / self.h
        lower = low_enough >= E
        self._move(lower, trial, E, f)
        self.h = torch.where(lower, (GROW * self.h).clamp(max=1), self.h / SHRINK)

    def step(self, tol: float) -> None:
        """Take a Newton step within the trust radius, where it lowers the energy."""
        net = self.rows.network
        free = ~pinned_units(net, self.s, self.f)
        g = self.f * free
        model = QuadraticModel(self.rows, self.s, g, free)
        d, predicted = model.minimise(self.radius, self._accuracy(g, tol))
        slack = energy_rounding(net, self.s, self.E)
        trial, E, f = self._along(d, self.E + slack)
        fall = self.E - E
        flat, better, ratio = fall.abs() <= slack, fall > slack, fall / predicted
        self.flat_steps = (self.flat_steps + 1) * flat
        # the energy near the bottom, to rounding: the residual decides; a GPU need not wait
        if flat.is_cuda or bool(flat.any()):
            before, after = (_length(residual_vector(net, *at))
                             for at in ((self.s, self.f), (trial, f)))  # fmt: skip
            better |= flat & (after < before)
            ratio = torch.where(flat, better.to(fall.dtype), ratio)
        self._resize(better, ratio, _length(trial - self.s), _length(d))
        self._move(better, trial, E, f)
        # on an unchanged face the box problem is linear, so that solving it finishes it
        self.pins_known = better & (pinned_units(net, self.s, self.f) == ~free).all(-1)

    def going(self, tol: float) -> Tensor:
        """Return which rows are neither at an equilibrium nor stuck."""
        size = _length(self.s)
        stuck = (self.radius <= SMALLEST_RADIUS * (1 + size)) | (size > self.far)
        return (residual(self.rows.network, self.s, self.f) > tol) & ~stuck

    def keep(self, going: Tensor) -> None:
        """Go on with some of the rows."""
        left = torch.nonzero(going).squeeze(-1)
        self.rows, self.s, self.E, self.f = (
            self.rows[left], self.s[left], self.E[left], self.f[left]
        )  # fmt: skip
        self.radius, self.h, self.pins_known = (
            self.radius[left], self.h[left], self.pins_known[left]
        )  # fmt: skip
        self.far, self.flat_steps = self.far[left], self.flat_steps[left]

    def _accuracy(self, g: Tensor, tol: float) -> Tensor:
        """Return how small CG should make the residual of each row's Newton step.

        Smooth: small enough for Newton's method to converge faster than linearly. With kinks:
        coarse until the units at the kinks are known, then all the way.
        """
        size = _length(g)
        if self.rows.whole.box is not None:
            fine = (FINE * size).clamp(max=tol / BELOW_TOL)
            return torch.where(self.pins_known, fine, COARSE * size)
        rounding = ROUNDINGS * torch.finfo(size.dtype).eps
        quadratic = size * size.clamp(max=COARSE)
        return torch.minimum(quadratic.clamp(min=rounding), LOOSEST * size)

    def _along(self, d: Tensor, highest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the end of a step; with kinks, of the longest of a few projected ones that falls.

        Parameters
        ----------
        d : Tensor
            The step, ``(row, unit)``.
        highest : Tensor
            Energies above which it is cut, ``(row,)``.

        Returns
        -------
        tuple of Tensor
            State, energy and force.
        """
        net = self.rows.network
        trial = project(net, self.s + d)
        E, f = net.energy_and_force(trial)
        if net.box is None:
            return trial, E, f
        t = torch.ones_like(E)
        for _ in range(CUTS):
            high = ~(highest >= E)
            if not bool(high.any()):
                break
            t = torch.where(high, t / 3, t)
            shorter = project(net, self.s + t.unsqueeze(-1) * d)
            E_shorter, f_shorter = net.energy_and_force(shorter)
            better = high & (E_shorter < E)
            trial = torch.where(better.unsqueeze(-1), shorter, trial)
            f = torch.where(better.unsqueeze(-1), f_shorter, f)
            E = torch.where(better, E_shorter, E)
        return trial, E, f

    def _resize(self, better: Tensor, ratio: Tensor, length: Tensor, tried: Tensor) -> None:
        """Widen the trust region where the model predicted the decrease, narrow it elsewhere."""
        wider = torch.maximum(self.radius, WIDEN * length)
        radius = torch.where(better & (ratio > GOOD_RATIO), wider, self.radius)
        self.radius = torch.where(~better | (ratio < POOR_RATIO), NARROW * tried, radius)

    def _move(self, chosen: Tensor, s: Tensor, E: Tensor, f: Tensor) -> None:
        """Go to new states in the chosen rows."""
        rows = chosen.unsqueeze(-1)
        self.s, self.f = torch.where(rows, s, self.s), torch.where(rows, f, self.f)
        self.E = torch.where(chosen, E, self.E)


def _length(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1)
