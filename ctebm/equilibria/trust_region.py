r"""Descent of the energy by Newton steps in a trust region, each sample at its own pace.

Newton steps by conjugate gradients in a trust region (Steihaug 1983) descend the energy itself: the
force's norm has spurious minima, the energy has none. On the box between kinks the steps are
projected and the pinned units left out, as in TRON (Lin & Moré 1999).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.equilibria.kkt import defect, pinned_units, project, residual
from ctebm.networks.energy import Network

__all__ = ["descend"]


def descend(
    network: Network,
    batch: torch.Size,
    s: Tensor,
    rows: Tensor,
    tol: float,
    max_iterations: int,
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
