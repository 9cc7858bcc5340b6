"""Weights and biases of a layered network as labelled arrays, and back."""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass

import numpy as np
import torch
import xarray as xr

import ctebm.networks.sigmoids
from ctebm.dataset import variable
from ctebm.files.results import open as open_dataset
from ctebm.networks.activation import Activation
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.nonconservative import FeedbackNetwork

__all__ = ["activation_attributes", "load_network", "network_dataset"]


def network_dataset(network: LayeredField) -> xr.Dataset:
    """Return the parameters as labelled arrays, which :func:`ctebm.load_network` reads.

    Parameters
    ----------
    network : LayeredNetwork or FeedbackNetwork
        Weights that clamping took away and biases with one row a sample are left out.

    Returns
    -------
    xarray.Dataset
        ``weight_0 ..`` and ``bias_0 ..``, input first, of a FeedbackNetwork ``feedback_0 ..`` too,
        of the shapes of the weights; the activation and its parameters as attributes.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.parameters import network_dataset
    >>> dataset = network_dataset(ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh()))
    >>> dict(dataset.sizes)
    {'unit_input': 4, 'unit_h1': 3, 'unit_y': 2}
    """
    names = [name if name != "x" else "input" for name in network.layers]
    data = {}
    for i, W in enumerate(network.weights):
        if W is not None:
            data[f"weight_{i}"] = variable(
                (f"unit_{names[i]}", f"unit_{names[i + 1]}"), W, f"weights of layers {i}, {i + 1}"
            )
    for i, V in enumerate(network.feedback if isinstance(network, FeedbackNetwork) else ()):
        if V is not None:
            data[f"feedback_{i}"] = variable(
                (f"unit_{names[i]}", f"unit_{names[i + 1]}"), V, f"weights from {i + 1} to {i}"
            )
    for i, b in enumerate(network.biases):
        if b.ndim == 1:
            data[f"bias_{i}"] = variable(f"unit_{names[i]}", b, f"biases of layer {i}")
    return xr.Dataset(data, attrs=activation_attributes(network.activation))


def activation_attributes(rho: Activation) -> dict[str, str]:
    """Return the name of an activation and its parameters, as attributes of a dataset.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.parameters import activation_attributes
    >>> activation_attributes(ctebm.HardSigmoid())
    {'activation': 'HardSigmoid', 'activation_parameters': '{"lower": -0.5}'}
    """
    known = [f.name for f in fields(rho)] if is_dataclass(rho) else []
    parameters = {name: getattr(rho, name) for name in known}
    return {
        "activation": type(rho).__name__,
        "activation_parameters": json.dumps(parameters, default=str),
    }


def load_network(
    source: xr.Dataset | str | os.PathLike[str], *, dtype: torch.dtype = torch.float64
) -> LayeredField:
    """Return the layered network that a dataset holds, such as one that a training saved.

    Parameters
    ----------
    source : Dataset or path
        With variables ``weight_0 .. weight_{L-1}`` and ``bias_0 .. bias_L``, input first, and
        attributes ``activation`` and ``activation_parameters``; with ``feedback_0 ..`` too it is
        a FeedbackNetwork.
    dtype : torch.dtype
        Of the parameters.

    Returns
    -------
    LayeredNetwork or FeedbackNetwork

    Raises
    ------
    ValueError
        If something of that is missing, or the activation is not one of ctebm's.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.parameters import network_dataset
    >>> net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Logistic())
    >>> ctebm.load_network(network_dataset(net))
    LayeredNetwork(x: 4, h1: 3, y: 2; Logistic(gain=4.0))
    """
    if not isinstance(source, xr.Dataset):
        with open_dataset(source) as dataset:
            return load_network(dataset.load(), dtype=dtype)
    n = sum(str(name).startswith("weight_") for name in source)
    apart = any(str(name).startswith("feedback_") for name in source)
    weights, back = ([f"{kind}_{i}" for i in range(n)] for kind in ("weight", "feedback"))
    biases = [f"bias_{i}" for i in range(n + 1)]
    missing = [name for name in (*weights, *biases, *(back if apart else ())) if name not in source]
    if n == 0 or missing:
        raise ValueError(
            f"expected weight_0 .. and bias_0 .. of a layered network, got no "
            f"{missing[0] if n else 'weights'}; give the dataset of a training."
        )

    def values(names: list[str]) -> list[np.ndarray]:
        return [source[name].values for name in names]

    rho = _activation(source)
    if apart:
        return FeedbackNetwork(values(weights), values(back), values(biases), rho, dtype=dtype)
    return LayeredNetwork(values(weights), values(biases), rho, dtype=dtype)


def _activation(dataset: xr.Dataset) -> Activation:
    name = dataset.attrs.get("activation", "")
    kind = getattr(ctebm.networks.sigmoids, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Activation)):
        raise ValueError(
            f"expected the name of an activation of ctebm in the attribute 'activation', got "
            f"{name!r}; build the network yourself from the weights."
        )
    text = dataset.attrs.get("activation_parameters", "{}")
    try:
        return kind(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"expected the parameters of {name} in the attribute 'activation_parameters', got "
            f"{text!r:.80}; build the network yourself from the weights."
        ) from error
