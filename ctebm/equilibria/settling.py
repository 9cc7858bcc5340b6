r"""The equilibrium that a start leads to, each sample at its own pace.

Picard's iteration :math:`s \leftarrow R(s)` is followed as long as it contracts. Where it does not,
Newton steps in a trust region descend the energy, and a saddle is left along its negative
curvature. Without an energy, or where the basin matters, the motion itself is followed.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.cells import settle_in_cells
from ctebm.equilibria.descent import above_start
from ctebm.equilibria.inertia import classify, without_margin
from ctebm.equilibria.kkt import check_tolerance, jump_beside, residual
from ctebm.equilibria.minimum import Ends, descend_to_minimum, scale
from ctebm.equilibria.picard import beyond_tolerance, picard
from ctebm.equilibria.predictive_errors import descend_in_errors, is_predictive
from ctebm.equilibria.record import FixedPoints, points_at
from ctebm.equilibria.relaxation import LARGEST, relax
from ctebm.equilibria.rows import Rows, has_energy
from ctebm.equilibria.saddles import is_unstable
from ctebm.equilibria.starts import start_state
from ctebm.equilibria.trust_region import GROWTH
from ctebm.networks.base import StateLike, VectorField, free_network
from ctebm.networks.energy import Network
from ctebm.networks.numbers import one_of, whole

__all__ = ["settle", "settle_from", "settle_rows"]

# Bound on the steps of each start of a search.
SEARCH_ITERATIONS = 500
# Iterations that nobody awaits; tensors count them.
_ENDLESS = 2**62

Path = Literal["fast", "flow"]


@small_on_one_thread()
def settle(
    network: VectorField,
    start: StateLike | None = None,
    tol: float | None = None,
    max_iterations: int = 1000,
    path: Path = "fast",
) -> FixedPoints:
    r"""Find one equilibrium for each sample, downhill in energy from a start.

    Solves :math:`\partial E/\partial s = 0` (eq. 9), with kinks
    :math:`s = \mathrm{clip}(b + W\rho(s), \beta_1, \beta_2)`; without an energy, ``force = 0``.

    Parameters
    ----------
    network : VectorField
        Its clamped inputs, if any, set the batch.
    start : array, (*batch, unit), or a record with such a ``state``, optional
        By default the network's ``first_guess``: 0, which lies between the kinks, or the forward
        pass of predictive coding. A start that is an equilibrium, stable or not, is returned.
    tol : float, optional
        Bound on the residual at the returned point (see :class:`FixedPoints`); by default 1e-10,
        in float32 1.2e-5.
    max_iterations : int
        Bound on the steps of each sample, after each saddle anew; a Newton step counts once, and
        so does a step in time.
    path : {"fast", "flow"}
        Which equilibrium. ``"fast"`` goes down the energy by the longest steps that lower it: the
        end is not above the start, and stable unless the start lies on the stable set of a
        saddle, but another start's motion may lead there. ``"flow"`` follows the motion
        :math:`\dot s = f(s)` itself, in steps small enough for the basin of attraction to be the
        start's, which costs several times as much. Without an energy both follow the motion, and
        ``"fast"`` only where :math:`s \leftarrow R(s)` does not contract from the start on.
        Above 2,000 units the motion alone is followed, to the tolerance; below, Newton's method
        ends it once the force is small and an equilibrium near.

    Returns
    -------
    FixedPoints
        A sample that has not converged says so in ``status`` and ``message``; it neither spoils
        nor delays the others. One that ends at an unstable equilibrium which was not its start
        says so in ``message``.

    Raises
    ------
    ValueError
        For a start of the wrong shape or not finite, a tolerance below rounding, no iterations, or
        an energy that is not one number for each state or not differentiable, or another path.

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
    now = free_network(network).snapshot()
    s = start_state(now, start)
    tol = check_tolerance(tol, s.dtype)
    one_of("path", path, get_args(Path))
    max_iterations = min(whole("max_iterations", max_iterations, least=1), _ENDLESS)
    batch = s.shape[:-1]
    ends = settle_rows(Rows.of(now, batch), s.reshape(-1, s.shape[-1]), tol, max_iterations, path)
    state, steps = ends.state.reshape(s.shape), ends.steps.reshape(batch)
    known = ends.known and (ends.known[0].reshape(batch), ends.known[1].reshape(s.shape))
    asked = {"path": path, "max_iterations": max_iterations}
    return points_at(network, state, tol, steps, now=now, known=known, why=ends.why, settings=asked)


def settle_rows(
    rows: Rows[VectorField], s: Tensor, tol: float, max_iterations: int, path: Path = "fast"
) -> Ends:
    """Settle states ``(row, unit)`` that are no equilibria yet."""
    if path == "flow":
        ends = Ends(s.clone(), torch.zeros_like(rows.index), {})
        _follow(rows, ends, _places(residual(rows.network, s) > tol), tol, max_iterations)
        return ends
    if has_energy(rows) and rows.whole.kinks is not None:

        def settled(cells: Rows[Network], u: Tensor) -> tuple[Tensor, Tensor, dict[int, str]]:
            return settle_rows(cells, u, tol, max_iterations)[:3]

        return Ends(*settle_in_cells(rows, s, tol, settled))
    goal = beyond_tolerance(tol, s.dtype)
    before = torch.zeros_like(rows.index)
    if is_predictive(rows):
        s, before = descend_in_errors(rows, s, goal, max_iterations)
    found = picard(rows.network, s, goal, max_iterations)
    ends = Ends(found.state, before + torch.from_numpy(found.steps).to(s.device), {})
    moving, doubtful = found.first > tol, found.overshot | found.far
    if has_energy(rows):
        known = rows.network.energy_and_force(found.state)
        if rows.whole.box is not None:
            # a unit that stands at a kink by chance may be let go there
            weak = without_margin(rows.network, found.state, known[1])
            doubtful |= weak.any(-1).cpu().numpy()
        doubtful &= moving
        if doubtful.any():
            # a step that overshoots may end anywhere: above the start, or at a saddle
            far = found.far.copy()
            if moving.all() and 2 * doubtful.sum() > len(moving):
                doubtful[:] = True  # the others cost less than a copy of these
            if (left := doubtful & ~found.back).any():
                at = above_start(rows, known[0], s, _at(left, s))
                if len(at):
                    ends.state[at], far[at.cpu().numpy()] = s[at], True
                    known[0][at], known[1][at] = rows[at].network.energy_and_force(s[at])
            far &= moving
            descend_to_minimum(
                rows, ends, known, _at(far, s), _at(doubtful & ~far, s), tol, max_iterations
            )
        return ends._replace(known=known)
    if doubtful.any():
        at = _at(doubtful, s)
        ends.state[at] = s[at]
        _follow(rows, ends, _at(doubtful & moving, s), tol, max_iterations)
    return ends


def _follow(
    rows: Rows[VectorField], ends: Ends, at: Tensor, tol: float, max_iterations: int
) -> None:
    """Follow the motion from some rows, which changes `ends`."""
    if not len(at):
        return
    start = ends.state[at]
    found = relax(rows[at], start, tol, max_iterations)
    ends.state[at], ends.steps[at] = found.state, ends.steps[at] + found.steps
    size = residual(rows[at].network, found.state)
    unsure = _places((size <= tol) & ~found.stable)
    unstable = unsure[is_unstable(rows[at[unsure]], found.state[unsure])]
    for i in unstable.tolist():
        k = classify(rows.one(int(at[i])), found.state[i])[0]
        kind = f"{k} unstable directions" if k else "units at kinks by chance, which may be let go"
        ends.why[int(at[i])] = (
            f"an equilibrium with {kind}: the motion from this start ends there, "
            "from beside it it does not; move the start a little."
        )
    growth = scale(found.state) / scale(start)
    alone = f" (above {LARGEST:,} units without Newton's method)" * (start.shape[-1] > LARGEST)
    for i in _places(~(size <= tol)).tolist():
        t, n, grown = float(found.time[i]), int(found.steps[i]), float(growth[i])
        ends.why[int(at[i])] = (
            f"the state grows without bound: by a factor {grown:.3g} in time {t:.3g}; bound the "
            "force."
            if not grown < GROWTH
            else jump_beside(rows.one(int(at[i])), found.state[i])
            or f"does not settle: after time {t:.3g} in {n} steps{alone} it cycles or is still "
            f"moving, with residual {float(size[i]):.3g}; give more iterations, or simulate it."
        )


def _places(rows: Tensor) -> Tensor:
    """Return the places at which rows are true, ``(place,)``."""
    return torch.nonzero(rows).squeeze(-1)


def _at(rows: NDArray[np.bool_], s: Tensor) -> Tensor:
    """Return the same of rows that are known to the host, where the states are."""
    return torch.from_numpy(np.flatnonzero(rows)).to(s.device)


def settle_from(network: VectorField, starts: Tensor, tol: float) -> Tensor:
    """Return the ends of settling from many starts ``(start, unit)`` in one sample."""
    rows = Rows.repeated(network.snapshot(), len(starts))
    return settle_rows(rows, starts, tol, SEARCH_ITERATIONS).state
