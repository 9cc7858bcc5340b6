r"""Brownian increments over unit steps, for torchsde: a sample's path is its own.

The path of a sample depends on the root seed, the sample's number and the dtype alone: not on the
batch it is in, the steps drawn at a time, the threads, the device it is sent to, nor on where a
run begins. Normals are drawn for many steps at a time, in a thread ahead of the solver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torchsde
from torch import Tensor

from ctebm.dynamics.methods import Stream
from ctebm.dynamics.philox import PhiloxStream
from ctebm.dynamics.streams import Blocks, Streams

__all__ = ["BrownianSteps"]

_INCREMENT, _INTEGRAL = (), (1,)  # what a stream is for, as words of its name

if TYPE_CHECKING:  # torchsde has no types
    _BaseBrownian = object
else:
    _BaseBrownian = torchsde.BaseBrownian


class BrownianSteps(_BaseBrownian):
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
        Of the increments; a block of steps at a time is drawn on the CPU and moved.
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
    block : int, optional
        Steps drawn at a time; does not change the path.
    stream : {"host", "philox"}
        Draw on the CPU and move (:mod:`ctebm.dynamics.streams`), or compute on the device
        (:mod:`ctebm.dynamics.philox`): another path for the same seed.

    Notes
    -----
    Use it as a context manager, or call :meth:`close`, to end its thread.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.noise import BrownianSteps
    >>> with BrownianSteps(7, [0, 1], n_units=3) as noise:
    ...     first = noise.increment().clone()
    >>> with BrownianSteps(7, [1], n_units=3) as noise:
    ...     torch.equal(noise.increment(), first[1:])
    True
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
        block: int | None = None,
        stream: Stream = "host",
    ) -> None:
        self._shape = (len(samples), n_units)
        self._dtype, self._device = dtype, torch.device(device)
        self._next, self._substeps, self._area = first, substeps, area
        fine = None if n_steps is None else n_steps * substeps
        if intensity is not None and not torch.is_grad_enabled():
            intensity = intensity.detach()
        self._normals = [
            Blocks(
                self._stream(stream, seed, samples, purpose, n_units),
                dtype, self._device, first * substeps, fine, intensity, block,
            )
            for purpose in ((_INCREMENT, _INTEGRAL) if area else (_INCREMENT,))
        ]  # fmt: skip

    def _stream(
        self,
        kind: Stream,
        seed: int,
        samples: Sequence[int],
        purpose: tuple[int, ...],
        n_units: int,
    ) -> Streams | PhiloxStream:
        if kind == "host":
            reused = not torch.is_grad_enabled()  # a graph keeps increments
            return Streams(seed, samples, purpose, n_units, self._dtype, reused=reused)
        return PhiloxStream(seed, samples, len(purpose), n_units, self._dtype, self._device)

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
        if not return_U:
            return self.increment()
        self._next += 1
        return self._increment_and_integral()

    def increment(self) -> Tensor:
        """Return the next step's increment, ``(sample, unit)``.

        Without gradients (``torch.no_grad``) its memory is used again for later steps.
        """
        self._next += 1
        W = self._normals[0].next()
        return W if self._substeps == 1 else self._with_finer(W)

    def _with_finer(self, W: Tensor) -> Tensor:
        """Return a step's increment, of which the first finer one is drawn."""
        W = W.clone()
        for _ in range(self._substeps - 1):
            W += self._normals[0].next()
        return W / math.sqrt(self._substeps)

    def _increment_and_integral(self) -> tuple[Tensor, Tensor]:
        W = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
        U = torch.zeros_like(W)
        for _ in range(self._substeps):
            w, h = self._normals[0].next(), self._normals[1].next()
            U = U + W + w / 2 + h / math.sqrt(12)  # given w, the integral has variance 1/12
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
