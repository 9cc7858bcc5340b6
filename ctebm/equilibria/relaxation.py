r"""The equilibrium that the motion itself leads to: relaxation in time, then Newton's method.

The motion :math:`\dot s = f(s)` is followed by steps of order 3 (Bogacki & Shampine 1989), each row
with a step size of its own, projected on the box between kinks. Where the force has become small
Newton's method looks for an equilibrium; what it finds is taken only if it is near and not
unstable, so that a saddle that the motion passes is not taken for its end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.kkt import project, residual
from ctebm.equilibria.newton import polish
from ctebm.equilibria.rows import Iteration, Rows, has_energy
from ctebm.equilibria.saddles import is_unstable
from ctebm.equilibria.trust_region import descend
from ctebm.networks.base import VectorField

__all__ = ["LARGEST", "Relaxed", "relax"]

# The error of a step in units of the state: the separatrix is crossed by starts nearer than that.
ACCURACY = 1e-5
# Near equilibrium, the error of a step as a share of the residual, so that it keeps falling.
SHARE = 0.1
# Step sizes: the first one, and by how much one changes at most and for how much error at most.
FIRST, SAFETY, LEAST, MOST = 0.01, 0.9, 0.2, 4.0
# In units of the fastest rate that a step sees: at 2.5 steps jump to and fro, within the error.
LONGEST = 2.2
ORDER = 3
# Newton's method is tried where the residual is below this share of the state, and again each
# time it has fallen by the factor after it, or the time has grown by the one after that: where a
# bump that hardly holds drifts, the force rises on the way.
NEAR, AGAIN, LATER = 1e-3, 0.1, 2.0
# An equilibrium is near within this share of the state.
REACH = 0.1
# Steps of Newton's method, which is quadratic near an equilibrium or not there at all.
NEWTON_STEPS = 30
# Jacobians of more units are not factored, of fewer so many entries of them together.
LARGEST, PORTION = 2000, 10**7
# A state that has grown by this factor is on its way to infinity.
GROWTH = 1e12


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
    motion = _Motion(rows, s)
    iteration = Iteration(rows, s, motion.time, motion.stable)
    for _ in range(max_iterations):
        motion.step()
        motion.polish(tol)
        going = motion.going(tol)
        all_go_on = iteration.advance(going, motion.s, motion.time, motion.stable)
        if iteration.over:
            break
        if not all_go_on:
            motion.keep(going)
    state, time, stable = iteration.ended
    return Relaxed(state, iteration.steps, time, stable)


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


class _Motion:
    """States on their way: force, step size, time, and where Newton's method is tried next."""

    def __init__(self, rows: Rows[VectorField], s: Tensor) -> None:
        self.rows, self.s = rows, s
        self.f = rows.network.force(s)
        self.time = torch.zeros_like(s[..., 0])
        self.h = torch.full_like(self.time, FIRST)
        self.try_below = torch.full_like(self.time, torch.inf)
        self.try_after = torch.full_like(self.time, torch.inf)
        self.far = GROWTH * _scale(s)
        self.size = residual(rows.network, s, self.f)
        self.stable = torch.zeros_like(self.time, dtype=torch.bool)

    def step(self) -> None:
        """Take a step in time in the rows in which its error is small enough."""
        net, s, h, k1 = self.rows.network, self.s, self.h.unsqueeze(-1), self.f
        k2 = net.force(project(net, s + h / 2 * k1))
        before = project(net, s + 3 / 4 * h * k2)
        k3 = net.force(before)
        third = project(net, s + h / 9 * (2 * k1 + 3 * k2 + 4 * k3))
        k4 = net.force(third)
        second = project(net, s + h / 24 * (7 * k1 + 6 * k2 + 8 * k3 + 3 * k4))
        allowed = torch.minimum(ACCURACY * _scale(s), SHARE * self.size)
        rounding = torch.finfo(s.dtype).eps * _scale(s)
        error = (third - second).abs().amax(-1) / torch.maximum(allowed, rounding)
        error = torch.nan_to_num(error, nan=torch.inf)
        taken = error <= 1
        self.time = self.time + torch.where(taken, self.h, 0.0)
        self.s = torch.where(taken.unsqueeze(-1), third, s)
        self.f = torch.where(taken.unsqueeze(-1), k4, k1)
        factor = SAFETY * error.clamp(min=1e-9) ** (-1 / ORDER)
        rate = (k4 - k3).abs().amax(-1) / (third - before).abs().amax(-1)
        longest = torch.where(rate > 0, LONGEST / rate, torch.inf)
        self.h = torch.minimum(self.h * factor.clamp(LEAST, MOST), longest)
        self.size = residual(net, self.s, self.f)

    def polish(self, tol: float) -> None:
        """End rows at a stable equilibrium beside them, if there is one."""
        scale = _scale(self.s)
        away = self.size > NEAR * scale
        self.try_below = torch.where(away, NEAR * scale, self.try_below)
        due = (self.size <= self.try_below) | (self.time >= self.try_after)
        near = torch.nonzero(~away & due).squeeze(-1)
        if not len(near) or self.s.shape[-1] > LARGEST:
            return
        self.try_below[near], self.try_after[near] = (
            AGAIN * self.size[near],
            LATER * self.time[near],
        )
        portion = max(1, PORTION // self.s.shape[-1] ** 2)
        for some in near.split(portion):
            self._polish(some, tol)

    def _polish(self, at: Tensor, tol: float) -> None:
        rows, s = self.rows[at], self.s[at]
        ends = _newton(rows, s, tol)
        size = residual(rows.network, ends)
        good = (size <= tol) & ((ends - s).abs().amax(-1) <= REACH * _scale(s))
        good[good.clone()] = ~is_unstable(rows[good], ends[good])
        at = at[good]
        self.s[at], self.size[at], self.stable[at] = ends[good], size[good], True

    def going(self, tol: float) -> Tensor:
        """Return which rows still move."""
        return (self.size > tol) & (self.s.abs().amax(-1) < self.far)

    def keep(self, going: Tensor) -> None:
        """Go on with some of the rows."""
        self.rows, self.s, self.f = self.rows[going], self.s[going], self.f[going]
        self.time, self.h, self.size = self.time[going], self.h[going], self.size[going]
        self.try_below, self.try_after = self.try_below[going], self.try_after[going]
        self.far, self.stable = self.far[going], self.stable[going]


def _scale(s: Tensor) -> Tensor:
    """Return the size of each state, at least 1, ``(row,)``."""
    return s.abs().amax(-1).clamp(min=1)


def _newton(rows: Rows[VectorField], s: Tensor, tol: float) -> Tensor:
    """Return the equilibria that Newton's method finds from states."""
    if has_energy(rows):
        return descend(rows, s, tol, NEWTON_STEPS).state
    return polish(rows.network, s, tol)
