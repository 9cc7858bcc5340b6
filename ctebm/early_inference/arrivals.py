r"""When a change of the output arrives in each layer, how much of it, and what rounding leaves.

Letters: depth ``k``, steps ``n``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ctebm.early_inference import metrics as metric
from ctebm.early_inference.laws import driven_coefficient

if TYPE_CHECKING:
    from ctebm.early_inference.record import Correspondence

__all__ = ["along_paths", "first_steps", "rounding_floor"]


def first_steps(record: Correspondence) -> list[int | float]:
    """Return the step in which each layer first moves, inf if it never does.

    Parameters
    ----------
    record : Correspondence
        Its solver, its drive and its layers count.
    """
    order, lead = record.order, record.drive.lead
    return [
        k if math.isinf(k) else -(-(int(k) + 1 - lead) // order) if order else 0
        for k in record.depth
    ]


def along_paths(record: Correspondence, law: Callable[[int, np.ndarray, float], Any]) -> Tensor:
    """Return a law of the feedback path at the saved steps, ``(eps, save, layer)``.

    Parameters
    ----------
    record : Correspondence
        Its drive, its layers and its saved steps count.
    law : callable
        Takes hops, saved steps and the step size.

    Returns
    -------
    Tensor, (eps, save, layer)
        0 for a layer that no path leads to, NaN for one with paths of several lengths and where no
        step was saved.
    """
    lengths = [record.couplings.lengths[name] for name in record.layers]
    rows = []
    for eps, steps in zip(record.eps.tolist(), record.step.cpu().numpy(), strict=True):
        known = np.where(steps >= 0, steps, 0)
        values = []
        for k, paths in zip(record.depth, lengths, strict=True):
            if len(paths) == 1 and not math.isinf(k):
                share = law(int(k) - record.drive.lead, known, eps)
            else:
                share = np.nan if paths else 0.0
            values.append(np.broadcast_to(share, known.shape))
        rows.append(np.where(steps[:, None] >= 0, np.stack(values, -1), np.nan))
    return torch.from_numpy(np.stack(rows))


def rounding_floor(record: Correspondence) -> Tensor:
    """Return the relative error that rounding leaves at the first arrival.

    Parameters
    ----------
    record : Correspondence
        Its equilibrium, its gradient and its steps count.

    Returns
    -------
    Tensor, (sample, eps, layer)
        NaN where nothing arrives first.
    """
    unit = torch.finfo(record.displacement.dtype).eps / 2
    floors = []
    layers = record.fixed.network.layers.values()
    for where, k, n in zip(layers, record.depth, first_steps(record), strict=True):
        if not record.order or math.isinf(k):
            floors.append(record.chain.new_full((len(record.chain), len(record.eps)), np.nan))
            continue
        size = metric.length(record.fixed.state[:, where])[:, None]
        residual = record.fixed.residual[:, None] * (where.stop - where.start) ** 0.5
        n = max(int(n), 1)
        a = [
            float(driven_coefficient(int(k) - record.drive.lead, n, eps, record.order))
            for eps in record.eps.tolist()
        ]
        signal = (
            torch.as_tensor(a, device="cpu").to(size)
            * metric.length(record.chain[:, where])[:, None]
        )
        noise = n * (unit * (size + 2 * signal) + record.eps.to(size) * residual)
        floors.append(noise / (signal * abs(record.drive.strength)))
    return torch.stack(floors, -1)
