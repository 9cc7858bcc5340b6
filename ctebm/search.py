r"""All equilibria of a network: stable points, saddles, maxima, and continua of them.

Every fixed point lies in a box that the largest possible currents give; starts cover it. Minima
come from going down the energy; all kinds from Newton's method, plain and deflated (Farrell,
Birkisson & Funke 2015), from the same starts and from where the basins of two minima meet. That
:math:`\sum (-1)^{index} = 1` tells whether something is missing, and prolongs the search.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from ctebm.fixed_points import (
    FixedPoints,
    check_tolerance,
    classify,
    hessian_on,
    pinned_units,
    points_at,
    project,
    residual,
)
from ctebm.network import Network
from ctebm.pairwise import PairwiseNetwork
from ctebm.root import newton
from ctebm.settling import check_energy, settle_rows

__all__ = ["certify_unique", "enumerate_fixed_points", "find_fixed_points", "state_bounds"]

# Newton's steps factor the Jacobian of every start; beyond, only minima are looked for.
NEWTON_UNITS = 600
# Up to here the search goes on while the index sum says that points are missing.
EXHAUSTIVE_UNITS = 32
_ONE = torch.Size((1,))


def find_fixed_points(
    network: Network,
    n_starts: int = 200,
    seed: int = 0,
    tol: float = 1e-10,
    bounds: tuple[Tensor | float, Tensor | float] | None = None,
) -> FixedPoints:
    r"""Find the distinct equilibria of one network, whatever their stability.

    Parameters
    ----------
    network : Network
        With one sample; above 600 units only stable points are looked for.
    n_starts : int
        Random starts; up to 32 units their number doubles, up to three times, while the index sum
        says that points are missing.
    seed : int
        Root seed of the starts.
    tol : float
        Bound on the residual of what is returned; points are then polished to rounding.
    bounds : tuple of float or Tensor, optional
        Lowest and highest start of each unit; by default :func:`state_bounds`.

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
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    low, high = state_bounds(network) if bounds is None else bounds
    catalogue = _Catalogue(network, tol)
    n = _n_units(network)
    for attempt in range(4 if n <= EXHAUSTIVE_UNITS else 1):
        unit = torch.as_tensor(rng.random((n_starts << attempt, n)))
        # half of the starts cover the inside, half the faces where units saturate
        unit[::2] = (3 * unit[::2] - 1).clamp(0, 1)
        starts = project(network, low + (high - low) * unit.to(network.dtype).to(network.device))
        if attempt == 0:
            check_energy(network, starts)
        catalogue.add(_settled(network, starts, tol))
        catalogue.add(_settled(network, _flips(catalogue.states, low, high, rng), tol))
        if n > NEWTON_UNITS:
            break
        known = None if attempt == 0 else catalogue.states
        catalogue.add(_newton(network, starts, tol, known))
        if network.is_gradient:
            catalogue.add(_newton(network, _edges(network, catalogue.minima(), tol), tol))
        if catalogue.points().index_sum in (1, None):
            break
    points = catalogue.points()
    if points.index_sum not in (1, None) and _can_enumerate(network):
        catalogue.add(enumerate_fixed_points(network, tol).state, hits=0)
    return catalogue.points()


def enumerate_fixed_points(network: Network, tol: float = 1e-10) -> FixedPoints:
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
    n, box = _n_units(network), network.box
    if box is None or not _can_enumerate(network):
        raise ValueError(
            f"expected up to 12 units with kinks, got {n} units and box {box}; "
            "use find_fixed_points."
        )
    low, high = box
    origin = torch.full((n,), (low + high) / 2, dtype=network.dtype, device=network.device)
    J, f0 = network.jacobian(origin), network.force(origin)
    catalogue = _Catalogue(network, tol)
    found = []
    for pattern in itertools.product([False, True], repeat=n):
        free = torch.tensor(pattern, device=origin.device)
        pins = list(itertools.product([low, high], repeat=int((~free).sum())))
        s = origin.repeat(len(pins), 1)
        s[:, ~free] = torch.tensor(pins, dtype=s.dtype, device=s.device)
        if bool(free.any()):
            # force = f0 + J (s - origin), which is 0 on the free units
            known = f0 + (s - origin).masked_fill(free, 0) @ J.mT
            inverse = torch.linalg.pinv(J[free][:, free], rtol=1e-12)
            s[:, free] = origin[free] - known[:, free] @ inverse.mT
        s = s[((s >= low) & (s <= high)).all(-1)]
        found.append(s[residual(network, s) <= tol])
    catalogue.add(torch.cat(found))
    return catalogue.points()


def state_bounds(network: Network) -> tuple[Tensor, Tensor]:
    r"""Return bounds ``(unit,)`` between which every fixed point lies.

    With kinks the box. Else :math:`|s_i| \le \max|\rho'|\,\max|I_i|`, the currents being largest
    when every rate is at its end. For an energy of the user's own the bounds are a guess: half as
    far again as where a few settled states lie.
    """
    n = _n_units(network)
    ones = torch.ones(n, dtype=network.dtype, device=network.device)
    if network.box is not None:
        return network.box[0] * ones, network.box[1] * ones
    if isinstance(network, PairwiseNetwork):
        slowest, fastest = network.activation.rates
        reach = network.activation.max_slope * _largest_current(network, slowest, fastest)
        if bool(torch.isfinite(reach).all()):
            return -reach, reach
    starts = torch.as_tensor(np.random.default_rng(0).standard_normal((8, n))).to(ones)
    reach = 1.5 * _settled(network, starts, 1e-6).abs().max() + 0.5
    return -reach * ones, reach * ones


def certify_unique(network: PairwiseNetwork) -> bool:
    r"""Return True if a norm bound proves that there is exactly one equilibrium, else False.

    The energy is strictly convex where
    :math:`\max\rho'^2\,\lambda_{max}(W) + \max|\rho''|\,\max|I| < 1`. False proves nothing.
    """
    n = _n_units(network)
    rho = network.activation
    if n <= 4000:
        coupling = max(0.0, float(torch.linalg.eigvalsh(network.dense_weight())[-1]))
    else:  # the largest row sum bounds every eigenvalue
        ones = torch.ones(n, dtype=network.dtype, device=network.device)
        coupling = float(network._map(torch.abs).coupling(ones).max())
    bend = 0.0
    if network.box is None:
        bend = rho.max_bend * float(_largest_current(network, *rho.rates).max())
    return rho.max_slope**2 * coupling + bend < 1


def _can_enumerate(network: Network) -> bool:
    return network.box is not None and _n_units(network) <= 12


class _Catalogue:
    """Equilibria found so far, as they come, with the number of starts that led nowhere."""

    def __init__(self, network: Network, tol: float) -> None:
        self.network, self.tol, self.failed = network, tol, 0
        self.states = torch.zeros(0, _n_units(network), dtype=network.dtype, device=network.device)
        self.hits = torch.zeros(0, dtype=torch.long)
        self._points: FixedPoints | None = None

    def add(self, s: Tensor, hits: int = 1) -> None:
        """Add the ends of searches; those that are no equilibria are counted only."""
        if len(s) == 0:
            return
        good = residual(self.network, s) <= self.tol
        self.failed += int((~good).sum())
        states = torch.cat([self.states, s[good]])
        counts = torch.cat([self.hits, torch.full((int(good.sum()),), hits)])
        distance = torch.cdist(states, states, p=math.inf)
        # a force of rounding size is reached at r/|lambda| from the point
        group = _linked(distance <= 1e-6 * (1 + states.abs().amax()), self._same_energy(states))
        res = residual(self.network, states)
        best = [int(g[res[g].argmin()]) for g in group]
        self.states = states[best]
        self.hits = torch.stack([counts[g].sum() for g in group]) if group else counts
        self._points = None

    def minima(self) -> Tensor:
        """Return the stable states."""
        points = self.points()
        return points.state[[kind == "stable" for kind in points.stability]]

    def points(self) -> FixedPoints:
        """Return the record of distinct points, degenerate ones merged."""
        if self._points is None:
            self._points = self._merged()
        return self._points

    def _merged(self) -> FixedPoints:
        s, hits = _polished(self.network, self.states, self.tol), self.hits
        kinds = [classify(self.network, u)[1] for u in s]
        flat = torch.tensor([k == "degenerate" for k in kinds], dtype=torch.bool, device=s.device)
        wide = torch.tensor(
            [k and _continues(self.network, u) for k, u in zip(flat.tolist(), s, strict=True)],
            dtype=torch.bool,
            device=s.device,
        )
        # a degenerate point is known to the cube root of rounding; a continuum has one energy
        apart = torch.cdist(s, s, p=math.inf) / (1 + (s.abs().amax() if len(s) else 0))
        near = (apart <= 1e-6) | ((apart <= 1e-3) & (flat | flat[:, None]))
        near |= (wide & flat[:, None]) | (flat & wide[:, None])
        res = residual(self.network, s)
        group = _linked(near, self._same_energy(s))
        # a degenerate point stands for its group, then the one of the smallest force
        rank = res - flat.to(res.dtype)
        best = [int(g[rank[g].argmin()]) for g in group]
        energy = self.network.energy(s) if self.network.is_gradient else s.sum(-1)
        for g in group:
            wide[g] = wide[g].any()
        total = {i: int(hits[g].sum()) for i, g in zip(best, group, strict=True)}
        best.sort(key=lambda i: float(energy[i]))
        return points_at(
            self.network,
            s[best],
            self.tol,
            torch.zeros(len(best), dtype=torch.long),
            hits=torch.tensor([total[i] for i in best], dtype=torch.long),
            continuum=wide[best],
            failed=self.failed,
        )

    def _same_energy(self, s: Tensor) -> Tensor:
        if not self.network.is_gradient:
            return torch.ones(len(s), len(s), dtype=torch.bool, device=s.device)
        E = self.network.energy(s)
        return (E[:, None] - E).abs() <= 1e-9 * (1 + E.abs())


def _linked(*relations: Tensor) -> list[Tensor]:
    """Return the groups that all relations together link, transitively."""
    related = torch.stack(relations).all(0)
    label = torch.arange(len(related), device=related.device)
    while len(related):
        lowest = torch.where(related, label, len(related)).amin(-1)
        if bool((lowest == label).all()):
            break
        label = lowest
    label = label.cpu()
    return [torch.nonzero(label == k).squeeze(-1) for k in label.unique()]


def _continues(network: Network, s: Tensor, step: float = 1e-2) -> bool:
    """Return whether other equilibria are found at a small distance along the null directions."""
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    free = ~pinned | (f.abs() <= math.sqrt(torch.finfo(s.dtype).eps))
    where = torch.nonzero(free).squeeze(-1)
    if len(where) > NEWTON_UNITS or not network.is_gradient:
        return False
    values, vectors = torch.linalg.eigh(hessian_on(network, s, where))
    null = vectors[:, values.abs() <= 1e-6 * max(1.0, float(values.abs().max()))].mT
    if len(null) == 0:
        return False
    shift = s.new_zeros(len(null), len(s)).index_copy(1, where, null)
    shift = step * shift / shift.abs().amax(-1, keepdim=True)
    starts = project(network, torch.cat([s + shift, s - shift]))
    ends = _newton(network, starts, 1e-12)
    moved = (ends - s).abs().amax(-1) > step / 4
    return bool((moved & (residual(network, ends) <= 1e-12)).any())


def _flips(
    s: Tensor,
    low: Tensor | float,
    high: Tensor | float,
    rng: np.random.Generator,
    at_most: int = 500,
) -> Tensor:
    """Return known states with one unit at either end of its range."""
    n = s.shape[-1]
    which = torch.as_tensor(rng.permutation(2 * n * len(s))[:at_most])
    point, unit, up = which // (2 * n), which % n, (which // n) % 2 == 1
    flipped = s[point]
    low, high = (torch.as_tensor(b).to(s).expand(n)[unit] for b in (low, high))
    flipped[torch.arange(len(which)), unit] = torch.where(up.to(s.device), high, low)
    return flipped


def _edges(network: Network, minima: Tensor, tol: float, n_pairs: int = 64) -> Tensor:
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
        ends = _settled(network, middle, 1e-6)
        inside = ((ends - home).abs().amax(-1) < 1e-3).unsqueeze(-1)
        a, b = torch.where(inside, middle, a), torch.where(inside, b, middle)
    return torch.cat([*edges, (a + b) / 2])


def _polished(network: Network, s: Tensor, tol: float) -> Tensor:
    """Return states after Newton's method, where it has not gone elsewhere."""
    if len(s) == 0 or s.shape[-1] > NEWTON_UNITS:
        return s
    ends = _newton(network, s, tol)
    better = (residual(network, ends) <= residual(network, s)) & ((ends - s).abs().amax(-1) < 1e-3)
    return torch.where(better.unsqueeze(-1), ends, s)


def _settled(network: Network, starts: Tensor, tol: float) -> Tensor:
    rows = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
    return settle_rows(network, _ONE, starts, rows, tol, 500)[0]


def _newton(network: Network, starts: Tensor, tol: float, known: Tensor | None = None) -> Tensor:
    """Return the ends of Newton's method, in portions that bound the memory."""
    portion = max(1, 10**7 // max(1, starts.shape[-1] ** 2))
    ends = []
    for part in starts.split(portion):
        rows = torch.zeros(len(part), dtype=torch.long, device=part.device)
        ends.append(newton(network, _ONE, part, rows, tol, known=known)[0])
    return torch.cat(ends) if ends else starts


def _largest_current(network: PairwiseNetwork, slowest: float, fastest: float) -> Tensor:
    """Return a bound on each unit's absolute current, the rates being anywhere in their range."""
    centre = torch.full_like(network.bias, (slowest + fastest) / 2)
    spread = torch.full_like(network.bias, (fastest - slowest) / 2)
    middle = (network.bias + network.coupling(centre)).abs()
    return middle + network._map(torch.abs).coupling(spread)


def single(network: Network) -> Network:
    """Return a network of one sample without its batch, or refuse it."""
    if math.prod(network.batch) != 1:
        raise ValueError(
            f"expected a network with one sample, got {tuple(network.batch)}; clamp one input."
        )
    if not network.batch:
        return network
    return network.samples(network.batch, torch.tensor(0))


def _n_units(network: Network) -> int:
    if network.n_units is None:
        raise ValueError(
            "this network takes states of any length; give it n_units, as in "
            "super().__init__(n_units)."
        )
    return network.n_units
