r"""Exchanges of two units, and of all signs, that leave a motion as it is.

They lead from each equilibrium to others: where units are alike, searches need to find one of each
kind. An exchange `P` is one if :math:`f(P s) = P f(s)` at generic states; what it makes of an
equilibrium is tested like any other state, so that a chance agreement does no harm.

Letters: state ``s``, force ``f``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ctebm.equilibria.catalogue import Catalogue
from ctebm.networks.base import VectorField

__all__ = ["Symmetries"]

# Generic states at which exchanges are tried, and what rounding may leave of their difference.
STATES, ROUNDING = 3, 256
# Images in one go: beyond them the equilibria of units that are alike are too many to be listed.
MOST_IMAGES = 50_000


@dataclass(frozen=True, eq=False)
class Symmetries:
    """What may be done to each state without a change of the motion.

    Attributes
    ----------
    orders : Tensor
        Orders of the units, ``(exchange, unit)``.
    odd : bool
        Whether the force of the opposite state is the opposite force.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.equilibria.symmetries import Symmetries
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [0, 0], ctebm.Tanh()).centred()
    >>> found = Symmetries.of(pair, torch.tensor([[0.3, -0.1]], dtype=pair.dtype))
    >>> found.orders.tolist(), found.odd
    ([[1, 0]], True)
    """

    orders: Tensor
    odd: bool

    @classmethod
    def of(cls, network: VectorField, states: Tensor) -> Self:
        """Return those of a network, tried at the first of some generic states."""
        s = states[:STATES]
        n = s.shape[-1]
        i, j = torch.triu_indices(n, n, 1, device=s.device)
        each = torch.arange(len(i), device=s.device)
        orders = torch.arange(n, device=s.device).repeat(len(i), 1)
        orders[each, i], orders[each, j] = j, i
        f = network.force(s)
        bound = ROUNDING * torch.finfo(s.dtype).eps * f.abs().amax().clamp(min=1)
        off = network.force(s[:, orders].flatten(0, 1)) - f[:, orders].flatten(0, 1)
        alike = (off.abs().amax(-1).reshape(len(s), -1) <= bound).all(0)
        odd = bool(((network.force(-s) + f).abs() <= bound).all())
        return cls(orders[alike], odd)

    def images(self, s: Tensor) -> Tensor:
        """Return what each makes of states ``(row, unit)``, ``(image, unit)``."""
        exchanged = s[:, self.orders].flatten(0, 1)
        return torch.cat([exchanged, -s]) if self.odd else exchanged

    def close(self, catalogue: Catalogue) -> None:
        """Add images of what was found until none is new, or there are too many."""
        known, each = -1, len(self.orders) + self.odd
        while known < len(catalogue.states) and 0 < each * len(catalogue.states) <= MOST_IMAGES:
            known = len(catalogue.states)
            catalogue.add(self.images(catalogue.states))
