"""Runs are exact on the clock."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, pair

import ctebm
from ctebm.dynamics.clock import Clock, Saves, increasing, step_size


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


def test_ten_steps_apart_is_what_is_saved():
    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=300, eps=0.1, save_steps=[290], seed=1
    )
    assert run.step.tolist() == [0, 290, 300]


@pytest.mark.parametrize("span", [1, 3, 7, 100])
@pytest.mark.parametrize("most", [1, 2, 512])
def test_stretches_cover_the_steps_and_stop_at_every_save(span, most):
    clock = Clock.of_steps(torch.tensor(0.1), Saves(40, chosen=[5, 6, 20, 21]), first=100)
    assert clock.saved == [100, 105, 106, 120, 121, 140]
    stops = [100]
    for first, last in ((100, 121), (121, 140)):
        for stretch in clock.stretches(first, last, span, most):
            assert stretch[0] == stops[-1] and stretch[-1] - stretch[0] <= span
            assert 2 <= len(stretch) <= most + 1
            assert all(clock.is_saved(step) for step in stretch[1:-1])
            stops += stretch[1:]
        assert stops[-1] == last
    assert set(clock.saved) <= set(stops)


def test_a_step_between_two_saves_has_its_time():
    clock = Clock.of_steps(torch.tensor([0.1, 0.2], dtype=F64), Saves(10, every=4), first=2)
    torch.testing.assert_close(clock.time_of([2, 6]), clock.time[:2], rtol=0, atol=0)
    expected = torch.tensor([[0.2, 0.4], [0.6, 1.2], [0.7, 1.4]], dtype=F64)
    torch.testing.assert_close(clock.time_of([2, 6, 7]), expected)


@pytest.mark.parametrize("saves", [Saves(10, 4), Saves(10, chosen=[0, 3]), Saves(9, 3, ends=[4])])
def test_saves_are_counted_without_being_listed(saves):
    assert len(saves.steps()) <= saves.most <= len(saves.steps()) + 3


def test_a_stretch_ends_after_as_many_stops_as_are_allowed():
    clock = Clock.of_steps(torch.tensor(0.1), Saves(10))
    assert list(clock.stretches(0, 10, 100, 4)) == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10]]


def test_the_last_step_can_be_asked_for():
    net = ctebm.DenseNetwork([[0.0]], [0.3], ctebm.Tanh())
    run = ctebm.simulate(net, [0.1], n_steps=5, eps=0.1, save_steps=[2, 5])
    assert run.step.tolist()[-2:] == [2, 5]


def test_clocks_begin_at_step_0_unless_they_go_on():
    eps = torch.tensor(0.5, dtype=F64)
    for clock in (Clock.of_steps(eps, Saves(4, 2)), Clock.of_times(eps, [0.0, 1.0, 2.0])):
        assert clock.saved == [0, 2, 4] and (clock.first, clock.n_steps) == (0, 4)
        assert clock.time.tolist() == [0, 1, 2]
        assert [clock.is_saved(n) for n in range(5)] == [True, False, True, False, True]
    later = Clock.of_times(eps, [3.0, 4.0], first=6)
    assert later.saved == [6, 8] and later.time.tolist() == [3, 4]
    assert Clock.of_steps(eps, Saves(2), first=6).time.tolist() == [3, 3.5, 4]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Saves(4, 2, chosen=[1]), "save_every or save_steps, got both"),
        (lambda: Saves(4, chosen=3), "save_steps as a list of numbers"),
        (lambda: Saves(4, chosen=[1, 5]).steps(), r"up to n_steps = 4, got 5"),
        (lambda: Saves(0), "n_steps >= 1"),
        (lambda: Clock.of_times(torch.tensor([0.1, 0.2]), [0, 1]), "one eps with times"),
        (lambda: Clock.of_times(torch.tensor(0.3), [0, 1]), "whole multiples of eps = 0.3"),
        (lambda: Clock.of_times(torch.tensor(0.5), [0, 0.5, 0.5000001]), "whole multiples"),
        (lambda: step_size(None, "euler"), "euler takes fixed steps; give eps"),
        (lambda: step_size(torch.tensor([0.1, -0.2]), "euler"), "eps > 0, got -0.2"),
        (lambda: step_size(0.0, "euler"), "eps > 0, got 0.0"),
        (lambda: step_size(torch.zeros(0), "euler"), "eps > 0, got none"),
        (lambda: increasing(None), "times to save at, got none"),
        (lambda: increasing([1.0]), "two or more finite, strictly increasing"),
        (lambda: increasing([0.0, 1.0, 1.0]), "strictly increasing"),
        (lambda: increasing([[0.0, 1.0]]), "strictly increasing"),
        (lambda: increasing([0.0, float("inf")]), "finite"),
    ],
)
def test_what_is_no_clock_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
