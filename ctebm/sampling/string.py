"""A string of states between two minima, which slides down the force (E, Ren & Vanden-Eijnden)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.energy import Network

__all__ = ["AT_REST", "length_along", "slid", "spread"]

# The string has come to rest when it moves this little across itself, in states per time.
AT_REST = 1e-5
# Steps after which the step size is looked up again.
_RENEWED = 100
# Share of the largest stable Euler step that the string takes.
_SHARE = 0.5
# Straight strings between symmetric valleys can rest on a ridge; this much noise leads them off it.
_NUDGE = 1e-3


def slid(
    network: Network, a: Tensor, b: Tensor, n_images: int, max_iterations: int, seed: int
) -> tuple[Tensor, float, int]:
    """Slide a straight string down the force; return it, how fast it still moves, and the steps."""
    share = torch.linspace(0, 1, n_images, dtype=a.dtype, device=a.device).unsqueeze(-1)
    noise = np.random.default_rng(seed).standard_normal(len(a))
    bend = _NUDGE * torch.sin(torch.pi * share) * torch.as_tensor(noise).to(a)
    string = project(network, a + share * (b - a) + bend)
    moved, h = torch.inf, 0.0
    for step in range(max_iterations):
        if step % _RENEWED == 0:
            h = _SHARE / _steepest(network, string)
        slid = project(network, string + h * network.force(string))
        slid[0], slid[-1] = a, b
        before, string = string, spread(slid)
        moved = float((string - before).abs().max()) / h
        if moved <= AT_REST:
            return string, moved, step + 1
    return string, moved, max_iterations


def _steepest(network: Network, string: Tensor) -> float:
    """Return the largest curvature met along a string, by power iterations at a few states."""
    s = string[:: max(len(string) // 8, 1)]
    v = torch.ones_like(s)
    for _ in range(12):
        unit = v / v.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        v = network.hessian_product(s, unit)
    return max(1.1 * float(v.norm(dim=-1).max()), 1.0)


def length_along(string: Tensor) -> Tensor:
    """Return the length of a string up to each of its states, ``(image,)``."""
    steps = string.diff(dim=0).norm(dim=-1)
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])


def spread(string: Tensor) -> Tensor:
    """Return states at equal distances along a string."""
    along = length_along(string)
    at = torch.linspace(0, 1, len(string), dtype=along.dtype, device=along.device) * along[-1]
    after = torch.searchsorted(along, at).clamp(1, len(string) - 1)
    before = after - 1
    width = (along[after] - along[before]).clamp(min=torch.finfo(along.dtype).tiny)
    share = ((at - along[before]) / width).clamp(0, 1).unsqueeze(-1)
    return string[before] + share * (string[after] - string[before])
