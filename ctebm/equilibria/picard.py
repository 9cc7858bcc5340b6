r"""Picard's iteration :math:`s \leftarrow R(s)` as long as it contracts, each row for itself.

With kinks it is :math:`s \leftarrow \mathrm{clip}(I, b_1, b_2)`. Where the couplings are weak no
method is cheaper: a step costs one force.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import residual_vector
from ctebm.networks.base import VectorField

__all__ = ["picard"]

# The residual is judged after this many steps, of which single ones may overshoot.
STEPS = 3
# What these steps must leave of it at most.
CONTRACTION = 0.5
# This many first rounds go unjudged: from afar the residual rises before it falls.
GRACE = 3


def picard(
    network: VectorField, s: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Follow ``s <- R(s)`` in each row while three steps contract its residual.

    A row that does not contract from the start is back at its start.

    Parameters
    ----------
    network : VectorField
        For states ``(row, unit)``.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the residual.
    max_iterations : int
        Bound on the steps of each row.

    Returns
    -------
    tuple of Tensor
        States ``(row, unit)``, steps taken ``(row,)`` and which rows have not converged.
    """
    start, move = s, residual_vector(network, s, network.force(s))
    size = move.abs().amax(-1)
    steps = torch.zeros_like(size, dtype=torch.long)
    going = size > tol
    for k in range(max_iterations // STEPS):
        if not bool(going.any()):
            break
        trial, move_new = _advance(network, s, move)
        size_new = move_new.abs().amax(-1)
        judged = k >= GRACE
        lost = going & ~(size_new <= CONTRACTION * size) if judged else torch.zeros_like(going)
        steps += STEPS * going
        kept = going & ~lost
        if bool(kept.all()):
            s, move, size = trial, move_new, size_new
        else:
            rows = kept.unsqueeze(-1)
            s, move = torch.where(rows, trial, s), torch.where(rows, move_new, move)
            size = torch.where(kept, size_new, size)
            if k == GRACE:
                s = torch.where(lost.unsqueeze(-1), start, s)
        going = kept & ~(size <= tol)  # NaN goes on, and is lost
    far = ~(size <= tol)
    if max_iterations <= STEPS * GRACE:
        s = torch.where(far.unsqueeze(-1), start, s)
    return s, steps, far


def _advance(network: VectorField, s: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
    """Return states after a few steps, and where the next would lead from there."""
    for _ in range(STEPS):
        s = s + move
        move = residual_vector(network, s, network.force(s))
    return s, move
