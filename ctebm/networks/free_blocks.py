"""Weights among the free units of a chain of layers, gathered, sample by sample.

Where kinks hold most units, products with what is left take a small part of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise, starmap
from typing import NamedTuple, Self

import torch
from torch import Tensor

__all__ = ["FreeBlocks", "FreeRows"]


class FreeBlocks(NamedTuple):
    r"""The curvature on the free units of one sample, :math:`1 - K_F' K_F`.

    Attributes
    ----------
    where : Tensor
        The free units among the kept ones.
    blocks : list
        For each layer between its weights from each neighbour, and that one's place among these.
    """

    where: Tensor
    blocks: list[list[tuple[slice, Tensor]]]

    @classmethod
    def of(
        cls,
        free: Mapping[int, Tensor],
        kept: Sequence[int],
        neighbours: Sequence[Sequence[tuple[int, Tensor]]],
    ) -> Self:
        """Return the curvature on some units of one sample.

        Parameters
        ----------
        free : mapping
            Which units of each layer, ``(unit,)``.
        kept : sequence of int
            Every other layer.
        neighbours : sequence
            Of each layer, and the weights from there.
        """
        at = {i: torch.nonzero(m).squeeze(-1) for i, m in free.items()}
        where = torch.nonzero(torch.cat([free[i] for i in kept])).squeeze(-1)
        ends = accumulate((len(at[i]) for i in kept), initial=0)
        places = dict(zip(kept, starmap(slice, pairwise(ends)), strict=True))
        blocks = [
            [(places[j], M.index_select(0, at[j]).index_select(1, at[i])) for j, M in neighbours[i]]
            for i in at if i not in places
        ]  # fmt: skip
        return cls(where, blocks)

    def __call__(self, v: Tensor) -> Tensor:
        """Return the product with vectors ``(*batch, unit)``, 0 on the units that are not free."""
        u = v[..., self.where]
        found = u.clone()
        for own in self.blocks:
            if own:
                up = torch.stack([u[..., place] @ W for place, W in own]).sum(0)
                for place, W in own:
                    found[..., place] -= up @ W.mT
        return torch.zeros_like(v).index_copy_(-1, self.where, found)


class FreeRows(NamedTuple):
    """The curvature on the free units of some samples, one a row."""

    each: list[FreeBlocks]

    def __call__(self, v: Tensor) -> Tensor:
        """Return the products with vectors ``(row, unit)``, 0 on the units that are not free."""
        return torch.stack([one(u) for one, u in zip(self.each, v, strict=True)])

    def rows(self, chosen: Tensor) -> FreeRows:
        """Return the same of some rows, by their numbers."""
        return FreeRows([self.each[i] for i in chosen.tolist()])
