"""What an epoch counts: errors, costs, and how its equilibria settled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import WeightGradient

__all__ = ["UNCOUNTED", "Tally"]

# What epochs lack that an earlier version trained.
UNCOUNTED = {"nudged_residual": math.nan, "nudged_unsettled": math.nan}


@dataclass
class Tally:
    """How an epoch goes: errors, cost, residuals and sweeps of its batches so far.

    Attributes
    ----------
    tol : float
        Residual to which batches settle.
    seen : list of int
        Samples in each batch.
    wrong : list of float
        Samples with another class than their label; NaN of targets.
    costs, residuals, sweeps : list of float
        The sum of costs, the largest residual, the mean of sweeps.
    nudged : list of tuple
        Largest residual of the rests that the rule settled, and whether that is within its own
        tolerance; nothing of a rule that settles none.
    """

    tol: float
    seen: list[int] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    sweeps: list[float] = field(default_factory=list)
    nudged: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, equilibrium: Equilibrium, label: Tensor, cost: Tensor) -> None:
        """Add a batch: its equilibrium, labels or targets, and costs ``(batch,)``."""
        if label.is_floating_point():
            missed = cost.new_full((), math.nan)
        else:
            missed = (equilibrium.states[-1].argmax(-1) != label).sum()
        mean = equilibrium.sweeps.double().mean()
        each = equilibrium.residual.max(), mean, cost.sum(), missed
        # in one tensor, for which a GPU waits once
        residual, sweeps, costs, wrong = torch.stack([x.double() for x in each]).tolist()
        self.residuals.append(residual)
        self.sweeps.append(sweeps)
        self.costs.append(costs)
        self.wrong.append(wrong)
        self.seen.append(len(label))

    def add_nudged(self, gradient: WeightGradient) -> None:
        """Add how the rests settled that a rule needed for its gradient."""
        if not math.isnan(gradient.residual):
            self.nudged.append((gradient.residual, gradient.settled))

    def last(self) -> dict[str, float]:
        """Return error (per cent, NaN of targets), mean cost and residual of the last batch."""
        n = self.seen[-1]
        return {
            "error": 100 * self.wrong[-1] / n,
            "cost": self.costs[-1] / n,
            "residual": self.residuals[-1],
        }

    def note(self) -> str:
        """Return how errors, or the cost of targets, and residual stand."""
        if not self.seen:
            return ""
        row, residual = self.row(), f"residual {max(self.residuals):.1e}"
        if math.isnan(row["train_error"]):
            return f"cost {row['cost']:.3g}, {residual}"
        return f"error {row['train_error']:.2f} %, {residual}"

    def row(self) -> dict[str, Any]:
        """Return the means over the samples, or over the batches."""
        return {
            "train_error": 100 * sum(self.wrong) / sum(self.seen),
            "cost": sum(self.costs) / sum(self.seen),
            "residual": max(self.residuals),
            "unsettled": float(np.mean(np.array(self.residuals) > self.tol)),
            "sweeps": float(np.mean(self.sweeps)),
            "nudged_residual": max((residual for residual, _ in self.nudged), default=math.nan),
            "nudged_unsettled": float(np.mean([not ok for _, ok in self.nudged] or math.nan)),
        }
