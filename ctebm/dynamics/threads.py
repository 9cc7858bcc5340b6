"""How many threads torch uses: one where states are small, in every computation.

Threads wait for each other at every operation. Where other programs hold a core, that costs a
small network tens of times what it computes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.numbers import whole

__all__ = ["small_on_one_thread", "torch_threads"]

P = ParamSpec("P")
T = TypeVar("T")

_SMALL = 2**16  # numbers in a state, or in a matrix, below which one thread is faster than many
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
    if threads is None:
        threads = 1 if s.numel() < _SMALL else None
    else:
        threads = whole("threads", threads, 1, _MOST_THREADS)
    with _threads(threads) as used:
        yield used


def small_on_one_thread(*, matrices: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function of a network compute on one thread where its states are small.

    Parameters
    ----------
    matrices : bool
        Whether it takes matrices apart, so that their size counts, one sample's at a time.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.dynamics.threads import small_on_one_thread
    >>> @small_on_one_thread()
    ... def threads_for(network):
    ...     return torch.get_num_threads()
    >>> threads_for(ctebm.LayeredNetwork.random([2, 3, 1], ctebm.Tanh()))
    1
    """

    def limited(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def on_few(*args: P.args, **kwargs: P.kwargs) -> T:
            given = [*args, *kwargs.values()]
            small = all(_numbers(thing, matrices) < _SMALL for thing in given)
            with _threads(1 if small else None):
                return function(*args, **kwargs)

        return on_few

    return limited


@contextmanager
def _threads(threads: int | None) -> Iterator[int]:
    """Set the threads of torch for a while, or leave what it has, and yield them."""
    before = torch.get_num_threads()
    used = before if threads is None else threads
    if used != before:  # setting them waits for those that there are
        torch.set_num_threads(used)
    try:
        yield used
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _numbers(thing: object, matrices: bool) -> int:
    """Return how many numbers a network's states have, or an array or a record of states.

    With `matrices` those in one matrix, of all units to all units.
    """
    if isinstance(thing, VectorField):
        n, batch = thing.n_units or 0, thing.batch
    else:
        states = getattr(thing, "state", thing)
        if not isinstance(states, Tensor | np.ndarray) or states.ndim == 0:
            return 0
        n, batch = states.shape[-1], states.shape[:-1]
    return n * n if matrices else n * math.prod(batch)
