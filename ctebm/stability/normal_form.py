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

from ctebm.equilibria.krylov import generic_vector
from ctebm.stability.curve import PARAMETER_DIFFERENCE, Curve, Point
from ctebm.stability.null_space import ZERO, null_vectors

__all__ = ["NormalForm", "kind_of_zero", "normal_form", "other_tangent", "transversality"]

# At a branch point the force is flat along the null vector up to third order: with a rounding unit
# u, x is known to a few u^(1/3) of its length on the second branch, and p to some u^(2/3) of the
# range. Measured on arms that pass through their own pitchfork: 1.3 u^(1/3) and 2 u^(2/3).
STATE_ROUNDINGS, PARAMETER_ROUNDINGS = 4, 40
# df/dp is orthogonal to a null vector within this share of its length.
ORTHOGONAL = 1e-5
# Rounding of an entry of a force or of a Jacobian, in units of the last place of the largest.
ENTRY_ROUNDINGS = 100


@dataclass(frozen=True, eq=False)
class NormalForm:
    r"""Coefficients of the force along a null vector, and what is known of them.

    On several left null vectors they are the lengths of what is a number on one.

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
    r"""Return the normal form at a zero eigenvalue with a null vector `v`, ``(unit,)``.

    The left null vector `w` is ``(unit,)``, or ``(multiplicity, unit)`` for all of them. By central
    differences of :math:`w \cdot J v`, over steps that balance rounding against truncation. An arm
    with `a` and `c` turns back at :math:`p = 3a^2/(8bc)`: as long as this is no longer than `p` is
    known, the crossing is a pitchfork.
    """
    u, root_n, span = torch.finfo(v.dtype).eps, math.sqrt(len(v)), curve.span
    J, f_p = curve.jacobian(point), curve.parameter_force(point)

    def slope(ds: Tensor, dp: float = 0.0) -> Tensor:
        moved = Point(point.s + ds, point.p + dp, point.pinned)
        return w @ curve.jacobian(moved) @ v

    h = u ** (1 / 4)
    behind, here, ahead = (slope(k * h * v) for k in (-1, 0, 1))
    a, c = _size((ahead - behind) / (2 * h)), _size((ahead - 2 * here + behind) / h**2)
    h_p, z = u ** (1 / 3) * span, _branch_direction(J, f_p, point.pinned)
    b = _size((slope(h_p * z, h_p) - slope(-h_p * z, -h_p)) / (2 * h_p))

    entry = ENTRY_ROUNDINGS * u * max(float(torch.linalg.matrix_norm(J, math.inf)), abs(b) * span)
    return NormalForm(
        q=_size(w @ f_p), b=b, a=a, c=c,
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


def _size(x: Tensor) -> float:
    """Return a number, or the length of a vector."""
    return float(x) if x.ndim == 0 else float(x.norm())


def _arm(a: float, b: float, c: float, span: float, longest: float) -> float:
    """Return the `x` that the second branch reaches within the range."""
    lengths = [longest]
    if a != 0:
        lengths.append(abs(2 * b * span / a))
    if c != 0:
        lengths.append(math.sqrt(abs(6 * b * span / c)))
    return min(lengths)


def _branch_direction(J: Tensor, f_p: Tensor, pinned: Tensor) -> Tensor:
    """Return ``ds/dp`` along the branch, across the null space: the solution of ``J z = -f_p``."""
    z = torch.zeros_like(f_p)
    z[~pinned] = -torch.linalg.pinv(J[~pinned][:, ~pinned], rtol=ZERO) @ f_p[~pinned]
    return z


def other_tangent(curve: Curve, point: Point, v: Tensor, straight: bool) -> Tensor:
    """Return the tangent of the other branch at a branch point, in scaled lengths.

    Parameters
    ----------
    curve : Curve
        The curve.
    point : Point
        The branch point.
    v : Tensor
        The null vector that the other branch has a share of, ``(unit,)``.
    straight : bool
        Whether it leaves along `v`, as in a pitchfork; else the parameter changes with it.
    """
    ds, dp = v, 0.0
    if not straight:
        _, W = null_vectors(curve, point)
        w = W.mT @ (W @ v)
        form = normal_form(curve, point, v, w / w.norm())
        z = _branch_direction(curve.jacobian(point), curve.parameter_force(point), point.pinned)
        dp = -form.a / (2 * form.b)
        ds = v + dp * z
    t = torch.cat([ds / math.sqrt(len(v)), v.new_tensor([dp / curve.span])])
    return t / t.norm()


def transversality(curve: Curve, point: Point, w: Tensor) -> float:
    r"""Return :math:`w \cdot \partial f/\partial p`, of several `w` the length of all of them."""
    return _size((w @ curve.parameter_force(point)).squeeze(0))


def kind_of_zero(curve: Curve, point: Point, v: Tensor, w: Tensor) -> str:
    """Return the kind of a zero eigenvalue, as :class:`ctebm.Event` names it.

    Parameters
    ----------
    curve : Curve
        The curve.
    point : Point
        Where the eigenvalue is zero.
    v, w : Tensor
        Orthonormal right and left null vectors, ``(multiplicity, unit)``.
    """
    if len(v) == 1:
        kind = normal_form(curve, point, v[0], w[0]).kind
        imperfect = kind == "pitchfork" and _is_open(curve, point, w[0])
        return "imperfect pitchfork" if imperfect else kind
    # quadratic terms that vanish along generic null vectors vanish along all
    generic = generic_vector(len(v), v) @ v
    kinds = {normal_form(curve, point, u / u.norm(), w).kind for u in (v[0], v[-1], generic)}
    if "fold" in kinds:
        return "fold"
    return "multiple zero" if "transcritical" in kinds else "symmetric pitchfork"


def _is_open(curve: Curve, point: Point, w: Tensor) -> bool:
    """Return whether a force within the tolerance, but not of rounding, is left at a zero.

    No state has less of it there: it holds apart the branches that seem to cross.
    """
    largest = float(torch.linalg.matrix_norm(curve.jacobian(point), math.inf))
    rounding = ENTRY_ROUNDINGS * torch.finfo(w.dtype).eps * max(1.0, largest)
    return abs(float(w @ curve.force(point))) > rounding
