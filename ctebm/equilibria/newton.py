r"""Newton's method for zeros of the force, whatever their stability.

Used where no energy leads to the point: saddles, maxima, networks without an energy. On the box
between kinks it is the semismooth Newton method for :math:`s = \mathrm{clip}(I, b_1, b_2)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import defect, pinned_units, project
from ctebm.equilibria.krylov import conjugate_gradients
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["newton", "newton_from"]

# Every step factors the Jacobian of every row; beyond, searches look for minima only.
NEWTON_UNITS = 600


def newton(
    network: VectorField,
    batch: torch.Size,
    s: Tensor,
    rows: Tensor,
    tol: float,
    max_iterations: int = 60,
    reach: float = 1.0,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Solve ``force = 0`` (with kinks, ``clip(s + force) = s``) from each row.

    The step solves :math:`(J'J + \mu) d = J'F` with :math:`\mu = |F|^2`: near a solution it is
    Newton's, quadratic even where solutions are not isolated (Yamashita & Fukushima 2001).

    Parameters
    ----------
    network : VectorField
        The network of the whole batch.
    batch : torch.Size
        The batch that `rows` counts through.
    s : Tensor
        Starts, ``(row, unit)``.
    rows : Tensor
        Which samples the starts belong to.
    tol : float
        Rows leave when their residual is below; after it one more step is taken.
    max_iterations : int
        Steps.
    reach : float
        Longest change of a unit in one step.
    known : Tensor, optional
        Solutions to stay away from, ``(point, unit)``: the step is that for the deflated
        :math:`F \prod_k (1 + |s - s_k|^{-2})`, which is Newton's times a number.

    Returns
    -------
    tuple of Tensor
        States and steps taken. Whether they are solutions is for the caller to judge.
    """
    ended = s.clone()
    iterations = torch.zeros(len(s), dtype=torch.long, device=s.device)
    active = torch.arange(len(s), device=s.device)
    polishing = torch.zeros(len(s), dtype=torch.bool, device=s.device)
    for _ in range(max_iterations):
        net = network.samples(batch, rows[active])
        F = defect(net, s, net.force(s))
        size = F.abs().amax(-1)
        d = _step(net, s, F)
        if known is not None and len(known):
            d = _deflated(d, s, known)
        d = d * (reach / d.abs().amax(-1, keepdim=True).clamp(min=reach))
        best, best_size, done = s, torch.full_like(size, torch.inf), torch.zeros_like(polishing)
        for t in (1.0, 0.5, 0.125):
            trial = project(net, s + t * d)
            trial_size = defect(net, trial, net.force(trial)).abs().amax(-1)
            trial_size = torch.nan_to_num(trial_size, nan=torch.inf)
            take = ~done & (trial_size < best_size)
            best = torch.where(take.unsqueeze(-1), trial, best)
            best_size = torch.where(take, trial_size, best_size)
            done = done | (best_size < (1 - 0.25 * t) * size)
            if bool(done.all()):
                break
        if known is not None and len(known):  # the deflated problem has another norm
            best, best_size = torch.where(polishing.unsqueeze(-1), best, project(net, s + d)), size
        # far away a rise is accepted: the norm of F has minima that are no solutions
        worse = (polishing | (size <= tol)) & (best_size >= size)
        s = torch.where(worse.unsqueeze(-1), s, best)
        iterations[active] += 1
        ended[active] = s
        finished = worse | (polishing & (best_size > 0.5 * size)) | (best_size == 0)
        polishing = polishing | (torch.minimum(size, best_size) <= tol)
        go = ~finished
        if not bool(go.any()):
            break
        active, s, polishing = active[go], s[go], polishing[go]
    return ended, iterations


def newton_from(
    network: VectorField, starts: Tensor, tol: float, known: Tensor | None = None
) -> Tensor:
    """Return the ends of Newton's method in one sample, in portions that bound the memory."""
    portion = max(1, 10**7 // max(1, starts.shape[-1] ** 2))
    ends = []
    for part in starts.split(portion):
        rows = torch.zeros(len(part), dtype=torch.long, device=part.device)
        ends.append(newton(network, torch.Size((1,)), part, rows, tol, known=known)[0])
    return torch.cat(ends) if ends else starts


def _deflated(d: Tensor, s: Tensor, known: Tensor) -> Tensor:
    """Return ``d / (1 - m'd)``, `m` the gradient of the logarithm of the deflation."""
    away = s.unsqueeze(-2) - known
    square = away.square().sum(-1, keepdim=True).clamp(min=1e-300)
    m = (-2 * away / (square * (1 + square))).sum(-2)
    scale = 1 - (m * d).sum(-1, keepdim=True)
    return d / torch.where(scale.abs() < 1e-3, 1e-3, scale)


def _step(net: VectorField, s: Tensor, F: Tensor) -> Tensor:
    """Return the regularised Newton step; rows of pinned units are those of the identity."""
    J = net.jacobian(s)
    if net.box is None:
        return -_damped(J, F, isinstance(net, Network))
    low, high = net.box
    goal = s + net.force(s)
    free = (goal > low) & (goal < high)
    # pinned units move to their kinks, the others solve their rows given that
    d = torch.where(free, 0.0, F)
    rest = torch.where(free, F + (J @ d.unsqueeze(-1)).squeeze(-1), 0.0)
    both = free.unsqueeze(-1) & free.unsqueeze(-2)
    eye = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    J = torch.where(both, J, -eye)
    return d - torch.where(free, _damped(J, rest, isinstance(net, Network)), 0.0)


def _damped(J: Tensor, F: Tensor, symmetric: bool) -> Tensor:
    """Return ``(J'J + |F|^2)^-1 J' F`` from the eigenvalues, or singular values, of J."""
    mu = F.square().sum(-1, keepdim=True).clamp(max=1e-2, min=1e-290)
    if symmetric:
        size, right = torch.linalg.eigh(J)
        left = right
    else:
        left, size, right_h = torch.linalg.svd(J)
        right = right_h.mT
    parts = (left.mT @ F.unsqueeze(-1)).squeeze(-1) * size / (size.square() + mu)
    return (right @ parts.unsqueeze(-1)).squeeze(-1)


def newton_step(network: Network, state: Tensor) -> Tensor:
    """Return the step to the equilibrium of the linearised force, on the unpinned units.

    NaN for a sample whose Hessian is not positive definite.
    """
    f = network.force(state)
    free = (~pinned_units(network, state, f)).to(state.dtype)
    H = network.hessian_operator(state)
    return conjugate_gradients(lambda v: free * H(free * v), free * f)
