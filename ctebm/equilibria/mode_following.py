r"""Equilibria of a chosen index, by following the modes of the Hessian (Cerjan & Miller 1981).

Newton's step goes uphill along the modes that happen to be curved downwards where it is, and
wanders as these change. Here it goes uphill along as many of the lowest modes as the equilibrium
sought has unstable directions, and downhill along the others, whatever their curvature. From beside
equilibria that are known, those of one unstable direction less or more are found, one after the
other, as a map of the landscape is drawn (Yin et al. 2020).

No step may be long beside the distances of equilibria: a quarter of the box that they lie in.

Letters: state ``s``, force ``f``, Hessian ``H``, eigenvalues ``lam``, eigenvectors ``V``.
"""

from __future__ import annotations

from itertools import repeat
from typing import TypeGuard

import torch
from torch import Tensor

from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.newton import LARGEST_MU, SMALLEST_MU, newton_from
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["beside", "from_known", "of_index", "smooth_energy"]

# Steps of each row: four of five that get anywhere are there by then.
STEPS = 25
# So small a residual is left to Newton's method, which doubles its digits in each step, or is a
# power of the distance at a degenerate point.
NEAR, NEWTON_STEPS = 1e-6, 25
# Numbers in the Hessians that are diagonalised together.
PORTION = 10**6
# How often what is found beside known equilibria is looked beside in turn, where it is new.
ROUNDS, NEW = 8, 1e-3
# Stable directions of an equilibrium along which one of a higher index is looked for.
UPHILL = 2


def of_index(
    network: Network,
    starts: Tensor,
    tol: float,
    reach: float,
    index: Tensor | None = None,
) -> Tensor:
    r"""Return the equilibria of a given index that starts lead to, fewer than the starts.

    Parameters
    ----------
    network : Network
        With one sample, and without kinks.
    starts : Tensor
        ``(start, unit)``.
    tol : float
        Bound on the residual.
    reach : float
        The longest change of a unit in one step, well below the distance of equilibria.
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
        _followed(network, some, max(tol, NEAR), reach, k)
        for some, k in zip(starts.split(portion), indices, strict=False)
    ]
    near = torch.cat(ends) if ends else starts
    return newton_from(network, near, tol, max_iterations=NEWTON_STEPS)


def _followed(
    network: Network,
    starts: Tensor,
    near: float,
    reach: float,
    index: Tensor | None,
) -> Tensor:
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
        s = s + d * (reach / d.abs().amax(-1, keepdim=True).clamp(min=reach))
    return torch.cat(ended)


def beside(network: Network, s: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Return states on both sides of equilibria along some modes, and the index to look for there.

    One less along each unstable mode, one more along each of the lowest stable ones.

    Parameters
    ----------
    network : Network
        With one sample, and without kinks.
    s : Tensor
        Equilibria, ``(point, unit)``.
    reach : float
        How far beside them, in the unit that changes most.

    Returns
    -------
    tuple of Tensor
        States ``(start, unit)`` and indices ``(start,)``.
    """
    lam, V = torch.linalg.eigh(network.hessian(s))
    index, mode = (lam < 0).sum(-1, keepdim=True), torch.arange(s.shape[-1], device=s.device)
    point, i = torch.nonzero(mode < index + UPHILL, as_tuple=True)
    v, k = V[point, :, i], index[point, 0]
    v = reach * v / v.abs().amax(-1, keepdim=True)
    k = torch.where(i < k, k - 1, k + 1)
    return torch.cat([s[point] + v, s[point] - v]), torch.cat([k, k])


def from_known(
    catalogue: Catalogue, network: Network, known: Tensor, most: int, reach: float
) -> Tensor:
    """Look beside equilibria for those of an index one less or more, while any are found.

    Parameters
    ----------
    catalogue : Catalogue
        What is known of a network, to which what is found is added.
    network : Network
        With one sample, and without kinks.
    known : Tensor
        Equilibria beside which was looked before, ``(point, unit)``.
    most : int
        About how many starts are used.
    reach : float
        As for :func:`of_index`.

    Returns
    -------
    Tensor
        Equilibria beside which was looked now or before, ``(point, unit)``.
    """
    for _ in range(ROUNDS):
        points = catalogue.points()
        s = points.state[points.isolated]
        if len(known):
            s = s[torch.cdist(s, known, p=torch.inf).amin(1) > NEW]
        if not len(s) or most <= 0:
            break
        s = s[:most]
        starts, index = beside(network, s, reach)
        catalogue.add(of_index(network, starts, catalogue.tol, reach, index))
        known, most = torch.cat([known, s]), most - len(starts)
    return known


def smooth_energy(network: VectorField) -> TypeGuard[Network]:
    """Return whether a motion goes down an energy without kinks.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.equilibria.mode_following import smooth_energy
    >>> rates = ctebm.Tanh(), ctebm.HardSigmoid()
    >>> [smooth_energy(ctebm.LayeredNetwork.random([3, 2], rho)) for rho in rates]
    [True, False]
    """
    return isinstance(network, Network) and network.box is None and network.kinks is None
