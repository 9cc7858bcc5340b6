r"""The way to an equilibrium: down the energy, quickly, each sample at its own pace.

Far away the map :math:`s \leftarrow R(s)` (with kinks, :math:`s \leftarrow \mathrm{clip}(I)`) is
followed as long as it contracts. Where it does not, Newton steps by conjugate gradients in a trust
region (Steihaug 1983) descend the energy itself: the force's norm has spurious minima, the energy
has none. On the box between kinks the steps are projected and the pinned units left out, as in
TRON (Lin & Moré 1999).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.fixed_points import (
    FixedPoints,
    check_tolerance,
    defect,
    pinned_units,
    points_at,
    project,
    residual,
)
from ctebm.network import Network
from ctebm.pairwise import PairwiseNetwork
from ctebm.root import newton

__all__ = ["settle"]


def settle(
    network: Network,
    start: ArrayLike | Tensor | None = None,
    tol: float = 1e-10,
    max_iterations: int = 1000,
) -> FixedPoints:
    r"""Find one equilibrium for each sample, downhill in energy from a start.

    Parameters
    ----------
    network : Network
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
    network: Network, batch: torch.Size, s: Tensor, rows: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Settle rows of the flattened batch; returns states and steps taken, ``(row,)``."""
    # linear convergence is cheap to carry on, and what is measured from here rests on the residual
    goal = max(tol / 30, min(tol, 64 * torch.finfo(s.dtype).eps))
    s, iterations, left = _iterate(network.samples(batch, rows), s, goal, max_iterations)
    far = torch.nonzero(left).squeeze(-1)
    if len(far):
        step = _descend if network.is_gradient else newton
        s[far], steps = step(network, batch, s[far], rows[far], tol, max_iterations)
        iterations[far] += steps
    return s, iterations


def settle_from(network: Network, starts: Tensor, tol: float) -> Tensor:
    """Return the ends of settling from many starts ``(start, unit)`` in one sample."""
    rows = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
    return settle_rows(network, torch.Size((1,)), starts, rows, tol, 500)[0]


def start_state(network: Network, start: ArrayLike | Tensor | None) -> Tensor:
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


def check_energy(network: Network, s: Tensor) -> None:
    """Refuse an energy that is not one differentiable number for each state."""
    if isinstance(network, PairwiseNetwork):  # closed forms of finite parameters
        return
    energy = network.energy(s)
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
    network: Network, s: Tensor, tol: float, max_iterations: int, grace: int = 3
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


def _descend(
    network: Network, batch: torch.Size, s: Tensor, rows: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Descend the energy by projected Newton steps; rows leave the batch as they end."""
    ended, iterations = s.clone(), torch.zeros(len(s), dtype=torch.long, device=s.device)
    active = torch.arange(len(s), device=s.device)
    net = network.samples(batch, rows)
    E, f = net.energy_and_force(s)
    radius = f.norm(dim=-1).clamp(min=1e-3)
    h, known = torch.ones_like(E), torch.zeros_like(E, dtype=torch.bool)
    for _ in range(max_iterations):
        if network.box is not None:
            s, E, f, h = _gradient_step(net, s, E, f, h)
        free = ~pinned_units(net, s, f)
        goal = _accuracy(network, (f * free).norm(dim=-1), known, tol)
        d, model = _steihaug(net, network, batch, rows[active], s, f * free, free, radius, goal)
        trial, E_new, f_new = _along(net, s, E, d)
        gain = E - E_new
        # Near the bottom the energy is flat to rounding: then the residual decides.
        slack = 4 * torch.finfo(s.dtype).eps * (s.square().sum(-1) + E.abs() + 1)
        calmer = defect(net, trial, f_new).norm(dim=-1) < defect(net, s, f).norm(dim=-1)
        better = (gain > slack) | ((gain >= -slack) & calmer)
        length = (trial - s).norm(dim=-1)
        ratio = torch.where(gain.abs() <= slack, better.to(gain.dtype), gain / model)
        radius = torch.where(better & (ratio > 0.75), torch.maximum(radius, 3 * length), radius)
        radius = torch.where(~better | (ratio < 0.25), 0.25 * d.norm(dim=-1), radius)
        kept = better.unsqueeze(-1)
        s, f = torch.where(kept, trial, s), torch.where(kept, f_new, f)
        E = torch.where(better, E_new, E)
        iterations[active] += 1
        # on an unchanged face the box problem is linear, so that solving it finishes it
        known = better & (pinned_units(net, s, f) == ~free).all(-1)
        stuck = radius <= 1e-14 * (1 + s.norm(dim=-1))
        going = (residual(net, s, f) > tol) & ~stuck
        ended[active] = s
        if not bool(going.any()):
            break
        if not bool(going.all()):
            active, s, f, E = active[going], s[going], f[going], E[going]
            radius, h, known = radius[going], h[going], known[going]
            net = network.samples(batch, rows[active])
    return ended, iterations


def _accuracy(network: Network, size: Tensor, known: Tensor, tol: float) -> Tensor:
    """Return how small CG should make the residual of each sample's Newton step.

    Smooth: small enough for Newton's method to converge faster than linearly. With kinks: coarse
    until the units at the kinks are known, then all the way.
    """
    if network.box is not None:
        return torch.where(known, (1e-8 * size).clamp(max=tol / 100), 0.1 * size)
    goal = (size * size.clamp(max=0.1)).clamp(min=4 * torch.finfo(size.dtype).eps)
    return torch.minimum(goal, 0.5 * size)


def _gradient_step(
    net: Network, s: Tensor, E: Tensor, f: Tensor, h: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take a projected relaxation step of size `h`, which tells which units the kinks hold."""
    trial = project(net, s + h.unsqueeze(-1) * f)
    E_new, f_new = net.energy_and_force(trial)
    # sufficient decrease, which a step below 1/lambda_max always has
    lower = E_new <= E - 0.1 * (trial - s).square().sum(-1) / h
    kept = lower.unsqueeze(-1)
    s, f = torch.where(kept, trial, s), torch.where(kept, f_new, f)
    return s, torch.where(lower, E_new, E), f, torch.where(lower, (1.5 * h).clamp(max=1), h / 2)


def _along(net: Network, s: Tensor, E: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the end of the step; with kinks, of the longest of a few projected ones that falls."""
    trial = project(net, s + d)
    E_new, f_new = net.energy_and_force(trial)
    if net.box is None:
        return trial, E_new, f_new
    t = torch.ones_like(E)
    for _ in range(4):
        high = ~(E_new < E)
        if not bool(high.any()):
            break
        t = torch.where(high, t / 3, t)
        shorter = project(net, s + t.unsqueeze(-1) * d)
        E_shorter, f_shorter = net.energy_and_force(shorter)
        better = high & (E_shorter < E_new)
        trial = torch.where(better.unsqueeze(-1), shorter, trial)
        f_new = torch.where(better.unsqueeze(-1), f_shorter, f_new)
        E_new = torch.where(better, E_shorter, E_new)
    return trial, E_new, f_new


def _steihaug(
    net: Network,
    network: Network,
    batch: torch.Size,
    rows: Tensor,
    s: Tensor,
    g: Tensor,
    free: Tensor,
    radius: Tensor,
    goal: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Minimise :math:`-g'd + d'Hd/2` on free units, :math:`|d| \le` `radius`, by CG.

    Here `g` is the force. Stops at the trust region, at negative curvature (then going on to the
    trust region), or when the residual has fallen to `goal`. Returns the step and the decrease of
    the model.
    """
    product = _masked(net.hessian_operator(s), free)
    d_end, model = torch.zeros_like(g), torch.zeros_like(radius)
    d, r, p, rr = torch.zeros_like(g), g, g, g.square().sum(-1)
    at = torch.arange(len(g), device=g.device)
    decrease = torch.zeros_like(radius)
    for _ in range(2 * g.shape[-1] + 10):
        Hp = product(p)
        curvature = (p * Hp).sum(-1)
        alpha = torch.where(curvature > 0, rr / curvature.clamp(min=1e-300), torch.inf)
        dd, dp, pp = d.square().sum(-1), (d * p).sum(-1), p.square().sum(-1)
        room = (radius.square() - dd).clamp(min=0)
        to_edge = room / (dp + (dp.square() + pp * room).sqrt()).clamp(min=1e-300)
        edge = alpha >= to_edge
        alpha = torch.where(edge, to_edge, alpha)
        d = d + alpha.unsqueeze(-1) * p
        decrease = decrease + alpha * (rr - alpha * curvature / 2)
        r = r - alpha.unsqueeze(-1) * Hp
        rr_new = r.square().sum(-1)
        done = edge | (rr_new.sqrt() <= goal)
        p = r + (rr_new / rr.clamp(min=1e-300)).unsqueeze(-1) * p
        rr = rr_new
        if bool(done.any()):
            d_end[at[done]], model[at[done]] = d[done], decrease[done]
            go = ~done
            if not bool(go.any()):
                return d_end, model
            at, d, r, p, rr, decrease = at[go], d[go], r[go], p[go], rr[go], decrease[go]
            radius, goal = radius[go], goal[go]
            net = network.samples(batch, rows[at])
            product = _masked(net.hessian_operator(s[at]), free[at])
    d_end[at], model[at] = d, decrease
    return d_end, model


def _masked(product: Callable[[Tensor], Tensor], free: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: free * product(v)
