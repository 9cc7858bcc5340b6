"""How the measurement of each sample went: a status, and a sentence where it is not 0."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.early_inference.displacement import DrivenRun
from ctebm.equilibria.record import FixedPoints

__all__ = ["outcomes"]


def outcomes(
    fixed: FixedPoints, run: DrivenRun, finite: Tensor, unstable: Tensor
) -> tuple[Tensor, list[str]]:
    """Return the status of each sample, and a sentence where it is not 0.

    Parameters
    ----------
    fixed : FixedPoints
        The equilibria.
    run : DrivenRun
        What was done to them.
    finite : Tensor, (sample,)
        Whether all displacements are finite.
    unstable : Tensor, (sample,)
        Whether the equilibrium is known to have a direction without positive curvature.
    """
    silent = ~run.responsive[..., run.network.layers[run.network.output]]
    silent = silent.expand(len(fixed.message), -1)
    status = torch.zeros(len(silent), dtype=torch.int8, device="cpu")
    message = list(fixed.message)
    why = "pulled further out" if run.drive.one_sided else "a weak nudge leaves them there"
    rows = zip(fixed.converged.tolist(), finite.tolist(), unstable.tolist(), strict=True)
    for i, (converged, ok, falling) in enumerate(rows):
        if not converged:
            status[i] = 1
        elif not ok:
            status[i] = 3
            message[i] = f"sample {i} left the finite numbers when driven; use a smaller eps."
        elif falling or message[i]:
            status[i] = 4
            message[i] = message[i] or (
                f"sample {i}: the equilibrium is not stable, so that what is measured is how the "
                "motion leaves it; give another start."
            )
        elif bool(silent[i].any()):
            status[i] = 2
            message[i] = (
                f"sample {i}: outputs {torch.nonzero(silent[i]).flatten().tolist()} are pinned at "
                f"a kink and {why}, so that no gradient comes back from them."
            )
    return status, message
