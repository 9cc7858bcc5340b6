r"""What the parameters of any network do to its force: :math:`(\partial f/\partial\theta)'v`.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side. The product with the driven layer's force alone belongs to the chain gradient (eq. 26
in general), the product with all layers' forces to gradients of the equilibrium.

Letters: state ``s``, force ``f``, vector ``v``, parameter :math:`\theta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.drives import driven_layers, named_tensors, with_leaves

__all__ = ["driven_layers", "driven_products", "named_tensors", "whole_products", "with_leaves"]


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
        With nothing clamped, its parameters leaves (see
        :func:`ctebm.networks.drives.with_leaves`).
    parameters : mapping of str to Tensor
        Its parameters.
    drives : mapping of str to str
        From :func:`ctebm.networks.drives.driven_layers`; what is not there has the product 0.
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
    >>> from ctebm.early_inference.force_products import driven_products
    >>> from ctebm.networks.drives import named_tensors
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
    >>> from ctebm.early_inference.force_products import whole_products
    >>> from ctebm.networks.drives import named_tensors
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
    lead = f.shape[:1] if each else ()
    nothing = {name: p.new_zeros(*lead, *p.shape) for name, p in parameters.items()}
    if not f.requires_grad:  # nothing in it depends on a parameter
        return list(nothing.items())
    weights = v / len(v)
    if each:
        weights = torch.diag_embed(v.mT).movedim(-1, 0).movedim(-1, 1)  # (sample, sample, unit)
    found = torch.autograd.grad(
        f, list(parameters.values()), weights, retain_graph=True, is_grads_batched=each,
        allow_unused=True,
    )  # fmt: skip
    return [
        (name, nothing[name] if g is None else g) for name, g in zip(parameters, found, strict=True)
    ]
