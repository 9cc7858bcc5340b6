r"""Branches of equilibria as a parameter changes, followed round their folds.

A branch is followed by its arclength (pseudo-arclength continuation, Keller 1977), so that it turns
round folds; on it :mod:`ctebm.stability.events` finds folds, branch points and kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.kkt import check_tolerance, pinned_units, residual
from ctebm.equilibria.newton import newton_from
from ctebm.equilibria.starts import start_state
from ctebm.networks.base import StateLike, VectorField, single
from ctebm.networks.numbers import finite, finite_array, whole
from ctebm.stability.bifurcations import Found, Signs, apart, bifurcations
from ctebm.stability.branch import Branch
from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.dips import up_to_dip
from ctebm.stability.events import BRANCH_POINTS, Border, Event
from ctebm.stability.normal_form import other_tangent
from ctebm.stability.null_space import across, on_null_space

__all__ = ["continue_branch", "switch_branch"]

CONTINUATION_UNITS = 2000  # every step factors the Jacobian, which takes seconds beyond
# The first step, as a share of the longest; a step shorter than the second number has failed.
FIRST, SHORTEST = 1 / 4, 1e-7
# Newton's iterations up to which the next step is longer, and as long, with the factors.
EASY, LONGER, HARD, SHORTER = 4, 1.5, 6, 0.6
CLOSED, CLOSING_POINTS = 0.5, 10  # of a step from its start after so many points: closed


@small_on_one_thread(matrices=True)
def continue_branch(
    family: Callable[[float], VectorField],
    start: StateLike,
    parameter_range: tuple[float, float],
    *,
    step: float = 0.02,
    max_points: int = 2000,
    tol: float | None = None,
) -> Branch:
    r"""Follow a branch of equilibria from one end of a parameter's range.

    Parameters
    ----------
    family : callable
        Maps a number to a network with one sample, with an energy or without: the number may be a
        gain, a bias, one input, a mixture of two inputs.
    start : array or record, (unit,)
        Near an equilibrium at the first parameter; it is corrected by Newton's method.
    parameter_range : tuple of float
        Where to start, and the end to go to. The branch ends where it leaves the range at either
        end.
    step : float
        Longest step along the branch, in units of the range or of the root mean square state.
    max_points : int
        Where to give up.
    tol : float, optional
        Bound on the force at every point, by default as for :func:`~ctebm.settle`.

    Returns
    -------
    Branch
        Its ``message`` says why it ends; ``status`` is ``"complete"`` at an end of the range, or if
        it has closed.

    Raises
    ------
    ValueError
        If the start leads to no equilibrium, the range is empty, the networks are not in float64,
        or there are too many units to factor their Jacobian.

    Examples
    --------
    >>> import ctebm
    >>> def family(w):
    ...     return ctebm.DenseNetwork([[0, w], [w, 0]], [0, 0], ctebm.Tanh()).centred()
    >>> branch = ctebm.continue_branch(family, [0, 0], (2, 8))
    >>> [(event.kind, round(event.parameter, 9)) for event in branch.events]
    [('pitchfork', 4.0)]
    >>> branch.stability[0], branch.stability[-1]
    ('stable', 'saddle')
    """
    if not callable(family):
        raise ValueError(
            f"expected a function from a number to a network, got {type(family).__name__}."
        )
    ends = finite_array("parameter range of two finite ends", parameter_range)
    if ends.shape != (2,) or ends[0] == ends[1]:
        raise ValueError(f"expected a parameter range of two finite ends, got {parameter_range}.")
    first, last = ends.tolist()
    step, max_points = _checked(step, max_points)
    network = single(family(first)).snapshot()
    tol = check_tolerance(tol, network.dtype)
    curve = Curve(family, abs(last - first), tol)
    if network.dtype != torch.float64:
        raise ValueError(
            f"expected networks in float64, got {network.dtype}: derivatives by the parameter and "
            "the kinds of events come from differences; let the family return float64."
        )
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
    start_point = Point(s, first, pinned_units(network, s))
    toward = torch.zeros(len(s) + 1, dtype=s.dtype, device=s.device)
    toward[-1] = math.copysign(1.0, last - first)
    t = curve.tangent(start_point, toward)
    return _Follower(curve, start_point, (first, last), step, max_points).follow(t)


@small_on_one_thread(matrices=True)
def switch_branch(
    branch: Branch,
    event: Event,
    *,
    direction: StateLike | None = None,
    step: float = 0.02,
    max_points: int = 2000,
) -> tuple[Branch, Branch]:
    """Follow another branch at a branch point, both ways along a null vector.

    Where several eigenvalues are zero several branches cross, or a whole circle of them: one is
    followed, near the `direction`.

    Parameters
    ----------
    branch : Branch
        Where the event is.
    event : Event
        One of ``branch.branch_points``.
    direction : array, (unit,), optional
        Where to leave to, by default ``event.direction``; its share of the null space is taken.
    step, max_points
        As for :func:`continue_branch`.

    Returns
    -------
    tuple of Branch
        The arm along the direction, and the one against it.

    Raises
    ------
    ValueError
        If no other branch crosses at the event, or the direction is across the null space.

    Examples
    --------
    >>> import ctebm
    >>> def family(w):
    ...     return ctebm.DenseNetwork([[0, w], [w, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> branch = ctebm.continue_branch(family, [0, 0], (0.5, 2))
    >>> arms = ctebm.switch_branch(branch, branch.branch_points[0])
    >>> sorted(arm.state[-1].tolist() for arm in arms)
    [[-0.5, -0.5], [0.5, 0.5]]
    """
    step, max_points = _checked(step, max_points)
    if not (isinstance(branch, Branch) and isinstance(event, Event)):
        raise TypeError(f"expected a branch and an event of it, got {branch!r} and {event!r}.")
    if event.kind not in BRANCH_POINTS:
        raise ValueError(f"expected a branch point, got a {event.kind}; no other branch is there.")
    first, last = branch.parameter_range
    curve = Curve(branch.family, abs(last - first), branch.tol)
    point = Point(event.state, event.parameter, branch.pinned[event.point])
    along = event.direction
    if direction is not None:
        along = on_null_space(curve, point, curve.network(point.p).as_state(direction))
    t = other_tangent(curve, point, along, straight="pitchfork" in event.kind)
    arms = []
    for sign in (1.0, -1.0):
        arm = _Follower(curve, point, branch.parameter_range, step, max_points).follow(sign * t)
        if len(arm.parameter) == 1 and event.multiplicity > 1:
            where = f"one of {event.multiplicity} null vectors at parameter {event.parameter:.6g}"
            message = f"no arm was met along {where}; give another direction."
            arm = replace(arm, message=message)
        arms.append(arm)
    return arms[0], arms[1]


def _checked(step: float, max_points: int) -> tuple[float, int]:
    return finite("step", step, above=0, high=1), whole("max_points", max_points, least=2)


class _Follower:
    """Follows a branch by predictor and corrector, and keeps its points and events."""

    def __init__(
        self,
        curve: Curve,
        start: Point,
        ends: tuple[float, float],
        longest: float,
        max_points: int,
    ) -> None:
        self.curve, self.ends = curve, ends
        self.longest, self.max_points = longest, max_points
        self.points: list[Point] = [start]
        self.events: list[tuple[Point, Event]] = []
        self.signs, self.open_steps = Signs.of(curve.eigenvalues(start)), list[Step]()

    def follow(self, t: Tensor) -> Branch:
        """Return the branch that leaves the start along `t`."""
        curve, point, length = self.curve, self.points[0], FIRST * self.longest
        while len(self.points) < self.max_points:
            if length < SHORTEST:
                return self._branch(
                    f"Newton's method fails beyond parameter {point.p:.6g}: the branch ends there, "
                    "or the family is not smooth in its parameter."
                )
            whole = Step(point, t, length)
            new, iterations = curve.end(whole)
            if iterations == 0 or curve.jumped(whole, new):
                length /= 2
                continue
            whole, new = up_to_dip(curve, self.points[-2:-1], whole, new)
            step, new, border = self._shortened(whole, new)
            t_new = curve.tangent(new, t)
            found = bifurcations(curve, [*self.open_steps, step], self.signs, new, t_new)
            if found is None:
                length /= 2
                continue
            self._keep(step, new, *found)
            if border is not None:
                self.events.append((new, border.event()))
                beyond = border.beyond(curve)
                if beyond is None:
                    return self._branch(
                        f"the units at their kinks at parameter {new.p:.6g} have no common way on."
                    )
                new, t_new = beyond
                self.signs, self.open_steps = Signs.of(curve.eigenvalues(new)), []
            elif step is not whole:
                return self._branch(
                    f"reached the end {new.p:g} of the parameter's range.", "complete"
                )
            if self._closed(point, new, length):
                return self._branch("closed: back at its start.", "complete")
            point, t = new, across(curve, new, t_new, self.signs.unknown)
            length = self._next_length(length, iterations)
        return self._branch(f"stopped after {self.max_points} points; raise max_points.")

    def _shortened(self, step: Step, new: Point) -> tuple[Step, Point, Border | None]:
        """Return the step up to the first border or the end of the range, and what is there."""
        curve = self.curve
        border = Border.before(curve, step, new)
        new = new if border is None else border.at
        low, high = sorted(self.ends)
        if low <= new.p <= high:
            if border is not None:
                step = Step(step.start, step.t, step.along(curve, new))
            return step, new, border
        end = low if new.p < low else high
        at = curve.locate(step, lambda x: x.p - end) or new
        at = Point(at.s, end, at.pinned)
        return Step(step.start, step.t, step.along(curve, at)), at, None

    def _keep(self, step: Step, new: Point, found: list[Found], signs: Signs) -> None:
        """Add what was found on the last steps to the branch, and the last step's end."""
        for one in found:
            place, far = self.points.index(one.step.start) + 1, one.step.along(self.curve, one.at)
            while place < len(self.points) and one.step.along(self.curve, self.points[place]) < far:
                place += 1
            self.points.insert(place, one.at)
            self.events = [e for e in self.events if apart(self.curve, e[0], one.at)]
            self.events.append((one.at, one.event))
        self.points.append(new)
        self.signs = signs
        self.open_steps = [*self.open_steps, step] if signs.open else []

    def _branch(self, message: str, status: str = "incomplete") -> Branch:
        events = [replace(event, point=self.points.index(at)) for at, event in self.events]
        events.sort(key=lambda event: event.point)
        return Branch.through(self.curve, self.points, events, self.ends, status, message)

    def _closed(self, point: Point, new: Point, length: float) -> bool:
        """Return whether the last step came back to the start and went past it."""
        if len(self.points) <= CLOSING_POINTS:
            return False
        gap, before = (float(self.curve.secant(self.points[0], at).norm()) for at in (new, point))
        return gap < CLOSED * length and before > gap

    def _next_length(self, length: float, iterations: int) -> float:
        factor = LONGER if iterations <= EASY else 1.0 if iterations <= HARD else SHORTER
        return min(self.longest, length * factor)
