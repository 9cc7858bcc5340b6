r"""Pairwise couplings between rates, the energy of eq. 6; in a dense matrix."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.base import Network, consecutive, covering, rows_of, size_of

__all__ = ["DenseNetwork", "MatrixNetwork", "PairwiseNetwork"]


class PairwiseNetwork(Network):
    r"""Pairwise symmetric couplings between rates, eq. 6.

    .. math:: E(s) = \tfrac12 |s|^2 - \tfrac12 \rho(s)' W \rho(s) - b' \rho(s)

    Subclasses say how ``W`` multiplies rates (:meth:`coupling`), how it looks as a matrix
    (:meth:`dense_weight`), and what is left of it on some of the layers.

    Attributes
    ----------
    activation : Activation
        The firing rate.
    bias : Tensor
        ``(unit,)``, or ``(*batch, unit)`` after clamping.
    constant : Tensor
        The part of the energy that belongs to clamped units alone, ``(*batch)``.
    """

    activation: Activation
    bias: Tensor
    constant: Tensor

    def _set(
        self, activation: Activation, bias: Tensor, layers: Mapping[str, slice], constant: Tensor
    ) -> None:
        self.activation, self.bias, self.constant = activation, bias, constant
        self.layers = MappingProxyType(dict(layers))
        self.n_units = bias.shape[-1]
        self.box = activation.box
        self.dtype, self.device = bias.dtype, bias.device

    @abstractmethod
    def coupling(self, r: Tensor) -> Tensor:
        """Return ``W r`` for rates of shape ``(*batch, unit)``."""

    @abstractmethod
    def dense_weight(self) -> Tensor:
        """Return ``W`` as one matrix, ``(unit, unit)``."""

    @abstractmethod
    def _restrict(self, clamped: str, bias: Tensor, constant: Tensor) -> Self:
        """Return the network without one layer, with the bias of the units left."""

    @abstractmethod
    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the network with a change applied to each parameter."""

    def rate(self, s: Tensor) -> Tensor:
        r"""Return the firing rates :math:`\rho(s)`."""
        return self.activation(self.as_state(s))

    def current(self, s: Tensor) -> Tensor:
        r"""Return the currents :math:`I = b + W \rho(s)`."""
        return self._current(self.rate(s))

    def _current(self, r: Tensor) -> Tensor:
        """Return ``b + W r`` as a new tensor."""
        return self.bias + self.coupling(r)

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r = self.activation(s)
        field = self.coupling(r) / 2 + self.bias
        return s.square().sum(-1) / 2 - (r * field).sum(-1) + self.constant

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r, slope = self.activation.rate_and_slope(s)
        return self._current(r).mul_(slope).sub_(s)  # in place, since it is new

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self.as_state(s)
        r = self.activation(s)
        received = self.coupling(r)
        energy = s.square().sum(-1) / 2 - (r * (received / 2 + self.bias)).sum(-1) + self.constant
        return energy, self.activation.derivative(s) * (received + self.bias) - s

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(self.as_state(v))

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        if self.box is not None:  # rho'' = 0, whatever the current
            return lambda v: v - slope * self.coupling(slope * v)
        diagonal = 1 - self.activation.second_derivative(s) * self.current(s)
        return lambda v: diagonal * v - slope * self.coupling(slope * v)

    @property
    def batch(self) -> torch.Size:
        return self.bias.shape[:-1]

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        if not self.batch:
            return self
        network = copy.copy(self)
        constant = self.constant
        if constant.ndim:
            constant = rows_of(constant.unsqueeze(-1), batch, rows).squeeze(-1)
        network._set(self.activation, rows_of(self.bias, batch, rows), self.layers, constant)
        return network

    def hessian(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        bend = self.activation.second_derivative(s) * self.current(s)
        return torch.diag_embed(1 - bend) - slope.unsqueeze(-1) * self.dense_weight() * (
            slope.unsqueeze(-2)
        )

    def clamp(self, values: Mapping[str, ArrayLike | Tensor]) -> Self:
        network = self
        for name, value in values.items():
            x, where = network._layer_state(name, value), network.layers[name]
            r = network.activation(x)
            padded = r.new_zeros(*r.shape[:-1], network.bias.shape[-1])
            padded[..., where] = r
            received = network.coupling(padded)
            own = received[..., where] / 2 + network.bias[..., where]
            constant = network.constant + x.square().sum(-1) / 2 - (r * own).sum(-1)
            bias = drop_units(network.bias + received, where)
            network = network._restrict(name, bias, constant)
        return network

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
        network._set_bias(-self.coupling(r))
        return network

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Self:
        """Return the network with its parameters in another dtype or on another device."""
        return self._map(lambda parameter: parameter.to(dtype=dtype, device=device))

    def _set_bias(self, bias: Tensor) -> None:
        self._set(self.activation, bias, self.layers, self.constant)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {size_of(where)}" for name, where in self.layers.items())
        return f"{type(self).__name__}({sizes}; {self.activation})"


class MatrixNetwork(PairwiseNetwork):
    """Couplings in one matrix; subclasses say how it is read, multiplied and cut.

    Attributes
    ----------
    weight : Tensor
        ``(unit, unit)``.
    """

    weight: Tensor

    def __init__(
        self,
        weight: Any,
        bias: ArrayLike | Tensor,
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        layers: Mapping[str, slice] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.weight = self._read(weight, dtype)
        n = self.weight.shape[0]
        b = finite_tensor(bias, "the biases", dtype).to(self.weight.device)
        if b.ndim == 0 or b.shape[-1] != n:
            raise ValueError(f"expected {n} biases, one for each unit, got {tuple(b.shape)}.")
        self._set(as_activation(activation), b, covering(layers, n), b.new_zeros(()))

    @abstractmethod
    def _read(self, weight: Any, dtype: torch.dtype) -> Tensor:
        """Return checked weights."""

    @abstractmethod
    def _without(self, where: slice) -> Tensor:
        """Return the weights between the units that are not in `where`."""

    def _restrict(self, clamped: str, bias: Tensor, constant: Tensor) -> Self:
        network = copy.copy(self)
        network.weight = self._without(self.layers[clamped])
        network._set(self.activation, bias, without_layer(self.layers, clamped), constant)
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        network = copy.copy(self)
        network.weight = change(self.weight)
        network._set(self.activation, change(self.bias), self.layers, change(self.constant))
        return network


class DenseNetwork(MatrixNetwork):
    r"""All-to-all couplings of eq. 6.

    Parameters
    ----------
    weight : array, (unit, unit)
        Symmetric, with zero diagonal.
    bias : array, (unit,)
        Biases, or one row a sample.
    activation : Activation or callable
        The firing rate.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, input first; by default one layer ``"s"``.
    dtype : torch.dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If the weights are not square, finite and symmetric with a zero diagonal.
    """

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight

    def _current(self, r: Tensor) -> Tensor:
        return affine(self.bias, r, self.weight)

    def dense_weight(self) -> Tensor:
        return self.weight

    def _read(self, weight: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
        tensor = finite_tensor(weight, "the weights", dtype)
        check_self_coupling(tensor)
        _check_symmetry(tensor)
        return tensor

    def _without(self, where: slice) -> Tensor:
        return drop_units(drop_units(self.weight, where).mT, where).mT.contiguous()


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


def check_self_coupling(weight: Tensor) -> None:
    """Refuse weights that are not a square matrix with a zero diagonal."""
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"expected a square weight matrix, got shape {tuple(weight.shape)}.")
    if weight.diagonal().any():
        raise ValueError(
            "expected no self-coupling, got a non-zero diagonal; the energy sums over i != j only "
            "(eq. 6), so set the diagonal to 0."
        )


def _check_symmetry(weight: Tensor) -> None:
    asymmetry = float((weight - weight.mT).detach().abs().max()) if weight.numel() else 0.0
    if asymmetry > 8 * torch.finfo(weight.dtype).eps * float(weight.detach().abs().max()):
        raise ValueError(
            f"expected symmetric weights, got max |W - W'| = {asymmetry:.3g}; no energy has "
            "asymmetric couplings as its force: eq. 6 would see (W + W')/2; pass that, or use "
            "AsymmetricNetwork."
        )
