r"""The curve of equilibria :math:`f(s; p) = 0` in state and parameter: its points and tangents.

With kinks the curve is followed in one pattern of pinned units at a time: their rows read
"the unit stays at its kink". Lengths on the curve are measured in :math:`s/\sqrt N` and `p` over
its range, so that a step means the same in small and large networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import scipy.optimize
import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.base import VectorField, single
from ctebm.networks.energy import Network

__all__ = ["Curve", "Point", "Step"]

# df/dp is a central difference over this share of the range, near the cube root of rounding.
PARAMETER_DIFFERENCE = 1e-6
# The curve's matrix is singular at a branch point, and along a symmetry that moves an equilibrium
# to others. Differences leave 1e-10 of df/dp wrong and rounding 1e-16 of a force: divided by a
# singular value below these shares of the largest they would be steps that mean nothing, and the
# shortest solution goes without.
SINGULAR_TANGENT, SINGULAR_STEP = 1e-7, 1e-10
# Newton's method has failed when the force grows by this factor.
DIVERGING = 1e3
# A force that no step makes smaller.
ROUNDING = 1e-15
# Steps of Newton's method that make the force smaller by less than this have reached rounding.
STALLED = 0.25
# A corrected step longer than predicted by this factor, or turned further than this cosine, has
# jumped to another branch or round a sharp turn.
LONGEST, SHARPEST = 1.2, 0.8
# Zeros of test functions are located to rounding, in so many evaluations at most.
LOCATED, EVALUATIONS = 1e-15, 60


@dataclass(frozen=True, eq=False)
class Point:
    """A point of the curve, and the pattern of pinned units in which it is followed there.

    Attributes
    ----------
    s : Tensor
        State, ``(unit,)``.
    p : float
        Parameter.
    pinned : Tensor
        The pattern, ``(unit,)`` bool.
    """

    s: Tensor
    p: float
    pinned: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """A step of the continuation: from a point of the curve along its tangent.

    Attributes
    ----------
    start : Point
        Where it begins.
    t : Tensor
        The unit tangent there, ``(unit + 1,)`` in scaled lengths.
    length : float
        How far along the tangent it goes.
    """

    start: Point
    t: Tensor
    length: float

    def along(self, curve: Curve, point: Point) -> float:
        """Return how far along the tangent a point is."""
        return float(curve.secant(self.start, point) @ self.t)


@dataclass(frozen=True, eq=False)
class Curve:
    """Equilibria of a family of networks.

    Attributes
    ----------
    family : callable
        Parameter to network.
    span : float
        Width of the parameter's range.
    tol : float
        Bound on the force.
    """

    family: Callable[[float], VectorField]
    span: float
    tol: float

    @cached_property
    def network(self) -> Callable[[float], VectorField]:
        """The network at a parameter; the last ones are kept, since a point is asked many times."""
        return lru_cache(maxsize=8)(lambda p: single(self.family(p)).snapshot())

    def force(self, point: Point) -> Tensor:
        """Return the force, ``(unit,)``; beyond a kink that of the piece between the kinks."""
        network = self.network(point.p)
        if network.box is None:
            return network.force(point.s)
        inside = network.box.project(point.s)
        return network.force(inside) + network.jacobian(inside) @ (point.s - inside)

    def jacobian(self, point: Point) -> Tensor:
        """Return the Jacobian of :meth:`force`, ``(unit, unit)``."""
        network = self.network(point.p)
        return network.jacobian(project(network, point.s))

    def parameter_force(self, point: Point) -> Tensor:
        r"""Return :math:`\partial f/\partial p` on unpinned units, by central differences."""
        h = PARAMETER_DIFFERENCE * self.span
        above, below = (self.force(Point(point.s, point.p + k * h, point.pinned)) for k in (1, -1))
        return ((above - below) / (2 * h)).masked_fill(point.pinned, 0)

    @cached_property
    def eigenvalues(self) -> Callable[[Point], Tensor]:
        r"""The eigenvalues of :math:`-J` on unpinned units, ascending by real part.

        Of the Hessian, and real, where there is an energy, as in :class:`ctebm.Linearization`.
        Those of the last points are kept.
        """
        return lru_cache(maxsize=8)(self._eigenvalues)

    def _eigenvalues(self, point: Point) -> Tensor:
        free = ~point.pinned
        J = self.jacobian(point)[free][:, free]
        if isinstance(self.network(point.p), Network):
            return -torch.linalg.eigvalsh(J).flip(0)
        lam = -torch.linalg.eigvals(J)
        return lam[lam.real.argsort()]

    def tangent(self, point: Point, along: Tensor) -> Tensor:
        """Return the unit tangent ``(ds, dp)`` in scaled lengths, turned like `along`."""
        A = torch.cat([self._jacobian(point), along.unsqueeze(0)])
        right = torch.zeros(len(A), dtype=A.dtype, device=A.device)
        right[-1] = 1
        t = torch.linalg.pinv(A, rtol=SINGULAR_TANGENT) @ right
        return t / t.norm()

    def unsigned_tangent(self, point: Point) -> Tensor:
        """Return the unit tangent without a direction to turn to, of either sign."""
        return torch.linalg.svd(self._jacobian(point)).Vh[-1]

    def move(self, point: Point, by: Tensor) -> Point:
        """Return the point a scaled displacement away, in the same pattern."""
        n = len(point.s)
        return Point(
            point.s + math.sqrt(n) * by[:n], point.p + self.span * float(by[n]), point.pinned
        )

    def secant(self, start: Point, end: Point) -> Tensor:
        """Return the scaled displacement from one point to another."""
        s = (end.s - start.s) / math.sqrt(len(end.s))
        return torch.cat([s, s.new_tensor([(end.p - start.p) / self.span])])

    def correct(self, guess: Point, along: Tensor, max_iterations: int = 12) -> tuple[Point, int]:
        """Return the curve's point in the plane through `guess` across `along`, by Newton's method.

        Also the number of iterations, 0 if Newton's method has failed.
        """
        point, moved = guess, torch.zeros_like(along)
        last, last_point = math.inf, guess
        for k in range(1, max_iterations + 1):
            F = torch.cat([self._residual(point), (moved @ along).reshape(1)])
            size = float(F[:-1].abs().max())
            if not math.isfinite(size) or size > DIVERGING * (1 + last):
                return guess, 0
            if size <= ROUNDING or (size <= self.tol and size > STALLED * last):
                return point, k
            A = torch.cat([self._jacobian(point), along.unsqueeze(0)])
            change = -(torch.linalg.pinv(A, rtol=SINGULAR_STEP) @ F)
            last, last_point = size, point
            moved, point = moved + change, self.move(point, change)
        return (last_point, max_iterations) if last <= self.tol else (guess, 0)

    def end(self, step: Step) -> tuple[Point, int]:
        """Return where a step ends, and Newton's iterations as in :meth:`correct`."""
        return self.correct(self.move(step.start, step.length * step.t), step.t)

    def jumped(self, step: Step, end: Point) -> bool:
        """Return whether the corrector ended on another branch or round a sharp turn."""
        if float(self.secant(step.start, end).norm()) > LONGEST * step.length:
            return True
        return float(self.tangent(end, step.t) @ step.t) < SHARPEST

    def locate(self, step: Step, test: Callable[[Point], float]) -> Point | None:
        """Return where a test function crosses zero on a step, or None.

        Newton's method begins on the cubic through both ends and their tangents: beside a branch
        point it would go over to the other branch from further away.
        """
        end, _ = self.end(step)
        chord, t_end = self.secant(step.start, end), self.tangent(end, step.t)
        slope = step.length * t_end / (t_end @ step.t)

        def at(length: float) -> Point:
            x = length / step.length
            by = x**2 * (3 - 2 * x) * chord
            by += x * (1 - x) ** 2 * step.length * step.t - x**2 * (1 - x) * slope
            return self.correct(self.move(step.start, by), step.t)[0]

        ends = test(step.start), test(end)
        if not (math.isfinite(ends[0]) and math.isfinite(ends[1])) or ends[0] * ends[1] > 0:
            return None
        if ends[0] == 0:
            return step.start
        if ends[1] == 0:
            return end
        root: Any = scipy.optimize.brentq(
            lambda x: test(at(float(x))), 0.0, step.length, xtol=LOCATED, maxiter=EVALUATIONS,
            disp=False,
        )  # fmt: skip
        return at(float(root))

    def reaches(self, step: Step, point: Point) -> bool:
        """Return whether a point located on a step is an equilibrium of the same branch."""
        far = Step(step.start, step.t, step.along(self, point))
        at_rest = float(self._residual(point).abs().max()) <= self.tol
        return at_rest and (point is step.start or not self.jumped(far, point))

    def nearest_kink(self, point: Point) -> Tensor:
        """Return the kink that each unit's state is nearer to, ``(unit,)``."""
        low, high = self._box(point)
        return torch.where(point.s > (low + high) / 2, high, low)

    def slack(self, point: Point) -> Tensor:
        """Return how far each unit is from leaving its pattern, ``(unit,)``; infinite if none."""
        if self.network(point.p).box is None:
            return torch.full_like(point.s, math.inf)
        low, high = self._box(point)
        f, s = self.force(point), point.s
        outward = torch.where(s > (low + high) / 2, f, -f)
        return torch.where(point.pinned, outward, torch.minimum(s - low, high - s))

    def _residual(self, point: Point) -> Tensor:
        f = self.force(point)
        if self.network(point.p).box is None:
            return f
        return torch.where(point.pinned, self.nearest_kink(point) - point.s, f)

    def _box(self, point: Point) -> tuple[Tensor, Tensor]:
        box = self.network(point.p).box
        assert box is not None, "kinks are asked for where there are none"
        return box.each(point.s)

    def _jacobian(self, point: Point) -> Tensor:
        """Return the derivative of the residual by scaled state and parameter."""
        n = len(point.s)
        J = self.jacobian(point)
        one = torch.eye(n, dtype=J.dtype, device=J.device)
        J = torch.where(point.pinned.unsqueeze(-1), -one, J)
        return torch.cat(
            [math.sqrt(n) * J, self.span * self.parameter_force(point).unsqueeze(-1)], dim=1
        )
