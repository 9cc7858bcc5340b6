"""The first kink that a moving network meets or leaves, until which the exact laws hold (P7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.kinks import Box

__all__ = ["CrossingDetector", "Crossings"]


@dataclass(frozen=True, eq=False)
class Crossings:
    """The first crossing of each sample.

    Attributes
    ----------
    step : Tensor
        The first step after which a unit has met or left a kink, ``(sample,)``; -1 if none has.
    unit : Tensor
        That unit, ``(sample,)``; -1 if there is none.
    direction : Tensor
        1 if it met the kink, -1 if it left it, 0 if there is none, ``(sample,)``.
    """

    step: Tensor
    unit: Tensor
    direction: Tensor


class CrossingDetector:
    """Looks for the first step at which a unit of each sample meets or leaves a kink.

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
    found : Crossings
        What has been found so far.

    Examples
    --------
    >>> import torch
    >>> from ctebm.early_inference.crossings import CrossingDetector
    >>> from ctebm.networks.kinks import Box
    >>> detector = CrossingDetector(Box(-0.5, 0.5), torch.zeros(1, 2), torch.ones(1, 2) > 0)
    >>> for step, unit_1 in enumerate([0.0, 0.3, 0.5, 0.5]):
    ...     detector.look(step, torch.tensor([[0.1, unit_1]]))
    >>> detector.found.step, detector.found.unit, detector.found.direction
    (tensor([2]), tensor([1]), tensor([1]))
    """

    def __init__(self, box: Box | None, start: Tensor, responsive: Tensor) -> None:
        n = len(start)
        step, unit = (torch.full((n,), -1, dtype=torch.int64) for _ in range(2))
        self.found: Crossings = Crossings(step, unit, torch.zeros(n, dtype=torch.int64))
        self.box = box
        if box is not None:
            self._side = torch.where(responsive, 0, box.side(start))

    def look(self, step: int, s: Tensor) -> None:
        """Look at states ``(..., sample, unit)`` after a step, in any replicate."""
        if self.box is None:
            return
        side = self.box.side(s)
        changed, met = side != self._side, side.abs()
        if s.ndim > 2:
            met = (met * changed).flatten(0, -3).amax(0)
            changed = changed.flatten(0, -3).any(0)
        new = changed.any(-1).cpu() & (self.found.step < 0)
        if not bool(new.any()):
            return
        unit = changed.int().argmax(-1)
        direction = torch.where(met.gather(-1, unit[:, None])[:, 0] > 0, 1, -1)
        self.found.step[new] = step
        self.found.unit[new] = unit.cpu()[new]
        self.found.direction[new] = direction.cpu()[new]
