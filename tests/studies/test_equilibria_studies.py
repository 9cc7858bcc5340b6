"""The studies of equilibria run, small, and their verdicts can fail."""

import json

import bifurcation
import fixed_points
import pytest

import ctebm
from ctebm import study

STUDIES = {"bifurcation": bifurcation, "fixed_points": fixed_points}


def run(name, tmp_path, *words):
    module = STUDIES[name]
    return study.main(
        module.Settings, run=module.run, draw=module.draw, judge=module.judge,
        args=["--out", str(tmp_path / "result"), *words],
    )  # fmt: skip


def verdicts(tmp_path):
    with ctebm.open(tmp_path / "result.nc") as dataset:
        return json.loads(dataset.attrs["verdicts"])


def test_bifurcation(tmp_path):
    assert run("bifurcation", tmp_path, "--n-units", "3", "--w", "6", "--step", "0.05") == 0
    assert all(v["ok"] for v in verdicts(tmp_path))
    assert (tmp_path / "result.png").exists()
    with ctebm.open(tmp_path / "result.nc") as dataset:
        moved = dataset.load()
        moved["pair0_event_parameter"] = moved["pair0_event_parameter"] + 1e-6
    assert not all(v.ok for v in bifurcation.judge(moved))


def test_fixed_points(tmp_path):
    words = ["--gain", "0.25", "1.0", "--n-samples", "2", "--n-starts", "3", "--eps", "0.2"]
    assert run("fixed_points", tmp_path, *words) == 0
    with ctebm.open(tmp_path / "result.nc") as dataset:
        assert dataset.n_stable.dims == ("activation", "gain", "sample")
        assert (dataset.pinned_share.sel(activation="logistic") == 0).all()
        assert (dataset.n_stable >= 1).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [("bifurcation", ["--w", "3"]), ("fixed_points", ["--eps", "2"]),
     ("fixed_points", ["--sizes", "10", "5", "5"])],
)  # fmt: skip
def test_bad_settings(name, words, tmp_path):
    try:
        code = run(name, tmp_path, *words)
    except SystemExit as stop:  # of the command line's parser
        code = stop.code
    assert code == 2
    assert not list(tmp_path.glob("result*"))
