"""Settings of studies on images: which images, and random weights or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctebm.study.settings import Settings, refuse_ignored

__all__ = ["ExactSettings", "ImageSettings", "curved_gain", "gains_to_compare"]

OF_RANDOM_WEIGHTS = (
    "sizes", "hidden", "depth", "width", "activation", "activations", "gain", "gains",
)  # fmt: skip


@dataclass(frozen=True)
class ImageSettings(Settings):
    """Settings of studies on images, with random weights or those of a file.

    A study of random weights adds their `gain`: one value, or those that it compares.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> ImageSettings(n_samples=0)
    Traceback (most recent call last):
    ValueError: --n-samples needs at least 1, got 0.
    """

    n_samples: int = 16
    """Number of images; the first of the data are taken."""
    data: Path | None = None
    """File of images (IDX, also .gz; npz, csv or netCDF) in place of scikit-learn's digits."""
    labels: Path | None = None
    """File of the labels, if the images are IDX."""
    weights: Path | None = None
    """File of a trained network, as studies/learning.py writes it, in place of random weights;
    layers and activation are then those of the file."""

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"--n-samples needs at least 1, got {self.n_samples}.")
        hidden = getattr(self, "hidden", (1,))
        if min(hidden, default=0) < 1:
            raise ValueError(
                f"--hidden needs one layer or more, each of 1 or more units, got "
                f"{' '.join(map(str, hidden)) or 'none'}."
            )
        if self.weights is not None:
            reason = "it describes random weights, and those of --weights are given; leave it out"
            refuse_ignored(self, OF_RANDOM_WEIGHTS, reason)


@dataclass(frozen=True)
class ExactSettings(ImageSettings):
    """Settings of studies that hold laws against rounding.

    Examples
    --------
    >>> from ctebm.study.image_settings import ExactSettings
    >>> ExactSettings(dtype="float32")
    Traceback (most recent call last):
    ValueError: this study measures rounding errors; use --dtype float64.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype != "float64":
            raise ValueError("this study measures rounding errors; use --dtype float64.")


def gains_to_compare(settings: ImageSettings, random: Sequence[float]) -> tuple[float, ...]:
    """Return the gains to compare: those of random weights, or 1 for the weights of a file.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings, gains_to_compare
    >>> gains_to_compare(ImageSettings(), (0.25, 1.0))
    (0.25, 1.0)
    """
    return tuple(random) if settings.weights is None else (1.0,)


def curved_gain(gain: float, activation: str) -> float:
    """Return the gain of the hard sigmoid, and 4 times it for a curved activation.

    Examples
    --------
    >>> from ctebm.study.image_settings import curved_gain
    >>> curved_gain(0.25, "hard-sigmoid"), curved_gain(0.25, "tanh")
    (0.25, 1.0)
    """
    return gain * (1 if activation == "hard-sigmoid" else 4)
