r"""The layer that each parameter of a network drives.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side. One tensor may hold numbers of several layers, as biases in one row; then each number
drives its own.

Letters: state ``s``, force ``f``, parameter ``p``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctebm.networks.named import named_tensors, recording

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField

__all__ = [
    "Drives",
    "UnknownDrive",
    "driven_layers",
    "without_effect",
]

Drives = Mapping[str, str | Mapping[str, Tensor]]
"""By the name of a parameter the layer that it drives, or which of its numbers drive each."""

_PROBED = 4  # samples at which a force is tried
_PROBE_SIZE = 0.3  # of their states, between the kinks of most rates
_MOST_TOUCHED = 2  # layers, of a coupling; of more the one it drives must be said


class UnknownDrive(ValueError):
    """A parameter of which it can't be told which layer it drives."""


def driven_layers(network: VectorField, parameters: Mapping[str, Tensor]) -> Drives:
    """Return the layer that each parameter drives, by the names of both.

    What the network's class declares or knows holds; else the force is tried at random states, and
    a parameter drives the latest layer that it touches. Where the numbers in one tensor belong to
    several layers, each drives its own, and there is a mask for each layer.

    Parameters
    ----------
    network : VectorField
        With nothing clamped, its parameters leaves; see :func:`with_leaves`.
    parameters : mapping of str to Tensor
        Its parameters.

    Returns
    -------
    mapping
        Without those parameters that touch no layer above the input; none without named layers.

    Raises
    ------
    UnknownDrive
        For a number that touches more than two layers and is not declared.
    ValueError
        For a declared layer or parameter that does not exist.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.drives import driven_layers
    >>> from ctebm.networks.named import named_tensors
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 - self.k * s.prod(-1)
    >>> net = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)})
    >>> net.k = torch.tensor(0.5)
    >>> driven_layers(net, named_tensors(net))
    {'k': 'y'}
    """
    from ctebm.networks.base import VectorField

    names = list(network.layers)
    knows = type(network).drives is not VectorField.drives
    declared = network.drives if knows else network.declared_drives
    if not isinstance(declared, Mapping):
        raise ValueError(
            f"expected drives as a mapping of parameters to layers, such as {{'W': "
            f"{names[-1]!r}}}, got {declared!r}."
        )
    own = parameters.keys() if knows or not declared else named_tensors(network).keys()
    for name, layer in declared.items():
        if not knows and name not in own:
            raise ValueError(f"expected drives of parameters among {', '.join(own)}, got {name!r}.")
        if not isinstance(layer, Mapping) and layer not in names:
            raise ValueError(
                f"expected drives[{name!r}] to be one of the layers {', '.join(names)}, got "
                f"{layer!r}."
            )
    known = {name: declared[name] for name in parameters if name in declared}
    unknown = {name: p for name, p in parameters.items() if name not in declared}
    found = {**known, **(_probed(network, unknown) if unknown and names else {})}
    return {name: found[name] for name in parameters if name in found and found[name] != names[0]}


def without_effect(network: VectorField, parameters: Mapping[str, Tensor]) -> list[str]:
    """Return the parameters that no force above the input depends on, at some random states.

    Parameters
    ----------
    network, parameters
        As for :func:`driven_layers`.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.drives import without_effect
    >>> from ctebm.networks.named import named_tensors
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 + self.k
    >>> net = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)})
    >>> net.k = torch.tensor(0.5)
    >>> without_effect(net, named_tensors(net))
    ['k']
    """
    touched, first = _touched(network, parameters), next(iter(network.layers), None)
    return [name for name in parameters if not touched[name].keys() - {first}]


def _probed(network: VectorField, parameters: Mapping[str, Tensor]) -> Drives:
    """Return what each parameter drives, by the layers that it touches."""
    touched, first = _touched(network, parameters), next(iter(network.layers))
    return {
        name: _latest(name, masks, first)
        for name, masks in touched.items()
        if masks.keys() - {first}
    }


def _touched(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Return which numbers of each parameter the force of each layer depends on."""
    draw = torch.Generator().manual_seed(0)
    n = sum(where.stop - where.start for where in network.layers.values())

    def normal(*shape: int) -> Tensor:
        found = torch.randn(*shape, generator=draw, dtype=torch.float64)
        return found.to(network.device, network.dtype)

    touched: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    with recording(parameters):
        f = network.force(_PROBE_SIZE * normal(_PROBED, n))
        if not f.requires_grad:  # nothing in it depends on a parameter
            return touched
        for layer, where in network.layers.items():
            found = torch.autograd.grad(
                f[..., where], list(parameters.values()), normal(_PROBED, where.stop - where.start),
                retain_graph=True, allow_unused=True,
            )  # fmt: skip
            for name, g in zip(parameters, found, strict=True):
                if g is not None and bool((g != 0).any()):
                    touched[name][layer] = g != 0
    return touched


def _latest(name: str, masks: Mapping[str, Tensor], first: str) -> str | Mapping[str, Tensor]:
    """Return the latest layer that a parameter touches, or which of its numbers touch it last.

    Not the first layer, which is the input, though it counts.
    """
    layers = list(masks)
    if bool((torch.stack(list(masks.values())).sum(0) > _MOST_TOUCHED).any()):
        raise UnknownDrive(
            f"the parameter {name!r} touches the layers {', '.join(layers)}, and which of them it "
            f"drives can't be told; say so in your class, such as "
            f"drives = {{{name!r}: {layers[-1]!r}}}."
        )
    last: dict[str, Tensor] = {}
    taken = torch.zeros_like(masks[layers[0]])
    for layer in reversed([name for name in layers if name != first]):
        mine = masks[layer] & ~taken
        taken |= masks[layer]
        if bool(mine.any()):
            last[layer] = mine
    return next(iter(last)) if len(last) == 1 else last
