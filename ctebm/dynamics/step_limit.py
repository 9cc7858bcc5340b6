r"""The largest step at which Euler's method settles where the flow does (F4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["exceeded_limit"]


def exceeded_limit(network: VectorField, s: Tensor, eps: float) -> float | None:
    r"""Return the largest stable step at the first of some states, or None if `eps` is below it.

    Euler's step multiplies a mode of the Jacobian with eigenvalue :math:`\mu` by
    :math:`1 + \epsilon\mu`. A mode that decays along the flow decays in steps below
    :math:`-2\,\mathrm{Re}\,\mu/|\mu|^2`, which is :math:`2/\lambda` for an eigenvalue
    :math:`\lambda` of the Hessian.

    Parameters
    ----------
    network : VectorField
        What moves the states.
    s : Tensor, (*batch, unit)
        The states; kinks are approached from inside the box.
    eps : float
        The step size.

    Returns
    -------
    float or None
        None also where torch can not differentiate the force, which has its runs all the same.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.dynamics.step_limit import exceeded_limit
    >>> pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.0, 0.0], ctebm.HardSigmoid())
    >>> exceeded_limit(pair, torch.zeros(2), eps=1.4)
    1.333...
    """
    if isinstance(network, PairwiseNetwork) and eps * _steepest_row(network) < 2:
        return None
    row = torch.zeros(1, dtype=torch.long, device=s.device)
    network, first = network.samples(s.shape[:-1], row), s.reshape(-1, s.shape[-1])[:1]
    if network.box is not None:
        first = network.box.project(first)
    try:
        J = network.jacobian(first).detach()
    except (RuntimeError, ValueError, NotImplementedError):
        return None
    if not bool(torch.isfinite(J).all()):
        return None
    J = J[(0,) * (J.ndim - 2)]
    if isinstance(network, Network):
        if eps * _largest_row(J) < 2:
            return None
        mu = torch.linalg.eigvalsh(J)
    else:
        if _largest_row(torch.eye(len(J), device="cpu").to(J) + eps * J) < 1:
            return None
        mu = torch.linalg.eigvals(J)
    mu = mu[mu.real < 0]
    limit = float((-2 * mu.real / mu.abs().square()).min()) if len(mu) else torch.inf
    return limit if eps >= limit else None


def _steepest_row(network: PairwiseNetwork) -> float:
    r"""Return what no row of a Jacobian surpasses in the sum of its magnitudes, at any state.

    It is :math:`1 + m^2 w + \kappa\,(\max|b| + w \max|\rho|)`, where rows of :math:`|W|` sum to
    `w` at most, and :math:`m, \kappa` are the largest slope and curvature of the rates.
    """
    rho = network.activation
    w, b = _largest_row(network._matrix()), float(network.bias.abs().max())
    row, curvature = 1 + rho.max_slope**2 * w, rho.max_curvature
    return row + curvature * (b + w * max(map(abs, rho.rates))) if curvature else row


def _largest_row(matrix: Tensor) -> float:
    """Return the largest sum of magnitudes of a row, which no eigenvalue surpasses."""
    return float(matrix.abs().sum(-1).max())
