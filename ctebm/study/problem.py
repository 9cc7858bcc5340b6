"""The problem that studies share: a layered network on images, with targets inside the kinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ctebm.study.frame import Verdict
from ctebm.study.settings import Settings, parse_activation

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from torch import Tensor

    from ctebm.early_inference.record import Correspondence
    from ctebm.networks.activation import Activation
    from ctebm.networks.layered import LayeredNetwork
    from ctebm.study.images import Images

TARGET_RATES = (0.1, 0.9)  # of a one-hot target, inside the kinks
OPEN_RATES = (0.01, 0.99)  # of pixels, where the activation reaches 0 and 1 nowhere
OF_RANDOM_WEIGHTS = (
    "sizes", "hidden", "depth", "width", "activation", "activations", "gain", "gains",
)  # fmt: skip

S = TypeVar("S", bound="ImageSettings")


@dataclass(frozen=True)
class ImageSettings(Settings):
    """Settings of studies on images."""

    n_samples: int = 16
    """Images, the first of the data."""
    gain: float = 0.25
    """Of the Glorot weights; biases are centred on the mean input."""
    data: Path | None = None
    """Images: IDX (.gz), npz, csv or netCDF, instead of scikit-learn's digits."""
    labels: Path | None = None
    """Labels of IDX images."""
    weights: Path | None = None
    """A trained network, as studies/learning.py writes it, instead of random weights; layers and
    activation are then those of the file."""

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"--n-samples needs at least 1, got {self.n_samples}.")
        if not 0 < self.gain < float("inf"):
            raise ValueError(f"--gain must be > 0, got {self.gain}.")
        refuse_with_weights(self)


@dataclass(frozen=True)
class ExactSettings(ImageSettings):
    """Settings of studies that hold laws against rounding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype != "float64":
            raise ValueError("this study measures rounding errors; use --dtype float64.")


def refuse_with_weights(settings: Settings) -> None:
    """Refuse a setting of random weights beside ``--weights``, unless it has its default."""
    if getattr(settings, "weights", None) is None:
        return
    for field in dataclasses.fields(settings):
        if field.name in OF_RANDOM_WEIGHTS and getattr(settings, field.name) != field.default:
            raise ValueError(
                f"--{field.name} describes random weights, those of --weights are given; leave "
                "one of the two out."
            )


def with_gain(settings: S, gain: float) -> S:
    """Return the settings at another gain, which a given network does not have."""
    return settings if settings.weights else dataclasses.replace(settings, gain=gain)


@dataclass(frozen=True)
class Problem:
    """A network, input states, target states and what they came from."""

    network: LayeredNetwork
    x: Tensor
    target: Tensor
    images: Images
    note: str

    @property
    def data(self) -> str:
        """Name of the images."""
        return self.images.name

    @property
    def n_hidden(self) -> int:
        """Hidden layers."""
        return len(self.network.layers) - 2


def images_problem(
    settings: ImageSettings, hidden: Sequence[int], activation: str, seed: int | None = None
) -> Problem:
    """Return hidden layers of these sizes between the pixels and classes of the data.

    With ``--weights`` the network is that of the file, and `hidden` and `activation` are not used.
    """
    images = study_images(settings)
    sizes = (images.input.shape[1], *hidden, images.n_classes)
    return problem_of(settings, images, sizes, activation, seed)


def study_images(settings: ImageSettings) -> Images:
    """Return the images that the settings name."""
    from ctebm.study.images import load_images

    return load_images(settings.data, settings.labels, settings.n_samples)


def problem_of(
    settings: ImageSettings,
    images: Images,
    sizes: Sequence[int],
    activation: str,
    seed: int | None = None,
) -> Problem:
    """Return a network of these sizes, or that of ``--weights``, with images and their targets."""
    import numpy as np
    import torch

    import ctebm

    dtype = getattr(torch, settings.dtype)
    network = trained_network(settings.weights, images, dtype)
    if network is None:
        check_sizes(sizes, images, f"give --sizes {images.input.shape[1]} ... {images.n_classes}")
        rho = parse_activation(activation)
        rates, note = reachable(images.input, rho)
        seed = settings.seed if seed is None else seed
        network = ctebm.LayeredNetwork.random(
            sizes, rho, gain=settings.gain, seed=seed, dtype=dtype
        )
        network = network.centred({"x": rates.mean(0)})
    else:
        rho = network.activation
        rates, note = reachable(images.input, rho)
    hot = np.eye(images.n_classes)[images.label]
    target = rho.inverse(torch.as_tensor(np.where(hot, *reversed(TARGET_RATES))))
    x = rho.inverse(torch.as_tensor(rates))
    return Problem(network.to(device=settings.device), x, target, images, note)


def trained_network(path: Path | None, images: Images, dtype: torch.dtype) -> LayeredNetwork | None:
    """Return the network in a file, if there is one and it fits the images, or say why not."""
    if path is None:
        return None
    network = _loaded(path, dtype)
    sizes = [len(b) for b in network.biases]
    if len(sizes) < 3:
        raise ValueError(
            f"{path} goes from {sizes[0]} inputs straight to {sizes[1]} outputs; a study needs a "
            "hidden layer."
        )
    check_sizes(sizes, images, "give the images it was trained on", f"the network in {path}")
    return network


def _loaded(path: Path, dtype: torch.dtype | None = None) -> LayeredNetwork:
    import torch

    import ctebm

    try:
        network = ctebm.load_network(path, dtype=dtype or torch.float64)
    except ValueError as error:
        raise ValueError(f"{path} holds no trained network: {error}") from error
    if not isinstance(network, ctebm.LayeredNetwork):
        raise ValueError(
            f"{path} holds feedback weights of their own, but the laws are for symmetric ones; "
            "train without --separate."
        )
    return network


def check_sizes(sizes: Sequence[int], images: Images, remedy: str, owner: str = "--sizes") -> None:
    """Refuse layers that don't begin with the pixels and end with the classes."""
    n_pixels = images.input.shape[1]
    if sizes[0] != n_pixels:
        raise ValueError(
            f"{images.name} has {n_pixels} pixels but {owner} begins with {sizes[0]}; {remedy}."
        )
    if sizes[-1] != images.n_classes:
        raise ValueError(
            f"{images.name} has {images.n_classes} classes but {owner} ends with {sizes[-1]}; "
            f"{remedy}."
        )


def reachable(pixels: np.ndarray, activation: Activation) -> tuple[np.ndarray, str]:
    """Return pixels as rates that the activation reaches, and a note on it."""
    if activation.kinks:
        return pixels, "rates are the pixels"
    low, high = OPEN_RATES
    return low + (high - low) * pixels, f"rates span [{low:g}, {high:g}], the activation is open"


def activation_names(settings: ImageSettings, random: Sequence[str]) -> list[str]:
    """Return the activations to go through: that of the file alone, if there is one."""
    if settings.weights is None:
        return list(random)
    return [repr(_loaded(settings.weights).activation)]


def kinks(record: Correspondence) -> dict:
    """Return what the kinks did to each sample, at the smallest step, for a dataset."""
    import torch

    eps, e = record.eps.min(0)
    step = record.first_crossing[:, e]
    time = torch.where(step > 0, step * eps, torch.inf)
    pinned = record.fixed.pinned.double()
    return {
        "pinned_share": ("sample", pinned.mean(-1), "share of units held at a kink"),
        "crossing_time": (
            "sample", time, "time at which a unit first meets or leaves a kink; inf if never",
            "membrane time constant",
        ),
    }  # fmt: skip


def kink_verdicts(dataset: xr.Dataset) -> list[Verdict]:
    """Report what the kinks did, if anything: exact laws hold up to the first crossing (P7)."""
    import numpy as np

    time, pinned = dataset.crossing_time.values, float(dataset.pinned_share.mean())
    crossed = np.isfinite(time)
    out = []
    if pinned:
        out.append(reported("units held at a kink, share", pinned))
    if crossed.any():
        note = f"there at {np.median(time[crossed]):.3g} time constants, median"
        out.append(
            reported(
                "samples in which a unit meets or leaves a kink in the run", crossed.mean(), note
            )
        )
    return out


def largest_at_most(
    claim: str, values: xr.DataArray, clear: xr.DataArray, bound: float, note: str = ""
) -> Verdict:
    """Claim a bound on the values that no kink spoils; say so if there is none."""
    if not bool(clear.any()):
        return reported(claim, float("nan"), "no sample in which no kink comes first")
    return Verdict.at_most(claim, float(values.where(clear).max()), bound, note)


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
