r"""Alternating updates with momentum, which hurry a chain of kinked layers down its energy.

An update of the kept layers, then of those between, is a projected step along the force of the
condensed network,

.. math:: o_{k+1} = \mathrm{clip}(y_k + f(y_k),\, \beta_1,\, \beta_2), \qquad
          y_{k+1} = o_{k+1} + \tfrac{j}{j + 3} (o_{k+1} - o_k)

(Nesterov 1983), with `j` steps since the momentum last led upwards, where it starts anew
(O'Donoghue & Candès 2015). No curvature is above 1, so that no step is too long.

In a large network most units are soon held by kinks. Each sample then goes on among the others
alone, and every so many steps all units are updated and it is seen which ones may move.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.equilibria.krylov import iterations_between_looks
from ctebm.equilibria.working_set import WorkingSet, held, share_among
from ctebm.networks.condensed import ROWS, Condensed

__all__ = ["accelerated"]

# Steps after which it is noted which rows have come near; a GPU tells the host less often.
LOOK = 8
# Rows that have are carried along until no more than this share has not.
KEPT = 0.7
# Weights from which on a step of one sample among the units that move costs less than its share of
# a step of all, however many samples there are.
MANY_WEIGHTS = 2**21
# Steps of all units first, and then those of the ones that move between two of all.
FIRST, AMONG = 24, 16
# A unit counts as held if its current passes the kink by this; until by this little it stays so.
REACH, STILL = 0.2, 0.05
# Of all weights, the share among the units that move up to which a row goes on alone, and how many
# bytes such weights of several rows may take.
FEW, BYTES = 0.25, 2**29


def accelerated(network: Condensed, o: Tensor, tol: float, most: int) -> tuple[Tensor, Tensor]:
    """Return states near equilibria, and the steps taken to them.

    Parameters
    ----------
    network : Condensed
        For states ``(row, unit)``.
    o : Tensor
        Starts, ``(row, unit)``.
    tol : float
        The residual at which a row has come near enough.
    most : int
        Bound on the steps.

    Returns
    -------
    tuple of Tensor
        ``(row, unit)`` and ``(row,)``. Nothing is promised of them: the energy may have risen.
    """
    if network.n_weights >= MANY_WEIGHTS and not o.is_cuda and len(o):
        return _each_alone(network, o, tol, most)
    ends, steps = o.clone(), torch.full(o.shape[:1], most, device=o.device)
    at, going = torch.arange(len(o), device=o.device), torch.ones_like(steps, dtype=torch.bool)
    motion, read = _Motion.of(o), max(LOOK, iterations_between_looks(o))
    for k in range(1, most + 1):
        o = motion.updated(network, network.force(motion.y))
        after = motion.after(network, o)
        if k % LOOK == 0 or k == most:
            far = (o - motion.y).abs().amax(-1) > tol
            over = going if k == most else going & ~far
            ends[at] = torch.where(over.unsqueeze(-1), o, ends[at])
            steps[at] = torch.where(over, k, steps[at])
            going = going & far
        if k % read == 0:
            left = torch.nonzero(going).squeeze(-1)
            if not len(left):
                break
            if len(left) <= KEPT * len(at):
                network = network.samples(network.batch, left)
                at, after, going = at[left], after.rows(left), going[left]
        motion = after
    return ends, steps


class _Motion(NamedTuple):
    """Rows between two steps: where the momentum leads, the last states, and its steps."""

    y: Tensor
    o: Tensor
    j: Tensor

    @classmethod
    def of(cls, o: Tensor) -> Self:
        """Return states ``(row, unit)`` without momentum."""
        return cls(o, o, torch.zeros_like(o[:, :1]))

    def updated(self, network: Condensed, f: Tensor) -> Tensor:
        """Return the states after an update along the force at `y`."""
        return project(network, self.y + f)

    def after(self, network: Condensed, o: Tensor) -> _Motion:
        """Return the motion after an update to states `o`."""
        onward = o - self.o
        upwards = ((o - self.y) * onward).sum(-1, keepdim=True) < 0
        j = (self.j + 1).masked_fill_(upwards, 0.0)
        return _Motion(project(network, torch.addcmul(o, j / (j + 3), onward)), o, j)

    def rows(self, chosen: Tensor) -> _Motion:
        """Return the same of some rows."""
        return _Motion(*(x[chosen] for x in self))


def _each_alone(network: Condensed, o: Tensor, tol: float, most: int) -> tuple[Tensor, Tensor]:
    """Do likewise, rows one by one where few of their units move; see :func:`accelerated`."""
    room = int(BYTES / (FEW * network.n_weights * o.element_size()))
    some = torch.arange(len(o), device=o.device).split(max(ROWS, room))
    ends, steps = zip(*(_some_alone(network, at, o[at], tol, most) for at in some), strict=True)
    return torch.cat(ends), torch.cat(steps)


def _some_alone(
    network: Condensed, at: Tensor, o: Tensor, tol: float, most: int
) -> tuple[Tensor, Tensor]:
    """Do likewise for some rows together, by their numbers."""
    ends, steps, n = o.clone(), torch.full(o.shape[:1], most, device=o.device), len(o)
    network, motion = network.samples(network.batch, _padded(at)), _Motion.of(_padded(o))
    sets: dict[int, WorkingSet] = {}
    going, k = list(range(n)), 0
    while going and k < most:
        now = network.layers_at(motion.y)
        o, k = motion.updated(network, network.force_at(motion.y, now)), k + 1
        near = ((o - motion.y).abs().amax(-1) <= tol).tolist()
        over = [i for i in going if near[i] or k == most]
        ends[over], steps[over] = o[over], k
        going = [i for i in going if not near[i]]
        motion, among = motion.after(network, o), min(AMONG, most - k - 1)
        if k < FIRST or among < 1:
            continue
        freed, roomy = ~held(network, now, STILL), ~held(network, now, REACH)
        few = (share_among(network, roomy) <= FEW).tolist()
        for i in going:
            if i in sets and not (freed[i] & ~sets[i].moving).any():
                continue
            sets.pop(i, None)
            if few[i]:
                sets[i] = WorkingSet.of(network, i, roomy[i], now)
        for i in going:
            if i in sets:
                _go_on(motion, i, sets[i], among)
        if others := [i for i in going if i not in sets]:
            _go_on_together(network, motion, torch.tensor(others, device=o.device), among)
        k += among
    return ends, steps


def _padded(rows: Tensor) -> Tensor:
    """Return rows, the last one repeated: a product with fewer than some is rounded otherwise.

    It costs as much.
    """
    return rows[torch.arange(max(len(rows), ROWS), device=rows.device).clamp(max=len(rows) - 1)]


def _go_on_together(network: Condensed, motion: _Motion, at: Tensor, n_steps: int) -> None:
    """Take steps of some rows among all units, which changes the motion of all rows."""
    rows = _padded(at)
    some, own = network.samples(network.batch, rows), motion.rows(rows)
    for _ in range(n_steps):
        own = own.after(some, own.updated(some, some.force(own.y)))
    for whole, part in zip(motion, own, strict=True):
        whole[at] = part[: len(at)]


def _go_on(motion: _Motion, i: int, some: WorkingSet, n_steps: int) -> None:
    """Take steps of one row among some units, which changes the motion of all rows."""
    one, where = slice(i, i + 1), some.where
    own = _Motion(motion.y[one, where], motion.o[one, where], motion.j[one])
    for _ in range(n_steps):
        own = own.after(some.network, own.updated(some.network, some.network.force(own.y)))
    motion.y[one, where], motion.o[one, where], motion.j[one] = own
