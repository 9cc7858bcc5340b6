r"""Zero eigenvalues on a curve of equilibria: where they are, and what happens there.

An eigenvalue has passed zero where the number of negative ones has changed for certain. Those too
small to have a sign keep the one that they had: near the branch point that an arm leaves, and along
a symmetry, eigenvalues are zero to rounding and pass nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.events import Event
from ctebm.stability.normal_form import kind_of_zero, normal_form, transversality
from ctebm.stability.null_space import ZERO, null_vectors

__all__ = ["Found", "Signs", "apart", "bifurcations"]

# The parameter turns back where its share of the unit tangent changes sign and is not rounding.
TURNING = 1e-6
# How far the transversality of a fold is above its error; the length, in scaled lengths, down to
# which steps are made shorter to have one event each.
CLEAR, SEPARATE = 100, 1e-5
# Points closer than this, in scaled lengths, are one.
SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Found:
    """An event, and where it was found.

    Attributes
    ----------
    step : Step
        On which step.
    at : Point
        At which point of it.
    event : Event
        What happens there.
    """

    step: Step
    at: Point
    event: Event


@dataclass(frozen=True)
class Signs:
    """How many eigenvalues are negative on a curve, as far as it can be told.

    Attributes
    ----------
    negative : int
        Those below zero now, or when they last could be told from it.
    unknown : int
        Those that were zero at every point so far.
    zero : int
        Those that are zero here.
    """

    negative: int
    unknown: int
    zero: int

    @property
    def open(self) -> bool:
        """Whether an eigenvalue is zero here that was not at every point."""
        return self.zero > self.unknown

    @classmethod
    def of(cls, eigenvalues: Tensor) -> Self:
        """Return the signs at a first point."""
        below, zero = _counts(eigenvalues)
        return cls(below, zero, zero)

    def after(self, eigenvalues: Tensor) -> tuple[Self, list[int]]:
        """Return the signs at the next point, and which eigenvalues pass zero on the way.

        Their places, in the order in which they pass, among the ascending eigenvalues without the
        `zero` ones that are nearest to zero: those at zero at the end pass nothing yet.
        """
        below, zero = _counts(eigenvalues)
        unknown = min(self.unknown, zero)
        # what was and what is the number of negative ones, at least and at most
        before = self.negative, self.negative + self.unknown - unknown
        now = below, below + zero - unknown
        negative = min(max(self.negative, now[0]), now[1])
        if now[0] > before[1]:
            passing = list(range(before[1], now[0]))
        else:
            passing = list(range(before[0] - 1, now[1] - 1, -1))
            passing = [j - (zero - unknown) for j in passing]
        return type(self)(negative, unknown, zero), passing

    def folded(self, eigenvalues: Tensor) -> Self:
        """Return the signs if one has passed zero on the way here, which others at zero hid."""
        below, zero = _counts(eigenvalues)
        up = self.negative < below + zero - self.unknown
        return replace(self, negative=self.negative + (1 if up else -1))


def _counts(eigenvalues: Tensor) -> tuple[int, int]:
    """Return the numbers of negative and of zero eigenvalues."""
    zero = _zero(eigenvalues)
    real = eigenvalues.real
    return int((real < -zero).sum()), int((real.abs() <= zero).sum())


def _zero(eigenvalues: Tensor) -> float:
    """Return the size up to which an eigenvalue counts as zero."""
    return ZERO * max(1.0, float(eigenvalues.abs().max())) if len(eigenvalues) else ZERO


def bifurcations(
    curve: Curve, steps: Sequence[Step], signs: Signs, end: Point, t_end: Tensor
) -> tuple[list[Found], Signs] | None:
    """Locate the zero eigenvalues on steps within one pattern.

    Parameters
    ----------
    curve : Curve
        The curve.
    steps : sequence of Step
        The last step, after those at whose ends some eigenvalue was zero.
    signs : Signs
        The signs where the last step begins.
    end : Point
        The last step's end.
    t_end : Tensor
        The tangent there.

    Returns
    -------
    tuple of list of Found and Signs, or None
        What was found, in the order of the curve, and the signs at the end. None if the
        last step is too long: an eigenvalue jumps over zero, so that the step has left the curve,
        or the sign that changes at a fold changes back within it.
    """
    signs, passing = signs.after(curve.eigenvalues(end))
    found: list[Found] = []
    while passing:
        first = _located(curve, steps, passing[0], signs.zero)
        if first is None:
            return None
        step, at = first
        lam, zero = _passing(curve, at, signs.zero), _zero(curve.eigenvalues(at))
        if abs(complex(lam[passing[0]]).real) > zero or not curve.reaches(step, at):
            return None
        # all that are zero there pass it there
        passing = [j for j in passing[1:] if abs(complex(lam[j]).real) > zero]
        found.append(Found(step, at, _event(curve, at)))
    last = steps[-1]
    if _turns(last.t, t_end):
        at = curve.locate(last, lambda x: float(curve.tangent(x, last.t)[-1]))
        if at is not None and all(apart(curve, at, other.at) for other in found):
            fold = bool(found) or _is_fold(curve, at)
            if fold and not signs.open and last.length > SEPARATE:
                return None
            found.append(Found(last, at, _event(curve, at) if fold else _own_pitchfork(curve, at)))
            signs = signs.folded(curve.eigenvalues(end)) if fold else signs
    found.sort(key=lambda f: (steps.index(f.step), f.step.along(curve, f.at)))
    return found, signs


def _located(curve: Curve, steps: Sequence[Step], j: int, n_zero: int) -> tuple[Step, Point] | None:
    """Return the last step on which an eigenvalue passes zero, and where."""
    for step in reversed(steps):
        at = curve.locate(step, lambda x: float(_passing(curve, x, n_zero)[j].real))
        if at is not None:
            return step, at
    return None


def _passing(curve: Curve, point: Point, n_zero: int) -> Tensor:
    """Return the eigenvalues, ascending, without so many that are nearest to zero."""
    lam = curve.eigenvalues(point)
    if not n_zero:
        return lam
    return lam[lam.real.abs().argsort()[n_zero:].sort().values]


def _turns(t: Tensor, t_end: Tensor) -> bool:
    """Return whether the parameter goes the other way at the end."""
    return float(t[-1] * t_end[-1]) < 0 and float(torch.minimum(t.abs(), t_end.abs())[-1]) > TURNING


def apart(curve: Curve, a: Point, b: Point) -> bool:
    """Return whether two points are not one but for rounding."""
    return float(curve.secant(a, b).norm()) > SAME


def _is_fold(curve: Curve, at: Point) -> bool:
    """Return whether a turning point is a fold beyond doubt."""
    v, w = null_vectors(curve, at)
    form = normal_form(curve, at, v[0], w)
    return form.q > CLEAR * form.q_error


def _own_pitchfork(curve: Curve, at: Point) -> Event:
    """Return the event of an arm that runs through its own pitchfork.

    There it turns and no eigenvalue changes its sign: at a fold one does, and at a transcritical
    point a branch does not turn.
    """
    v, w = null_vectors(curve, at)
    kind = "pitchfork" if len(v) == 1 else "symmetric pitchfork"
    return Event(kind, at.p, at.s, 0, v[0], transversality(curve, at, w), len(v))


def _event(curve: Curve, at: Point) -> Event:
    """Return what the zero eigenvalues at a point mean."""
    lam = curve.eigenvalues(at)
    zero = _zero(lam)
    vanishing = lam[lam.real.abs() <= zero]
    turning = vanishing[vanishing.imag.abs() > zero] if vanishing.is_complex() else vanishing[:0]
    if len(turning):
        pairs, none = max(1, len(turning) // 2), torch.zeros_like(at.s)
        return Event("hopf", at.p, at.s, 0, none, math.nan, pairs)
    v, w = null_vectors(curve, at)
    kind, q = kind_of_zero(curve, at, v, w), transversality(curve, at, w)
    return Event(kind, at.p, at.s, 0, v[0], q, len(v))
