r"""The units of one sample that may move: while kinks hold the others, these alone are multiplied.

A unit is held with room if its current is beyond its kink by more than a reach. Where couplings
are strong these are most units, and among the others, a quarter of each layer, a sixteenth of the
weights is read. After some steps the whole network tells whether all that were held still are
("shrinking", Joachims 1999).
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from ctebm.networks.blocks import LayersAt
from ctebm.networks.condensed import Condensed

__all__ = ["WorkingSet", "held"]


class WorkingSet(NamedTuple):
    """Some units of one sample, the others held at their kinks.

    Attributes
    ----------
    network : Condensed
        Their energy, for states ``(1, unit)``.
    where : Tensor
        Their places among the kept layers.
    moving : Tensor
        Which they are among all layers, ``(unit,)``.
    """

    network: Condensed
    where: Tensor
    moving: Tensor

    @classmethod
    def of(cls, network: Condensed, row: int, moving: Tensor, now: LayersAt) -> Self:
        """Return a working set of one sample of a network.

        Parameters
        ----------
        network : Condensed
            The whole.
        row : int
            The sample.
        moving : Tensor
            Which units, of all layers, ``(unit,)``.
        now : LayersAt
            Where all of them are.
        """
        parts = moving.split([s.shape[-1] for s in now.states])
        where = torch.nonzero(network.of_kept(parts)).squeeze(-1)
        return cls(network.among(row, parts, now), where, moving)


def held(network: Condensed, now: LayersAt, reach: float) -> Tensor:
    """Return which units are at a kink that their current passes by a reach, ``(row, unit)``."""
    found = []
    for i, (s, _, I) in enumerate(zip(*now, strict=True)):
        box = network.blocks.rho(i).box
        assert box is not None
        low, high = (s <= box.low) & (box.low - reach > I), (s >= box.high) & (box.high + reach < I)
        found.append(low | high)
    return torch.cat(found, -1)
