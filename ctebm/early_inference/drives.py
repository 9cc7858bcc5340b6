"""What each number of a parameter drives, where one tensor holds those of several layers.

:mod:`ctebm.networks.drives` has the layer that each parameter drives as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ctebm.early_inference.force_products import gradients, recording
from ctebm.networks.base import VectorField

__all__ = ["drives_of"]

_PROBED = 4  # samples at which a force is tried
_PROBE_SIZE = 0.3  # of their states, between the kinks of most rates
_MOST_TOUCHED = 2  # layers, of a coupling; of more the one it drives must be said


def drives_of(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, str | Mapping[str, Tensor]]:
    """Return the layer that each parameter drives, by the names of both.

    What the network says in its ``drives`` holds; else the force is tried at random states, and a
    parameter drives the latest layer that it touches. Where the numbers in one tensor belong to
    several layers, as biases in one row, each drives its own, and there is a mask for each layer.

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
        For a number that touches more than two layers and is not in ``drives``, or a layer there
        that does not exist.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.early_inference.drives import drives_of
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 - self.k * s.prod(-1)
    >>> net = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)})
    >>> net.k = torch.tensor(0.5)
    >>> drives_of(net, {"k": net.k})
    {'k': 'y'}
    """
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
    found = known | (_probed(network, unknown) if unknown else {})
    return {name: found[name] for name in parameters if found.get(name, names[0]) != names[0]}


def _probed(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, str | Mapping[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    n = sum(where.stop - where.start for where in network.layers.values())
    s = _PROBE_SIZE * torch.randn(_PROBED, n, generator=draw, dtype=torch.float64)
    s = s.to(network.device, network.dtype)
    first, *above = network.layers
    x = s[:, network.layers[first]]
    free = torch.cat([s[:, network.layers[name]] for name in above], -1)
    touched: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    with recording(parameters):
        held = network.clamp({first: x})
        f = held.force(free)
        for layer, where in held.layers.items():
            for name, g in gradients(f[..., where], torch.randn_like(f[..., where]), parameters):
                if bool((g != 0).any()):
                    touched[name][layer] = g != 0
    return {name: _latest(name, masks) for name, masks in touched.items() if masks}


def _latest(name: str, masks: Mapping[str, Tensor]) -> str | Mapping[str, Tensor]:
    """Return the latest layer that a parameter touches, or which of its numbers touch it last."""
    layers = list(masks)
    if bool((torch.stack(list(masks.values())).sum(0) > _MOST_TOUCHED).any()):
        raise ValueError(
            f"the parameter {name!r} touches the layers {', '.join(layers)}, and which of them it "
            f"drives can't be told; say so in your class, such as "
            f"drives = {{{name!r}: {layers[-1]!r}}}."
        )
    last: dict[str, Tensor] = {}
    taken = torch.zeros_like(masks[layers[0]])
    for layer in reversed(layers):
        mine = masks[layer] & ~taken
        taken |= masks[layer]
        if bool(mine.any()):
            last[layer] = mine
    return layers[-1] if len(last) == 1 else last
