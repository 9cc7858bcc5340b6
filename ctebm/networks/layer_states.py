"""States and rates that are given for layers, checked: of their size, finite, no integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor, refuse_integers
from ctebm.networks.layout import broadcast, size_of

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField

__all__ = ["finite_of_layer", "first_not_finite", "states_of_layer", "states_of_layers"]


def states_of_layers(
    network: VectorField, states: Mapping[str, ArrayLike | Tensor]
) -> dict[str, Tensor]:
    """Return copies of the states of layers by their names, of one batch.

    Parameters
    ----------
    network : VectorField
        Whose layers they are.
    states : mapping of str to array
        ``(*batch, size)`` each.

    Raises
    ------
    ValueError
        As :func:`states_of_layer`, and for what is no mapping, or for other batches.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_states import states_of_layers
    >>> net = ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh())
    >>> states_of_layers(net, {"x": [0.5, -0.5]})
    {'x': tensor([ 0.5000, -0.5000], dtype=torch.float64)}
    """
    if not isinstance(states, Mapping):
        name = next(iter(network.layers), "x")
        raise ValueError(
            f"expected states of layers by their names, got {type(states).__name__}; give "
            f"{{{name!r}: states}}."
        )
    found = {name: states_of_layer(network, name, x) for name, x in states.items()}
    batches = {f"layer {name!r}": x.shape[:-1] for name, x in found.items()}
    broadcast(**batches, network=network.batch)
    return found


def states_of_layer(network: VectorField, name: str, x: ArrayLike | Tensor) -> Tensor:
    """Return a copy of the states of a layer.

    Parameters
    ----------
    network : VectorField
        Whose layer it is.
    name : str
        Of the layer.
    x : array, (*batch, size)
        The states.

    Raises
    ------
    ValueError
        As :func:`finite_of_layer`, and for integers, which are pixels.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_states import states_of_layer
    >>> states_of_layer(ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh()), "y", [0.5])
    tensor([0.5000], dtype=torch.float64)
    """
    refuse_integers(
        x,
        f"states of layer {name!r} as floats",
        "pixels are rates: scale them to [0, 1] and give network.state(rates), or give float "
        "states",
    )
    return finite_of_layer(network, name, x, "state").clone()


def finite_of_layer(network: VectorField, name: str, x: ArrayLike | Tensor, what: str) -> Tensor:
    """Return a tensor of the network's dtype and device, with one finite number a unit of a layer.

    Parameters
    ----------
    network : VectorField
        Whose layer it is.
    name : str
        Of the layer.
    x : array, (*batch, size)
        The numbers.
    what : str
        What they are, such as ``"rate"``.

    Raises
    ------
    ValueError
        For a layer that is not there, numbers of another size, or not finite.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_states import finite_of_layer
    >>> finite_of_layer(ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh()), "y", [1], "rate")
    tensor([1.], dtype=torch.float64)
    """
    size = size_of(network.layer(name))
    x = real_tensor(x, network.dtype, network.device)
    if x.ndim == 0 or x.shape[-1] != size:
        raise ValueError(
            f"expected a {what} of shape (*batch, {size}) for layer {name!r}, got {tuple(x.shape)}."
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"expected finite {what}s for layer {name!r}, got {first_not_finite(x)}; clean "
            "the data."
        )
    return x


def first_not_finite(x: Tensor) -> str:
    """Return the first number ``(*batch, unit)`` that is not finite, and where it is, in words.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.layer_states import first_not_finite
    >>> first_not_finite(torch.tensor([[0.0, 1.0], [0.0, torch.inf]]))
    'inf in unit 1 of sample 1'
    """
    *sample, unit = torch.nonzero(~torch.isfinite(x))[0].tolist()
    where = f" of sample {', '.join(map(str, sample))}" if sample else ""
    return f"{float(x[(*sample, unit)])} in unit {unit}{where}"
