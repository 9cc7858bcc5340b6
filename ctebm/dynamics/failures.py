"""Which samples of a run left the finite numbers, where and when."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.dynamics.euler import Flow

__all__ = ["Failures"]

_RETRACED = 16  # steps that are taken again at a time to find the one at which a sample fails


class Failures:
    """The samples that left the finite numbers.

    Parameters
    ----------
    s : Tensor, (*batch, unit)
        A state of the run.

    Attributes
    ----------
    step, unit : Tensor, (sample,)
        The first step at which a sample was not finite, and the first such unit; -1 while it is
        finite.
    """

    step: Tensor
    unit: Tensor

    def __init__(self, s: Tensor) -> None:
        self.step: Tensor = torch.full((s.shape[:-1].numel(),), -1, device=s.device)
        self.unit: Tensor = self.step.clone()

    @property
    def all(self) -> bool:
        """Whether no sample is left."""
        return bool((self.step >= 0).all())

    def new(self, s: Tensor) -> Tensor:
        """Return which samples are not finite and were not known to fail, ``(sample,)``."""
        return ~torch.isfinite(s).all(-1).reshape(-1) & (self.step < 0)

    def trace(self, lost: Tensor, advance: Flow, s: Tensor, first: int, last: int) -> None:
        """Note step and unit of lost samples, by taking the steps from `first` to `last` again.

        Parameters
        ----------
        lost : Tensor, (sample,)
            Samples that are not finite at `last`.
        advance : Flow
            The flow of the run from the step `first`.
        s : Tensor, (*batch, unit)
            The state at `first`, where they are finite.
        first, last : int
            Two steps.
        """
        rows = torch.arange(len(lost), device=s.device)
        while bool(lost.any()):
            steps = list(range(first, min(first + _RETRACED, last) + 1))
            states = advance(s, steps)
            bad = ~torch.isfinite(states[1:]).reshape(len(steps) - 1, len(lost), -1)
            now = lost & bad.any(-1).any(0)
            when = bad.any(-1).int().argmax(0)
            self.step[now] = (first + 1 + when)[now]
            self.unit[now] = bad[when, rows].int().argmax(-1)[now]
            lost, s, first = lost & ~now, states[-1], steps[-1]

    def outcome(
        self, residual: Tensor | None, tol: float | None, last: int
    ) -> tuple[Tensor, list[str]]:
        """Return the status of each sample and a sentence for each that failed, ``(sample,)``.

        Parameters
        ----------
        residual : Tensor, (sample,), optional
            Largest force at the last state, if it was to be within `tol`.
        tol : float, optional
            Bound on the force.
        last : int
            The last step.
        """
        status = (self.step >= 0).to(torch.int8)
        message = [""] * len(status)
        for i in torch.nonzero(status).flatten().tolist():
            message[i] = (
                f"sample {i} left the finite numbers at step {int(self.step[i])} in unit "
                f"{int(self.unit[i])}; use a smaller eps."
            )
        if residual is not None and tol is not None:
            late = (status == 0) & ~(residual <= tol)
            status[late] = 2
            for i in torch.nonzero(late).flatten().tolist():
                message[i] = (
                    f"sample {i} has force {float(residual[i]):.3g} > {tol:g} after {last} steps; "
                    "take more steps."
                )
        return status, message
