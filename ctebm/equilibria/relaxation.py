r"""The equilibrium that the motion itself leads to: relaxation in time, then Newton's method.

The motion :math:`\dot s = f(s)` is followed by the steps of :mod:`~ctebm.equilibria.steps`, each
row with a step size of its own, projected on the box between kinks. Where the force has become
small Newton's method looks for an equilibrium; what it finds is taken only if it is near and not
unstable, so that a saddle that the motion passes is not taken for its end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctebm.equilibria.kkt import force_in_box, residual, residual_vector
from ctebm.equilibria.newton import newton_beside
from ctebm.equilibria.rows import Rows, has_energy
from ctebm.equilibria.saddles import is_unstable
from ctebm.equilibria.steps import Stepped, dormand_prince, rosenbrock
from ctebm.equilibria.trust_region import descend
from ctebm.networks.base import VectorField

__all__ = ["LARGEST", "Relaxed", "relax"]

# The error of a step in units of the state: the separatrix is crossed by starts nearer than that.
ACCURACY = 1e-5
# Near equilibrium, the error of a step as a share of the residual, so that it keeps falling.
SHARE = 0.1
# Step sizes: the first one, and by how much one changes at most and for how much error at most.
FIRST, SAFETY, LEAST, MOST = 0.03, 0.9, 0.2, 4.0
# More than any error.
BEYOND = 1e300
# In units of the fastest rate that an explicit step sees: at 3.3 it jumps to and fro, within the
# error.
LONGEST = 2.9
# Errors grow with these powers of the step size.
ORDER, SLOW_ORDER = 5, 3
# A motion is slow whose error would allow steps so many times as long, so many steps running; it
# goes on by implicit steps, up to so many units.
SLOW, SLOW_STEPS, IMPLICIT_UNITS = 3.0, 10, 300
# Newton's method is tried where the residual is below this share of the state, and again each
# time it has fallen by the factor after it, or the time has grown by the one after that: where a
# bump that hardly holds drifts, the force rises on the way.
NEAR, AGAIN, LATER = 1e-3, 0.1, 2.0
# An equilibrium is near within this share of the state.
REACH = 0.1
# Steps of Newton's method, which is quadratic near an equilibrium or not there at all.
NEWTON_STEPS = 30
# Up to so many units the plain method is cheaper than one that multiplies with Hessians.
PLAIN_UNITS = 100
# Jacobians of more units are not factored, of fewer so many entries of them together.
LARGEST, PORTION = 2000, 10**7
# A state that has grown by this factor is on its way to infinity.
GROWTH = 1e12

Numbers = NDArray[np.floating]


class Relaxed(NamedTuple):
    """Where the motion ended.

    Attributes
    ----------
    state : Tensor
        ``(row, unit)``.
    steps : Tensor
        Steps taken, ``(row,)``.
    time : Tensor
        The time for which the motion was followed, ``(row,)``.
    stable : Tensor
        Which rows are at an equilibrium that is known not to be unstable, ``(row,)``.
    """

    state: Tensor
    steps: Tensor
    time: Tensor
    stable: Tensor


def relax(rows: Rows[VectorField], s: Tensor, tol: float, max_iterations: int) -> Relaxed:
    r"""Follow the motion from each row until it is at an equilibrium.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the residual.
    max_iterations : int
        Bound on the steps in time of each row.

    Returns
    -------
    Relaxed
    """
    found, slow = _followed(_Motion(rows, s), tol, max_iterations)
    n_units = s.shape[-1]
    for at in slow.split(max(1, PORTION // n_units**2)):
        n_left = max_iterations - int(found.steps[at].max()) if len(at) else 0
        if n_left > 0:
            motion = _SlowMotion(rows[at], found.state[at])
            more, _ = _followed(motion, tol, n_left)
            found.state[at], found.stable[at] = more.state, more.stable
            found.steps[at] += more.steps
            found.time[at] += more.time
    return found


def _followed(motion: _Motion, tol: float, max_iterations: int) -> tuple[Relaxed, Tensor]:
    """Follow a motion to its end; return where it is, and the places of rows that are slow."""
    ended, n = motion.s.clone(), len(motion.s)
    at, steps, time = np.arange(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    stable, slow = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for _ in range(max_iterations):
        motion.step()
        motion.polish(tol)
        steps[at] += 1
        time[at], stable[at] = motion.time, motion.stable
        going = motion.going(tol)
        slow[at] = slows = going & motion.is_slow
        going &= ~slows
        if going.all():
            continue
        ended[_on(at[~going], ended)] = motion.s[_on(~going, ended)]
        at = at[going]
        if not len(at):
            break
        motion.keep(going)
    else:
        ended[_on(at, ended)] = motion.s
    numbers = (_on(x, ended) for x in (steps, time, stable))
    return Relaxed(ended, *numbers), _on(np.flatnonzero(slow), ended)


class _Motion:
    """States on their way: force, step size, time, and where Newton's method is tried next.

    Numbers of a row each are on the host, which judges the steps.
    """

    def __init__(self, rows: Rows[VectorField], s: Tensor) -> None:
        self.s, n = s, len(s)
        self._follow(rows)
        self.f = self.force(s)
        self.time, self.h = np.zeros(n), np.full(n, FIRST)
        self.try_below, self.try_after = np.full(n, np.inf), np.full(n, np.inf)
        self.stable, self.slow_steps = np.zeros(n, dtype=bool), np.zeros(n, dtype=int)
        self.size, self.scale = _largest(residual_vector(rows.network, s, self.f), s)
        self.far = GROWTH * np.maximum(self.scale, 1)

    def _follow(self, rows: Rows[VectorField]) -> None:
        self.rows, self.network, self.force = rows, rows.network, force_in_box(rows.network)
        self.is_smooth = self.network.box is None and self.network.kinks is None

    def step(self) -> None:
        """Take a step in time in the rows in which its error is small enough."""
        end = dormand_prince(self.network, self.force, self.s, self._h(), self.f)
        bent, moved, *numbers = _largest(
            end.force - end.force_before, end.state - end.before, *self._judged(end)
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            longest = np.where(bent > 0, LONGEST * moved / bent, np.inf)
        self._go(end, ORDER, longest, *numbers)

    def _h(self) -> Tensor:
        return _on(self.h, self.s).to(self.s.dtype).unsqueeze(-1)

    def _judged(self, end: Stepped) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the error, the residual and the scale at the end of a step are largest of."""
        return end.error, residual_vector(self.network, end.state, end.force), end.state

    def _allowed(self) -> Numbers:
        """Return the error that a step may have."""
        unit = np.maximum(self.scale, 1)
        allowed = np.minimum(ACCURACY * unit, SHARE * self.size)
        return np.maximum(allowed, torch.finfo(self.s.dtype).eps * unit)

    def _go(
        self,
        end: Stepped,
        order: int,
        longest: Numbers,
        error: Numbers,
        size: Numbers,
        scale: Numbers,
    ) -> None:
        """Go to the ends of steps in rows where the error is small enough; choose the next size."""
        error = np.fmin(error / self._allowed(), BEYOND)  # also where it is not a number
        factor = SAFETY * np.maximum(error, 1e-9) ** (-1 / order)
        h, wanted = self.h, self.h * np.clip(factor, LEAST, MOST)
        self.h, taken = np.minimum(wanted, longest), error <= 1
        self.slow_steps = np.where(wanted > SLOW * longest, self.slow_steps + 1, 0)
        self.time = self.time + np.where(taken, h, 0.0)
        if taken.all():
            self.s, self.f, self.size, self.scale = end.state, end.force, size, scale
            return
        rows = _on(taken, self.s).unsqueeze(-1)
        self.s = torch.where(rows, end.state, self.s)
        self.f = torch.where(rows, end.force, self.f)
        self.size, self.scale = (
            np.where(taken, size, self.size),
            np.where(taken, scale, self.scale),
        )

    @property
    def is_slow(self) -> NDArray[np.bool_]:
        """Which rows had better go on by implicit steps."""
        able = self.is_smooth and self.s.shape[-1] <= IMPLICIT_UNITS
        return (self.slow_steps >= SLOW_STEPS) & able

    def polish(self, tol: float) -> None:
        """End rows at a stable equilibrium beside them, if there is one."""
        unit = np.maximum(self.scale, 1)
        away = self.size > NEAR * unit
        self.try_below = np.where(away, NEAR * unit, self.try_below)
        due = (self.size <= self.try_below) | (self.time >= self.try_after)
        near = np.flatnonzero(~away & due)
        if not len(near) or self.s.shape[-1] > LARGEST:
            return
        self.try_below[near] = AGAIN * self.size[near]
        self.try_after[near] = LATER * self.time[near]
        portion = max(1, PORTION // self.s.shape[-1] ** 2)
        for some in _on(near, self.s).split(portion):
            self._polish(some, tol)

    def _polish(self, at: Tensor, tol: float) -> None:
        rows, s = self.rows[at], self.s[at]
        ends = _newton(rows, s, tol)
        size = residual(rows.network, ends)
        good = (size <= tol) & ((ends - s).abs().amax(-1) <= REACH * _scale(s))
        good[good.clone()] = ~is_unstable(rows[good], ends[good])
        at = at[good]
        self.s[at] = ends[good]
        ended = at.cpu().numpy()
        self.size[ended], self.stable[ended] = size[good].detach().cpu().numpy(), True

    def going(self, tol: float) -> NDArray[np.bool_]:
        """Return which rows still move."""
        return (self.size > tol) & (self.scale < self.far)

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Go on with some of the rows."""
        at = _on(going, self.s)
        self._follow(self.rows[at])
        self.s, self.f = self.s[at], self.f[at]
        for name in ("time", "h", "size", "scale", "far", "stable",
                     "slow_steps", "try_below", "try_after"):  # fmt: skip
            setattr(self, name, getattr(self, name)[going])


class _SlowMotion(_Motion):
    """States that drift slowly beside a fast mode, followed by implicit steps."""

    def step(self) -> None:
        end = rosenbrock(self.network, self.force, self.s, self._h(), self.f)
        self._go(end, SLOW_ORDER, np.full_like(self.h, np.inf), *_largest(*self._judged(end)))

    def _allowed(self) -> Numbers:
        unit = np.maximum(self.scale, 1)
        # a long step may be as much longer as it is: what it errs dies out in the fast modes
        allowed = np.minimum(ACCURACY * unit, SHARE * self.size * np.maximum(self.h, 1))
        return np.maximum(allowed, torch.finfo(self.s.dtype).eps * unit)


def _largest(*numbers: Tensor) -> list[Numbers]:
    """Return the largest of each row of tensors ``(row, unit)``, read by the host at once."""
    largest = torch.stack(numbers).abs_().amax(-1).detach()
    return list(largest.to("cpu", torch.float64).numpy())


def _on(numbers: NDArray, s: Tensor) -> Tensor:
    """Return an array as a tensor where the states are."""
    return torch.from_numpy(numbers).to(s.device)


def _scale(s: Tensor) -> Tensor:
    """Return the size of each state, at least 1, ``(row,)``."""
    return s.abs().amax(-1).clamp(min=1)


def _newton(rows: Rows[VectorField], s: Tensor, tol: float) -> Tensor:
    """Return the equilibria that Newton's method finds from states."""
    if has_energy(rows) and s.shape[-1] > PLAIN_UNITS:
        return descend(rows, s, tol, NEWTON_STEPS).state
    return newton_beside(rows.network, s)
