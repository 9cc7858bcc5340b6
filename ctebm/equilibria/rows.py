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
    every : bool
        Whether these are known to be all samples in their order.

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
    every: bool = False

    @staticmethod
    def of(network: F, batch: torch.Size) -> Rows[F]:
        """Return every sample of a batch once."""
        index = torch.arange(math.prod(batch), device=network.device)
        return Rows(network, batch, index, every=True)

    @staticmethod
    def repeated(network: F, n: int) -> Rows[F]:
        """Return the one sample of a network `n` times."""
        index = torch.zeros(n, dtype=torch.long, device=network.device)
        return Rows(network, torch.Size((1,)), index)

    @cached_property
    def network(self) -> N:
        """The network of these rows, for states ``(row, unit)``."""
        if self.every and self.whole.batch == self.batch == self.index.shape:
            return self.whole  # as it is, without copies of its inputs
        return self.whole.samples(self.batch, self.index)

    def one(self, row: int) -> N:
        """Return the network of one row, for states ``(unit,)``."""
        return self.whole.samples(self.batch, self.index[row])

    def __getitem__(self, chosen: Tensor) -> Rows[N]:
        index = self.index[chosen]
        if len(index) == len(self) and torch.equal(index, self.index):
            return self  # with the network that these rows have already
        return Rows(self.whole, self.batch, index)

    def __len__(self) -> int:
        return self.index.shape[0]


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
    """

    rows: Rows[N]
    active: Tensor

    def __init__(self, rows: Rows[N], *start: Tensor) -> None:
        self.rows, self._now, self._n = rows, start, 0
        self.active = torch.arange(len(rows), device=rows.index.device)
        self._ended, self._steps = tuple(x.clone() for x in start), torch.zeros_like(self.active)

    def advance(self, going: Tensor, *now: Tensor) -> bool:
        """Note a step of the active rows; those not `going` end there.

        Parameters
        ----------
        going : Tensor
            Which go on, ``(active,)``.
        *now : Tensor
            Their states, and what else is noted of them, as at the start, ``(active, ...)``.

        Returns
        -------
        bool
            Whether all go on.
        """
        self._now, self._n = now, self._n + 1
        if all_go_on := bool(going.all()):
            return all_go_on
        self._note()
        left = torch.nonzero(going).squeeze(-1)
        self.active, self.rows = self.active[left], self.rows[left]
        self._now = tuple(x[left] for x in now)
        return all_go_on

    def _note(self) -> None:
        """Note where the active rows are."""
        self._steps[self.active] = self._n
        for ended, now in zip(self._ended, self._now, strict=True):
            ended[self.active] = now

    @property
    def ended(self) -> tuple[Tensor, ...]:
        """The last state of each row, ``(row, unit)``, and what else is noted."""
        self._note()
        return self._ended

    @property
    def steps(self) -> Tensor:
        """The steps that each row has taken, ``(row,)``."""
        self._note()
        return self._steps

    @property
    def over(self) -> bool:
        """Whether every row has ended."""
        return len(self.rows) == 0
