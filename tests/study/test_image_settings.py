"""Settings of studies on images: what they refuse, and which gains they compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ctebm.study.image_settings import (
    ExactSettings,
    ImageSettings,
    curved_gain,
    gains_to_compare,
)


@dataclass(frozen=True)
class Random(ImageSettings):
    """Settings of a study that draws its weights."""

    gain: float = 0.25
    hidden: tuple[int, ...] = (8, 8)


def test_a_study_needs_an_image() -> None:
    with pytest.raises(ValueError, match="--n-samples needs at least 1, got 0"):
        ImageSettings(n_samples=0)


def test_rounding_is_measured_in_double_precision() -> None:
    with pytest.raises(ValueError, match="use --dtype float64"):
        ExactSettings(dtype="float32")
    assert ImageSettings(dtype="float32").dtype == "float32"


@pytest.mark.parametrize("setting", [{"gain": 0.5}, {"hidden": (3,)}], ids=["gain", "hidden"])
def test_weights_are_given_or_drawn(setting) -> None:
    assert Random(**setting).weights is None
    assert Random(weights=Path("net.nc")).gain == 0.25  # a default asks for nothing
    with pytest.raises(ValueError, match=f"--{next(iter(setting))} .* describes random weights"):
        Random(weights=Path("net.nc"), **setting)


def test_given_weights_have_one_gain() -> None:
    assert gains_to_compare(Random(), (0.1, 0.2)) == (0.1, 0.2)
    assert gains_to_compare(Random(weights=Path("net.nc")), (0.1, 0.2)) == (1.0,)


def test_curved_rates_take_a_gain_of_four_times_as_much() -> None:
    assert (curved_gain(0.5, "hard-sigmoid"), curved_gain(0.5, "tanh")) == (0.5, 2.0)
