"""What layers are made of: weights and biases that fit, a rate each, random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.arrays import finite_tensors, listed
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole

__all__ = ["check_stack", "glorot_weights", "layer_sizes", "one_each"]


def check_stack(
    weights: Sequence[Tensor], biases: Sequence[ArrayLike | Tensor | None], dtype: torch.dtype
) -> list[Tensor]:
    """Return the biases of layers, checked to fit the weights between them.

    Parameters
    ----------
    weights : sequence of Tensor
        Input first, ``(size_i, size_i+1)``.
    biases : sequence of array or None
        Input first; None stands for zeros at either end.
    dtype : torch.dtype
        Of the biases.

    Raises
    ------
    ValueError
        For another number of arrays, or shapes that do not fit.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.stacks import check_stack
    >>> check_stack([torch.ones(2, 1)], [None, [0.5]], torch.float64)
    [tensor([0., 0.], dtype=torch.float64), tensor([0.5000], dtype=torch.float64)]
    """
    given = listed(biases, "biases")
    if not weights:
        raise ValueError("expected one array of weights or more, got none; input first.")
    if given and all(W.ndim == 2 for W in weights):
        ends = (0, weights[0].shape[0]), (len(given) - 1, weights[-1].shape[1])
        for i, n in ends:
            given[i] = np.zeros(n) if given[i] is None else given[i]
    rows = finite_tensors(given, "biases", dtype)
    if any(b.ndim != 1 for b in rows):
        raise ValueError("expected one row of biases for each layer, got numbers or matrices.")
    if len(rows) != len(weights) + 1:
        raise ValueError(
            f"expected one more array of biases than of weights, got {len(rows)} and "
            f"{len(weights)}; the input layer has biases too."
        )
    for i, W in enumerate(weights):
        expected = (rows[i].shape[-1], rows[i + 1].shape[-1])
        if W.shape != expected:
            raise ValueError(
                f"expected weights[{i}] of shape {expected} from the biases, "
                f"got {tuple(W.shape)}; the layer nearer the input comes first."
            )
    sizes = [b.shape[-1] for b in rows]
    if 0 in sizes:
        raise ValueError(f"expected at least one unit in each layer, got sizes {sizes}.")
    return rows


def one_each(
    activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any], n: int
) -> list[Activation]:
    """Return the rate of each of `n` layers, given one for all or one a layer.

    Raises
    ------
    ValueError
        For another number of rates than of layers.
    TypeError
        For what is no rate.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.stacks import one_each
    >>> one_each(ctebm.Tanh(), 2)
    [Tanh(), Tanh()]
    """
    if not isinstance(activation, list | tuple):
        # what is no list or tuple is one activation
        return [as_activation(activation)] * n  # pyright: ignore[reportArgumentType]
    if len(activation) != n:
        raise ValueError(
            f"expected one activation, or one for each of the {n} layers, input first, got "
            f"{len(activation)}; the input and the output have one too."
        )
    return [as_activation(rho) for rho in activation]


def glorot_weights(sizes: Sequence[int], gain: float, seed: int) -> list[NDArray[np.float64]]:
    r"""Return weights between layers, uniform in :math:`\pm g\sqrt{6/(n_i + n_{i+1})}`.

    Parameters
    ----------
    sizes : sequence of int
        Units in each layer, input first.
    gain : float
        The factor `g`.
    seed : int
        Root seed; weights between two layers depend on it and on their place alone.

    Raises
    ------
    ValueError
        For less than two layers, an empty one, a gain that is negative or not finite, or weights
        that do not fit the free memory.

    Examples
    --------
    >>> from ctebm.networks.stacks import glorot_weights
    >>> [W.shape for W in glorot_weights([4, 3, 2], 1.0, seed=0)]
    [(4, 3), (3, 2)]
    """
    sizes = layer_sizes(sizes)
    gain, seed = finite("gain", gain, low=0), whole("seed", seed, least=0)
    blocks = [m * n for m, n in pairwise(sizes)]
    what = f"a network of {' - '.join(f'{n:,}' for n in sizes)} units"
    check_memory(what, 8 * (2 * sum(blocks) + 2 * max(blocks)), "use smaller layers")
    streams = np.random.SeedSequence(seed).spawn(len(sizes) - 1)
    return [
        np.random.default_rng(stream).uniform(-1, 1, (m, n)) * gain * np.sqrt(6 / (m + n))
        for stream, (m, n) in zip(streams, pairwise(sizes), strict=True)
    ]


def layer_sizes(sizes: Sequence[int]) -> list[int]:
    """Return the sizes of two or more layers, or refuse others.

    Raises
    ------
    ValueError
        For less than two layers, or an empty one.

    Examples
    --------
    >>> from ctebm.networks.stacks import layer_sizes
    >>> layer_sizes([3, 2.0])
    [3, 2]
    """
    if not isinstance(sizes, Iterable) or getattr(sizes, "ndim", 1) != 1:
        raise ValueError(f"expected the sizes of two or more layers, got {sizes!r}.")
    checked = [whole("size", n, least=1, remedy="a layer has units") for n in sizes]
    if len(checked) < 2:
        raise ValueError(f"expected two or more layers, got sizes {checked}.")
    return checked
