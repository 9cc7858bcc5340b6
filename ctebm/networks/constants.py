"""Results of operations on tensors that stay the same, looked up by what was done to which.

Tensors are told apart by identity and version, so that what has been changed is computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Constants", "is_plain", "key_of", "tensors_in"]

# Results kept, the oldest forgotten: more than the operations of most energies on held layers.
_MOST_KEPT = 64


class _Result(NamedTuple):
    """A result, and the tensors it came from, alive so that no other has their identity."""

    value: Tensor
    version: int
    sources: tuple[Tensor, ...]


class Constants:
    """Results of operations on held layers and parameters, by what was done to which tensors.

    A copy, and what comes back from a file, begins empty.

    Attributes
    ----------
    results : mapping
        Each result, the last ones that were new.
    usable : bool
        False for a function that changes tensors in place, which looks up nothing.

    Examples
    --------
    >>> import copy
    >>> from ctebm.networks.constants import Constants
    >>> len(copy.deepcopy(Constants()).results)
    0
    """

    def __init__(self) -> None:
        self.results: OrderedDict[Any, _Result] = OrderedDict()
        self.usable: bool = True

    def __reduce__(self) -> tuple[type[Constants], tuple[()]]:
        return Constants, ()

    def find(self, key: Any) -> Tensor | None:
        """Return a result that nothing has changed since, None if there is none."""
        result = self.results.get(key)
        if result is None or result.value._version != result.version:
            return None
        return result.value

    def expanded(self, x: Tensor, batch: torch.Size) -> Tensor:
        """Return the states of a held layer, one for each sample, the same tensor every time."""
        key = _expanded(x, batch)
        found = self.find(key)
        if found is None:
            found = x.expand(*batch, -1)
            if is_plain(found):
                self.keep(key, found, (x,))
        return found

    def has(self, x: Tensor, batch: torch.Size) -> bool:
        """Return whether the states of a held layer are there for so many samples."""
        return self.find(_expanded(x, batch)) is not None

    def keep(self, key: Any, value: Tensor, sources: tuple[Tensor, ...]) -> None:
        """Keep a result, and forget the oldest beyond those that fit."""
        self.results[key] = _Result(value, value._version, sources)
        while len(self.results) > _MOST_KEPT:
            self.results.popitem(last=False)


def _expanded(x: Tensor, batch: torch.Size) -> Any:
    return "expanded", id(x), x._version, batch


def tensors_in(x: Any) -> list[Tensor]:
    """Return the tensors in arguments, in containers too."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        x = x.values()
    elif not isinstance(x, list | tuple):
        return []
    return [t for item in x for t in tensors_in(item)]


def key_of(x: Any, sources: list[Tensor]) -> Any:
    """Return what tells arguments apart, tensors by identity and version; None if nothing does."""
    if isinstance(x, Tensor):
        if not is_plain(x):
            return None
        sources.append(x)
        return "tensor", id(x), x._version
    if isinstance(x, list | tuple):
        keys = tuple(key_of(item, sources) for item in x)
        return None if None in keys else (type(x).__name__, keys)
    if isinstance(x, slice):
        return key_of((x.start, x.stop, x.step), sources)
    if x is None or x is Ellipsis:
        return str(x)
    if isinstance(x, bool | int | float | str | torch.dtype | torch.device) or callable(x):
        return type(x).__name__, x
    return None


def is_plain(t: Tensor) -> bool:
    """Return whether a tensor has numbers of its own, and is not one within a transformation."""
    try:
        t.data_ptr()
    except RuntimeError:
        return False
    return True
