r"""Streams of standard normals, one a sample, drawn in blocks of steps.

The numbers of a sample depend on the root seed, the sample's number and the dtype alone. A stream
is divided into substreams of :data:`SUBSTREAM` steps, each from its own
``SeedSequence(seed, spawn_key=(sample, substream))``, so that any step is reached by drawing less
than a substream. In float64 the generator is numpy's SFC64, in float32 torch's Mersenne twister
with all 624 words of its state seeded, since these are the fastest: one seed names one path for
each dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm.dynamics.philox import PhiloxStream
from ctebm.dynamics.seed_words import Words, seed_words

__all__ = ["SUBSTREAM", "Blocks", "Streams", "fresh_seed"]

SUBSTREAM = 1024
_BLOCK_BYTES = 2**22  # of one block: longer ones cost fewer calls, but leave the cache
_LARGEST_BYTES = 2**25  # of one block of a few steps, unless a single step is larger
_ROW = 2**11  # normals of a sample that one call draws at little cost for the call
_REUSED_BYTES = 2**23  # of a block: new memory for larger ones comes from the system, in pages
_FIRST_BLOCK = 16  # steps in the first block, so that a short run does not draw for a long one
_FIRST_AHEAD = 4  # likewise where a thread draws the later ones, for which the first step waits
_PREFETCH_STEP = 2**11  # normals in a step above which a prefetch thread is worthwhile
_PREFETCH_RUN = 2**17  # normals in a run above which starting that thread is worthwhile
_SKIPPED = 64  # steps drawn at a time on the way to a step within a substream
_SEED_WORDS = 3  # of 64 bits, for SFC64
_TWISTER_WORDS = 624
_TWISTER_FILL = 16  # normals that torch draws at a time


def fresh_seed() -> int:
    """Return a root seed from the operating system's entropy, to be recorded."""
    # drawn where none was given, and then a number
    return int(np.random.SeedSequence().entropy)  # pyright: ignore[reportArgumentType]


class Streams:
    """Standard normals from one stream a sample.

    Parameters
    ----------
    seed : int
        Root seed.
    samples : sequence of int
        The number of each row's sample, which names its stream.
    purpose : tuple of int
        Further words of the stream's name, where a sample needs several.
    n_units : int
        Normals in a step of one sample.
    dtype : torch.dtype
        Which generator to use; normals of the twister are in float32, others in float64.
    reused : bool
        Whether what is read may be overwritten by the next read but one, as large blocks are.

    Attributes
    ----------
    few : int
        Steps that are worthwhile to read at a time.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.streams import Streams
    >>> both, one = (Streams(7, rows, (), 3, torch.float64) for rows in ([0, 1], [1]))
    >>> torch.equal(both.read(0, 10)[1:], one.read(0, 10))
    True
    """

    ahead = True

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        purpose: tuple[int, ...],
        n_units: int,
        dtype: torch.dtype,
        *,
        reused: bool = False,
    ) -> None:
        self._seed, self._samples, self._purpose = seed, [int(i) for i in samples], purpose
        self._n_units, self._twister = n_units, dtype == torch.float32
        # whole multiples of what torch draws at a time make one long fill
        fill = _TWISTER_FILL // math.gcd(_TWISTER_FILL, n_units)
        self.grain: int = fill if self._twister else 1
        self.few: int = -(-_ROW // max(n_units, 1))
        self.width: int = len(self._samples) * n_units
        self._step = -1
        self._streams: list[Any] = []  # of numpy's generators or of torch's
        self._reused, self._pages = (
            reused,
            [torch.empty(0, device="cpu"), torch.empty(0, device="cpu")],
        )

    def read(self, step: int, size: int) -> Tensor:
        """Return the normals of steps of one substream, ``(sample, step, unit)``."""
        substream, offset = divmod(step, SUBSTREAM)
        if step != self._step or offset == 0:
            self._open(substream)
            for skipped in range(0, offset, _SKIPPED):
                self._fill(min(_SKIPPED, offset - skipped))
        self._step = step + size
        return self._fill(size)

    def _open(self, substream: int) -> None:
        words = seed_words(self._seed, self._samples, (substream, *self._purpose), _SEED_WORDS)
        seeds: Any = map(Words, words)
        generators = map(np.random.SFC64, seeds)
        make = _twisters if self._twister else _generators
        self._streams = list(make(generators))

    def _fill(self, size: int) -> Tensor:
        block = self._memory(len(self._samples), size, self._n_units)
        if self._twister:
            for row, stream in zip(block.unbind(0), self._streams, strict=True):
                row.normal_(generator=stream)
        else:
            for row, stream in zip(block.numpy(), self._streams, strict=True):
                stream.standard_normal(out=row)
        return block

    def _memory(self, *shape: int) -> Tensor:
        """Return memory of its own, for a large block that of the one before the last.

        Small ones are left to the allocator, which hands out again what this core wrote last.
        """
        dtype, size = np.dtype(np.float32 if self._twister else np.float64), math.prod(shape)
        if not self._reused or size * dtype.itemsize < _REUSED_BYTES:
            return torch.from_numpy(np.empty(shape, dtype))
        page, last = self._pages
        if page.numel() < size:
            with torch.inference_mode(False):  # to be written by a thread, which is outside
                page = torch.from_numpy(np.empty(size, dtype))  # numpy asks for large pages
        self._pages = [last, page]
        return page[:size].view(shape)


class Blocks:
    """Normals of a given intensity, step by step, from blocks drawn ahead by a thread.

    Parameters
    ----------
    streams : Streams or PhiloxStream
        Where they come from.
    dtype, device
        Where they go.
    first : int
        The first step.
    n_steps : int or None
        Steps that will be asked for, so that no more are drawn.
    intensity : Tensor or None
        What they are multiplied by, ``()`` or ``(sample, 1)``.
    block : int or None
        Steps drawn at a time.
    """

    def __init__(
        self,
        streams: Streams | PhiloxStream,
        dtype: torch.dtype,
        device: torch.device,
        first: int,
        n_steps: int | None,
        intensity: Tensor | None,
        block: int | None,
    ) -> None:
        self._streams, self._dtype, self._device = streams, dtype, device
        self._intensity = intensity if intensity is None else intensity.unsqueeze(-1)
        width, grain = max(streams.width, 1), streams.grain
        largest = _steps_in_a_block(streams.few, width * dtype.itemsize)
        largest = largest if block is None else block
        self._largest = min(-(-largest // grain) * grain, SUBSTREAM)
        self._end = None if n_steps is None else first + n_steps
        self._cursor = first - first % grain
        self._skip = first - self._cursor
        self._block = iter(())
        long = n_steps is None or n_steps * width >= _PREFETCH_RUN
        ahead = streams.ahead and width >= _PREFETCH_STEP and long
        self._thread = ThreadPoolExecutor(1, "ctebm-noise") if ahead else None
        first_block = _FIRST_AHEAD if ahead else _FIRST_BLOCK
        self._size = min(-(-first_block // grain) * grain, self._largest)
        self._size = self._size if block is None else self._largest
        self._coming: Future[Tensor | None] | None = None

    def next(self) -> Tensor:
        """Return the next step's normals, ``(sample, unit)``."""
        for normals in self._block:
            return normals
        block = self._next_block()[:, self._skip :]
        self._skip = 0
        self._block = iter(block.unbind(1))
        return next(self._block)

    def _next_block(self) -> Tensor:
        if self._thread is None:
            block = self._draw()
        else:
            block = self._coming.result() if self._coming is not None else self._draw()
            self._coming = self._thread.submit(self._draw)
        if block is None:
            raise ValueError(f"expected no step after {self._end}, the last that was announced.")
        return block

    def _draw(self) -> Tensor | None:
        """Return the next block, ``(sample, step, unit)``, or None after the last step."""
        size = min(self._size, SUBSTREAM - self._cursor % SUBSTREAM)
        if self._end is not None:
            left, grain = self._end - self._cursor, self._streams.grain
            size = min(size, -(-left // grain) * grain)
        if size <= 0:
            return None
        block = self._streams.read(self._cursor, size).to(dtype=self._dtype, device=self._device)
        self._cursor += size
        self._size = min(2 * self._size, self._largest)
        if self._intensity is None:
            return block
        if self._intensity.requires_grad:
            return block * self._intensity
        return block.mul_(self._intensity)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)


def _steps_in_a_block(few: int, a_step: int) -> int:
    """Return how many steps to draw at a time, given the bytes of one; a few if memory allows."""
    return max(_BLOCK_BYTES // a_step, min(few, max(_LARGEST_BYTES // a_step, 1)))


def _generators(sources: Iterable[np.random.SFC64]) -> Iterator[np.random.Generator]:
    return map(np.random.Generator, sources)


def _twisters(sources: Iterable[np.random.SFC64]) -> Iterator[torch.Generator]:
    """Yield torch's generators, each with its whole state seeded by one of numpy's.

    ``manual_seed`` keeps 32 bits, so that among 100,000 streams two would be the same. The state
    is the one that torch's checkpoints hold: a seed, counters, then a word in each 8 bytes.
    """
    state = torch.Generator().get_state()
    fields = state.numpy().view(np.uint64)
    for source in sources:
        words = source.random_raw(_TWISTER_WORDS // 2).view(np.uint32)
        fields[3 : 3 + _TWISTER_WORDS] = words
        generator = torch.Generator()
        generator.set_state(state)
        yield generator
