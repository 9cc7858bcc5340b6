r"""The way to an equilibrium: down the energy, quickly, each sample at its own pace.

Far away the map :math:`s \leftarrow R(s)` (with kinks, :math:`s \leftarrow \mathrm{clip}(I)`) is
followed as long as it contracts. Where it does not, Newton steps by conjugate gradients in a trust
region (Steihaug 1983) descend the energy itself: the force's norm has spurious minima, the energy
has none. On the box between kinks the steps are projected and the pinned units left out, as in
TRON (Lin & Moré 1999).
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.equilibria.kkt import check_tolerance, defect, project
from ctebm.equilibria.newton import newton
from ctebm.equilibria.record import FixedPoints, points_at
from ctebm.equilibria.trust_region import descend
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["settle"]


def settle(
    network: VectorField,
    start: ArrayLike | Tensor | None = None,
    tol: float = 1e-10,
    max_iterations: int = 1000,
) -> FixedPoints:
    r"""Find one equilibrium for each sample, downhill in energy from a start.

    Parameters
    ----------
    network : VectorField
        Its clamped inputs, if any, set the batch.
    start : array, (*batch, unit), optional
        By default the state 0, which lies between the kinks. A start that is an equilibrium,
        stable or not, is returned.
    tol : float
        Bound on the residual at the returned point (see :class:`FixedPoints`).
    max_iterations : int
        Bound on the steps of each sample; a Newton step counts once.

    Returns
    -------
    FixedPoints
        A sample that has not converged says so in ``converged`` and ``message``; it neither
        spoils nor delays the others. The equilibrium is one that the energy falls to, which need
        not be the one that the motion from `start` ends in.

    Raises
    ------
    ValueError
        For a start of the wrong shape or not finite, a tolerance below rounding, or an energy
        that is not one number for each state or not differentiable.
    """
    s = start_state(network, start)
    check_tolerance(tol, s.dtype)
    batch, flat = s.shape[:-1], s.reshape(-1, s.shape[-1])
    rows = torch.arange(len(flat), device=s.device)
    flat, iterations = settle_rows(network, batch, flat, rows, tol, max_iterations)
    return points_at(network, flat.reshape(s.shape), tol, iterations.reshape(batch))


def settle_rows(
    network: VectorField,
    batch: torch.Size,
    s: Tensor,
    rows: Tensor,
    tol: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor]:
    """Settle rows of the flattened batch; returns states and steps taken, ``(row,)``."""
    # linear convergence is cheap to carry on, and what is measured from here rests on the residual
    goal = max(tol / 30, min(tol, 64 * torch.finfo(s.dtype).eps))
    s, iterations, left = _iterate(network.samples(batch, rows), s, goal, max_iterations)
    far = torch.nonzero(left).squeeze(-1)
    if len(far):
        if isinstance(network, Network):
            s[far], steps = descend(network, batch, s[far], rows[far], tol, max_iterations)
        else:
            s[far], steps = newton(network, batch, s[far], rows[far], tol, max_iterations)
        iterations[far] += steps
    return s, iterations


def settle_from(network: VectorField, starts: Tensor, tol: float) -> Tensor:
    """Return the ends of settling from many starts ``(start, unit)`` in one sample."""
    rows = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
    return settle_rows(network, torch.Size((1,)), starts, rows, tol, 500)[0]


def start_state(network: VectorField, start: ArrayLike | Tensor | None) -> Tensor:
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
    check_energy(network, s)
    return s


def check_energy(network: VectorField, s: Tensor) -> None:
    """Refuse an energy that is not one differentiable number for each state."""
    if isinstance(network, PairwiseNetwork):  # closed forms of finite parameters
        return
    energy = network.energy(s) if isinstance(network, Network) else s.new_zeros(s.shape[:-1])
    if not isinstance(energy, Tensor) or energy.shape != s.shape[:-1]:
        got = tuple(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
        raise ValueError(
            f"expected an energy of shape {tuple(s.shape[:-1])} for states {tuple(s.shape)}, "
            f"got {got}; sum over the last dimension only."
        )
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


def _iterate(
    network: VectorField, s: Tensor, tol: float, max_iterations: int, grace: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Follow ``s <- R(s)`` in each sample while three steps contract its residual.

    The first few triples go free: from afar the residual rises before it falls. A sample that
    does not contract after them is back at its start.
    """
    start, move = s, defect(network, s, network.force(s))
    size = move.abs().amax(-1)
    iterations = torch.zeros_like(size, dtype=torch.long)
    going = size > tol
    for k in range(max_iterations // 3):
        if not bool(going.any()):
            break
        trial, move_new = s, move
        for _ in range(3):
            trial = trial + move_new
            move_new = defect(network, trial, network.force(trial))
        size_new = move_new.abs().amax(-1)
        lost = going & ~(size_new <= 0.5 * size) if k >= grace else torch.zeros_like(going)
        iterations += 3 * going
        kept = going & ~lost
        if bool(kept.all()):
            s, move, size = trial, move_new, size_new
        else:
            rows = kept.unsqueeze(-1)
            s, move = torch.where(rows, trial, s), torch.where(rows, move_new, move)
            size = torch.where(kept, size_new, size)
            if k == grace:
                s = torch.where(lost.unsqueeze(-1), start, s)
        going = kept & ~(size <= tol)  # NaN goes on, and is lost
    far = ~(size <= tol)
    if max_iterations <= 3 * grace:
        s = torch.where(far.unsqueeze(-1), start, s)
    return s, iterations, far
