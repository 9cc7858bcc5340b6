r"""The equilibrium that a start leads to: down the energy, each sample at its own pace.

Picard's iteration :math:`s \leftarrow R(s)` is followed as long as it contracts. Where it does not,
Newton steps in a trust region descend the energy; without an energy Newton's method solves for a
zero of the force.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from ctebm.equilibria.kkt import check_tolerance, project
from ctebm.equilibria.newton import newton
from ctebm.equilibria.picard import picard
from ctebm.equilibria.record import FixedPoints, points_at
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import descend
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.energy import Network, check_energy
from ctebm.networks.numbers import whole
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["check_motion", "settle", "settle_from", "settle_rows", "start_state"]

# Picard's iteration converges linearly and cheaply: it goes on to this share of the tolerance, or
# to this many roundings, since what is measured from an equilibrium depends on its residual.
PICARD_SHARE, PICARD_ROUNDINGS = 30, 64
# Bound on the steps of each start of a search.
SEARCH_ITERATIONS = 500


def settle(
    network: VectorField,
    start: StateLike | None = None,
    tol: float = 1e-10,
    max_iterations: int = 1000,
) -> FixedPoints:
    r"""Find one equilibrium for each sample, downhill in energy from a start.

    Solves :math:`\partial E/\partial s = 0` (eq. 9), with kinks
    :math:`s = \mathrm{clip}(b + W\rho(s), b_1, b_2)`; without an energy, ``force = 0``.

    Parameters
    ----------
    network : VectorField
        Its clamped inputs, if any, set the batch.
    start : array, (*batch, unit), or a record with such a ``state``, optional
        By default the state 0, which lies between the kinks. A start that is an equilibrium,
        stable or not, is returned.
    tol : float
        Bound on the residual at the returned point (see :class:`FixedPoints`).
    max_iterations : int
        Bound on the steps of each sample; a Newton step counts once.

    Returns
    -------
    FixedPoints
        A sample that has not converged says so in ``status`` and ``message``; it neither spoils
        nor delays the others. The equilibrium is one that the energy falls to, which need not be
        the one that the motion from `start` ends in.

    Raises
    ------
    ValueError
        For a start of the wrong shape or not finite, a tolerance below rounding, no iterations, or
        an energy that is not one number for each state or not differentiable.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> points = ctebm.settle(pair, [[0.1, 0.1], [-0.1, -0.2]]).raise_for_status()
    >>> points.state
    tensor([[ 0.5000,  0.5000],
            [-0.5000, -0.5000]], dtype=torch.float64)
    >>> points.stability, points.margin
    (['stable', 'stable'], tensor([0.5000, 0.5000], dtype=torch.float64))
    """
    s = start_state(network, start)
    check_tolerance(tol, s.dtype)
    max_iterations = whole("max_iterations", max_iterations, least=1)
    batch = s.shape[:-1]
    rows = Rows.of(network, batch)
    flat, steps = settle_rows(rows, s.reshape(-1, s.shape[-1]), tol, max_iterations)
    return points_at(network, flat.reshape(s.shape), tol, steps.reshape(batch))


def settle_rows(
    rows: Rows[VectorField], s: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Settle states ``(row, unit)``; return where they end and the steps taken, ``(row,)``."""
    rounding = PICARD_ROUNDINGS * torch.finfo(s.dtype).eps
    goal = max(tol / PICARD_SHARE, min(tol, rounding))
    s, steps, left = picard(rows.network, s, goal, max_iterations)
    far = torch.nonzero(left).squeeze(-1)
    if len(far):
        some = rows[far]
        if _has_energy(some):
            ends, more = descend(some, s[far], tol, max_iterations)
        else:
            ends, more = newton(some, s[far], tol, max_iterations)
        s, steps[far] = s.index_copy(0, far, ends), steps[far] + more
    return s, steps


def settle_from(network: VectorField, starts: Tensor, tol: float) -> Tensor:
    """Return the ends of settling from many starts ``(start, unit)`` in one sample."""
    rows = Rows.repeated(network, len(starts))
    return settle_rows(rows, starts, tol, SEARCH_ITERATIONS)[0]


def start_state(network: VectorField, start: StateLike | None) -> Tensor:
    """Return starts as states inside the box, one for each sample, checked."""
    if start is None:
        if network.n_units is None:
            raise ValueError("this network takes states of any length; give a start.")
        start = torch.zeros(network.n_units, dtype=network.dtype, device=network.device)
    s = network.as_state(start)
    if not bool(torch.isfinite(s).all()):
        raise ValueError("expected a finite start, got NaN or infinity; clean the start state.")
    batch = torch.broadcast_shapes(s.shape[:-1], network.batch)
    s = project(network, s.expand(*batch, -1).clone())
    check_motion(network, s)
    return s


def check_motion(network: VectorField, s: Tensor) -> None:
    """Refuse an energy that is not one differentiable number for each state, or without a force."""
    if isinstance(network, PairwiseNetwork):  # closed forms of finite parameters
        return
    if isinstance(network, Network):
        check_energy(network.energy(s), s)
    try:
        f = network.force(s)
    except RuntimeError as error:
        raise ValueError(
            f"expected an energy that torch can differentiate, got {str(error).splitlines()[0]!r}; "
            "compute it with torch operations on the state alone."
        ) from error
    if not bool(torch.isfinite(f).all()):
        raise ValueError(
            "expected a finite force at the start, got NaN or infinity; check the parameters, or "
            "start where the energy is smooth."
        )


def _has_energy(rows: Rows[VectorField]) -> TypeGuard[Rows[Network]]:
    return isinstance(rows.whole, Network)
