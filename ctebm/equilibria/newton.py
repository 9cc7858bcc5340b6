r"""Newton's method for zeros of the force, whatever their stability.

Used where no energy leads to the point: saddles, maxima, networks without an energy. On the box
between kinks it is the semismooth Newton method for :math:`s = \mathrm{clip}(I, \beta_1, \beta_2)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import on_kinks, pinned_units, project, residual, residual_vector
from ctebm.equilibria.krylov import TINY
from ctebm.equilibria.linear_systems import conjugate_gradients
from ctebm.equilibria.rows import Iteration, Rows
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = [
    "NEWTON_UNITS",
    "newton",
    "newton_beside",
    "newton_from",
    "newton_step",
    "polish",
]

# Every step factors the Jacobian of every row; beyond, searches look for minima only.
NEWTON_UNITS = 600
# Entries of the Jacobians that are factored together; the work space is some six times as much.
PORTION = 2 * 10**6
# The longest change of a unit in one step, in units of the state: rates change over about 1.
LONGEST_STEP = 1.0
# Shares of a step that are tried, and how much of the predicted decrease of the residual is enough.
SHARES, SUFFICIENT = (1.0, 0.5, 0.125), 0.25
# A polishing step that does not halve the residual has met rounding.
POLISHED = 0.5
# Near an isolated solution Newton's method doubles the digits: eight steps are many.
POLISHING_STEPS = 8
# Where a solution is not isolated it takes some digits of three steps each.
BESIDE_STEPS = 40
# The regularisation |F|^2 stays below the curvatures that matter, and above underflow.
LARGEST_MU, SMALLEST_MU = 1e-2, 1e-290
# Above, factors replace the eigenvalues of a symmetric Jacobian, ten times as fast.
EIGEN_UNITS = 32
# The deflated step is Newton's divided by a number, which passes through 0.
SMALLEST_SCALE = 1e-3


def newton(
    rows: Rows[VectorField],
    s: Tensor,
    tol: float,
    max_iterations: int = 60,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Solve ``force = 0`` (with kinks, ``clip(s + force) = s``) from each row.

    The step solves :math:`(J'J + \mu) d = J'F` with :math:`\mu = |F|^2`: near a solution it is
    Newton's, quadratic even where solutions are not isolated (Yamashita & Fukushima 2001).

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Rows end when their residual is below; after it steps are taken while they halve it.
    max_iterations : int
        Bound on the steps of each row.
    known : Tensor, optional
        Solutions to stay away from, ``(point, unit)``: the step is that for the deflated
        :math:`F \prod_k (1 + |s - s_k|^{-2})`, which is Newton's times a number.

    Returns
    -------
    tuple of Tensor
        States ``(row, unit)`` and steps taken ``(row,)``. Whether they are solutions is for the
        caller to judge.
    """
    iteration = Iteration(rows, s)
    deflated = known is not None and len(known) > 0
    polishing = torch.zeros(len(s), dtype=torch.bool, device=s.device)
    for _ in range(max_iterations):
        net = iteration.rows.network
        f = net.force(s)
        size = residual(net, s, f)
        d = _step(net, s, f)
        if known is not None and deflated:
            d = _deflated(d, s, known)
        d = d * (LONGEST_STEP / d.abs().amax(-1, keepdim=True).clamp(min=LONGEST_STEP))
        best, best_size = _line_search(net, s, d, size)
        if deflated:  # the deflated problem has another norm
            best, best_size = torch.where(polishing.unsqueeze(-1), best, project(net, s + d)), size
        # far away a rise is accepted: the norm of F has minima that are no solutions
        worse = (polishing | (size <= tol)) & (best_size >= size)
        s = torch.where(worse.unsqueeze(-1), s, best)
        finished = worse | (polishing & (best_size > POLISHED * size)) | (best_size == 0)
        polishing = polishing | (torch.minimum(size, best_size) <= tol)
        going = ~finished
        if iteration.advance(going, s):
            continue
        if iteration.over:
            break
        s, polishing = s[going], polishing[going]
    return on_kinks(rows.network, *iteration.ended), iteration.steps


def newton_from(
    network: VectorField,
    starts: Tensor,
    tol: float,
    known: Tensor | None = None,
    max_iterations: int = 60,
) -> Tensor:
    """Return the ends of :func:`newton` from starts ``(start, unit)`` in one sample.

    The starts go in portions that bound the memory.
    """
    if len(starts) == 0:
        return starts
    n = starts.shape[-1]
    portion = max(1, PORTION // max(1, n**2, n * (0 if known is None else len(known))))
    ends = [
        newton(Rows.repeated(network, len(some)), some, tol, max_iterations, known=known)[0]
        for some in starts.split(portion)
    ]
    return torch.cat(ends)


def newton_step(network: Network, state: Tensor) -> Tensor:
    """Return the step to the equilibrium of the linearised force, on the unpinned units.

    Parameters
    ----------
    network : Network
        With an energy, whose Hessian is multiplied and never built.
    state : Tensor
        Near equilibria, ``(*batch, unit)``.

    Returns
    -------
    Tensor
        ``(*batch, unit)``; NaN for a sample in which a direction without positive curvature is
        met on the way.
    """
    f = network.force(state)
    free = (~pinned_units(network, state, f)).to(state.dtype)
    H = network.hessian_operator(state)
    return conjugate_gradients(lambda v: free * H(free * v), free * f)


def polish(network: VectorField, s: Tensor, tol: float) -> Tensor:
    """Solve ``force = 0`` by Newton's plain method, from states near isolated solutions.

    Parameters
    ----------
    network : VectorField
        For states ``(row, unit)``.
    s : Tensor
        States near solutions, ``(row, unit)``.
    tol : float
        Bound on the residual.

    Returns
    -------
    Tensor
        ``(row, unit)``; not a number where the Jacobian is singular.
    """
    size = residual(network, s)
    for _ in range(POLISHING_STEPS):
        trial = _plain(network, s)
        before, size = size, residual(network, trial)
        polished = (before <= tol) & ~(size < POLISHED * before)
        s = torch.where(polished.unsqueeze(-1), s, trial)
        size = torch.where(polished, before, size)
        if bool(polished.all()):
            break
    return on_kinks(network, s)


def newton_beside(network: VectorField, s: Tensor) -> Tensor:
    """Return where Newton's plain method leads while each of its steps halves the residual.

    Parameters
    ----------
    network : VectorField
        For states ``(row, unit)``.
    s : Tensor
        States, ``(row, unit)``.
    """
    f, going = network.force(s), torch.ones_like(s[..., 0], dtype=torch.bool)
    size = residual(network, s, f)
    for _ in range(BESIDE_STEPS):
        trial = _plain(network, s, f)
        f_trial = network.force(trial)
        size_trial = residual(network, trial, f_trial)
        going = going & (size_trial < POLISHED * size)  # NaN is not
        if not bool(going.any()):
            break
        rows = going.unsqueeze(-1)
        s, f = torch.where(rows, trial, s), torch.where(rows, f_trial, f)
        size = torch.where(going, size_trial, size)
        going = going & (size > 0)
    return on_kinks(network, s)


def _plain(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return the states after a plain Newton step."""
    eye = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    J, remaining, d, free = _box_system(network, s, network.force(s) if f is None else f)
    if network.box is not None:
        J = torch.where(free.unsqueeze(-1) & free.unsqueeze(-2), J, -eye)
    step = torch.linalg.solve_ex(J, remaining.unsqueeze(-1)).result.squeeze(-1)
    return project(network, s + d - torch.where(free, step, 0.0))


def _line_search(net: VectorField, s: Tensor, d: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states with the smallest residual along a step, and that residual.

    Shorter steps are tried until the residual has fallen enough below `size`.
    """
    best, best_size = s, torch.full_like(size, torch.inf)
    done = torch.zeros_like(size, dtype=torch.bool)
    for t in SHARES:
        trial = project(net, s + t * d)
        trial_size = torch.nan_to_num(residual(net, trial), nan=torch.inf)
        take = ~done & (trial_size < best_size)
        best = torch.where(take.unsqueeze(-1), trial, best)
        best_size = torch.where(take, trial_size, best_size)
        done = done | (best_size < (1 - SUFFICIENT * t) * size)
        if bool(done.all()):
            break
    return best, best_size


def _deflated(d: Tensor, s: Tensor, known: Tensor) -> Tensor:
    """Return ``d / (1 - m'd)``, `m` the gradient of the logarithm of the deflation."""
    away = s.unsqueeze(-2) - known
    square = away.square().sum(-1, keepdim=True).clamp(min=TINY)
    m = (-2 * away / (square * (1 + square))).sum(-2)
    scale = 1 - (m * d).sum(-1, keepdim=True)
    return d / torch.where(scale.abs() < SMALLEST_SCALE, SMALLEST_SCALE, scale)


def _step(net: VectorField, s: Tensor, f: Tensor) -> Tensor:
    """Return the regularised Newton step; rows of pinned units are those of the identity."""
    if net.box is None:
        return -_regularised(net.jacobian(s), f, isinstance(net, Network))
    J, remaining, d, free = _box_system(net, s, f)
    both = free.unsqueeze(-1) & free.unsqueeze(-2)
    eye = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    J = torch.where(both, J, -eye)
    return d - torch.where(free, _regularised(J, remaining, isinstance(net, Network)), 0.0)


def _box_system(net: VectorField, s: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what a Newton step solves between kinks.

    The Jacobian; what is left of the free units' residual when the pinned units have moved to
    their kinks; that move; and which units are free.
    """
    J, F = net.jacobian(s), residual_vector(net, s, f)
    free = torch.ones_like(s, dtype=torch.bool) if net.box is None else net.box.inside(s + f)
    d = torch.where(free, 0.0, F)
    remaining = torch.where(free, F + (J @ d.unsqueeze(-1)).squeeze(-1), 0.0)
    return J, remaining, d, free


def _regularised(J: Tensor, F: Tensor, symmetric: bool) -> Tensor:
    """Return ``(J'J + |F|^2)^-1 J' F`` from the eigenvalues, or singular values, or factors."""
    mu = F.square().sum(-1, keepdim=True).clamp(max=LARGEST_MU, min=SMALLEST_MU)
    if symmetric and J.shape[-1] > EIGEN_UNITS:
        step = _by_factors(J, F, mu)
        if bool(torch.isfinite(step).all()):
            return step
    if symmetric:
        size, right = torch.linalg.eigh(J)
        left = right
    else:
        left, size, right_h = torch.linalg.svd(J)
        right = right_h.mT
    coefficients = (left.mT @ F.unsqueeze(-1)).squeeze(-1) * size / (size.square() + mu)
    return (right @ coefficients.unsqueeze(-1)).squeeze(-1)


def _by_factors(J: Tensor, F: Tensor, mu: Tensor) -> Tensor:
    r"""Return ``(J^2 + mu)^-1 J F`` of a symmetric J, the real part of ``(J + i sqrt(mu))^-1 F``.

    Not finite where the matrix is singular to rounding.
    """
    shifted = J.to(J.dtype.to_complex())
    shifted.diagonal(dim1=-2, dim2=-1).add_(1j * mu.sqrt())
    solution, _ = torch.linalg.solve_ex(shifted, F.to(shifted.dtype))
    return solution.real
