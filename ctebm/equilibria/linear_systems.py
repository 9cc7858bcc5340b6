r"""Linear systems with a symmetric matrix that is known by its products, many rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.equilibria.krylov import generic_vector, iterations_between_looks

__all__ = ["conjugate_gradients", "positive_definite", "power_of_two"]

Product = Callable[[Tensor], Tensor]

# Rounding of a product with the matrix, in units of the last place.
ROUNDINGS = 4
# A generic vector has a smaller share than this in a given direction once in 10^8 (per sqrt(unit)).
GENERIC_SHARE = 1e-8


def conjugate_gradients(product: Product, right: Tensor, tol: float = 0.0) -> Tensor:
    """Solve ``product(x) = right`` row by row, with a symmetric `product`.

    Parameters
    ----------
    product : callable
        Multiplies each row ``(*batch, unit)`` by a matrix of its own.
    right : Tensor, (*batch, unit)
        Right-hand sides, of any size: rows are scaled, so that no square underflows.
    tol : float
        Bound on the residual relative to the right-hand side; by default a few roundings.

    Returns
    -------
    Tensor, (*batch, unit)
        NaN in rows that are not finite, or in which a direction without positive curvature is met.
        It meets the directions that `right` has a share in: see :func:`positive_definite`.

    Examples
    --------
    >>> import torch
    >>> from ctebm.equilibria.linear_systems import conjugate_gradients
    >>> H = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> conjugate_gradients(lambda v: v @ H, torch.tensor([[3.0, 0.0], [3.0, 3.0]]))
    tensor([[ 2., -1.],
            [ 1.,  1.]])
    """
    unit = torch.finfo(right.dtype).eps
    size = power_of_two(right)
    r = right / size
    x, p = torch.zeros_like(r), r.clone()
    rr = r.square().sum(-1, keepdim=True)
    goal = rr * max(ROUNDINGS * unit, tol) ** 2
    definite = torch.isfinite(rr)
    stopped, largest = ~(definite & (rr > 0)), torch.zeros_like(rr)
    look = iterations_between_looks(right)
    for k in range(10 * right.shape[-1]):  # many times what exact arithmetic needs
        if k % look == 0 and bool(stopped.all()):  # rows that have stopped change no more
            break
        q = product(p)
        curvature, length = (p * q).sum(-1, keepdim=True), _length(p)
        largest = torch.maximum(largest, _length(q) / length)
        rounding = ROUNDINGS * unit * largest * length.square()
        positive = (curvature > rounding).logical_or_(stopped)  # less is a rounding of zero
        definite &= positive
        stopped |= ~positive
        alpha = (rr / curvature).masked_fill_(stopped, 0.0)
        x, r = torch.addcmul(x, alpha, p), torch.addcmul(r, alpha, q, value=-1)
        rr_new = r.square().sum(-1, keepdim=True)
        p = torch.addcmul(r, (rr_new / rr).masked_fill_(stopped, 0.0), p)
        rr = torch.where(stopped, rr, rr_new)
        stopped |= rr <= goal
    return torch.where(definite, x * size, torch.nan)


def positive_definite(product: Product, where: Tensor, share: float = GENERIC_SHARE) -> Tensor:
    r"""Return in which rows a symmetric `product` has positive curvature in every direction.

    By conjugate gradients on a generic right-hand side, at most at the cost of one more solve. The
    residual's share along an eigenvector of eigenvalue :math:`\lambda` becomes
    :math:`\prod_i (1 - \lambda / \theta_i)` times the first, with Ritz values :math:`\theta_i`
    that are positive as long as all curvatures met are. For :math:`\lambda \le 0` it does not
    fall: conjugate gradients can't converge without meeting a curvature that is not positive.

    Parameters
    ----------
    product : callable
        Multiplies rows ``(*batch, unit)``, and keeps the units outside `where` at 0.
    where : Tensor, (*batch, unit)
        1 for the units that count, else 0.
    share : float
        A share that a generic vector has in every direction. A larger one takes fewer products,
        and may miss a curvature just below 0.

    Returns
    -------
    Tensor of bool, (*batch)

    Examples
    --------
    >>> import torch
    >>> from ctebm.equilibria.linear_systems import positive_definite
    >>> H = torch.diag(torch.tensor([1.0, -1.0, 2.0]))
    >>> positive_definite(lambda v: v @ H, torch.ones(3))
    tensor(False)
    """
    unit = torch.finfo(where.dtype).eps
    r = p = where * generic_vector(where.shape[-1], where)
    rr = pp = (r * r).sum(-1, keepdim=True)
    goal = rr * max(ROUNDINGS * unit, share) ** 2
    stopped, definite, largest = ~(rr > 0), torch.isfinite(rr), torch.zeros_like(rr)
    look = iterations_between_looks(where)
    for k in range(10 * where.shape[-1]):  # many times what exact arithmetic needs
        if k % look == 0 and bool(stopped.all()):
            break
        q = product(p)
        curvature, qq = (p * q).sum(-1, keepdim=True), (q * q).sum(-1, keepdim=True)
        largest = torch.maximum(largest, qq / pp)
        # less is a rounding of zero
        definite &= (curvature > ROUNDINGS * unit * largest.sqrt() * pp) | stopped
        stopped |= ~definite
        r = torch.addcmul(r, rr / curvature, q, value=-1)
        rr, before = (r * r).sum(-1, keepdim=True), rr
        p, pp = torch.addcmul(r, rr / before, p), rr + (rr / before).square() * pp
        stopped |= rr <= goal
    return definite.squeeze(-1)


def _length(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1, keepdim=True)


def power_of_two(rows: Tensor) -> Tensor:
    """Return the size of each row ``(*batch, unit)`` as a power of two, ``(*batch, 1)``.

    Division by it is exact, and leaves numbers whose squares neither under- nor overflow.

    Examples
    --------
    >>> import torch
    >>> from ctebm.equilibria.linear_systems import power_of_two
    >>> power_of_two(torch.tensor([[0.0, 5.0], [0.0, 0.0]]))
    tensor([[8.],
            [1.]])
    """
    exponent = torch.frexp(rows.abs().amax(-1, keepdim=True)).exponent
    most = -math.frexp(torch.finfo(rows.dtype).tiny)[1]  # both the power and its inverse are normal
    return torch.exp2(exponent.clamp(-most, most).to(rows.dtype))
