"""Brownian increments for torchsde: one stream of random numbers a sample.

The path of a sample depends on the root seed and the sample's number alone: not on the batch it
is in, nor on how many steps are drawn at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torchsde
from torch import Tensor

__all__ = ["BrownianSteps", "fresh_seed"]


def fresh_seed() -> int:
    """Return a root seed from the operating system's entropy, to be recorded."""
    return int(np.random.SeedSequence().entropy)  # pyright: ignore[reportArgumentType]


class BrownianSteps(torchsde.BaseBrownian):
    """Increments of a Brownian motion over unit steps, in order, for torchsde's solvers.

    Parameters
    ----------
    seed : int
        Root seed; sample `i` draws from ``SeedSequence(seed, spawn_key=(i,))``.
    samples : sequence of int
        The number of each row's sample.
    n_units : int
        Columns of an increment.
    dtype, device
        Of the increments; they are drawn on the CPU and moved, a block of steps at a time.
    block : int
        Steps drawn at a time; does not change the path.
    """

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        n_units: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        block: int = 64,
    ) -> None:
        self._streams = [
            np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(int(i),))))
            for i in samples
        ]
        self._shape = (len(self._streams), n_units)
        self._dtype, self._device, self._block = dtype, torch.device(device), block
        self._next, self._drawn = 0, 0
        self._steps = torch.empty(0)

    def __call__(
        self,
        ta: Tensor | float,
        tb: Tensor | float | None = None,
        return_U: bool = False,
        return_A: bool = False,
    ) -> Tensor:
        """Return ``W(tb) - W(ta)`` for ``tb = ta + 1``, each step once and in order."""
        start = int(ta)
        if tb is None or tb - ta != 1 or start != ta or return_U or return_A:
            raise ValueError(f"expected one unit step from a whole time, got [{ta}, {tb}].")
        if start != self._next:
            raise ValueError(f"expected steps in order, next {self._next}, got {start}.")
        return self.increment()

    def increment(self) -> Tensor:
        """Return the next step's increment, ``(sample, unit)``."""
        j = self._next % self._block
        if j == 0:
            self._draw()
        self._next += 1
        return self._steps[:, j]

    def _draw(self) -> None:
        batch, n_units = self._shape
        kind = np.float32 if self._dtype == torch.float32 else np.float64
        block = np.empty((batch, self._block, n_units), dtype=kind)
        for row, stream in zip(block, self._streams, strict=True):
            stream.standard_normal(out=row, dtype=kind)  # pyright: ignore[reportArgumentType, reportCallIssue]
        self._steps = torch.from_numpy(block).to(dtype=self._dtype, device=self._device)

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
        """No Lévy area."""
        return "none"
