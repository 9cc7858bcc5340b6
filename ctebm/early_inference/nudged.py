r"""A network whose output is nudged by the slope of a cost: a network again.

.. math:: E_\beta(s) = E(s) + \beta\,C(y, y^*)

(Scellier & Bengio 2017). Letters: state ``s``, output ``y``, energy ``E``, cost ``C``.
"""

from __future__ import annotations

from typing import Self, overload

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction, checked_cost, slope_of_cost
from ctebm.early_inference.costs import OfRates, squared_error, target_of_cost
from ctebm.early_inference.targets import checked_network, target_states
from ctebm.networks.base import VectorField
from ctebm.networks.energy import LyapunovField, Network, check_energy
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layout import broadcast_shapes, rows_of
from ctebm.networks.numbers import finite
from ctebm.networks.predictive import PredictiveNetwork

__all__ = ["NudgedField", "NudgedHopfield", "NudgedNetwork", "nudged"]


class NudgedField(VectorField):
    r"""A motion with :math:`-\beta\,\partial C/\partial y` added to the force on its output.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output; its kinks are kept.
    target : Tensor, (*batch, output unit)
        Targets of the cost.
    beta : float
        Strength.
    cost : callable, optional
        As for :func:`nudged`.
    """

    network: VectorField
    target: Tensor
    beta: float
    cost: CostFunction | None
    box: Box | None
    kinks: Kinks | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self, network: VectorField, target: Tensor, beta: float, cost: CostFunction | None = None
    ) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.target, self.beta, self.cost = network, target, beta, cost
        self.box, self.kinks = network.box, network.kinks
        self.dtype, self.device = network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        where = self.layers[self.output]
        pull = target_of_cost(self.network, s, self.target, self.cost) - s[..., where]
        before = s.new_zeros(*s.shape[:-1], where.start)
        return self.network.force(s) + torch.cat([before, self.beta * pull], -1)

    @property
    def batch(self) -> torch.Size:
        return broadcast_shapes(self.network.batch, self.target.shape[:-1])

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = self.network.samples(batch, rows)
        return type(self)(network, rows_of(self.target, batch, rows), self.beta, self.cost)


class NudgedNetwork(NudgedField, Network):
    r"""A network with :math:`\beta\,C(y, y^*)` added to its energy.

    Parameters
    ----------
    network : Network
        Its last layer is the output; its kinks are kept.
    target, beta, cost
        As for :class:`NudgedField`.
    """

    # narrower than in the base, and never set again
    network: Network  # pyright: ignore[reportIncompatibleVariableOverride]

    def energy(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        C = (self.cost or squared_error)(s[..., self.layers[self.output]], self.target)
        energy = self.network.energy(s)
        check_energy(energy, s)
        return energy + self.beta * C


class NudgedHopfield(NudgedField, LyapunovField):
    r"""The motion of 1984 with :math:`\beta\,C(\rho(y), y^*)` added to its energy.

    .. math:: \dot s = I - s - \beta\,\partial C/\partial r

    Parameters
    ----------
    network : HopfieldNetwork
        Its last layer is the output.
    target, beta
        As for :class:`NudgedField`, targets in rates.
    cost : OfRates
        A cost of the output's rates.
    """

    # both narrower than in the base, and never set again
    network: HopfieldNetwork  # pyright: ignore[reportIncompatibleVariableOverride]
    cost: OfRates  # pyright: ignore[reportIncompatibleVariableOverride]

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        where = self.layers[self.output]
        r = self.cost.activation(s[..., where])
        pull = -self.beta * slope_of_cost(self.cost.cost, r, self.target)
        return self.network.force(s) + torch.cat(
            [torch.zeros_like(s[..., : where.start]), pull], -1
        )

    def energy(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        C = self.cost(s[..., self.layers[self.output]], self.target)
        return self.network.energy(s) + self.beta * C


@overload
def nudged(
    network: Network, target: ArrayLike | Tensor, beta: float, cost: CostFunction | None = None
) -> Network: ...
@overload
def nudged(
    network: VectorField, target: ArrayLike | Tensor, beta: float, cost: CostFunction | None = None
) -> VectorField: ...
def nudged(
    network: VectorField, target: ArrayLike | Tensor, beta: float, cost: CostFunction | None = None
) -> VectorField:
    r"""Return a network whose output is pulled down a cost with a strength, a network again.

    Parameters
    ----------
    network : VectorField
        With named layers, its input clamped; its last layer is the output.
    target : array, (*batch, output unit)
        Targets, one row a sample or one for all.
    beta : float
        The strength; negative pushes away from the target.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``, of output states and targets; by default
        :func:`~ctebm.early_inference.costs.squared_error`. One of the output's rates is
        :class:`~ctebm.early_inference.costs.OfRates`.

    Returns
    -------
    Network or VectorField
        The former for a network with an energy; a predictive one stays one. As many samples as
        inputs and targets have; kinks are those of the network.

    Raises
    ------
    ValueError
        For targets of another shape, a strength that is not finite, a network without an output,
        and, when it is used, a cost that is not one number a sample.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.5]]], [[0], [0]], ctebm.HardSigmoid()).centred()
    >>> free = net.clamp({"x": [0.2]})
    >>> rest, moved = ctebm.settle(free), ctebm.settle(ctebm.nudged(free, [0.4], beta=0.5))
    >>> rest.state, moved.state  # 0.1, and (0.1 + 0.5 * 0.4) / 1.5
    (tensor([0.1000], dtype=torch.float64), tensor([0.2000], dtype=torch.float64))
    """
    network = checked_network(network)
    states, beta = target_states(network, target, network.batch), finite("beta", beta)
    if cost is None and isinstance(network, PredictiveNetwork):
        return network.nudged(states, beta)
    if isinstance(network, HopfieldNetwork) and isinstance(cost, OfRates):
        return NudgedHopfield(network, states, beta, cost)
    kind = NudgedNetwork if isinstance(network, Network) else NudgedField
    return kind(network, states, beta, checked_cost(cost))
