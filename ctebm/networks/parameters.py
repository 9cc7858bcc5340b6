"""What a network is, as labelled arrays; :mod:`ctebm.networks.saved` is the way back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.networks.activation import Activation
from ctebm.networks.attributes import class_name, own_dataset
from ctebm.networks.base import VectorField
from ctebm.networks.dense import DenseField
from ctebm.networks.graph import LayerGraph
from ctebm.networks.hopfield import OtherEnergy
from ctebm.networks.layer_rates import LayerRates
from ctebm.networks.layered import LayeredField
from ctebm.networks.layout import size_of
from ctebm.networks.nonconservative import FeedbackNetwork
from ctebm.networks.pairwise import PairwiseField, PairwiseNetwork
from ctebm.networks.predictive import PredictiveNetwork
from ctebm.networks.sparse import SparseNetwork

__all__ = ["activation_attributes", "network_dataset", "rows_by_name"]

# Attributes of ctebm's own networks that are written down by name, or follow from those that are.
_WRITTEN = {
    "weight", "weights", "feedback", "bias", "activation", "pairwise", "box", "constant", "held",
    "_origin",
}  # fmt: skip


def network_dataset(
    network: VectorField, row: str = "sample", batch: torch.Size | None = None
) -> xr.Dataset:
    """Return what a network is as labelled arrays; :func:`ctebm.load_network` reads them.

    Parameters
    ----------
    network : VectorField
        Of what was clamped the whole is written, once, and the states of the held layers.
    row : str
        What to call the dimension of its samples.
    batch : torch.Size, optional
        The samples, flattened, to which those of the network are broadcast; its own by default.

    Returns
    -------
    xarray.Dataset
        Of layers ``weight_0 ..`` and ``bias_0 ..``, input first, with ``feedback_0 ..`` of the
        shapes of the weights where the two directions differ; else ``weight`` and ``bias``, sparse
        weights by ``weight_row`` and ``weight_column``. ``input`` and ``clamped_h1 ..`` are the
        states of held layers. Of a graph of layers the attribute ``pairs`` says between which two
        each ``weight_0 ..`` is. Of a motion of one's own, ``parameter_NAME`` for every tensor,
        number and word among its attributes. The attributes ``network``, its class, ``layers`` with
        their sizes, ``not_recorded``, what else it has, and the activation with its parameters.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.parameters import network_dataset
    >>> net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh())
    >>> dataset = network_dataset(net.clamp({"x": [[0.1, 0.2, 0.3, 0.4]]}))
    >>> dataset.input.dims, dataset.weight_1.dims, dataset.attrs["network"]
    (('sample', 'unit_input'), ('unit_h1', 'unit_y'), 'LayeredNetwork')
    """
    whole, held = network.origin
    batch = network.batch if batch is None else batch
    couplings = whole.pairwise if isinstance(whole, OtherEnergy) else whole
    sizes = {name: size_of(where) for name, where in whole.layers.items()}
    dataset = xr.Dataset(attrs={"network": class_name(whole), "layers": json.dumps(sizes)})
    if couplings is not whole:
        dataset.attrs["couplings"] = class_name(couplings)
    if isinstance(couplings, LayeredField):
        dataset = dataset.assign(_layered(couplings, row, batch))
    elif isinstance(couplings, LayerGraph):
        dataset.attrs["pairs"] = json.dumps(list(couplings.weights))
        dataset = dataset.assign(_of_graph(couplings, row, batch))
    elif isinstance(couplings, PairwiseField):
        dataset = dataset.assign(_in_one_piece(couplings, row, batch))
        layers = layer_of_unit(whole.layers, couplings.bias.shape[-1], "layer_to", "unit_to")
        dataset = dataset.assign_coords(layers)
    if isinstance(couplings, PairwiseNetwork) and bool(couplings.constant.any()):
        constant = couplings.constant.expand(batch).flatten() if batch else couplings.constant
        dims = (row,) if constant.ndim else ()
        dataset["constant"] = variable(dims, constant, "energy of units that are gone")
    rho = getattr(couplings, "activation", None)
    if isinstance(couplings, PredictiveNetwork):
        rho = LayerRates(tuple(couplings.activations), tuple(sizes.values()))
    if isinstance(rho, Activation):
        dataset.attrs |= activation_attributes(rho)
        dataset = dataset.assign_coords(_numbers_of(rho))
    for name, x in held.items():
        word, dim = _words(name)
        text = f"states at which layer {name} is held"
        dataset[word] = rows_by_name(x, (row, dim), batch, text)
    ours = isinstance(whole, PairwiseField | OtherEnergy)
    known = _WRITTEN if ours else {"activation"} if isinstance(rho, Activation) else set()
    own = own_dataset(whole, known)
    return dataset.assign(own).assign_coords(own.coords).assign_attrs(own.attrs)


def rows_by_name(
    x: Tensor, dims: tuple[str, str], batch: torch.Size, long_name: str
) -> xr.Variable:
    """Return a parameter ``(*batch, size)`` with its samples flattened, or once if all share it.

    Parameters
    ----------
    x : Tensor
        The parameter.
    dims : tuple of str
        Names of a sample and of a unit.
    batch : torch.Size
        The samples.
    long_name : str
        What the numbers are, in words.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.parameters import rows_by_name
    >>> rows_by_name(torch.ones(3, 1, 2), ("sample", "unit"), torch.Size((3, 4)), "target").shape
    (12, 2)
    """
    if x.ndim == 1:
        return variable(dims[1], x, long_name)
    rows = x.expand(*batch, x.shape[-1]).reshape(-1, x.shape[-1])
    return variable(dims, rows, long_name)


def _words(layer: str) -> tuple[str, str]:
    """Return what the states of a held layer are called, and the dimension of its units."""
    return ("input", "unit_input") if layer == "x" else (f"clamped_{layer}", f"unit_{layer}")


def _layered(network: LayeredField, row: str, batch: torch.Size) -> dict[str, xr.Variable]:
    dims = [_words(name)[1] for name in network.layers]
    data = {}
    for i, W in enumerate(network.weights):
        if W is not None:
            data[f"weight_{i}"] = variable(dims[i : i + 2], W, f"weights of layers {i}, {i + 1}")
    for i, V in enumerate(network.feedback if isinstance(network, FeedbackNetwork) else ()):
        if V is not None:
            data[f"feedback_{i}"] = variable(dims[i : i + 2], V, f"weights from {i + 1} to {i}")
    for i, b in enumerate(network.biases):
        data[f"bias_{i}"] = rows_by_name(b, (row, dims[i]), batch, f"biases of layer {i}")
    return data


def _of_graph(network: LayerGraph, row: str, batch: torch.Size) -> dict[str, xr.Variable]:
    data = {}
    for i, ((a, b), W) in enumerate(network.weights.items()):
        dims = _words(a)[1], f"{_words(b)[1]}{'_other' if a == b else ''}"
        data[f"weight_{i}"] = variable(dims, W, f"weights of layers {a} and {b}")
    for i, (name, b) in enumerate(network.biases.items()):
        dims = row, _words(name)[1]
        data[f"bias_{i}"] = rows_by_name(b, dims, batch, f"biases of layer {name}")
    return data


def _in_one_piece(network: PairwiseField, row: str, batch: torch.Size) -> dict[str, xr.Variable]:
    data = {"bias": rows_by_name(network.bias, (row, "unit_to"), batch, "biases")}
    if isinstance(network, DenseField):
        data["weight"] = variable(("unit_to", "unit_from"), network.weight, "weights")
    elif isinstance(network, SparseNetwork):
        W = network.weight.to_sparse_coo().coalesce()
        for name, values in zip(("row", "column"), W.indices(), strict=True):
            data[f"weight_{name}"] = variable("coupling", values, f"{name} of the weight")
        data["weight"] = variable("coupling", W.values(), "weights that are not zero")
    return data


def _numbers_of(rho: Activation) -> dict[str, xr.Variable]:
    """Return the numbers of an activation, which studies vary, as coordinates."""
    values = {f.name: getattr(rho, f.name) for f in fields(rho)} if is_dataclass(rho) else {}
    return {
        f"activation_{name}": variable((), value, f"{name} of the activation")
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def activation_attributes(rho: Activation) -> dict[str, str]:
    """Return the name of an activation and its parameters, as attributes of a dataset.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.parameters import activation_attributes
    >>> activation_attributes(ctebm.HardSigmoid())
    {'activation': 'HardSigmoid', 'activation_parameters': '{"lower": -0.5}'}
    """
    if isinstance(rho, LayerRates):
        each = [[type(one).__name__, _numbers(one)] for one in rho.activations]
        return {"activation": "LayerRates", "activation_parameters": json.dumps(each, default=str)}
    return {
        "activation": type(rho).__name__,
        "activation_parameters": json.dumps(_numbers(rho), default=str),
    }


def _numbers(rho: Activation) -> dict[str, Any]:
    """Return the parameters of an activation by their names."""
    return {f.name: getattr(rho, f.name) for f in fields(rho)} if is_dataclass(rho) else {}
