"""`python studies/NAME.py sweep`: what it prints, writes and returns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))
import sweep_toy as toy

import ctebm
from ctebm import study

ROOT = Path(ctebm.__file__).parents[1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(*words):
    threads = torch.get_num_threads()
    try:
        return study.main(toy.Settings, run=toy.run, draw=toy.draw, judge=toy.judge, args=words)
    finally:
        torch.set_num_threads(threads)


def sweep(*words, out="x.zarr"):
    return main("sweep", *words, "--out", out)


def test_a_sweep_and_all_that_is_done_with_it(capsys):
    words = ["--grid", "gain=1:4:4", "--replicates", "3", "--keep", "size"]
    assert sweep(*words, "--dry-run") == 0
    assert "12 points in " in capsys.readouterr().out and not Path("x.zarr").exists()
    assert sweep(*words) == 0
    out, err = capsys.readouterr()
    assert "it is small: holds at 12 of 12 points\n12 of 12 points are done\nwrote x.zarr" in out
    assert "points: 12 of 12" in err
    with ctebm.open("x.zarr") as found:
        assert dict(found.sizes) == {"gain": 4, "seed": 3, "eps": 2, "claim": 64}
        assert found.size.sel(gain=3.0, seed=1, eps=0.2) == pytest.approx(0.6)
        assert found.attrs["study"] == "sweep_toy" and "history" in found.attrs
    assert main("sweep", "status", "x.zarr") == 0
    assert "0 not computed, 12 done" in capsys.readouterr().out
    assert main("sweep", "export", "x.zarr", "x.nc") == 0
    with ctebm.open("x.nc") as exported, ctebm.open("x.zarr") as found:
        assert exported.value.equals(found.value)
    assert main("sweep", "report", "x.zarr") == 0
    assert "12 of 12 points are done" in Path("x.html").read_text()
    for result in ("x.zarr", "x.nc"):
        assert main("draw", result) == 0 and Path("x.png").stat().st_size
        Path("x.png").unlink()
    assert sweep("--resume") == 0
    capsys.readouterr()
    assert sweep(*words[:2], "--replicates", "4", "--keep", "size") == 2
    assert "seed is 0, 1, 2, 3 here and 0, 1, 2 there" in capsys.readouterr().err


def test_points_that_fail_are_listed(capsys):
    assert sweep("--grid", "gain=1,7,-1,9") == 3
    out, err = capsys.readouterr()
    assert "2 of 4 points are done, 2 failed" in out
    assert "failed: gain=7.0: ValueError: this gain is bad" in err
    assert "failed: gain=-1.0: ValueError: --gain must be > 0" in err
    assert main("sweep", "status", "x.zarr") == 3
    assert sweep("--grid", "gain=1,7,-1,9", "--retry-failed") == 3


def test_a_claim_that_fails_somewhere(capsys):
    assert sweep("--grid", "gain=1,20") == 1
    assert "it is small: holds at 1 of 2 points" in capsys.readouterr().out


def test_damage_is_repaired(capsys):
    assert sweep("--grid", "gain=1:4:4", "--tile-points", "2") == 0
    Path("x.zarr/value/c/1/0").unlink()
    assert main("sweep", "verify", "x.zarr") == 1
    assert "is missing\n1 damaged; --repair" in capsys.readouterr().out
    assert main("sweep", "verify", "x.zarr", "--repair") == 0
    assert main("sweep", "verify", "x.zarr") == 0


def test_a_table_and_parts(capsys):
    Path("points.csv").write_text("gain,eps\n1,0.1\n2,0.2\n3,0.1 0.3\n")
    words = ["--table", "points.csv", "--tile-points", "1"]
    assert sweep(*words, "--tiles", "0/2") == 0
    assert sweep(*words, "--tiles", "1/2") == 0
    with ctebm.open("x.zarr") as found:
        assert found.status.values.tolist() == [1, 1, 1]
        assert found.value.values[:, 0] == pytest.approx([0.1, 0.4, 0.9])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "a sweep needs --grid, --table or --replicates"),
        (("--grid", "gain=-1,-2"), "--gain must be > 0, got -1"),
        (("--grid", "gain=1", "--gian", "2"), "unknown flag --gian; did you mean --gain"),
        (("--grid", "seed=1", "--replicates", "2"), "are one axis"),
        (("--grid", "gain=1", "--tiles", "3/2"), "--tiles takes I/N"),
        (("--grid", "gain=1", "--slurm", "main"), "--slurm takes KEY=VALUE"),
        (("--grid", "gain=1", "--scheduler", "a", "--workers", "1"), "has its own workers"),
        (("--resume", "--grid", "gain=1"), "--resume reads all settings from OUT"),
        (("--resume",), "there is no sweep at x.zarr"),
        (("--table", "none.csv"), "No such file"),
        (("--grid", "gain=1", "--workers", "0"), "workers must be a whole number from 1"),
        (("--grid", "gain=1", "--workers", "-1"), "workers must be a whole number from 1"),
        (("--grid", "gain=1", "--tile-points", "0"), "tile_points must be a whole number from 1"),
        (("--grid", "gain=1", "--replicates", "x"), "--replicates: expected a whole number"),
        (("--grid", "gain=1", "--tiles", "-1/2"), "--tiles takes I/N"),
        (("--grid", "gain=1", "--scheduler", " "), "got an empty one"),
        (("--grid", "gain=1", "--overwrite"), "--overwrite is for a single run"),
        (("--grid", "gain=1", "--no-figure"), "--no-figure is for a single run"),
        (("--grid", "gain=1", "--print-config"), "--print-config is for a single run"),
        (("--grid", "gain=1", "--gain=3"), "--gain would have no effect, since gain varies"),
        (("--grid", "seed=-1,-2"), "--seed must not be negative, got -1"),
        (("--grid", "device=foo,bar"), "--device must be cpu, cuda or cuda:N, got 'foo'"),
        (("--grid", "device=cuda:98,cuda:99"), "--device cuda:98 is not available"),
        (("statsu", "x.zarr"), "did you mean 'status'"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, capsys):
    assert sweep(*words) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not Path("x.zarr").exists()


def test_a_flag_of_a_column_of_the_table_is_refused(capsys):
    Path("points.csv").write_text("gain\n1\n")
    assert sweep("--table", "points.csv", "--gain", "3") == 2
    assert "--gain would have no effect" in capsys.readouterr().err


def test_a_dry_run_over_a_store_says_what_is_left(capsys):
    words = ["--grid", "gain=1,2,3", "--tile-points", "1"]
    assert sweep(*words, "--tiles", "0/3") == 0
    capsys.readouterr()
    assert sweep(*words, "--dry-run") == 0 == sweep("--resume", "--dry-run")
    assert capsys.readouterr().out.count("3 points in 3 tiles of up to 1, 1 of which are done") == 2


def test_tiles_of_another_size_than_there_are_refused(capsys):
    words = ["--grid", "gain=1,2,3"]
    assert sweep(*words, "--tile-points", "1") == 0 == sweep(*words, "--tile-points", "1")
    assert sweep(*words, "--tile-points", "2") == 2
    assert "x.zarr has tiles of 1 points, got tile_points=2; leave" in capsys.readouterr().err


def test_what_is_made_of_a_store_replaces_nothing_else(capsys):
    assert sweep("--grid", "gain=1,2") == 0
    for _ in range(2):
        assert main("sweep", "export", "x.zarr", "x.nc", "--overwrite") == 0
        assert main("sweep", "report", "x.zarr") == 0
    Path("mine.html").write_text("mine")
    capsys.readouterr()
    for words, sentence in [
        (("export", "x.zarr", "y.zarr"), "sweep export writes one .nc file"),
        (("export", "x.zarr", "x.nc"), "pass --overwrite to replace it"),
        (("report", "x.zarr", "mine.html"), "mine.html is not a report and is kept"),
        (("report", "x.zarr", "x.py"), "a report's name ends in .html"),
        (("report", "x.zarr", "/proc/x.html"), "can't write /proc/x.html"),
    ]:
        assert main("sweep", *words) == 2
        err = capsys.readouterr().err
        assert sentence in err and err.count("\n") == 1
    assert Path("mine.html").read_text() == "mine"


def test_out_is_a_store(capsys):
    assert sweep("--grid", "gain=1", out="x.nc") == 2
    assert "--out names the store of a sweep" in capsys.readouterr().err


def heed_interrupts():
    """Undo what a shell does to processes in its background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupted_sweep_says_so_and_goes_on(folder):
    script = folder / "slow_toy.py"
    text = Path(toy.__file__).read_text()
    script.write_text(
        text.replace(
            "    import xarray as xr\n",
            "    import time\n    import xarray as xr\n    time.sleep(0.1)\n",
            1,
        )
    )
    words = [sys.executable, str(script), "sweep", "--grid", "gain=1:4:60", "--out", "x.zarr"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_interrupts
    )
    while not list(Path().glob("x.zarr/status/c/*")):
        time.sleep(0.1)
        assert started.poll() is None
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "what is finished is kept; the same command goes on\ninterrupted" in err
