"""A motion whose output is nudged by the slope of a cost."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from ctebm.early_inference.parameter_gradients import CostFunction, target_of_cost
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.layout import rows_of

__all__ = ["CorrectedNudge", "NudgedField", "NudgedNetwork", "nudged_motion"]


class NudgedField(VectorField):
    r"""A motion with :math:`-\beta\,\partial C/\partial y` added to the force on its output.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.
    target : Tensor, (*batch, output unit)
        Targets of the cost.
    beta : float
        Strength.
    cost : callable, optional
        As for :func:`ctebm.parameter_gradient`.
    """

    network: VectorField
    target: Tensor
    beta: float
    cost: CostFunction | None
    box: Box | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self, network: VectorField, target: Tensor, beta: float, cost: CostFunction | None = None
    ) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.target, self.beta, self.cost = network, target, beta, cost
        self.box, self.dtype, self.device = network.box, network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        return self.network.force(s) + self._pull(s)

    def _pull(self, s: Tensor) -> Tensor:
        where = self.layers[self.output]
        toward = target_of_cost(self.network, s, self.target, self.cost) - s[..., where]
        before = s.new_zeros(*s.shape[:-1], where.start)
        return torch.cat([before, self.beta * toward.expand(*s.shape[:-1], -1)], -1)

    @property
    def batch(self) -> torch.Size:
        return torch.broadcast_shapes(self.network.batch, self.target.shape[:-1])

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = self.network.samples(batch, rows)
        return type(self)(network, rows_of(self.target, batch, rows), self.beta, self.cost)


class CorrectedNudge(NudgedField):
    r"""A nudged motion less :math:`(J - J')(s - \hat s)`, so that the nudge meets :math:`J'`.

    Parameters
    ----------
    network, target, beta, cost
        As for :class:`NudgedField`.
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


class NudgedNetwork(NudgedField, Network):  # pyright: ignore[reportIncompatibleMethodOverride]
    r"""A network with :math:`\beta\,C(y, y^*)` added to its energy.

    Parameters
    ----------
    network : Network
        Its last layer is the output.
    target, beta, cost
        As for :class:`NudgedField`.
    """

    network: Network  # pyright: ignore[reportIncompatibleVariableOverride]

    def energy(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        y, t = s[..., self.layers[self.output]], self.target
        C = (y - t).square().sum(-1) / 2 if self.cost is None else self.cost(y, t)
        return self.network.energy(s) + self.beta * C


def nudged_motion(
    network: VectorField, target: Tensor, beta: float, cost: CostFunction | None = None
) -> VectorField:
    """Return a nudged motion, a network if it was one, in closed form where there is one.

    Parameters
    ----------
    network, target, beta, cost
        As for :class:`NudgedField`.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.learning.nudged import nudged_motion
    >>> net = ctebm.LayeredNetwork([[[0.5]]], [[0], [0]], ctebm.Tanh()).clamp({"x": [0.0]})
    >>> target = torch.tensor([1.0]).double()
    >>> ctebm.settle(nudged_motion(net, target, 0.5, lambda y, t: -(y * t).sum(-1))).state
    tensor([0.5899], dtype=torch.float64)
    """
    own: Any = getattr(network, "nudged", None)
    if cost is None and callable(own):
        return own(target, beta)  # pyright: ignore[reportReturnType]
    kind = NudgedNetwork if isinstance(network, Network) else NudgedField
    return kind(network, target, beta, cost)  # pyright: ignore[reportArgumentType]
