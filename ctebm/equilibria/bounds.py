"""What is known of equilibria without finding them: where they lie, and if there is only one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.inertia import DENSE_UNITS, root_of_rounding
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.settling import settle_from
from ctebm.networks.activation import Activation
from ctebm.networks.arrays import real_tensor
from ctebm.networks.associative import AssociativeMemory
from ctebm.networks.base import VectorField, count_units, free_network
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.kinks import Box
from ctebm.networks.pairwise import PairwiseField, PairwiseNetwork
from ctebm.networks.predictive import PredictiveNetwork

__all__ = ["Bounds", "bounds_are_known", "certify_unique", "checked_bounds", "state_bounds"]

Bounds = tuple[Tensor | float, Tensor | float]

# Where no bound is known, a few states of each scale are settled, coarsely, and the range of what
# they reach is stretched by a factor and an offset.
SCALES, GUESSES, GUESS_TOL, STRETCH, OFFSET = (1.0, 10.0, 100.0), 8, 1e-6, 1.5, 0.5

# Cells in which a state is looked for, how often those that are left are divided again, and how
# many of them for all units together.
CELLS, ROUNDS, CELL_NUMBERS = 500, 4, 10**6


def state_bounds(network: VectorField) -> tuple[Tensor, Tensor]:
    r"""Return bounds ``(unit,)`` between which every fixed point lies.

    With kinks the box. Else :math:`|s_i| \le |\rho'(s_i)|\,\max|I_i|`, the currents being largest
    when every rate is at its end; for the 1984 network :math:`\max|I_i|`. For a motion of the
    user's own the bounds of units without kinks are a guess: half as far again as where states of
    several scales settle. Equilibria may lie outside.
    """
    n = count_units(network)
    ones = torch.ones(n, dtype=network.dtype, device=network.device)
    box = (network.box or Box(-np.inf, np.inf)).each(ones)
    if all(bool(torch.isfinite(kinks).all()) for kinks in box):
        return box
    reach = _largest_state(network)
    if reach is None or not bool(torch.isfinite(reach).all()):
        reach = _guessed_reach(network, ones)
    return torch.maximum(box[0], -reach), torch.minimum(box[1], reach)


def bounds_are_known(network: VectorField) -> bool:
    """Return whether :func:`state_bounds` are proved, and not guessed from where states settle."""
    ones = torch.ones(count_units(network), dtype=network.dtype, device=network.device)
    box = (network.box or Box(-np.inf, np.inf)).each(ones)
    if all(bool(torch.isfinite(kinks).all()) for kinks in box):
        return True
    reach = _largest_state(network)
    return reach is not None and bool(torch.isfinite(reach).all())


def _largest_state(network: VectorField) -> Tensor | None:
    """Return a bound on each unit of an equilibrium in absolute value, None if none is known."""
    if isinstance(network, HopfieldNetwork):
        return _largest_current(network.pairwise, *network.activation.rates)
    if isinstance(network, PairwiseField):
        current = _largest_current(network, *network.activation.rates)
        return _balanced(network.activation, current)
    return None


def _balanced(rho: Activation, current: Tensor) -> Tensor:
    r"""Return a bound on the states with :math:`|s| \le |\rho'(s)| |I|`, ``(unit,)``.

    A rate that saturates leaves a small part of :math:`|s| \le \max|\rho'| |I|`: cells are struck
    off from above, in which the largest curvature keeps the slope too small.
    """
    reach = rho.max_slope * current
    n_cells = min(CELLS, CELL_NUMBERS // len(current))
    if n_cells < 2 or not bool(torch.isfinite(reach).all()) or not math.isfinite(rho.max_curvature):
        return reach
    share = torch.linspace(0, 1, n_cells + 1, device="cpu").to(current).unsqueeze(-1)
    for _ in range(ROUNDS):
        ends = share * reach
        slope = torch.maximum(rho.derivative(ends).abs(), rho.derivative(-ends).abs())
        between = rho.max_curvature * reach / n_cells / 2
        possible = ends[:-1] <= (torch.maximum(slope[:-1], slope[1:]) + between) * current
        top = (
            possible * torch.arange(1, n_cells + 1, device="cpu").to(current).unsqueeze(-1)
        ).amax(0)
        reach = ends.gather(0, top.long().unsqueeze(0)).squeeze(0)
    return reach


def _guessed_reach(network: VectorField, ones: Tensor) -> Tensor:
    """Return how far from 0 to look for equilibria, ``(unit,)``, from where a few states settle."""
    draw = torch.from_numpy(np.random.default_rng(0).standard_normal((GUESSES, len(ones))))
    starts = torch.cat([scale * draw for scale in SCALES]).to(ones)
    ends = settle_from(network, starts, GUESS_TOL)
    settled = ends[residual(network, ends) <= GUESS_TOL]
    farthest = float(settled.detach().abs().max()) if len(settled) else 1.0
    return (STRETCH * farthest + OFFSET) * ones


def checked_bounds(network: VectorField, bounds: Bounds) -> Bounds:
    """Return bounds that are finite, in order, and one a unit or one for all."""
    pair = list(bounds) if isinstance(bounds, list | tuple) else []
    if len(pair) != 2:
        raise ValueError(
            f"expected bounds (lowest, highest) of the starts, got {type(bounds).__name__}."
        )
    low, high = (real_tensor(b, network.dtype, network.device) for b in pair)
    fits = {low.shape, high.shape} <= {(), (count_units(network),)}
    if not fits or not bool((torch.isfinite(high - low) & (low <= high)).all()):
        raise ValueError(
            "expected finite bounds (lowest, highest) of the starts, one number or one a unit, got "
            f"{bounds}."
        )
    return low, high


def certify_unique(network: VectorField) -> bool:
    r"""Prove that there is exactly one equilibrium, by a norm bound as a rule.

    For the motion of eq. 8 with any couplings, symmetric or not, the symmetric part of the Jacobian
    is negative definite everywhere, so that two equilibria cannot be, if

    .. math:: \max\rho'^2\,\max(0, \lambda_{max}(\tfrac12 (W + W'))) + \max|\rho''|\,\max|I| < 1 .

    With an energy this is its strict convexity. For the 1984 network the map
    :math:`s \leftarrow b + W\rho(s)` contracts if :math:`\max|\rho'|\,|W|_2 < 1`. The energy of
    attention is strictly convex if :math:`\beta D^2 / 4 < 1`, `D` being the largest distance
    between patterns, since no variance among them is larger. Predictive coding of which the first
    layer alone is held rests at its forward pass and nowhere else: from its end down the errors
    are 0, one layer after the other.

    Parameters
    ----------
    network : VectorField
        With pairwise couplings, a memory of attention, or predictive; of several samples each is
        meant.

    Returns
    -------
    bool
        True is a proof. False proves nothing: use :func:`~ctebm.find_fixed_points`.

    Raises
    ------
    TypeError
        For other networks, of which no bound is known.

    Examples
    --------
    >>> import ctebm
    >>> weak = ctebm.DenseNetwork([[0, 0.9], [0.9, 0]], [0.1, 0.2], ctebm.HardSigmoid())
    >>> ctebm.certify_unique(weak)
    True
    >>> ctebm.certify_unique(ctebm.AsymmetricNetwork([[0, 100], [0.2, 0]], [0, 0], ctebm.Tanh()))
    False
    """
    free_network(network)
    if isinstance(network, HopfieldNetwork):
        bound = network.activation.max_slope * _spectral_norm(network.pairwise)
    elif isinstance(network, PairwiseField):
        rho, curvature = network.activation, 0.0
        if rho.max_curvature > 0:
            curvature = rho.max_curvature * float(_largest_current(network, *rho.rates).max())
        bound = rho.max_slope**2 * max(0.0, _largest_eigenvalue(network)) + curvature
    elif isinstance(network, AssociativeMemory):
        bound = network.beta * network.spread**2 / 4
    elif isinstance(network, PredictiveNetwork):
        first, *others = network.order
        return first in network.held and not any(name in network.held for name in others)
    else:
        raise TypeError(
            "expected a network of pairwise couplings (eq. 8), an AssociativeMemory or a "
            f"PredictiveNetwork, got {type(network).__name__}, for which no bound is known; look "
            "for its equilibria with find_fixed_points."
        )
    # eigenvalues are rounded, and what is 1 to rounding may be a continuum
    return bound < 1 - root_of_rounding(network.dtype)


def _largest_eigenvalue(network: PairwiseField) -> float:
    """Return the largest eigenvalue of the couplings' symmetric part, or a bound on it."""
    if count_units(network) > DENSE_UNITS:
        return _largest_sum(network)
    W = network.dense_weight()
    return float(torch.linalg.eigvalsh((W + W.mT) / 2)[-1])


def _spectral_norm(network: PairwiseNetwork) -> float:
    """Return the largest eigenvalue of symmetric couplings in absolute value, or a bound on it."""
    if count_units(network) > DENSE_UNITS:
        return _largest_sum(network)
    return float(torch.linalg.eigvalsh(network.dense_weight()).abs().max())


def _largest_sum(network: PairwiseField) -> float:
    """Return the largest mean of a row's and a column's absolute sum, which bounds eigenvalues."""
    ones = torch.ones(count_units(network), dtype=network.dtype, device=network.device)
    size = network._map(torch.abs)
    return float((size.coupling(ones) + size.adjoint_coupling(ones)).max()) / 2


def _largest_current(network: PairwiseField, slowest: float, fastest: float) -> Tensor:
    """Return a bound on each unit's absolute current, the rates being anywhere in their range."""
    centre = torch.full_like(network.bias, (slowest + fastest) / 2)
    spread = torch.full_like(network.bias, (fastest - slowest) / 2)
    middle = (network.bias + network.coupling(centre)).abs()
    return middle + network._map(torch.abs).coupling(spread)
