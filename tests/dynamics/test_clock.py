"""Runs are exact on the clock, and what has no meaning is refused."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, layered, pair

import ctebm
import ctebm.dynamics.run
from ctebm.dynamics.noise import BrownianSteps


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
def test_euler_maruyama_is_the_hand_written_loop_to_the_bit(dtype):
    net = layered(dtype=dtype)
    dynamics = ctebm.Dynamics(net, 0.3)
    run = ctebm.simulate(dynamics, torch.zeros(14, dtype=dtype), n_steps=200, eps=0.05, seed=5)
    s = torch.zeros(4, 14, dtype=dtype)
    eps = torch.tensor(0.05, dtype=dtype)
    with BrownianSteps(5, range(4), 14, dtype) as brownian:
        for n in range(200):
            assert torch.equal(run.state[n], s)
            xi = brownian.increment()
            s = s + eps * net.force(s) + torch.tensor(0.3, dtype=dtype) * eps.sqrt() * xi
    assert torch.equal(run.state[-1], s)


def test_every_horizon_is_a_whole_number_of_steps():
    quiet = ctebm.Dynamics(pair(), 0.1)
    start = torch.zeros(2)
    for horizon, eps, n in [(10, 0.01, 1000), (1, 0.1, 10), (0.3, 0.1, 3), (210, 0.01, 21_000)]:
        run = ctebm.simulate(quiet, start, times=[0, horizon], eps=eps, seed=1)
        assert run.step.tolist() == [0, n]
        by_steps = ctebm.simulate(quiet, start, n_steps=n, eps=eps, seed=1, save_every=n)
        assert torch.equal(run.state, by_steps.state)


@pytest.mark.slow
def test_a_hundred_thousand_steps():
    run = ctebm.simulate(ctebm.Dynamics(pair(), 0.1), torch.zeros(2), times=[0, 1000], eps=0.01)
    assert run.step.tolist() == [0, 100_000]
    assert run.time.tolist() == [0, 1000]
    run.raise_for_status()


def test_a_late_start_in_float32_loses_no_step():
    net = pair(dtype=torch.float32)
    start = torch.tensor([0.2, -0.1], dtype=torch.float32)
    late = ctebm.simulate(ctebm.Dynamics(net), start, times=[32768, 32768.5, 32769], eps=0.01)
    early = ctebm.simulate(ctebm.Dynamics(net), start, times=[0, 0.5, 1], eps=0.01)
    assert late.state.dtype == torch.float32
    assert late.step.tolist() == [0, 50, 100]
    assert late.time.tolist() == [32768, 32768.5, 32769]
    assert torch.equal(late.state, early.state)


def test_whole_numbers_are_times():
    run = ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), times=[0, 1, 3], eps=0.5)
    assert run.step.tolist() == [0, 2, 6]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"times": [0, 0.05, 0.1], "eps": 0.1}, "whole multiples"),
        ({"times": [0, 1], "eps": 0.3}, "whole multiples"),
        ({"times": [0, 1], "eps": 2.0}, "whole multiples"),
        ({"times": [0, 1], "eps": [0.1, 0.2]}, "one eps with times"),
        ({"times": [0, 1]}, "give eps"),
        ({"times": 1.0, "eps": 0.1}, "two or more"),
        ({"times": [1.0], "eps": 0.1}, "two or more"),
        ({"times": [0, 1, 1], "eps": 0.1}, "increasing"),
        ({"times": [1, 0], "eps": 0.1}, "increasing"),
        ({"times": [0, float("inf")], "eps": 0.1}, "finite"),
        ({"times": [0, 1], "eps": 0.1, "save_every": 5}, "n_steps only"),
        ({"n_steps": 5, "times": [0, 1], "eps": 0.1}, "got both"),
        ({"eps": 0.1}, "neither"),
        ({"n_steps": 5}, "give eps"),
        ({"n_steps": 5, "eps": 0.0}, "eps > 0"),
        ({"n_steps": 5, "eps": -0.1}, "eps > 0"),
        ({"n_steps": 5, "eps": float("nan")}, "eps > 0"),
        ({"n_steps": 5, "eps": float("inf")}, "eps > 0"),
        ({"n_steps": 0, "eps": 0.1}, "n_steps"),
        ({"n_steps": 2.5, "eps": 0.1}, "n_steps"),
        ({"n_steps": 5, "eps": 0.1, "save_every": 0}, "save_every"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [7]}, "save_steps up to"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [2], "save_every": 2}, "got both"),
        ({"n_steps": 5, "eps": 0.1, "method": "eular"}, "did you mean 'euler'"),
        ({"n_steps": 5, "eps": 0.1, "method": "srk"}, "is for noise"),
        ({"n_steps": 5, "eps": 0.1, "samples": [0, 1]}, "one a row"),
        ({"n_steps": 5, "eps": 0.1, "threads": 0}, "threads"),
        ({"n_steps": 5, "eps": 0.1, "first_step": -1}, "first_step"),
        ({"n_steps": 5, "eps": 0.1, "steady": 0.0}, "steady"),
        ({"n_steps": 10**12, "eps": 0.1, "save_steps": range(10**12)}, "GiB"),
        ({"n_steps": 5, "eps": 0.1, "method": "dopri5"}, "chooses its own steps"),
        ({"times": [0, 1], "method": "dopri5"}, "SmoothHardSigmoid"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused(options, sentence):
    if options.get("n_steps") == 10**12:
        options = {"n_steps": 2**22, "eps": 0.1}
        start = torch.zeros(2**18, 2)
    else:
        start = torch.zeros(2)
    with pytest.raises(ValueError, match=sentence):
        ctebm.simulate(ctebm.Dynamics(pair()), start, **options)


def test_a_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="n_step"):
        ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_step=5, eps=0.1)


def test_a_start_that_is_not_finite_names_its_row():
    start = torch.zeros(3, 2)
    start[1, 0] = torch.nan
    with pytest.raises(ValueError, match="sample 1"):
        ctebm.simulate(ctebm.Dynamics(pair()), start, n_steps=5, eps=0.1)


def test_a_start_that_is_not_contiguous():
    start = torch.rand(2, 4, dtype=F64).mT
    for sigma in (0.0, 0.1):
        dynamics = ctebm.Dynamics(pair(), sigma)
        a = ctebm.simulate(dynamics, start, n_steps=9, eps=0.1, seed=1)
        b = ctebm.simulate(dynamics, start.contiguous(), n_steps=9, eps=0.1, seed=1)
        assert torch.equal(a.state, b.state)


@pytest.mark.parametrize("every", [1, 3, 7, 10, 100])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_what_is_saved_does_not_change_the_run(every, sigma, monkeypatch):
    dynamics = ctebm.Dynamics(layered(), sigma)
    whole = ctebm.simulate(dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1)
    monkeypatch.setattr(ctebm.dynamics.run, "_SPAN", 8)  # stretches that end between saves
    part = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1, save_every=every
    )
    saved = [*range(0, 100, every), 100]
    assert part.step.tolist() == saved
    assert torch.equal(part.state, whole.state[saved])
    torch.testing.assert_close(part.time, torch.tensor(saved) * torch.tensor(0.05, dtype=F64))
    picked = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1, save_steps=[3, 41]
    )
    assert torch.equal(picked.state, whole.state[[0, 3, 41, 100]])
