"""A tile, computed: points that fail, points that are done, threads."""

from __future__ import annotations

import asyncio

import cloudpickle
import numpy as np
import pytest
import torch
import xarray as xr
from sweep_cases import GRID, fails_at_two, good

import ctebm
from ctebm.sweeps.computation import Job, compute_point, compute_tile, mark_killed
from ctebm.sweeps.form import Form
from ctebm.sweeps.identity import identity
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import FAILED, KILLED, MISSING, create_store, open_store

POINTS = Points.grid(GRID)


@pytest.fixture
def job(tmp_path):
    form = Form.of(good(1, 0.5), ["a", "b"])
    create_store(tmp_path / "x.zarr", POINTS, form, (3, 2), identity(good, POINTS, 1, {}))
    return Job(tmp_path / "x.zarr", POINTS, form, cloudpickle.dumps(fails_at_two), 1)


def test_a_point_that_fails_is_a_status_with_its_sentence(job):
    assert compute_tile(job, 0) == 6
    store = open_store(job.path)
    assert store.status().tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [1, 1, 0, 0]]
    assert store.messages()[1, 1] == "ValueError: no equilibrium"
    assert np.isnan(store.read(0)["z"][3]) and store.read(0)["z"][2] == 2 + 0.5j


def test_what_is_done_is_not_computed_again(job):
    assert compute_tile(job, 0, only=[0, 4]) == 2
    again = Job(job.path, POINTS, job.form, cloudpickle.dumps(lambda a, b: 1 / 0), 1)
    assert compute_tile(again, 0) == 4 and compute_tile(job, 0) == 0
    assert open_store(job.path).status()[:, :2].tolist() == [[1, 2], [1, 2], [2, 2]]
    retry = Job(job.path, POINTS, job.form, job.function, 1, (MISSING, FAILED, KILLED))
    assert compute_tile(retry, 0) == 4
    store = open_store(job.path)
    assert store.status()[:, :2].tolist() == [[1, 1], [1, 2], [1, 1]]
    assert store.messages()[0, 1] == ""


def test_what_is_known_is_not_computed(job):
    known = {0: (good(7, 7.0), ""), 1: (None, "it failed before")}
    compute_tile(job, 0, known=known)
    store = open_store(job.path)
    assert store.read(0)["n"][0] == 7 and store.messages()[0, 1] == "it failed before"


def test_a_point_that_kills_is_marked(job):
    compute_tile(job, 0, only=[0])
    assert mark_killed(job, 0, 5) == 1
    assert open_store(job.path).status()[:2, :2].tolist() == [[1, 0], [0, KILLED]]


def test_a_result_of_another_form_is_a_failure(job):
    other = Job(job.path, POINTS, job.form, cloudpickle.dumps(lambda a, b: {"n": 1}), 1)
    compute_tile(other, 0)
    assert "is not that of the first point" in open_store(job.path).messages()[0, 0]


def test_threads_are_those_asked_for_and_given_back(job):
    before = torch.get_num_threads()
    function = cloudpickle.dumps(lambda a, b: {"threads": torch.get_num_threads()})
    for n in (1, 2):
        result, message, seconds = compute_point(Job(job.path, POINTS, None, function, n), 0)
        assert float(result["threads"]) == n and message == "" and 0 < seconds < 100
    assert torch.get_num_threads() == before


def test_a_disk_that_is_full_is_no_failure_of_the_points(job, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctebm.sweeps.store.write_tile", full)
    with pytest.raises(OSError, match="No space left"):
        compute_tile(job, 0)
    assert not open_store(job.path).status().any()


class Panic(BaseException):
    """What compiled code may raise, which is no Exception."""


class Wordless(Exception):
    """An error that fails to say what it is."""

    def __str__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("half \ud800\0\nof"), "ValueError: half ? of"),
        (Wordless(), "Wordless: it has no words for what went wrong"),
        (ValueError(), "ValueError"),
        (asyncio.CancelledError("late"), "CancelledError: late"),
        (Panic("not an Exception"), "Panic: not an Exception"),
    ],
)
def test_whatever_a_point_raises_is_its_message(error, message):
    def function(a):
        if a == 1:
            raise error
        return {"x": a}

    with pytest.warns(UserWarning, match="1 of 3 points failed"):
        found = ctebm.sweep(function, {"a": range(3)}, tile_points=1)
    assert found.status.values.tolist() == [1, 2, 1]
    assert str(found.message.values[1]) == message


def test_an_interrupt_is_none_of_them():
    def function(a):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ctebm.sweep(function, {"a": range(3)})


@pytest.mark.parametrize("together", [(), ["a"]])
def test_a_function_may_write_into_its_result_again(together):
    kept, row = {}, np.zeros((1, 2))

    def mapping(a):
        kept["x"] = np.array(a, float)
        return kept

    def dataset(a):
        nonlocal row
        row = row if len(row) == np.size(a) else np.zeros((np.size(a), 2))
        row[:] = np.reshape(a, (-1, 1))
        return xr.Dataset(
            {"x": (("sample", "k") if together else ("k",), row if together else row[0])}
        )

    for function in (mapping, dataset):
        found = ctebm.sweep(function, {"a": range(4)}, together=together).x.values
        assert found.reshape(4, -1)[:, 0].tolist() == [0, 1, 2, 3]
