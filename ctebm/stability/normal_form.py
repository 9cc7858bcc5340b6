r"""The normal form at a zero eigenvalue: it tells folds, pitchforks and transcritical points apart.

Along the right null vector `v`, the force on the left null vector `w` is

.. math:: w \cdot f \approx q\,p + b\,p\,x + a\,x^2/2 + c\,x^3/6

with `x` and `p` counted from the event (Kuznetsov 2004, chapter 7). For :math:`q \ne 0` the branch
turns: a fold. For :math:`q = 0` a second branch crosses, on which
:math:`p = -(a x/2 + c x^2/6)/b`: transversally for :math:`a \ne 0`, a transcritical point, and in a
pitchfork for :math:`a = 0`, as symmetry makes it. All is judged by ratios that change neither with
the unit of the force nor with that of the parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.stability.curve import PARAMETER_DIFFERENCE, Curve, Point

__all__ = ["NormalForm", "normal_form"]

# At a branch point the force is flat along the null vector up to third order: with a rounding unit
# u, x is known to a few u^(1/3) of its length on the second branch, and p to some u^(2/3) of the
# range. Measured on arms that pass through their own pitchfork: 1.3 u^(1/3) and 2 u^(2/3).
STATE_ROUNDINGS, PARAMETER_ROUNDINGS = 4, 40
# df/dp is orthogonal to a null vector within this share of its length.
ORTHOGONAL = 1e-5
# Further eigenvalues within this share of the largest are zero too.
MULTIPLE = 1e-6
# Rounding of an entry of a force or of a Jacobian, in units of the last place of the largest.
ENTRY_ROUNDINGS = 100


@dataclass(frozen=True, eq=False)
class NormalForm:
    r"""Coefficients of the force along a null vector, and what is known of them.

    Attributes
    ----------
    q : float
        Transversality, :math:`w \cdot \partial f/\partial p`.
    b : float
        Derivative of :math:`w \cdot J v` by `p` along the branch: minus the speed at which the
        eigenvalue passes zero.
    a : float
        Curvature, :math:`w \cdot \partial^2 f/\partial v^2`.
    c : float
        Third derivative, :math:`w \cdot \partial^3 f/\partial v^3`.
    q_error, a_error : float
        Below which `q` and `a` are zero to all that can be known.
    """

    q: float
    b: float
    a: float
    c: float
    q_error: float
    a_error: float

    @property
    def kind(self) -> str:
        """``"fold"``, ``"pitchfork"`` or ``"transcritical"``."""
        if abs(self.q) > self.q_error:
            return "fold"
        return "transcritical" if abs(self.a) > self.a_error else "pitchfork"


def normal_form(curve: Curve, point: Point, v: Tensor, w: Tensor) -> NormalForm:
    r"""Return the normal form at a zero eigenvalue with null vectors `v` and `w`, ``(unit,)``.

    By central differences of :math:`w \cdot J v`, over steps that balance rounding against
    truncation. An arm with `a` and `c` turns back at :math:`p = 3a^2/(8bc)`: as long as this is no
    longer than `p` is known, the crossing is a pitchfork.
    """
    u, root_n, span = torch.finfo(v.dtype).eps, math.sqrt(len(v)), curve.span
    J, f_p = curve.jacobian(point), curve.parameter_force(point)

    def slope(ds: Tensor, dp: float = 0.0) -> float:
        moved = Point(point.s + ds, point.p + dp, point.pinned)
        return float(w @ curve.jacobian(moved) @ v)

    h = u ** (1 / 4)
    behind, here, ahead = (slope(k * h * v) for k in (-1, 0, 1))
    a, c = (ahead - behind) / (2 * h), (ahead - 2 * here + behind) / h**2
    h_p, z = u ** (1 / 3) * span, _branch_direction(J, f_p, point.pinned, v, w)
    b = (slope(h_p * z, h_p) - slope(-h_p * z, -h_p)) / (2 * h_p)

    entry = ENTRY_ROUNDINGS * u * max(float(torch.linalg.matrix_norm(J, math.inf)), abs(b) * span)
    return NormalForm(
        q=float(w @ f_p), b=b, a=a, c=c,
        q_error=max(
            ORTHOGONAL * float(f_p.norm()),
            STATE_ROUNDINGS * u ** (1 / 3) * abs(b) * _arm(a, b, c, span, root_n),
            entry * root_n / (PARAMETER_DIFFERENCE * span),
        ),
        a_error=max(
            entry / h,
            math.sqrt(8 / 3 * PARAMETER_ROUNDINGS * u ** (2 / 3) * span * abs(b * c)),
        ),
    )  # fmt: skip


def _arm(a: float, b: float, c: float, span: float, longest: float) -> float:
    """Return the `x` that the second branch reaches within the range."""
    lengths = [longest]
    if a != 0:
        lengths.append(abs(2 * b * span / a))
    if c != 0:
        lengths.append(math.sqrt(abs(6 * b * span / c)))
    return min(lengths)


def _branch_direction(J: Tensor, f_p: Tensor, pinned: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return ``ds/dp`` along the branch, across `v`: the solution of ``J z = -f_p``.

    J is singular; bordered by its null vectors it is not, unless the eigenvalue is multiple.
    """
    free, n = ~pinned, int((~pinned).sum())
    size = float(J[free][:, free].abs().max()) or 1.0
    A = J.new_zeros(n + 1, n + 1)
    A[:n, :n], A[:n, n], A[n, :n] = J[free][:, free], size * w[free], size * v[free]
    right = torch.cat([-f_p[free], f_p.new_zeros(1)])
    z = torch.zeros_like(v)
    z[free] = (torch.linalg.pinv(A, rtol=MULTIPLE) @ right)[:n]
    return z
