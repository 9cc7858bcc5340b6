"""The studies of noise: every claim holds, small and as they come; mistakes are refused."""

from importlib import import_module

import numpy as np
import pytest

import ctebm
from ctebm import study

SMALL = {
    "fluctuation": ["--hidden", "12", "8", "--chains", "16", "--time", "40", "--lag", "1", "2"],
    "escape": ["--chains", "50", "--barriers", "1", "1.2", "1.5", "--n-units", "16"],
    "perturbation": ["--width", "6", "12", "--runs", "2048", "--sigma", "0.01"],
}


def call(name, *words):
    module = import_module(name)
    parts = {"run": module.run, "draw": module.draw, "judge": module.judge}
    return study.main(module.Settings, **parts, args=list(words))


@pytest.mark.parametrize("name", SMALL)
def test_every_claim_holds_at_a_small_size(name, tmp_path, capsys):
    code = call(name, "--out", str(tmp_path / name), *SMALL[name])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "FAILS" not in said and "holds" in said
    assert {p.suffix for p in tmp_path.iterdir()} == {".nc", ".png"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_claim_holds_as_it_comes(name, tmp_path, capsys):
    assert call(name, "--out", str(tmp_path / name), "--no-figure") == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "name, words, sentence",
    [
        ("fluctuation", ["--cosine", "1"], "--cosine needs"),
        ("fluctuation", ["--lag", "0.25"], "multiple of eps"),
        ("fluctuation", ["--gain", "2"], "expected a stable point"),
        ("fluctuation", ["--chains", "2"], "--chains needs"),
        ("escape", ["--barriers", "2", "3"], "--barriers needs"),
        ("escape", ["--barriers", "0", "3", "4"], "--barriers needs"),
        ("escape", ["--n-units", "4"], "--n-units needs"),
        ("escape", ["--dtype", "float32"], "leave it out"),
        ("perturbation", ["--runs", "1000"], "--runs needs"),
        ("perturbation", ["--width", "0"], "--width needs"),
        ("perturbation", ["--sigma", "nan"], "--sigma must be"),
    ],
)
def test_bad_settings_are_refused(name, words, sentence, tmp_path, capsys):
    try:
        code = call(name, "--out", str(tmp_path / name), *words)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2 and sentence in said.err + said.out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_escapes_are_those_of_the_known_pairs(tmp_path):
    """Barrier / D = 4: 2 x 181.33 and 73.34 over laws of 323.42 and 94.57, within 5 sigma."""
    words = ["--chains", "150", "--barriers", "3", "3.5", "4", "--n-units", "16", "--no-figure"]
    call("escape", "--out", str(tmp_path / "escape"), *words)
    with ctebm.open(tmp_path / "escape.nc") as data:
        for name, law, time in (("smooth pair", 323.42, 362.66), ("pinned pair", 94.57, 73.34)):
            one = data.sel(network=name, barrier=4.0)
            assert float(one.law) == pytest.approx(law, rel=1e-4)
            error = float(one.high - one.low) / 4
            assert abs(float(one.time) - time) < 5 * error and error < 0.1 * time


def test_times_to_read_a_gradient_grow_with_depth(tmp_path):
    call("fluctuation", "--out", str(tmp_path / "f"), *SMALL["fluctuation"], "--no-figure")
    with ctebm.open(tmp_path / "f.nc") as data:
        order = np.argsort(data.depth.values)
        assert (np.diff(data.time_needed.isel(sample=0, lag=0).values[order]) > 0).all()
