r"""The null space of the Jacobian on a curve of equilibria: where other directions are open.

At a fold it is the curve's own direction, at a branch point those of all branches together. Along a
symmetry that moves an equilibrium to others, such as turning a bump on a ring, it is never empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.networks.energy import Network
from ctebm.stability.curve import Curve, Point

__all__ = ["ZERO", "across", "null_vectors", "on_null_space"]

# An eigenvalue, and a singular value at it, is zero within this share of the largest, or of 1, the
# leak's.
ZERO = 1e-6
# Of a vector, what must be left of it on or across a null space to be a direction.
ACROSS = 0.1
# Units whose share of a null space is equal but for rounding.
EQUAL = 1e-6


def null_vectors(curve: Curve, point: Point) -> tuple[Tensor, Tensor]:
    """Return orthonormal bases of J's right and left null spaces, ``(multiplicity, unit)``.

    They are one with an energy. At least one vector each: those of the smallest singular value. The
    first one is a single unit's share of the null space, of the first unit that has most of it:
    where units are permuted by a symmetry, branches leave along such vectors.

    Parameters
    ----------
    curve : Curve
        The curve.
    point : Point
        Where an eigenvalue is zero.
    """
    free = ~point.pinned
    left, size, right = torch.linalg.svd(curve.jacobian(point)[free][:, free])
    m = max(1, int((size <= ZERO * size[0].clamp(min=1)).sum()))
    v, w = (torch.zeros_like(point.s).repeat(m, 1) for _ in range(2))
    v[:, free] = _adapted(right[-m:])
    if isinstance(curve.network(point.p), Network):
        return v, v
    w[:, free] = left[:, -m:].mT
    return v, -w if m == 1 and float(v[0] @ w[0]) < 0 else w


def on_null_space(curve: Curve, point: Point, direction: Tensor) -> Tensor:
    """Return the unit vector of a direction's share of the right null space, ``(unit,)``."""
    if direction.ndim != 1:
        raise ValueError(f"expected one direction, got a batch {tuple(direction.shape)}.")
    v, _ = null_vectors(curve, point)
    share = v.mT @ (v @ direction)
    if not float(share.norm()) > ACROSS * float(direction.norm()):
        raise ValueError(
            "expected a direction with a share of the null space, got one across it; leave it out "
            "for the event's own."
        )
    return share / share.norm()


def across(curve: Curve, point: Point, t: Tensor, k: int) -> Tensor:
    """Return a tangent without its share of the `k` directions in which J is nearest to zero.

    Along a symmetry each of these keeps to equilibria, and the branch goes across them. Where the
    parameter stands still along a branch nothing would be left of its tangent, which is returned.
    """
    if k == 0:
        return t
    free = torch.nonzero(~point.pinned).squeeze(-1)
    v = torch.linalg.svd(curve.jacobian(point)[free][:, free]).Vh[-k:]
    left = t.index_add(0, free, -v.mT @ (v @ t[free]))
    return left / left.norm() if float(left.norm()) > ACROSS else t


def _adapted(basis: Tensor) -> Tensor:
    """Turn an orthonormal basis, ``(k, unit)``, so that one unit has a share of the first only."""
    share = basis.norm(dim=0)
    unit = int(torch.nonzero(share >= (1 - EQUAL) * share.max())[0])
    turn = torch.linalg.qr(basis[:, unit : unit + 1], mode="complete").Q
    first = turn[:, :1].mT @ basis[:, unit : unit + 1]
    return torch.where(first < 0, -1.0, 1.0) * turn.mT @ basis
