r"""Branches of equilibria as a parameter changes, with their folds, branch points and kinks.

A branch is followed by its length (pseudo-arclength, Keller 1977), so that it turns round folds.
Where the number of unstable directions changes an eigenvalue is zero, with null vector `v`: a
fold if :math:`v \cdot \partial f/\partial p \ne 0`, else another branch crosses. With kinks the
branch is followed pattern by pattern; where a unit enters or leaves a kink is a border collision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.curve import Curve, Place
from ctebm.dataset import variable
from ctebm.fixed_points import check_tolerance, classify, pinned_units, residual
from ctebm.network import Network
from ctebm.root import newton
from ctebm.settling import start_state

__all__ = ["Branch", "Event", "continue_branch", "switch_branch"]

CONTINUATION_UNITS = 2000


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


@dataclass(frozen=True)
class Branch:
    """Equilibria in the order in which they were followed.

    Attributes
    ----------
    parameter : Tensor
        ``(point,)``.
    state : Tensor
        ``(point, unit)``.
    energy, residual : Tensor
        ``(point,)``.
    pinned : Tensor
        ``(point, unit)``.
    index : Tensor
        Number of unstable directions, ``(point,)``.
    stability : list of str
        ``"stable"``, ``"saddle"`` or ``"degenerate"`` at each point.
    events : list of Event
        In order.
    message : str
        Why the branch ends.
    complete : bool
        Whether it ends at an end of the parameter's range, or by closing.
    """

    parameter: Tensor
    state: Tensor
    energy: Tensor
    residual: Tensor
    pinned: Tensor
    index: Tensor
    stability: list[str]
    events: list[Event]
    message: str
    complete: bool
    parameter_range: tuple[float, float]
    tol: float
    family: Callable[[float], Network] = field(repr=False)

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def folds(self) -> list[Event]:
        """Where the branch turns back and an eigenvalue vanishes."""
        return self.of_kind("fold")

    @property
    def branch_points(self) -> list[Event]:
        """Where another branch crosses: pitchforks and transcritical points."""
        return [event for event in self.events if event.kind in ("pitchfork", "transcritical")]

    def raise_for_status(self) -> Branch:
        """Return the branch itself, or raise RuntimeError if it ends too early."""
        if not self.complete:
            raise RuntimeError(self.message)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return the branch with dimensions ``point``, ``unit`` and ``event``."""
        n = self.state.shape[-1]

        def stacked(of: Callable[[Event], Tensor]) -> Tensor:
            rows = [of(event) for event in self.events]
            return torch.stack(rows) if rows else self.state.new_zeros(0, n)

        events, at = ("event",), ("event", "unit")
        kinds = np.array([e.kind for e in self.events], dtype=str)
        return xr.Dataset(
            {
                "state": variable(("point", "unit"), self.state, "state"),
                "pinned": variable(("point", "unit"), self.pinned, "held at a kink"),
                "energy": variable(("point",), self.energy, "energy"),
                "residual": variable(("point",), self.residual, "largest force"),
                "index": variable(("point",), self.index, "number of unstable directions"),
                "stability": variable(("point",), self.stability, "stability"),
                "event_kind": variable(events, kinds, "kind of event"),
                "event_parameter": variable(
                    events, [e.parameter for e in self.events], "parameter at the event"
                ),
                "event_state": variable(at, stacked(lambda e: e.state), "state at the event"),
                "event_direction": variable(
                    at, stacked(lambda e: e.direction), "null vector, or units that change pattern"
                ),
                "event_transversality": variable(
                    events, [e.transversality for e in self.events], "null vector on df/dp"
                ),
            },
            {"parameter": variable(("point",), self.parameter, "parameter")},
            {"message": self.message},
        )


def continue_branch(
    family: Callable[[float], Network],
    start: ArrayLike | Tensor,
    parameter_range: tuple[float, float],
    *,
    step: float = 0.02,
    max_points: int = 2000,
    tol: float = 1e-10,
) -> Branch:
    r"""Follow a branch of equilibria from one end of a parameter's range.

    Parameters
    ----------
    family : callable
        Maps a number to a :class:`~ctebm.Network` with one sample: a gain, a bias, one input, a
        mixture of two inputs.
    start : array, (unit,)
        Near an equilibrium at the first parameter; it is corrected by Newton's method.
    parameter_range : tuple of float
        Where to start, and the end to go to. The branch ends where it leaves the range at either
        end.
    step : float
        Longest step, in units of the range or of the root mean square state.
    max_points : int
        Where to give up.
    tol : float
        Bound on the force at every point.

    Returns
    -------
    Branch
        Its ``message`` says why it ends, ``complete`` whether at an end of the range.

    Raises
    ------
    ValueError
        If the start leads to no equilibrium, the range is empty, or there are too many units to
        factor their Jacobian.
    """
    first, last = map(float, parameter_range)
    if not (math.isfinite(first) and math.isfinite(last) and first != last):
        raise ValueError(f"expected a parameter range of two finite ends, got {parameter_range}.")
    if not (0 < step <= 1 and max_points >= 2):
        raise ValueError(f"expected 0 < step <= 1 and max_points >= 2, got {step}, {max_points}.")
    curve = Curve(family, abs(last - first), tol)
    network = curve.network(first)
    check_tolerance(tol, network.dtype)
    s = start_state(network, start)
    if s.ndim != 1 or len(s) > CONTINUATION_UNITS:
        raise ValueError(
            f"expected one start of up to {CONTINUATION_UNITS:,} units, got {tuple(s.shape)}; "
            "every step factors the Jacobian."
        )
    s = newton(network, torch.Size((1,)), s[None], torch.zeros(1, dtype=torch.long), tol)[0][0]
    if not float(residual(network, s)) <= tol:
        raise ValueError(
            f"expected a start near an equilibrium at {first:g}, Newton's method ended at a force "
            f"of {float(residual(network, s)):.3g}; settle the start at that parameter first."
        )
    place = Place(s, first, pinned_units(network, s))
    toward = torch.zeros(len(s) + 1, dtype=s.dtype, device=s.device)
    toward[-1] = math.copysign(1.0, last - first)
    return _follow(curve, place, curve.tangent(place, toward), (first, last), step, max_points)


def switch_branch(
    branch: Branch, event: Event, *, step: float = 0.02, max_points: int = 2000
) -> tuple[Branch, Branch]:
    """Follow the other branch at a branch point, both ways along the null vector.

    Parameters
    ----------
    branch : Branch
        Where the event is.
    event : Event
        A pitchfork or transcritical point.
    step, max_points
        As for :func:`continue_branch`.
    """
    if event.kind not in ("pitchfork", "transcritical"):
        raise ValueError(f"expected a branch point, got a {event.kind}; no other branch is there.")
    first, last = branch.parameter_range
    curve = Curve(branch.family, abs(last - first), branch.tol)
    place = Place(event.state, event.parameter, branch.pinned[event.point])
    arms = []
    for sign in (1.0, -1.0):
        aim = torch.cat([sign * event.direction, event.direction.new_zeros(1)])
        t = curve.tangent(place, aim) if event.kind == "transcritical" else aim
        arms.append(_follow(curve, place, aim if float(t @ aim) < 0.1 else t,
                            branch.parameter_range, step, max_points))  # fmt: skip
    return arms[0], arms[1]


def _follow(
    curve: Curve,
    place: Place,
    t: Tensor,
    ends: tuple[float, float],
    step: float,
    max_points: int,
) -> Branch:
    low, high = min(ends), max(ends)
    places, events = [place], []
    length = step / 4
    message, complete = f"stopped after {max_points} points; raise max_points.", False
    while len(places) < max_points:
        new, steps = curve.correct(curve.move(place, length * t), t)
        if steps == 0 or _strayed(curve, place, new, t, length):
            length /= 2
            if length < 1e-7:
                message = f"Newton's method fails beyond parameter {place.p:.6g}."
                break
            continue
        left = _border(curve, place, new, t, length)
        if left is not None:
            new = left[0]
        t_new = curve.tangent(new, t)
        events += _crossings(curve, place, new, t, t_new, length, places)
        outside = not low <= new.p <= high
        if outside:
            end = low if new.p < low else high
            new = curve.between(place, t, length, lambda x, end=end: x.p - end) or new
            new = Place(new.s, end, new.pinned)
            places.append(new)
            message, complete = f"reached the end {end:g} of the parameter's range.", True
            break
        places.append(new)
        if left is not None:
            changed = left[1]
            turned = _change_pattern(curve, new, changed)
            sign = torch.where(changed, torch.where(new.pinned, -1.0, 1.0), 0.0).to(new.s.dtype)
            events.append(Event("border collision", new.p, new.s, len(places) - 1, sign, math.nan))
            if turned is None:
                message = (
                    f"the units at their kinks at parameter {new.p:.6g} have no common way on."
                )
                break
            new, t_new = turned
        if len(places) > 10 and _closed(curve, places[0], place, new, length):
            message, complete = "closed: back at its start.", True
            break
        place, t = new, t_new
        length = min(step, length * (1.5 if steps <= 4 else 1.0 if steps <= 6 else 0.6))
    return _branch(curve, places, events, ends, message, complete)


def _strayed(curve: Curve, place: Place, new: Place, t: Tensor, length: float) -> bool:
    """Return whether the corrector ended on another branch or round a sharp bend."""
    gap = torch.cat(
        [
            (new.s - place.s) / math.sqrt(len(new.s)),
            place.s.new_tensor([(new.p - place.p) / curve.span]),
        ]
    )
    if float(gap.norm()) > 1.2 * length:
        return True
    return float(curve.tangent(new, t) @ t) < 0.8


def _border(
    curve: Curve, place: Place, new: Place, t: Tensor, length: float
) -> tuple[Place, Tensor] | None:
    """Return where the first unit leaves the pattern before `new`, and which units do there."""
    slack = curve.slack(new)
    if not bool((slack < 0).any()):
        return None
    before = curve.slack(place)
    # a unit that has just changed its pattern starts at slack zero
    watched = (slack < 0) & (before > slack)
    if not bool(watched.any()):
        return None

    def least(at: Place) -> float:
        return float(curve.slack(at)[watched].min())

    if least(place) <= 0:
        return place, watched & (before <= 1e-9)
    found = curve.between(place, t, length, least)
    if found is None:
        return None
    changed = watched & (curve.slack(found) <= 1e-9)
    network = curve.network(found.p)
    assert network.box is not None
    low, high = network.box
    s = torch.where(changed, torch.where(found.s > (low + high) / 2, high, low), found.s)
    return Place(s, found.p, found.pinned), changed


def _change_pattern(curve: Curve, place: Place, changed: Tensor) -> tuple[Place, Tensor] | None:
    """Return the place in the pattern beyond a border, and the way on from there."""
    after = Place(place.s, place.p, place.pinned ^ changed)
    t, h = curve.null_tangent(after), 1e-6
    for way in (t, -t):
        gain = curve.slack(curve.move(after, h * way)) - curve.slack(after)
        if bool((gain[changed] > 0).all()):
            return after, way
    return None


def _crossings(
    curve: Curve,
    place: Place,
    new: Place,
    t: Tensor,
    t_new: Tensor,
    length: float,
    places: list[Place],
) -> list[Event]:
    """Locate zero eigenvalues between two places of one pattern, and add them to the places."""
    before, after = curve.growth(place), curve.growth(new)
    zero = 1e-6 * max([1.0, *(float(x.abs().max()) for x in (before, after) if len(x))])
    counts = [int((x.real < -zero).sum()) for x in (before, after)]
    events = []
    for j in range(min(counts), max(counts)):
        found = curve.between(place, t, length, lambda x, j=j: float(curve.growth(x)[j].real))
        if found is None and abs(complex(before[j]).real) <= zero:
            found = place
        if found is None:
            continue
        if events and abs(found.p - events[-1].parameter) < 1e-12 * curve.span:
            pass  # a multiple eigenvalue: one event for each direction, at one place
        else:
            places.append(found)
        events.append(_event(curve, found, j, len(places) - 1))
    turns = float(t[-1] * t_new[-1]) < 0 and float(torch.minimum(t.abs(), t_new.abs())[-1]) > 1e-6
    if counts[0] == counts[1] and turns:
        # an arm that runs through its own branch point turns there without a change of index
        found = curve.between(place, t, length, lambda x: float(curve.tangent(x, t)[-1]))
        if found is not None:
            places.append(found)
            events.append(_event(curve, found, 0, len(places) - 1))
    return events


def _event(curve: Curve, place: Place, j: int, point: int) -> Event:
    growth = curve.growth(place)
    if abs(complex(growth[j]).imag) > 1e-6:
        v = torch.zeros_like(place.s)
        return Event("hopf", place.p, place.s, point, v, math.nan)
    v = curve.null_vector(place)
    f_p = curve.parameter_force(place)
    push = float(v @ f_p)
    if abs(push) * curve.span > 1e-5 * max(float(f_p.norm()) * curve.span, 1.0):
        kind = "fold"
    else:
        h = 1e-3
        force = [curve.force(Place(place.s + k * h * v, place.p, place.pinned)) for k in (1, 0, -1)]
        bend = float(v @ (force[0] - 2 * force[1] + force[2])) / h**2
        kind = "transcritical" if abs(bend) > 1e-4 else "pitchfork"
    return Event(kind, place.p, place.s, point, v, push)


def _closed(curve: Curve, first: Place, place: Place, new: Place, length: float) -> bool:
    def gap(at: Place) -> float:
        apart = float((at.s - first.s).norm()) / math.sqrt(len(at.s))
        return math.hypot(apart, (at.p - first.p) / curve.span)

    return gap(new) < 0.5 * length and gap(place) > gap(new)


def _branch(
    curve: Curve,
    places: list[Place],
    events: list[Event],
    ends: tuple[float, float],
    message: str,
    complete: bool,
) -> Branch:
    networks = [curve.network(place.p) for place in places]
    kinds = [classify(net, place.s) for net, place in zip(networks, places, strict=True)]
    s = torch.stack([place.s for place in places])
    energy = [
        net.energy(x) if net.is_gradient else x.new_tensor(math.nan)
        for net, x in zip(networks, s, strict=True)
    ]
    return Branch(
        torch.tensor([place.p for place in places], dtype=s.dtype),
        s,
        torch.stack(energy),
        torch.stack([residual(net, x) for net, x in zip(networks, s, strict=True)]),
        torch.stack([place.pinned for place in places]),
        torch.tensor([k for k, _ in kinds]),
        [kind for _, kind in kinds],
        events,
        message,
        complete,
        ends,
        curve.tol,
        curve.family,
    )
