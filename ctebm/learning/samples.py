"""Samples as a network takes them: rates made states, labels and targets checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor
from ctebm.networks.base import VectorField
from ctebm.networks.layout import size_of
from ctebm.networks.pairwise import PairwiseField

__all__ = [
    "BatchError",
    "Loader",
    "check_kind",
    "class_targets",
    "digest",
    "input_states",
    "labelled_states",
]


def labelled_states(
    network: VectorField,
    rates: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    training: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return input states and labels or targets that fit the network, or say why they don't."""
    states = input_states(network, rates)
    n_outputs = size_of(network.layers[network.output])
    if _is_real(labels):
        return states, _targets(network, labels, len(states), n_outputs)
    label = _whole_numbers(labels).to(network.device)
    if label.shape != states.shape[:1]:
        raise ValueError(
            f"expected one label a sample, ({len(states)},), got {tuple(label.shape)}."
        )
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= n_outputs:
        raise ValueError(
            f"expected labels from 0 to {n_outputs - 1}, one output unit a class, got {low} to "
            f"{high}; use an output layer of {high + 1} units or renumber the classes."
        )
    if training and low == high:
        raise ValueError(
            f"expected samples of at least two classes to learn from, got class {low} alone."
        )
    return states, label.long()


class BatchError(ValueError):
    """A batch of a :class:`Loader` that does not fit, or none where there were some before."""


class Loader:
    """Batches of a DataLoader, or of anything that gives pairs anew each time it is gone through.

    Parameters
    ----------
    network : VectorField
        What the batches must fit.
    batches : iterable
        Of pairs: rates and labels, or rates and targets.

    Raises
    ------
    BatchError
        While it is gone through: if a batch does not fit, or if there is none.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.learning.samples import Loader
    >>> net = ctebm.LayeredNetwork.random([2, 2], ctebm.Tanh())
    >>> pairs = [(torch.full((3, 2), 0.5), torch.tensor([0, 1, 0]))]
    >>> [tuple(x.shape) for x, label in Loader(net, pairs)]
    [(3, 2)]
    """

    network: VectorField
    batches: Iterable[Any]

    def __init__(self, network: VectorField, batches: Iterable[Any]) -> None:
        self.network, self.batches = network, batches
        self._first: Tensor | None = None  # labels of the first batch ever

    def __len__(self) -> int:
        # progress asks for a length; where there is none, it is told as len() says it
        return len(self.batches)  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n = 0
        for n, batch in enumerate(self.batches, 1):
            if not (isinstance(batch, list | tuple) and len(batch) == 2):
                raise BatchError(
                    f"expected batches of rates and labels, got {type(batch).__name__} as batch "
                    f"{n}; yield pairs."
                )
            try:
                states, label = labelled_states(self.network, *batch, training=False)
            except ValueError as error:
                raise BatchError(f"batch {n}: {error}") from error
            self._first = label if self._first is None else self._first
            if label.is_floating_point() != self._first.is_floating_point():
                raise BatchError(_of_another_kind(label, self._first, f"batch {n}"))
            yield states, label
        if n == 0:
            raise BatchError("expected one or more batches of samples, got an empty DataLoader.")

    def labelled(self) -> bool:
        """Return whether the samples have labels; else targets."""
        first = next(iter(self))[1] if self._first is None else self._first
        return not first.is_floating_point()


def check_kind(label: Tensor, others: Tensor, whose: str) -> None:
    """Refuse labels beside samples that have targets, and targets beside labels."""
    if label.is_floating_point() != others.is_floating_point():
        raise ValueError(_of_another_kind(label, others, whose))


def _of_another_kind(label: Tensor, others: Tensor, whose: str) -> str:
    mine, theirs = ("targets" if t.is_floating_point() else "labels" for t in (label, others))
    return f"{whose}: expected {theirs}, as the other samples have, got {mine}; give one kind."


def _is_real(labels: ArrayLike | Tensor) -> bool:
    """Return whether there are real-valued targets in place of labels, a row a sample."""
    if isinstance(labels, Tensor):
        return labels.is_floating_point() and labels.ndim == 2
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError):  # rows of different lengths, or what is no array
        return False
    return array.dtype.kind == "f" and array.ndim == 2


def _targets(network: VectorField, targets: Any, n_samples: int, n_outputs: int) -> Tensor:
    found = real_tensor(targets, network.dtype, network.device)
    if found.shape != (n_samples, n_outputs):
        raise ValueError(
            f"expected targets of shape ({n_samples}, {n_outputs}), a row of output states a "
            f"sample, got {tuple(found.shape)}."
        )
    if not bool(torch.isfinite(found).all()):
        row = int(torch.nonzero(~torch.isfinite(found))[0, 0])
        raise ValueError(f"expected finite targets, got NaN or inf in sample {row}; leave it out.")
    return found


def class_targets(network: VectorField, low: float, high: float) -> Tensor:
    """Return the target of each class: rates `low` and `high` as output states, (class, unit)."""
    n = size_of(network.layers[network.output])
    rates = torch.tensor([low, high], dtype=network.dtype)
    if isinstance(network, PairwiseField):
        rates = network.state(rates, network.output)
    off, on = rates.tolist()
    return off + (on - off) * torch.eye(n, dtype=network.dtype, device=network.device)


def _whole_numbers(labels: ArrayLike | Tensor) -> Tensor:
    """Return labels as integers, or say that they are none."""
    if isinstance(labels, Tensor):
        labels = labels.detach().to_dense().cpu().numpy()
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError):  # rows of different lengths, or what is no array
        array = np.asarray(None)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"expected whole numbers as labels, got {array.dtype}; number the classes from 0."
        )
    return torch.as_tensor(array.astype(np.int64))


def input_states(network: VectorField, rates: ArrayLike | Tensor) -> Tensor:
    """Return the states of the input that have these rates, or say why there are none.

    A network without rates, such as one of a user's own, takes states.
    """
    rates = real_tensor(rates, network.dtype, network.device)
    n_inputs = size_of(next(iter(network.layers.values())))
    if rates.ndim != 2 or rates.shape[1] != n_inputs:
        raise ValueError(
            f"expected rates of shape (sample, {n_inputs}), got {tuple(rates.shape)}; the input "
            "layer has one unit a pixel."
        )
    if len(rates) == 0:
        raise ValueError("expected at least one sample, got an empty data set.")
    if not bool(torch.isfinite(rates).all()):
        row = int(torch.nonzero(~torch.isfinite(rates))[0, 0])
        raise ValueError(f"expected finite inputs, got NaN or inf in sample {row}; leave it out.")
    if isinstance(network, PairwiseField):
        return network.state(rates, next(iter(network.layers)))
    return rates


def digest(*tensors: Tensor) -> str:
    """Return a short name for the content of some tensors."""
    found = hashlib.sha256()
    for t in tensors:
        found.update(np.ascontiguousarray(t.detach().cpu().numpy()).data)
    return found.hexdigest()[:16]
