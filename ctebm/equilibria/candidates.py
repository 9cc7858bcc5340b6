"""States from which a search for equilibria sets out, of one network.

At random between bounds, some steps along the motion, where one unit of a known state is flipped,
and where the basins of two known minima meet.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.angles import Angles
from ctebm.equilibria.kkt import project
from ctebm.equilibria.settling import settle_from
from ctebm.networks.base import VectorField, count_units

__all__ = ["EDGE_PAIRS", "along", "edges", "flips", "random_starts"]

# Known states with one unit flipped that are settled in each attempt.
FLIPS = 500
# Steps along the motion before Newton's method, one number for each start in turn: where many units
# saturate it wanders, after a few steps most starts lead it to an equilibrium, the longer they are
# the more to stable ones.
ALONG = (0, 4, 8)
# The longest step along the motion in membrane time constants, and how far ahead its slope is seen.
LONGEST_STEP, AHEAD = 0.5, 1e-6
# Pairs of minima, the nearest first, between which an edge of their basins is looked for, the parts
# that a way is cut into, and how often. Ends are settled coarsely: so near the first minimum they
# are in its basin.
EDGE_PAIRS, PARTS, CUTS, EDGE_TOL, SAME_BASIN = 64, 8, 4, 1e-6, 1e-3


def random_starts(
    network: VectorField,
    n_starts: int,
    low: Tensor | float,
    high: Tensor | float,
    draw: np.random.Generator,
    angles: Angles,
) -> Tensor:
    """Return random starts: half cover the inside, half the faces where units saturate.

    Angles are anywhere.
    """
    unit = torch.from_numpy(draw.random((n_starts, count_units(network))))
    ends = torch.isinf(angles.period).cpu()
    unit[::2] = torch.where(ends, (3 * unit[::2] - 1).clamp(0, 1), unit[::2])
    return project(network, low + (high - low) * unit.to(network.dtype).to(network.device))


def flips(
    s: Tensor,
    low: Tensor | float,
    high: Tensor | float,
    draw: np.random.Generator,
) -> Tensor:
    """Return known states with one unit at either end of its range."""
    n = s.shape[-1]
    which = torch.from_numpy(draw.permutation(2 * n * len(s))[:FLIPS])
    point, unit, up = which // (2 * n), which % n, (which // n) % 2 == 1
    flipped = s[point]
    low, high = (torch.as_tensor(b, device=s.device).to(s).expand(n)[unit] for b in (low, high))
    flipped[torch.arange(len(which), device="cpu"), unit] = torch.where(up.to(s.device), high, low)
    return flipped


def along(network: VectorField, starts: Tensor) -> Tensor:
    """Return starts after some steps along the motion, as many as :data:`ALONG` says in turn."""
    number = torch.tensor(ALONG, device=starts.device).repeat(len(starts))[: len(starts)]
    s = starts.clone()
    for k in range(max(ALONG)):
        at = torch.nonzero(number > k).squeeze(-1)
        f = network.force(s[at])
        ahead = AHEAD * (1 + _largest(s[at])) / _largest(f)
        slope = _largest(network.force(s[at] + ahead * f) - f) / _largest(ahead * f)
        step = torch.nan_to_num(1 / slope, nan=0.0).clamp(max=LONGEST_STEP)
        s[at] = project(network, s[at] + step * f)
    return s


def _largest(s: Tensor) -> Tensor:
    """Return the largest unit of each row in absolute value, ``(row, 1)``."""
    return s.abs().amax(-1, keepdim=True)


def edges(network: VectorField, minima: Tensor, angles: Angles) -> Tensor:
    """Return states where the basins of pairs of minima meet, and halfway between the pairs.

    A way from one to the other is cut into parts, and the part in which it leaves the first basin
    again. A minimum and itself once round an angle are a pair too.
    """
    n, round_ = len(minima), angles.shifted(minima)
    pairs = list(itertools.combinations(range(n), 2))
    pairs += [(i * n // len(round_), n + i) for i in range(len(round_))]
    if not pairs:
        return minima[:0]
    first, second = torch.tensor(pairs, device="cpu").T
    ends = torch.cat([minima, round_])
    nearest = (ends[first] - ends[second]).abs().amax(-1).argsort()[:EDGE_PAIRS].cpu()
    a, b = ends[first[nearest]], ends[second[nearest]]
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
