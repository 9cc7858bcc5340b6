"""Runs with noise fluctuate as theory says."""

from __future__ import annotations

import pytest
import torch
from run_cases import Free, pair, z_of_variance

import ctebm


def test_brownian_motion_has_the_variance_of_its_time():
    run = ctebm.simulate(
        ctebm.Dynamics(Free(50), 0.5), torch.zeros(400, 50), times=[0, 0.05, 0.3], eps=0.05, seed=1
    )
    for t, x in zip([0.05, 0.3], run.state[1:], strict=True):
        assert abs(z_of_variance(x, 0.25 * t, x.numel())) < 5
    apart = run.state[2] - run.state[1]
    assert abs(float((apart * run.state[1]).mean())) * 20_000**0.5 / (0.25 * 0.05 * 5) ** 0.5 < 5


@pytest.mark.parametrize(
    ("noise", "variance", "covariance"),
    [("langevin", 6.930007e-3, 3.326403e-3), ("synaptic", 1.732502e-4, 8.316008e-5)],
)
def test_a_pair_fluctuates_as_theory_says(noise, variance, covariance):
    # Covariance of the Euler-Maruyama chain and of the map of eqs. 1-5 (H has 0.5 and 1.5).
    net, n = pair(w=0.5), 40_000
    dynamics = ctebm.Dynamics(net, 0.1, noise=noise)
    run = ctebm.simulate(
        dynamics, torch.zeros(n, 2), n_steps=300, eps=0.1, seed=12, save_steps=[150, 290]
    )
    for s in run.state[1:]:  # stationary from step 150 on: (1 - 0.05)^300 = 2e-7
        a, b = s[:, 0], s[:, 1]
        assert abs(z_of_variance(torch.cat([a, b]), variance, n)) < 5
        spread = ((variance**2 + covariance**2) / n) ** 0.5
        assert abs(float((a * b).mean() - covariance)) / spread < 5
        assert abs(float(s.mean())) / (variance / n) ** 0.5 < 5
    if noise == "langevin":  # the modes forget at 0.95 and 0.85 a step
        lag = run.state[-1] - 0.0
        before = run.state[-2]
        up = lambda s: (s[:, 0] + s[:, 1]) / 2**0.5  # noqa: E731
        expected = 0.95**10 * 0.01 / (0.5 * (2 - 0.05))
        product = up(lag) * up(before)
        z = (product.mean() - expected) / (product.std() / n**0.5)
        assert abs(float(z)) < 5
