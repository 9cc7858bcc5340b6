"""Methods are of the orders they declare."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, layered, slope
from torch import Tensor

import ctebm
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.noise import BrownianSteps


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.ode and not x.adaptive])
def test_deterministic_order(method):
    net = layered(2)
    dynamics = ctebm.Dynamics(net)
    exact = ctebm.simulate(
        dynamics, torch.full((14,), 0.9), times=[0, 1], method="dopri8", rtol=1e-13, atol=1e-14
    ).state[-1]
    grid = [0.5, 0.25, 0.125, 0.0625]
    error = []
    for eps in grid:
        run = ctebm.simulate(dynamics, torch.full((14,), 0.9), times=[0, 1], eps=eps, method=method)
        error.append(float((run.state[-1] - exact).abs().max()))
    assert slope(grid[1:], error[1:]) == pytest.approx(METHODS[method].order, abs=0.25)


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.sde and not x.adaptive])
def test_strong_order(method):
    dynamics = ctebm.Dynamics(layered(1), 0.5)
    start = torch.zeros(400, 14)
    finest = ctebm.simulate(
        dynamics, start, n_steps=256, eps=1 / 256, seed=3, method="srk", save_every=256
    )
    grid, error = [2, 4, 8, 16], []
    for m in grid:
        run = ctebm.simulate(
            dynamics, start, n_steps=128 // m, eps=m / 128, noise_of=finest, method=method,
            save_every=256,
        )  # fmt: skip
        difference = run.state[-1] - finest.state[-1]
        error.append(float(difference.square().mean().sqrt()))
    measured, strong = slope(grid, error), METHODS[method].strong
    if method == "srk":  # the terms that keep it from order 2 are small here
        assert strong - 0.15 < measured
    else:
        assert measured == pytest.approx(strong, abs=0.15)


class Leak(ctebm.Network):
    """One linear mode with time constant 1."""

    def energy(self, s: Tensor) -> Tensor:
        return s.square().sum(-1) / 2


def stationary_variance(method: str, eps: float, n: int = 4000) -> float:
    """Return the variance at which a method's step s <- P s + a W + b U keeps a linear mode."""
    options = {"n_steps": 1, "eps": eps, "seed": 1, "method": method}
    noisy = ctebm.Dynamics(Leak(1), 1.0)
    kick = ctebm.simulate(noisy, torch.zeros(n, 1), **options).state[-1]
    P = (ctebm.simulate(noisy, torch.ones(n, 1), **options).state[-1] - kick).mean()
    with BrownianSteps(1, range(n), 1, area=True) as brownian:
        WU = torch.cat(brownian(0, 1, return_U=True), 1)
    weight = torch.linalg.lstsq(WU, kick).solution[:, 0]
    torch.testing.assert_close((WU @ weight)[:, None], kick, rtol=0, atol=1e-11)
    covariance = torch.tensor([[1, 1 / 2], [1 / 2, 1 / 3]], dtype=F64)
    return float(weight @ covariance @ weight / (1 - P**2))


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.sde and not x.adaptive])
def test_weak_order(method):
    grid = [0.2, 0.1, 0.05]
    bias = [abs(stationary_variance(method, eps) - 1 / 2) for eps in grid]
    assert slope(grid, bias) == pytest.approx(METHODS[method].weak, abs=0.15)
    if method == "euler":  # N2
        assert bias[0] == pytest.approx(1 / (2 - 0.2) - 1 / 2, abs=1e-11)
