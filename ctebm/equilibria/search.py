r"""All equilibria of a network: stable points, saddles, maxima, and continua of them.

Every fixed point lies in a box that the largest possible currents give; starts cover it. Minima
come from going down the energy; all kinds from Newton's method, plain and deflated (Farrell,
Birkisson & Funke 2015), from the same starts and from where the basins of two minima meet. The sum
:math:`\sum (-1)^{index}` tells whether something is missing, and prolongs the search until it is 1.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.bounds import Bounds, checked_bounds, state_bounds
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.kkt import check_tolerance, project, residual
from ctebm.equilibria.newton import NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import check_motion, settle_from
from ctebm.networks.base import VectorField, count_units, single
from ctebm.networks.energy import Network
from ctebm.networks.memory import check_memory
from ctebm.networks.numbers import whole

__all__ = ["enumerate_fixed_points", "find_fixed_points", "search"]

# Up to here the search goes on, so many times, while the index sum says that points are missing.
EXHAUSTIVE_UNITS, ATTEMPTS = 32, 4
# Up to here every pattern of pinned and free hard sigmoids is tried, 3^12 = 531,441, which takes
# less than a search; so many numbers of them at a time.
ENUMERATED_UNITS, PORTION = 12, 10**6
# States' worth of memory that is used for each start, about.
START_STATES = 40
# Singular values below, relative to the largest, are 0: the pattern has a continuum of solutions.
SINGULAR = 1e-12
# The time of a search is estimated from this share of the starts, at most so many, and said if it
# is more seconds than that: fewer starts take longer each.
PROBE_SHARE, PROBE, LONG = 4, 32, 10.0
# Telling apart and classifying a point that was enumerated takes about so long.
SECONDS_OF_POINT = 1.5e-4
# Known states with one unit flipped that are settled in each attempt.
FLIPS = 500
# Pairs of minima, the nearest first, between which an edge of their basins is bisected, and how
# often. Ends are settled coarsely: so near the first minimum they are in its basin.
EDGE_PAIRS, BISECTIONS, EDGE_TOL, SAME_BASIN = 64, 12, 1e-6, 1e-3


def find_fixed_points(
    network: VectorField,
    n_starts: int = 200,
    seed: int = 0,
    tol: float | None = None,
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
    tol : float, optional
        Bound on the residual of what is returned, as for :func:`settle`; points are then polished
        to rounding.
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
        points of up to 12 units with kinks are complete, since they are enumerated. Without any
        equilibrium the record is empty.

    Warns
    -----
    UserWarning
        With an estimate, before a search that takes more than some ten seconds.

    Raises
    ------
    ValueError
        If `n_starts` < 1 or more than fit the free memory, the network has more than one sample,
        `tol` is below rounding, or the bounds are not finite or not in order.

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
    tol = check_tolerance(tol, network.dtype)
    return search(network, n_starts, seed, tol, bounds).points()


def enumerate_fixed_points(network: VectorField, tol: float | None = None) -> FixedPoints:
    r"""Return every equilibrium of up to 12 hard-sigmoid units, from all :math:`3^N` patterns.

    Each unit is free, pinned low or pinned high; the free ones solve a linear system, and the
    pattern counts if it agrees with the currents. This is exact but for continua, of which one
    point is given for each singular pattern that has its smallest solution inside the box.

    Parameters
    ----------
    network : VectorField
        With one sample, linear between its kinks.
    tol : float, optional
        Bound on the residual, as for :func:`settle`.

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
    tol = check_tolerance(tol, network.dtype)
    if not _can_enumerate(network):
        n, box = count_units(network), network.box
        raise ValueError(
            f"expected up to {ENUMERATED_UNITS} units with kinks, got {n} units and box {box}; "
            "use find_fixed_points."
        )
    catalogue = Catalogue(network, tol)
    catalogue.add(_enumerated(network, tol))
    return catalogue.points()


def search(
    network: VectorField, n_starts: int, seed: int, tol: float, bounds: Bounds | None = None
) -> Catalogue:
    """Return the equilibria that random starts lead to; as for :func:`find_fixed_points`."""
    n_starts = whole("n_starts", n_starts, least=1)
    seed = whole("seed", seed, least=0)
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    low, high = state_bounds(network) if bounds is None else checked_bounds(network, bounds)
    n, catalogue = count_units(network), Catalogue(network, tol)
    attempts = ATTEMPTS if n <= EXHAUSTIVE_UNITS else 1
    check_memory(
        f"a search from {n_starts:,} starts, doubled up to {attempts - 1} times,",
        START_STATES * (n_starts << (attempts - 1)) * n * network.dtype.itemsize,
        "give fewer n_starts",
        network.device,
    )
    for attempt in range(attempts):
        starts = _starts(network, n_starts << attempt, low, high, draw)
        if attempt == 0:
            check_motion(network, starts)
        if attempt == 0:
            starts = _probed(catalogue, starts)
        catalogue.count(settle_from(network, starts, tol))
        if _can_enumerate(network):
            patterns = _enumerated(network, tol)
            seconds = SECONDS_OF_POINT * len(patterns)
            _warn_of_time(seconds, f"{len(patterns):,} equilibria", "settle from a few starts")
            catalogue.add(patterns)
            break
        catalogue.add(settle_from(network, _flips(catalogue.states, low, high, draw), tol))
        if n > NEWTON_UNITS:
            break
        catalogue.add(newton_from(network, starts, tol))
        if isinstance(network, Network):
            catalogue.add(newton_from(network, _edges(network, catalogue.minima()), tol))
        if n <= EXHAUSTIVE_UNITS:
            _deflate(catalogue, starts)
        if not _incomplete(catalogue):
            break
    return catalogue


def _probed(catalogue: Catalogue, starts: Tensor) -> Tensor:
    """Search from the first few of many starts, and warn of the time that all will take.

    Return the others.
    """
    n_few = min(PROBE, len(starts) // PROBE_SHARE)
    if n_few == 0 or _can_enumerate(catalogue.network):
        return starts
    few, others = starts[:n_few], starts[n_few:]
    began = time.perf_counter()
    catalogue.count(settle_from(catalogue.network, few, catalogue.tol))
    if starts.shape[-1] <= NEWTON_UNITS:
        catalogue.add(newton_from(catalogue.network, few, catalogue.tol))
    seconds = (time.perf_counter() - began) * len(starts) / n_few
    _warn_of_time(seconds, f"{len(starts):,} starts", "give fewer n_starts")
    return others


def _warn_of_time(seconds: float, what: str, remedy: str) -> None:
    """Warn before a search that takes long."""
    if seconds > LONG:
        warnings.warn(
            f"the search will take about {seconds:.0f} s ({what}); if that is too long, {remedy}.",
            stacklevel=5,
        )


def _deflate(catalogue: Catalogue, starts: Tensor) -> None:
    """Look for further equilibria away from those that are known, while any are found."""
    for _ in range(ATTEMPTS):
        known = catalogue.states
        catalogue.add(newton_from(catalogue.network, starts, catalogue.tol, known))
        if len(catalogue.states) <= len(known):
            return


def _incomplete(catalogue: Catalogue) -> bool:
    """Return whether the index sum proves that points are missing."""
    return catalogue.points().index_sum not in (1, None)


def _enumerated(network: VectorField, tol: float) -> Tensor:
    """Return the solutions of all patterns of units that are free, pinned low or pinned high."""
    return torch.cat([s[residual(network, s) <= tol] for s in _patterns(network)])


def _patterns(network: VectorField) -> Iterator[Tensor]:
    """Yield states inside the box, ``(state, unit)``, at which the free units have no force.

    Of each number of free units every choice, with the others at every choice of kinks.
    """
    n, box = count_units(network), network.box
    assert box is not None
    low, high = box.each(torch.zeros(n, dtype=network.dtype, device=network.device))
    origin = (low + high) / 2
    J, f0 = network.jacobian(origin), network.force(origin)
    for n_free in range(n + 1):
        up = _choices(itertools.product([False, True], repeat=n - n_free), n - n_free, origin)
        chosen = _choices(itertools.combinations(range(n), n_free), n_free, origin).long()
        for free in chosen.split(max(1, PORTION // (n * len(up)))):
            is_free = torch.zeros(len(free), n, dtype=torch.bool, device=free.device)
            is_free = is_free.scatter(1, free, True)
            held = torch.nonzero(~is_free)[:, 1].reshape(len(free), 1, n - n_free)
            s = origin.repeat(len(free), len(up), 1)
            at_kinks = torch.where(up.bool(), high[held], low[held])
            s = s.scatter(2, held.expand_as(at_kinks), at_kinks)
            # force = f0 + J (s - origin), which is 0 on the free units
            known = f0 + (s - origin) @ J.mT
            at = free.unsqueeze(1).expand(-1, len(up), -1)
            inverse = torch.linalg.pinv(J[free.unsqueeze(-1), free.unsqueeze(1)], rtol=SINGULAR)
            solved = origin[at] - known.gather(2, at) @ inverse.mT
            s = s.scatter(2, at, solved).flatten(0, 1)
            yield s[box.contains(s).all(-1)]


def _choices(rows: Iterable[tuple[int, ...]], n: int, like: Tensor) -> Tensor:
    """Return rows of `n` numbers as a tensor, ``(row, n)``, also where `n` is 0."""
    chosen = list(rows)
    return torch.tensor(chosen, device=like.device).reshape(len(chosen), n)


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
