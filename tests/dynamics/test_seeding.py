"""Noise of a run: drawn when asked for, shared, repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_cases import F64, Free, layered, pair

import ctebm
import ctebm.dynamics.seeding


def test_no_noise_is_drawn_without_sigma(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("noise was drawn")

    monkeypatch.setattr(ctebm.dynamics.seeding, "BrownianSteps", refuse)
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
    # the generators of old, which a run must leave as they are
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(9)
    b = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(a.state, b.state)


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


def test_a_tile_has_the_noise_it_has_in_the_whole():
    rows = [5, 2, 60]
    sigma = torch.linspace(0.1, 0.5, 64, dtype=F64)
    eps = torch.linspace(0.01, 0.2, 64, dtype=F64)
    start = torch.zeros(64, 2)
    whole = ctebm.simulate(ctebm.Dynamics(pair(), sigma), start, n_steps=50, eps=eps, seed=8)
    tile = ctebm.simulate(
        ctebm.Dynamics(pair(), sigma[rows]), start[rows], n_steps=50, eps=eps[rows], seed=8,
        samples=rows,
    )  # fmt: skip
    torch.testing.assert_close(tile.state, whole.state[:, rows], rtol=0, atol=1e-13)
    assert tile.samples == (5, 2, 60)
