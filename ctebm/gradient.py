r"""The reference gradients of the prediction error :math:`C = |\hat y - y^*|^2 / 2` (eq. 13).

Each has its name. ``chain`` is what back-propagation from layer to layer gives at the equilibrium
(eqs. 22-25); ``implicit`` is the adjoint of the equilibrium itself, recurrent back-propagation
(Almeida 1987, Pineda 1987). They agree in the output layer's neighbourhood only as far as activity
does not come back: see the theory page.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.fixed_points import pinned_units
from ctebm.network import Network

__all__ = ["chain_gradient", "implicit_gradient", "responsive_units"]


def responsive_units(
    network: Network, state: ArrayLike | Tensor, target: ArrayLike | Tensor
) -> Tensor:
    """Return which units carry a small change at an equilibrium, ``(*batch, unit)``.

    Pinned hidden units do not. An output unit at a kink, being driven, does if its target pulls it
    back into the box (the one-sided derivative of its rate is 1), and does not if it pulls it out.
    """
    s = network.as_state(state)
    y = network.layers[network.output]
    target = network._layer_state(network.output, target)
    responsive = ~pinned_units(network, s)
    if network.box is not None:
        low, high = network.box
        pull = target - s[..., y]
        outward = ((s[..., y] >= high) & (pull > 0)) | ((s[..., y] <= low) & (pull < 0))
        responsive = responsive.expand(*outward.shape[:-1], -1).clone()
        responsive[..., y] = ~outward
    return responsive


def chain_gradient(
    network: Network, state: ArrayLike | Tensor, target: ArrayLike | Tensor
) -> Tensor:
    r"""Back-propagate the prediction error from layer to layer at an equilibrium.

    .. math:: g_0 = \hat y - y^*, \qquad
        g_k = \Big(\frac{\partial R_{h_{k-1}}}{\partial h_k}\Big)' g_{k-1}
            = \rho'(h_k) \odot W_{k,k-1} (\rho'(h_{k-1}) \odot g_{k-1})

    (eqs. 22-25). The second form is that of eq. 6; the first holds for any network with layers.

    Parameters
    ----------
    network : Network
        With its input clamped; its last layer is the output.
    state : array, (*batch, unit)
        The equilibrium.
    target : array, (*batch, output unit)
        The target states :math:`y^*`.

    Returns
    -------
    Tensor, (*batch, unit)
        One entry for each unit; 0 for pinned hidden units. The output's own entry is
        :math:`\hat y - y^*` whether or not the unit passes it on (see :func:`responsive_units`).
    """
    s = network.as_state(state)
    target = network._layer_state(network.output, target)
    responsive = responsive_units(network, s, target).to(s.dtype)
    names = list(network.layers)[::-1]
    y = network.layers[names[0]]
    g = torch.zeros_like(responsive)
    g[..., y] = s[..., y] - target
    for above, below in pairwise(names):
        v = torch.zeros_like(g)
        v[..., network.layers[above]] = (responsive * g)[..., network.layers[above]]
        where = network.layers[below]
        g[..., where] = -(responsive * network.hessian_product(s, v))[..., where]
    return g


def implicit_gradient(
    network: Network, state: ArrayLike | Tensor, target: ArrayLike | Tensor
) -> Tensor:
    r"""Solve :math:`H g = \partial C / \partial s` on the unpinned units, by conjugate gradients.

    A nudge of small strength :math:`\beta` moves the equilibrium by :math:`-\beta g`; with it,
    :math:`dC/d\theta = -(\partial^2 E / \partial\theta\,\partial s)\, g`.

    Parameters
    ----------
    network : Network
        With its input clamped; its last layer is the output.
    state : array, (*batch, unit)
        A stable equilibrium.
    target : array, (*batch, output unit)
        The target states :math:`y^*`.

    Returns
    -------
    Tensor, (*batch, unit)
        0 for pinned units, outputs included; NaN for a sample whose Hessian on the unpinned
        units is not positive definite.
    """
    s = network.as_state(state)
    y = network.layers[network.output]
    error = s[..., y] - network._layer_state(network.output, target)
    free = (~pinned_units(network, s)).to(s.dtype).expand(*error.shape[:-1], -1)
    right = torch.zeros_like(free)
    right[..., y] = error
    right = right * free

    def product(v: Tensor) -> Tensor:
        return free * network.hessian_product(s, free * v)

    return _conjugate_gradients(product, right)


def _conjugate_gradients(product, right: Tensor) -> Tensor:
    """Solve ``product(x) = right`` row by row to rounding; NaN in rows with curvature <= 0."""
    tiny = torch.finfo(right.dtype)
    x, r, p = torch.zeros_like(right), right.clone(), right.clone()
    rr = r.square().sum(-1, keepdim=True)
    goal = rr * (4 * tiny.eps) ** 2
    definite = torch.ones_like(rr, dtype=torch.bool)
    running = rr > 0
    for _ in range(10 * right.shape[-1]):
        if not bool(running.any()):
            break
        q = product(p)
        curvature = (p * q).sum(-1, keepdim=True)
        definite &= ~running | (curvature > 0)
        running &= curvature > 0
        alpha = torch.where(running, rr / curvature, 0.0)
        x, r = x + alpha * p, r - alpha * q
        rr_new = r.square().sum(-1, keepdim=True)
        p = torch.where(running, r + rr_new / rr * p, p)
        rr = torch.where(running, rr_new, rr)
        running = running & (rr > goal)
    return torch.where(definite, x, torch.nan)
