r"""All equilibria of a network: stable points, saddles, maxima, and continua of them.

Every fixed point lies in a box that the largest possible currents give; starts cover it. Minima
come from going down the energy; all kinds from Newton's method, plain and deflated (Farrell,
Birkisson & Funke 2015), from the same starts and from where the basins of two minima meet. That
:math:`\sum (-1)^{index} = 1` tells whether something is missing, and prolongs the search.
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
from ctebm.equilibria.settling import check_energy, settle_from
from ctebm.networks.base import VectorField, count_units, single
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box

__all__ = ["enumerate_fixed_points", "find_fixed_points"]

# Up to here the search goes on while the index sum says that points are missing.
EXHAUSTIVE_UNITS = 32


def find_fixed_points(
    network: VectorField,
    n_starts: int = 200,
    seed: int = 0,
    tol: float = 1e-10,
    bounds: tuple[Tensor | float, Tensor | float] | None = None,
) -> FixedPoints:
    r"""Find the distinct equilibria of one network, whatever their stability.

    Parameters
    ----------
    network : VectorField
        With one sample; above 600 units only stable points are looked for.
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
        Distinct points ``(point, unit)`` in order of energy, with ``hits``, ``index``,
        ``stability``, ``isolated`` and ``index_sum``. Two are one if they agree in state and
        energy to the precision that their curvature allows; a continuum of equilibria is one entry
        that is not ``isolated``. Starts that led nowhere are counted in ``failed``. If the index
        sum still says that points of up to 12 units with kinks are missing, they are enumerated,
        and have no hits.

    Raises
    ------
    ValueError
        If `n_starts` < 1, the network has more than one sample, or `tol` is below rounding.
    """
    network = single(network)
    if n_starts < 1:
        raise ValueError(f"expected n_starts >= 1, got {n_starts}.")
    check_tolerance(tol, network.dtype)
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    low, high = state_bounds(network) if bounds is None else bounds
    n, catalogue = count_units(network), Catalogue(network, tol)
    for attempt in range(4 if n <= EXHAUSTIVE_UNITS else 1):
        starts = _starts(network, n_starts << attempt, low, high, draw)
        if attempt == 0:
            check_energy(network, starts)
        catalogue.add(settle_from(network, starts, tol))
        catalogue.add(settle_from(network, _flips(catalogue.states, low, high, draw), tol))
        if n > NEWTON_UNITS:
            break
        known = None if attempt == 0 else catalogue.states
        catalogue.add(newton_from(network, starts, tol, known))
        if isinstance(network, Network):
            catalogue.add(newton_from(network, _edges(network, catalogue.minima(), tol), tol))
        if catalogue.points().index_sum in (1, None):
            break
    if catalogue.points().index_sum not in (1, None) and _can_enumerate(network):
        catalogue.add(enumerate_fixed_points(network, tol).state, hits=0)
    return catalogue.points()


def enumerate_fixed_points(network: VectorField, tol: float = 1e-10) -> FixedPoints:
    r"""Return every equilibrium of up to 12 hard-sigmoid units, from all :math:`3^N` patterns.

    Each unit is free, pinned low or pinned high; the free ones solve a linear system, and the
    pattern counts if it agrees with the currents. This is exact but for continua, of which one
    point is given for each singular pattern that has its smallest solution inside the box.

    Raises
    ------
    ValueError
        If the activation has no box or there are more than 12 units.
    """
    network = single(network)
    n, box = count_units(network), network.box
    if box is None or not _can_enumerate(network):
        raise ValueError(
            f"expected up to 12 units with kinks, got {n} units and box {box}; "
            "use find_fixed_points."
        )
    catalogue = Catalogue(network, tol)
    catalogue.add(torch.cat([s[residual(network, s) <= tol] for s in _patterns(network, box)]))
    return catalogue.points()


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
            inverse = torch.linalg.pinv(J[free][:, free], rtol=1e-12)
            s[:, free] = origin[free] - known[:, free] @ inverse.mT
        yield s[((s >= low) & (s <= high)).all(-1)]


def _can_enumerate(network: VectorField) -> bool:
    if network.box is None or count_units(network) > 12:
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
    at_most: int = 500,
) -> Tensor:
    """Return known states with one unit at either end of its range."""
    n = s.shape[-1]
    which = torch.as_tensor(draw.permutation(2 * n * len(s))[:at_most])
    point, unit, up = which // (2 * n), which % n, (which // n) % 2 == 1
    flipped = s[point]
    low, high = (torch.as_tensor(b).to(s).expand(n)[unit] for b in (low, high))
    flipped[torch.arange(len(which)), unit] = torch.where(up.to(s.device), high, low)
    return flipped


def _edges(network: VectorField, minima: Tensor, tol: float, n_pairs: int = 64) -> Tensor:
    """Return states where the basins of pairs of minima meet, by bisection between them."""
    pairs = list(itertools.combinations(range(len(minima)), 2))
    if not pairs:
        return minima[:0]
    first, second = torch.tensor(pairs).T
    nearest = (minima[first] - minima[second]).abs().amax(-1).argsort()[:n_pairs].cpu()
    a, b = minima[first[nearest]], minima[second[nearest]]
    home = a.clone()
    edges = [(a + b) / 2]
    for _ in range(12):
        middle = (a + b) / 2
        ends = settle_from(network, middle, 1e-6)
        inside = ((ends - home).abs().amax(-1) < 1e-3).unsqueeze(-1)
        a, b = torch.where(inside, middle, a), torch.where(inside, b, middle)
    return torch.cat([*edges, (a + b) / 2])
