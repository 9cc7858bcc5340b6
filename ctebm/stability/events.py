r"""What happens on a curve of equilibria: zero eigenvalues, and units that meet or leave a kink.

Where the number of unstable directions changes, an eigenvalue is zero
(:mod:`ctebm.stability.bifurcations`). With kinks the curve is followed pattern by pattern; where a
unit enters or leaves a kink is a border collision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctebm.stability.curve import Curve, Point, Step

__all__ = ["BRANCH_POINTS", "Border", "Event"]

# Kinds at which other branches cross.
BRANCH_POINTS = (
    "pitchfork",
    "imperfect pitchfork",
    "transcritical",
    "symmetric pitchfork",
    "multiple zero",
)
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
        ``"fold"``, ``"pitchfork"``, ``"transcritical"``, ``"hopf"`` or ``"border collision"``;
        ``"imperfect pitchfork"`` where a bias of about the tolerance, but no rounding, is left
        between branches that cross without it: a smaller `tol` follows them past each other;
        where several eigenvalues are zero at once and other branches cross,
        ``"symmetric pitchfork"`` if the force has no quadratic terms along all their null vectors,
        else ``"multiple zero"``.
    parameter : float
        Where.
    state : Tensor
        The equilibrium there, ``(unit,)``.
    point : int
        The number of the branch's point at the event.
    direction : Tensor
        The null vector, of several the one nearest to a single unit; zero at a Hopf point; for a
        border collision the units that change, +1 if they enter a kink and -1 if they leave it,
        ``(unit,)``.
    transversality : float
        :math:`w \cdot \partial f/\partial p` with the left null vector `w` (the null vector itself
        where there is an energy), the length of all of them where there are several: zero where
        another branch crosses; NaN at a Hopf point and at a border collision.
    multiplicity : int
        How many eigenvalues are zero there, at a Hopf point how many pairs have no real part; those
        count that are zero along the whole branch by a symmetry. At a border collision, how many
        units change.

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
    multiplicity: int = 1


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

    def event(self) -> Event:
        """Return the border as an event, whose point on the branch is not known yet."""
        sign = torch.where(self.changed, torch.where(self.at.pinned, -1.0, 1.0), 0.0)
        s, p, n = self.at.s, self.at.p, int(self.changed.sum())
        return Event("border collision", p, s, 0, sign.to(s.dtype), math.nan, n)

    def beyond(self, curve: Curve) -> tuple[Point, Tensor] | None:
        """Return the point in the pattern beyond, and the way on from there; None without one."""
        after = Point(self.at.s, self.at.p, self.at.pinned ^ self.changed)
        t = curve.unsigned_tangent(after)
        for way in (t, -t):
            change = curve.slack(curve.move(after, AHEAD * way)) - curve.slack(after)
            if bool((change[self.changed] > 0).all()):
                return after, way
        return None
