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
from ctebm.equilibria.trust_region import Descended, descend, energy_rounding
from ctebm.networks.energy import Network

__all__ = ["above_start", "descend_to_bottom"]

# Steps one after another by which the energy falls no more, until Newton's method is tried: near an
# isolated minimum one to three are enough to end the descent.
PATIENCE = 6
# Newton's method takes so many steps at most, and has gone elsewhere when a unit has moved further
# than this share of the state.
NEWTON_STEPS, REACH = 30, 0.1


def descend_to_bottom(
    rows: Rows[Network],
    s: Tensor,
    tol: float,
    max_iterations: int,
    known: tuple[Tensor, Tensor] | None = None,
) -> Descended:
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
    known : tuple of Tensor, optional
        The energies and forces at the starts.

    Returns
    -------
    Descended
        Rows that can't move any more end before.
    """
    if s.shape[-1] > NEWTON_UNITS:
        return descend(rows, s, tol, max_iterations, known=known)
    found = s, steps, E, f = descend(rows, s, tol, max_iterations, PATIENCE, known)
    left = (residual(rows.network, s, f) > tol) & (steps < max_iterations)
    at = torch.nonzero(left).squeeze(-1)
    if not len(at):
        return found
    some, before = rows[at], s[at]
    ends, taken = newton(some, before, tol, NEWTON_STEPS)
    E_ends, f_ends = some.network.energy_and_force(ends)
    lowest_enough = E_ends <= E[at] + energy_rounding(some.network, before, E[at])
    near = (ends - before).abs().amax(-1) <= REACH * before.abs().amax(-1).clamp(min=1)
    good = near & lowest_enough & (residual(some.network, ends, f_ends) <= tol)
    solved = at[good]
    s[solved], steps[solved] = ends[good], steps[solved] + taken[good]
    E[solved], f[solved] = E_ends[good], f_ends[good]
    at = at[~good]
    if len(at):  # no solution beside them: the descent goes on as far as it can
        left = max_iterations - int(steps[at].min())
        s[at], more, E[at], f[at] = descend(rows[at], s[at], tol, left, known=(E[at], f[at]))
        steps[at] += more
    return found


def above_start(rows: Rows[Network], E: Tensor, start: Tensor, at: Tensor) -> Tensor:
    """Return the places of those rows whose energy is higher than that of their start.

    Parameters
    ----------
    rows : Rows
        All rows.
    E : Tensor
        Their energies, ``(row,)``.
    start : Tensor
        Their starts, ``(row, unit)``.
    at : Tensor
        The places of the rows to look at.
    """
    network, s = rows[at].network, start[at]
    first = network.energy(s)
    above = ~(first >= E[at])  # NaN is
    if bool(above.any()):
        above = ~(first + energy_rounding(network, s, first) >= E[at])
    return at[above]
