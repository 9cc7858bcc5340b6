r"""What happens on a curve of equilibria: zero eigenvalues, and units that meet or leave a kink.

Where the number of unstable directions changes, an eigenvalue is zero, with right and left null
vectors `v` and `w`: a fold if :math:`w \cdot \partial f/\partial p \ne 0`, else another branch
crosses. With kinks the curve is followed pattern by pattern; where a unit enters or leaves a kink
is a border collision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.normal_form import normal_form

__all__ = ["Border", "Event", "bifurcations"]

# An eigenvalue counts as zero within this share of the largest, or of 1, the leak's.
ZERO = 1e-6
# The parameter turns back where its share of the unit tangent changes sign and is not rounding.
TURNING = 1e-6
# Parameters closer than this share of the range are those of one point.
SAME = 1e-12
# A unit that is this near to its border is on it: to where the test function is located.
ON_BORDER = 1e-9
# Where a pattern begins, so far along its tangent decides which way leads into it.
AHEAD = 1e-6


@dataclass(frozen=True, eq=False)
class Event:
    r"""Something that happens on a branch.

    Attributes
    ----------
    kind : str
        ``"fold"``, ``"pitchfork"``, ``"transcritical"``, ``"hopf"`` or ``"border collision"``.
    parameter : float
        Where.
    state : Tensor
        The equilibrium there, ``(unit,)``.
    point : int
        The number of the branch's point at the event.
    direction : Tensor
        The null vector; zero at a Hopf point; for a border collision the units that change, +1 if
        they enter a kink and -1 if they leave it, ``(unit,)``.
    transversality : float
        :math:`w \cdot \partial f/\partial p` with the left null vector `w` (the null vector itself
        where there is an energy): zero where another branch crosses; NaN at a Hopf point and at a
        border collision.

    Examples
    --------
    >>> import ctebm
    >>> def family(p):
    ...     return ctebm.DenseNetwork([[0, 8], [8, 0]], [p - 4, p - 4], ctebm.Tanh())
    >>> branch = ctebm.continue_branch(family, [-1, -1], (-1.5, 1.5))
    >>> [(event.kind, round(event.parameter, 6)) for event in branch.events]
    [('fold', 0.59296), ('fold', -0.59296)]
    """

    kind: str
    parameter: float
    state: Tensor = field(repr=False)
    point: int
    direction: Tensor = field(repr=False)
    transversality: float


def bifurcations(
    curve: Curve, step: Step, end: Point, t_end: Tensor, first: int
) -> tuple[list[Point], list[Event]]:
    """Locate the zero eigenvalues on a step within one pattern.

    Parameters
    ----------
    curve : Curve
        The curve.
    step : Step
        How the curve was followed.
    end : Point
        The step's end, or a point before that.
    t_end : Tensor
        The tangent there.
    first : int
        The number that the branch gives to the first point which is found.

    Returns
    -------
    tuple of list
        The points in order, and the events; a multiple eigenvalue has an event for each direction,
        at one point.
    """
    before, after = curve.eigenvalues(step.start), curve.eigenvalues(end)
    zero = _zero(before, after)
    counts = [int((lam.real < -zero).sum()) for lam in (before, after)]
    points: list[Point] = []
    events: list[Event] = []
    for j in range(min(counts), max(counts)):
        found = curve.locate(step, lambda x, j=j: float(curve.eigenvalues(x)[j].real))
        if found is None and abs(complex(before[j]).real) <= zero:
            found = step.start
        if found is None:
            continue
        here = [e for e in events if abs(found.p - e.parameter) < SAME * curve.span]
        if not here:
            points.append(found)
        events.append(_zero_eigenvalue(curve, found, j, first + len(points) - 1, len(here)))
    if counts[0] == counts[1] and _turns(step.t, t_end):
        # an arm that runs through its own branch point turns there without a change of index
        found = curve.locate(step, lambda x: float(curve.tangent(x, step.t)[-1]))
        if found is not None:
            points.append(found)
            events.append(_zero_eigenvalue(curve, found, 0, first + len(points) - 1))
    return points, events


def _zero(*eigenvalues: Tensor) -> float:
    """Return the size below which an eigenvalue counts as zero."""
    return ZERO * max([1.0, *(float(lam.abs().max()) for lam in eigenvalues if len(lam))])


def _turns(t: Tensor, t_end: Tensor) -> bool:
    """Return whether the parameter goes the other way at the end."""
    return float(t[-1] * t_end[-1]) < 0 and float(torch.minimum(t.abs(), t_end.abs())[-1]) > TURNING


def _zero_eigenvalue(curve: Curve, at: Point, j: int, point: int, k: int = 0) -> Event:
    """Return what the `j`-th eigenvalue, whose real part is zero here, means.

    It is the (k + 1)-th at this point.
    """
    lam = curve.eigenvalues(at)
    if abs(complex(lam[j]).imag) > _zero(lam):
        return Event("hopf", at.p, at.s, point, torch.zeros_like(at.s), math.nan)
    v, w = curve.null_vectors(at, k)
    form = normal_form(curve, at, v, w)
    return Event(form.kind, at.p, at.s, point, v, form.q)


@dataclass(frozen=True, eq=False)
class Border:
    """Where units meet or leave their kinks, so that the pattern of pinned units ends.

    Attributes
    ----------
    at : Point
        On the border, in the pattern before it.
    changed : Tensor
        Which units change, ``(unit,)`` bool.
    """

    at: Point
    changed: Tensor

    @classmethod
    def before(cls, curve: Curve, step: Step, end: Point) -> Border | None:
        """Return the first border on a step before its end, or None."""
        start = step.start
        slack, at_start = curve.slack(end), curve.slack(start)
        # a unit that has just changed its pattern starts at slack zero
        watched = (slack < 0) & (at_start > slack)
        if not bool(watched.any()):
            return None

        def least(at: Point) -> float:
            return float(curve.slack(at)[watched].min())

        if least(start) <= 0:
            return cls(start, watched & (at_start <= ON_BORDER))
        found = curve.locate(step, least)
        if found is None:
            return None
        changed = watched & (curve.slack(found) <= ON_BORDER)
        s = torch.where(changed, curve.nearest_kink(found), found.s)
        return cls(Point(s, found.p, found.pinned), changed)

    def event(self, point: int) -> Event:
        """Return the border as an event at a point of the branch."""
        sign = torch.where(self.changed, torch.where(self.at.pinned, -1.0, 1.0), 0.0)
        s, p = self.at.s, self.at.p
        return Event("border collision", p, s, point, sign.to(s.dtype), math.nan)

    def beyond(self, curve: Curve) -> tuple[Point, Tensor] | None:
        """Return the point in the pattern beyond, and the way on from there; None without one."""
        after = Point(self.at.s, self.at.p, self.at.pinned ^ self.changed)
        t = curve.unsigned_tangent(after)
        for way in (t, -t):
            change = curve.slack(curve.move(after, AHEAD * way)) - curve.slack(after)
            if bool((change[self.changed] > 0).all()):
                return after, way
        return None
