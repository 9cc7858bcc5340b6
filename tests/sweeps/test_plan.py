"""What a sweep will do, from one or two of its points."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cloudpickle
import pytest
from sweep_cases import GRID, good, noted

from ctebm.sweeps.computation import Job
from ctebm.sweeps.plan import check_same_sweep, planned
from ctebm.sweeps.points import Points
from ctebm.sweeps.run import sweep
from ctebm.sweeps.workers import Workers, serial


def job(function, grid=GRID):
    return Job(Path("x.zarr"), Points.grid(grid), None, cloudpickle.dumps(function), 1)


def test_a_plan_says_points_tiles_bytes_and_time():
    who = Workers(1, lambda job, point: (job.call([point])[0], "", 0.01), serial().compute)
    plan = planned(job(good), who, tile_points=4)
    assert plan.tiling.block == (1, 4) and len(plan.tiling) == 3 and plan.form.n_bytes == 88
    assert str(plan).startswith("12 points in 3 tiles of up to 4, about 1.06 kB and ")
    assert set(plan.known) == {0, 1}


def test_a_first_point_that_is_slow_is_enough():
    grid = {"a": range(10**5)}
    times = iter([3.0])
    who = Workers(2, lambda job, point: ({"n": 1}, "", next(times)), serial().compute)
    plan = planned(job(good, grid), who)
    assert plan.seconds == 3 and len(plan.tiling) == 10**5
    assert "about 800 kB and 41.7 hours on 2 workers" in str(plan)


def test_points_that_fail_are_passed_over_until_one_does_not():
    def function(a, b):
        return good(a, b) if a == 3 else 1 / 0

    plan = planned(job(function), serial())
    assert plan.known[0] == (None, "ZeroDivisionError: division by zero")
    with pytest.raises(ValueError, match=r"none of the 12 points tried gives .* division by zero"):
        planned(job(lambda a, b: 1 / 0), serial())


def test_another_sweep_is_refused_with_the_difference(tmp_path):
    out = tmp_path / "x.zarr"
    function = noted(tmp_path)
    sweep(function, {"a": [1, 2]}, out=out).close()
    with pytest.raises(ValueError, match=r"points\.a is 1, 3 here and 1, 2 there; name another"):
        sweep(function, {"a": [1, 3]}, out=out)
    with pytest.raises(ValueError, match=r"threads is 2 here and 1 there"):
        sweep(function, {"a": [1, 2]}, out=out, threads=2)
    check_same_sweep(out, __import__("ctebm").sweeps.store.open_store(out).description["identity"])


@pytest.mark.parametrize(
    ("seconds", "n_done", "words"),
    [(1800.0, 0, "and 900 s on 2"), (3600.0, 0, "and 1.8e+03 s on 2"),
     (14400.0, 0, "and 2.0 hours on 2"), (10800.0, 1, "and 0 s on 2")],
)  # fmt: skip
def test_the_time_of_a_plan_is_that_of_what_is_left_shared_among_workers(seconds, n_done, words):
    who = Workers(2, lambda job, point: ({"n": 1}, "", seconds), serial().compute)
    plan = dataclasses.replace(planned(job(good, {"a": [1]}), who), n_done=n_done)
    assert words in str(plan)
    assert (", 1 of which are done" in str(plan)) == (n_done == 1)
    alone = dataclasses.replace(plan, n_workers=1, n_done=0)
    assert "workers" not in str(alone)
