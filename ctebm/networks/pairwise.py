r"""Pairwise couplings between rates: the motion of eq. 8 and, where they are symmetric, eq. 6."""

# Long because the motion of eq. 8 and the energy of eq. 6 share their closed forms.

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import real_tensor
from ctebm.networks.base import VectorField
from ctebm.networks.copies import mapped
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.layer_rates import rate_of_layer
from ctebm.networks.layer_states import finite_of_layer, states_of_layers
from ctebm.networks.layout import drop_units, rows_of
from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.remainder import Remainder, looks_once

__all__ = ["Curvature", "PairwiseField", "PairwiseNetwork", "affine"]


class PairwiseField(VectorField):
    r"""Pairwise couplings between rates, the motion of eq. 8 for any couplings.

    .. math:: f_i(s) = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    Subclasses say how ``W`` multiplies rates (:meth:`coupling`), how its transpose does
    (:meth:`adjoint_coupling`), how it looks as a matrix (:meth:`dense_weight`), and what is left of
    it on some of the layers. Forces, energies and derivatives are closed forms of these.

    Attributes
    ----------
    activation : Activation
        The firing rate.
    bias : Tensor
        ``(unit,)``, or ``(*batch, unit)`` after clamping.

    Raises
    ------
    TypeError
        When a class is made that replaces some of the closed forms, which the others would not
        follow; one with a further energy or force is a :class:`~ctebm.Network` or
        :class:`~ctebm.VectorField` that holds a network of couplings.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([2, 3, 1], ctebm.Tanh())
    >>> free = net.clamp({"x": net.state([[0.2, 0.8], [0.5, 0.5]])})
    >>> free, free.bias.shape
    (LayeredNetwork(h1: 3, y: 1; Tanh()), torch.Size([2, 4]))
    """

    activation: Activation
    bias: Tensor
    n_units: int | None
    layers: Mapping[str, slice]
    box: Box | None
    dtype: torch.dtype
    device: torch.device
    _origin: tuple[PairwiseField, dict[str, Tensor]] | None = None
    _remainder: Remainder | None = None
    _closed_forms = ("energy", "force", "energy_and_force", "current", "rate")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # of what follows the whole, which is not here
            remainder = self._remainder
            if remainder is None or name not in remainder.names:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(remainder.now(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        remainder = self._remainder
        if remainder is not None and name in remainder.names:  # it no longer follows the whole
            now = vars(remainder.now())
            vars(self).update({own: now[own] for own in remainder.names})
            self._remainder = None
        super().__setattr__(name, value)

    def _set(self, activation: Activation, bias: Tensor, layers: Mapping[str, slice]) -> None:
        self._origin = None  # of the parameters before
        self.activation, self.bias = activation, bias
        self.layers = dict(layers)
        self.n_units = bias.shape[-1]
        self.box = None if activation.box is None else activation.box.to(bias)
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

    def rate(self, s: Tensor) -> Tensor:
        r"""Return the firing rates :math:`\rho(s)`; :meth:`state` is the way back."""
        return self.activation(self.as_state(s))

    def rate_of(self, layer: str) -> Activation:
        """Return the activation of a layer by its name, or raise ValueError if there is none."""
        self.layer(layer)
        return rate_of_layer(self.activation, list(self.layers).index(layer))

    def state(self, rates: ArrayLike | Tensor, layer: str | None = None) -> Tensor:
        r"""Return the states :math:`s` between the kinks with :math:`\rho(s)` = `rates`.

        Parameters
        ----------
        rates : array
            Of any units, in the range of the activation, such as pixels in [0, 1].
        layer : str, optional
            Whose rates they are, where each layer has an activation of its own.

        Raises
        ------
        ValueError
            For rates out of the range of the activation.
        NotImplementedError
            If the activation has no inverse.
        """
        rho = self.activation if layer is None else self.rate_of(layer)
        return rho.inverse(real_tensor(rates, self.dtype, self.device))

    @looks_once
    def current(self, s: Tensor) -> Tensor:
        r"""Return the currents :math:`I = b + W \rho(s)`."""
        return self._current(self.rate(s))

    def _current(self, r: Tensor) -> Tensor:
        """Return ``b + W r`` as a new tensor."""
        return self.bias + self.coupling(r)

    @looks_once
    def coupling_operator(self) -> Callable[[Tensor], Tensor]:
        """Return :meth:`coupling` for many products, with the parameters as they are now."""
        return self.coupling

    @looks_once
    def current_operator(self) -> Callable[[Tensor], Tensor]:
        """Return the map of rates to new currents, for many, with the parameters as they are."""
        return self._current

    @looks_once
    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r, slope = self.activation.rate_and_slope(s)
        return self._current(r).mul_(slope).sub_(s)  # in place, since it is new

    @looks_once
    def force_operator(self) -> Callable[[Tensor], Tensor]:
        rho, current = self.activation, self.current_operator()

        def force(s: Tensor) -> Tensor:
            r, slope = rho.rate_and_slope(s)
            return current(r).mul_(slope).sub_(s)

        return force

    @looks_once
    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        (slope, diagonal), v = self._slope_and_diagonal(s), self.as_state(v)
        return slope * self.coupling(slope * v) - diagonal * v

    @looks_once
    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        (slope, diagonal), v = self._slope_and_diagonal(s), self.as_state(v)
        return slope * self.adjoint_coupling(slope * v) - diagonal * v

    @looks_once
    def jacobian(self, s: Tensor) -> Tensor:
        slope, diagonal = self._slope_and_diagonal(s)
        J = self._coupled(slope.expand_as(diagonal))  # one state may serve many samples
        J.diagonal(dim1=-2, dim2=-1).sub_(diagonal)  # in place, since it is new
        return J

    def _coupled(self, slope: Tensor) -> Tensor:
        r"""Return :math:`\mathrm{diag}(\rho')\, W\, \mathrm{diag}(\rho')`."""
        check_matrices(slope)
        return slope.unsqueeze(-1) * self.dense_weight() * slope.unsqueeze(-2)

    def _matrix(self) -> Tensor:
        """Return :meth:`dense_weight` to be read only."""
        return self.dense_weight()

    @property
    def _is_linear(self) -> bool:
        """Whether every rate is linear between its kinks."""
        return self.activation.max_curvature == 0

    def _slope_and_diagonal(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\rho'` and :math:`1 - \rho'' I`, the diagonal of the Hessian."""
        if self._is_linear:  # rho'' = 0, whatever the current
            slope = self.activation.derivative(self._in_samples(s))
            return slope, torch.ones_like(slope)
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        return slope, 1 - self.activation.second_derivative(s) * self.current(s)

    @property
    def batch(self) -> torch.Size:
        if self._remainder is not None:
            return self._remainder.batch
        return self.bias.shape[:-1]

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        if not self.batch:
            return self
        if self._remainder is not None:
            return self.snapshot().samples(batch, rows)._following()
        network = copy.copy(self)
        network._set(self.activation, rows_of(self.bias, batch, rows), self.layers)
        if self._origin is not None:
            whole, held = self._origin
            held = {name: rows_of(x, batch, rows) for name, x in held.items()}
            network._origin = whole.samples(batch, rows), held
        return network

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        return (self, {}) if self._origin is None else self._origin

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        found = states_of_layers(self, states)
        if not found:
            return self
        whole, held = self._origin or (self, {})
        network = self.snapshot().restricted(found)
        network._origin = whole, held | found
        return network._following()

    def restricted(self, held: Mapping[str, Tensor]) -> Self:
        """Return the network without held layers, as their states and its parameters are now."""
        network = self
        for name, x in held.items():
            network = network._clamp(name, x)
        network._origin = self, dict(held)
        return network

    def snapshot(self) -> Self:
        if self._remainder is None:
            return self
        # a remainder keeps no type of the network that it is of
        return self._remainder.now()  # pyright: ignore[reportReturnType]

    def _following(self) -> Self:
        """Return a network of free layers that follows the parameters of its whole."""
        assert self._origin is not None
        remainder = Remainder.of(*self._origin, self)
        network = copy.copy(self)
        for name in remainder.names:
            del vars(network)[name]
        network._remainder = remainder
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        if self._remainder is None or self._origin is None:
            return super()._map(change)
        whole, held = self._origin
        network = whole._map(change).restricted(mapped(held, change))
        # the whole is of the class of its parts
        return network._following()  # pyright: ignore[reportReturnType]

    def _clamp(self, name: str, x: Tensor) -> Self:
        """Return the network with one layer held."""
        received, where = self._received(name, x), self.layers[name]
        return self._restrict(name, drop_units(self.bias + received, where))

    def _received(self, name: str, x: Tensor) -> Tensor:
        """Return what every unit receives from one layer at a state."""
        r = self.rate_of(name)(x)
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

        Raises
        ------
        ValueError
            For a layer that does not exist, or rates of another size or out of range.
        """
        r = self.activation(torch.zeros_like(self.bias))
        if not isinstance(rates, Mapping | None):
            raise TypeError(f"expected rates by layer, got {rates!r}; name it: {{'x': rates}}.")
        for name, v in (rates or {}).items():
            r[..., self.layers[name]] = self.rate_of(name).check_rates(
                finite_of_layer(self, name, v, "rate")
            )
        network = self.snapshot()._map(lambda parameter: parameter)
        network._set(self.activation, -self.coupling(r), self.layers)
        return network

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}; {self.activation})"


# The two bases give the same methods, of which Network says less in its types.
class PairwiseNetwork(PairwiseField, Network):  # pyright: ignore[reportIncompatibleMethodOverride]
    r"""Pairwise symmetric couplings between rates, eq. 6.

    .. math:: E(s) = \tfrac12 |s|^2 - \tfrac12 \rho(s)' W \rho(s) - b' \rho(s)

    Attributes
    ----------
    constant : Tensor
        The part of the energy that belongs to clamped units alone, ``(*batch)``.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.DenseNetwork([[0, 2], [2, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> net.energy(torch.tensor([[0.0, 0.0], [0.5, 0.5]]))
    tensor([0.5000, 0.2500], dtype=torch.float64)
    >>> net.hessian(torch.zeros(2))
    tensor([[ 1., -2.],
            [-2.,  1.]], dtype=torch.float64)
    """

    constant: Tensor

    def _set(self, activation: Activation, bias: Tensor, layers: Mapping[str, slice]) -> None:
        super()._set(activation, bias, layers)
        if not hasattr(self, "constant"):
            self.constant = bias.new_zeros(())

    @looks_once
    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r = self.activation(s)
        return self._energy(s, r, self._current(r))

    @looks_once
    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self.as_state(s)
        r, slope = self.activation.rate_and_slope(s)
        current = self._current(r)
        return self._energy(s, r, current), slope * current - s

    def _energy(self, s: Tensor, r: Tensor, current: Tensor) -> Tensor:
        r"""Return :math:`(|s|^2 - r'(I + b))/2` and what belongs to clamped units."""
        return (s * s - r * (current + self.bias)).sum(-1) / 2 + self.constant

    def adjoint_coupling(self, r: Tensor) -> Tensor:
        return self.coupling(r)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(self.as_state(v))

    @looks_once
    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        slope, diagonal = self._slope_and_diagonal(s)
        return Curvature(slope, None if self._is_linear else diagonal, self.coupling_operator())

    def hessian(self, s: Tensor) -> Tensor:
        return self.jacobian(s).neg_()

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = super().samples(batch, rows)
        if self._remainder is None and self.batch and self.constant.ndim:
            constant = rows_of(self.constant.unsqueeze(-1), batch, rows)
            network.constant = constant.squeeze(-1)
        return network

    def _clamp(self, name: str, x: Tensor) -> Self:
        received, where = self._received(name, x), self.layers[name]
        own = received[..., where] / 2 + self.bias[..., where]
        network = self._restrict(name, drop_units(self.bias + received, where))
        network.constant = (
            self.constant + x.square().sum(-1) / 2 - (self.rate_of(name)(x) * own).sum(-1)
        )
        return network


class Curvature(NamedTuple):
    r"""The products with the Hessian at some states, :math:`d v - \rho' W (\rho' v)`.

    Attributes
    ----------
    slope : Tensor
        :math:`\rho'`, ``(*batch, unit)``.
    diagonal : Tensor or None
        :math:`d = 1 - \rho'' I`; None where it is 1.
    W : callable
        The couplings.
    """

    slope: Tensor
    diagonal: Tensor | None
    W: Callable[[Tensor], Tensor]

    def __call__(self, v: Tensor) -> Tensor:
        own = v if self.diagonal is None else self.diagonal * v
        return torch.addcmul(own, self.slope, self.W(self.slope * v), value=-1)

    def rows(self, chosen: Tensor) -> Curvature:
        """Return the same of some rows ``(row, unit)``, true or by their numbers."""
        diagonal = None if self.diagonal is None else self.diagonal[chosen]
        return Curvature(self.slope[chosen], diagonal, self.W)


def affine(bias: Tensor, r: Tensor, W: Tensor) -> Tensor:
    """Return ``bias + r W``, in one call where torch has one.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.pairwise import affine
    >>> affine(torch.ones(2), torch.eye(2), torch.eye(2))
    tensor([[2., 1.],
            [1., 2.]])
    """
    if r.ndim == 2 and (bias.ndim == 1 or (bias.ndim == 2 and bias.shape[0] in (1, r.shape[0]))):
        return torch.addmm(bias, r, W)
    return bias + r @ W
