"""States and targets of the output at the door: finite, of one batch, states and not labels."""

from __future__ import annotations

import math
import warnings

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import refuse_labels
from ctebm.networks.base import StateLike, VectorField, free_network
from ctebm.networks.couplings import Couplings, check_chain
from ctebm.networks.layer_states import states_of_layer
from ctebm.networks.layout import broadcast, broadcast_shapes, size_of

__all__ = [
    "checked_network",
    "deepest_layer",
    "one_state_each",
    "one_target_each",
    "state_and_target",
    "target_states",
]


def state_and_target(
    network: VectorField, state: StateLike, target: ArrayLike | Tensor
) -> tuple[Tensor, Tensor]:
    """Return states and targets as tensors that broadcast against each other.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        States of its units.
    target : array, (*batch, output unit)
        Target states of the output.

    Raises
    ------
    ValueError
        For states or targets of the wrong shape, not finite, or of different numbers of samples;
        for labels; and for a network without an output.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.targets import state_and_target
    >>> net = ctebm.LayeredNetwork.random([3, 2], ctebm.Tanh()).clamp({"x": [0.1, 0.2, 0.3]})
    >>> [tuple(x.shape) for x in state_and_target(net, [[0.0, 0.0]], [0.3, -0.3])]
    [(1, 2), (2,)]
    """
    s = checked_network(network).finite_state(state)
    batch = broadcast(inputs=network.batch, states=s.shape[:-1])
    return s, target_states(network, target, batch)


def target_states(network: VectorField, target: ArrayLike | Tensor, batch: torch.Size) -> Tensor:
    """Return targets as a tensor that broadcasts against the samples of a batch.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.
    target : array, (*batch, output unit)
        Target states.
    batch : torch.Size
        Samples of what they are targets for.

    Raises
    ------
    ValueError
        As for :func:`state_and_target`.
    """
    refuse_labels(target, batch, size_of(network.layer(network.output)))
    states = states_of_layer(network, network.output, target)
    broadcast(samples=batch, targets=states.shape[:-1])
    return states


def one_target_each(network: VectorField, target: ArrayLike | Tensor) -> Tensor:
    """Return targets ``(sample, output unit)``, one for each clamped input."""
    target = target_states(network, target, network.batch)
    batch = broadcast_shapes(target.shape[:-1], network.batch)
    if 0 in batch:
        raise ValueError("expected inputs and targets of one or more samples, got none.")
    if len(batch) > 1:
        raise ValueError(
            f"expected inputs and targets of shape (sample, unit), got a batch {tuple(batch)}; "
            "flatten it."
        )
    return target.expand(*batch, -1).reshape(-1, target.shape[-1])


def one_state_each(network: VectorField, states: StateLike, what: str, n_samples: int) -> Tensor:
    """Return states ``(sample, unit)``, one for each sample."""
    s = network.finite_state(states)
    if s.ndim > 2 or s.shape[:-1] not in ((), (1,), (n_samples,)):
        raise ValueError(
            f"expected one {what}, or one for each of {n_samples} samples, got shape "
            f"{tuple(s.shape)}; give {(n_samples, s.shape[-1])}."
        )
    return s.expand(n_samples, -1)


def checked_network(network: VectorField) -> VectorField:
    """Return a network that has an output to drive, or refuse it.

    Parameters
    ----------
    network : VectorField
        What came.

    Raises
    ------
    ValueError
        For anything else than a network, without named layers, or with all of them clamped.
    """
    free_network(network).layer(network.output)
    return network


def deepest_layer(network: VectorField) -> int:
    """Return the depth of the deepest layer that the target reaches, and say which it does not.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.

    Warns
    -----
    UserWarning
        Of layers that no path of couplings leads to from the output.

    Raises
    ------
    ValueError
        For couplings of which no gradient from layer to layer is known.
    """
    check_chain(network)
    depth = Couplings.of(network).depth
    unreached = [name for name, k in depth.items() if math.isinf(k)]
    if unreached:
        warnings.warn(
            f"no path of couplings leads from the output to {', '.join(unreached)}: its depth is "
            "infinite, and nothing of the target arrives there.",
            stacklevel=3,
        )
    return max(int(k) for k in depth.values() if not math.isinf(k))
