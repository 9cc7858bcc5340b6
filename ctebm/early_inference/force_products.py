r"""What the parameters of any network do to its force: :math:`(\partial f/\partial\theta)'v`.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side. The product with the driven layer's force alone belongs to the chain gradient (eq. 26
in general), the product with all layers' forces to gradients of the equilibrium.

Letters: state ``s``, force ``f``, vector ``v``, parameter :math:`\theta`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.base import VectorField

__all__ = ["driven_layers", "driven_products", "named_tensors", "whole_products", "with_leaves"]

V = TypeVar("V", bound=VectorField)

_PROBED = 4  # samples at which a force is tried
_PROBE_SIZE = 0.3  # of their states, between the kinks of most rates
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
    >>> from ctebm.early_inference.force_products import named_tensors
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
    elif isinstance(value, VectorField):
        value = named_tensors(value)
    elif isinstance(value, Activation):
        value = getattr(value, "__dict__", {})
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


@contextmanager
def _recording(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Let autograd follow the parameters."""
    try:
        for p in parameters.values():
            p.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for p in parameters.values():
            p.requires_grad_(False)


def driven_layers(network: VectorField, parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the layer that each parameter drives, by the names of both.

    What the network says in its ``drives`` holds; else the force is tried at random states, and a
    parameter drives the latest layer that it touches.

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
        For a parameter that touches more than two layers and is not in ``drives``, or a layer
        there that does not exist.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.early_inference.force_products import driven_layers, named_tensors
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 - self.k * s.prod(-1)
    >>> net = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)})
    >>> net.k = torch.tensor(0.5)
    >>> driven_layers(net, named_tensors(net))
    {'k': 'y'}
    """
    names = list(network.layers)
    declared = getattr(network, "drives", None) or {}
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


def _probed(network: VectorField, parameters: Mapping[str, Tensor]) -> dict[str, str]:
    draw = torch.Generator().manual_seed(0)
    n = sum(where.stop - where.start for where in network.layers.values())
    s = _PROBE_SIZE * torch.randn(_PROBED, n, generator=draw, dtype=torch.float64)
    s = s.to(network.device, network.dtype)
    first, *above = network.layers
    x = s[:, network.layers[first]]
    free = torch.cat([s[:, network.layers[name]] for name in above], -1)
    touched: dict[str, list[str]] = {name: [] for name in parameters}
    with _recording(parameters):
        held = network.clamp({first: x})
        f = held.force(free)
        for layer, where in held.layers.items():
            for name, g in _gradients(f[..., where], torch.randn_like(f[..., where]), parameters):
                if bool((g != 0).any()):
                    touched[name].append(layer)
    for name, layers in touched.items():
        if len(layers) > _MOST_TOUCHED:
            raise ValueError(
                f"the parameter {name!r} touches the layers {', '.join(layers)}, and which of them "
                f"it drives can't be told; say so in your class, such as "
                f"drives = {{{name!r}: {layers[-1]!r}}}."
            )
    return {name: layers[-1] for name, layers in touched.items() if layers}


def driven_products(
    network: VectorField,
    parameters: Mapping[str, Tensor],
    drives: Mapping[str, str],
    x: Tensor,
    s: Tensor,
    v: Tensor,
    *,
    each: bool = False,
) -> dict[str, Tensor]:
    r"""Return, for each parameter, the product with the force of the layer it drives alone.

    Parameters
    ----------
    network : VectorField
        With nothing clamped, its parameters leaves (see :func:`with_leaves`).
    parameters : mapping of str to Tensor
        Its parameters.
    drives : mapping of str to str
        From :func:`driven_layers`; what is not there has the product 0.
    x, s, v : Tensor, (sample, unit)
        States of the input, of the units above it, and the vectors on the latter.
    each : bool
        Return ``(sample, *shape)``; else the mean over the samples.

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.early_inference.force_products import driven_products, named_tensors
    >>> net = ctebm.LayeredNetwork.random([2, 2, 2], ctebm.Tanh())
    >>> net = ctebm.FeedbackNetwork.at_angle(net, 60)
    >>> p, s = named_tensors(net), torch.full((1, 4), 0.1).double()
    >>> found = driven_products(net, p, {"weights.1": "y"}, s[:, :2], s, torch.ones_like(s))
    >>> [name for name, g in found.items() if g.any()]
    ['weights.1']
    """

    def products(f: Tensor, layers: Mapping[str, slice]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for layer, where in layers.items():
            mine = {name: p for name, p in parameters.items() if drives.get(name) == layer}
            if mine:
                found |= _gradients(f[..., where], v[..., where], mine, each)
        return found

    return _all_products(network, parameters, x, s, products, each)


def whole_products(
    network: VectorField,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    s: Tensor,
    v: Tensor,
    *,
    each: bool = False,
) -> dict[str, Tensor]:
    r"""Return :math:`(\partial f/\partial\theta)'v` with the forces of all layers above the input.

    Parameters
    ----------
    network, parameters, x, s, v, each
        As for :func:`driven_products`.

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.early_inference.force_products import named_tensors, whole_products
    >>> net = ctebm.LayeredNetwork.random([2, 2, 2], ctebm.Tanh())
    >>> net = ctebm.FeedbackNetwork.at_angle(net, 60)
    >>> s = torch.full((1, 4), 0.1).double()
    >>> found = whole_products(net, named_tensors(net), s[:, :2], s, torch.ones_like(s))
    >>> [name for name, g in found.items() if g.any()]
    ['weights.0', 'weights.1', 'feedback.1', 'bias']
    """

    def products(f: Tensor, layers: Mapping[str, slice]) -> dict[str, Tensor]:
        return dict(_gradients(f, v, parameters, each))

    return _all_products(network, parameters, x, s, products, each)


def _all_products(
    network: VectorField,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    s: Tensor,
    products: Callable[[Tensor, Mapping[str, slice]], dict[str, Tensor]],
    each: bool,
) -> dict[str, Tensor]:
    """Return products with a recorded force by their names, zeros where there are none."""
    with _recording(parameters):
        held = network.clamp({next(iter(network.layers)): x})
        found = products(held.force(s), held.layers)
    lead = s.shape[:1] if each else ()
    return {
        name: found[name].detach() if name in found else p.new_zeros(*lead, *p.shape)
        for name, p in parameters.items()
    }


def _gradients(
    f: Tensor, v: Tensor, parameters: Mapping[str, Tensor], each: bool = False
) -> list[tuple[str, Tensor]]:
    """Return the derivative of ``f . v`` by each parameter: the mean over samples, or each's."""
    if not f.requires_grad:  # nothing in it depends on a parameter
        lead = f.shape[:1] if each else ()
        return [(name, p.new_zeros(*lead, *p.shape)) for name, p in parameters.items()]
    weights = v / len(v)
    if each:
        weights = torch.diag_embed(v.mT).movedim(-1, 0).movedim(-1, 1)  # (sample, sample, unit)
    found = torch.autograd.grad(
        f, list(parameters.values()), weights, retain_graph=True, is_grads_batched=each,
        materialize_grads=True,
    )  # fmt: skip
    return list(zip(parameters, found, strict=True))
