r"""Alternating updates with momentum, which hurry a chain of kinked layers down its energy.

An update of the kept layers, then of those between, is a projected step along the force of the
condensed network,

.. math:: o_{k+1} = \mathrm{clip}(y_k + f(y_k),\, \beta_1,\, \beta_2), \qquad
          y_{k+1} = o_{k+1} + \tfrac{j}{j + 3} (o_{k+1} - o_k)

(Nesterov 1983), with `j` steps since the momentum last led upwards, where it starts anew
(O'Donoghue & Candès 2015). No curvature is above 1, so that no step is too long.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.condensed import Condensed

__all__ = ["accelerated"]

# Steps between looks whether rows have come near.
LOOK = 8
# Rows that have are carried along until no more than this share has not.
KEPT = 0.7


def accelerated(network: Condensed, o: Tensor, tol: float, most: int) -> tuple[Tensor, Tensor]:
    """Return states near equilibria, and the steps taken to them.

    Parameters
    ----------
    network : Condensed
        For states ``(row, unit)``.
    o : Tensor
        Starts, ``(row, unit)``.
    tol : float
        The residual at which a row has come near enough.
    most : int
        Bound on the steps.

    Returns
    -------
    tuple of Tensor
        ``(row, unit)`` and ``(row,)``. Nothing is promised of them: the energy may have risen.
    """
    ends, steps = o.clone(), torch.full(o.shape[:1], most, device=o.device)
    at, going = torch.arange(len(o), device=o.device), torch.ones_like(steps, dtype=torch.bool)
    y, before, j = o, o, torch.zeros_like(o[:, :1])
    for k in range(1, most + 1):
        o = project(network, y + network.force(y))
        move, onward = o - y, o - before
        if k % LOOK == 0 or k == most:
            far = move.abs().amax(-1) > tol
            over = going if k == most else going & ~far
            ends[at[over]], steps[at[over]] = o[over], k
            going = going & far
            left = int(going.sum())
            if not left:
                break
            if left <= KEPT * len(at):
                network = network.samples(network.batch, torch.nonzero(going).squeeze(-1))
                at, o, move, onward, j = (x[going] for x in (at, o, move, onward, j))
                going = going[going]
        upwards = (move * onward).sum(-1, keepdim=True) < 0
        j = torch.where(upwards, 0.0, j + 1)
        before, y = o, project(network, torch.addcmul(o, j / (j + 3), onward))
    return ends, steps
