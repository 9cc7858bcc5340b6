r"""Equilibria of a chosen index, by following the modes of the Hessian (Cerjan & Miller 1981).

Newton's step goes uphill along the modes that happen to be curved downwards where it is, and
wanders as these change. Here it goes uphill along as many of the lowest modes as the equilibrium
sought has unstable directions, and downhill along the others, whatever their curvature. From beside
equilibria that are known, those of one unstable direction less or more are found, one after the
other, as a map of the landscape is drawn (Yin et al. 2020).

Letters: state ``s``, force ``f``, Hessian ``H``, eigenvalues ``lam``, eigenvectors ``V``.
"""

from __future__ import annotations

from itertools import repeat

import torch
from torch import Tensor

from ctebm.equilibria.kkt import residual
from ctebm.equilibria.newton import LARGEST_MU, LONGEST_STEP, SMALLEST_MU, newton_from
from ctebm.networks.energy import Network

__all__ = ["beside", "of_index"]

# Steps of each row: four of five that get anywhere are there by then.
STEPS = 25
# So small a residual is left to Newton's method, which doubles its digits in each step, or is a
# power of the distance at a degenerate point.
NEAR, NEWTON_STEPS = 1e-6, 25
# Numbers in the Hessians that are diagonalised together.
PORTION = 10**6
# How far beside an equilibrium, in the unit that changes most: rates change over about 1.
PUSH = 1.0
# Stable directions of an equilibrium along which one of a higher index is looked for.
UPHILL = 2


def of_index(network: Network, starts: Tensor, tol: float, index: Tensor | None = None) -> Tensor:
    r"""Return the equilibria of a given index that starts lead to, fewer than the starts.

    Parameters
    ----------
    network : Network
        With one sample, and without kinks.
    starts : Tensor
        ``(start, unit)``.
    tol : float
        Bound on the residual.
    index : Tensor, optional
        Of the equilibrium that each start looks for, ``(start,)``; by default the number of
        directions in which the energy is curved downwards at the start.

    Returns
    -------
    Tensor
        Where Newton's method leads from the ends, ``(end, unit)``; starts that come near none are
        left out.
    """
    portion = max(1, PORTION // max(1, starts.shape[-1] ** 2))
    indices = repeat(None) if index is None else index.split(portion)
    ends = [
        _followed(network, some, max(tol, NEAR), k)
        for some, k in zip(starts.split(portion), indices, strict=False)
    ]
    near = torch.cat(ends) if ends else starts
    return newton_from(network, near, tol, max_iterations=NEWTON_STEPS)


def _followed(network: Network, starts: Tensor, near: float, index: Tensor | None) -> Tensor:
    """Return the states of the rows that have come near an equilibrium."""
    s, ended = starts, []
    for _ in range(STEPS + 1):
        f = network.force(s)
        size = residual(network, s, f)
        ended.append(s[size <= near])
        going = size > near  # NaN is not
        if not bool(going.any()):
            break
        s, f, index = s[going], f[going], index if index is None else index[going]
        lam, V = torch.linalg.eigh(network.hessian(s))
        index = (lam < 0).sum(-1) if index is None else index
        uphill = torch.arange(s.shape[-1], device=s.device) < index.unsqueeze(-1)
        mu = f.square().sum(-1, keepdim=True).clamp(max=LARGEST_MU, min=SMALLEST_MU)
        along = (V.mT @ f.unsqueeze(-1)).squeeze(-1) * lam.abs() / (lam.square() + mu)
        along = torch.where(uphill, -along, along)
        d = (V @ along.unsqueeze(-1)).squeeze(-1)
        s = s + d * (LONGEST_STEP / d.abs().amax(-1, keepdim=True).clamp(min=LONGEST_STEP))
    return torch.cat(ended)


def beside(network: Network, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return states on both sides of equilibria along some modes, and the index to look for there.

    One less along each unstable mode, one more along each of the lowest stable ones.

    Parameters
    ----------
    network : Network
        With one sample, and without kinks.
    s : Tensor
        Equilibria, ``(point, unit)``.

    Returns
    -------
    tuple of Tensor
        States ``(start, unit)`` and indices ``(start,)``.
    """
    lam, V = torch.linalg.eigh(network.hessian(s))
    index, mode = (lam < 0).sum(-1, keepdim=True), torch.arange(s.shape[-1], device=s.device)
    point, i = torch.nonzero(mode < index + UPHILL, as_tuple=True)
    v, k = V[point, :, i], index[point, 0]
    v = PUSH * v / v.abs().amax(-1, keepdim=True)
    k = torch.where(i < k, k - 1, k + 1)
    return torch.cat([s[point] + v, s[point] - v]), torch.cat([k, k])
