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
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.bounds import Bounds, bounds_are_known, checked_bounds, state_bounds
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.enumeration import can_enumerate, enumerated
from ctebm.equilibria.kkt import check_tolerance, project
from ctebm.equilibria.newton import NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import settle_from
from ctebm.equilibria.starts import check_motion, check_precision
from ctebm.networks.base import VectorField, count_units, single
from ctebm.networks.energy import Network
from ctebm.networks.memory import check_memory
from ctebm.networks.numbers import whole

__all__ = ["find_fixed_points", "search"]

# Up to here the search goes on, so many times, while the index sum says that points are missing.
EXHAUSTIVE_UNITS, ATTEMPTS = 32, 4
# States' worth of memory that is used for each start, about.
START_STATES = 40
# The time of a search, about that of so many forces on all its starts, is estimated if it may be
# long, from this share of the starts, at most so many, and said if it is more seconds than that:
# fewer starts take longer each.
FORCES, PROBE_SHARE, PROBE, LONG = 1000, 4, 32, 10.0
# Telling apart and classifying a point that was enumerated takes about so long.
SECONDS_OF_POINT = 1.5e-4
# Known states with one unit flipped that are settled in each attempt.
FLIPS = 500
# Steps along the motion before Newton's method, one number for each start in turn: where many units
# saturate it wanders, after a few steps most starts lead it to an equilibrium, the longer they are
# the more to stable ones. As many of its own steps bring those to the end that it brings at all.
ALONG, NEWTON_STEPS = (0, 4, 8), 25
# The longest step along the motion in membrane time constants, and how far ahead its slope is seen.
LONGEST_STEP, AHEAD = 0.5, 1e-6
# Pairs of minima, the nearest first, between which an edge of their basins is looked for, the parts
# that a way is cut into, and how often. Ends are settled coarsely: so near the first minimum they
# are in its basin.
EDGE_PAIRS, PARTS, CUTS, EDGE_TOL, SAME_BASIN = 64, 8, 4, 1e-6, 1e-3


@small_on_one_thread(matrices=True)
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
        :func:`~ctebm.equilibria.bounds.state_bounds`, which are a guess for a user's own motion
        without kinks: then no ``index_sum`` is given.

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
    points = search(network.snapshot(), n_starts, seed, tol, bounds).points()
    known = bounds_are_known(network)
    found_in = "given" if bounds is not None else "known" if known else "guessed"
    settings = {"n_starts": n_starts, "seed": str(seed), "bounds": found_in}
    return replace(points, network=network, settings=settings)


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
        began = time.perf_counter()
        starts = _starts(network, n_starts << attempt, low, high, draw)
        if attempt == 0:
            check_motion(network, starts)
            check_precision(network, starts)
            if _may_be_long(network, starts):
                starts = _probed(catalogue, starts)
        catalogue.count(settle_from(network, starts, tol))
        if can_enumerate(network):
            patterns = enumerated(network, tol)
            seconds = SECONDS_OF_POINT * len(patterns)
            _warn_of_time(seconds, f"{len(patterns):,} equilibria", "settle from a few starts")
            catalogue.add(patterns)
            break
        catalogue.add(settle_from(network, _flips(catalogue.states, low, high, draw), tol))
        if n > NEWTON_UNITS:
            break
        moved = _along(network, starts)
        catalogue.add(newton_from(network, moved, tol, max_iterations=NEWTON_STEPS))
        if isinstance(network, Network):
            catalogue.add(newton_from(network, _edges(network, catalogue.minima()), tol))
        if n <= EXHAUSTIVE_UNITS:
            _deflate(catalogue, moved)
        if not _incomplete(catalogue):
            break
        if attempt + 1 < attempts:
            more = f"{n_starts << (attempt + 1):,} starts more, since points are missing"
            _warn_of_time(2 * (time.perf_counter() - began), more, "give fewer n_starts")
    return catalogue


def _may_be_long(network: VectorField, starts: Tensor) -> bool:
    """Return whether a search from starts may take longer than what is said before."""
    began = time.perf_counter()
    network.force(starts)
    return FORCES * (time.perf_counter() - began) > LONG


def _probed(catalogue: Catalogue, starts: Tensor) -> Tensor:
    """Search from the first few of many starts, and warn of the time that all will take.

    Return the others.
    """
    n_few = min(PROBE, len(starts) // PROBE_SHARE)
    if n_few == 0 or can_enumerate(catalogue.network):
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
        ends = newton_from(catalogue.network, starts, catalogue.tol, known, NEWTON_STEPS)
        catalogue.add(ends)
        if len(catalogue.states) <= len(known):
            return


def _incomplete(catalogue: Catalogue) -> bool:
    """Return whether the index sum proves that points are missing."""
    return catalogue.points().index_sum not in (1, None)


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


def _along(network: VectorField, starts: Tensor) -> Tensor:
    """Return starts after some steps along the motion, as many as :data:`ALONG` says in turn."""
    number = torch.tensor(ALONG, device=starts.device).repeat(len(starts))[: len(starts)]
    s = starts.clone()
    for k in range(max(ALONG)):
        at = torch.nonzero(number > k).squeeze(-1)
        f = network.force(s[at])
        ahead = AHEAD * _largest(s[at]) / _largest(f)
        slope = _largest(network.force(s[at] + ahead * f) - f) / _largest(ahead * f)
        step = torch.nan_to_num(1 / slope, nan=0.0).clamp(max=LONGEST_STEP)
        s[at] = project(network, s[at] + step * f)
    return s


def _largest(s: Tensor) -> Tensor:
    """Return the largest unit of each row in absolute value, ``(row, 1)``."""
    return s.abs().amax(-1, keepdim=True)


def _edges(network: VectorField, minima: Tensor) -> Tensor:
    """Return states where the basins of pairs of minima meet, and halfway between the pairs.

    A way from one to the other is cut into parts, and the part in which it leaves the first basin
    again.
    """
    pairs = list(itertools.combinations(range(len(minima)), 2))
    if not pairs:
        return minima[:0]
    first, second = torch.tensor(pairs).T
    nearest = (minima[first] - minima[second]).abs().amax(-1).argsort()[:EDGE_PAIRS].cpu()
    a, b = minima[first[nearest]], minima[second[nearest]]
    home, halfway = a, (a + b) / 2
    cuts = torch.arange(1, PARTS, dtype=a.dtype, device=a.device) / PARTS
    for _ in range(CUTS):
        way = (b - a) / PARTS
        between = a.unsqueeze(1) + cuts.unsqueeze(-1) * (b - a).unsqueeze(1)
        ends = settle_from(network, between.flatten(0, 1), EDGE_TOL).reshape(between.shape)
        inside = (ends - home.unsqueeze(1)).abs().amax(-1) < SAME_BASIN
        passed = inside.long().cumprod(1).sum(1, keepdim=True)  # parts before the first end outside
        a = a + passed * way
        b = a + way
    return torch.cat([halfway, (a + b) / 2])
