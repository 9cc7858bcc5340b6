"""What a measurement is asked for: saved steps, and what is refused."""

import numpy as np
import pytest

from ctebm.early_inference.schedule import MOST_SAVED, Replicates, Schedule, saved_steps


def test_saved_steps_keep_every_early_one():
    steps = saved_steps(deepest=2, n_steps=800)
    assert steps[:6] == [0, 1, 2, 3, 4, 5] and steps[-1] == 800
    assert len(steps) <= MOST_SAVED and steps == sorted(set(steps))
    assert saved_steps(deepest=2, n_steps=3) == [0, 1, 2, 3]
    ratio = np.diff(np.log(steps[20:]))
    assert ratio.max() < 1.5 * ratio.mean()


def test_a_schedule_has_a_time_or_a_number_of_steps():
    at = Schedule.of([0.5, 0.1], "euler", deepest=1, t_end=2.0)
    assert [steps[-1] for steps in at.steps] == [4, 20]
    assert [steps[-1] for steps in Schedule.of([0.5, 0.1], "euler", 4, t_end=2.0).steps] == [7, 20]
    assert Schedule.of(0.1, "heun", 1, t_end=2.0, n_steps=3).steps == [[0, 1, 2, 3]]
    assert len(Schedule.of(0.01, "euler", 1, t_end=2.0, save_all=True).steps[0]) == 201


@pytest.mark.parametrize(
    "options, words",
    [
        ({"eps": [0.0]}, "0 < eps <= 1"),
        ({"eps": [1.5]}, "0 < eps <= 1"),
        ({"eps": [np.nan]}, "0 < eps <= 1"),
        ({"eps": []}, "one or more step sizes 0 < eps <= 1, got none"),
        ({"eps": "fine"}, "real numbers for eps"),
        ({"n_steps": 0}, "n_steps >= 1"),
        ({"n_steps": 2.5}, "whole number n_steps >= 1, got 2.5"),
        ({"n_steps": np.nan}, "n_steps >= 1, got nan"),
        ({"n_steps": 10**300}, "would take days"),
        ({"t_end": np.nan}, "finite t_end >= 0, got nan"),
        ({"t_end": -1.0}, "finite t_end >= 0, got -1"),
        ({"t_end": 1e300}, "would take days"),
        ({"t_end": 1e300, "eps": 1e-300}, "finite t_end / eps, got inf"),
        ({"n_steps": 10**10, "save_all": True}, "GiB are free; take fewer steps, or let save_all"),
        ({"method": "eulr"}, "did you mean 'euler'"),
    ],
)
def test_steps_without_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Schedule.of(**{"eps": [0.1], "method": "euler", "deepest": 1, "t_end": 1.0} | options)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n": 4}, "expected sigma > 0 with 4 replicates"),
        ({"sigma": 0.1, "n": 0}, "replicates >= 1"),
        ({"sigma": 0.1, "n": 2.5}, "whole number replicates >= 1, got 2.5"),
        ({"sigma": 0.1, "n": float("nan")}, "replicates >= 1, got nan"),
        ({"sigma": float("inf")}, "finite sigma >= 0, got inf"),
        ({"sigma": 0.1, "seed": 1.5}, "whole number seed >= 0, got 1.5"),
        ({"sigma": 0.1, "seed": -1}, "whole number seed >= 0, got -1"),
        ({"sigma": -1.0}, "sigma >= 0"),
        ({"sigma": float("nan")}, "sigma >= 0"),
        (
            {"baseline": "free"},
            "expected baseline 'undriven', 'held' or 'equilibrium', got 'free'",
        ),
        ({"baseline": np.zeros(2)}, "expected baseline .* got array"),
        ({"sigma": 0.1, "intervals": True}, "replicates >= 2 with intervals"),
    ],
)
def test_noisy_runs_without_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Replicates(**options)


def test_numbers_of_any_make_are_taken():
    noisy = Replicates(np.float32(0.5), n=4.0, seed=np.int64(3))  # pyright: ignore[reportArgumentType]
    assert [noisy.sigma, noisy.n, noisy.seed] == [0.5, 4, 3]
    assert type(noisy.n) is int and type(noisy.sigma) is float


@pytest.mark.parametrize("at_most", [1, 2.5, np.inf, "all", 10**14])
def test_numbers_of_saves_without_meaning_are_refused(at_most):
    with pytest.raises(ValueError, match=r"at_most >= 2, got|take about|takes about"):
        saved_steps(1, 100, at_most)


def test_one_quiet_run_is_the_default():
    assert (Replicates().n, Replicates().sigma, Replicates().seed) == (1, 0.0, None)
    assert Replicates(0.1, n=2, intervals=True).intervals


def test_late_steps_grow_evenly_from_the_last_early_one():
    assert saved_steps(deepest=1, n_steps=100, at_most=8) == [0, 1, 2, 3, 4, 12, 34, 100]


def test_few_steps_are_all_saved():
    assert saved_steps(1, 0) == [0]
    assert saved_steps(1, 4) == [0, 1, 2, 3, 4]
    assert saved_steps(1, 9, at_most=2) == [0, 1, 2, 3, 4, 9]  # the early ones come first
