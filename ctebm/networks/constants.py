"""Results of operations on tensors that stay the same, looked up by what was done to which.

Tensors are told apart by identity, version and numbers (:mod:`~ctebm.networks.versions`), so that
what has been changed is computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctebm.networks.versions import is_plain, told_apart

__all__ = ["Constants", "key_of", "tensors_in"]

# Results kept, the oldest forgotten: more than the operations of most energies on held layers.
_MOST_KEPT = 64


class _Result(NamedTuple):
    """A result, and the tensors it came from, alive so that no other has their identity."""

    value: Tensor
    version: int
    sources: Sequence[Tensor]
    given: Sequence[tuple[Tensor, Tensor]]  # by whom computes, and what tells their numbers apart


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

    def find(self, key: Any, checked: set[int] | None = None) -> Tensor | None:
        """Return a result that nothing has changed since, None if there is none.

        Parameters
        ----------
        key : hashable
            Of :func:`key_of`.
        checked : set of int, optional
            Identities of tensors that have not changed; those found to be so are added.
        """
        result, checked = self.results.get(key), set() if checked is None else checked
        if result is None or result.value._version != result.version:
            return None
        for t, known in result.given:
            if id(t) not in checked and not torch.equal(told_apart(t), known):
                return None
            checked.add(id(t))
        return result.value

    def of(self, compute: Callable[[], Tensor], *given: Tensor) -> Tensor:
        """Return what is computed from tensors alone, once while they stay the same.

        Parameters
        ----------
        compute : callable
            Takes nothing.
        *given : Tensor
            All that its result depends on; they tell it from other results.
        """
        sources: list[Tensor] = []
        key = key_of(given, sources)
        if key is None or (torch.is_grad_enabled() and any(t.requires_grad for t in given)):
            return compute()
        value = self.find(key)
        if value is None:
            value = compute()
            if is_plain(value):
                self.keep(key, value, sources, sources)
        return value

    def expanded(self, x: Tensor, batch: torch.Size) -> Tensor:
        """Return the states of a held layer, one for each sample, the same tensor every time."""
        if not is_plain(x):
            return x.expand(*batch, -1)
        key = _expanded(x, batch)
        found = self.find(key)
        if found is None:
            found = x.expand(*batch, -1)
            if is_plain(found):
                self.keep(key, found, [x], [x])
        return found

    def has(self, x: Tensor, batch: torch.Size) -> bool:
        """Return whether the states of a held layer are there for so many samples."""
        return is_plain(x) and self.find(_expanded(x, batch)) is not None

    def keep(
        self, key: Any, value: Tensor, sources: Sequence[Tensor], given: Sequence[Tensor]
    ) -> None:
        """Keep a result, and forget the oldest beyond those that fit.

        Parameters
        ----------
        key, value
            A result.
        sources : sequence of Tensor
            What it came from.
        given : sequence of Tensor
            Those that are no results themselves.
        """
        known = [(t, told_apart(t)) for t in given]
        self.results[key] = _Result(value, value._version, sources, known)
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
