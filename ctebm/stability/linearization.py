r"""A network near an equilibrium: the Hessian's motion where it has an energy, else the Jacobian's.

A unit that is pinned at a kink does not respond to small perturbations: it is left out.
"""

from __future__ import annotations

import warnings

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.stability.hessian import Linearization, linearize_hessian
from ctebm.stability.jacobian import JacobianLinearization, linearize_jacobian
from ctebm.stability.modes import at_rest

__all__ = ["linearize"]


def linearize(
    network: VectorField,
    state: ArrayLike | Tensor,
    *,
    dense: bool | None = None,
    tol: float = 1e-5,
) -> Linearization | JacobianLinearization:
    r"""Linearise a network at equilibria (F3, F4).

    Parameters
    ----------
    network : VectorField
        Its Hessian is that of the energy; with an asymmetric coupling its Jacobian is taken.
    state : array, (*batch, unit)
        Equilibria, such as ``settle(network).state``. A state that is none is linearised with a
        warning.
    dense : bool, optional
        Whether to make the matrix and all eigenpairs; by default up to 4,000 unpinned units. Else
        both ends of the spectrum come from products alone.
    tol : float
        Without the matrix, the residual to reach, relative to the width of the spectrum.

    Returns
    -------
    Linearization
        Or :class:`~ctebm.JacobianLinearization` where the force is not a gradient.

    Raises
    ------
    ValueError
        If the state is not finite or has the wrong shape, or the matrix does not fit memory.
    """
    s = network.as_state(state)
    if not bool(torch.isfinite(s).all()):
        raise ValueError("expected a finite state, got NaN or infinity; settle first.")
    batch = torch.broadcast_shapes(s.shape[:-1], network.batch)
    s = s.expand(*batch, -1)
    if isinstance(network, Network):
        found = linearize_hessian(network, s, dense, tol)
    else:
        found = linearize_jacobian(network, s)
    if not at_rest(found.residual):
        warnings.warn(
            f"linearising where the largest force is {float(found.residual.max()):.3g}: "
            "not an equilibrium.",
            stacklevel=2,
        )
    return found
