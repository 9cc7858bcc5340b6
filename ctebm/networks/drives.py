r"""The parameters of any network by name, and the layer that each of them drives.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side.

Letters: state ``s``, force ``f``, parameter ``p``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ctebm.networks.activation import Activation

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField

__all__ = ["driven_layers", "named_tensors", "with_leaves"]

V = TypeVar("V", bound="VectorField")

_PROBED = 4  # samples at which a force is tried
_PROBE_SIZE = 0.3  # of their states, between the kinks of most rates, and of a change of parameters
_MOST_TOUCHED = 2  # layers, of a coupling; of more the one it drives must be said
_NOT_LEARNED = ("box", "constant", "held", "states", "layers")  # what is held, not learned


def named_tensors(network: VectorField) -> dict[str, Tensor]:
    """Return the floating-point parameters of a network by their names.

    Tensors among its attributes, in lists, dicts, modules and other motions there; attributes
    whose names begin with an underscore are left out.

    Parameters
    ----------
    network : VectorField
        With nothing clamped.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.drives import named_tensors
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh())
    >>> {name: tuple(p.shape) for name, p in named_tensors(net).items()}
    {'weights.0': (3, 4), 'weights.1': (4, 2), 'bias': (9,)}
    """
    return {
        name: t
        for key, value in vars(network).items()
        if not key.startswith("_") and key not in _NOT_LEARNED
        for name, t in _leaves(value, key)
        if t.is_floating_point()
    }


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an attribute, with their names."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if isinstance(value, torch.nn.Module):
        value = dict(value.named_parameters())
    elif isinstance(value, Activation):
        value = getattr(value, "__dict__", {})
    elif hasattr(value, "_map"):  # another motion
        value = named_tensors(value)
    elif isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}")


def with_leaves(network: V) -> V:
    """Return a copy of a network whose parameters hang on no graph and may be changed in place."""
    other = copy.deepcopy(network)
    for t in named_tensors(other).values():
        t.detach_().requires_grad_(False)
    return other


def driven_layers(
    network: VectorField,
    parameters: Mapping[str, Tensor],
) -> dict[str, str]:
    """Return the layer that each parameter drives, by the names of both.

    What the network's class declares or knows holds; else the force is tried at random states, and
    a parameter drives the latest layer that it touches.

    Parameters
    ----------
    network : VectorField
        With nothing clamped, its parameters leaves.
    parameters : mapping of str to Tensor
        Its parameters.

    Returns
    -------
    dict
        Without those parameters that touch no layer above the input.

    Raises
    ------
    ValueError
        For a parameter that touches more than two layers and is not declared, or a declared layer
        that does not exist.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.drives import driven_layers, named_tensors
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 - self.k * s.prod(-1)
    >>> net = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)})
    >>> net.k = torch.tensor(0.5)
    >>> driven_layers(net, named_tensors(net))
    {'k': 'y'}
    """
    from ctebm.networks.base import VectorField

    names, declared = list(network.layers), network.declared_drives
    if type(network).drives is not VectorField.drives:  # the class knows
        declared = network.drives
    for name, layer in declared.items():
        if layer not in names:
            raise ValueError(
                f"expected drives[{name!r}] to be one of the layers {', '.join(names)}, got "
                f"{layer!r}."
            )
    known = {name: declared[name] for name in parameters if name in declared}
    unknown = {name: p for name, p in parameters.items() if name not in declared}
    found = known | (_probed(network, unknown) if unknown and names else {})
    return {name: found[name] for name in parameters if found.get(name, names[0]) != names[0]}


@torch.no_grad()
def _probed(network: VectorField, parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the latest layer whose force changes with each parameter."""
    draw = torch.Generator().manual_seed(0)
    n = sum(where.stop - where.start for where in network.layers.values())
    s = _PROBE_SIZE * torch.randn(_PROBED, n, generator=draw, dtype=torch.float64)
    s = s.to(network.device, network.dtype)
    above = list(network.layers.items())[1:]
    at_rest, driven = network.force(s), {}
    for name, p in parameters.items():
        before = p.clone()
        p += _PROBE_SIZE * torch.rand(p.shape, generator=draw, dtype=torch.float64).to(p)
        change = network.force(s) != at_rest
        p.copy_(before)
        touched = [layer for layer, where in above if bool(change[..., where].any())]
        if len(touched) > _MOST_TOUCHED:
            raise ValueError(
                f"the parameter {name!r} touches the layers {', '.join(touched)}, and which of "
                f"them it drives can't be told; say so in your class, such as "
                f"drives = {{{name!r}: {touched[-1]!r}}}."
            )
        if touched:
            driven[name] = touched[-1]
    return driven
