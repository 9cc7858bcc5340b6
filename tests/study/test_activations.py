"""Activations by name."""

from __future__ import annotations

import dataclasses

import pytest

import ctebm.networks.sigmoids
from ctebm.study.activations import _ACTIVATIONS, check_activation, parse_activation


def test_defaults_are_those_of_the_classes() -> None:
    for name, (class_name, _) in _ACTIVATIONS.items():
        assert parse_activation(name) == getattr(ctebm.networks.sigmoids, class_name)()


def test_names_of_parameters_are_those_of_the_classes() -> None:
    for class_name, parameters in _ACTIVATIONS.values():
        fields = dataclasses.fields(getattr(ctebm.networks.sigmoids, class_name))
        assert tuple(f.name for f in fields) == parameters


def test_parameters() -> None:
    assert parse_activation("logistic:gain=2") == ctebm.networks.sigmoids.Logistic(2.0)
    assert parse_activation(
        "smooth-hard-sigmoid:width=0.2,lower=-0.4"
    ) == ctebm.networks.sigmoids.SmoothHardSigmoid(lower=-0.4, width=0.2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("logstic", "did you mean 'logistic'"),
        ("relu", "unknown activation 'relu'; choose from hard-sigmoid, logistic"),
        ("", "unknown activation ''"),
        ("HardSigmoid", "did you mean 'hard-sigmoid'"),
        ("logistic:gian=2", "logistic takes gain, centre, got 'gian'"),
        ("smooth-hard-sigmoid:w=1", "takes lower, width, got 'w'"),
        ("tanh:gain=2", "tanh takes no parameters, got 'gain'"),
        ("logistic:gain", "needs a number for gain, as in logistic:gain=0.5"),
        ("logistic:gain=two", "needs a number for gain"),
    ],
)
def test_refusals(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_activation(spec)


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_values_are_judged_by_the_class(value: str) -> None:
    with pytest.raises(ValueError, match="gain"):
        parse_activation(f"logistic:gain={value}")
