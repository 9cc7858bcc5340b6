r"""Branches of equilibria as a parameter changes, followed round their folds.

A branch is followed by its length (pseudo-arclength, Keller 1977), so that it turns round folds;
on it :mod:`ctebm.stability.events` finds folds, branch points and kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.equilibria.kkt import check_tolerance, pinned_units, residual
from ctebm.equilibria.newton import newton_from
from ctebm.equilibria.settling import start_state
from ctebm.networks.base import VectorField
from ctebm.stability.branch import Branch
from ctebm.stability.curve import Curve, Place, Stretch
from ctebm.stability.events import Border, Event, bifurcations

__all__ = ["continue_branch", "switch_branch"]

CONTINUATION_UNITS = 2000


def continue_branch(
    family: Callable[[float], VectorField],
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
    s = newton_from(network, s[None], tol)[0]
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

    Returns
    -------
    tuple of Branch
        The arm along ``event.direction``, and the one against it.

    Raises
    ------
    ValueError
        If no other branch crosses at the event.
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

    def ended(message: str, complete: bool = False) -> Branch:
        return Branch.through(curve, places, events, ends, message, complete)

    while len(places) < max_points:
        stretch = Stretch(place, t, length)
        new, steps = curve.end(stretch)
        if steps == 0 or curve.strayed(stretch, new):
            length /= 2
            if length < 1e-7:
                return ended(f"Newton's method fails beyond parameter {place.p:.6g}.")
            continue
        border = Border.before(curve, stretch, new)
        if border is not None:
            new = border.place
        t_new = curve.tangent(new, t)
        found, happened = bifurcations(curve, stretch, new, t_new, first=len(places))
        places += found
        events += happened
        if not low <= new.p <= high:
            end = low if new.p < low else high
            new = curve.between(stretch, lambda x, end=end: x.p - end) or new
            places.append(Place(new.s, end, new.pinned))
            return ended(f"reached the end {end:g} of the parameter's range.", complete=True)
        places.append(new)
        if border is not None:
            events.append(border.event(len(places) - 1))
            beyond = border.beyond(curve)
            if beyond is None:
                return ended(
                    f"the units at their kinks at parameter {new.p:.6g} have no common way on."
                )
            new, t_new = beyond
        if len(places) > 10 and _closed(curve, places[0], place, new, length):
            return ended("closed: back at its start.", complete=True)
        place, t = new, t_new
        length = min(step, length * (1.5 if steps <= 4 else 1.0 if steps <= 6 else 0.6))
    return ended(f"stopped after {max_points} points; raise max_points.")


def _closed(curve: Curve, first: Place, place: Place, new: Place, length: float) -> bool:
    """Return whether the last step came back to the start and went past it."""
    gap, before = (float(curve.way(first, at).norm()) for at in (new, place))
    return gap < 0.5 * length and before > gap
