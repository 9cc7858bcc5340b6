r"""Normals by counting: any element of any step is computed from its place and the seed alone.

Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) turns a counter of four 32-bit words
and a key of two into four random words. The counter here is the place of a normal (block of units,
step, sample, purpose), the key comes from the root seed: so a sample's path depends on nothing
else, no state is kept, and the integers are the same on every device. The words become normals by
Box and Muller's transformation, whose last bit a device's own logarithm may change.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["PhiloxStream", "philox4x32"]

_WORD = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57  # Salmon et al. 2011, table 2
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # golden ratio, sqrt(3) - 1
_ROUNDS = 10

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox4x32(counter: Words, key: tuple[Tensor, Tensor] | tuple[int, int]) -> Words:
    """Return four random words for each counter, by Philox4x32-10.

    Parameters
    ----------
    counter : four Tensors of int64
        Words from 0 to 2**32 - 1, of shapes that broadcast.
    key : two int, or two Tensors of int64
        Words likewise.

    Returns
    -------
    four Tensors of int64
        Words from 0 to 2**32 - 1.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.philox import philox4x32
    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(word) for word in philox4x32((zero, zero, zero, zero), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # products wrap at 64 bits, whose upper half the mask cuts out whatever their sign
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _WORD) ^ c1 ^ k0, p1 & _WORD, ((p0 >> 32) & _WORD) ^ c3 ^ k1, p0 & _WORD
        )  # fmt: skip
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


class PhiloxStream:
    """Standard normals of samples, computed on their device from their place.

    Parameters
    ----------
    seed : int
        Root seed.
    samples : sequence of int
        The number of each row's sample, below 2**32.
    purpose : int
        Which of the normals of a step: 0 for its increment, 1 for its integral.
    n_units : int
        Normals in a step.
    dtype, device
        Of the normals; one seed names one path for each dtype.
    """

    grain: int = 1
    few: int = 16  # steps that are worthwhile to compute at a time
    ahead: bool = False  # nothing to prefetch: normals are computed where they are used
    key: tuple[Tensor, Tensor]
    purpose: Tensor
    samples: Tensor
    n_units: int
    dtype: torch.dtype
    width: int

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        purpose: int,
        n_units: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        word = np.random.SeedSequence(seed).generate_state(2)
        # the key and the purpose as tensors, so that one compiled kernel serves all
        numbers = [int(word[0]), int(word[1]), purpose]
        k0, k1, self.purpose = torch.tensor(numbers, dtype=torch.int64, device="cpu").to(device)
        self.key = k0, k1
        self.samples = torch.as_tensor(list(samples), dtype=torch.int64, device=device)
        self.n_units, self.dtype = n_units, dtype
        self.width = len(samples) * n_units
        self._normals = _compiled() if device.type == "cuda" else _step_by_step

    def read(self, step: int, size: int) -> Tensor:
        """Return the normals of some steps, ``(sample, step, unit)``."""
        steps = torch.arange(step, step + size, device=self.samples.device)
        pairs = 1 if self.dtype == torch.float64 else 2
        n_blocks = -(-self.n_units // (2 * pairs))
        block = torch.arange(n_blocks, device=self.samples.device)
        found = self._normals(
            block, steps[:, None], self.samples[:, None, None], self.purpose, self.key, self.dtype
        )
        return found.flatten(-2)[..., : self.n_units]


def _normals(
    block: Tensor, step: Tensor, sample: Tensor, purpose: Tensor, key: tuple[Tensor, Tensor],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Return the normals of blocks; two (float64) or four (float32) are in the last dimension."""
    high = (step >> 32) * 2 + purpose
    w0, w1, w2, w3 = philox4x32((block, step & _WORD, sample, high), key)
    if dtype == torch.float64:
        return torch.stack(_pair(_uniform53(w0, w1), _uniform53(w2, w3)), -1)
    first = _pair(_uniform32(w0), _uniform32(w1))
    return torch.stack([*first, *_pair(_uniform32(w2), _uniform32(w3))], -1)


def _pair(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return two normals of two uniforms in (0, 1] (Box and Muller 1958)."""
    radius, angle = (-2 * u.log()).sqrt(), 2 * math.pi * v
    return radius * angle.cos(), radius * angle.sin()


def _uniform53(high: Tensor, low: Tensor) -> Tensor:
    """Return a double in (0, 1) from the upper 53 bits of two words."""
    return (((high << 21) | (low >> 11)).to(torch.float64) + 0.5) * 2.0**-53


def _uniform32(word: Tensor) -> Tensor:
    """Return a float in (0, 1] from a word; small ones keep all of its bits."""
    return (word.to(torch.float32) + 0.5) * 2.0**-32


def _step_by_step(
    block: Tensor, step: Tensor, sample: Tensor, purpose: Tensor, key: tuple[Tensor, Tensor],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Return :func:`_normals` of one step at a time, whose many words stay in the cache."""
    steps = [_normals(block, one, sample, purpose, key, dtype) for one in step.split(1)]
    return torch.cat(steps, 1)


@cache
def _compiled() -> Callable[..., Tensor]:
    """Return :func:`_normals` as one fused kernel; in 300 kernels memory would be the limit."""
    fused = torch.compile(_normals, dynamic=True)

    def normals(*arguments: Any) -> Tensor:
        nonlocal fused
        try:
            return fused(*arguments)
        except RuntimeError as error:  # no compiler on this machine
            if fused is _step_by_step:
                raise
            reason = str(error).strip().splitlines()[0]
            warnings.warn(f"philox runs uncompiled, about 25 times slower: {reason}", stacklevel=2)
            fused = _step_by_step
            return fused(*arguments)

    return normals
