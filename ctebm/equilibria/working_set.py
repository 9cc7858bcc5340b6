r"""The units of one sample that may move: while kinks hold the others, these alone are multiplied.

A unit is held with room if its current is beyond its kink by more than a reach. Where couplings
are strong these are most units, and among the others, a quarter of each layer, a sixteenth of the
weights is read. After some steps the whole network tells whether all that were held still are
("shrinking", Joachims 1999).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ctebm.networks.blocks import LayersAt
from ctebm.networks.condensed import Condensed

__all__ = ["WorkingSet", "held", "share_among"]


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


def share_among(network: Condensed, moving: Tensor) -> Tensor:
    """Return the share of the weights that is among some units, ``(row,)``.

    Parameters
    ----------
    network : Condensed
        Whose weights they are.
    moving : Tensor
        Which units, of all layers, ``(row, unit)``.
    """
    parts = moving.split([b.shape[-1] for b in network.blocks.biases], -1)
    pairs = zip(network.blocks.weights, pairwise(part.sum(-1) for part in parts), strict=True)
    among = [below * above for W, (below, above) in pairs if W is not None]
    return torch.stack(among).sum(0) / network.n_weights
