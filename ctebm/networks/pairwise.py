r"""Pairwise couplings between rates: the motion of eq. 8 and, where they are symmetric, eq. 6."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.base import Network, VectorField, consecutive, rows_of, size_of

__all__ = ["PairwiseField", "PairwiseNetwork"]


class PairwiseField(VectorField):
    r"""Pairwise couplings between rates, the motion of eq. 8 for any couplings.

    .. math:: f_i(s) = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    Subclasses say how ``W`` multiplies rates (:meth:`coupling`), how its transpose does
    (:meth:`adjoint_coupling`), how it looks as a matrix (:meth:`dense_weight`), and what is left of
    it on some of the layers.

    Attributes
    ----------
    activation : Activation
        The firing rate.
    bias : Tensor
        ``(unit,)``, or ``(*batch, unit)`` after clamping.
    """

    activation: Activation
    bias: Tensor

    def _set(self, activation: Activation, bias: Tensor, layers: Mapping[str, slice]) -> None:
        self.activation, self.bias = activation, bias
        self.layers = dict(layers)
        self.n_units = bias.shape[-1]
        self.box = activation.box
        self.dtype, self.device = bias.dtype, bias.device

    @abstractmethod
    def coupling(self, r: Tensor) -> Tensor:
        """Return ``W r`` for rates of shape ``(*batch, unit)``."""

    @abstractmethod
    def adjoint_coupling(self, r: Tensor) -> Tensor:
        """Return ``W' r`` for vectors of shape ``(*batch, unit)``."""

    @abstractmethod
    def dense_weight(self) -> Tensor:
        """Return ``W`` as one matrix, ``(unit, unit)``."""

    @abstractmethod
    def _restrict(self, clamped: str, bias: Tensor) -> Self:
        """Return the network without one layer, with the bias of the units left."""

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the network with a change applied to each parameter; subclasses add theirs."""
        return copy.copy(self)

    def rate(self, s: Tensor) -> Tensor:
        r"""Return the firing rates :math:`\rho(s)`."""
        return self.activation(self.as_state(s))

    def current(self, s: Tensor) -> Tensor:
        r"""Return the currents :math:`I = b + W \rho(s)`."""
        return self._current(self.rate(s))

    def _current(self, r: Tensor) -> Tensor:
        """Return ``b + W r`` as a new tensor."""
        return self.bias + self.coupling(r)

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r, slope = self.activation.rate_and_slope(s)
        return self._current(r).mul_(slope).sub_(s)  # in place, since it is new

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        slope, diagonal = self._slope_and_diagonal(s)
        v = self.as_state(v)
        return slope * self.coupling(slope * v) - diagonal * v

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        slope, diagonal = self._slope_and_diagonal(s)
        v = self.as_state(v)
        return slope * self.adjoint_coupling(slope * v) - diagonal * v

    def jacobian(self, s: Tensor) -> Tensor:
        slope, diagonal = self._slope_and_diagonal(s)
        coupled = slope.unsqueeze(-1) * self.dense_weight() * slope.unsqueeze(-2)
        return coupled - torch.diag_embed(diagonal.expand_as(slope))

    def _slope_and_diagonal(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\rho'` and :math:`1 - \rho'' I`, the diagonal of the Hessian."""
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        if self.box is not None:  # rho'' = 0, whatever the current
            return slope, torch.ones_like(slope)
        return slope, 1 - self.activation.second_derivative(s) * self.current(s)

    @property
    def batch(self) -> torch.Size:
        return self.bias.shape[:-1]

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        if not self.batch:
            return self
        network = copy.copy(self)
        network._set(self.activation, rows_of(self.bias, batch, rows), self.layers)
        return network

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        network = self
        for name, x in self._layer_states(states).items():
            network = network._clamp(name, x)
        return network

    def _clamp(self, name: str, x: Tensor) -> Self:
        """Return the network with one layer held."""
        received, where = self._received(name, x), self.layers[name]
        return self._restrict(name, drop_units(self.bias + received, where))

    def _received(self, name: str, x: Tensor) -> Tensor:
        """Return what every unit receives from one layer at a state."""
        r = self.activation(x)
        padded = r.new_zeros(*r.shape[:-1], self.bias.shape[-1])
        padded[..., self.layers[name]] = r
        return self.coupling(padded)

    def centred(self, rates: Mapping[str, ArrayLike | Tensor] | None = None) -> Self:
        r"""Return the network with biases that make every current vanish at given rates.

        With :math:`b = -W r` the state 0 is a fixed point.

        Parameters
        ----------
        rates : mapping of str to array, optional
            A rate for each unit of a layer, ``(size,)``, such as the mean input; the other layers
            have :math:`\rho(0)`.
        """
        r = self.activation(torch.zeros_like(self.bias))
        for name, rate in (rates or {}).items():
            r[..., self.layer(name)] = torch.as_tensor(rate, dtype=self.dtype, device=self.device)
        network = self._map(lambda parameter: parameter)
        network._set(self.activation, -self.coupling(r), self.layers)
        return network

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Self:
        """Return the network with its parameters in another dtype or on another device."""
        return self._map(lambda parameter: parameter.to(dtype=dtype, device=device))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {size_of(where)}" for name, where in self.layers.items())
        return f"{type(self).__name__}({sizes}; {self.activation})"


class PairwiseNetwork(PairwiseField, Network):  # pyright: ignore[reportIncompatibleMethodOverride]
    r"""Pairwise symmetric couplings between rates, eq. 6.

    .. math:: E(s) = \tfrac12 |s|^2 - \tfrac12 \rho(s)' W \rho(s) - b' \rho(s)

    Attributes
    ----------
    constant : Tensor
        The part of the energy that belongs to clamped units alone, ``(*batch)``.
    """

    constant: Tensor

    def _set(self, activation: Activation, bias: Tensor, layers: Mapping[str, slice]) -> None:
        super()._set(activation, bias, layers)
        if not hasattr(self, "constant"):
            self.constant = bias.new_zeros(())

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r = self.activation(s)
        return self._energy(s, r, self.coupling(r))

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self.as_state(s)
        r = self.activation(s)
        received = self.coupling(r)
        energy = self._energy(s, r, received)
        return energy, self.activation.derivative(s) * (received + self.bias) - s

    def _energy(self, s: Tensor, r: Tensor, received: Tensor) -> Tensor:
        return s.square().sum(-1) / 2 - (r * (received / 2 + self.bias)).sum(-1) + self.constant

    def adjoint_coupling(self, r: Tensor) -> Tensor:
        return self.coupling(r)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(self.as_state(v))

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        if self.box is not None:  # rho'' = 0, whatever the current
            return lambda v: v - slope * self.coupling(slope * v)
        diagonal = 1 - self.activation.second_derivative(s) * self.current(s)
        return lambda v: diagonal * v - slope * self.coupling(slope * v)

    def hessian(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        curved = self.activation.second_derivative(s) * self.current(s)
        return torch.diag_embed(1 - curved) - slope.unsqueeze(-1) * self.dense_weight() * (
            slope.unsqueeze(-2)
        )

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return -self.hessian_product(s, v)

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        return -self.hessian_product(s, v)

    def jacobian(self, s: Tensor) -> Tensor:
        return -self.hessian(s)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = super().samples(batch, rows)
        if self.batch and self.constant.ndim:
            constant = rows_of(self.constant.unsqueeze(-1), batch, rows)
            network.constant = constant.squeeze(-1)
        return network

    def _clamp(self, name: str, x: Tensor) -> Self:
        received, where = self._received(name, x), self.layers[name]
        own = received[..., where] / 2 + self.bias[..., where]
        network = self._restrict(name, drop_units(self.bias + received, where))
        network.constant = (
            self.constant + x.square().sum(-1) / 2 - (self.activation(x) * own).sum(-1)
        )
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        network = super()._map(change)
        network.constant = change(self.constant)
        return network


def affine(bias: Tensor, r: Tensor, W: Tensor) -> Tensor:
    """Return ``bias + r W``, in one call where torch has one."""
    fits = r.ndim == 2 and (bias.ndim == 1 or (bias.ndim == 2 and len(bias) in (1, len(r))))
    return torch.addmm(bias, r, W) if fits else bias + r @ W


def without_layer(layers: Mapping[str, slice], name: str) -> dict[str, slice]:
    return consecutive({k: size_of(where) for k, where in layers.items() if k != name})


def drop_units(t: Tensor, where: slice) -> Tensor:
    """Return `t` without some of its last indices."""
    return torch.cat([t[..., : where.start], t[..., where.stop :]], dim=-1)


def finite_tensor(value: ArrayLike | Tensor, what: str, dtype: torch.dtype) -> Tensor:
    tensor = torch.as_tensor(value, dtype=dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"expected finite numbers in {what}, got NaN or infinity.")
    return tensor
