"""Rows of a batch, each of which iterates until it ends in its own time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeGuard, TypeVar

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["Iteration", "Rows", "has_energy"]

F = TypeVar("F", bound=VectorField)
N = TypeVar("N", bound=VectorField, covariant=True)


@dataclass(frozen=True, eq=False)
class Rows(Generic[N]):
    """Some samples of a network, in any order and as often as need be.

    Attributes
    ----------
    whole : VectorField
        The network of all samples.
    batch : torch.Size
        The shape of the samples.
    index : Tensor
        Which sample of the flattened batch each row is, ``(row,)``.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.equilibria.rows import Rows
    >>> whole = ctebm.LayeredNetwork.random([1, 2], ctebm.Tanh(), gain=1.0, seed=0)
    >>> rows = Rows.of(whole.clamp({"x": [[0.1], [0.2], [0.3]]}), torch.Size([3]))
    >>> rows[torch.tensor([True, False, True])].network.batch
    torch.Size([2])
    """

    whole: N
    batch: torch.Size
    index: Tensor

    @staticmethod
    def of(network: F, batch: torch.Size) -> Rows[F]:
        """Return every sample of a batch once."""
        return Rows(network, batch, torch.arange(math.prod(batch), device=network.device))

    @staticmethod
    def repeated(network: F, n: int) -> Rows[F]:
        """Return the one sample of a network `n` times."""
        index = torch.zeros(n, dtype=torch.long, device=network.device)
        return Rows(network, torch.Size((1,)), index)

    @cached_property
    def network(self) -> N:
        """The network of these rows, for states ``(row, unit)``."""
        every = torch.arange(math.prod(self.batch), device=self.index.device)
        if self.whole.batch == self.batch == self.index.shape and torch.equal(self.index, every):
            return self.whole  # as it is, without copies of its inputs
        return self.whole.samples(self.batch, self.index)

    def one(self, row: int) -> N:
        """Return the network of one row, for states ``(unit,)``."""
        return self.whole.samples(self.batch, self.index[row])

    def __getitem__(self, chosen: Tensor) -> Rows[N]:
        index = self.index[chosen]
        if torch.equal(index, self.index):  # with the network that these rows have already
            return self
        return Rows(self.whole, self.batch, index)

    def __len__(self) -> int:
        return len(self.index)


def has_energy(rows: Rows[VectorField]) -> TypeGuard[Rows[Network]]:
    """Return whether the motion of rows goes down an energy whose gradient is its force."""
    return isinstance(rows.whole, Network)


class Iteration(Generic[N]):
    """States that iterate row by row: which rows still do, and where the others have ended.

    Attributes
    ----------
    rows : Rows
        Those that still iterate.
    active : Tensor
        Their places among all rows, ``(active,)``.
    ended : Tensor
        The last state of each row, ``(row, unit)``.
    steps : Tensor
        The steps that each row has taken, ``(row,)``.
    """

    rows: Rows[N]
    active: Tensor
    ended: Tensor
    steps: Tensor

    def __init__(self, rows: Rows[N], start: Tensor) -> None:
        self.rows, self.ended = rows, start.clone()
        self.active = torch.arange(len(start), device=start.device)
        self.steps = torch.zeros_like(self.active)

    def advance(self, s: Tensor, going: Tensor) -> None:
        """Note the active rows' states after a step; those not `going` end there."""
        self.ended[self.active] = s
        self.steps[self.active] += 1
        if not bool(going.all()):
            self.active, self.rows = self.active[going], self.rows[going]

    @property
    def over(self) -> bool:
        """Whether every row has ended."""
        return len(self.active) == 0
