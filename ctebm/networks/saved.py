"""Networks back from the labelled arrays of a saved result.

Nothing in a file is executed: the words in it choose among classes and activations of ctebm.
"""

# Long because how each class is made of what is saved is said here, class by class.

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
import xarray as xr

import ctebm.networks.rates
import ctebm.networks.sigmoids
from ctebm.files.results import open as open_dataset
from ctebm.networks.activation import Activation
from ctebm.networks.associative import AssociativeMemory
from ctebm.networks.base import VectorField
from ctebm.networks.convolutional import ConvolutionalNetwork
from ctebm.networks.dense import DenseNetwork
from ctebm.networks.graph import LayerGraph
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.layered import LayeredNetwork
from ctebm.networks.layout import consecutive, layer_names
from ctebm.networks.nonconservative import AsymmetricNetwork, FeedbackNetwork
from ctebm.networks.pairwise import PairwiseNetwork
from ctebm.networks.polynomial_memory import PolynomialMemory
from ctebm.networks.predictive import TARGET, PredictiveNetwork
from ctebm.networks.rate_leak import RateLeakNetwork
from ctebm.networks.sparse import SparseNetwork

__all__ = ["Saved", "load_network"]

_ACTIVATIONS = ctebm.networks.sigmoids, ctebm.networks.rates


def load_network(
    source: xr.Dataset | str | os.PathLike[str], *, dtype: torch.dtype | None = None
) -> VectorField:
    """Return the network that a dataset holds, such as that of a record or of a training.

    Parameters
    ----------
    source : Dataset or path
        With the variables and attributes of a network, as the dataset of every record has them;
        ``weight_0 .. weight_{L-1}`` and ``bias_0 .. bias_L``, input first, with the attributes
        ``activation`` and ``activation_parameters`` are enough for a layered one.
    dtype : torch.dtype, optional
        Of the parameters; by default that of the arrays, float32 if they all are, else float64.

    Returns
    -------
    VectorField
        Of the class that was saved, one of ctebm's, with the same parameters to the bit if the
        dtype is the same. Nothing is held: the states of held layers are ``input`` and
        ``clamped_h1 ..`` in the dataset.

    Raises
    ------
    ValueError
        If the network is of another class, an activation is none of ctebm's, arrays are missing,
        or some layers of the network are.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]]], [[0], [1]], ctebm.Tanh())
    >>> points = ctebm.settle(net.clamp({"x": [0.5]}))
    >>> ctebm.load_network(points.to_dataset())
    PredictiveNetwork(x: 1, y: 1)
    """
    if not isinstance(source, xr.Dataset):
        with open_dataset(source) as dataset:
            return load_network(dataset.load(), dtype=dtype)
    saved = Saved(source, _dtype_of(source) if dtype is None else dtype)
    return saved.network(saved.word("network", saved.layered))


def _dtype_of(dataset: xr.Dataset) -> torch.dtype:
    """Return the precision of the parameters that a dataset holds."""
    parameter = re.compile(r"(weight|bias|feedback)(_\d+)?|parameter_.*")
    kinds = {x.dtype for name, x in dataset.data_vars.items() if parameter.fullmatch(str(name))}
    kinds = {kind for kind in kinds if kind.kind == "f"}
    return torch.float32 if kinds == {np.dtype("float32")} else torch.float64


@dataclass(frozen=True)
class Saved:
    """The arrays and words of a dataset, as what a network is made of.

    Attributes
    ----------
    dataset : Dataset
        Of a network.
    dtype : torch.dtype
        Of the parameters to be.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.networks.parameters import network_dataset
    >>> from ctebm.networks.saved import Saved
    >>> dataset = network_dataset(ctebm.AssociativeMemory([[1, -1]], beta=2.0))
    >>> Saved(dataset, torch.float64).number("parameter_beta")
    2.0
    """

    dataset: xr.Dataset
    dtype: torch.dtype

    def network(self, kind: str) -> VectorField:
        """Return the network as one of a class.

        Raises
        ------
        ValueError
            For a class that is not brought back.
        """
        make = _MADE.get(kind)
        if make is None:
            raise ValueError(
                f"expected one of {', '.join(_MADE)}, got the parameters of {kind}; build it "
                "yourself from the arrays."
            )
        network = make(self)
        if isinstance(network, PairwiseNetwork) and "constant" in self.dataset:
            network.constant = torch.as_tensor(self["constant"]).to(network.bias)
        return network

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.dataset:
            raise ValueError(
                f"expected the arrays of a network, got no {name}; give the dataset of a record "
                "or of a training."
            )
        array = self.dataset[name]
        for dim in ("point", "end"):
            if dim in array.dims:
                raise ValueError(
                    f"expected one network, got {name} for each {dim} of a branch; choose one with "
                    f"dataset.isel({dim}=0)."
                )
        return array.values

    def stack(self, name: str, n: int | None = None) -> list[np.ndarray]:
        """Return arrays that are numbered, `n` of them or as many as there are."""
        pattern = re.compile(rf"{re.escape(name)}_\d+")
        found = sum(pattern.fullmatch(str(k)) is not None for k in self.dataset)
        return [self[f"{name}_{i}"] for i in range(found if n is None else n)]

    def number(self, name: str) -> Any:
        """Return a number or a word as one of Python's."""
        return self[name].item()

    def word(self, name: str, default: str = "") -> str:
        """Return an attribute."""
        return str(self.dataset.attrs.get(name, default))

    @property
    def layered(self) -> str:
        """What layers are if nobody says it: ``"FeedbackNetwork"`` if they have feedback."""
        return "FeedbackNetwork" if "feedback_0" in self.dataset else "LayeredNetwork"

    @property
    def sizes(self) -> dict[str, int]:
        """The units of each layer, none if it is not said."""
        return self.read("layers", dict)

    @property
    def layers(self) -> dict[str, slice] | None:
        """The units of each layer, one behind the other; None if it is not said."""
        return consecutive(self.sizes) or None

    @property
    def rate(self) -> Any:
        """The activation, or a list of one for each layer."""
        name, text = self.word("activation"), self.word("activation_parameters", "{}")
        if name != "LayerRates":
            return _activation(name, self.read("activation_parameters", dict), text)
        each = self.read("activation_parameters", list)
        if not all(isinstance(one, list) and len(one) == 2 for one in each):
            raise _unknown(name, text)
        return [_activation(str(one), numbers, text) for one, numbers in each]

    def chain(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases of layers, input first.

        Raises
        ------
        ValueError
            If some are missing, since they are not there or since layers were clamped away.
        """
        names = list(self.sizes)
        if names and names != layer_names(len(names)):
            raise ValueError(
                f"expected all layers of a network, got {', '.join(names)}, which clamping and a "
                "change of parameters have left; build it yourself from the arrays."
            )
        if not any(re.fullmatch(r"weight_\d+", str(name)) for name in self.dataset):
            raise ValueError(
                "expected weight_0 .. and bias_0 .. of a layered network, got no weights; give "
                "the dataset of a record or of a training."
            )
        weights = self.stack("weight", len(names) - 1 if names else None)
        return weights, self.stack("bias", len(weights) + 1)

    def read(self, name: str, kind: type) -> Any:
        """Return what an attribute says, as a list or a dict.

        Raises
        ------
        ValueError
            If it says something else.
        """
        text = self.word(name, "{}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, kind):
            return found
        if not name.startswith("activation"):
            what = {"layers": "the sizes of layers by name"}.get(name, f"a list of {name}")
            raise ValueError(f"expected {what}, got {text!r:.80}.")
        raise _unknown(self.word("activation"), text)


def _activation(name: str, numbers: Any, text: str) -> Activation:
    kind = next((getattr(m, name) for m in _ACTIVATIONS if name in m.__all__), None)
    if not (isinstance(kind, type) and issubclass(kind, Activation)):
        raise ValueError(
            f"expected the name of an activation of ctebm in the attribute 'activation', got "
            f"{name!r}; build the network yourself from the weights."
        )
    try:
        return kind(**numbers)
    except (ValueError, TypeError) as error:
        raise _unknown(name, text) from error


def _unknown(name: str, text: str) -> ValueError:
    return ValueError(
        f"expected the parameters of {name} in the attribute 'activation_parameters', got "
        f"{text!r:.80}; build the network yourself from the weights."
    )


def _sparse(a: Saved) -> SparseNetwork:
    n = a["bias"].shape[-1]
    entries = a["weight"], (a["weight_row"], a["weight_column"])
    W = scipy.sparse.coo_array(entries, shape=(n, n))
    return SparseNetwork(W, a["bias"], a.rate, layers=a.layers, dtype=a.dtype)


def _graph(a: Saved) -> LayerGraph:
    pairs = [(str(one), str(other)) for one, other in a.read("pairs", list)]
    weights = dict(zip(pairs, a.stack("weight", len(pairs)), strict=True))
    for one, other in pairs:
        if one == other:  # each pair of units is saved once
            weights[one, one] = weights[one, one] + weights[one, one].T
    biases = dict(zip(a.sizes, a.stack("bias", len(a.sizes)), strict=True))
    return LayerGraph(weights, biases, a.rate, dtype=a.dtype)


def _predictive(a: Saved) -> PredictiveNetwork:
    n, is_nudged = len(a.sizes), TARGET in a.sizes
    weights, biases = a.stack("parameter_weights", n - 1), a.stack("parameter_biases", n)
    p, rho = np.array(a.stack("parameter_precisions", n - 1)), a.rate
    network = PredictiveNetwork(
        weights[: n - 1 - is_nudged], biases[: n - is_nudged], rho[: n - is_nudged],
        p[: n - 1 - is_nudged], direction=a.number("parameter_direction"), dtype=a.dtype,
    )  # fmt: skip
    if not is_nudged:
        return network
    whole, _ = network.nudged(biases[-1], float(p[-1])).origin
    assert isinstance(whole, PredictiveNetwork)
    return whole


def _convolutional(a: Saved) -> ConvolutionalNetwork:
    kernels, weights = a.stack("parameter_kernels"), a.stack("parameter_weights")
    words = ("pooling", "pool", "padding", "stride")
    given = {k: a.number(f"parameter_{k}") for k in words if f"parameter_{k}" in a.dataset}
    channels, height, width = (a.number(f"parameter_shapes_x_{i}") for i in range(3))
    return ConvolutionalNetwork(
        kernels, weights, a.stack("parameter_biases"), a.rate,
        shape=(channels, height, width), **given, dtype=a.dtype,
    )  # fmt: skip


# How each class is made of what is saved; a further class is a further line.
_MADE: dict[str, Callable[[Saved], VectorField]] = {
    "DenseNetwork": lambda a: DenseNetwork(
        a["weight"], a["bias"], a.rate, layers=a.layers, dtype=a.dtype
    ),
    "LayeredNetwork": lambda a: LayeredNetwork(*a.chain(), a.rate, dtype=a.dtype),
    "LayerGraph": _graph,
    "SparseNetwork": _sparse,
    "AsymmetricNetwork": lambda a: AsymmetricNetwork(
        a["weight"], a["bias"], a.rate, layers=a.layers, dtype=a.dtype
    ),
    "FeedbackNetwork": lambda a: FeedbackNetwork(
        a.chain()[0], a.stack("feedback", len(a.chain()[0])), a.chain()[1], a.rate, dtype=a.dtype
    ),
    # the class of a saved network is known when it is loaded only
    "HopfieldNetwork": lambda a: HopfieldNetwork(a.network(a.word("couplings"))),  # pyright: ignore[reportArgumentType]
    "RateLeakNetwork": lambda a: RateLeakNetwork(
        # likewise
        a.network(a.word("couplings")),  # pyright: ignore[reportArgumentType]
        a.number("parameter_low"),
        a.number("parameter_high"),
    ),
    "PredictiveNetwork": _predictive,
    "ConvolutionalNetwork": _convolutional,
    "AssociativeMemory": lambda a: AssociativeMemory(
        a["parameter_patterns"], a.number("parameter_beta"), layers=a.layers, dtype=a.dtype
    ),
    "PolynomialMemory": lambda a: PolynomialMemory(
        a["parameter_patterns"], a.number("parameter_order"), a.rate, layers=a.layers, dtype=a.dtype
    ),
}
