r"""Steps of a large batch, some samples at a time, so that what they compute stays in the cache.

No sample sees another, so that a batch may be moved in parts. What a whole batch needs in between
(rates, currents, forces) is larger than the cache of a processor, which then waits for memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from ctebm.dynamics.sde import Dynamics
from ctebm.networks.differentiable import Differentiated

__all__ = ["Flow", "Step", "in_slices", "slices_of"]

Flow: TypeAlias = Callable[[Tensor, list[int]], Tensor]
Step: TypeAlias = Callable[[Tensor], Tensor]

_SLICE_BYTES = 2**20  # of the states moved at a time: about what the nearest large cache holds
_MOST_UNITS = 4  # units a sample moved at a time, above which weights are read too often


def slices_of(start: Tensor) -> list[Tensor]:
    """Return the samples to move at a time, as numbers of rows of the flattened batch.

    Parameters
    ----------
    start : Tensor, (*batch, unit)
        A state of the run. A batch is one slice if it is small, if weights between all its units
        would be much larger than a slice, which reads them anew, or on another device than the CPU.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.slices import slices_of
    >>> [len(rows) for rows in slices_of(torch.zeros(1024, 522, dtype=torch.float64))]
    [205, 205, 205, 205, 204]
    >>> [len(rows) for rows in slices_of(torch.zeros(300, 522, dtype=torch.float64))]
    [300]
    """
    n_units = max(start.shape[-1], 1)
    rows = torch.arange(start.numel() // n_units, device="cpu")
    size = _SLICE_BYTES * torch.get_num_threads() // (n_units * start.element_size())
    if start.device.type != "cpu" or len(rows) < 2 * size or n_units > _MOST_UNITS * size:
        return [rows]
    return list(rows.chunk(-(-len(rows) // size)))


def in_slices(
    make: Callable[[Dynamics, Tensor, Tensor], Step],
    dynamics: Dynamics,
    eps: Tensor,
    start: Tensor,
    increment: Callable[[], Tensor] | None = None,
) -> Flow | None:
    """Return the flow that moves some samples at a time; None where all are moved at once.

    So they are too where a force or a cost of one's own does not take some of them, such as one
    that holds a row for each sample of the batch.

    Parameters
    ----------
    make : callable
        Returns the step of some samples, without noise, from their dynamics, their step sizes and
        the states from which they begin.
    dynamics : Dynamics
        Of the whole batch.
    eps : Tensor
        Step size as it multiplies states, ``()`` or ``(*batch, 1)``.
    start : Tensor, (*batch, unit)
        The state from which the flow begins.
    increment : callable, optional
        Returns the noise of the next step, ``(sample, unit)``; by default there is none.
    """
    slices = slices_of(start)
    if len(slices) == 1:
        return None
    batch, n_units = start.shape[:-1], start.shape[-1]
    flat = start.reshape(-1, n_units)
    sizes = eps.expand(*batch, 1).reshape(-1, 1) if eps.ndim else None
    steps = [
        (slice(int(rows[0]), int(rows[-1]) + 1),
         make(dynamics.samples(batch, rows), eps if sizes is None else sizes[rows], flat[rows]))
        for rows in slices
    ]  # fmt: skip
    where, move = steps[0]
    try:
        move(flat[where])
    except RuntimeError:
        return None
    return _advancing(steps, n_units, increment)


def _advancing(
    steps: Sequence[tuple[slice, Step]], n_units: int, increment: Callable[[], Tensor] | None
) -> Flow:
    def step(s: Tensor, after: Tensor) -> None:
        """Write the next state, ``(sample, unit)``, to where it is kept; `s` may lie there."""
        noise = None if increment is None else increment()
        for rows, move in steps:
            moved = move(s[rows])
            if noise is None:
                after[rows] = moved
            else:
                torch.add(moved, noise[rows], out=after[rows])

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        states = s.new_empty(len(stops), *s.shape)
        states[0] = s
        flat = states.reshape(len(stops), -1, n_units)
        now = flat[0]
        with Differentiated("a force"):
            for kept, (first, last) in zip(flat[1:], pairwise(stops), strict=True):
                for _ in range(first, last):
                    step(now, kept)
                    now = kept
        return states

    return advance
