"""The studies of what noise visits: claims hold, at the default size too, and can fail."""

from importlib import import_module

import pytest

import ctebm
from ctebm import study

SMALL = {"score": ["--n-samples", "20000", "--spacing", "0.09", "--w", "2"]}


def call(name, *words):
    module = import_module(name)
    parts = {"run": module.run, "draw": module.draw, "judge": module.judge}
    return study.main(module.Settings, **parts, args=list(words))


def kept(name, folder, *words):
    """Run a study, hold its claims, and return its dataset."""
    assert call(name, "--out", str(folder / name), *words) == 0
    assert {p.suffix for p in folder.iterdir()} == {".nc", ".png"}
    with ctebm.open(folder / f"{name}.nc") as dataset:
        return dataset.load()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_claim_holds(name, tmp_path, capsys):
    kept(name, tmp_path)
    assert "FAILS" not in capsys.readouterr().out


def test_score(tmp_path):
    dataset, judge = kept("score", tmp_path, *SMALL["score"]), import_module("score").judge
    matched = dataset.exact.sel(denoiser="score matching")
    # by symmetry the bias is -1/2 coupling, whatever the noise
    assert abs(matched.sel(weight="bias") / matched.sel(weight="coupling") + 0.5).max() < 1e-9
    assert not judge(dataset.assign(trained=dataset.trained * 1.1))[0].ok
    assert not judge(dataset.assign(exact=dataset.exact * 0.9))[2].ok
    assert not judge(dataset.assign(exact=dataset.exact * 3))[3].ok


@pytest.mark.parametrize(
    ("line", "words"),
    [("score --noise 1", "two or more"), ("score --w 5", "one valley"),
     ("score --spacing 0.2", "smallest noise"), ("score --device cuda", "no effect")],
)  # fmt: skip
def test_settings_without_meaning_are_refused(line, words, tmp_path, capsys):
    name, *flags = line.split()
    assert call(name, "--out", str(tmp_path / name), *flags) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
