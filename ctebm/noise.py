r"""Brownian increments for torchsde: one stream of random numbers a sample.

The path of a sample depends on the root seed, the sample's number and the dtype alone: not on the
batch it is in, the steps drawn at a time, the threads, the device it is sent to, nor on where a
run begins. Normals are drawn for many steps at a time, in a thread ahead of the solver.

Streams are renewed every :data:`CHAPTER` steps, each from its own
``SeedSequence(seed, spawn_key=(sample, chapter))``, so that any step is reached by drawing less
than a chapter. In float64 a stream is numpy's SFC64, in float32 torch's Mersenne twister with all
624 words of its state seeded, since these are the fastest: one seed names one path for each dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torchsde
from torch import Tensor

__all__ = ["CHAPTER", "BrownianSteps", "fresh_seed"]

CHAPTER = 1024
_PAGE_BYTES = 2**23  # of one page: longer ones cost fewer calls, but leave the cache
_AHEAD = 2**11, 2**17  # normals in a step, and in a run, from which on a thread pays
_TWISTER_WORDS = 624


def fresh_seed() -> int:
    """Return a root seed from the operating system's entropy, to be recorded."""
    return int(np.random.SeedSequence().entropy)  # pyright: ignore[reportArgumentType]


class BrownianSteps(torchsde.BaseBrownian):
    """Increments of a Brownian motion over unit steps, in order, for torchsde's solvers.

    Parameters
    ----------
    seed : int
        Root seed.
    samples : sequence of int
        The number of each row's sample, which names its streams.
    n_units : int
        Columns of an increment.
    dtype, device
        Of the increments; they are drawn on the CPU and moved, a page of steps at a time.
    first : int
        The first step, whose increments are those that a run from step 0 would meet there.
    n_steps : int, optional
        Steps that will be asked for, so that no more are drawn.
    substeps : int
        Each step is the sum of so many finer ones, scaled to unit variance: with the same seed,
        the path of a step size `substeps` times smaller.
    area : bool
        Whether to give the integral over a step too (``return_U``), for methods of order 1.5.
    page : int, optional
        Steps drawn at a time; does not change the path.

    Notes
    -----
    Use it as a context manager, or call :meth:`close`, to end its thread.
    """

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        n_units: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        *,
        first: int = 0,
        n_steps: int | None = None,
        substeps: int = 1,
        area: bool = False,
        page: int | None = None,
    ) -> None:
        self._shape = (len(samples), n_units)
        self._dtype, self._device = dtype, torch.device(device)
        self._next, self._substeps = first, substeps
        fine = None if n_steps is None else n_steps * substeps
        purposes = ((), (1,)) if area else ((),)
        self._normals = [
            _Normals(
                seed, samples, purpose, n_units, dtype, self._device, first * substeps, fine, page
            )
            for purpose in purposes
        ]

    def __call__(
        self,
        ta: Tensor | float,
        tb: Tensor | float | None = None,
        return_U: bool = False,
        return_A: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return ``W(tb) - W(ta)`` for ``tb = ta + 1``, each step once and in order.

        With ``return_U`` also the integral of ``W(t) - W(ta)`` over the step.
        """
        start = float(ta)
        if tb is None or float(tb) - start != 1 or return_A or return_U != (len(self._normals) > 1):
            raise ValueError(f"expected one unit step from a whole time, got [{ta}, {tb}].")
        if start != self._next:
            raise ValueError(f"expected steps in order, next {self._next}, got {start:g}.")
        self._next += 1
        return self._increment_and_integral() if return_U else self._increment()

    def increment(self) -> Tensor:
        """Return the next step's increment, ``(sample, unit)``."""
        self._next += 1
        return self._increment()

    def _increment(self) -> Tensor:
        W = self._normals[0].next()
        if self._substeps == 1:
            return W
        for _ in range(self._substeps - 1):
            W = W + self._normals[0].next()
        return W / math.sqrt(self._substeps)

    def _increment_and_integral(self) -> tuple[Tensor, Tensor]:
        W = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
        U = torch.zeros_like(W)
        for _ in range(self._substeps):
            w, h = self._normals[0].next(), self._normals[1].next()
            U = U + W + w / 2 + h / math.sqrt(12)
            W = W + w
        m = self._substeps
        return W / math.sqrt(m), U / m**1.5

    def close(self) -> None:
        """End the thread that draws."""
        for normals in self._normals:
            normals.close()

    def __enter__(self) -> BrownianSteps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(samples={self._shape[0]}, n_units={self._shape[1]})"

    @property
    def dtype(self) -> torch.dtype:
        """Of the increments."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Of the increments."""
        return self._device

    @property
    def shape(self) -> tuple[int, int]:
        """``(sample, unit)``."""
        return self._shape

    @property
    def levy_area_approximation(self) -> str:
        """Space-time Lévy area if asked for, else none."""
        return "space-time" if len(self._normals) > 1 else "none"


class _Normals:
    """Standard normals ``(sample, unit)``, step by step, drawn a page ahead."""

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        purpose: tuple[int, ...],
        n_units: int,
        dtype: torch.dtype,
        device: torch.device,
        first: int,
        n_steps: int | None,
        page: int | None,
    ) -> None:
        self._seed, self._samples, self._purpose = seed, [int(i) for i in samples], purpose
        self._n_units, self._dtype, self._device = n_units, dtype, device
        self._twister = dtype == torch.float32
        # torch fills 16 normals at a time, so whole multiples of 16 steps make one long fill
        self._grain = 16 if self._twister else 1
        width = max(len(self._samples) * n_units, 1)
        largest = max(_PAGE_BYTES // (8 * width), 16) if page is None else page
        self._largest = min(-(-largest // self._grain) * self._grain, CHAPTER)
        self._size = min(16, self._largest) if page is None else self._largest
        self._end = None if n_steps is None else first + n_steps
        self._cursor = first - first % self._grain
        self._skip = first - self._cursor
        self._chapter = -1
        self._streams: list[Any] = []  # one kind of generator or the other
        self._page, self._row = iter(()), None
        ahead = width >= _AHEAD[0] and (n_steps is None or n_steps * width >= _AHEAD[1])
        self._thread = ThreadPoolExecutor(1, "ctebm-noise") if ahead else None
        self._coming: Future[Tensor | None] | None = None

    def next(self) -> Tensor:
        for increment in self._page:
            return increment
        page = self._turn()[:, self._skip :]
        self._skip = 0
        self._page = iter(page.unbind(1))
        return next(self._page)

    def _turn(self) -> Tensor:
        if self._thread is None:
            page = self._draw()
        else:
            page = self._coming.result() if self._coming is not None else self._draw()
            self._coming = self._thread.submit(self._draw)
        if page is None:
            raise ValueError(f"expected no step after {self._end}, the last that was announced.")
        return page

    def _draw(self) -> Tensor | None:
        """Return the next page, ``(sample, step, unit)``, or None after the last step."""
        chapter, offset = divmod(self._cursor, CHAPTER)
        size = min(self._size, CHAPTER - offset)
        if self._end is not None:
            left = self._end - self._cursor
            size = min(size, -(-left // self._grain) * self._grain)
        if size <= 0:
            return None
        if chapter != self._chapter:
            self._open(chapter, offset)
        page = self._fill(size)
        self._cursor += size
        self._size = min(2 * self._size, self._largest)
        return page.to(dtype=self._dtype, device=self._device)

    def _open(self, chapter: int, offset: int) -> None:
        """Begin the streams of a chapter and pass over its first steps."""
        sequences = [
            np.random.SeedSequence(self._seed, spawn_key=(i, chapter, *self._purpose))
            for i in self._samples
        ]
        stream = _twister if self._twister else _sfc64
        self._chapter, self._streams = chapter, [stream(sequence) for sequence in sequences]
        while offset > 0:
            passed = min(offset, self._largest)
            self._fill(passed)
            offset -= passed

    def _fill(self, size: int) -> Tensor:
        shape = (len(self._samples), size, self._n_units)
        if self._twister:
            page = torch.empty(shape, dtype=torch.float32)
            for row, stream in zip(page.unbind(0), self._streams, strict=True):
                row.normal_(generator=stream)
            return page
        block = np.empty(shape)
        for row, stream in zip(block, self._streams, strict=True):
            stream.standard_normal(out=row)
        return torch.from_numpy(block)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)


def _sfc64(sequence: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(sequence))


def _twister(sequence: np.random.SeedSequence) -> torch.Generator:
    """Return torch's generator with its whole state seeded.

    ``manual_seed`` keeps 32 bits, so that among 100,000 streams two would be the same. The state
    is the one that torch's checkpoints hold: a seed, counters, then a word in each 8 bytes.
    """
    words = np.random.SFC64(sequence).random_raw(_TWISTER_WORDS // 2).view(np.uint32)
    generator = torch.Generator()
    state = generator.get_state()
    fields = state.numpy().view(np.uint64)
    fields[3 : 3 + _TWISTER_WORDS] = words
    generator.set_state(state)
    return generator
