"""Phases, saves and early ends of a run."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import pytest
import torch
from run_cases import F64, layered, pair
from torch import Tensor

import ctebm
import ctebm.dynamics.run


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


def test_phases_are_runs_one_after_another():
    net, y = layered(), torch.rand(4, 3, dtype=F64)
    phases = [
        ctebm.Phase("settle", ctebm.Dynamics(net, 0.1), 30),
        ctebm.Phase("drive", ctebm.Dynamics(net, 0.3, drive=y), 20),
        ctebm.Phase("release", ctebm.Dynamics(net), 10),
    ]
    run = ctebm.simulate(phases, torch.zeros(14), eps=0.1, seed=1, save_every=7)
    assert run.step.tolist() == [0, 7, 14, 21, 28, 30, 35, 42, 49, 50, 56, 60]
    names = [run.phases[i] for i in run.phase]
    assert names == ["settle"] * 6 + ["drive"] * 4 + ["release"] * 2
    s, first = torch.zeros(14), 0
    for phase in phases:
        part = ctebm.simulate(
            phase.dynamics, s, n_steps=phase.n_steps, eps=0.1, seed=1, first_step=first,
            save_every=phase.n_steps,
        )  # fmt: skip
        s, first = part.state[-1], first + phase.n_steps
        assert torch.equal(run.state[run.step.tolist().index(first)], s)
    assert run.to_dataset()["phase"].values.tolist() == names
    with pytest.raises(ValueError, match="different names"):
        ctebm.simulate([phases[0], phases[0]], torch.zeros(14), eps=0.1)
    with pytest.raises(ValueError, match="n_steps and phases"):
        ctebm.simulate(phases, torch.zeros(14), eps=0.1, n_steps=10)


def test_a_run_ends_where_the_force_is_small():
    dynamics = ctebm.Dynamics(layered())
    run = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=10**6, eps=0.2, steady=1e-9, save_every=10**6
    )
    assert run.step[-1] < 1000
    assert run.status.tolist() == [0] * 4
    assert dynamics.f(0, run.state[-1]).abs().max() <= 1e-9
    short = ctebm.simulate(dynamics, torch.zeros(14), n_steps=3, eps=0.2, steady=1e-9)
    assert short.status.tolist() == [2] * 4
    assert "take more steps" in short.message[0]
    pinned = ctebm.simulate(
        ctebm.Dynamics(pair(w=2.0)), [0.1, 0.2], n_steps=10**6, eps=0.1, steady=1e-12,
        save_every=10**6,
    )  # fmt: skip
    assert pinned.state[-1].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no noise"):
        ctebm.simulate(ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=9, eps=0.1, steady=1e-9)


@pytest.mark.parametrize("save_every", [1, 3, 100])
def test_steady_is_judged_at_saves(save_every):
    dynamics = ctebm.Dynamics(layered())
    options = {"n_steps": 10**4, "eps": 0.2, "steady": 1e-9, "save_every": save_every}
    run = ctebm.simulate(dynamics, torch.zeros(14), **options)
    size = [float(dynamics.residual(s).max()) for s in run.state]
    assert size[-1] <= 1e-9
    assert min(size[:-1]) > 1e-9
    again = ctebm.simulate(dynamics, run.state[-1], **options)
    assert again.step[-1] == min(save_every, 16)


def test_a_callback_sees_every_save_and_can_end_the_run(capsys):
    seen = []

    def callback(step: int, s: Tensor) -> bool:
        seen.append((step, s.clone()))
        return step >= 12

    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=40, eps=0.1, save_every=4, seed=1,
        callback=callback, progress=True,
    )  # fmt: skip
    assert [step for step, _ in seen] == [4, 8, 12]
    assert run.step.tolist() == [0, 4, 8, 12]
    for (_, s), kept in zip(seen, run.state[1:], strict=True):
        assert torch.equal(s, kept)
    assert "step" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "noise"),
    [("euler", "langevin"), ("heun", "langevin"), ("srk", "langevin"), ("euler", "synaptic")],
)
def test_a_run_goes_on_from_a_saved_step(method, noise):
    dynamics = ctebm.Dynamics(layered(), 0.2, noise=noise)
    options = {"eps": 0.05, "seed": 6, "method": method}
    whole = ctebm.simulate(dynamics, torch.zeros(14), n_steps=1500, **options)
    rest = ctebm.simulate(dynamics, whole.state[1100], n_steps=400, first_step=1100, **options)
    assert torch.equal(rest.state, whole.state[1100:])
    assert torch.equal(rest.step, whole.step[1100:])
    torch.testing.assert_close(rest.time, whole.time[1100:])


@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.HardSigmoid()], ids=repr)
@pytest.mark.parametrize("save_every", [1, 1000])
def test_steps_that_end_in_a_jump_to_and_fro_are_told(rho, save_every):
    """Units that inhibit each other jump together where the second sample's steps settle."""
    net = ctebm.DenseNetwork([[0.0, -4.0], [-4.0, 0.0]], [0.0, 0.0], rho)
    starts, eps = torch.ones(2, 2, dtype=F64), torch.tensor([1.0, 0.1], dtype=F64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = ctebm.simulate(net, starts, n_steps=1000, eps=eps, save_every=save_every)
    assert net.force(run.state[-1]).abs().amax(-1).gt(0.1).tolist() == [True, False]
    said = [str(warning.message) for warning in caught if "jump" in str(warning.message)]
    assert len(said) == 1
    assert said[0].startswith("eps = 1 is too large: at the end of the run 1 of 2 samples jump")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ctebm.simulate(net, starts, n_steps=1000, eps=0.1)
        # too short to tell, and with noise nothing ends
        ctebm.simulate(pair(), starts, n_steps=40, eps=1.0)
        ctebm.simulate(ctebm.Dynamics(pair(), 0.1), starts, n_steps=60, eps=1.0, seed=1)


def test_a_jump_of_some_units_is_one_whatever_the_others_do():
    weight = torch.zeros(3, 3)
    weight[0, 1] = weight[1, 0] = -4.0  # the third unit rests
    net = ctebm.DenseNetwork(weight, [0.0, 0.0, 0.0], ctebm.Tanh())
    with pytest.warns(UserWarning, match="1 of 1 samples jump"):
        ctebm.simulate(net, torch.tensor([[1.0, 1.0, 0.0]]), n_steps=100, eps=1.0)


class Halving(ctebm.VectorField):
    """Halved by each step of eps = 1/2."""

    def force(self, s: Tensor) -> Tensor:
        return -s


@pytest.mark.parametrize(("steady", "n"), [(0.25, 2), (0.2499, 3), (0.2501, 2), (1.0, 1), (2.0, 1)])
def test_a_force_as_small_as_asked_is_steady(steady, n):
    start = torch.tensor([[1.0], [0.5]], dtype=F64)
    run = ctebm.simulate(Halving(1), start, n_steps=9, eps=0.5, steady=steady)
    assert run.step.tolist() == list(range(n + 1))


@pytest.mark.parametrize("first_step", [0, 13])
@pytest.mark.parametrize("n_steps", [1, 100])
def test_progress_counts_every_step_once(n_steps, first_step, monkeypatch):
    told, totals = [], []

    @contextmanager
    def noted(shown, n):
        totals.append((shown, n))
        yield told.append

    monkeypatch.setattr(ctebm.dynamics.run, "_bar", noted)
    monkeypatch.setattr(ctebm.dynamics.run, "_SPAN", 8)
    dynamics = ctebm.Dynamics(layered(), 0.1)
    ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=n_steps, eps=0.05, seed=1, first_step=first_step,
        save_every=7, progress=True,
    )  # fmt: skip
    assert totals == [(True, n_steps)] and sum(told) == n_steps and min(told) > 0


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("n", [3, 300])  # small layers are multiplied as one matrix, kept for a run
def test_a_callback_that_changes_parameters_ends_the_run_or_is_refused(n, clamped):
    def network():
        net = ctebm.LayeredNetwork.random([2, n, n], ctebm.Tanh(), seed=1)
        return net, net.clamp({"x": [0.1, 0.2]}) if clamped else net

    net, moving = network()
    start = torch.linspace(-1, 1, moving.n_units, dtype=torch.float64)

    def learn(step, state):
        if step == 2:
            net.weights[1].data *= 2
            return last
        return False

    last = False
    with pytest.raises(ValueError, match="others after the callback at step 2; let it return True"):
        ctebm.simulate(moving, start, n_steps=4, eps=0.1, callback=learn)
    net, moving = network()
    last = True
    run = ctebm.simulate(moving, start, n_steps=4, eps=0.1, callback=learn)
    assert run.step.tolist() == [0, 1, 2]
    onward = ctebm.simulate(moving, run.state[-1], n_steps=2, eps=0.1, first_step=2)
    s = run.state[-1]
    for _ in range(2):
        s = s + 0.1 * moving.force(s)
    torch.testing.assert_close(onward.state[-1], s)


def test_a_force_may_keep_what_it_is_given_beside_a_callback():
    class Keeping(ctebm.VectorField):
        def __init__(self):
            super().__init__(2)
            self.kept = []

        def force(self, s):
            self.kept.append(s)
            return -s

    net, seen = Keeping(), []
    run = ctebm.simulate(
        net, torch.ones(2, dtype=F64), n_steps=3, eps=0.1,
        callback=lambda step, s: seen.append(s),
    )  # fmt: skip
    assert torch.equal(torch.stack(net.kept[-3:]), run.state[:-1])
    assert torch.equal(torch.stack(seen), run.state[1:])
