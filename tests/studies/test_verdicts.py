"""Every claim that a study makes can fail, and one that can't be evaluated does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

from ctebm.study import Progress, Verdict
from ctebm.study.command_line import read_settings

SMALL = {
    "attention": "--dimensions 6 8 --draws 2 --cues 4",
    "asymmetry": "--n-seeds 2 --n-samples 2 --degrees 0 60 180",
    "beta": "--hidden 12 --n-samples 2 --points 1 2",
    "bifurcation": "--n-units 3 --w 6 --step 0.05",
    "bptt": "--n-seeds 2 --n-samples 2 --gains 0.25 1 --n-steps 20",
    "collapse": "--width 16 --depths 1 2 --eigenvalues -0.6 -0.1 0.4 --rates 0.03 0.1 "
    "--n-training 300 --n-samples 32",
    "depth": "--depth 3 --n-samples 4 --t-end 8",
    "energies": "--width 8 --n-samples 3 --t-through 60",
    "epsilon": "--n-samples 4 --eps 0.5 0.1",
    "first_arrival": "--depth 2 --n-samples 4",
    "fixed_points": "--gain 0.25 2 --n-samples 2 --n-starts 3 --eps 0.2 0.1",
    "integrators": "--depth 3 --n-samples 4",
    "learning": "--epochs 3 --max-error 10 --allowance 5",
    "memory": "--n-units 80 --loads 0.03 0.1 0.2 0.35 --flipped 0.1 0.3 --draws 2 --cues 4",
    "noise": "--n-samples 3 --hidden 8 8 --sigma 0.001 0.01 --eps 0.5 0.1",
    "saturation": "",
    "stdp": "--n-runs 64 --bins 6",
}

CHANGES = {
    "missing": lambda values: values * np.nan,
    "turned around": lambda values: -values,
    "too large": lambda values: values * 1e6,
    "too small": lambda values: values * 1e-6,
    "shifted": lambda values: values + 0.5,
    "out of order": lambda values: values[..., ::-1],
}


@pytest.fixture(scope="module", params=SMALL)
def measured(request) -> tuple[ModuleType, xr.Dataset]:
    """A study and a small dataset of it."""
    study = import_module(request.param)
    settings = read_settings(study.Settings, SMALL[request.param].split())
    return study, study.run(settings, Progress())


def judged(
    study: ModuleType, dataset: xr.Dataset, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> list[Verdict]:
    """Judge a dataset in which one variable is another: words are erased, yes and no exchanged."""
    values = dataset[name].values
    if values.dtype.kind in "OU":
        other = np.full_like(values, "")
    else:
        other = ~values if values.dtype.kind == "b" else change(values.astype(float))
    return study.judge(dataset.assign({name: dataset[name].copy(data=other)}))


def test_every_claim_can_fail(measured) -> None:
    study, dataset = measured
    claims = {v.claim for v in study.judge(dataset) if v.must_hold}
    assert claims
    for change, name in itertools.product(CHANGES.values(), map(str, dataset.data_vars)):
        if claims:
            claims -= {v.claim for v in judged(study, dataset, name, change) if v.word == "FAILS"}
    assert not claims, "nothing in the dataset can make these fail"


def test_a_claim_on_missing_numbers_fails_and_stays(measured) -> None:
    """A variable of NaN alone takes no claim away, and none holds by a number that is not there."""
    study, dataset = measured
    claims = [v.claim for v in study.judge(dataset) if v.must_hold]
    failed = set()
    for name in map(str, dataset.data_vars):
        verdicts = judged(study, dataset, name, CHANGES["missing"])
        if dataset[name].dtype.kind != "b":  # which is a condition and can't be missing
            assert set(claims) <= {v.claim for v in verdicts if v.must_hold}, name
        assert all(np.isfinite(v.value) for v in verdicts if v.word == "holds"), name
        failed |= {v.claim for v in verdicts if v.word == "FAILS"}
    assert set(claims) <= failed, "these hold without anything that was measured"
