"""What a run keeps, and in how much memory."""

from __future__ import annotations

import pytest
import torch
from run_cases import layered

import ctebm
from ctebm.dynamics.recorder import Recorder


def test_observables_instead_of_states():
    net = layered()
    dynamics = ctebm.Dynamics(net, 0.1)
    options = {"n_steps": 40, "eps": 0.1, "seed": 1, "save_every": 4}
    states = ctebm.simulate(dynamics, torch.zeros(14), **options)
    observe = {"energy": net.energy, "output": lambda s: s[..., net.layers["y"]]}
    run = ctebm.simulate(dynamics, torch.zeros(14), observe=observe, **options)
    assert torch.equal(run.observed["energy"], torch.stack([net.energy(s) for s in states.state]))
    assert torch.equal(run.observed["output"], states.state[..., net.layers["y"]])
    assert torch.equal(run.state, states.state[-1:])
    dataset = run.to_dataset()
    assert dataset["energy"].dims == ("time", "sample")
    assert dataset["output"].shape == (11, 4, 3)
    assert "state" not in dataset


@pytest.mark.slow
def test_a_long_run_needs_no_more_memory_than_a_short_one():
    import resource

    dynamics = ctebm.Dynamics(layered(1), 0.1)

    def run(n: int) -> None:
        ctebm.simulate(dynamics, torch.zeros(1, 14), n_steps=n, eps=0.01, save_every=n)

    run(5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(100_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


def test_an_observed_run_keeps_its_last_state_alone():
    start = torch.zeros(3, 2)
    recorder = Recorder(start, 4, {"sum": lambda s: s.sum(-1)}, differentiable=False)
    states = torch.arange(18.0).reshape(3, 3, 2)
    recorder.save([0, 5], states[:2], 0)
    recorder.save([], states[:0], 1)
    recorder.save([7], states[2:], 1)
    assert recorder.steps == [0, 5, 7] and recorder.phases == [0, 0, 1]
    assert torch.equal(recorder.observed["sum"], states.sum(-1))
    assert torch.equal(recorder.state, states[2:])
    assert recorder.state.untyped_storage().nbytes() == start.numel() * start.element_size()


def test_what_is_observed_neither_changes_a_run_nor_keeps_its_states():
    dynamics = ctebm.Dynamics(layered(), 0.1)
    options = {"n_steps": 6, "eps": 0.1, "seed": 1}
    plain = ctebm.simulate(dynamics, torch.zeros(14), **options)
    run = ctebm.simulate(
        dynamics, torch.zeros(14), observe={"zero": lambda s: s.zero_()[..., 0]}, **options
    )
    assert torch.equal(run.state[-1], plain.state[-1])
    recorder = Recorder(torch.zeros(2, 500), 1, {"a": lambda s: s[..., 0]}, differentiable=False)
    recorder.save([0], torch.zeros(1, 2, 500), 0)
    assert recorder._observed["a"][0].untyped_storage().nbytes() == 2 * 4
