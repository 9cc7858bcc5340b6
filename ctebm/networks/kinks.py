r"""The box between two kinks of a rate, and what units do at its faces.

Where :math:`\rho` is linear with slope 1 between the kinks :math:`\beta_1 < \beta_2` and constant
outside, every equilibrium of eq. 6 lies in the box :math:`\beta_1 \le s_i \le \beta_2`. A unit
whose force points out of the box at a kink stays there: it is *pinned*, and slides on the face of
the box (Filippov).

A kink may also lie inside a unit's range, as that of ReLU in predictive coding. There the force
jumps, and a unit whose force points to the kink from both sides is pinned on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Box", "Kinks"]

_BESIDE = 1e-30  # how far beside a kink at 0 its force is asked for, at others a rounding
_ROUNDINGS = 4  # units in the last place that a step which ends at a kink may miss it by


class Box(NamedTuple):
    r"""States between two kinks, :math:`\beta_1 \le s_i \le \beta_2`.

    Attributes
    ----------
    low, high : float or Tensor
        The kinks, one pair for all units or ``(unit,)``; infinite for units without kinks.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.kinks import Box
    >>> box, s = Box(-0.5, 0.5), torch.tensor([0.5, 0.5, 0.2])
    >>> box.residual(s, torch.tensor([1.0, -1.0, 1.0]))
    tensor([ 0.0000, -1.0000,  0.3000])
    >>> box.pinned(s, torch.tensor([1.0, -1.0, 1.0]))
    tensor([ True, False, False])
    >>> box.on_kinks(torch.tensor([0.4999999, 0.4]))
    tensor([0.5000, 0.4000])
    """

    low: float | Tensor
    high: float | Tensor

    def project(self, s: Tensor) -> Tensor:
        """Return the nearest states in the box."""
        if isinstance(self.low, Tensor) == isinstance(self.high, Tensor):
            ends: Any = self.low, self.high  # both are tensors, or both numbers
            return s.clamp(*ends)
        return s.clamp(min=self.low).clamp(max=self.high)

    def residual(self, s: Tensor, f: Tensor) -> Tensor:
        """Return ``clip(s + f, beta1, beta2) - s``, which is 0 at an equilibrium."""
        return self.project(s + f) - s

    def pinned(self, s: Tensor, f: Tensor) -> Tensor:
        """Return which units are at a kink, or beyond, with a force `f` that does not lead back."""
        return ((s <= self.low) & (f <= 0)) | ((s >= self.high) & (f >= 0))

    def pulled_out(self, s: Tensor, f: Tensor) -> Tensor:
        """Return which units are at a kink, or beyond, with a force `f` that leads further out."""
        return ((s <= self.low) & (f < 0)) | ((s >= self.high) & (f > 0))

    def inside(self, s: Tensor) -> Tensor:
        """Return which units are strictly between their kinks."""
        return (s > self.low) & (s < self.high)

    def contains(self, s: Tensor) -> Tensor:
        """Return which units are between their kinks or on one."""
        return (s >= self.low) & (s <= self.high)

    def including(self, s: Tensor) -> Box:
        """Return the smallest box around this one and the states `s`, ``(*batch, unit)`` each."""
        return Box(s.clamp(max=self.low), s.clamp(min=self.high))

    def on_kinks(self, s: Tensor) -> Tensor:
        """Return the states with units that are a rounding error from a kink put on it."""
        roundings = _ROUNDINGS * torch.finfo(s.dtype).eps
        for kink in self:
            if isinstance(kink, Tensor):
                near = (roundings * kink.abs().clamp(min=1.0)).nan_to_num(posinf=0.0)
            elif math.isfinite(kink):
                near = roundings * max(abs(kink), 1.0)
            else:
                continue
            s = torch.where((s - kink).abs() <= near, kink, s)
        return s

    def from_inside(self, s: Tensor) -> Tensor:
        """Return the nearest states in the box, those on its faces moved in by a rounding."""
        s = self.project(s)
        off = _off(s)
        return torch.where(s == self.low, s + off, torch.where(s == self.high, s - off, s))

    def side(self, s: Tensor) -> Tensor:
        """Return -1 at the lower kink or below, 1 at the upper or above, 0 between, as int8."""
        return (s >= self.high).to(torch.int8) - (s <= self.low).to(torch.int8)

    def distance(self, s: Tensor) -> Tensor:
        """Return how far each unit is from the nearer of its kinks, negative outside the box."""
        return torch.minimum(s - self.low, self.high - s)

    def margin(self, s: Tensor, f: Tensor, pinned: Tensor | None = None) -> Tensor:
        """Return how far each unit is from being pinned, or from being released.

        Parameters
        ----------
        s, f : Tensor
            States and forces.
        pinned : Tensor, optional
            :meth:`pinned` if known.
        """
        pinned = self.pinned(s, f) if pinned is None else pinned
        return torch.where(pinned, f.abs(), self.distance(s))

    def to(self, like: Tensor) -> Box:
        """Return the box with kinks of each unit in the dtype and on the device of a tensor."""
        low, high = (b.to(like) if isinstance(b, Tensor) else b for b in self)
        return Box(low, high)

    def of_units(self, units: Tensor | slice) -> Box:
        """Return the box of some units by their numbers, or of those in a slice."""
        low, high = (b[units] if isinstance(b, Tensor) and b.ndim else b for b in self)
        return Box(low, high)

    def without(self, units: Sequence[slice], s: Tensor) -> Box:
        """Return the box like states `s`, infinite for some units."""
        low, high = self.each(s)
        for where in units:
            low[where], high[where] = -torch.inf, torch.inf
        return Box(low, high)

    def each(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return both kinks of each unit, ``(unit,)``, like states `s`."""
        kinks = (torch.as_tensor(b, dtype=s.dtype, device=s.device) for b in self)
        low, high = (kink.expand(s.shape[-1]).clone() for kink in kinks)
        return low, high


class Kinks(NamedTuple):
    r"""Kinks inside the range of units, at which the force jumps, one a unit or several.

    Attributes
    ----------
    at : float or Tensor
        Where they are, ascending: one for all units, ``(unit,)`` or ``(kink, unit)``; infinite for
        units without.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.kinks import Kinks
    >>> kinks, s = Kinks(0.0), torch.tensor([-1.0, 0.0, 2.0])
    >>> kinks.on(s)
    tensor([False,  True, False])
    >>> kinks.pinned(s, torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, -1.0, 1.0]))
    tensor([False,  True, False])
    >>> kinks.cell(torch.tensor([0, 1, 1]), s)
    Box(low=tensor([-inf, 0., 0.]), high=tensor([0., inf, inf]))
    """

    at: float | Tensor

    def each(self, s: Tensor) -> Tensor:
        """Return the kinks of each unit, ``(kink, unit)``, like states `s`."""
        at = torch.as_tensor(self.at, dtype=s.dtype, device=s.device)
        return at.expand(1, s.shape[-1]) if at.ndim < 2 else at

    def on(self, s: Tensor) -> Tensor:
        """Return which units are on a kink of theirs."""
        return (s.unsqueeze(-2) == self.each(s)).any(-2)

    def below(self, s: Tensor) -> Tensor:
        """Return how many of its kinks are below each unit."""
        return (s.unsqueeze(-2) > self.each(s)).sum(-2)

    def cell(self, number: Tensor, s: Tensor, box: Box | None = None) -> Box:
        """Return the kinks between which units are that have so many below them.

        The ends of their range, where these are nearer.
        """
        at = self.each(s)
        end = torch.full_like(at[:1], torch.inf)
        ends = torch.cat([-end, at, end]).expand(*s.shape[:-1], -1, -1)
        low, high = (ends.gather(-2, (number + k).unsqueeze(-2)).squeeze(-2) for k in (0, 1))
        return Box(low, high) if box is None else Box(box.project(low), box.project(high))

    def beside(self, s: Tensor, side: int) -> Tensor:
        """Return states with units on a kink moved off it by a rounding, up (1) or down (-1)."""
        return torch.where(self.on(s), s + side * _off(s), s)

    def on_kinks(self, s: Tensor) -> Tensor:
        """Return the states with units that are a rounding error from a kink put on it."""
        near = _ROUNDINGS * torch.finfo(s.dtype).eps * s.abs().clamp(min=1.0)
        for kink in self.each(s):
            s = torch.where((s - kink).abs() <= near, kink, s)
        return s

    def pinned(self, s: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Return which units are on a kink to which the forces on its two sides do not lead away.

        Parameters
        ----------
        s : Tensor
            States.
        below, above : Tensor
            The forces just below and just above the kinks that units are on.
        """
        return self.on(s) & (below >= 0) & (above <= 0)

    def sliding(self, s: Tensor, f: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Return the velocity of a motion with force `f`, in which pinned units stay (Filippov).

        Other units on a kink leave it by the side that leads away, upward if both do.
        """
        leaving = torch.where(above > 0, above, below).masked_fill(
            self.pinned(s, below, above), 0.0
        )
        return torch.where(self.on(s), leaving, f)

    def without(self, units: Sequence[slice], s: Tensor) -> Kinks:
        """Return the kinks like states `s`, infinite for some units."""
        at = self.each(s).clone()
        for where in units:
            at[:, where] = torch.inf
        return Kinks(at)

    def distance(self, s: Tensor) -> Tensor:
        """Return how far each unit is from the nearest of its kinks."""
        return (s.unsqueeze(-2) - self.each(s)).abs().amin(-2)

    def of_units(self, units: Tensor) -> Kinks:
        """Return the kinks of some units by their numbers."""
        at = self.at
        return Kinks(at[..., units] if isinstance(at, Tensor) and at.ndim else at)


def _off(s: Tensor) -> Tensor:
    """Return a rounding of each state, which leads off a kink."""
    return (torch.finfo(s.dtype).eps * s.abs()).clamp(min=_BESIDE)
