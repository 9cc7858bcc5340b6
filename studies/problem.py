"""The problem that studies share: a layered network on images, with targets inside the kinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Verdict

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from torch import Tensor

    from ctebm.layered import LayeredNetwork

TARGET_RATES = (0.1, 0.9)  # of a one-hot target, inside the kinks
OPEN_RATES = (0.01, 0.99)  # of pixels, where the activation reaches 0 and 1 nowhere


@dataclass(frozen=True)
class ImageSettings(study.Settings):
    """Settings of studies on images."""

    n_samples: int = 16
    """Images, the first of the data."""
    gain: float = 0.25
    """Of the Glorot weights; biases are centred on the mean input."""
    data: Path | None = None
    """Images: IDX (.gz), npz, csv or netCDF, instead of scikit-learn's digits."""
    labels: Path | None = None
    """Labels of IDX images."""

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"--n-samples needs at least 1, got {self.n_samples}.")
        if not 0 < self.gain < float("inf"):
            raise ValueError(f"--gain must be > 0, got {self.gain}.")
        if self.dtype != "float64":
            raise ValueError("this study measures rounding errors; use --dtype float64.")


@dataclass(frozen=True)
class Problem:
    """A network, input states, target states and what they came from."""

    network: LayeredNetwork
    x: Tensor
    target: Tensor
    data: str


def images_problem(
    settings: ImageSettings, hidden: tuple[int, ...], activation: str, seed: int | None = None
) -> Problem:
    """Return hidden layers of these sizes between the pixels and classes of the data."""
    import numpy as np
    import torch

    import ctebm
    from ctebm.images import load_images

    images = load_images(settings.data, settings.labels, settings.n_samples)
    rho = study.parse_activation(activation)
    rates = images.input
    if not rho.kinks:
        low, high = OPEN_RATES
        rates = low + (high - low) * rates
    sizes = (rates.shape[1], *hidden, images.n_classes)
    seed = settings.seed if seed is None else seed
    network = ctebm.LayeredNetwork.random(sizes, rho, gain=settings.gain, seed=seed)
    network = network.centred({"x": rates.mean(0)}).to(device=settings.device)
    hot = np.eye(images.n_classes)[images.label]
    target = rho.inverse(torch.as_tensor(np.where(hot, *reversed(TARGET_RATES))))
    return Problem(network, rho.inverse(torch.as_tensor(rates)), target, images.name)


def reported(claim: str, value: float, note: str = "") -> Verdict:
    """Return a number that nothing depends on."""
    return Verdict(claim, float(value), None, True, note, must_hold=False)


def dataset(variables: dict, attrs: dict, coords: dict | None = None) -> xr.Dataset:
    """Return ``{name: (dims, values, long_name)}`` as a labelled dataset."""
    import xarray as xr

    from ctebm.dataset import variable

    def labelled(entries: dict) -> dict:
        return {name: variable(*entry) for name, entry in entries.items()}

    return xr.Dataset(labelled(variables), labelled(coords or {}), attrs)


def corrected_order(x: np.ndarray, y: np.ndarray) -> float:
    """Return `p` of the fit ``log y = c + p log x + d x + e x^2``: a power law and what follows."""
    import numpy as np

    design = np.stack([np.ones(len(x)), np.log(x), x, x**2], 1)
    return float(np.linalg.lstsq(design, np.log(y), rcond=None)[0][1])
