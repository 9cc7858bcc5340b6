"""The studies of the correspondence at a small size: every claim holds, mistakes are refused."""

import importlib.util
import sys
from pathlib import Path

import pytest

from ctebm import study

STUDIES = Path(__file__).parent.parent / "studies"
SMALL = {
    "first_arrival": ["--depth", "2", "--n-samples", "4"],
    "beta": ["--hidden", "12", "--n-samples", "2", "--points", "1", "2", "3"],
    "depth": ["--depth", "3", "--n-samples", "4", "--t-end", "8"],
    "integrators": ["--depth", "3", "--n-samples", "4"],
    "asymmetry": ["--n-seeds", "2", "--n-samples", "2", "--degrees", "0", "60", "180"],
    "noise": ["--n-samples", "4", "--hidden", "16", "16"],
    "bptt": ["--n-seeds", "2", "--n-samples", "2", "--gains", "0.25", "1", "--n-steps", "20"],
}


@pytest.fixture
def script(monkeypatch):
    def load(name):
        monkeypatch.syspath_prepend(str(STUDIES))
        spec = importlib.util.spec_from_file_location(f"study_{name}", STUDIES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def call(module, *words):
    parts = {"run": module.run, "draw": module.draw, "judge": module.judge}
    return study.main(module.Settings, **parts, args=list(words))


@pytest.mark.parametrize("name", SMALL)
def test_every_claim_holds_at_a_small_size(script, name, tmp_path, capsys):
    out = tmp_path / name
    code = call(script(name), "--out", str(out), *SMALL[name])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "FAILS" not in said and "holds" in said
    assert {p.suffix for p in tmp_path.iterdir()} == {".nc", ".png", ".pdf"}


@pytest.mark.parametrize(
    "name, words",
    [
        ("first_arrival", ["--epsilon", "0.1", "0.2"]),
        ("first_arrival", ["--dtype", "float32"]),
        ("beta", ["--activation", "hard-sigmoid"]),
        ("beta", ["--beta", "0", "0.1", "0.2", "0.3"]),
        ("depth", ["--gains", "0"]),
        ("noise", ["--replicates", "1"]),
        ("asymmetry", ["--degrees", "190"]),
        ("integrators", ["--epsilon", "0.1"]),
        ("bptt", ["--beta", "0"]),
    ],
)
def test_settings_without_meaning_are_refused(script, name, words, tmp_path, capsys):
    try:
        code = call(script(name), "--out", str(tmp_path / name), *words)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_law_is_noticed(script, tmp_path, capsys, monkeypatch):
    """The study of depths fails if the cascade is taken one layer short."""
    import ctebm.agreement

    right = ctebm.agreement.driven_coefficient
    monkeypatch.setattr(
        "ctebm.agreement.driven_coefficient", lambda k, n, e, p: right(k + 1, n, e, p)
    )
    assert call(script("depth"), "--out", str(tmp_path / "depth"), *SMALL["depth"]) == 1
    assert "FAILS" in capsys.readouterr().out
