"""Noise of a run: drawn when asked for, shared, repeated, and as theory says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_cases import Free, layered, pair, z_of_variance

import ctebm
import ctebm.dynamics.run


def test_no_noise_is_drawn_without_sigma(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("noise was drawn")

    monkeypatch.setattr(ctebm.dynamics.run, "BrownianSteps", refuse)
    run = ctebm.simulate(ctebm.Dynamics(layered()), torch.zeros(14), n_steps=9, eps=0.1, seed=3)
    assert run.seed is None


def test_a_fresh_seed_is_recorded_and_repeats_the_run():
    dynamics = ctebm.Dynamics(pair(), 0.1)
    a, b = (ctebm.simulate(dynamics, torch.zeros(3, 2), n_steps=9, eps=0.1) for _ in range(2))
    assert a.seed != b.seed
    again = ctebm.simulate(dynamics, torch.zeros(3, 2), n_steps=9, eps=0.1, seed=a.seed)
    assert torch.equal(again.state, a.state)


def test_global_generators_are_neither_used_nor_moved():
    dynamics = ctebm.Dynamics(pair(), 0.1)
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(9)
    b = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(a.state, b.state)


@pytest.mark.parametrize("noise", ["langevin", "synaptic"])
@pytest.mark.parametrize("method", ["euler", "heun", "srk"])
def test_a_run_goes_on_from_a_saved_step(method, noise):
    if noise == "synaptic" and method != "euler":
        pytest.skip("the map has one method")
    dynamics = ctebm.Dynamics(layered(), 0.2, noise=noise)
    options = {"eps": 0.05, "seed": 6, "method": method}
    whole = ctebm.simulate(dynamics, torch.zeros(14), n_steps=1500, **options)
    rest = ctebm.simulate(dynamics, whole.state[1100], n_steps=400, first_step=1100, **options)
    assert torch.equal(rest.state, whole.state[1100:])
    assert torch.equal(rest.step, whole.step[1100:])
    torch.testing.assert_close(rest.time, whole.time[1100:])


def test_two_dynamics_share_a_path_and_noise_cancels():
    # N5: additive noise on a linear network cancels from the difference of two runs.
    net = pair(w=0.25)
    options = {"n_steps": 20, "eps": 0.1}
    start = torch.zeros(5, 2)
    noisy = ctebm.simulate(ctebm.Dynamics(net, 0.02), start, seed=2, **options)
    moved = ctebm.simulate(ctebm.Dynamics(net, 0.02), start + 0.1, noise_of=noisy, **options)
    quiet = [ctebm.simulate(ctebm.Dynamics(net), start + d, **options).state for d in (0, 0.1)]
    torch.testing.assert_close(moved.state - noisy.state, quiet[1] - quiet[0], rtol=0, atol=1e-13)
    assert moved.seed == noisy.seed


def test_the_same_path_at_a_coarser_step():
    dynamics = ctebm.Dynamics(Free(3), 0.7)
    start = torch.zeros(4, 3)
    fine = ctebm.simulate(dynamics, start, n_steps=60, eps=0.01, seed=2)
    coarse = ctebm.simulate(dynamics, start, n_steps=20, eps=0.03, noise_of=fine)
    coarser = ctebm.simulate(dynamics, start, n_steps=10, eps=0.06, noise_of=coarse)
    torch.testing.assert_close(coarse.state, fine.state[::3], rtol=0, atol=1e-14)
    torch.testing.assert_close(coarser.state, fine.state[::6], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"eps": 0.005}, "run the finer one first"),
        ({"eps": 0.025}, "whole multiple"),
        ({"seed": 1}, "got both"),
    ],
)
def test_paths_that_can_not_be_shared(change, sentence):
    dynamics = ctebm.Dynamics(Free(3), 0.7)
    fine = ctebm.simulate(dynamics, torch.zeros(4, 3), n_steps=6, eps=0.01, seed=2)
    with pytest.raises(ValueError, match=sentence):
        ctebm.simulate(
            dynamics, torch.zeros(4, 3), n_steps=6, noise_of=fine, **{"eps": 0.01, **change}
        )
    quiet = ctebm.simulate(ctebm.Dynamics(Free(3)), torch.zeros(4, 3), n_steps=6, eps=0.01)
    with pytest.raises(ValueError, match="without"):
        ctebm.simulate(dynamics, torch.zeros(4, 3), n_steps=6, eps=0.01, noise_of=quiet)
    with pytest.raises(ValueError, match="dtype"):
        net = Free(3)
        net.dtype = torch.float32
        ctebm.simulate(
            ctebm.Dynamics(net, 0.1), torch.zeros(4, 3), n_steps=6, eps=0.01, noise_of=fine
        )


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


def test_ten_steps_apart_is_what_is_saved():
    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=300, eps=0.1, save_steps=[290], seed=1
    )
    assert run.step.tolist() == [0, 290, 300]
