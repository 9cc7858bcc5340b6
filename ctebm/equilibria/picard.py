r"""Picard's iteration :math:`s \leftarrow R(s)` as long as it contracts, each row for itself.

With kinks it is :math:`s \leftarrow \mathrm{clip}(I, b_1, b_2)`. Where the couplings are weak no
method is cheaper: a step costs one force.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.kkt import on_kinks, residual_vector
from ctebm.networks.base import VectorField

__all__ = ["Iterated", "picard"]

# The residual is judged after this many steps, of which single ones may overshoot.
STEPS = 3
# What these steps must leave of it at most.
CONTRACTION = 0.5
# This many first rounds go unjudged: from afar the residual rises before it falls.
GRACE = 3
# A single step that raises the residual by more than this factor has left the start behind.
OVERSHOOT = 2


class Iterated(NamedTuple):
    """Where Picard's iteration ended.

    Attributes
    ----------
    state : Tensor
        ``(row, unit)``.
    steps : Tensor
        Steps taken, ``(row,)``.
    first : Tensor
        The residual at the start, ``(row,)``.
    far : Tensor
        Which rows have not converged, ``(row,)``.
    overshot : Tensor
        In which rows a step raised the residual or a first round did not contract it, ``(row,)``:
        where they ended need not be near their start, nor below it, nor stable.
    """

    state: Tensor
    steps: Tensor
    first: Tensor
    far: Tensor
    overshot: Tensor


def picard(network: VectorField, s: Tensor, tol: float, max_iterations: int) -> Iterated:
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
    Iterated
    """
    start, move = s, residual_vector(network, s, network.force(s))
    size = first = move.abs().amax(-1)
    steps = torch.zeros_like(size, dtype=torch.long)
    going = size > tol
    overshot = torch.zeros_like(going)
    for k in range(max_iterations // STEPS):
        if not bool(going.any()):
            break
        judged = k >= GRACE
        trial, move_new, size_new, rose = _advance(network, s, move, size, watched=not judged)
        overshot |= going & rose
        slow = going & ~(size_new <= CONTRACTION * size)
        overshot |= slow
        lost = slow if judged else torch.zeros_like(going)
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
    return Iterated(on_kinks(network, s), steps, first, far, overshot)


def _advance(
    network: VectorField, s: Tensor, move: Tensor, size: Tensor, watched: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take a few steps.

    Return the states, where the next step would lead from there, the residual, and in which rows
    it rose, over them all or, if `watched`, in any of them.
    """
    rose, square = torch.zeros_like(size, dtype=torch.bool), move.square().sum(-1)
    for _ in range(STEPS):
        s = s + move
        move = residual_vector(network, s, network.force(s))
        if watched:
            before, square = square, move.square().sum(-1)
            rose |= ~(square <= OVERSHOOT**2 * before)
    before, size = size, move.abs().amax(-1)
    return s, move, size, rose | ~(size <= OVERSHOOT * before)
