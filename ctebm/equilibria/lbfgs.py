r"""Down an energy by the limited-memory method of Broyden, Fletcher, Goldfarb and Shanno.

Each step costs an energy and a force, and learns the curvature along it: where the Hessian is the
identity plus a matrix of small rank, a few more steps than that rank are enough (Nocedal 1980).

Letters: state ``x``, force ``f``, step ``s``, change of the gradient ``y``, direction ``d``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.rows import Iteration, Rows
from ctebm.equilibria.trust_region import energy_rounding
from ctebm.networks.energy import Network

__all__ = ["lbfgs"]

# Steps that are remembered, fewer if they are more numbers than that.
REMEMBERED, NUMBERS = 20, 2**26
# The share of the predicted decrease that is enough (Armijo), by how much a step is shortened until
# then, and the shortest.
SUFFICIENT, SHORTER, SHORTEST = 1e-4, 0.4, 1e-4
# A change of the gradient below this share of its size tells no curvature.
FLAT = 1e-10


class _Pair(NamedTuple):
    """A step, the change of the gradient, and 1 / s'y, 0 where it is not used, ``(row, 1)``."""

    s: Tensor
    y: Tensor
    rho: Tensor


def lbfgs(rows: Rows[Network], x: Tensor, tol: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Go down the energy from each row until the largest force is below a tolerance.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to, without kinks.
    x : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the largest force.
    max_iterations : int
        Bound on the steps of each row.

    Returns
    -------
    tuple of Tensor
        States ``(row, unit)`` and steps taken ``(row,)``. A row of which no shorter step lowers the
        energy ends before.
    """
    remembered = max(1, min(REMEMBERED, NUMBERS // (2 * max(1, x.numel()))))
    iteration = Iteration(rows, x)
    E, f = rows.network.energy_and_force(x)
    pairs: list[_Pair] = []
    scale = torch.ones_like(E).unsqueeze(-1)
    for _ in range(max_iterations):
        d = _direction(f, pairs, scale)
        slope = _dot(d, f)  # how fast the energy falls
        uphill = ~(slope > 0)
        d, slope = torch.where(uphill, f, d), torch.where(uphill, _dot(f, f), slope)
        t, E_new, f_new = _shortened(iteration.rows, x, d, E, slope)
        s, y = torch.where(t > 0, t * d, 0.0), f - f_new
        sy, yy = _dot(s, y), _dot(y, y)
        used = sy > FLAT * yy
        pair = _Pair(s, y, torch.where(used, 1 / sy, 0.0))
        pairs = [*pairs, pair][-remembered:]
        scale = torch.where(used, sy / yy, scale)
        x, E, f = x + s, E_new, f_new
        going = (f.abs().amax(-1) > tol) & (t > 0).squeeze(-1)
        if iteration.advance(going, x):
            continue
        if iteration.over:
            break
        x, E, f, scale = x[going], E[going], f[going], scale[going]
        pairs = [_Pair(*(part[going] for part in pair)) for pair in pairs]
    return iteration.ended[0], iteration.steps


def _direction(f: Tensor, pairs: list[_Pair], scale: Tensor) -> Tensor:
    """Return the force times the inverse Hessian that the steps tell (Nocedal's two loops)."""
    q, alphas = f, []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * _dot(s, q))
        q = q - alphas[-1] * y
    d = scale * q
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        d = d + (alpha - rho * _dot(y, d)) * s
    return d


def _shortened(
    rows: Rows[Network], x: Tensor, d: Tensor, E: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how much of each step lowers the energy, ``(row, 1)``, and energy and force there.

    0 where the shortest does not.
    """
    t = torch.ones_like(slope)
    E_new, f_new = rows.network.energy_and_force(x + d)
    slack = energy_rounding(rows.network, x, E)
    while True:
        high = ~(E_new <= E - SUFFICIENT * (t * slope).squeeze(-1) + slack)  # NaN is
        at = torch.nonzero(high & (t > 0).squeeze(-1)).squeeze(-1)
        if not len(at):
            return t, E_new, f_new
        t[at] = torch.where(t[at] > SHORTEST, SHORTER * t[at], 0.0)
        step = torch.where(t[at] > 0, t[at] * d[at], 0.0)
        E_new[at], f_new[at] = rows[at].network.energy_and_force(x[at] + step)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the inner product of each row, ``(row, 1)``."""
    return (u * v).sum(-1, keepdim=True)
