"""How many threads torch uses during a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ctebm.networks.numbers import whole

__all__ = ["torch_threads"]

_SMALL_STATE = 2**16  # numbers in a state below which one thread is faster than many
_MOST_THREADS = 2**12  # more than any machine has cores


@contextmanager
def torch_threads(threads: int | None, s: Tensor) -> Iterator[int]:
    """Set the threads of torch for a while, by default one for small states, and yield them.

    Parameters
    ----------
    threads : int or None
        How many; None for 1 where a state has fewer than 65,536 numbers, else what torch has.
    s : Tensor, (*batch, unit)
        A state of the run.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.threads import torch_threads
    >>> with torch_threads(None, torch.zeros(3, 2)) as used:
    ...     used, torch.get_num_threads()
    (1, 1)
    """
    before = torch.get_num_threads()
    used = 1 if s.numel() < _SMALL_STATE else before
    if threads is not None:
        used = whole("threads", threads, 1, _MOST_THREADS)
    torch.set_num_threads(used)
    try:
        yield used
    finally:
        torch.set_num_threads(before)
