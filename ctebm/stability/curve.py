r"""The curve of equilibria :math:`f(s; p) = 0` in state and parameter: its points and tangents.

With kinks the curve is followed in one pattern of pinned units at a time: their rows read
"the unit stays at its kink". Lengths on the curve are measured in :math:`s/\sqrt N` and `p` over
its range, so that a step means the same in small and large networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import scipy.optimize
import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.base import VectorField, single
from ctebm.networks.energy import Network

__all__ = ["Curve", "Place", "Stretch"]


@dataclass(frozen=True)
class Place:
    """A point of the curve, with what the next step needs.

    Attributes
    ----------
    s : Tensor
        State, ``(unit,)``.
    p : float
        Parameter.
    pinned : Tensor
        The pattern in which the curve is followed, ``(unit,)`` bool.
    """

    s: Tensor
    p: float
    pinned: Tensor


@dataclass(frozen=True)
class Stretch:
    """A piece of the curve, as it is followed: from a place along its tangent.

    Attributes
    ----------
    start : Place
        Where it begins.
    t : Tensor
        The unit tangent there, ``(unit + 1,)`` in scaled lengths.
    length : float
        How far along the tangent it goes.
    """

    start: Place
    t: Tensor
    length: float


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        # one place is asked for its force, Jacobian and tangent in turn
        remembered = lru_cache(maxsize=8)(lambda p: single(self.family(p)))
        object.__setattr__(self, "_remembered", remembered)

    def network(self, p: float) -> VectorField:
        """Return the network at a parameter."""
        return self._remembered(float(p))  # pyright: ignore[reportAttributeAccessIssue]

    def force(self, place: Place) -> Tensor:
        """Return the force, ``(unit,)``; beyond a kink that of the piece between the kinks."""
        network = self.network(place.p)
        if network.box is None:
            return network.force(place.s)
        inside = network.box.project(place.s)
        return network.force(inside) + network.jacobian(inside) @ (place.s - inside)

    def jacobian(self, place: Place) -> Tensor:
        """Return the Jacobian of :meth:`force`, ``(unit, unit)``."""
        network = self.network(place.p)
        return network.jacobian(project(network, place.s))

    def parameter_force(self, place: Place) -> Tensor:
        r"""Return :math:`\partial f/\partial p` on unpinned units, by central differences."""
        h = 1e-6 * self.span
        above, below = (self.force(Place(place.s, place.p + k * h, place.pinned)) for k in (1, -1))
        return ((above - below) / (2 * h)).masked_fill(place.pinned, 0)

    def growth(self, place: Place) -> Tensor:
        r"""Return the eigenvalues of H on unpinned units, ascending; without an energy those of -J.

        The latter are complex, and ascend by their real parts.
        """
        free = ~place.pinned
        J = self.jacobian(place)[free][:, free]
        if isinstance(self.network(place.p), Network):
            return -torch.linalg.eigvalsh(J).flip(0)
        mu = -torch.linalg.eigvals(J)
        return mu[mu.real.argsort()]

    def null_vector(self, place: Place) -> Tensor:
        """Return the unit vector whose eigenvalue is nearest to zero, ``(unit,)``."""
        free = ~place.pinned
        J = self.jacobian(place)[free][:, free]
        vector = torch.zeros_like(place.s)
        vector[free] = torch.linalg.svd(J).Vh[-1]
        return vector

    def tangent(self, place: Place, along: Tensor) -> Tensor:
        """Return the unit tangent ``(ds, dp)`` in scaled lengths, turned like `along`."""
        A = torch.cat([self._jacobian(place), along.unsqueeze(0)])
        right = torch.zeros(len(A), dtype=A.dtype, device=A.device)
        right[-1] = 1
        # least squares, since the matrix is singular at a branch point
        t = torch.linalg.pinv(A, rtol=1e-13) @ right
        return t / t.norm()

    def null_tangent(self, place: Place) -> Tensor:
        """Return the unit tangent without a direction to turn to, of either sign."""
        return torch.linalg.svd(self._jacobian(place)).Vh[-1]

    def move(self, place: Place, step: Tensor) -> Place:
        """Return the place a scaled step away, in the same pattern."""
        n = len(place.s)
        return Place(
            place.s + math.sqrt(n) * step[:n], place.p + self.span * float(step[n]), place.pinned
        )

    def correct(self, guess: Place, along: Tensor, max_steps: int = 12) -> tuple[Place, int]:
        """Return the curve's point in the plane through `guess` across `along`, and the steps.

        The number of steps is 0 if Newton's method has failed.
        """
        place, moved = guess, torch.zeros_like(along)
        last = math.inf
        for k in range(1, max_steps + 1):
            F = torch.cat([self._residual(place), (moved @ along).reshape(1)])
            size = float(F[:-1].abs().max())
            if not math.isfinite(size) or size > 1e3 * (1 + last):
                return guess, 0
            if size <= 1e-15 or (size <= self.tol and size > 0.25 * last):
                return place, k
            A = torch.cat([self._jacobian(place), along.unsqueeze(0)])
            step = -torch.linalg.lstsq(A, F.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
            moved, place, last = moved + step, self.move(place, step), size
        return place, max_steps if last <= self.tol else 0

    def end(self, stretch: Stretch) -> tuple[Place, int]:
        """Return where a stretch ends, and Newton's steps as in :meth:`correct`."""
        return self.correct(self.move(stretch.start, stretch.length * stretch.t), stretch.t)

    def strayed(self, stretch: Stretch, end: Place) -> bool:
        """Return whether the corrector ended on another branch or round a sharp bend."""
        if float(self.way(stretch.start, end).norm()) > 1.2 * stretch.length:
            return True
        return float(self.tangent(end, stretch.t) @ stretch.t) < 0.8

    def way(self, start: Place, end: Place) -> Tensor:
        """Return the scaled step from one place to another."""
        s = (end.s - start.s) / math.sqrt(len(end.s))
        return torch.cat([s, s.new_tensor([(end.p - start.p) / self.span])])

    def between(self, stretch: Stretch, value: Callable[[Place], float]) -> Place | None:
        """Return where `value` crosses zero on a stretch, or None."""

        def at(length: float) -> Place:
            return self.end(Stretch(stretch.start, stretch.t, length))[0]

        ends = value(stretch.start), value(at(stretch.length))
        if not (math.isfinite(ends[0]) and math.isfinite(ends[1])) or ends[0] * ends[1] > 0:
            return None
        if ends[0] == 0:
            return stretch.start
        root = scipy.optimize.brentq(
            lambda x: value(at(float(x))), 0.0, stretch.length, xtol=1e-15, maxiter=60,
            disp=False,
        )  # fmt: skip
        return at(float(root))  # pyright: ignore[reportArgumentType]

    def nearest_kink(self, place: Place) -> Tensor:
        """Return the kink that each unit's state is nearer to, ``(unit,)``."""
        low, high = self._box(place)
        return torch.where(place.s > (low + high) / 2, high, low)

    def slack(self, place: Place) -> Tensor:
        """Return how far each unit is from leaving its pattern, ``(unit,)``; infinite if none."""
        if self.network(place.p).box is None:
            return torch.full_like(place.s, math.inf)
        low, high = self._box(place)
        f, s = self.force(place), place.s
        outward = torch.where(s > (low + high) / 2, f, -f)
        return torch.where(place.pinned, outward, torch.minimum(s - low, high - s))

    def _residual(self, place: Place) -> Tensor:
        f = self.force(place)
        if self.network(place.p).box is None:
            return f
        return torch.where(place.pinned, self.nearest_kink(place) - place.s, f)

    def _box(self, place: Place) -> tuple[Tensor, Tensor]:
        box = self.network(place.p).box
        assert box is not None, "kinks are asked for where there are none"
        return box.each(place.s)

    def _jacobian(self, place: Place) -> Tensor:
        """Return the derivative of the residual by scaled state and parameter."""
        n = len(place.s)
        J = self.jacobian(place)
        one = torch.eye(n, dtype=J.dtype, device=J.device)
        J = torch.where(place.pinned.unsqueeze(-1), -one, J)
        return torch.cat(
            [math.sqrt(n) * J, self.span * self.parameter_force(place).unsqueeze(-1)], dim=1
        )
