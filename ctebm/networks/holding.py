"""Energies that hold layers of their own: what these send is a part of the energy.

The network of the free layers is then of the same class, and keeps what no longer changes. Other
energies are clamped from outside, as a whole of which some states are given.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.layer_states import states_of_layers
from ctebm.networks.layout import broadcast_shapes, rows_of

__all__ = ["HoldingNetwork"]


class HoldingNetwork(Network):
    """A network that may hold some of its layers.

    Attributes
    ----------
    held : dict of str to Tensor
        The states of held layers by name, ``(*batch, size)``.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.PredictiveNetwork.random([2, 3, 1], ctebm.SignedTanh())
    >>> free = net.clamp({"x": [0.1, 0.2]})
    >>> type(free) is type(net), list(free.held), list(free.layers)
    (True, ['x'], ['h1', 'y'])
    """

    held: dict[str, Tensor]

    @property
    def batch(self) -> torch.Size:
        return broadcast_shapes(*(x.shape[:-1] for x in self.held.values()))

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        if not self.batch:
            return self
        return self._holding({name: rows_of(x, batch, rows) for name, x in self.held.items()})

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        return self._holding(self.held | states_of_layers(self, states))

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        return (self._holding({}), dict(self.held)) if self.held else (self, {})

    def _holding(self, held: dict[str, Tensor]) -> Self:
        """Return the same network with these layers held, and no others."""
        other = copy.copy(self)
        other._hold(held)
        return other

    @abstractmethod
    def _hold(self, held: dict[str, Tensor]) -> None:
        """Hold layers, and keep what they send, which no longer changes."""
