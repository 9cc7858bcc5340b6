r"""The continuous Hopfield network (Hopfield 1984), the other energy that the paper speaks of.

.. math:: E(s) = \sum_i \int_0^{\rho(s_i)} \rho^{-1}(v)\,dv
    - \tfrac12 \rho(s)' W \rho(s) - b'\rho(s)

Its units follow :math:`\dot s = I - s`, without the factor :math:`\rho'(s)` of eq. 8: a saturated
unit stays where its current holds it.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.base import VectorField
from ctebm.networks.energy import LyapunovField
from ctebm.networks.layer_states import states_of_layers
from ctebm.networks.layout import rows_of
from ctebm.networks.pairwise import PairwiseNetwork
from ctebm.networks.remainder import looks_once

__all__ = ["HopfieldNetwork", "OtherEnergy"]


class OtherEnergy(VectorField):
    r"""The couplings of a network of eq. 6 with an energy of their own.

    .. math:: E(s) = \sum_i \Omega(s_i) - \tfrac12 \rho(s)' W \rho(s) - b'\rho(s)

    Subclasses say :math:`\Omega`, and the motion.

    Parameters
    ----------
    network : PairwiseNetwork
        Symmetric weights, biases, layers and activation.

    Raises
    ------
    TypeError
        For couplings that are not symmetric, whose motion does not go down this energy.
    """

    pairwise: PairwiseNetwork
    held: dict[str, Tensor]
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: PairwiseNetwork) -> None:
        if not isinstance(network, PairwiseNetwork):
            raise TypeError(
                f"expected a network with symmetric couplings, got {type(network).__name__}; "
                "subclass VectorField with a force of your own for other couplings."
            )
        super().__init__(network.n_units, network.layers)
        self.pairwise = network
        self.dtype, self.device = network.dtype, network.device
        self.held = dict(network.origin[1])  # states of clamped layers, whose energy counts too

    @abstractmethod
    def _own(self, s: Tensor) -> Tensor:
        r"""Return :math:`\Omega(s)`, unit by unit."""

    @property
    def activation(self) -> Activation:
        """The firing rate."""
        return self.pairwise.activation

    @property
    def bias(self) -> Tensor:
        """The biases, ``(unit,)``, or ``(*batch, unit)`` after clamping."""
        return self.pairwise.bias

    def rate(self, s: Tensor) -> Tensor:
        r"""Return the firing rates :math:`\rho(s)`; :meth:`state` is the way back."""
        return self.pairwise.rate(s)

    def rate_of(self, layer: str) -> Activation:
        """Return the activation of a layer by its name, or raise ValueError if there is none."""
        return self.pairwise.rate_of(layer)

    def state(self, rates: ArrayLike | Tensor, layer: str | None = None) -> Tensor:
        """Return the states of rates, as :meth:`ctebm.DenseNetwork.state`."""
        return self.pairwise.state(rates, layer)

    @looks_once
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, ``(*batch)``, that of held layers with it."""
        s = self.as_state(s)
        r = self.activation(s)
        field = self.pairwise.coupling(r) / 2 + self.bias
        own = self._own(s).sum(-1) + self.pairwise.constant
        for name, x in self.held.items():
            own = own + self._held(name, x).sum(-1) - x.square().sum(-1) / 2
        return own - (r * field).sum(-1)

    def _held(self, name: str, x: Tensor) -> Tensor:
        r"""Return :math:`\Omega` of a held layer."""
        whole, _ = self.pairwise.origin
        assert isinstance(whole, PairwiseNetwork)
        one = copy.copy(self)
        one.pairwise = copy.copy(self.pairwise)
        one.pairwise.activation = whole.rate_of(name)
        return one._own(x)

    @property
    def batch(self) -> torch.Size:
        return self.pairwise.batch

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        held = {name: rows_of(x, batch, rows) for name, x in self.held.items()}
        return self._with(self.pairwise.samples(batch, rows), held)

    def snapshot(self) -> Self:
        now = self.pairwise.snapshot()
        return self if now is self.pairwise else self._with(now, self.held)

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        held = states_of_layers(self, states)
        return self._with(self.pairwise.clamp(held), self.held | held)

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        whole, held = self.pairwise.origin
        assert isinstance(whole, PairwiseNetwork)
        return self._with(whole, {}), held

    def _with(self, network: PairwiseNetwork, held: dict[str, Tensor]) -> Self:
        other = copy.copy(self)
        other.pairwise, other.held = network, held
        other.n_units, other.layers = network.n_units, network.layers
        return other

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}; {self.activation})"


class HopfieldNetwork(OtherEnergy, LyapunovField):
    r"""The couplings of a network of eq. 6 with the energy and motion of Hopfield (1984).

    The motion is not :math:`-\partial E/\partial s` but :math:`I - s`, which goes down the same
    energy: :math:`\dot E = -\sum_i \rho'(s_i) (I_i - s_i)^2`. So :meth:`force` is :math:`I - s`,
    the pressure is the current, and equilibria solve :math:`s = b + W\rho(s)`, kinks or not.

    Parameters
    ----------
    network : PairwiseNetwork
        Symmetric weights, biases, layers and activation.

    Raises
    ------
    TypeError
        For couplings that are not symmetric, whose motion does not go down this energy.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 1], [1, 0]], [0.5, 0.5], ctebm.HardSigmoid())
    >>> ctebm.settle(ctebm.HopfieldNetwork(pair)).state
    tensor([1.5000, 1.5000], dtype=torch.float64)
    """

    @looks_once
    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.pairwise.current(s) - s

    @looks_once
    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        slope, v = self.activation.derivative(self._in_samples(s)), self.as_state(v)
        return self.pairwise.coupling(slope * v) - v

    @looks_once
    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        slope, v = self.activation.derivative(self._in_samples(s)), self.as_state(v)
        return slope * self.pairwise.adjoint_coupling(v) - v

    @looks_once
    def jacobian(self, s: Tensor) -> Tensor:
        slope = self.activation.derivative(self._in_samples(s)).unsqueeze(-2)
        W = self.pairwise.dense_weight()
        return W * slope - torch.eye(len(W), dtype=W.dtype, device=W.device)

    def _own(self, s: Tensor) -> Tensor:
        r"""Return :math:`\int_0^\rho \rho^{-1}`, by parts :math:`s\rho(s) - \int \rho\,ds`."""
        return s * self.activation(s) - self.activation.integral(s)
