r"""The continuous Hopfield network (Hopfield 1984), the other energy that the paper speaks of.

.. math:: E(s) = \sum_i \int_0^{\rho(s_i)} \rho^{-1}(v)\,dv
    - \tfrac12 \rho(s)' W \rho(s) - b'\rho(s)

Its units follow :math:`\dot s = I - s`, without the factor :math:`\rho'(s)` of eq. 8: a saturated
unit stays where its current holds it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import Network
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["HopfieldNetwork"]


class HopfieldNetwork(Network):
    r"""The couplings of a network of eq. 6 with the energy and motion of Hopfield (1984).

    The motion is not :math:`-\partial E/\partial s` but :math:`I - s`, which goes down the same
    energy: :math:`\dot E = -\sum_i \rho'(s_i) (I_i - s_i)^2`. So :meth:`force` is :math:`I - s`,
    the pressure is the current, and equilibria solve :math:`s = b + W\rho(s)`, kinks or not.

    Parameters
    ----------
    network : PairwiseNetwork
        Weights, biases, layers and activation.
    """

    is_gradient = False

    def __init__(self, network: PairwiseNetwork) -> None:
        super().__init__(network.n_units, network.layers)
        self.pairwise, self.activation, self.bias = network, network.activation, network.bias
        self.dtype, self.device = network.dtype, network.device

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r = self.activation(s)
        field = self.pairwise.coupling(r) / 2 + self.bias
        return (self._own(s) - r * field).sum(-1) + self.pairwise.constant

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.pairwise.current(s) - s

    def jacobian(self, s: Tensor) -> Tensor:
        slope = self.activation.derivative(self.as_state(s)).unsqueeze(-2)
        W = self.pairwise.dense_weight()
        return W * slope - torch.eye(len(W), dtype=W.dtype, device=W.device)

    @property
    def batch(self) -> torch.Size:
        return self.pairwise.batch

    def samples(self, batch: torch.Size, rows: Tensor) -> HopfieldNetwork:
        return HopfieldNetwork(self.pairwise.samples(batch, rows))

    def clamp(self, values: Mapping[str, ArrayLike | Tensor]) -> HopfieldNetwork:
        states = {name: self._layer_state(name, x) for name, x in values.items()}
        held = self.pairwise.clamp(states)
        own = sum(self._own(x).sum(-1) - x.square().sum(-1) / 2 for x in states.values())
        held._set(held.activation, held.bias, held.layers, held.constant + own)
        return HopfieldNetwork(held)

    def _own(self, s: Tensor) -> Tensor:
        r"""Return :math:`\int_0^\rho \rho^{-1}`, by parts :math:`s\rho(s) - \int \rho\,ds`."""
        return s * self.activation(s) - self.activation.integral(s)
