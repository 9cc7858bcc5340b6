"""A nudge that is corrected for couplings which differ in the two directions."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction
from ctebm.early_inference.nudged import NudgedField
from ctebm.networks.base import VectorField
from ctebm.networks.layout import rows_of

__all__ = ["CorrectedNudge"]


class CorrectedNudge(NudgedField):
    r"""A nudged motion less :math:`(J - J')(s - \hat s)`, so that the nudge meets :math:`J'`.

    Parameters
    ----------
    network, target, beta, cost
        As for a :class:`~ctebm.early_inference.nudged.NudgedField`.
    state : Tensor, (*batch, unit)
        The free equilibrium :math:`\hat s`, where the Jacobian `J` is taken.
    """

    def __init__(
        self,
        network: VectorField,
        target: Tensor,
        beta: float,
        cost: CostFunction | None,
        state: Tensor,
    ) -> None:
        super().__init__(network, target, beta, cost)
        self.state = state

    def force(self, s: Tensor) -> Tensor:
        away = self._in_samples(s) - self.state
        J, adjoint = self.network.jacobian_product, self.network.adjoint_product
        return super().force(s) - J(self.state, away) + adjoint(self.state, away)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = self.network.samples(batch, rows)
        target, state = (rows_of(t, batch, rows) for t in (self.target, self.state))
        return type(self)(network, target, self.beta, self.cost, state)
