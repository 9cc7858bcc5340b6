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
_PAGE_BYTES = 2**22  # of one page: longer ones cost fewer calls, but leave the cache
_AHEAD = 2**11, 2**17  # normals in a step, and in a run, from which on a thread pays
_PASSED = 64  # steps drawn at a time that a run begins after
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
    intensity : Tensor, optional
        What the increments are multiplied by, ``()`` or ``(sample, 1)``; gradients reach it if
        they are enabled when the object is made.
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
        intensity: Tensor | None = None,
        page: int | None = None,
    ) -> None:
        self._shape = (len(samples), n_units)
        self._dtype, self._device = dtype, torch.device(device)
        self._next, self._substeps, self._area = first, substeps, area
        fine = None if n_steps is None else n_steps * substeps
        if intensity is not None and not torch.is_grad_enabled():
            intensity = intensity.detach()
        self._normals = [
            _Pages(
                _Streams(seed, samples, purpose, n_units, dtype == torch.float32),
                dtype, self._device, first * substeps, fine, intensity, page,
            )
            for purpose in (((), (1,)) if area else ((),))
        ]  # fmt: skip

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
        if tb is None or tb - ta != 1 or return_A or return_U != self._area:
            raise ValueError(f"expected one unit step from a whole time, got [{ta}, {tb}].")
        if ta != self._next:
            raise ValueError(f"expected steps in order, next {self._next}, got {float(ta):g}.")
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
        return "space-time" if self._area else "none"


class _Pages:
    """Normals of a given intensity, step by step, drawn a page of steps ahead."""

    def __init__(
        self,
        streams: _Streams,
        dtype: torch.dtype,
        device: torch.device,
        first: int,
        n_steps: int | None,
        intensity: Tensor | None,
        page: int | None,
    ) -> None:
        self._streams, self._dtype, self._device = streams, dtype, device
        self._intensity = intensity if intensity is None else intensity.unsqueeze(-1)
        width, grain = max(streams.width, 1), streams.grain
        largest = max(_PAGE_BYTES // (8 * width), 16) if page is None else page
        self._largest = min(-(-largest // grain) * grain, CHAPTER)
        self._size = min(16, self._largest) if page is None else self._largest
        self._end = None if n_steps is None else first + n_steps
        self._cursor = first - first % grain
        self._skip = first - self._cursor
        self._page = iter(())
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
        size = min(self._size, CHAPTER - self._cursor % CHAPTER)
        if self._end is not None:
            left, grain = self._end - self._cursor, self._streams.grain
            size = min(size, -(-left // grain) * grain)
        if size <= 0:
            return None
        page = self._streams.read(self._cursor, size).to(dtype=self._dtype, device=self._device)
        self._cursor += size
        self._size = min(2 * self._size, self._largest)
        if self._intensity is None:
            return page
        if self._intensity.requires_grad:
            return page * self._intensity
        return page.mul_(self._intensity)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)


class _Streams:
    """Standard normals from one stream a sample, renewed every chapter."""

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        purpose: tuple[int, ...],
        n_units: int,
        twister: bool,
    ) -> None:
        self._seed, self._samples, self._purpose = seed, [int(i) for i in samples], purpose
        self._n_units, self._twister = n_units, twister
        # torch fills 16 normals at a time, so whole multiples of 16 steps make one long fill
        self.grain = 16 if twister else 1
        self.width = len(self._samples) * n_units
        self._step = -1
        self._streams: list[Any] = []  # one kind of generator or the other

    def read(self, step: int, size: int) -> Tensor:
        """Return the normals of some steps within a chapter, ``(sample, step, unit)``."""
        chapter, offset = divmod(step, CHAPTER)
        if step != self._step or offset == 0:
            self._open(chapter)
            for passed in range(0, offset, _PASSED):
                self._fill(min(_PASSED, offset - passed))
        self._step = step + size
        return self._fill(size)

    def _open(self, chapter: int) -> None:
        sequences = [
            np.random.SeedSequence(self._seed, spawn_key=(i, chapter, *self._purpose))
            for i in self._samples
        ]
        stream = _twister if self._twister else _sfc64
        self._streams = [stream(sequence) for sequence in sequences]

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
