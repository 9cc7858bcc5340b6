r"""Down the energy to its bottom, where it is flat to rounding too.

Beside a nearly neutral direction, such as that of a bump or a wall that can move, the energy
changes by less than its rounding while the force is still above the tolerance. Newton's method for
the force, which takes no notice of the energy, then ends what the descent has begun.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import residual
from ctebm.equilibria.newton import NEWTON_UNITS, newton
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import descend, energy_rounding
from ctebm.networks.energy import Network

__all__ = ["descend_to_bottom"]

# Steps one after another by which the energy falls no more, until Newton's method is tried: near an
# isolated minimum one to three are enough to end the descent.
PATIENCE = 6
# Newton's method takes so many steps at most, and has gone elsewhere when a unit has moved further
# than this share of the state.
NEWTON_STEPS, REACH = 30, 0.1


def descend_to_bottom(
    rows: Rows[Network], s: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Descend the energy from each row, as :func:`descend`, and solve the force where it is flat.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the residual.
    max_iterations : int
        Bound on the steps of each row.

    Returns
    -------
    tuple of Tensor
        States ``(row, unit)`` and steps taken ``(row,)``; rows that can't move any more end before.
    """
    if s.shape[-1] > NEWTON_UNITS:
        return descend(rows, s, tol, max_iterations)
    s, steps = descend(rows, s, tol, max_iterations, PATIENCE)
    left = (residual(rows.network, s) > tol) & (steps < max_iterations)
    at = torch.nonzero(left).squeeze(-1)
    if not len(at):
        return s, steps
    some, before = rows[at], s[at]
    ends, taken = newton(some, before, tol, NEWTON_STEPS)
    E = some.network.energy(before)
    lowest_enough = some.network.energy(ends) <= E + energy_rounding(some.network, before, E)
    near = (ends - before).abs().amax(-1) <= REACH * before.abs().amax(-1).clamp(min=1)
    good = near & lowest_enough & (residual(some.network, ends) <= tol)
    s[at[good]], steps[at[good]] = ends[good], steps[at[good]] + taken[good]
    at = at[~good]
    if len(at):  # no solution beside them: the descent goes on as far as it can
        s[at], more = descend(rows[at], s[at], tol, max_iterations - int(steps[at].min()))
        steps[at] += more
    return s, steps
