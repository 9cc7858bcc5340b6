r"""All equilibria of a network: stable points, saddles, maxima, and continua of them.

Every fixed point lies in a box that the largest possible currents give; starts cover it. Minima
come from going down the energy. Of a smooth energy the others come from following modes to
equilibria of a chosen index, from the starts and then from beside what is known; else from Newton's
method. Both go on by deflation (Farrell, Birkisson & Funke 2015). The sum
:math:`\sum (-1)^{index}` tells whether something is missing; then the search looks where the basins
of two minima meet, and goes on until the sum is 1 and, where there are many, none is new. Of few
units, what exchanges of units that are alike make of an equilibrium is one as well.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.angles import Angles
from ctebm.equilibria.bounds import Bounds, bounds_are_known, checked_bounds, state_bounds
from ctebm.equilibria.candidates import EDGE_PAIRS, along, edges, flips, random_starts
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.enumeration import can_enumerate, enumerated
from ctebm.equilibria.kkt import COARSEST, check_tolerance
from ctebm.equilibria.mode_following import from_known, of_index, smooth_energy
from ctebm.equilibria.newton import LONGEST_STEP, NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import settle_from
from ctebm.equilibria.starts import check_motion, check_precision
from ctebm.equilibria.symmetries import Symmetries
from ctebm.networks.base import VectorField, count_units, single
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import whole

__all__ = ["find_fixed_points", "search"]

# Up to here the search goes on, so many times, while the index sum says that points are missing.
EXHAUSTIVE_UNITS, ATTEMPTS = 32, 4
# With an energy, and so many starts for each equilibrium, the index sum is believed; it is 1 by
# chance where some of many are missing, and then the last attempt must find none that is new.
STARTS_OF_POINT = 5
# States' worth of memory that is used for each start, about.
START_STATES = 40
# The time of a search, about that of so many forces on all its starts and of Newton's steps, is
# estimated if it may be long, from this share of the starts, at most so many, and said if it is
# more seconds than that: fewer starts take longer each.
FORCES, PROBE_SHARE, PROBE, LONG = 1000, 4, 32, 10.0
# Telling apart and classifying a point that was enumerated takes about so long.
SECONDS_OF_POINT = 1.5e-4
# So many steps of Newton's method bring starts to the end, after some along the motion, that it
# brings there at all.
NEWTON_STEPS = 25
# With an energy one start in so many is left to it: it also ends where a curvature is zero, which
# no index leads to.
PLAIN = 5
# Of the box in which equilibria lie, the longest step that follows modes.
SHARE_OF_BOX = 0.25


@small_on_one_thread(matrices=True)
def find_fixed_points(
    network: VectorField,
    n_starts: int = 200,
    seed: int = 0,
    tol: float | None = None,
    bounds: Bounds | None = None,
    period: ArrayLike | Tensor | None = None,
) -> FixedPoints:
    r"""Find the distinct equilibria of one network, whatever their stability.

    Parameters
    ----------
    network : VectorField
        With one sample, with or without an energy; above 600 units only stable points are looked
        for.
    n_starts : int
        Random starts; up to 32 units their number doubles, up to three times, while the index sum
        says that points are missing, or while some are new where there are many or no energy.
    seed : int
        Root seed of the starts.
    tol : float, optional
        Bound on the residual of what is returned, as for :func:`settle`; points are then polished
        to rounding. At most 2e-5, above which one point passes for many.
    bounds : tuple of float or Tensor, optional
        Lowest and highest start of each unit; by default those of
        :func:`~ctebm.equilibria.bounds.state_bounds`, which are a guess for a user's own motion
        without kinks: then no ``index_sum`` is given.
    period : float or array, (unit,), optional
        Of units that are angles, infinite for the others: states that differ by it are one. Angles
        are returned between minus and plus half of it, within which they also start by default,
        and the ``index_sum`` of all points is 0.

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
        `tol` is below rounding or too coarse, the bounds are not finite or not in order, or the
        motion does not have the period.

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
    tol, angles = check_tolerance(tol, network.dtype, most=COARSEST), Angles.of(network, period)
    points = search(network.snapshot(), n_starts, seed, tol, bounds, angles).points()
    known = bounds_are_known(network) or bool(torch.isfinite(angles.period).all())
    found_in = "given" if bounds is not None else "known" if known else "guessed"
    settings = {"n_starts": n_starts, "seed": str(seed), "bounds": found_in}
    settings |= {"period": angles.setting()} if angles.any else {}
    return replace(points, network=network, settings=settings)


def search(
    network: VectorField,
    n_starts: int,
    seed: int,
    tol: float,
    bounds: Bounds | None,
    angles: Angles,
) -> Catalogue:
    """Return the equilibria that random starts lead to; as for :func:`find_fixed_points`."""
    n_starts = whole("n_starts", n_starts, least=1)
    seed = whole("seed", seed, least=0)
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    if bounds is None:
        low, high = angles.bounds(*state_bounds(network))
    else:
        low, high = checked_bounds(network, bounds)
    n, catalogue = count_units(network), Catalogue(network, tol, angles)
    known, n_points = catalogue.states, 0
    lowest, highest = state_bounds(network) if bounds_are_known(network) else (low, high)
    reach = min(
        LONGEST_STEP, SHARE_OF_BOX * float(torch.as_tensor(highest - lowest, device="cpu").max())
    )
    attempts = ATTEMPTS if n <= EXHAUSTIVE_UNITS else 1
    check_memory(
        f"a search from {n_starts:,} starts, doubled up to {attempts - 1} times,",
        START_STATES * (n_starts << (attempts - 1)) * n * network.dtype.itemsize,
        "give fewer n_starts",
        network.device,
    )
    for attempt in range(attempts):
        began = time.perf_counter()
        starts = random_starts(network, n_starts << attempt, low, high, draw, angles)
        if attempt == 0:
            check_motion(network, starts)
            check_precision(network, starts)
            angles.check(network, starts)
            if _may_be_long(network, starts):
                _estimate(network, starts, tol)
        catalogue.count(settle_from(network, starts, tol))
        if can_enumerate(network):
            patterns = enumerated(network, tol)
            seconds = SECONDS_OF_POINT * len(patterns)
            _warn_of_time(seconds, f"{len(patterns):,} equilibria", "settle from a few starts")
            catalogue.add(patterns)
            break
        catalogue.add(settle_from(network, flips(catalogue.states, low, high, draw), tol))
        if n > NEWTON_UNITS:
            break
        moved = along(network, starts)
        if n <= EXHAUSTIVE_UNITS and smooth_energy(network):
            plain = torch.arange(len(moved), device=moved.device) % PLAIN == 0
            catalogue.add(newton_from(network, moved[plain], tol, max_iterations=NEWTON_STEPS))
            index = _any_index(catalogue, len(moved), draw)[~plain] if attempt % 2 else None
            catalogue.add(of_index(network, moved[~plain], tol, reach, index))
            known = from_known(catalogue, network, known, ATTEMPTS * len(starts), reach)
            if _incomplete(catalogue):
                _look_between(catalogue)
            if attempt > 0:
                _deflate(catalogue, starts[plain])
        else:
            # the motion leads away from unstable points: every other attempt is without it
            moved = starts if attempt % 2 else moved
            catalogue.add(newton_from(network, moved, tol, max_iterations=NEWTON_STEPS))
            if isinstance(network, Network):
                _look_between(catalogue)
            if n <= EXHAUSTIVE_UNITS:
                _deflate(catalogue, moved)
        if n <= EXHAUSTIVE_UNITS:
            Symmetries.of(network, starts).close(catalogue)
        before, n_points = n_points, len(catalogue.points())
        few = isinstance(network, Network) and STARTS_OF_POINT * n_points <= len(starts)
        incomplete = _incomplete(catalogue)
        if not incomplete and (few or n_points == before):
            break
        if attempt + 1 < attempts:
            missing = "are" if incomplete else "may be"
            more = f"{n_starts << (attempt + 1):,} starts more, since points {missing} missing"
            _warn_of_time(2 * (time.perf_counter() - began), more, "give fewer n_starts")
    return catalogue


def _may_be_long(network: VectorField, starts: Tensor) -> bool:
    """Return whether a search from starts may take longer than what is said before."""
    began = time.perf_counter()
    network.force(starts)
    if FORCES * (time.perf_counter() - began) > LONG:
        return True
    # the first time is also that of what is loaded then
    return all(_seconds_of_newton(network, starts) > LONG for _ in range(2))


def _seconds_of_newton(network: VectorField, starts: Tensor) -> float:
    """Return the time of Newton's method from starts and edges, by that of a step from a few."""
    if starts.shape[-1] > NEWTON_UNITS or can_enumerate(network):
        return 0.0
    few = starts[:PROBE]
    began = time.perf_counter()
    newton_from(network, few, 0.0, max_iterations=1)
    steps = NEWTON_STEPS * (len(starts) + 2 * EDGE_PAIRS)
    return steps / len(few) * (time.perf_counter() - began)


def _estimate(network: VectorField, starts: Tensor, tol: float) -> None:
    """Settle from the first few of many starts, and warn of the time that all will take.

    What is found is left to the search, whose result would depend on the clock otherwise.
    """
    n_few = min(PROBE, len(starts) // PROBE_SHARE)
    if n_few == 0 or can_enumerate(network):
        return
    few = starts[:n_few]
    began = time.perf_counter()
    settle_from(network, few, tol)
    seconds = (time.perf_counter() - began) * len(starts) / n_few
    seconds += _seconds_of_newton(network, starts)
    _warn_of_time(seconds, f"{len(starts):,} starts", "give fewer n_starts")


def _warn_of_time(seconds: float, what: str, remedy: str) -> None:
    """Warn before a search that takes long."""
    if seconds > LONG:
        warnings.warn(
            f"the search will take about {seconds:.0f} s ({what}); if that is too long, {remedy}.",
            stacklevel=5,
        )


def _look_between(catalogue: Catalogue) -> None:
    """Look for saddles where the basins of two minima meet."""
    network, tol = catalogue.network, catalogue.tol
    between = edges(network, catalogue.minima(), catalogue.angles)
    catalogue.add(newton_from(network, between, tol, max_iterations=NEWTON_STEPS))


def _deflate(catalogue: Catalogue, starts: Tensor) -> None:
    """Look for further equilibria away from those that are known, while any are found."""
    for _ in range(ATTEMPTS):
        known = catalogue.states
        ends = newton_from(catalogue.network, starts, catalogue.tol, known, NEWTON_STEPS)
        catalogue.add(ends)
        if len(catalogue.states) <= len(known):
            return


def _any_index(catalogue: Catalogue, n: int, draw: np.random.Generator) -> Tensor:
    """Return `n` random indices, up to one more than the highest that is known."""
    known = catalogue.points().index.tolist()
    drawn = torch.from_numpy(draw.integers(max(known, default=0) + 2, size=n))
    return drawn.to(catalogue.network.device)


def _incomplete(catalogue: Catalogue) -> bool:
    """Return whether the index sum proves that points are missing."""
    return catalogue.points().index_sum not in (catalogue.angles.index_sum, None)
