r"""One alternating update after another: the exact minimum over even layers, then over odd ones.

See :mod:`ctebm.equilibria.alternating`, which says when to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.blocks import Blocks

__all__ = ["Equilibrium", "Sweeps"]

_SMALLEST_CONTRACTION = 1e-3  # of a sweep; smaller ones need no over-relaxation
_LARGEST_OMEGA = 1.5  # well below 2, from where on the energy may rise
_NO_MOVE = 1e-30  # below any move, so that a sample that does not move has the contraction 0
_NEWTON_STEPS = 12  # of units by themselves in a sweep; most need four
_ENOUGH = 1e-3  # of the first distance; the neighbours of a unit move on too
_ROUNDING = 8  # units in the last place by which a pressure may be off
_SMALLEST_SLOPE = 0.1  # of s - R(s), where Newton's method would overshoot


@dataclass(frozen=True, eq=False)
class Equilibrium:
    r"""The equilibrium of each sample of a batch, layer by layer.

    Attributes
    ----------
    states : list of Tensor, (batch, size)
        One a layer, input first.
    currents : list of Tensor, (batch, size)
        :math:`I = b + W \rho(s)` of the layers that are not clamped, at ``states``.
    residual : Tensor, (batch,)
        Largest ``|clip(R(s), beta1, beta2) - s|`` over the units, at ``states``.
    sweeps : Tensor of int, (batch,)
        Updates of every layer spent on each sample.
    tol : float
        Bound on the residual that was asked for.
    """

    states: list[Tensor]
    currents: list[Tensor]
    residual: Tensor
    sweeps: Tensor
    tol: float

    @property
    def status(self) -> Tensor:
        """0 converged, 1 not converged, ``(batch,)``."""
        return (~(self.residual <= self.tol)).to(torch.int8)  # NaN has not converged

    @property
    def message(self) -> list[str]:
        """A sentence for each sample whose status is not 0, else ``""``."""
        rows = zip(self.status.tolist(), self.residual.tolist(), self.sweeps.tolist(), strict=True)
        return [
            f"sample {i} has residual {r:.3g} > {self.tol:g} after {n} sweeps; allow more sweeps "
            "or a larger tol."
            if failed
            else ""
            for i, (failed, r, n) in enumerate(rows)
        ]

    def raise_for_status(self) -> Equilibrium:
        """Return the equilibrium itself, or raise RuntimeError for the first failed sample."""
        for sentence in filter(None, self.message):
            raise RuntimeError(sentence)
        return self


class Sweeps:
    """The samples that have not converged, and their layers between one update and the next.

    Attributes
    ----------
    s, r, I
        States, rates and currents, layer by layer.
    omega
        Factors by which updates go beyond the minimum, one a sample; None for no further.
    moves, moves_before
        The last updates of the even layers, and those before.
    left
        What the last update left of the force on the odd layers.
    """

    layers: Blocks
    nudge: tuple[Tensor, float] | None
    tol: float
    s: list[Tensor]
    r: list[Tensor]
    I: list[Tensor]
    rows: Tensor
    moves: Tensor
    moves_before: Tensor
    left: Tensor

    def __init__(
        self,
        layers: Blocks,
        start: Sequence[Tensor],
        nudge: tuple[Tensor, float] | None,
        tol: float,
    ) -> None:
        self.layers, self.nudge, self.tol = layers, nudge, tol
        self.s, self.I = list(start), list(start)
        self.r = [layers.rho(i)(s) for i, s in enumerate(start)]
        self.rows = torch.arange(len(start[0]), device=start[0].device)
        self.omega: Tensor | None = None
        self.moves = self.moves_before = self.left = torch.zeros_like(start[0][:, :1])

    def update_even(self) -> Tensor:
        """Update the output and every other layer below; return the residual before it.

        Nothing has moved since the odd layers were left, so that this is the whole residual.
        """
        even = range(len(self.s) - 1, -1, -2)
        self.moves_before, self.moves = self.moves, _beside([self._update(i)[0] for i in even])
        return torch.maximum(self.moves.abs().amax(-1), self.left.abs().amax(-1))

    def update_odd(self) -> None:
        """Update the layers between."""
        odd = range(len(self.s) - 2, -1, -2)
        self.left = _beside([self._update(i)[1] for i in odd] or [self.left])

    def _update(self, i: int) -> tuple[Tensor, Tensor]:
        """Minimise the energy over layer `i`; return its distances from that before and after."""
        s, I = self.s[i], self.layers.current(i, self.r)
        self.I[i] = I
        update = self._update_smooth if self.layers.rho(i).box is None else self._update_kinked
        self.s[i], before, after = update(i, s, I)
        self.r[i] = self.layers.rate(i, self.s[i])
        return before, after

    def _update_kinked(self, i: int, s: Tensor, I: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        goal = self.layers.project(i, self._pulled(i, I))
        move = goal - s
        if self.omega is None:
            return goal, move, torch.zeros_like(goal)
        new = self.layers.project(i, torch.addcmul(s, self.omega, move))
        return new, move, goal - new

    def _update_smooth(self, i: int, s: Tensor, I: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def pressure(s: Tensor) -> Tensor:
            return self._pulled(i, self.layers.pressure(i, s, I))

        curvature = self.layers.rho(i).second_derivative
        beta = 0.0 if self.nudge is None or i < len(self.s) - 1 else self.nudge[1]
        new = _solve_units(pressure, lambda s: curvature(s) * I / (1 + beta), s)
        return new, pressure(s) - s, pressure(new) - new

    def _pulled(self, i: int, R: Tensor) -> Tensor:
        """Return the state at which pressure and nudge of layer `i` balance."""
        if self.nudge is None or i < len(self.s) - 1:
            return R
        target, beta = self.nudge
        return (R + beta * target) / (1 + beta)

    def over_relax(self) -> None:
        """Choose the factors that the contraction of the last sweep asks for."""
        if self.layers.activation.box is not None:
            norms = (moves.norm(dim=-1, keepdim=True) for moves in (self.moves, self.moves_before))
            now, before = norms
            contraction = now / before.clamp(min=_NO_MOVE)
            omega = torch.ones_like(contraction) if self.omega is None else self.omega
            self.omega = _over_relaxation(omega, contraction)

    def reached(
        self, states: list[Tensor], residual: Tensor, sweeps: int, chosen: Tensor | None = None
    ) -> tuple[Tensor, Equilibrium]:
        """Return the chosen samples, all by default, with their places in the batch."""
        n = torch.full_like(self.rows, sweeps)
        every = [self.rows, residual, n, *states, *self.I]
        rows, residual, n, *parts = every if chosen is None else [part[chosen] for part in every]
        K = len(states)
        return rows, Equilibrium(parts[:K], parts[K:], residual, n, self.tol)

    def keep(self, chosen: Tensor) -> None:
        """Go on with the chosen samples alone."""
        self.layers = self.layers.samples(chosen)
        self.s, self.r, self.I = ([part[chosen] for part in parts]
                                  for parts in (self.s, self.r, self.I))  # fmt: skip
        self.rows = self.rows[chosen]
        self.moves, self.moves_before, self.left = (
            part[chosen] for part in (self.moves, self.moves_before, self.left)
        )
        if self.omega is not None:
            self.omega = self.omega[chosen]
        if self.nudge is not None:
            self.nudge = self.nudge[0][chosen], self.nudge[1]


def _solve_units(
    pressure: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], s: Tensor
) -> Tensor:
    r"""Solve :math:`s = R(s)` for each unit by itself, from `s` on.

    By Newton's method, in brackets: a pressure that falls with the state, as that of a saturating
    rate does, has its solution between the state and the pressure there. Where it rises instead,
    the pressure itself is returned, or what lies on the way.
    """
    R = pressure(s)
    low, high = torch.minimum(s, R), torch.maximum(s, R)
    rounding = _ROUNDING * torch.finfo(s.dtype).eps * R.abs().clamp(min=1)
    enough = torch.maximum(rounding, _ENOUGH * (R - s).abs())
    for _ in range(_NEWTON_STEPS):
        f = R - s
        low, high = torch.where(f > 0, s, low), torch.where(f < 0, s, high)
        newton = s + f / (1 - slope(s)).clamp(min=_SMALLEST_SLOPE)
        inside = (newton > low) & (newton < high)
        s = torch.where(f == 0, s, torch.where(inside, newton, (low + high) / 2))
        R = pressure(s)
        if bool(((R - s).abs() <= enough).all()):
            break
    return s


def _beside(parts: list[Tensor]) -> Tensor:
    """Return layers side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _over_relaxation(omega: Tensor, contraction: Tensor) -> Tensor:
    r"""Return the factors that the observed contraction asks for, never lowered.

    Layers form a consistently ordered chain, for which (Young 1971) the contraction
    :math:`\lambda` at :math:`\omega` gives
    :math:`\mu^2 = (\lambda + \omega - 1)^2 / (\lambda \omega^2)` and the best factor is
    :math:`2 / (1 + \sqrt{1 - \mu^2})`. In a box the energy falls with any factor below 2.
    """
    contraction = contraction.clamp(_SMALLEST_CONTRACTION, 1.0)
    mu = (contraction + omega - 1).square() / (contraction * omega.square())
    best = 2 / (1 + (1 - mu.clamp(max=1.0)).sqrt())
    return torch.maximum(omega, best.clamp(max=_LARGEST_OMEGA))
