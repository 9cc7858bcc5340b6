"""The first kink that a moving network meets or leaves, until which the exact laws hold (P7)."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.networks.kinks import Box

__all__ = ["Crossings"]


class Crossings:
    """Notes the first step at which a unit of each sample meets or leaves a kink.

    Parameters
    ----------
    box : Box or None
        The two kinks; without them nothing is ever crossed.
    start : Tensor, (sample, unit)
        The equilibrium.
    responsive : Tensor, (sample, unit)
        Units that carry a small change. An output pulled back into the box is one of them: it
        leaves its kink at once, as the laws assume.

    Attributes
    ----------
    step, unit, direction : Tensor
        ``(sample)``: the step, the unit and 1 if it met the kink or -1 if it left it; -1, -1 and
        0 where nothing was crossed.
    """

    def __init__(self, box: Box | None, start: Tensor, responsive: Tensor) -> None:
        n = len(start)
        self.box = box
        self.step, self.unit = (torch.full((n,), -1, dtype=torch.int64) for _ in range(2))
        self.direction = torch.zeros(n, dtype=torch.int64)
        self._side = torch.where(responsive, 0, self._side_of(start))

    def see(self, step: int, s: Tensor) -> None:
        """Look at states ``(..., sample, unit)`` after a step, in any replicate."""
        if self.box is None:
            return
        side = self._side_of(s)
        changed = side != self._side
        met = (side.abs() * changed).flatten(0, -3).amax(0) if s.ndim > 2 else side.abs()
        changed = changed.flatten(0, -3).any(0) if s.ndim > 2 else changed
        new = changed.any(-1).cpu() & (self.step < 0)
        if not bool(new.any()):
            return
        unit = changed.int().argmax(-1)
        direction = torch.where(met.gather(-1, unit[:, None])[:, 0] > 0, 1, -1)
        self.step[new] = step
        self.unit[new] = unit.cpu()[new]
        self.direction[new] = direction.cpu()[new]

    def _side_of(self, s: Tensor) -> Tensor:
        if self.box is None:
            return torch.zeros_like(s, dtype=torch.int8)
        return self.box.side(s)
