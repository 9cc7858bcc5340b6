r"""All equilibria of a network: stable points, saddles, maxima, and continua of them.

Every fixed point lies in a box that the largest possible currents give; starts cover it. Minima
come from going down the energy; all kinds from Newton's method, plain and deflated (Farrell,
Birkisson & Funke 2015), from the same starts and from where the basins of two minima meet. The sum
:math:`\sum (-1)^{index}` tells whether something is missing, and prolongs the search until it is 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.bounds import state_bounds
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.kkt import check_tolerance, project, residual
from ctebm.equilibria.newton import NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import check_motion, settle_from
from ctebm.networks.base import VectorField, count_units, single
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.numbers import whole

__all__ = ["enumerate_fixed_points", "find_fixed_points", "search"]

Bounds = tuple[Tensor | float, Tensor | float]

# Up to here the search goes on, so many times, while the index sum says that points are missing.
EXHAUSTIVE_UNITS, ATTEMPTS = 32, 4
# Up to here every pattern of pinned and free hard sigmoids is tried, 3^12 = 531,441.
ENUMERATED_UNITS = 12
# Up to here they are tried always, which takes less than a search.
ALWAYS_ENUMERATED = 8
# Singular values below, relative to the largest, are 0: the pattern has a continuum of solutions.
SINGULAR = 1e-12
# Known states with one unit flipped that are settled in each attempt.
FLIPS = 500
# Pairs of minima, the nearest first, between which an edge of their basins is bisected, and how
# often. Ends are settled coarsely: so near the first minimum they are in its basin.
EDGE_PAIRS, BISECTIONS, EDGE_TOL, SAME_BASIN = 64, 12, 1e-6, 1e-3


def find_fixed_points(
    network: VectorField,
    n_starts: int = 200,
    seed: int = 0,
    tol: float = 1e-10,
    bounds: Bounds | None = None,
) -> FixedPoints:
    r"""Find the distinct equilibria of one network, whatever their stability.

    Parameters
    ----------
    network : VectorField
        With one sample, with or without an energy; above 600 units only stable points are looked
        for.
    n_starts : int
        Random starts; up to 32 units their number doubles, up to three times, while the index sum
        says that points are missing.
    seed : int
        Root seed of the starts.
    tol : float
        Bound on the residual of what is returned; points are then polished to rounding.
    bounds : tuple of float or Tensor, optional
        Lowest and highest start of each unit; by default those of
        :func:`~ctebm.equilibria.bounds.state_bounds`.

    Returns
    -------
    FixedPoints
        Distinct points ``(fixed_point, unit)`` in order of energy, with ``hits``, ``index``,
        ``stability``, ``isolated`` and ``index_sum``. Two are one if they agree in state and
        energy to the precision that their curvature allows; a continuum of equilibria is one entry
        that is not ``isolated``. Random starts that settled nowhere are counted in ``failed``. The
        points of up to 8 units with kinks are complete, since they are enumerated too; so are
        those of up to 12 if the index sum still says that some are missing. Without any
        equilibrium the record is empty.

    Raises
    ------
    ValueError
        If `n_starts` < 1, the network has more than one sample, `tol` is below rounding, or the
        bounds are not finite or not in order.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 8], [8, 0]], [-4, -4], ctebm.Tanh())
    >>> points = ctebm.find_fixed_points(pair, n_starts=50)
    >>> points.stability, points.index_sum
    (['stable', 'stable', 'saddle'], 1)
    >>> points.state[0].abs()
    tensor([0.7562, 0.7562], dtype=torch.float64)
    """
    network = single(network)
    catalogue = search(network, n_starts, seed, tol, bounds)
    few = count_units(network) <= ALWAYS_ENUMERATED  # pairs may be missing whatever the index sum
    if _can_enumerate(network) and (few or _incomplete(catalogue)):
        exact = enumerate_fixed_points(network, tol)
        if len(exact) > len(catalogue.points()):
            catalogue.add(exact.state)
    return catalogue.points()


def enumerate_fixed_points(network: VectorField, tol: float = 1e-10) -> FixedPoints:
    r"""Return every equilibrium of up to 12 hard-sigmoid units, from all :math:`3^N` patterns.

    Each unit is free, pinned low or pinned high; the free ones solve a linear system, and the
    pattern counts if it agrees with the currents. This is exact but for continua, of which one
    point is given for each singular pattern that has its smallest solution inside the box.

    Parameters
    ----------
    network : VectorField
        With one sample, linear between its kinks.
    tol : float
        Bound on the residual.

    Returns
    -------
    FixedPoints
        Distinct points ``(fixed_point, unit)`` in order of energy, without ``hits``.

    Raises
    ------
    ValueError
        If the network has no kinks, more than 12 units or more than one sample.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> ctebm.enumerate_fixed_points(pair).state
    tensor([[-0.5000, -0.5000],
            [ 0.5000,  0.5000],
            [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    network = single(network)
    n, box = count_units(network), network.box
    if box is None or not _can_enumerate(network):
        raise ValueError(
            f"expected up to {ENUMERATED_UNITS} units with kinks, got {n} units and box {box}; "
            "use find_fixed_points."
        )
    catalogue = Catalogue(network, tol)
    catalogue.add(torch.cat([s[residual(network, s) <= tol] for s in _patterns(network, box)]))
    return catalogue.points()


def search(
    network: VectorField, n_starts: int, seed: int, tol: float, bounds: Bounds | None = None
) -> Catalogue:
    """Return the equilibria that random starts lead to; as for :func:`find_fixed_points`."""
    n_starts = whole("n_starts", n_starts, least=1)
    check_tolerance(tol, network.dtype)
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    low, high = state_bounds(network) if bounds is None else _checked(bounds)
    n, catalogue = count_units(network), Catalogue(network, tol)
    for attempt in range(ATTEMPTS if n <= EXHAUSTIVE_UNITS else 1):
        starts = _starts(network, n_starts << attempt, low, high, draw)
        if attempt == 0:
            check_motion(network, starts)
        catalogue.count(settle_from(network, starts, tol))
        catalogue.add(settle_from(network, _flips(catalogue.states, low, high, draw), tol))
        if n > NEWTON_UNITS:
            break
        known = None if attempt == 0 else catalogue.states
        catalogue.add(newton_from(network, starts, tol, known))
        if isinstance(network, Network):
            catalogue.add(newton_from(network, _edges(network, catalogue.minima()), tol))
        if not _incomplete(catalogue):
            break
    return catalogue


def _checked(bounds: Bounds) -> Bounds:
    """Return bounds that are finite and in order."""
    low, high = (torch.as_tensor(b, dtype=torch.float64) for b in bounds)
    if not bool((torch.isfinite(high - low) & (low <= high)).all()):
        raise ValueError(f"expected finite bounds (lowest, highest) of the starts, got {bounds}.")
    return bounds


def _incomplete(catalogue: Catalogue) -> bool:
    """Return whether the index sum proves that points are missing."""
    return catalogue.points().index_sum not in (1, None)


def _patterns(network: VectorField, box: Box) -> Iterator[Tensor]:
    """Yield the states inside the box at which the free units of a pattern have no force.

    One batch ``(pins, unit)`` for each choice of free units: the others at every choice of kinks.
    """
    n = count_units(network)
    low, high = box.each(torch.zeros(n, dtype=network.dtype, device=network.device))
    origin = (low + high) / 2
    J, f0 = network.jacobian(origin), network.force(origin)
    for choice in itertools.product([False, True], repeat=n):
        free = torch.tensor(choice, device=origin.device)
        up = list(itertools.product([False, True], repeat=int((~free).sum())))
        s = origin.repeat(len(up), 1)
        s[:, ~free] = torch.where(
            torch.tensor(up, dtype=torch.bool, device=s.device), high[~free], low[~free]
        )
        if bool(free.any()):
            # force = f0 + J (s - origin), which is 0 on the free units
            known = f0 + (s - origin).masked_fill(free, 0) @ J.mT
            inverse = torch.linalg.pinv(J[free][:, free], rtol=SINGULAR)
            s[:, free] = origin[free] - known[:, free] @ inverse.mT
        yield s[box.contains(s).all(-1)]


def _can_enumerate(network: VectorField) -> bool:
    """Return whether every unit has kinks, and there are few enough for all patterns."""
    if network.box is None or count_units(network) > ENUMERATED_UNITS:
        return False
    return all(bool(torch.isfinite(torch.as_tensor(kink)).all()) for kink in network.box)


def _starts(
    network: VectorField,
    n_starts: int,
    low: Tensor | float,
    high: Tensor | float,
    draw: np.random.Generator,
) -> Tensor:
    """Return random starts: half cover the inside, half the faces where units saturate."""
    unit = torch.as_tensor(draw.random((n_starts, count_units(network))))
    unit[::2] = (3 * unit[::2] - 1).clamp(0, 1)
    return project(network, low + (high - low) * unit.to(network.dtype).to(network.device))


def _flips(
    s: Tensor,
    low: Tensor | float,
    high: Tensor | float,
    draw: np.random.Generator,
) -> Tensor:
    """Return known states with one unit at either end of its range."""
    n = s.shape[-1]
    which = torch.as_tensor(draw.permutation(2 * n * len(s))[:FLIPS])
    point, unit, up = which // (2 * n), which % n, (which // n) % 2 == 1
    flipped = s[point]
    low, high = (torch.as_tensor(b).to(s).expand(n)[unit] for b in (low, high))
    flipped[torch.arange(len(which)), unit] = torch.where(up.to(s.device), high, low)
    return flipped


def _edges(network: VectorField, minima: Tensor) -> Tensor:
    """Return states where the basins of pairs of minima meet, by bisection between them."""
    pairs = list(itertools.combinations(range(len(minima)), 2))
    if not pairs:
        return minima[:0]
    first, second = torch.tensor(pairs).T
    nearest = (minima[first] - minima[second]).abs().amax(-1).argsort()[:EDGE_PAIRS].cpu()
    a, b = minima[first[nearest]], minima[second[nearest]]
    home, halfway = a, (a + b) / 2
    for _ in range(BISECTIONS):
        middle = (a + b) / 2
        ends = settle_from(network, middle, EDGE_TOL)
        inside = ((ends - home).abs().amax(-1) < SAME_BASIN).unsqueeze(-1)
        a, b = torch.where(inside, middle, a), torch.where(inside, b, middle)
    return torch.cat([halfway, (a + b) / 2])
