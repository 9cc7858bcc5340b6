"""Eigenvalues that cross zero and come back within one step of a continuation.

At both ends of such a step as many eigenvalues are negative. What tells it is the eigenvalue
nearest to zero, which turns on the way.
"""

from __future__ import annotations

import scipy.optimize
import torch

from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.null_space import ZERO

__all__ = ["beyond_zero"]

# Evaluations of the eigenvalues that a step is worth whose nearest one may have turned.
EVALUATIONS = 12


def beyond_zero(curve: Curve, before: Point | None, step: Step, end: Point) -> Step | None:
    """Return the part of a step up to where an eigenvalue is on the other side of zero.

    Parameters
    ----------
    curve : Curve
        The curve.
    before : Point or None
        The point before the step, by which the eigenvalues' slopes are known.
    step : Step
        A step, at whose ends as many eigenvalues are negative.
    end : Point
        Its end.

    Returns
    -------
    Step or None
        None where no eigenvalue comes as near to zero as it changes, or none crosses it.
    """
    here, there = (curve.eigenvalues(at).real for at in (step.start, end))
    if not len(here):
        return None
    zero = ZERO * max(1.0, *(float(lam.abs().max()) for lam in (here, there)))
    n_negative = int((here < 0).sum())
    if n_negative != int((there < 0).sum()):
        return None
    change = (there - here).abs()
    far = 0.0 if before is None else float(curve.secant(before, step.start).norm())
    if before is not None and far > 0 and bool((before.pinned == step.start.pinned).all()):
        change = change + step.length / far * (here - curve.eigenvalues(before).real).abs()
    near = torch.minimum(here.abs(), there.abs())
    turning = torch.nonzero((near > zero) & (near <= change)).flatten().tolist()
    for j in set(turning) & {n_negative - 1, n_negative}:
        sign = 1.0 if j >= n_negative else -1.0
        part = _lowest(curve, step, j, sign)
        at, _ = curve.end(part)
        if sign * float(curve.eigenvalues(at).real[j]) < -zero and not curve.jumped(part, at):
            return part
    return None


def _lowest(curve: Curve, step: Step, j: int, sign: float) -> Step:
    """Return the part of a step to where an eigenvalue, times a sign, is lowest."""

    def height(x: float) -> float:
        at, _ = curve.end(Step(step.start, step.t, float(x)))
        return sign * float(curve.eigenvalues(at).real[j])

    found = scipy.optimize.minimize_scalar(
        height, bounds=(0.0, step.length), method="bounded", options={"maxiter": EVALUATIONS}
    )
    return Step(step.start, step.t, float(found.x))
