"""The studies of the correspondence at a small size: every claim holds, mistakes are refused."""

from importlib import import_module

import numpy as np
import pytest

import ctebm
from ctebm import study
from ctebm.networks.parameters import network_dataset

SMALL = {
    "first_arrival": ["--depth", "2", "--n-samples", "4"],
    "beta": ["--hidden", "12", "--n-samples", "2", "--points", "1", "2", "3"],
    "depth": ["--depth", "3", "--n-samples", "4", "--t-end", "8"],
    "integrators": ["--depth", "3", "--n-samples", "4"],
    "energies": ["--width", "8", "--n-samples", "3", "--t-through", "60"],
    "memory": [
        *("--n-units", "80", "--loads", "0.03", "0.1", "0.2", "0.35", "--flipped", "0.1", "0.3"),
        *("--draws", "3", "--cues", "6"),
    ],
    "attention": ["--dimensions", "8", "14", "--draws", "3", "--cues", "8"],
    "asymmetry": ["--n-seeds", "2", "--n-samples", "2", "--degrees", "0", "60", "180"],
    "noise": ["--n-samples", "4", "--hidden", "16", "16"],
    "bptt": ["--n-seeds", "2", "--n-samples", "2", "--gains", "0.25", "1", "--n-steps", "20"],
}


def call(module, *words):
    parts = {"run": module.run, "draw": module.draw, "judge": module.judge}
    return study.main(module.Settings, **parts, args=list(words))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a file with networks as training leaves them: strong weights, units at kinks."""
    folder = tmp_path_factory.mktemp("weights")
    for name, rho in (("kinked", ctebm.HardSigmoid(lower=-0.1)), ("curved", ctebm.Tanh())):
        net = ctebm.LayeredNetwork.random((64, 14, 12, 10), rho, gain=0.6, seed=2)
        ctebm.save(network_dataset(net), folder / f"{name}.nc")
    flat = ctebm.LayeredNetwork.random((64, 10), ctebm.Tanh())
    ctebm.save(network_dataset(flat), folder / "flat.nc")
    apart = ctebm.FeedbackNetwork.at_angle(ctebm.LayeredNetwork.random((64, 9, 10), rho), 30)
    ctebm.save(network_dataset(apart), folder / "apart.nc")
    return folder


GIVEN = {
    "epsilon": ["--n-samples", "6"],
    "first_arrival": ["--n-samples", "6"],
    "depth": ["--n-samples", "6", "--t-end", "6"],
    "integrators": ["--n-samples", "6"],
    "asymmetry": ["--n-seeds", "1", "--n-samples", "6", "--degrees", "0", "60", "180"],
    "noise": ["--n-samples", "3", "--sigma", "0.001", "0.01"],
    "bptt": ["--n-samples", "6", "--n-steps", "10"],
    "fixed_points": ["--n-samples", "4", "--n-starts", "4", "--eps", "0.2", "0.1"],
}


@pytest.mark.parametrize("name", GIVEN)
def test_given_weights_with_pinned_units_hold_too(name, trained, tmp_path, capsys):
    words = ["--weights", str(trained / "kinked.nc"), *GIVEN[name]]
    code = call(import_module(name), "--out", str(tmp_path / name), *words)
    said = capsys.readouterr().out
    assert code == 0, said
    assert name in ("epsilon", "fixed_points") or "units held at a kink" in said
    with ctebm.open(tmp_path / f"{name}.nc") as data:
        if name not in ("epsilon", "fixed_points"):
            assert 0.1 < data.pinned_share.mean() < 0.9


def test_beta_takes_curved_weights_only(trained, tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "open.npz", input=rng.random((20, 64)), label=np.arange(20) % 10)
    words = ["--n-samples", "2", "--points", "1", "2", "--data", str(tmp_path / "open.npz")]
    for name, code in (("kinked", 2), ("curved", 0)):
        files = ["--weights", str(trained / f"{name}.nc"), "--out", str(tmp_path / name)]
        assert call(import_module("beta"), *files, *words) == code
    assert "needs an analytic activation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["kinked.nc", "--gain", "0.5"], "it describes random weights"),
        (["kinked.nc", "--hidden", "8"], "it describes random weights"),
        (["flat.nc"], "needs a hidden layer"),
        (["apart.nc"], "train without --separate"),
        (["small.npz"], "holds no trained network"),
        (["nowhere.nc"], "nowhere.nc"),
        (["kinked.nc", "--data", "small.npz"], "has 9 pixels but the network in"),
    ],
    ids=" ".join,
)
def test_weights_that_do_not_fit_are_refused(words, sentence, trained, tmp_path, capsys):
    np.savez(trained / "small.npz", input=np.zeros((20, 9)), label=np.arange(20) % 10)
    words = [str(trained / word) if word.endswith((".nc", ".npz")) else word for word in words]
    try:
        code = call(import_module("bptt"), "--out", str(tmp_path / "r"), "--weights", *words)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert sentence in " ".join((said.out + said.err).replace("│", " ").split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SMALL)
def test_every_claim_holds_at_a_small_size(name, tmp_path, capsys):
    out = tmp_path / name
    code = call(import_module(name), "--out", str(out), *SMALL[name])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "FAILS" not in said and "holds" in said
    assert {p.suffix for p in tmp_path.iterdir()} == {".nc", ".png"}


@pytest.mark.parametrize(
    "name, words",
    [
        ("first_arrival", ["--eps", "0.1", "0.2"]),
        ("first_arrival", ["--dtype", "float32"]),
        ("beta", ["--activation", "hard-sigmoid"]),
        ("beta", ["--beta", "0", "0.1", "0.2", "0.3"]),
        ("depth", ["--gain", "0"]),
        ("noise", ["--replicates", "1"]),
        ("asymmetry", ["--degrees", "190"]),
        ("integrators", ["--eps", "0.1"]),
        ("bptt", ["--beta", "0"]),
        ("energies", ["--eps", "0.1"]),
        ("energies", ["--t-through", "0.5"]),
        ("memory", ["--n-units", "42"]),
        ("memory", ["--loads", "0.1", "0.05"]),
        ("memory", ["--flipped", "0.1", "0.6"]),
        ("attention", ["--dimensions", "8", "40"]),
        ("attention", ["--draws", "1"]),
    ],
)
def test_settings_without_meaning_are_refused(name, words, tmp_path, capsys):
    try:
        code = call(import_module(name), "--out", str(tmp_path / name), *words)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_law_is_noticed(tmp_path, capsys, monkeypatch):
    """The study of depths fails if the cascade is taken one layer short."""
    import ctebm.early_inference.record

    right = ctebm.early_inference.record.driven_coefficient
    monkeypatch.setattr(
        "ctebm.early_inference.record.driven_coefficient", lambda k, n, e, p: right(k + 1, n, e, p)
    )
    assert call(import_module("depth"), "--out", str(tmp_path / "depth"), *SMALL["depth"]) == 1
    assert "FAILS" in capsys.readouterr().out


COLLAPSE = [
    "--width", "16", "--depths", "1", "2", "--eigenvalues", "-0.6", "-0.1", "0.4",
    "--rates", "0.03", "0.1", "--n-training", "300", "--n-samples", "32",
]  # fmt: skip


def test_collapse(tmp_path, capsys):
    collapse = import_module("collapse")
    code = call(collapse, "--out", str(tmp_path / "r"), *COLLAPSE)
    said = capsys.readouterr().out
    assert code in (0, 1), said
    with ctebm.open(tmp_path / "r.nc") as data:
        fallen = data.start_pinned.sel(lower=-0.5, depth=2)
        assert fallen.sel(eigenvalue=-0.6) > 0.2 > 0.05 > fallen.sel(eigenvalue=0.4)
        assert (data.start_hessian > 0).all()
        np.testing.assert_allclose(
            data.start_hessian.sel(eigenvalue=0.4, lower=-0.5), 0.4, atol=0.2
        )
        assert data.start_linear.sel(lower=-0.5, eigenvalue=0.4).min() > 0.9
        assert ((data.dead >= 0) & (data.dead <= data.pinned)).all()
        assert (data.push.diff("rate") > 0).all()


@pytest.mark.parametrize("words", [["--eigenvalues", "0.1", "0.2", "0.3"], ["--rates", "0.1", "0"]])
def test_collapse_refuses(words, tmp_path, capsys):
    assert call(import_module("collapse"), "--out", str(tmp_path / "r"), *words) == 2
    assert not list(tmp_path.iterdir())
