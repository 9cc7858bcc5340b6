"""Whether tensors are still what they were: the same ones, with the same numbers in them.

A version of torch counts what is written into a tensor; what is written past it, as by
``W.data += 1`` or through an array that shares its memory, is found by a product of each row with
fixed random numbers, or in few numbers by a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import Tensor

__all__ = ["Versions", "is_plain", "told_apart"]

# Up to so many numbers a look at a copy costs less than a product.
_FEW = 4096


@dataclass(frozen=True, eq=False)
class Versions:
    """Tensors as they were at a time.

    Attributes
    ----------
    tensors : sequence of Tensor
        Kept alive, so that no other has their identity.
    counted : sequence of int or None
        Their versions; None for tensors without one.
    numbers : sequence of Tensor or None
        What tells their numbers apart, of few a copy; None within a transformation of torch, where
        they have none.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.versions import Versions
    >>> W = torch.ones(2, 2)
    >>> then = Versions.of([W])
    >>> W.data[0, 0] = 3.0
    >>> then.are([W]), Versions.of([W]).are([W])
    (False, True)
    """

    tensors: Sequence[Tensor]
    counted: Sequence[int | None]
    numbers: Sequence[Tensor | None]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Self:
        """Return tensors as they are now."""
        counted = [_version(t) for t in tensors]
        return cls(tensors, counted, [_kept(t) if _has_numbers(t) else None for t in tensors])

    def are(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether tensors are these, and nothing was written into them."""
        if len(tensors) != len(self.tensors):
            return False
        for t, was, version in zip(tensors, self.tensors, self.counted, strict=True):
            if t is not was or _version(t) != version:
                return False
        kept = [
            (t, known) for t, known in zip(tensors, self.numbers, strict=True) if known is not None
        ]
        now = (t.detach() if _are_few(t) else told_apart(t) for t, _ in kept)
        return _are_equal(now, [known for _, known in kept])


def _are_equal(found: Iterable[Tensor], known: Sequence[Tensor]) -> bool:
    """Return whether all numbers are those known; where the host must wait for them, once."""
    if all(t.is_cpu for t in known):
        return all(map(torch.equal, found, known))
    found = list(found)
    if [t.shape for t in found] != [t.shape for t in known]:
        return False
    one, other = (torch.cat([t.reshape(-1) for t in all_of]) for all_of in (found, known))
    return torch.equal(one, other)


def told_apart(t: Tensor) -> Tensor:
    """Return numbers that change with those of a tensor, by more than a product rounds away.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.versions import told_apart
    >>> torch.equal(told_apart(torch.ones(2, 3)), told_apart(torch.ones(2, 3)))
    True
    """
    t = t.detach()
    t = t.values() if t.layout == torch.sparse_csr else t
    t = t if t.is_floating_point() or t.is_complex() else t.to(torch.float64)
    if t.ndim != 2:
        t = t.reshape(-1, t.shape[-1]) if t.ndim and t.numel() else t.reshape(1, -1)
    return t @ _weights(t.shape[-1], t.dtype, t.device)


def _kept(t: Tensor) -> Tensor:
    return t.detach().clone() if _are_few(t) else told_apart(t)


def _are_few(t: Tensor) -> bool:
    return t.layout == torch.strided and t.numel() <= _FEW


@cache
def _weights(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(n, generator=draw, dtype=torch.float64, device="cpu").to(device, dtype)


def is_plain(t: Tensor) -> bool:
    """Return whether a tensor has numbers and a version, and is not one within a transformation.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.versions import is_plain
    >>> is_plain(torch.ones(2))
    True
    """
    return not t.is_inference() and _has_numbers(t)


def _version(t: Tensor) -> int | None:
    return None if t.is_inference() else t._version


def _has_numbers(t: Tensor) -> bool:
    try:
        (t.values() if t.layout == torch.sparse_csr else t).data_ptr()
    except RuntimeError:
        return False
    return True
