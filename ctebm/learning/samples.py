"""Labelled samples as a network takes them: rates made states, labels checked."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor
from ctebm.networks.layered import LayeredField

__all__ = ["digest", "input_states", "labelled_states"]


def labelled_states(
    network: LayeredField,
    rates: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    training: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return input states and labels that fit the network, or say why they don't."""
    states = input_states(network, rates)
    label = _whole_numbers(labels).to(network.device)
    n_classes = network.bias[..., network.layers[network.output]].shape[-1]
    if label.shape != states.shape[:1]:
        raise ValueError(
            f"expected one label a sample, ({len(states)},), got {tuple(label.shape)}."
        )
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"expected labels from 0 to {n_classes - 1}, one output unit a class, got {low} to "
            f"{high}; use an output layer of {high + 1} units or renumber the classes."
        )
    if training and low == high:
        raise ValueError(
            f"expected samples of at least two classes to learn from, got class {low} alone."
        )
    return states, label.long()


def _whole_numbers(labels: ArrayLike | Tensor) -> Tensor:
    """Return labels as integers, or say that they are none."""
    if isinstance(labels, Tensor):
        labels = labels.detach().to_dense().cpu().numpy()
    try:
        array = np.asarray(labels)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"expected whole numbers as labels, got {array.dtype}; number the classes from 0."
        )
    return torch.as_tensor(array.astype(np.int64))


def input_states(network: LayeredField, rates: ArrayLike | Tensor) -> Tensor:
    """Return the states of the input that have these rates, or say why there are none."""
    rates = real_tensor(rates, network.dtype, network.device)
    n_inputs = network.biases[0].shape[-1]
    if rates.ndim != 2 or rates.shape[1] != n_inputs:
        raise ValueError(
            f"expected rates of shape (sample, {n_inputs}), got {tuple(rates.shape)}; the input "
            "layer has one unit a pixel."
        )
    if len(rates) == 0:
        raise ValueError("expected at least one sample, got an empty data set.")
    return network.state(rates)


def digest(*tensors: Tensor) -> str:
    """Return a short name for the content of some tensors."""
    found = hashlib.sha256()
    for t in tensors:
        found.update(np.ascontiguousarray(t.detach().cpu().numpy()).data)
    return found.hexdigest()[:16]
