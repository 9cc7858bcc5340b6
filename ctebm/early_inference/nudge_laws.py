r"""What a nudge of any strength costs, and how far a negative one may go (G1).

Near an equilibrium the output answers a constant force `u` by :math:`S u`, with
:math:`S = (H^{-1})_{yy}`. Where the energy is quadratic, as of linear predictive coding and of
eq. 6 between the kinks, what follows is exact.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.early_inference.targets import state_and_target
from ctebm.equilibria.kkt import pinned_units
from ctebm.equilibria.linear_systems import conjugate_gradients
from ctebm.networks.base import StateLike
from ctebm.networks.energy import Network
from ctebm.networks.numbers import finite

__all__ = ["nudge_limit", "output_response", "rescaled_loss"]


def output_response(network: Network, state: StateLike) -> Tensor:
    r"""Return :math:`S = (H^{-1})_{yy}`, the answer of the output to a force on it.

    Parameters
    ----------
    network : Network
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        A stable equilibrium.

    Returns
    -------
    Tensor, (*batch, output unit, output unit)
        Pinned units do not answer. NaN for a sample whose Hessian is not positive definite.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.nudge_laws import output_response
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [0], [0]], ctebm.Identity())
    >>> output_response(net.clamp({"x": [0.5]}), [1.0, 3.0]).round(decimals=9)  # 1 + 3^2
    tensor([[10.]], dtype=torch.float64)
    """
    if not isinstance(network, Network):
        raise ValueError(
            f"expected a network with an energy, got {type(network).__name__}; a motion without "
            "one has no Hessian."
        )
    s = network._in_samples(network.finite_state(state))
    y, free = network.layers[network.output], (~pinned_units(network, s)).to(s.dtype)
    H = network.hessian_operator(s)
    columns = []
    for i in range(y.start, y.stop):
        force = torch.zeros_like(s)
        force[..., i] = 1
        answer = conjugate_gradients(lambda v: free * H(free * v), free * force)
        columns.append(answer[..., y])
    return torch.stack(columns, dim=-1)


def rescaled_loss(
    network: Network, state: StateLike, target: ArrayLike | Tensor, beta: float = math.inf
) -> Tensor:
    r"""Return by how much a nudge raises the energy of the equilibrium: a rescaled squared error.

    .. math:: \min_s\,(E + \beta C) - \min_s E = \tfrac{\beta}{2}\,e'(1 + \beta S)^{-1} e,
        \qquad e = \hat y - y^*

    For :math:`\beta \to \infty`, an output clamped at its target, it is
    :math:`\tfrac12 e'S^{-1}e`, the energy that predictive coding learns by (Innocenti et al. 2024).

    Parameters
    ----------
    network : Network
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        Its free equilibrium.
    target : array, (*batch, output unit)
        The target states.
    beta : float
        The strength of the nudge; infinite for a clamped output. A negative one must be above
        minus :func:`nudge_limit`.

    Returns
    -------
    Tensor, (*batch)
        Exact where the energy is quadratic, else to second order in `e`. NaN for a strength that
        has no equilibrium.

    Raises
    ------
    ValueError
        For states or targets of the wrong shape or not finite, or a motion without an energy.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [0], [0]], ctebm.Identity())
    >>> net = net.clamp({"x": [0.5]})  # the output is 3
    >>> ctebm.rescaled_loss(net, [1.0, 3.0], [2.0]), ctebm.settle(net.clamp({"y": [2.0]})).energy
    (tensor(0.0500, dtype=torch.float64), tensor(0.0500, dtype=torch.float64))
    """
    S = output_response(network, state)
    s, target = state_and_target(network, state, target)
    e = (s[..., network.layers[network.output]] - target).unsqueeze(-1)
    one = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    number = isinstance(beta, float | np.generic | np.ndarray | Tensor)
    if number and getattr(beta, "ndim", 0) == 0 and beta == math.inf:
        scale = S
    else:
        beta = finite("beta", beta, remedy="infinity stands for a clamped output")
        if beta == 0:
            return torch.zeros_like(e[..., 0, 0] + S[..., 0, 0])
        scale = one / beta + S
    batch = torch.broadcast_shapes(S.shape[:-2], e.shape[:-2])
    scale, e = scale.expand(*batch, -1, -1), e.expand(*batch, -1, -1)
    loss = (e * torch.linalg.solve(scale, e)).sum((-1, -2)) / 2
    return torch.where(-nudge_limit(network, state) < beta, loss, torch.nan)


def nudge_limit(network: Network, state: StateLike) -> Tensor:
    r"""Return :math:`1/\lambda_{\max}(S)`: a negative nudge settles only for a smaller strength.

    Beyond, the force away from the target outgrows what holds the output.

    Parameters
    ----------
    network : Network
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        Its free equilibrium.

    Returns
    -------
    Tensor, (*batch)
        Exact where the energy is quadratic.

    Raises
    ------
    ValueError
        For states of the wrong shape or not finite, or a motion without an energy.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [0], [0]], ctebm.Identity())
    >>> ctebm.nudge_limit(net.clamp({"x": [0.5]}), [1.0, 3.0])
    tensor(0.1000, dtype=torch.float64)
    """
    S = output_response(network, state)
    known = torch.isfinite(S).all(-1).all(-1)
    safe = torch.where(known[..., None, None], S, torch.eye(S.shape[-1], device="cpu").to(S))
    largest = torch.linalg.eigvalsh((safe + safe.mT) / 2)[..., -1]
    return torch.where(known, 1 / largest, torch.nan)
