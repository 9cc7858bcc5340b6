"""Eigenvalues that cross zero and come back within one step of a continuation.

At both ends of such a step as many eigenvalues are negative. What tells it is the eigenvalue
nearest to zero, which turns on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import scipy.optimize
import torch

from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.null_space import ZERO

__all__ = ["up_to_dip"]

# Evaluations of the eigenvalues that a step is worth whose nearest one may have turned.
EVALUATIONS = 12


def up_to_dip(curve: Curve, before: Sequence[Point], step: Step, end: Point) -> tuple[Step, Point]:
    """Return the part of a step up to where an eigenvalue is beyond zero, of which it comes back.

    Parameters
    ----------
    curve : Curve
        The curve.
    before : sequence of Point
        The point before the step, by which the slopes of the eigenvalues are known, if there is
        one.
    step : Step
        A step.
    end : Point
        Its end.

    Returns
    -------
    Step and Point
        With its end; the whole step where no eigenvalue comes as near to zero as it changes, or
        none crosses it twice.
    """
    here, there = (curve.eigenvalues(at).real for at in (step.start, end))
    n_negative = int((here < 0).sum())
    if not len(here) or n_negative != int((there < 0).sum()):
        return step, end
    zero = ZERO * max(1.0, *(float(lam.abs().max()) for lam in (here, there)))
    change = (there - here).abs()
    for point in before:
        far = float(curve.secant(point, step.start).norm())
        if far > 0 and torch.equal(point.pinned, step.start.pinned):
            change += step.length / far * (here - curve.eigenvalues(point).real).abs()
    near = torch.minimum(here.abs(), there.abs())
    turning = torch.nonzero((near > zero) & (near <= change)).flatten().tolist()
    for j in set(turning) & {n_negative - 1, n_negative}:
        sign = 1.0 if j >= n_negative else -1.0
        part = _lowest(curve, step, j, sign)
        at, _ = curve.end(part)
        if sign * float(curve.eigenvalues(at).real[j]) < -zero and not curve.jumped(part, at):
            return part, at
    return step, end


def _lowest(curve: Curve, step: Step, j: int, sign: float) -> Step:
    """Return the part of a step to where an eigenvalue, times a sign, is lowest."""

    def height(x: float) -> float:
        at, _ = curve.end(Step(step.start, step.t, float(x)))
        return sign * float(curve.eigenvalues(at).real[j])

    found = scipy.optimize.minimize_scalar(
        height, bounds=(0.0, step.length), method="bounded", options={"maxiter": EVALUATIONS}
    )
    return Step(step.start, step.t, float(found.x))
