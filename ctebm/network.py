r"""Energies, and the forces and curvatures that follow from them.

A network is an energy :math:`E(s)` on states ``s`` of shape ``(*batch, unit)``. Everything else is
a derivative of it: the force :math:`-\partial E/\partial s`, the pressure
:math:`R(s) = s - \partial E/\partial s` (eq. 8), the Hessian :math:`H`. A user's network gives
:meth:`Network.energy` alone; the networks of eq. 6 give closed forms.

Letters: state ``s``, rate ``r`` = :math:`\rho(s)`, weights ``W``, biases ``b``, current
``I`` = ``b + W r``.
"""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.activation import Activation, as_activation

_NARROW_UNITS = 32
_DENSE_UNITS = 100  # up to which one dense product is faster than a product a block

__all__ = ["DenseNetwork", "LayeredNetwork", "Network", "PairwiseNetwork", "TangentNetwork"]


class Network(ABC):
    """An energy on states ``(*batch, unit)``; subclass it with :meth:`energy` alone.

    Parameters
    ----------
    n_units : int, optional
        The number of units; None if the energy takes states of any length.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, input first, output last.

    Attributes
    ----------
    box : tuple of float or None
        The kinks ``(b1, b2)`` between which equilibria lie, if the activation has such.
    is_gradient : bool
        Whether the force is the gradient of an energy.
    dtype, device
        Of the parameters; states are brought to them.
    """

    n_units: int | None = None
    layers: Mapping[str, slice] = MappingProxyType({})
    box: tuple[float, float] | None = None
    is_gradient: bool = True
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")

    def __init__(
        self, n_units: int | None = None, layers: Mapping[str, slice] | None = None
    ) -> None:
        self.n_units = n_units
        self.layers = MappingProxyType(dict(layers or {}))

    @abstractmethod
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, shape ``(*batch)``."""

    def force(self, s: Tensor) -> Tensor:
        r"""Return the force :math:`-\partial E/\partial s`, shape ``(*batch, unit)``."""
        return -torch.func.grad(lambda u: self.energy(u).sum())(self.as_state(s))

    def pressure(self, s: Tensor) -> Tensor:
        r"""Return the pressure :math:`R(s) = s - \partial E/\partial s` (eq. 8)."""
        s = self.as_state(s)
        return s + self.force(s)

    def potential(self, s: Tensor) -> Tensor:
        r"""Return :math:`L(s) = |s|^2/2 - E(s)` (eq. 21), whose gradient is the pressure."""
        s = self.as_state(s)
        return s.square().sum(-1) / 2 - self.energy(s)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`H(s)\,v` with :math:`H = \partial^2 E/\partial s^2`, matrix-free."""
        s = self.as_state(s)
        v = self.as_state(v).expand_as(s)
        return -torch.func.jvp(self.force, (s,), (v,))[1]

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return :meth:`energy` and :meth:`force` for the price of the force."""
        s = self.as_state(s)

        def total(u: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.energy(u)
            return energy.sum(), energy

        gradient, energy = torch.func.grad(total, has_aux=True)(s)
        return energy, -gradient

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map ``v -> H(s) v``, with all that depends on `s` computed once."""
        s = self.as_state(s)
        # H is symmetric, so that one recorded force serves every product, backwards.
        backwards = torch.func.vjp(self.force, s)[1]
        return lambda v: -backwards(v)[0]

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that the parameters bring along, such as clamped inputs."""
        return torch.Size()

    def samples(self, batch: torch.Size, rows: Tensor) -> Network:
        """Return the network of some rows of the flattened `batch`."""
        return self

    def hessian(self, s: Tensor) -> Tensor:
        r"""Return the matrix :math:`H = \partial^2 E/\partial s^2`, ``(*batch, unit, unit)``."""
        s = self.as_state(s)
        basis = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
        columns = [self.hessian_product(s, e.expand_as(s)) for e in basis]
        return torch.stack(columns, dim=-1)

    def jacobian(self, s: Tensor) -> Tensor:
        r"""Return :math:`\partial f/\partial s` of the force, ``(*batch, unit, unit)``."""
        return -self.hessian(s)

    def clamp(self, values: Mapping[str, ArrayLike | Tensor]) -> Network:
        """Return the network of the other units, with the layers in `values` held at states.

        Parameters
        ----------
        values : mapping of str to array
            A state for each clamped layer, ``(*batch, size)``; one row a sample.

        Returns
        -------
        Network
            Its energy is that of the full network at the completed state.
        """
        return ClampedNetwork(self, {k: self._layer_state(k, x) for k, x in values.items()})

    def as_state(self, s: ArrayLike | Tensor) -> Tensor:
        """Return `s` as a tensor of the network's dtype and device, its last length checked."""
        if not isinstance(s, Tensor) or s.dtype != self.dtype or s.device != self.device:
            s = torch.as_tensor(s, dtype=self.dtype, device=self.device)
        if s.ndim == 0 or (self.n_units is not None and s.shape[-1] != self.n_units):
            raise ValueError(
                f"expected a state of shape (*batch, {self.n_units or 'unit'}), "
                f"got {tuple(s.shape)}; give one column for each unit."
            )
        return s

    def layer(self, name: str) -> slice:
        """Return the units of a layer by its name."""
        if name not in self.layers:
            raise ValueError(
                f"expected one of the layers {', '.join(self.layers) or '(none)'}, got {name!r}."
            )
        return self.layers[name]

    @property
    def output(self) -> str:
        """The name of the output layer, which is the last."""
        if not self.layers:
            raise ValueError(
                "this network has no named layers; give layers={name: slice} to name its output."
            )
        return list(self.layers)[-1]

    def _layer_state(self, name: str, x: ArrayLike | Tensor) -> Tensor:
        where = self.layer(name)
        size = where.stop - where.start
        x = torch.as_tensor(x, dtype=self.dtype, device=self.device)
        if x.ndim == 0 or x.shape[-1] != size:
            raise ValueError(
                f"expected a state of shape (*batch, {size}) for layer {name!r}, "
                f"got {tuple(x.shape)}."
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"expected finite states for layer {name!r}, got NaN or infinity; clean the data."
            )
        return x


class ClampedNetwork(Network):
    """A network with some layers held, by substitution into its energy."""

    def __init__(self, whole: Network, values: Mapping[str, Tensor]) -> None:
        free = [name for name in whole.layers if name not in values]
        super().__init__(None, _consecutive({k: _size(whole.layers[k]) for k in free}))
        self.n_units = sum(_size(where) for where in self.layers.values())
        self.whole, self.values = whole, values
        self.dtype, self.device, self.box = whole.dtype, whole.device, whole.box

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        batch = torch.broadcast_shapes(s.shape[:-1], *(x.shape[:-1] for x in self.values.values()))
        parts = {k: self.values[k] if k in self.values else s[..., self.layers[k]]
                 for k in self.whole.layers}  # fmt: skip
        return self.whole.energy(torch.cat([p.expand(*batch, -1) for p in parts.values()], -1))

    @property
    def batch(self) -> torch.Size:
        shapes = (x.shape[:-1] for x in self.values.values())
        return torch.broadcast_shapes(self.whole.batch, *shapes)

    def samples(self, batch: torch.Size, rows: Tensor) -> Network:
        values = {k: _rows(x, batch, rows) for k, x in self.values.items()}
        return ClampedNetwork(self.whole.samples(batch, rows), values)


class TangentNetwork(Network):
    r"""The quadratic energy :math:`v' H v / 2` of small deviations `v` from an equilibrium.

    Its motion is the linear response of the network, at any step and by any solver.

    Parameters
    ----------
    network : Network
        The network that rests at `state`.
    state : Tensor, (*batch, unit)
        The equilibrium.
    responsive : Tensor, (*batch, unit)
        Which units move, and move others; pinned units do neither.
    """

    def __init__(self, network: Network, state: Tensor, responsive: Tensor) -> None:
        super().__init__(state.shape[-1], network.layers)
        self.network, self.state, self.responsive = network, state, responsive.to(state.dtype)
        self.dtype, self.device = state.dtype, state.device

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return -(s * self.force(s)).sum(-1) / 2

    def force(self, s: Tensor) -> Tensor:
        free = self.responsive
        return -free * self.network.hessian_product(self.state, free * self.as_state(s))

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return -self.force(v)


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
            constant = _rows(constant.unsqueeze(-1), batch, rows).squeeze(-1)
        network._set(self.activation, _rows(self.bias, batch, rows), self.layers, constant)
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
            bias = _drop(network.bias + received, where)
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
        sizes = ", ".join(f"{name}: {_size(where)}" for name, where in self.layers.items())
        return f"{type(self).__name__}({sizes}; {self.activation})"


class DenseNetwork(PairwiseNetwork):
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

    def __init__(
        self,
        weight: ArrayLike | Tensor,
        bias: ArrayLike | Tensor,
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        layers: Mapping[str, slice] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.weight = _finite(weight, "the weights", dtype)
        self._check_weight(self.weight)
        n = self.weight.shape[0]
        b = _finite(bias, "the biases", dtype).to(self.weight.device)
        if b.ndim == 0 or b.shape[-1] != n:
            raise ValueError(f"expected {n} biases, one for each unit, got {tuple(b.shape)}.")
        self._set(as_activation(activation), b, covering(layers, n), b.new_zeros(()))

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight

    def _current(self, r: Tensor) -> Tensor:
        return _affine(self.bias, r, self.weight)

    def dense_weight(self) -> Tensor:
        return self.weight

    def _check_weight(self, weight: Tensor) -> None:
        _check_couplings(weight)

    def _restrict(self, clamped: str, bias: Tensor, constant: Tensor) -> Self:
        network, where = copy.copy(self), self.layers[clamped]
        network.weight = _drop(_drop(self.weight, where).mT, where).mT.contiguous()
        network._set(self.activation, bias, _without(self.layers, clamped), constant)
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        network = copy.copy(self)
        network.weight = change(self.weight)
        network._set(self.activation, change(self.bias), self.layers, change(self.constant))
        return network


class LayeredNetwork(PairwiseNetwork):
    r"""Layers coupled to their neighbours, eq. 6 with block-tridiagonal ``W``.

    The layers are called ``x, h_K ... h_1, y`` as in the paper (``"x", "h2", "h1", "y"``), the
    depth counted from the output.

    Parameters
    ----------
    weights : sequence of array
        Input first; ``weights[i]`` is ``(size_i, size_i+1)`` and serves both directions.
    biases : sequence of array
        Input first; ``biases[i]`` is ``(size_i,)``.
    activation : Activation or callable
        The firing rate.
    dtype : torch.dtype
        Of the parameters.

    Attributes
    ----------
    weights : list of Tensor or None
        None between two layers that clamping has parted.
    depth : mapping of str to int
        Hops from the output, which has depth 0.
    """

    def __init__(
        self,
        weights: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor],
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        blocks = [_finite(W, f"weights[{i}]", dtype) for i, W in enumerate(weights)]
        rows = [_finite(b, f"biases[{i}]", dtype) for i, b in enumerate(biases)]
        if len(blocks) < 1 or len(rows) != len(blocks) + 1:
            raise ValueError(
                f"expected one more array of biases than of weights, got {len(rows)} and "
                f"{len(blocks)}; the input layer has biases too."
            )
        for i, W in enumerate(blocks):
            expected = (rows[i].shape[-1], rows[i + 1].shape[-1])
            if W.shape != expected:
                raise ValueError(
                    f"expected weights[{i}] of shape {expected} from the biases, "
                    f"got {tuple(W.shape)}; the layer nearer the input comes first."
                )
        sizes = [b.shape[-1] for b in rows]
        if 0 in sizes:
            raise ValueError(f"expected at least one unit in each layer, got sizes {sizes}.")
        names = layer_names(len(sizes))
        self.weights: list[Tensor | None] = list(blocks)
        self.depth: Mapping[str, int] = MappingProxyType(
            {name: len(names) - 1 - i for i, name in enumerate(names)}
        )
        bias = torch.cat(rows, dim=-1)
        layers = _consecutive(dict(zip(names, sizes, strict=True)))
        self._set(as_activation(activation), bias, layers, bias.new_zeros(()))

    @classmethod
    def random(
        cls,
        sizes: Sequence[int],
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        gain: float = 1.0,
        seed: int = 0,
        centred: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Draw Glorot weights, uniform in :math:`\pm g\sqrt{6/(n_i + n_{i+1})}`.

        Parameters
        ----------
        sizes : sequence of int
            Units in each layer, input first.
        activation : Activation or callable
            The firing rate.
        gain : float
            The factor `g`.
        seed : int
            Root seed; weights between two layers depend on it and on their place alone.
        centred : bool
            Choose biases so that the state 0 is a fixed point (see :meth:`centred`), else 0.
        dtype : torch.dtype
            Of the parameters.
        """
        sizes = [int(n) for n in sizes]
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"expected two or more layers of one or more units, got {sizes}.")
        if not (np.isfinite(gain) and gain >= 0):
            raise ValueError(f"expected a finite gain >= 0, got {gain}.")
        streams = np.random.SeedSequence(seed).spawn(len(sizes) - 1)
        weights = [
            np.random.default_rng(stream).uniform(-1, 1, (m, n)) * gain * np.sqrt(6 / (m + n))
            for stream, m, n in zip(streams, sizes[:-1], sizes[1:], strict=True)
        ]
        network = cls(weights, [np.zeros(n) for n in sizes], activation, dtype=dtype)
        return network.centred() if centred else network

    @property
    def biases(self) -> list[Tensor]:
        """The biases layer by layer, as views of ``bias``."""
        return [self.bias[..., where] for where in self.layers.values()]

    def coupling(self, r: Tensor) -> Tensor:
        rates = [r[..., where] for where in self.layers.values()]
        parts: list[Tensor | None] = [None] * len(rates)
        for i, W in enumerate(self.weights):
            if W is not None:
                below = _product(rates[i + 1], W.mT)
                own = parts[i]
                parts[i] = below if own is None else own + below
                parts[i + 1] = _product(rates[i], W)
        return torch.cat(
            [torch.zeros_like(rate) if part is None else part
             for part, rate in zip(parts, rates, strict=True)], dim=-1
        )  # fmt: skip

    def _current(self, r: Tensor) -> Tensor:
        if r.shape[-1] > _DENSE_UNITS:
            return self.bias + self.coupling(r)
        return _affine(self.bias, r, self._small_weight())

    def _small_weight(self) -> Tensor:
        """Return the dense weights, kept until a block is changed or replaced."""
        blocks = [W for W in self.weights if W is not None]
        key = [(W, W._version) for W in blocks]
        known = getattr(self, "_dense", None)
        if (
            known is None
            or len(known[0]) != len(key)
            or any(W is not V or n != m for (W, n), (V, m) in zip(key, known[0], strict=True))
        ):
            known = key, self.dense_weight()
            if not any(W.requires_grad for W in blocks):
                self._dense = known
        return known[1]

    def dense_weight(self) -> Tensor:
        n, slices = self.bias.shape[-1], list(self.layers.values())
        weight = self.bias.new_zeros(n, n)
        for W, rows, columns in zip(self.weights, slices[:-1], slices[1:], strict=True):
            if W is not None:
                weight[rows, columns] = W
                weight[columns, rows] = W.mT
        return weight

    def _restrict(self, clamped: str, bias: Tensor, constant: Tensor) -> Self:
        network, i = copy.copy(self), list(self.layers).index(clamped)
        bridge = [None] if 0 < i < len(self.layers) - 1 else []
        network.weights = [*self.weights[: max(i - 1, 0)], *bridge, *self.weights[i + 1 :]]
        network._set(self.activation, bias, _without(self.layers, clamped), constant)
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        network = copy.copy(self)
        network.weights = [None if W is None else change(W) for W in self.weights]
        network._set(self.activation, change(self.bias), self.layers, change(self.constant))
        return network


def layer_names(n_layers: int) -> list[str]:
    """Return the paper's names, input first: ``x, h_K ... h_1, y``."""
    return ["x", *(f"h{k}" for k in range(n_layers - 2, 0, -1)), "y"]


def _affine(bias: Tensor, r: Tensor, W: Tensor) -> Tensor:
    """Return ``bias + r W``, in one call where torch has one."""
    fits = r.ndim == 2 and (bias.ndim == 1 or (bias.ndim == 2 and len(bias) in (1, len(r))))
    return torch.addmm(bias, r, W) if fits else bias + r @ W


def _product(r: Tensor, W: Tensor) -> Tensor:
    """Return ``r W``, through the transpose where `W` is narrow, which BLAS does much faster."""
    narrow = W.shape[1] <= _NARROW_UNITS < W.shape[0] and r.ndim == 2
    return (W.mT @ r.mT).mT if narrow else r @ W


def _size(where: slice) -> int:
    return where.stop - where.start


def _consecutive(sizes: Mapping[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(sizes.values()), dtype=int).tolist()
    return {name: slice(end - n, end) for (name, n), end in zip(sizes.items(), ends, strict=True)}


def _without(layers: Mapping[str, slice], name: str) -> dict[str, slice]:
    return _consecutive({k: _size(where) for k, where in layers.items() if k != name})


def covering(layers: Mapping[str, slice] | None, n: int) -> dict[str, slice]:
    """Return named layers that cover `n` units; one layer ``"s"`` if none are given."""
    layers = dict(layers or {"s": slice(0, n)})
    sizes = {k: _size(w) for k, w in layers.items()}
    if _consecutive(sizes) != layers or n != sum(sizes.values()):
        raise ValueError(
            f"expected layers as consecutive slices that cover the {n} units, got {layers}."
        )
    return layers


def check_memory(what: str, n_bytes: int, remedy: str) -> None:
    """Refuse what does not fit the free memory of this machine."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > free:
        raise ValueError(
            f"{what} takes about {n_bytes:,} bytes, of which {free:,} are free; {remedy}."
        )


def _rows(t: Tensor, batch: torch.Size, rows: Tensor) -> Tensor:
    """Return rows of a parameter ``(*batch, unit)`` that is broadcast to a batch and flattened."""
    return t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1])[rows] if t.ndim > 1 else t


def _drop(t: Tensor, where: slice) -> Tensor:
    """Return `t` without some of its last indices."""
    return torch.cat([t[..., : where.start], t[..., where.stop :]], dim=-1)


def _finite(value: ArrayLike | Tensor, what: str, dtype: torch.dtype) -> Tensor:
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


def _check_couplings(weight: Tensor) -> None:
    check_self_coupling(weight)
    asymmetry = float((weight - weight.mT).detach().abs().max()) if weight.numel() else 0.0
    if asymmetry > 8 * torch.finfo(weight.dtype).eps * float(weight.abs().max()):
        raise ValueError(
            f"expected symmetric weights, got max |W - W'| = {asymmetry:.3g}; no energy has "
            "asymmetric couplings as its force: eq. 6 would see (W + W')/2; pass that, or use "
            "AsymmetricNetwork."
        )
