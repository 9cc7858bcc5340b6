r"""Picard's iteration :math:`s \leftarrow R(s)` as long as it contracts, each row for itself.

With kinks it is :math:`s \leftarrow \mathrm{clip}(I, \beta_1, \beta_2)`. Where the couplings are
weak no method is cheaper: a step costs one force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctebm.equilibria.kkt import on_kinks, picard_map
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
    """Where Picard's iteration ended; all but the states is on the host, which judges the rows.

    Attributes
    ----------
    state : Tensor
        ``(row, unit)``.
    steps : array of int
        Steps taken, ``(row,)``.
    first : array
        The residual at the start, ``(row,)``.
    far : array of bool
        Which rows have not converged, ``(row,)``.
    back : array of bool
        Which of these are back at their start, ``(row,)``.
    overshot : array of bool
        In which rows a step raised the residual or a first round did not contract it, ``(row,)``:
        where they ended need not be near their start, nor below it, nor stable.
    """

    state: Tensor
    steps: NDArray[np.int64]
    first: NDArray[np.floating]
    far: NDArray[np.bool_]
    back: NDArray[np.bool_]
    overshot: NDArray[np.bool_]


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
    R = picard_map(network)
    start, ended, after = s, s, R(s)
    move = after - s
    length, first = _read([_length(move), move.abs_().amax(-1)])
    size, lengths = first, [length]
    overshot = back = np.zeros(len(size), dtype=bool)
    going = size > tol
    steps = np.zeros(len(size), dtype=np.int64)
    for k in range(max_iterations // STEPS):
        if not going.any():
            break
        judged = k >= GRACE
        trial, beyond, read = _advance(R, after, judged)
        size_new, *more = _read(read)
        lengths += more
        slow = going & ~(size_new <= CONTRACTION * size)
        overshot = overshot | slow
        steps += STEPS * going
        if judged:
            ended, going = _ended_at(ended, s if k > GRACE else start, slow), going & ~slow
            back = slow if k == GRACE else back
        size = np.where(going, size_new, size)
        there = going & (size <= tol)  # NaN goes on, and is lost
        ended, going = _ended_at(ended, trial, there), going & ~there
        s, after = trial, beyond
    far = ~(size <= tol)
    if max_iterations <= STEPS * GRACE:
        going, back, s = going | far, far, start
    ended = _ended_at(ended, s, going)
    overshot = overshot | _rose(np.array(lengths), steps)
    if not steps.all() or back.any():  # the map itself puts units on kinks
        ended = on_kinks(network, ended)
    ended = ended.clone() if ended is start else ended
    return Iterated(ended, steps, first, far, back, overshot)


def beyond_tolerance(tol: float, dtype: torch.dtype) -> float:
    """Return the residual to go on to for a tolerance."""
    return max(tol / SHARE, min(tol, ROUNDINGS * torch.finfo(dtype).eps))


def _advance(
    R: Callable[[Tensor], Tensor], s: Tensor, judged: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Take a few steps, of which `s` is the first; return the state, the next one, and numbers.

    These are the residual, and before steps are judged the lengths of all of them.
    """
    lengths = []
    for _ in range(STEPS - 1):
        after = R(s)
        if not judged:
            lengths.append(_length(after - s))
        s = after
    after = R(s)
    move = after - s
    if judged:
        return s, after, [move.abs_().amax(-1)]
    length = _length(move)
    return s, after, [move.abs_().amax(-1), *lengths, length]


def _read(numbers: list[Tensor]) -> list[NDArray[np.floating]]:
    """Return tensors ``(row,)`` as arrays on the host, which waits for them once."""
    return list(torch.stack(numbers).detach().cpu().numpy())


def _ended_at(ended: Tensor, s: Tensor, rows: NDArray[np.bool_]) -> Tensor:
    """Return states where some rows have ended as they are now; the others go on, unnoticed."""
    if rows.all():
        return s
    if rows.any():
        at = torch.from_numpy(np.flatnonzero(rows)).to(s.device)
        ended = ended.index_copy(0, at, s.index_select(0, at))
    return ended


def _length(move: Tensor) -> Tensor:
    return torch.linalg.vector_norm(move, dim=-1)


def _rose(lengths: NDArray[np.floating], steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return in which rows one of the steps taken was much longer than the one before, ``(row,)``.

    Parameters
    ----------
    lengths : array
        Of the first steps, ``(step, row)``.
    steps : array of int
        How many each row took, ``(row,)``.
    """
    longer = ~(lengths[1:] <= OVERSHOOT * lengths[:-1])
    if not longer.any():
        return np.any(longer, axis=0)
    taken = np.arange(len(longer))[:, None] < steps
    return np.any(longer & taken, axis=0)
