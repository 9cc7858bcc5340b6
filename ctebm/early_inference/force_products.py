r"""What the parameters of any network do to its force: :math:`(\partial f/\partial\theta)'v`.

A weight between two layers pulls on both. It *drives* the one nearer the output, the other is the
feedback side. The product with the driven layer's force alone belongs to the chain gradient (eq. 26
in general), the product with all layers' forces to gradients of the equilibrium.

Letters: state ``s``, force ``f``, vector ``v``, parameter :math:`\theta`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.drives import Drives
from ctebm.networks.energy import Network
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.named import recording

__all__ = ["driven_products", "energy_products", "whole_products"]


def driven_products(
    network: VectorField,
    parameters: Mapping[str, Tensor],
    drives: Drives,
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
        :func:`ctebm.networks.named.with_leaves`).
    parameters : mapping of str to Tensor
        Its parameters.
    drives : mapping
        From :func:`ctebm.networks.drives.driven_layers`; what is not there has product 0.
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
    >>> from ctebm.networks.named import named_tensors
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
            mine = {name: p for name, p in parameters.items() if _drives(drives.get(name), layer)}
            for name, g in _gradients(f[..., where], v[..., where], mine, each) if mine else ():
                said = drives[name]
                part = g if isinstance(said, str) else g * said[layer]
                found[name] = found[name] + part if name in found else part
        return found

    return _all_products(network, parameters, x, s, products, each)


def _drives(said: str | Mapping[str, Tensor] | None, layer: str) -> bool:
    return said == layer or (isinstance(said, Mapping) and layer in said)


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
    >>> from ctebm.networks.named import named_tensors
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


def energy_products(
    network: Network | HopfieldNetwork,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    factors: Sequence[float],
) -> dict[str, Tensor]:
    r"""Return the sum of factors times :math:`\partial E/\partial\theta`, means over the samples.

    Parameters
    ----------
    network, parameters, x
        As for :func:`driven_products`.
    states : sequence of Tensor, (sample, unit)
        States of the units above the input, one tensor for each factor.
    factors : sequence of float
        The factors.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.early_inference.force_products import energy_products
    >>> from ctebm.networks.named import named_tensors
    >>> net = ctebm.LayeredNetwork([[[2.0]]], [[0], [0]], ctebm.HardSigmoid())
    >>> x, s = torch.zeros(1, 1).double(), torch.full((1, 1), 0.25).double()
    >>> energy_products(net, named_tensors(net), x, [s], [1.0])["weights.0"]  # -rho(x) rho(s)
    tensor([[-0.3750]], dtype=torch.float64)
    """
    with recording(parameters):
        held = network.clamp({next(iter(network.layers)): x})
        pairs = zip(states, factors, strict=True)
        total = torch.stack([factor * held.energy(s).mean() for s, factor in pairs]).sum()
        if not total.requires_grad:
            return {name: torch.zeros_like(p) for name, p in parameters.items()}
        leaves = list(parameters.values())
        found = torch.autograd.grad(total, leaves, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def _all_products(
    network: VectorField,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    s: Tensor,
    products: Callable[[Tensor, Mapping[str, slice]], dict[str, Tensor]],
    each: bool,
) -> dict[str, Tensor]:
    """Return products with a recorded force by their names, zeros where there are none."""
    with recording(parameters):
        held = network.clamp({next(iter(network.layers)): x})
        found = products(held.force(s), held.layers)
    lead = s.shape[:1] if each else ()
    return {
        name: found[name].detach() if name in found else p.new_zeros((*lead, *p.shape))
        for name, p in parameters.items()
    }


def _gradients(
    f: Tensor, v: Tensor, parameters: Mapping[str, Tensor], each: bool = False
) -> list[tuple[str, Tensor]]:
    """Return the derivative of ``f . v`` by each parameter: the mean over samples, or each's."""
    lead = f.shape[:1] if each else ()
    nothing = {name: p.new_zeros((*lead, *p.shape)) for name, p in parameters.items()}
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
