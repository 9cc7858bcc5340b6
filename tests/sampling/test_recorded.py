"""A run whose states go into a recorder of one's own."""

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import DenseNetwork, Dynamics, simulate
from ctebm.dynamics.clock import step_size
from ctebm.dynamics.recorder import Recorder
from ctebm.dynamics.seeding import seeding
from ctebm.sampling import recorded
from ctebm.sampling.recorded import recorded_run


def states(n_steps, burn_in=0, every=1, first=0, start=None):
    s = torch.zeros(2, 2, dtype=torch.float64) if start is None else start
    step = step_size(0.1, "euler")
    kept = Recorder(s, n_steps + burn_in + 3, None, False)
    run = recorded_run(
        Dynamics(pair(3.0, TANH), sigma=0.3), s, step, n_steps, burn_in, every, "euler",
        seeding(s, step, 7, None, None, True), kept, first,
    )  # fmt: skip
    run.go()
    return kept


def test_it_is_the_run_of_simulate():
    plain = simulate(
        Dynamics(pair(3.0, TANH), sigma=0.3), torch.zeros(2, 2), n_steps=12, eps=0.1, seed=7
    )
    assert torch.equal(states(12).state, plain.state)


def test_draws_come_after_the_burn_in_in_a_phase_of_their_own():
    kept = states(6, burn_in=4, every=2)
    assert list(zip(kept.steps, kept.phases, strict=True)) == [
        (0, 0), (2, 0), (4, 0), (6, 1), (8, 1), (10, 1)
    ]  # fmt: skip


def test_it_goes_on_from_a_step():
    whole = states(10).state
    assert torch.equal(states(6, first=4, start=whole[4]).state, whole[4:])


def test_the_end_of_the_burn_in_is_saved_whether_or_not_it_is_a_draw():
    assert states(6, burn_in=5, every=4).steps == [0, 4, 5, 8, 11]
    assert states(6, every=4).steps == [0, 4, 6]
    assert {*states(6, every=4).phases} == {0}


def test_memory_is_asked_for_draws_of_the_burn_in_too(monkeypatch):
    asked = []
    monkeypatch.setattr(recorded, "check_memory", lambda *about: asked.append(about))
    states(60, burn_in=40, every=10)
    assert asked[0][0] == "a run with 10 draws"
    assert asked[0][1] == 10 * recorded._BYTES_OF_A_DRAW


def test_methods_are_those_that_the_motion_takes():
    noisy = Dynamics(pair(3.0, TANH), sigma=0.3)
    synaptic = Dynamics(pair(3.0, TANH), sigma=0.3, noise="synaptic")
    recorded.check_steps(noisy, "srk")
    recorded.check_steps(synaptic, "euler")
    with pytest.raises(ValueError, match="srk"):
        recorded.check_steps(synaptic, "srk")
    recorded.check_steps(synaptic, "mala", "mala")


def test_noise_takes_states_beyond_kinks_and_their_leak_brings_them_back():
    """Sampled states are not cut off at the kinks: that would pile up mass there."""
    unit = DenseNetwork([[0.0]], [0.0], HARD)
    s, step = torch.zeros(50, 1, dtype=torch.float64), step_size(0.1, "euler")
    kept, noisy = Recorder(s, 99, None, False), Dynamics(unit, sigma=1.0)
    recorded_run(
        noisy, s, step, 60, 0, 1, "euler", seeding(s, step, 7, None, None, True), kept
    ).go()
    beyond = (kept.state.abs() > 0.5).double().mean()
    assert float(beyond) > 0.3 and not bool((kept.state.abs() == 0.5).any())
    free = simulate(noisy, s, n_steps=60, eps=0.1, seed=7, projected=False).state
    torch.testing.assert_close(kept.state, free)


def test_a_chain_without_noise_is_not_projected_either():
    """Beside noisy ones it takes plain steps too: from 0.45 past the kink, and back."""
    unit = DenseNetwork([[0.0]], [0.8], HARD)
    s, step = torch.full((2, 1), 0.45, dtype=torch.float64), step_size(0.2, "euler")
    kept = Recorder(s, 99, None, False)
    noisy = Dynamics(unit, sigma=torch.tensor([0.0, 0.5]))
    recorded_run(noisy, s, step, 2, 0, 1, "euler", seeding(s, step, 7, None, None, True), kept).go()
    # inside the force is 0.8 - s, beyond the kink -s
    first = 0.45 + 0.2 * (0.8 - 0.45)
    expected = torch.tensor([0.45, first, first - 0.2 * first], dtype=torch.float64)
    torch.testing.assert_close(kept.state[:, 0, 0], expected)
