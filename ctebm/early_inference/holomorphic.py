r"""Gradients from equilibria that are nudged at complex strengths (Laborieux & Zenke 2022).

An equilibrium :math:`z(\beta)` of an analytic energy is analytic in the strength of its nudge, so
that its derivative at 0 is the mean of :math:`z(\beta_j)/\beta_j` over :math:`N` points of a
circle, :math:`\beta_j = \beta\,e^{2\pi i j/N}`, with an error of :math:`O(\beta^N)`.

Letters: complex state ``z``, strength ``beta``, cost ``C``.
"""

from __future__ import annotations

import cmath
import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction, checked_cost
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.early_inference.analytic import (
    ComplexNudge,
    check_analytic,
    check_analytic_cost,
    check_analytic_strip,
)
from ctebm.early_inference.costs import OfRates
from ctebm.early_inference.targets import state_and_target
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.energy import Network
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.layout import broadcast_shapes
from ctebm.networks.matrices import columns
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole

__all__ = ["circle", "complex_equilibria", "holomorphic_gradient"]

_MOST_STEPS = 30  # of Newton's method, which needs four or five near an equilibrium
_POINT_BYTES = 500  # of a strength, its factor and the head of its tensor
_REMEDY = "use implicit_gradient, or the rule EquilibriumPropagation()"
_TOL = 1e-13  # of complex equilibria: beta is some tenths, and a gradient is asked for to 1e-10


def circle(beta: float, points: int) -> list[tuple[complex, complex]]:
    r"""Return strengths :math:`\beta_j` on a circle with factors, whose real parts count.

    The sum of the real parts of factor times result is the mean of :math:`result/\beta_j`; of two
    conjugate strengths one is there, counted twice.

    Parameters
    ----------
    beta : float
        The radius, or its negative.
    points : int
        Points, the first at `beta` itself.

    Examples
    --------
    >>> from ctebm.early_inference.holomorphic import circle
    >>> [(strength.real, factor.real) for strength, factor in circle(0.5, 2)]
    [(0.5, 1.0), (-0.5, -1.0)]
    """
    runs = []
    for j in range(points // 2 + 1):
        root = cmath.exp(2j * math.pi * j / points)
        real = 2 * j in (0, points)
        root = complex(round(root.real)) if real else root
        runs.append((root * beta, (1 if real else 2) / (root * points * beta)))
    return runs


def complex_equilibria(
    network: VectorField,
    state: Tensor,
    target: Tensor,
    beta: float,
    points: int,
    cost: CostFunction | None = None,
    *,
    tol: float = _TOL,
) -> list[tuple[complex, Tensor]]:
    """Return the factor and the equilibrium ``(*batch, unit)`` at each strength of a circle.

    Parameters
    ----------
    network, state, target, beta, points, cost, tol
        As for :func:`holomorphic_gradient`.

    Raises
    ------
    ValueError
        As for :func:`holomorphic_gradient`.
    """
    of_rates = isinstance(cost, OfRates)
    if not isinstance(network, Network) and not (isinstance(network, HopfieldNetwork) and of_rates):
        remedy = (
            "give a cost of its rates, OfRates(network.rate_of('y'))"
            if isinstance(network, HopfieldNetwork)
            else "use implicit_gradient"
        )
        raise ValueError(
            f"expected a nudge that adds to an energy, got {type(network).__name__} with "
            f"{'a cost of its states' if isinstance(network, HopfieldNetwork) else 'none'}; "
            f"{remedy}."
        )
    n, found = state.shape[-1], []
    n_bytes = (points // 2 + 1) * (_POINT_BYTES + 2 * state.numel() * state.element_size())
    check_memory(f"equilibria at {points:,} strengths", n_bytes, "ask for fewer points")
    check_analytic(network, _REMEDY)
    for strength, factor in circle(beta, points):
        motion = ComplexNudge(network, target, strength, cost)
        if not found:
            check_analytic_cost(motion, state[..., network.layers[network.output]], _REMEDY)
        with torch.no_grad():
            s = _rest(motion, torch.cat([state, torch.zeros_like(state)], -1), tol)
        z = torch.complex(s[..., :n].contiguous(), s[..., n:].contiguous())
        check_analytic_strip(network, float(z.imag.abs().nan_to_num(0).max()), strength)
        found.append((factor, z))
    return found


def _rest(motion: ComplexNudge, s: Tensor, tol: float) -> Tensor:
    """Return a zero of the complex force near a state by Newton's method; NaN where none is met."""
    n = s.shape[-1] // 2
    for _ in range(_MOST_STEPS):
        f = motion.force(s)
        left = f.abs().amax(-1) / s.abs().amax(-1).clamp(min=1)
        if not bool((left > tol).any()):
            break

        def slopes(v: Tensor, s: Tensor = s) -> Tensor:  # along the real axis, all that is needed
            return torch.func.jvp(motion.force, (s,), (torch.cat([v, torch.zeros_like(v)], -1),))[1]

        J = columns(slopes, s[..., :n])
        J = torch.complex(J[..., :n, :].contiguous(), J[..., n:, :].contiguous())
        right = torch.complex(f[..., :n].contiguous(), f[..., n:].contiguous())
        dz = torch.linalg.solve_ex(J, right.unsqueeze(-1))[0].squeeze(-1)
        s = s - torch.cat([dz.real, dz.imag], -1)
    else:
        f = motion.force(s)
        left = f.abs().amax(-1) / s.abs().amax(-1).clamp(min=1)
    return torch.where((left <= tol).unsqueeze(-1), s, torch.nan)


@small_on_one_thread()
def holomorphic_gradient(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    beta: float = 0.1,
    points: int = 8,
    cost: CostFunction | None = None,
    *,
    tol: float = _TOL,
) -> Tensor:
    r"""Estimate the implicit gradient by nudges of complex strength, exact up to rounding.

    .. math:: g = -\frac1N \sum_{j=1}^N \frac{z(\beta_j)}{\beta_j} + O(\beta^N), \qquad
        \beta_j = \beta\,e^{2\pi i j/N}

    where :math:`z(\beta_j)` is the equilibrium of :math:`E + \beta_j C`; of the energy of 1984
    :math:`\rho(z)` takes its place. One point is the one-sided nudge of equilibrium propagation,
    two are the symmetric one.

    Parameters
    ----------
    network : Network or HopfieldNetwork
        With its input clamped. Its energy or force must be made of analytic functions that take
        complex tensors; whether it is, is tried.
    state : array or FixedPoints, (*batch, unit)
        The equilibrium.
    target : array, (*batch, output unit)
        Target states, or rates for a cost of rates.
    beta : float
        The radius of the circle.
    points : int
        Strengths on it, `N`.
    cost : callable, optional
        As for :func:`ctebm.implicit_gradient`, analytic; a network of 1984 takes one of the rates,
        :class:`~ctebm.early_inference.costs.OfRates`.
    tol : float
        Residual of the nudged equilibria.

    Returns
    -------
    Tensor, (*batch, unit)
        NaN for samples that find no equilibrium at some strength.

    Raises
    ------
    ValueError
        For a network without an energy or that is not analytic, as one with kinks, a cost that is
        not, a nudge that does not add to the energy, more points than fit the free memory, and a
        `tol` below 0.

    References
    ----------
    A. Laborieux, F. Zenke, "Holomorphic equilibrium propagation computes exact gradients through
    finite size oscillations", NeurIPS 35 (2022).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh()).clamp({"x": [0.2, 0.1, 0.4]})
    >>> rest = ctebm.settle(net, tol=1e-13)
    >>> g = ctebm.holomorphic_gradient(net, rest, [0.3, -0.2], beta=0.1, points=12)
    >>> bool((g - ctebm.implicit_gradient(net, rest, [0.3, -0.2])).abs().max() < 1e-10)
    True
    """
    s, goal = state_and_target(network, state, target)
    beta, points = finite("beta", beta), whole("points", points, least=1)
    tol = finite("tol", tol, low=0)
    if beta == 0:
        raise ValueError("expected a beta other than 0, got 0; without strength it moves nothing.")
    batch = broadcast_shapes(s.shape[:-1], network.batch, goal.shape[:-1])
    s = s.expand(*batch, -1)
    if not s.numel():
        return torch.zeros_like(s)
    ends = complex_equilibria(network, s, goal, beta, points, checked_cost(cost), tol=tol)
    of_rates, rate = isinstance(network, HopfieldNetwork), getattr(network, "activation", None)
    moved = [factor * (rate(z) if of_rates and rate else z) for factor, z in ends]
    still = rate(s) if of_rates and rate else s
    if points == 1:  # more points sum to 0 of themselves
        return -(moved[0].real - still / beta)
    return -torch.stack([m.real for m in moved]).sum(0)
