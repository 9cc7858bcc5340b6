"""The command line of every study: its help, its example, and no setting without an effect."""

from __future__ import annotations

import dataclasses
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from ctebm.study.command_line import help_texts, read_settings

STUDIES = sorted(p.stem for p in (Path(__file__).parents[2] / "studies").glob("*.py"))

WITHOUT_EFFECT = {
    "epsilon --baseline held": "there is no noise",
    "epsilon --replicates 4": "there is no noise",
    "epsilon --weights a.nc --gain 1": "describes random weights",
    "bptt --weights a.nc --n-seeds 3": "one network",
    "fixed_points --activations logistic --eps 0.3": "at kinks alone",
    "learning --rule chain --eps 0.3": "takes no steps",
    "learning --rule equilibrium-propagation --n-steps 3": "takes no steps",
    "learning --no-back-propagation --allowance 2": "nothing to compare with",
    "bifurcation --seed 2": "nothing here is random",
    "bifurcation --device cuda": "on the CPU",
    "saturation --dtype float32": "float64",
    "stdp --dtype float32": "float64",
    "energies --device cuda": "on the CPU",
    "convolution --device cuda": "on the CPU",
}

REFUSED = {
    "learning --epochs 0": "--epochs needs 1 or more, got 0",
    "learning --batch 0": "--batch needs 1 or more",
    "convolution --rate 0.1": "--rate needs one value for each of the 2 layers",
    "convolution --targets 0.9 0.1": "--targets needs 0 <= low < high <= 1",
    "convolution --batch 0": "--epochs and --batch need 1 or more",
    "learning --angle 30": "give --separate too",
    "epsilon --sizes 64 0 10": "--sizes needs 1 or more units in each layer, got 64 0 10",
    "learning --rule early --n-steps 0": "--n-steps needs 1 or more",
    "learning --stability nan": "--stability needs finite numbers, got nan",
    "bptt --beta inf": "--beta needs finite numbers, got inf",
    "bptt --toy-sizes 10 0 5": "--toy-sizes needs 1 or more units in each group, got 10 0 5",
    "beta --hidden 0": "--hidden needs one layer or more, each of 1 or more units, got 0",
    "noise --sigma 0.1 0.2 0.1": "--sigma needs different values, got 0.1 0.2 0.1",
    "collapse --n-training 0": "--n-training needs 1 or more",
    "energies --width 0": "--n-samples and --width need 1 or more",
    "stdp --bins 0": "--bins needs 1 or more, got 0",
    "epsilon --eps 3 0.1": "--eps needs 0 < eps <= 1, got 3.0 0.1",
}


def read(line: str) -> object:
    name, *words = shlex.split(line)
    return read_settings(import_module(name).Settings, words)


@pytest.mark.parametrize("name", STUDIES)
def test_every_flag_is_explained_and_the_example_is_accepted(name: str) -> None:
    kind = import_module(name).Settings
    texts = help_texts(kind)
    for field in dataclasses.fields(kind):
        text = texts[field.name]
        assert text.endswith(".") and not text.startswith(("Of ", "On ", "With ")), field.name
    assert read(f"{name} {kind.example}") != kind()


@pytest.mark.parametrize("line", WITHOUT_EFFECT)
def test_a_setting_without_effect_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=WITHOUT_EFFECT[line]) as caught:
        read(line)
    assert "would have no effect" in str(caught.value)


@pytest.mark.parametrize("line", REFUSED)
def test_a_setting_that_no_run_can_use_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[line]):
        read(line)


@pytest.mark.parametrize("name", ["epsilon", "noise", "beta", "depth"])
def test_a_time_too_short_for_the_gradient_is_refused(name: str) -> None:
    module = import_module(name)
    settings = read_settings(module.Settings, ["--t-end", "0.01", "--n-samples", "2"])
    with pytest.raises(ValueError, match=r"--t-end 0\.01 is shorter than the"):
        module.run(settings, lambda items, *_: items)
