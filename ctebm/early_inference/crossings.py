"""The first kink that a moving network meets or leaves, until which the exact laws hold (P7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.kinks import Box, Kinks

__all__ = ["CrossingDetector", "Crossings"]

_PIECE = 4  # pieces between inner kinks are numbered in steps of more than the sides of the box


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
        The two kinks at the ends of a unit's range.
    kinks : Kinks or None
        Kinks inside it. Without any of both nothing is ever crossed.
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
    >>> detector = CrossingDetector(Box(-0.5, 0.5), None, torch.zeros(1, 2), torch.ones(1, 2) > 0)
    >>> for step, unit_1 in enumerate([0.0, 0.3, 0.5, 0.5]):
    ...     detector.look(step, torch.tensor([[0.1, unit_1]]))
    >>> detector.found.step, detector.found.unit, detector.found.direction
    (tensor([2]), tensor([1]), tensor([1]))
    """

    def __init__(
        self, box: Box | None, kinks: Kinks | None, start: Tensor, responsive: Tensor
    ) -> None:
        n = len(start)
        step, unit = (torch.full((n,), -1, dtype=torch.int64, device="cpu") for _ in range(2))
        self.found: Crossings = Crossings(
            step, unit, torch.zeros(n, dtype=torch.int64, device="cpu")
        )
        self.box: Box | None = box
        self.kinks: Kinks | None = kinks
        self._side, self._held = self._places(start)
        if box is not None:
            self._side -= torch.where(responsive, box.side(start), 0)
        self._held &= ~responsive

    def look(self, step: int, s: Tensor) -> None:
        """Look at states ``(..., sample, unit)`` after a step, in any replicate."""
        if self.box is None and self.kinks is None:
            return
        side, held = self._places(s)
        changed, met = side != self._side, held | ~self._held
        if s.ndim > 2:
            met = (met & changed).flatten(0, -3).any(0)
            changed = changed.flatten(0, -3).any(0)
        new = changed.any(-1).cpu() & (self.found.step < 0)
        if not bool(new.any()):
            return
        unit = changed.int().argmax(-1)
        direction = torch.where(met.gather(-1, unit[:, None])[:, 0], 1, -1)
        self.found.step[new] = step
        self.found.unit[new] = unit.cpu()[new]
        self.found.direction[new] = direction.cpu()[new]

    def _places(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return a number for the piece between kinks that each unit is in, and if it is on one."""
        side, held = torch.zeros_like(s, dtype=torch.long), torch.zeros_like(s, dtype=torch.bool)
        if self.box is not None:
            side = self.box.side(s).long()
            held = side != 0
        if self.kinks is not None:
            on = self.kinks.on(s)
            side, held = side + _PIECE * (2 * self.kinks.below(s) + on), held | on
        return side, held
