r"""The layer that each parameter of a network drives.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side. A number that two layers have each for itself drives both. One that couples two and
acts on the earlier alone besides can't be told from a coupling with a rate that is not 0 at rest,
and counts as a coupling. One tensor may hold numbers of several layers, as biases in one row; then
each number drives its own.

Letters: state ``s``, force ``f``, parameter ``p``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
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

_PROBED = 64  # samples at which a force is tried: a quarter has both ends of a ReLU's coupling on
_PROBE_SIZE = 0.3  # of their states, between the kinks of most rates
_ROUNDING = 1e3  # roundings, of the largest pull: what is smaller is no change
_OTHERS = (
    3  # times that a layer is moved in float32, which misses a change in some thousand numbers
)
_MOST_TOUCHED = 2  # layers, of a coupling; of more the one it drives must be said


class UnknownDrive(ValueError):
    """A parameter of which it can't be told which layer it drives."""


def driven_layers(network: VectorField, parameters: Mapping[str, Tensor]) -> Drives:
    """Return the layer that each parameter drives, by the names of both.

    What the network's class declares or knows holds; else the force is tried at random states. A
    number that couples two layers drives the later one, one that both have for themselves, such as
    a shared bias, drives both. Where not all numbers in one tensor drive the same one layer, there
    is a mask for each layer.

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
        For a number that is not declared and touches more than two layers, or two in a way that
        does not tell whether it couples them.
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
    shared = {
        name: parameters[name] for name, masks in touched.items() if len(masks.keys() - {first}) > 1
    }
    bent = _bent(network, shared) if shared else {}
    errors = _of_errors(network, shared) if shared else {}
    return {
        name: _driven(name, masks, bent.get(name, {}), errors.get(name), first)
        for name, masks in touched.items()
        if masks.keys() - {first}
    }


def _touched(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Return which numbers of each parameter the force of each layer depends on."""
    pulls = _pulls(network, parameters, *_states(network))
    found = {name: {at: g != 0 for at, g in each.items()} for name, each in pulls.items()}
    return {
        name: {at: mask for at, mask in masks.items() if bool(mask.any())}
        for name, masks in found.items()
    }


def _bent(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, dict[tuple[str, str], Tensor]]:
    """Return for which numbers the pull on one layer depends on the states of another.

    By the names of both. A number that couples two layers has pulls that depend on the other, one
    that both have for themselves has not.
    """
    s, v = _states(network)
    before = _pulls(network, parameters, s, v)
    found: dict[str, dict[tuple[str, str], Tensor]] = {name: {} for name in parameters}
    others = 1 if s.dtype == torch.float64 else _OTHERS
    for (moved, where), k in product(network.layers.items(), range(1, others + 1)):
        there, (other, _) = s.clone(), _states(network, seed=k)
        there[..., where] = other[..., where]
        after = _pulls(network, parameters, there, v)
        for name, pulls in before.items():
            for layer in pulls.keys() - {moved}:
                g, h = pulls[layer], after[name].get(layer, torch.zeros_like(pulls[layer]))
                least = _ROUNDING * torch.finfo(g.dtype).eps * float(g.abs().max())
                changed, at = (g - h).abs() > least, (layer, moved)
                found[name][at] = changed | found[name].get(at, changed)
    return found


def _of_errors(
    network: VectorField, parameters: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    r"""Return which numbers the energy is not linear in, and of which their pulls depend on them.

    In :math:`|y - p - g(h)|^2` it is the first alone: pulls are constant, as of a number that `h`
    and `y` have each for itself, and yet its pull on `h` is feedback. Nothing without an energy.
    """
    from ctebm.networks.energy import Network

    if not isinstance(network, Network):
        return {}
    s, v = _states(network)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    with recording(parameters):
        E, pull = (network.energy(s) * v[..., 0]).sum(), (network.force(s) * v).sum()
        for name, p in parameters.items():
            found[name] = _curved(E, p), _curved(pull, p)
    return found


def _curved(y: Tensor, p: Tensor) -> Tensor:
    """Return which numbers have a slope of `y` that depends on the parameter."""
    (g,) = torch.autograd.grad(y, p, create_graph=True)
    flat = torch.zeros_like(p, dtype=torch.bool)
    if not g.requires_grad:
        return flat
    (change,) = torch.autograd.grad(g.sum(), p, retain_graph=True, allow_unused=True)
    least = _ROUNDING * torch.finfo(g.dtype).eps * float(g.detach().abs().max())
    return flat if change is None else change.abs() > least


def _states(network: VectorField, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random states and vectors, ``(probe, unit)``."""
    draw = torch.Generator().manual_seed(seed)
    n = sum(where.stop - where.start for where in network.layers.values())
    s, v = (
        torch.randn(_PROBED, n, generator=draw, dtype=torch.float64, device="cpu") for _ in range(2)
    )
    s, v = s.to(network.device, network.dtype), v.to(network.device, network.dtype)
    return _PROBE_SIZE * s, v


def _pulls(
    network: VectorField, parameters: Mapping[str, Tensor], s: Tensor, v: Tensor
) -> dict[str, dict[str, Tensor]]:
    """Return the products of vectors with what each number does to the force of each layer."""
    pulls: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    with recording(parameters):
        f = network.force(s)
        if not f.requires_grad:  # nothing in it depends on a parameter
            return pulls
        for layer, where in network.layers.items():
            found = torch.autograd.grad(
                f[..., where], list(parameters.values()), v[..., where],
                retain_graph=True, allow_unused=True,
            )  # fmt: skip
            for name, g in zip(parameters, found, strict=True):
                if g is not None:
                    pulls[name][layer] = g
    return pulls


def _driven(
    name: str,
    masks: Mapping[str, Tensor],
    bent: Mapping[tuple[str, str], Tensor],
    errors: tuple[Tensor, Tensor] | None,
    first: str,
) -> str | Mapping[str, Tensor]:
    """Return the layer that a parameter drives, or which of its numbers drive each.

    Of two layers that a number couples it drives the later one; if each has it for itself, both.
    Not the first layer, which is the input, though it counts.
    """
    layers = list(masks)
    unknown = torch.stack(list(masks.values())).sum(0) > _MOST_TOUCHED
    last: dict[str, Tensor] = {}
    above = [layer for layer in layers if layer != first]
    for i, layer in enumerate(above):
        mine = masks[layer].clone()
        for later in above[i + 1 :]:
            both = masks[layer] & masks[later]
            down, up = both & bent[layer, later], both & bent[later, layer]
            coupled, apart = down & up, both & ~down & ~up
            unknown |= down & ~up
            for (pulled, moved), mask in bent.items():
                if pulled in (layer, later) and moved not in (layer, later):
                    unknown |= coupled & mask
            if errors is None:
                unknown |= apart
            else:
                of_error, changing = errors
                unknown |= apart & changing
                coupled = coupled | (apart & of_error)
            mine &= ~coupled
        if bool(mine.any()):
            last[layer] = mine
    if bool(unknown.any()):
        raise UnknownDrive(
            f"the parameter {name!r} touches the layers {', '.join(layers)}, and which of them it "
            f"drives can't be told; say so in your class, such as "
            f"drives = {{{name!r}: {layers[-1]!r}}}."
        )
    return next(iter(last)) if len(last) == 1 else last
