"""Stored patterns, and how well states fit them, those of held layers computed once."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import finite_tensor
from ctebm.networks.constants import Constants
from ctebm.networks.holding import HoldingNetwork
from ctebm.networks.layout import consecutive, rows_of, size_of
from ctebm.networks.named import named_tensors

__all__ = ["StoredPatterns"]


class StoredPatterns(HoldingNetwork):
    """Patterns, of which some layers may be held: how well they fit these is computed once.

    A memory subclasses it with an energy and with what patterns fit, states or rates.

    Parameters
    ----------
    patterns : array, (pattern, unit)
        What is stored.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units; all units are layer ``s`` by default.
    dtype : torch.dtype
        Of the patterns.

    Raises
    ------
    ValueError
        For patterns that are no finite matrix.
    """

    patterns: Tensor
    held: dict[str, Tensor]
    layers: Mapping[str, slice]
    n_units: int | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        patterns: ArrayLike | Tensor,
        layers: Mapping[str, slice] | None,
        dtype: torch.dtype,
    ) -> None:
        self.patterns = _patterns(patterns, dtype)
        n = self.patterns.shape[-1]
        super().__init__(n, {"s": slice(0, n)} if layers is None else layers)
        self._all = dict(self.layers)
        self.dtype, self.device = dtype, self.patterns.device
        self._hold({})

    @abstractmethod
    def _fitted(self, s: Tensor) -> Tensor:
        """Return what patterns fit: states, or their rates."""

    def recalled(self, s: Tensor) -> Tensor:
        """Return the number of the pattern that each state is nearest to, ``(*batch)``.

        By what patterns are of: states, or rates.
        """
        distance = self.patterns.square().sum(-1) / 2 - self._scores(self.as_state(s))
        return distance.argmin(-1)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = super().samples(batch, rows)
        if other is not self and self._still is not None:
            other._still = self._still[0], rows_of(self._still[1], batch, rows)
        return other

    def snapshot(self) -> Self:
        if not self.held or any(p.requires_grad for _, p in self.named_parameters()):
            return self
        other = self._holding(self.held)
        other._still = self._parts()
        return other

    def _hold(self, held: dict[str, Tensor]) -> None:
        """Hold layers, and keep how well patterns fit them, which no longer changes."""
        self.held = held
        free = {name: size_of(where) for name, where in self._all.items() if name not in held}
        self.layers, self.n_units = consecutive(free), sum(free.values())
        self._constants = Constants()
        self._still: tuple[Tensor, Tensor] | None = None  # what does not change, of a snapshot

    def _parts(self) -> tuple[Tensor, Tensor]:
        """Return the patterns in the free units, and how well they fit the states that are held.

        ``(pattern, unit)`` and ``(*batch, pattern)``.
        """
        if self._still is not None:
            return self._still
        X = self.patterns
        if not self.held:
            return X, X.new_zeros(())

        def chosen() -> Tensor:
            return torch.cat([X[:, :0], *(X[:, self._all[name]] for name in self.layers)], -1)

        def fit() -> Tensor:
            found = [self._fitted(x) @ X[:, self._all[name]].mT for name, x in self.held.items()]
            return torch.stack(torch.broadcast_tensors(*found)).sum(0)

        keep = self._constants.of
        return keep(chosen, X), keep(fit, *self.held.values(), *named_tensors(self).values())

    def _scores(self, s: Tensor) -> Tensor:
        """Return how well patterns fit states, the held ones too, ``(*batch, pattern)``."""
        X, held = self._parts()
        r = self._fitted(s)
        return r @ X.mT + held if self.held else r @ X.mT


def _patterns(patterns: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    X = finite_tensor(patterns, "the patterns", dtype)
    if X.ndim != 2 or not math.prod(X.shape):
        raise ValueError(
            f"expected patterns as rows, (pattern, unit), got shape {tuple(X.shape)}; give one row "
            "for each pattern."
        )
    return X
