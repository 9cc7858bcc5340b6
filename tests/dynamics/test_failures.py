"""Samples that leave the finite numbers."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, Upwards

import ctebm
from ctebm.dynamics.failures import Failures


def test_a_row_that_runs_away_is_named_and_the_others_go_on():
    start = torch.tensor([[0.1, 0.1], [0.2, 3.0], [0.1, 0.0]], dtype=F64)
    dynamics = ctebm.Dynamics(Upwards(2), 0.01)
    run = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1)
    calm = ctebm.simulate(dynamics, start[[0, 2]], n_steps=15, eps=0.5, seed=1, samples=[0, 2])
    assert torch.equal(run.state[:, [0, 2]], calm.state)
    assert run.status.tolist() == [0, 1, 0]
    step = int(run.failed_step[1])
    assert run.failed_step.tolist() == [-1, step, -1]
    assert torch.isfinite(run.state[:step]).all()
    assert not torch.isfinite(run.state[step:, 1]).all(-1).any()
    unit = int((~torch.isfinite(run.state[step, 1])).int().argmax())
    assert run.message[0] == run.message[2] == ""
    assert run.message[1].startswith(
        f"sample 1 left the finite numbers at step {step} in unit {unit}"
    )
    with pytest.raises(FloatingPointError, match="sample 1"):
        run.raise_for_status()
    last = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1, save_every=15)
    assert last.message == run.message
    assert last.to_dataset().message.values.tolist() == run.message


def test_a_run_with_nobody_left_ends():
    run = ctebm.simulate(
        ctebm.Dynamics(Upwards(2)), [[3.0, 1.0]], n_steps=10**7, eps=0.5, save_every=10**6
    )
    assert run.status.tolist() == [1]
    assert run.step[-1] < 10**5


def test_a_sample_that_fails_late_in_a_stretch_is_traced_to_its_step():
    def advance(s: torch.Tensor, steps: list[int]) -> torch.Tensor:
        assert torch.equal(s[1], torch.full((2,), float(steps[0])))  # where the last call ended
        later = torch.tensor(steps[1:])[:, None, None] * torch.ones_like(s)
        later[:, 0][torch.tensor(steps[1:]) >= 41] = torch.inf
        later[:, 2, 1][torch.tensor(steps[1:]) >= 7] = torch.nan
        return torch.cat([s[None], later])

    start = torch.zeros(3, 2)
    failures = Failures(start)
    lost = failures.new(advance(start, [0, 50])[-1])
    assert lost.tolist() == [True, False, True]
    failures.trace(lost, advance, start, 0, 50)
    assert failures.step.tolist() == [41, -1, 7] and failures.unit.tolist() == [0, -1, 1]
    assert not failures.all
    status, message = failures.outcome(torch.tensor([0.0, 2.0, 0.0]), 1.0, 50)
    assert status.tolist() == [1, 2, 1] and "force 2 > 1 after 50 steps" in message[1]
    ended = Failures(start).outcome(torch.tensor([1.0, 1.1, torch.nan]), 1.0, 50)
    assert ended[0].tolist() == [0, 2, 2] and not ended[1][0]
