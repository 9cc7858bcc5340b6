"""Small networks to move, and the measurements that tests of runs share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ctebm
from ctebm.dynamics.noise import BrownianSteps

F64 = torch.float64


def pair(w=0.5, rho=None, dtype=F64, bias=None) -> ctebm.DenseNetwork:
    weight = torch.tensor([[0.0, w], [w, 0.0]], dtype=dtype)
    bias = [-w / 2, -w / 2] if bias is None else bias
    return ctebm.DenseNetwork(weight, bias, rho or ctebm.HardSigmoid(), dtype=dtype)


def layered(batch=4, rho=None, dtype=F64) -> ctebm.LayeredNetwork:
    net = ctebm.LayeredNetwork.random(
        [8, 6, 5, 3], rho or ctebm.Tanh(), gain=2, seed=1, dtype=dtype
    )
    x = torch.rand(batch, 8, dtype=dtype, generator=torch.Generator().manual_seed(2))
    return net.clamp({"x": x})


class Free(ctebm.Network):
    """No energy at all: the state is the noise."""

    def energy(self, s: Tensor) -> Tensor:
        return 0 * s.sum(-1)

    def force(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)


class Upwards(ctebm.Network):
    """Runs away in finite time where it is large."""

    def energy(self, s: Tensor) -> Tensor:
        return -s.pow(4).sum(-1) / 4


def path(count: int, samples=(0, 1, 2), n_units=5, seed=7, **options) -> Tensor:
    with BrownianSteps(seed, samples, n_units, **options) as brownian:
        return torch.stack([brownian.increment().clone() for _ in range(count)])


def slope(eps: list[float], error: list[float]) -> float:
    return float(np.polyfit(np.log(eps), np.log(error), 1)[0])


def z_of_variance(x: Tensor, expected: float, n_independent: int) -> float:
    """Return by how many standard errors a variance is off."""
    return float((x.square().mean() / expected - 1) * (n_independent / 2) ** 0.5)
