"""Equilibria as a search finds them: told apart, polished, degenerate ones merged."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctebm.equilibria.inertia import classify, hessian_on
from ctebm.equilibria.kkt import pinned_units, project, residual
from ctebm.equilibria.newton import NEWTON_UNITS, newton_from
from ctebm.equilibria.record import FixedPoints, points_at
from ctebm.networks.base import VectorField, count_units
from ctebm.networks.energy import Network

__all__ = ["Catalogue"]


class Catalogue:
    """Equilibria found so far, as they come, with the number of starts that led nowhere."""

    def __init__(self, network: VectorField, tol: float) -> None:
        self.network, self.tol, self.failed = network, tol, 0
        self.states = torch.zeros(
            0, count_units(network), dtype=network.dtype, device=network.device
        )
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
        energy = self.network.energy(s) if isinstance(self.network, Network) else s.sum(-1)
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
        if not isinstance(self.network, Network):
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


def _continues(network: VectorField, s: Tensor, step: float = 1e-2) -> bool:
    """Return whether other equilibria are found at a small distance along the null directions."""
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    free = ~pinned | (f.abs() <= math.sqrt(torch.finfo(s.dtype).eps))
    where = torch.nonzero(free).squeeze(-1)
    if len(where) > NEWTON_UNITS or not isinstance(network, Network):
        return False
    values, vectors = torch.linalg.eigh(hessian_on(network, s, where))
    null = vectors[:, values.abs() <= 1e-6 * max(1.0, float(values.abs().max()))].mT
    if len(null) == 0:
        return False
    shift = s.new_zeros(len(null), len(s)).index_copy(1, where, null)
    shift = step * shift / shift.abs().amax(-1, keepdim=True)
    starts = project(network, torch.cat([s + shift, s - shift]))
    ends = newton_from(network, starts, 1e-12)
    moved = (ends - s).abs().amax(-1) > step / 4
    return bool((moved & (residual(network, ends) <= 1e-12)).any())


def _polished(network: VectorField, s: Tensor, tol: float) -> Tensor:
    """Return states after Newton's method, where it has not gone elsewhere."""
    if len(s) == 0 or s.shape[-1] > NEWTON_UNITS:
        return s
    ends = newton_from(network, s, tol)
    better = (residual(network, ends) <= residual(network, s)) & ((ends - s).abs().amax(-1) < 1e-3)
    return torch.where(better.unsqueeze(-1), ends, s)
