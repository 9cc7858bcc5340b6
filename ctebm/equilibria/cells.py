r"""Settling among kinks inside the range of units, from one piece of the energy to the next.

Kinks cut the states into cells, in each of which the energy is smooth. There it is followed down to
the faces at most, on which units are held as at those of a box. A unit whose force beyond a face
leads further down goes over; one that is pushed back from there is *pinned* on the kink. Each
crossing lowers the energy, so that no cell comes twice.

Letters: state ``s``, force ``f``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from ctebm.equilibria.kkt import forces_beside
from ctebm.equilibria.rows import Rows
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.layout import broadcast_shapes, rows_of

__all__ = ["Cell", "Ends", "settle_in_cells"]

# Crossings of each row, as many rounds of settling in a cell; units cross together.
MOST_CROSSINGS = 200

# States, steps, and what is known of rows that have not settled.
Ends = Callable[[Rows[Network], Tensor], tuple[Tensor, Tensor, dict[int, str]]]


class Cell(Network):
    """A network between the kinks on both sides of its units, where its energy is smooth.

    Parameters
    ----------
    network : Network
        With kinks.
    box : Box
        The kinks around each unit, ``(*batch, unit)``.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.equilibria.cells import Cell
    >>> class V(ctebm.Network):
    ...     kinks = ctebm.networks.kinks.Kinks(0.0)
    ...     def energy(self, s):
    ...         return (s.abs() + s * s / 2).sum(-1)
    >>> below = Cell(V(1), ctebm.Box(torch.tensor([-torch.inf]), torch.tensor([0.0])))
    >>> below.force(torch.zeros(1, dtype=torch.float64))  # of the side of the cell
    tensor([1.], dtype=torch.float64)
    """

    network: Network
    box: Box | None
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: Network, box: Box) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.box = network, box
        self.dtype, self.device = network.dtype, network.device

    def within(self, s: Tensor) -> Tensor:
        """Return states with units on a face moved into the cell by a rounding."""
        assert self.box is not None
        return self.box.from_inside(self.as_state(s))

    def energy(self, s: Tensor) -> Tensor:
        return self.network.energy(s)

    def force(self, s: Tensor) -> Tensor:
        return self.network.force(self.within(s))

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.energy_and_force(self.within(s))

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.network.hessian_product(self.within(s), v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        return self.network.hessian_operator(self.within(s))

    def hessian(self, s: Tensor) -> Tensor:
        return self.network.hessian(self.within(s))

    @property
    def batch(self) -> torch.Size:
        low = self.box.low if self.box is not None else 0.0
        rows = low.shape[:-1] if isinstance(low, Tensor) else ()
        return broadcast_shapes(self.network.batch, rows)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = copy.copy(self)
        assert self.box is not None
        each = (torch.as_tensor(face, device=rows.device) for face in self.box)
        faces: list[Any] = [rows_of(face, batch, rows) for face in each]
        other.network, other.box = self.network.samples(batch, rows), Box(*faces)
        return other


def settle_in_cells(
    rows: Rows[Network], s: Tensor, tol: float, settle: Ends
) -> tuple[Tensor, Tensor, dict[int, str]]:
    """Return where rows of a network with kinks settle, the steps, and what is known of others.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the residual: a force beyond a face that is smaller leads nowhere.
    settle : callable
        Goes down the energy within the box of a network.
    """
    kinks = rows.whole.kinks
    assert kinks is not None
    ends, steps = s.clone(), torch.zeros(len(s), dtype=torch.long, device=s.device)
    why: dict[int, str] = {}
    number, at = kinks.below(s) + _upward(rows, s), torch.arange(len(s), device=s.device)
    for _ in range(MOST_CROSSINGS):
        some, box = rows[at], kinks.cell(number[at], ends[at], rows.whole.box)
        cells = Rows.of(Cell(some.network, box), torch.Size((len(at),)))
        found, more, unsettled = settle(cells, ends[at])
        why = {i: word for i, word in why.items() if i not in set(at.tolist())}
        why |= {int(at[i]): word for i, word in unsettled.items()}
        ends[at], steps[at] = found, steps[at] + more
        crossing = _crossing(some, found, box, tol)
        number[at] += crossing
        at = at[crossing.any(-1)]
        if not len(at):
            break
    return ends, steps, why


def _upward(rows: Rows[Network], s: Tensor) -> Tensor:
    """Return 1 for units on a kink that begin above it, as those that nothing leads below."""
    sides = forces_beside(rows.network, s)
    if sides is None or rows.whole.kinks is None:
        return torch.zeros_like(s, dtype=torch.long)
    return (rows.whole.kinks.on(s) & ((sides[1] > 0) | (sides[0] >= 0))).long()


def _crossing(rows: Rows[Network], s: Tensor, box: Box, tol: float) -> Tensor:
    """Return -1 and 1 for units on a face whose force beyond it leads on, 0 for the others."""
    sides, kinks = forces_beside(rows.network, s), rows.whole.kinks
    if sides is None or kinks is None:
        return torch.zeros_like(s, dtype=torch.long)
    below, above = sides
    down, up = (s == box.low) & (below < -tol), (s == box.high) & (above > tol)
    return (up.long() - down.long()) * kinks.on(s)
