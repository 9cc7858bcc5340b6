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
def test_score_by_default(tmp_path):
    kept("score", tmp_path)


@pytest.mark.slow
def test_langevin_by_default(tmp_path):
    """Every claim holds, and each fails where the map is taken for Langevin dynamics or moved."""
    dataset, judge = kept("langevin", tmp_path), import_module("langevin").judge
    wrong = dataset.copy()
    for name in ("smooth_distance", "kinked_distance", "smooth_spread", "pinned_spread"):
        wrong[name] = dataset[name].roll(dynamics=2)
    for name in ("pinned_bias", "smooth_law_distance"):
        wrong[name] = dataset[name] * 1.2 + 0.5
    wrong["digits_variance"] = dataset.digits_variance * 1.1 + 1e-11
    wrong["smooth_spread_law"] = dataset.smooth_spread_law * dataset.smooth_eps**0.2
    wrong["kinked_law_distance"] = dataset.kinked_law_distance / 2
    assert [v.claim for v in judge(wrong) if v.ok] == []


@pytest.mark.slow
def test_synaptic_by_default(tmp_path):
    """Every claim holds, and each fails where measurements are moved."""
    dataset, judge = kept("synaptic", tmp_path), import_module("synaptic").judge
    wrong = dataset.copy()
    for name in ("correlation", "mean_update", "map_variance"):
        wrong[name] = dataset[name] * 1.2 + 0.5
    wrong["hops"], wrong["hops_low"] = dataset.hops / 2, dataset.hops_low / 2
    wrong["hops_high"] = dataset.hops_high / 2 + 0.001
    assert [v.claim for v in judge(wrong) if v.ok] == []


def test_synaptic_in_parts():
    """What the map does between kinks is what its laws say, within 4 standard errors."""
    synaptic = import_module("synaptic")
    settings = synaptic.Settings(chains=400, time=10, eps=(0.2,))
    noise, modes = synaptic._noise(settings), synaptic._modes(settings)
    z = (noise.correlation - noise.correlation_law) / noise.correlation_error
    assert abs(z.isel(lag=slice(1, None))).max() < 4
    assert noise.correlation_error.isel(lag=1).max() < 0.05  # the test can fail
    near = modes.sel(map_sigma=0.01)
    assert (abs(near.map_variance - near.map_variance_law) < 4 * near.map_variance_error).all()


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
     ("score --spacing 0.2", "smallest noise"), ("score --device cuda", "no effect"),
     ("langevin --eps 0.2 0.1", "3 or more"), ("langevin --chains 10", "320 or more"),
     ("langevin --kink-eps 0.2", "0.0001 to 0.1"), ("langevin --dtype float32", "no effect"),
     ("synaptic --eps 0.6", "0.001 to 0.5"), ("synaptic --chains 10", "320 or more"),
     ("synaptic --time 1", "10 to 10000"), ("synaptic --device cuda", "no effect")],
)  # fmt: skip
def test_settings_without_meaning_are_refused(line, words, tmp_path, capsys):
    name, *flags = line.split()
    assert call(name, "--out", str(tmp_path / name), *flags) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
