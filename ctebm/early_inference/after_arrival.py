r"""What follows the first arrival: the leak of each layer, and its displacement one step later.

At the first arrival a layer has moved down the chain gradient alone. From the next step on its own
block :math:`H_{kk}` of the Hessian, and those of the layers above, turn it where they are no
multiples of the identity.
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.early_inference.drive import Drive, Replace
from ctebm.early_inference.gradients import chain_gradient, responsive_units
from ctebm.early_inference.targets import state_and_target
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.numbers import finite

__all__ = ["displacement_after_arrival", "leak_of_layers", "own_curvature"]


def own_curvature(network: VectorField, s: Tensor, v: Tensor) -> Tensor:
    r"""Return :math:`H_{kk} v_k` for each layer, by one product a layer, ``(*batch, unit)``.

    Without an energy :math:`H` is minus the Jacobian of the force.
    """
    found = torch.zeros_like(v)
    for where in network.layers.values():
        alone = torch.zeros_like(v)
        alone[..., where] = v[..., where]
        found[..., where] = -network.jacobian_product(s, alone)[..., where]
    return found


def leak_of_layers(
    network: VectorField, state: StateLike, target: ArrayLike | Tensor, one_sided: bool = True
) -> Tensor:
    r"""Return :math:`c_k = g_k'H_{kk}g_k / |g_k|^2`, the leak that the chain gradient meets.

    Parameters
    ----------
    network, state, target, one_sided
        As for :func:`ctebm.chain_gradient`.

    Returns
    -------
    Tensor, (*batch, layer)
        NaN where the chain gradient of a layer is 0. Of eq. 6 between the kinks it is 1.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.after_arrival import leak_of_layers
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [0], [0]], ctebm.Identity())
    >>> leak_of_layers(net.clamp({"x": [0.5]}), [1.0, 3.0], [0.0])  # 1 + 3^2, and 1
    tensor([10.,  1.], dtype=torch.float64)
    """
    s, target = state_and_target(network, state, target)
    g = chain_gradient(network, s, target, one_sided)
    g = g * responsive_units(network, s, target, one_sided)
    product = g * own_curvature(network, s.expand_as(g), g)
    slices = network.layers.values()
    return torch.stack(
        [product[..., w].sum(-1) / g[..., w].square().sum(-1) for w in slices], dim=-1
    )


def displacement_after_arrival(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    eps: float,
    drive: Drive | None = None,
) -> Tensor:
    r"""Return the linear response of each layer one Euler step after its first arrival.

    .. math:: \Delta h_k(k+2) = -\epsilon^{k+1} \Bigl[(k+2)\, g_k
        - \epsilon \sum_{l \le k} P_{k \leftarrow l} H_{ll}\, g_l\Bigr]

    with :math:`P_{k \leftarrow l}` the product of the blocks of the Hessian between the layers, and
    :math:`H_{00} = 1` where the target replaces the output's pressure. What the network itself
    does differs by its curvature alone.

    Parameters
    ----------
    network, state, target
        As for :func:`ctebm.chain_gradient`.
    eps : float
        Step size.
    drive : Drive, optional
        How the target arrives, :class:`~ctebm.early_inference.drive.Replace` by default; for a
        nudge per unit of its strength. A clamped output has no step after its arrival, and the
        other layers move a step earlier.

    Returns
    -------
    Tensor, (*batch, unit)

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.after_arrival import displacement_after_arrival
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [0], [0]], ctebm.Identity())
    >>> free = net.clamp({"x": [0.5]})
    >>> displacement_after_arrival(free, [1.0, 3.0], [2.0], 0.1)  # of h1 after 3 steps, y after 2
    tensor([-0.0570, -0.1900], dtype=torch.float64)
    """
    drive, eps = drive or Replace(), finite("eps", eps, above=0, high=1)
    s, given = state_and_target(network, state, target)
    target = drive.aim(network, s, given)
    g = chain_gradient(network, s, target, drive.one_sided)
    responsive = responsive_units(network, s, target, drive.one_sided).to(g.dtype).expand_as(g)
    s, g = s.expand_as(g), g * responsive
    own = responsive * own_curvature(network, s, g)
    y = network.layers[network.output]
    if drive.lead:
        own[..., y] = 0
    elif isinstance(drive, Replace):
        own[..., y] = drive.stiffness(network, s, given, g[..., y])
    moved, turned = torch.zeros_like(g), torch.zeros_like(g)
    for hops, where in enumerate([*network.layers.values()][::-1]):
        back = -network.adjoint_product(s, turned) if hops else turned
        sent = torch.zeros_like(g)
        sent[..., where] = own[..., where] - responsive[..., where] * back[..., where]
        n = hops + 1 - drive.lead
        moved[..., where] = -(eps**n) * ((n + 1) * g[..., where] - eps * sent[..., where])
        turned = sent
    if drive.lead:
        moved[..., y] = -g[..., y]
    return moved
