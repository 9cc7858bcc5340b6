"""The distinct equilibria among the ends of a search: told apart, polished, merged.

Two ends are one equilibrium if they agree in state and energy to the precision that the curvature
there allows; a continuum of equilibria is one entry.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from ctebm.equilibria.angles import Angles
from ctebm.equilibria.inertia import classify_rows, hessian_on, root_of_rounding
from ctebm.equilibria.kkt import pinned_units, project, residual, residual_vector
from ctebm.equilibria.newton import NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints, known_energy, points_at
from ctebm.equilibria.rows import Rows
from ctebm.networks.base import VectorField, count_units
from ctebm.networks.energy import Network

__all__ = ["Catalogue"]

# A residual of the tolerance is reached within tol / |lambda| of a point: so near, relative to the
# largest state, two ends are one point.
SAME_STATE = 1e-6
# At a degenerate point the force is cubic: it is known to the cube root of rounding only.
SAME_DEGENERATE = 1e-3
# What the energies of one point differ by: the square of that in the state, and rounding.
SAME_ENERGY = 1e-9
# Where rounding is coarser, in single precision, two are the same within so much of it.
ROUNDING = 64
# Polishing that moves a unit further has gone to another point.
POLISH_REACH = 1e-3
# A curvature this small, relative to the largest, may be the direction of a continuum.
NULL = 1e-6
# How far along it the next equilibrium is looked for, and how exact it must be; an isolated point
# with a quartic energy has a force of this step cubed, which is well above.
CONTINUUM_STEP, CONTINUUM_TOL = 1e-2, 1e-12
# Pinned units that would be released on the way shorten the step, not below this: in a shorter one
# a small curvature is not seen. Each solve gains about the factor of the step.
SHORTEST_STEP, CONTINUUM_SOLVES = 1e-4, 12


class Catalogue:
    """Equilibria found so far, with the number of random starts that led to each and to none.

    Parameters
    ----------
    network : VectorField
        With one sample.
    tol : float
        Bound on the residual of an equilibrium.
    angles : Angles, optional
        Units of which states a period apart are one.
    """

    network: VectorField
    tol: float
    angles: Angles
    failed: int
    states: Tensor
    hits: Tensor

    def __init__(self, network: VectorField, tol: float, angles: Angles | None = None) -> None:
        self.network, self.tol, self.failed = network, tol, 0
        self.angles = Angles.of(network, None) if angles is None else angles
        self.states = torch.zeros(
            0, count_units(network), dtype=network.dtype, device=network.device
        )
        self.hits = torch.zeros(0, dtype=torch.long, device="cpu")
        self._points: FixedPoints | None = None

    def count(self, s: Tensor) -> None:
        """Add the ends of random starts, one hit each; those that are no equilibria failed."""
        s = self.angles.principal(s)
        good = self._converged(s)
        self.failed += int((~good).sum())
        self._add(s[good], hits=1)

    def add(self, s: Tensor) -> None:
        """Add equilibria among states that were reached in other ways than from random starts."""
        s = self.angles.principal(s)
        self._add(s[self._converged(s)], hits=0)

    def minima(self) -> Tensor:
        """Return the stable states."""
        points = self.points()
        return points.state[[kind == "stable" for kind in points.stability]]

    def points(self) -> FixedPoints:
        """Return the record of distinct points, degenerate ones merged, in order of energy."""
        if self._points is None:
            self._points = self._merged()
        return self._points

    def _converged(self, s: Tensor) -> Tensor:
        return residual(self.network, s) <= self.tol

    def _add(self, s: Tensor, hits: int) -> None:
        self._points = None
        if len(s) == 0:
            return
        states = torch.cat([self.states, s.detach()])  # off the graph of parameters that learn
        counts = torch.cat([self.hits, torch.full((len(s),), hits, device="cpu")])
        radius = _bound(SAME_STATE, states) * (1 + float(states.abs().amax()))
        period, height = self.angles.period, self._height(states)
        groups = _linked(len(states), _near(states, radius, height, period))
        self.states = states[_smallest(residual(self.network, states), groups)]
        self.hits = torch.stack([counts[g].sum() for g in groups])

    def _merged(self) -> FixedPoints:
        """Return the record of the points, polished, each group of degenerate ones as one."""
        s = self.angles.principal(_polished(self.network, self.states, self.tol)).detach()
        degenerate, continues = self._kinds(s)
        pairs = _same_point(s, self._height(s), degenerate, continues, self.angles.period)
        groups = _linked(len(s), *pairs)
        # a degenerate point stands for its group, then the one of the smallest force
        rank = residual(self.network, s) - degenerate.to(s.dtype)
        best = _smallest(rank, groups)
        continuum = torch.stack([continues[g].any() for g in groups]) if groups else continues
        hits = torch.tensor(
            [int(self.hits[g].sum()) for g in groups], dtype=torch.long, device="cpu"
        )
        energy = known_energy(self.network, s)
        order = (s.sum(-1) if energy is None else energy)[best].argsort(stable=True)
        return points_at(
            self.network,
            s[best][order],
            self.tol,
            torch.zeros_like(order),
            hits=hits.to(order.device)[order],
            continuum=continuum[order],
            failed=self.failed,
        )

    def _kinds(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return which states are degenerate, and which of these lie in a continuum."""
        kinds = classify_rows(Rows.repeated(self.network, len(s)), s)
        flat = [kind == "degenerate" for _, kind in kinds]
        wide = [d and _continues(self.network, u) for d, u in zip(flat, s, strict=True)]
        degenerate, continues = torch.tensor([flat, wide], dtype=torch.bool, device=s.device)
        return degenerate, continues

    def _height(self, s: Tensor) -> Tensor:
        """Return a function of the energy, ``(state,)``: one energy differs by less than 1 in it.

        All are 0 where no energy is known.
        """
        E = known_energy(self.network, s)
        if E is None:
            return torch.zeros_like(s[:, 0])
        # its slope is that of E / (1 + |E|)
        return E.sign() * E.abs().log1p() / _bound(SAME_ENERGY, s)


def _bound(bound: float, s: Tensor) -> float:
    """Return a bound on what is the same in double precision, or rounding's of these states."""
    return max(bound, ROUNDING * torch.finfo(s.dtype).eps)


def _same_point(
    s: Tensor, height: Tensor, degenerate: Tensor, continues: Tensor, period: Tensor
) -> list[NDArray[np.intp]]:
    """Return pairs of states of one energy that are one point, or of one continuum."""
    scale = 1 + (float(s.abs().amax()) if len(s) else 0)
    flat = torch.nonzero(degenerate).squeeze(-1)
    several = flat.cpu().numpy()
    near_flat = several[_near(s[flat], SAME_DEGENERATE * scale, height[flat], period)]
    level = several[_near(s[flat, :0], 1.0, height[flat], period[:0])]
    wide = continues.cpu().numpy()[level].any(-1)
    return [_near(s, _bound(SAME_STATE, s) * scale, height, period), near_flat, level[wide]]


def _near(s: Tensor, radius: float, height: Tensor, period: Tensor) -> NDArray[np.intp]:
    """Return pairs ``(pair, 2)`` of states that are near in every unit, and within 1 in height.

    Angles are near round their period too.

    Of states in one cell of that size each is paired with the first, so that a thousand ends at one
    point are not a million pairs.
    """
    round_ = torch.where(torch.isfinite(period), period / radius, 0.0)
    at = torch.where(round_ > 0, s / radius % round_, s / radius)
    at = torch.where((round_ > 0) & (at >= round_), 0.0, at)  # by rounding
    at, around = (torch.cat(x, -1).double().detach().cpu().numpy() for x in
                  ((at, height.unsqueeze(-1)), (round_, round_.new_zeros(1))))  # fmt: skip
    _, first, cell = np.unique(np.floor(at), axis=0, return_index=True, return_inverse=True)
    pairs = np.stack([np.arange(len(at)), first[cell.reshape(-1)]], -1)
    if len(first) < 2:
        return pairs
    tree = KDTree(at[first], boxsize=around if around.any() else None)
    between = tree.query_pairs(1.0, p=math.inf, output_type="ndarray")
    return np.concatenate([pairs, first[between]])


def _smallest(size: Tensor, groups: list[Tensor]) -> list[int]:
    """Return the place of the smallest entry in each group."""
    return [int(g[size[g].argmin()]) for g in groups]


def _linked(n: int, *pairs: NDArray[np.intp]) -> list[Tensor]:
    """Return the groups of `n` states that pairs of them link, transitively."""
    if n == 0:
        return []
    i, j = np.concatenate(pairs).T
    graph = scipy.sparse.coo_array((np.ones(len(i), bool), (i, j)), (n, n))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    return list(torch.from_numpy(order).split(np.bincount(label).tolist()))


def _continues(network: VectorField, s: Tensor) -> bool:
    r"""Return whether other equilibria are found at a small distance along the null directions.

    Lyapunov and Schmidt's reduction: a state is shifted along a null vector of the Jacobian, then
    the other directions are solved for. What is left of the force is zero along a continuum.
    """
    f = network.force(s)
    free = ~pinned_units(network, s, f) | (f.abs() <= root_of_rounding(s.dtype))
    where = torch.nonzero(free).squeeze(-1)
    if not 0 < len(where) <= NEWTON_UNITS:
        return False
    null, inverse = _null_directions(network, s, where)
    if len(null) == 0:
        return False
    step = min(CONTINUUM_STEP, max(SHORTEST_STEP, _to_the_next_kink(network, s, f, free) / 2))
    shift = s.new_zeros(len(null), len(s)).index_copy(1, where, null)
    shift = step * shift / shift.abs().amax(-1, keepdim=True)
    ends = project(network, torch.cat([s + shift, s - shift]))
    for _ in range(CONTINUUM_SOLVES):
        F = residual_vector(network, ends, network.force(ends))
        correction = (F[:, where] @ inverse.mT).clamp(-step, step)
        ends = project(network, ends.index_add(1, where, correction))
    moved = (ends - s).abs().amax(-1) > step / 4
    return bool((moved & (residual(network, ends) <= CONTINUUM_TOL)).any())


def _null_directions(network: VectorField, s: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return the null vectors ``(vector, unit)`` of minus the Jacobian on some units, its inverse.

    The inverse is that on the other directions.
    """
    if isinstance(network, Network):
        size, right = torch.linalg.eigh(hessian_on(network, s, where))
        left = right
    else:
        left, size, right_h = torch.linalg.svd(-network.jacobian(s)[where][:, where])
        right = right_h.mT
    flat = size.abs() <= NULL * max(1.0, float(size.abs().max()))
    return right[:, flat].mT, (right[:, ~flat] / size[~flat]) @ left[:, ~flat].mT


def _to_the_next_kink(network: VectorField, s: Tensor, f: Tensor, free: Tensor) -> float:
    """Return how far the pinned units that are not free are from being released."""
    held = f.abs()[~free]
    return float(held.min()) if network.box is not None and len(held) else math.inf


def _polished(network: VectorField, s: Tensor, tol: float) -> Tensor:
    """Return states after Newton's method, where it has not gone elsewhere."""
    if len(s) == 0 or s.shape[-1] > NEWTON_UNITS:
        return s
    ends = newton_from(network, s, tol)
    near = (ends - s).abs().amax(-1) < POLISH_REACH
    better = near & (residual(network, ends) <= residual(network, s))
    return torch.where(better.unsqueeze(-1), ends, s)
