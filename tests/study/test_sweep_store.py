"""How a study's sweep stands, and its settings read back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))
import sweep_toy as toy

import ctebm
from ctebm.study.sweep_store import COMMANDS, summary, there
from ctebm.study.swept import StudyPoint
from ctebm.sweeps.points import Points

STUDY = toy.Settings, toy.run, toy.judge


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A sweep of which one point fails, one has a claim that fails, and one is not done."""
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    point = StudyPoint.of(toy.Settings(eps=(0.3,)), toy.run, toy.judge)
    path, grid = tmp_path / "x.zarr", {"gain": [1.0, toy.MISTAKE, 20.0, 2.0]}
    with pytest.warns(UserWarning, match="this gain is bad"):
        for part in ((0, 4), (1, 4), (2, 4)):
            ctebm.sweep(point, grid, out=path, tile_points=1, part=part).close()
    return path


def test_a_summary_counts_claims_and_points_and_lists_failures(out, capsys):
    assert summary(out) == 3
    said, wrong = capsys.readouterr()
    assert "it is small: holds at 1 of 2 points\n" in said
    assert "2 of 4 points are done, 1 are not computed, 1 failed\n" in said
    assert wrong == "failed: gain=7.0: ValueError: this gain is bad\n"
    assert COMMANDS["status"](STUDY, [str(out)]) == 3
    assert "1 not computed, 2 done, 1 failed, 0 ended" in capsys.readouterr().out


def test_claims_are_counted_where_no_point_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    point = StudyPoint.of(toy.Settings(eps=(0.3,)), toy.run, toy.judge)
    ctebm.sweep(point, {"gain": [1.0, 2.0]}, out=tmp_path / "x.zarr").close()
    assert summary(tmp_path / "x.zarr") == 0
    assert "it is small: holds at 2 of 2 points\n" in capsys.readouterr().out
    assert COMMANDS["verify"](STUDY, [str(tmp_path / "x.zarr")]) == 0
    assert capsys.readouterr().out == "nothing is damaged\n"
    chunk = next(p for p in (tmp_path / "x.zarr").glob("status/c/**/*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert COMMANDS["verify"](STUDY, [str(tmp_path / "x.zarr")]) == 1
    assert " damaged; --repair computes their points again\n" in capsys.readouterr().out


def test_settings_and_points_are_read_back(out):
    point, points = there(STUDY, out)
    assert point.base["eps"] == (0.3,) and point.names == ("Settings", "run", "judge")
    assert points == Points.grid({"gain": [1.0, toy.MISTAKE, 20.0, 2.0]})


def test_a_sweep_without_claims_has_none_to_count(tmp_path, capsys):
    """That of a function that judges nothing, and that of a study that failed everywhere."""
    ctebm.sweep(lambda a: {"n": a}, {"a": [1, 2]}, out=tmp_path / "x.zarr").close()
    assert summary(tmp_path / "x.zarr") == 0
    assert capsys.readouterr().out == f"2 of 2 points are done\nwrote {tmp_path / 'x.zarr'}\n"
    assert COMMANDS["status"](STUDY, [str(tmp_path / "x.zarr")]) == 0
    assert capsys.readouterr().out == "0 not computed, 2 done, 0 failed, 0 ended their worker\n"


def test_of_many_failures_some_are_listed(tmp_path, capsys):
    def function(a, b):
        if a:
            raise ValueError(f"no {a} {b}")
        return {"n": 1}

    with pytest.warns(UserWarning, match="30 of 31 points failed|30 of 33 points failed"):
        ctebm.sweep(function, {"a": range(11), "b": [0, 1, 2]}, out=tmp_path / "x.zarr").close()
    assert summary(tmp_path / "x.zarr") == 3
    said, wrong = capsys.readouterr()
    assert said.startswith("3 of 33 points are done, 30 failed\n")
    lines = wrong.splitlines()
    assert lines[0] == "failed: a=1, b=0: ValueError: no 1 0"
    assert lines[-1] == f"and {30 - len(lines) + 1} more; `message` has all"
    assert 1 < len(lines) < 30
