r"""What happens on a curve of equilibria: zero eigenvalues, and units that meet or leave a kink.

Where the number of unstable directions changes an eigenvalue is zero, with null vector `v`: a
fold if :math:`v \cdot \partial f/\partial p \ne 0`, else another branch crosses. With kinks the
curve is followed pattern by pattern; where a unit enters or leaves a kink is a border collision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.stability.curve import Curve, Place, Stretch

__all__ = ["Border", "Event", "bifurcations"]


@dataclass(frozen=True)
class Event:
    r"""Something that happens on a branch.

    Attributes
    ----------
    kind : str
        ``"fold"``, ``"pitchfork"``, ``"transcritical"``, ``"hopf"`` or ``"border collision"``.
    parameter : float
        Where.
    state : Tensor
        ``(unit,)``.
    point : int
        The branch's point at the event.
    direction : Tensor
        The null vector; for a border collision the units that change, +1 if they enter a kink and
        -1 if they leave it, ``(unit,)``.
    transversality : float
        :math:`v \cdot \partial f/\partial p`, zero at a branch point; NaN at a border collision.
    """

    kind: str
    parameter: float
    state: Tensor
    point: int
    direction: Tensor
    transversality: float


def bifurcations(
    curve: Curve, stretch: Stretch, end: Place, t_end: Tensor, first: int
) -> tuple[list[Place], list[Event]]:
    """Locate the zero eigenvalues on a stretch of one pattern.

    Parameters
    ----------
    curve : Curve
        The curve.
    stretch : Stretch
        Where the curve was followed.
    end : Place
        Its end, or a place before that.
    t_end : Tensor
        The tangent there.
    first : int
        The number that the branch gives to the first place which is found.

    Returns
    -------
    tuple of list
        The places in order, and the events; a multiple eigenvalue has an event for each direction,
        at one place.
    """
    before, after = curve.growth(stretch.start), curve.growth(end)
    zero = _zero(before, after)
    counts = [int((x.real < -zero).sum()) for x in (before, after)]
    places: list[Place] = []
    events: list[Event] = []
    for j in range(min(counts), max(counts)):
        found = curve.between(stretch, lambda x, j=j: float(curve.growth(x)[j].real))
        if found is None and abs(complex(before[j]).real) <= zero:
            found = stretch.start
        if found is None:
            continue
        if not events or abs(found.p - events[-1].parameter) >= 1e-12 * curve.span:
            places.append(found)
        events.append(_zero_eigenvalue(curve, found, j, first + len(places) - 1))
    if counts[0] == counts[1] and _turns(stretch.t, t_end):
        # an arm that runs through its own branch point turns there without a change of index
        found = curve.between(stretch, lambda x: float(curve.tangent(x, stretch.t)[-1]))
        if found is not None:
            places.append(found)
            events.append(_zero_eigenvalue(curve, found, 0, first + len(places) - 1))
    return places, events


def _zero(*growth: Tensor) -> float:
    """Return the size below which an eigenvalue counts as zero."""
    return 1e-6 * max([1.0, *(float(x.abs().max()) for x in growth if len(x))])


def _turns(t: Tensor, t_end: Tensor) -> bool:
    """Return whether the parameter goes the other way at the end."""
    return float(t[-1] * t_end[-1]) < 0 and float(torch.minimum(t.abs(), t_end.abs())[-1]) > 1e-6


def _zero_eigenvalue(curve: Curve, place: Place, j: int, point: int) -> Event:
    """Return what the `j`-th eigenvalue, whose real part is zero here, means."""
    if abs(complex(curve.growth(place)[j]).imag) > 1e-6:
        v = torch.zeros_like(place.s)
        return Event("hopf", place.p, place.s, point, v, math.nan)
    v = curve.null_vector(place)
    f_p = curve.parameter_force(place)
    push = float(v @ f_p)
    if abs(push) * curve.span > 1e-5 * max(float(f_p.norm()) * curve.span, 1.0):
        kind = "fold"
    else:
        kind = "transcritical" if abs(_bend(curve, place, v)) > 1e-4 else "pitchfork"
    return Event(kind, place.p, place.s, point, v, push)


def _bend(curve: Curve, place: Place, v: Tensor, h: float = 1e-3) -> float:
    r"""Return :math:`v \cdot \partial^2 f/\partial v^2`, which symmetry makes 0 at a pitchfork."""
    ahead, here, behind = (
        curve.force(Place(place.s + k * h * v, place.p, place.pinned)) for k in (1, 0, -1)
    )
    return float(v @ (ahead - 2 * here + behind)) / h**2


@dataclass(frozen=True)
class Border:
    """Where units meet or leave their kinks, so that the pattern of pinned units ends.

    Attributes
    ----------
    place : Place
        On the border, in the pattern before it.
    changed : Tensor
        Which units change, ``(unit,)`` bool.
    """

    place: Place
    changed: Tensor

    @classmethod
    def before(cls, curve: Curve, stretch: Stretch, end: Place) -> Border | None:
        """Return the first border on a stretch before its end, or None."""
        start = stretch.start
        slack, at_start = curve.slack(end), curve.slack(start)
        # a unit that has just changed its pattern starts at slack zero
        watched = (slack < 0) & (at_start > slack)
        if not bool(watched.any()):
            return None

        def least(at: Place) -> float:
            return float(curve.slack(at)[watched].min())

        if least(start) <= 0:
            return cls(start, watched & (at_start <= 1e-9))
        found = curve.between(stretch, least)
        if found is None:
            return None
        changed = watched & (curve.slack(found) <= 1e-9)
        s = torch.where(changed, curve.nearest_kink(found), found.s)
        return cls(Place(s, found.p, found.pinned), changed)

    def event(self, point: int) -> Event:
        """Return the border as an event at a point of the branch."""
        sign = torch.where(self.changed, torch.where(self.place.pinned, -1.0, 1.0), 0.0)
        s, p = self.place.s, self.place.p
        return Event("border collision", p, s, point, sign.to(s.dtype), math.nan)

    def beyond(self, curve: Curve) -> tuple[Place, Tensor] | None:
        """Return the place in the pattern beyond, and the way on from there; None without one."""
        after = Place(self.place.s, self.place.p, self.place.pinned ^ self.changed)
        t, h = curve.null_tangent(after), 1e-6
        for way in (t, -t):
            gain = curve.slack(curve.move(after, h * way)) - curve.slack(after)
            if bool((gain[self.changed] > 0).all()):
                return after, way
        return None
