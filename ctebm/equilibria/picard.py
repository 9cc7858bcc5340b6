r"""Picard's iteration :math:`s \leftarrow R(s)` as long as it contracts, each row for itself.

With kinks it is :math:`s \leftarrow \mathrm{clip}(I, b_1, b_2)`. Where the couplings are weak no
method is cheaper: a step costs one force.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.kkt import on_kinks, picard_move
from ctebm.networks.base import VectorField

__all__ = ["Iterated", "beyond_tolerance", "picard"]

# Linear convergence is cheap to carry on, and what is measured from an equilibrium depends on its
# residual: it goes on to this share of the tolerance, or to this many roundings.
SHARE, ROUNDINGS = 30, 64
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
        Starts between the kinks, ``(row, unit)``.
    tol : float
        Bound on the residual.
    max_iterations : int
        Bound on the steps of each row.

    Returns
    -------
    Iterated
    """
    start, move = s, picard_move(network, s)
    size = first = move.abs().amax(-1)
    steps = torch.zeros_like(size, dtype=torch.long)
    going = size > tol
    overshot = torch.zeros_like(going)
    lengths = [_length(move)]
    for k in range(max_iterations // STEPS):
        if not bool(going.any()):
            break
        judged = k >= GRACE
        trial, move_new = _advance(network, s, move, None if judged else lengths)
        size_new = move_new.abs().amax(-1)
        slow = ~(size_new <= CONTRACTION * size)
        overshot |= going & slow
        steps += STEPS * going
        kept = going & ~slow if judged else going
        if bool(kept.all()):
            s, move, size = trial, move_new, size_new
        else:
            rows = kept.unsqueeze(-1)
            s, move = torch.where(rows, trial, s), torch.where(rows, move_new, move)
            size = torch.where(kept, size_new, size)
            if k == GRACE:
                s = torch.where((going & slow).unsqueeze(-1), start, s)
        going = kept & ~(size <= tol)  # NaN goes on, and is lost
    far = ~(size <= tol)
    if max_iterations <= STEPS * GRACE:
        s = torch.where(far.unsqueeze(-1), start, s)
    overshot |= _rose(torch.stack(lengths), steps)
    return Iterated(on_kinks(network, s), steps, first, far, overshot)


def beyond_tolerance(tol: float, dtype: torch.dtype) -> float:
    """Return the residual to go on to for a tolerance."""
    return max(tol / SHARE, min(tol, ROUNDINGS * torch.finfo(dtype).eps))


def _advance(
    network: VectorField, s: Tensor, move: Tensor, lengths: list[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Take a few steps; return the states and the next step, and add the lengths of steps."""
    s = s + move
    for k in range(STEPS):
        if k:
            s += move  # in place, since it is new
        move = picard_move(network, s)
        if lengths is not None:
            lengths.append(_length(move))
    return s, move


def _length(move: Tensor) -> Tensor:
    return torch.linalg.vector_norm(move, dim=-1)


def _rose(lengths: Tensor, steps: Tensor) -> Tensor:
    """Return in which rows one of the steps taken was much longer than the one before, ``(row,)``.

    Parameters
    ----------
    lengths : Tensor
        Of the first steps, ``(step, row)``.
    steps : Tensor
        How many each row took, ``(row,)``.
    """
    longer = ~(lengths[1:] <= OVERSHOOT * lengths[:-1])
    taken = torch.arange(len(longer), device=steps.device).unsqueeze(-1) < steps
    return (longer & taken).any(0)
