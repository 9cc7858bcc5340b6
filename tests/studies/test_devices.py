"""Every study runs on a GPU, here on a pretend one, with the same claims, or refuses --device."""

from importlib import import_module
from pathlib import Path

import pytest

from ctebm import study
from ctebm.dynamics import streams
from ctebm.study.command_line import read_settings
from tests.pretend_device import PretendDevice

STUDIES = sorted(path.stem for path in Path("studies").glob("*.py"))
FEW = {
    "asymmetry": "--n-seeds 1 --n-samples 2 --degrees 0 60 180",
    "beta": "--hidden 8 --n-samples 1 --points 1 2",
    "bptt": "--n-seeds 1 --n-samples 1 --gains 0.25 1 --n-steps 5 --toy-settle 100 --toy-nudge 5",
    "collapse": "--width 8 --depths 1 --eigenvalues -0.6 -0.1 0.4 --rates 0.03 0.1 "
    "--n-training 50 --n-samples 8",
    "depth": "--depth 2 --n-samples 2 --t-end 8",
    "epsilon": "--n-samples 2 --eps 0.5 0.1",
    "first_arrival": "--depth 2 --n-samples 2",
    "fixed_points": "--gain 0.25 --n-samples 1 --n-starts 2 --eps 0.2",
    "fluctuation": "--hidden 8 --chains 16 --time 40 --lag 1 2",
    "integrators": "--depth 2 --n-samples 2",
    "learning": "--n-images 60 --epochs 1 --no-back-propagation",
    "noise": "--n-samples 2 --hidden 8 8",
    "perturbation": "--width 6 --runs 2048 --sigma 0.01",
}


SLOW = {"bptt", "collapse", "noise"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FEW]
)
def test_it_runs_on_a_gpu(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(streams, "_PREFETCH_STEP", float("inf"))  # another thread has no pretence
    module = import_module(name)
    parts = {"run": module.run, "draw": module.draw, "judge": module.judge}
    words = ["--device", "cuda", "--out", str(tmp_path / name), "--no-figure", *FEW[name].split()]
    with PretendDevice() as device:
        code = study.main(module.Settings, **parts, args=words)
    said = capsys.readouterr()
    assert code in (0, 1), said  # 1: too few samples for a claim
    assert "claims hold" in said.out
    assert sum(device.launches.values()) > 100


@pytest.mark.parametrize("name", sorted(set(STUDIES) - set(FEW)))
def test_it_refuses_a_device(name):
    with pytest.raises(ValueError, match="would have no effect"):
        read_settings(import_module(name).Settings, ["--device", "cuda"])
