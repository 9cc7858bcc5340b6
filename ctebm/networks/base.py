r"""Motions and energies: the forces and curvatures that follow from them.

A :class:`VectorField` is a motion :math:`\dot s = f(s)` on states ``s`` of shape
``(*batch, unit)``; a user's own gives :meth:`VectorField.force` alone. A :class:`Network` is the
motion down an energy, :math:`f = -\partial E/\partial s`; a user's own gives
:meth:`Network.energy` alone. The networks of eq. 6 give closed forms.

Letters: state ``s``, rate ``r`` = :math:`\rho(s)`, weights ``W``, biases ``b``, current
``I`` = ``b + W r``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.kinks import Box

__all__ = ["LyapunovField", "Network", "StateLike", "VectorField"]

N = TypeVar("N", bound="VectorField")


class HasState(Protocol):
    """A record of states, such as that of equilibria."""

    @property
    def state(self) -> Tensor: ...


StateLike = ArrayLike | Tensor | HasState


class VectorField(ABC):
    r"""A motion :math:`\dot s = f(s)` of states ``(*batch, unit)``; subclass it with `force` alone.

    Nothing asks it for an energy. Parameters that bring samples of their own, such as clamped
    inputs, have a `batch`.

    Parameters
    ----------
    n_units : int, optional
        The number of units; None if the force takes states of any length.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, input first, output last.

    Attributes
    ----------
    box : Box or None
        The kinks ``(b1, b2)`` between which equilibria lie, one pair for all units or ``(unit,)``
        each; None without kinks.
    is_gradient : bool
        Whether the force is the gradient of an energy, which is what a :class:`Network` is.
    dtype, device
        Of the parameters; states are brought to them.

    Examples
    --------
    >>> import torch, ctebm
    >>> class Chain(ctebm.VectorField):
    ...     def force(self, s):
    ...         return torch.nn.functional.pad(s, (1, 0))[..., :-1] - s
    >>> net = Chain(3, {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)})
    >>> ctebm.settle(net.clamp({"x": [2.0]})).state
    tensor([2., 2.], dtype=torch.float64)
    """

    n_units: int | None = None
    layers: Mapping[str, slice] = {}
    box: Box | None = None
    is_gradient: bool = False
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")

    def __init__(
        self, n_units: int | None = None, layers: Mapping[str, slice] | None = None
    ) -> None:
        self.n_units = n_units
        self.layers = dict(layers or {})

    @abstractmethod
    def force(self, s: Tensor) -> Tensor:
        """Return the force `f`, which is the velocity of the state, shape ``(*batch, unit)``."""

    def pressure(self, s: Tensor) -> Tensor:
        r"""Return the pressure :math:`R(s) = s + f(s)` (eq. 8), where the leak alone would lead."""
        s = self.as_state(s)
        return s + self.force(s)

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`J(s)\,v` with :math:`J = \partial f/\partial s`, without the matrix."""
        s = self.as_state(s)
        v = self.as_state(v).expand_as(s)
        return torch.func.jvp(self.force, (s,), (v,))[1]

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        """Return :math:`J(s)'v`, without the matrix."""
        return torch.func.vjp(self.force, self.as_state(s))[1](v)[0]

    def jacobian(self, s: Tensor) -> Tensor:
        r"""Return :math:`J = \partial f/\partial s` of the force, ``(*batch, unit, unit)``."""
        return columns(self.jacobian_product, self.as_state(s))

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that the parameters bring along, such as clamped inputs."""
        return torch.Size()

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        """Return the motion of some rows of the flattened `batch`."""
        return self

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> VectorField:
        """Return the motion of the other units, with some layers held at states.

        Parameters
        ----------
        states : mapping of str to array
            A state for each clamped layer, ``(*batch, size)``; one row a sample. States, not
            rates: an activation's ``inverse`` turns rates into states.

        Returns
        -------
        VectorField
            Its force is that of the whole at the completed state; what a subclass overrides is
            kept.

        Raises
        ------
        ValueError
            For a layer that does not exist, or states of another size or not finite.
        """
        return ClampedField(self, self._layer_states(states))

    def as_state(self, s: StateLike) -> Tensor:
        """Return `s` as a tensor of the network's dtype and device, its last length checked.

        Parameters
        ----------
        s : array or record, (*batch, unit)
            States, or a record with a ``state``, such as :class:`~ctebm.FixedPoints`.

        Raises
        ------
        ValueError
            For states of another length.
        """
        if not isinstance(s, Tensor):
            s = torch.as_tensor(getattr(s, "state", s), dtype=self.dtype, device=self.device)
        elif s.dtype != self.dtype or s.device != self.device:
            s = s.to(dtype=self.dtype, device=self.device)
        if s.ndim == 0 or (self.n_units is not None and s.shape[-1] != self.n_units):
            raise ValueError(
                f"expected a state of shape (*batch, {self.n_units or 'unit'}), "
                f"got {tuple(s.shape)}; give one column for each unit."
            )
        return s

    def finite_state(self, s: StateLike) -> Tensor:
        """Return `s` as :meth:`as_state` does, refused if a number in it is NaN or infinite.

        Parameters
        ----------
        s : array or record, (*batch, unit)
            States, or a record with a ``state``.

        Raises
        ------
        ValueError
            For states of another length, or not finite; the message names the first such sample
            and unit.
        """
        s = self.as_state(s)
        finite = torch.isfinite(s)
        if not bool(finite.all()):
            *sample, unit = torch.nonzero(~finite)[0].tolist()
            where = f" of sample {', '.join(map(str, sample))}" if sample else ""
            raise ValueError(
                f"expected finite states, got {float(s[(*sample, unit)])} in unit {unit}{where}; "
                "settle first, or leave that sample out."
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

    def _layer_states(self, states: Mapping[str, ArrayLike | Tensor]) -> dict[str, Tensor]:
        return {name: self._layer_state(name, x) for name, x in states.items()}

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


class LyapunovField(VectorField):
    """A motion down an energy that is not the potential of its force.

    Its energy tells which way the motion goes, and nothing else: no Hessian, no detailed balance.
    """

    @abstractmethod
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, which falls along the motion, shape ``(*batch)``."""


class Network(VectorField):
    r"""The motion down an energy, :math:`f = -\partial E/\partial s`; subclass with `energy` alone.

    Parameters
    ----------
    n_units : int, optional
        The number of units; None if the energy takes states of any length.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, input first, output last.

    Examples
    --------
    >>> import ctebm
    >>> class Quartic(ctebm.Network):
    ...     def energy(self, s):
    ...         return (s**4 / 4 - s**2 / 2).sum(-1)
    >>> ctebm.settle(Quartic(2), [0.3, -2.0]).state
    tensor([ 1.0000, -1.0000], dtype=torch.float64)
    """

    is_gradient = True

    @abstractmethod
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, shape ``(*batch)``."""

    def force(self, s: Tensor) -> Tensor:
        r"""Return the force :math:`-\partial E/\partial s`, shape ``(*batch, unit)``."""
        return -torch.func.grad(lambda u: self.energy(u).sum())(self.as_state(s))

    def potential(self, s: Tensor) -> Tensor:
        r"""Return :math:`L(s) = |s|^2/2 - E(s)` (eq. 21), whose gradient is the pressure."""
        s = self.as_state(s)
        return s.square().sum(-1) / 2 - self.energy(s)

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return :meth:`energy` and :meth:`force`."""
        s = self.as_state(s)
        if type(self).force is not Network.force:
            return self.energy(s), self.force(s)

        def total(u: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.energy(u)
            return energy.sum(), energy

        gradient, energy = torch.func.grad(total, has_aux=True)(s)
        return energy, -gradient

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`H(s)\,v`, :math:`H = \partial^2 E/\partial s^2`, without the matrix."""
        return -super().jacobian_product(s, v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map ``v -> H(s) v``, with all that depends on `s` computed once."""
        s = self.as_state(s)
        if type(self).hessian_product is not Network.hessian_product:
            return lambda v: self.hessian_product(s, v)
        # H is symmetric, so that one recorded force serves every product, backwards.
        backwards = torch.func.vjp(self.force, s)[1]
        return lambda v: -backwards(v)[0]

    def hessian(self, s: Tensor) -> Tensor:
        r"""Return the matrix :math:`H = \partial^2 E/\partial s^2`, ``(*batch, unit, unit)``."""
        return columns(self.hessian_product, self.as_state(s))

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`J v = -H v`."""
        return -self.hessian_product(s, v)

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        """Return :math:`J'v = -H v`, since the Hessian is symmetric."""
        return -self.hessian_product(s, v)

    def jacobian(self, s: Tensor) -> Tensor:
        r"""Return :math:`\partial f/\partial s = -H`, ``(*batch, unit, unit)``."""
        return -self.hessian(s)

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Network:
        """Return the network of the other units, with some layers held at states.

        Parameters
        ----------
        states : mapping of str to array
            As for :meth:`VectorField.clamp`.

        Returns
        -------
        Network
            Its energy is that of the full network at the completed state.
        """
        return ClampedNetwork(self, self._layer_states(states))


class ClampedField(VectorField):
    """A motion with some layers held, by substitution into its force."""

    def __init__(self, whole: VectorField, states: Mapping[str, Tensor]) -> None:
        free = [name for name in whole.layers if name not in states]
        super().__init__(None, consecutive({k: size_of(whole.layers[k]) for k in free}))
        self.n_units = sum(size_of(where) for where in self.layers.values())
        self.whole, self.states = whole, dict(states)
        self.dtype, self.device = whole.dtype, whole.device
        numbers = [np.arange(where.start, where.stop) for where in map(whole.layer, free)]
        self.free = torch.as_tensor(np.concatenate([*numbers, np.zeros(0, int)]))
        self.free = self.free.to(whole.device)
        self.box = None if whole.box is None else whole.box.of_units(self.free)

    def completed(self, s: Tensor) -> Tensor:
        """Return states of the free units together with the held ones."""
        s = self.as_state(s)
        batch = torch.broadcast_shapes(s.shape[:-1], *(x.shape[:-1] for x in self.states.values()))
        parts = {k: self.states[k] if k in self.states else s[..., self.layers[k]]
                 for k in self.whole.layers}  # fmt: skip
        return torch.cat([p.expand(*batch, -1) for p in parts.values()], -1)

    def padded(self, v: Tensor) -> Tensor:
        """Return a vector on the free units with zeros on the held ones."""
        n = self.whole.n_units or sum(map(size_of, self.whole.layers.values()))
        return v.new_zeros(*v.shape[:-1], n).index_copy(-1, self.free, v)

    def kept(self, t: Tensor) -> Tensor:
        """Return the free units of a vector."""
        return t.index_select(-1, self.free)

    def force(self, s: Tensor) -> Tensor:
        return self.kept(self.whole.force(self.completed(s)))

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.jacobian_product(self.completed(s), self._vector(s, v)))

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.adjoint_product(self.completed(s), self._vector(s, v)))

    def jacobian(self, s: Tensor) -> Tensor:
        return self._block(self.whole.jacobian(self.completed(s)))

    @property
    def batch(self) -> torch.Size:
        shapes = (x.shape[:-1] for x in self.states.values())
        return torch.broadcast_shapes(self.whole.batch, *shapes)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        states = {k: rows_of(x, batch, rows) for k, x in self.states.items()}
        return type(self)(self.whole.samples(batch, rows), states)

    def _vector(self, s: Tensor, v: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(self.as_state(s).shape[:-1], self.batch)
        v = self.as_state(v)
        return self.padded(v.expand(torch.broadcast_shapes(v.shape, (*batch, v.shape[-1]))))

    def _block(self, matrix: Tensor) -> Tensor:
        return matrix.index_select(-1, self.free).index_select(-2, self.free)


class ClampedNetwork(ClampedField, Network):
    """A network with some layers held, by substitution into its energy."""

    whole: Network

    def __init__(self, whole: Network, states: Mapping[str, Tensor]) -> None:
        super().__init__(whole, states)

    def energy(self, s: Tensor) -> Tensor:
        return self.whole.energy(self.completed(s))

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.whole.energy_and_force(self.completed(s))
        return energy, self.kept(force)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.hessian_product(self.completed(s), self._vector(s, v)))

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        product = self.whole.hessian_operator(self.completed(s))
        return lambda v: self.kept(product(self._vector(s, v)))

    def hessian(self, s: Tensor) -> Tensor:
        return self._block(self.whole.hessian(self.completed(s)))


def columns(product: Callable[[Tensor, Tensor], Tensor], s: Tensor) -> Tensor:
    """Return a matrix ``(*batch, unit, unit)`` from its products with unit vectors."""
    basis = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    return torch.stack([product(s, e.expand_as(s)) for e in basis], dim=-1)


def size_of(where: slice) -> int:
    return where.stop - where.start


def consecutive(sizes: Mapping[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(sizes.values()), dtype=int).tolist()
    return {name: slice(end - n, end) for (name, n), end in zip(sizes.items(), ends, strict=True)}


def covering(layers: Mapping[str, slice] | None, n: int) -> dict[str, slice]:
    """Return named layers that cover `n` units; one layer ``"s"`` if none are given."""
    layers = dict(layers or {"s": slice(0, n)})
    sizes = {k: size_of(w) for k, w in layers.items()}
    if consecutive(sizes) != layers or n != sum(sizes.values()):
        raise ValueError(
            f"expected layers as consecutive slices that cover the {n} units, got {layers}."
        )
    return layers


def rows_of(t: Tensor, batch: torch.Size, rows: Tensor) -> Tensor:
    """Return rows of a parameter ``(*batch, unit)`` that is broadcast to a batch and flattened."""
    return t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1])[rows] if t.ndim > 1 else t


def single(network: N) -> N:
    """Return a network of one sample without its batch, or refuse it."""
    if math.prod(network.batch) != 1:
        raise ValueError(
            f"expected a network with one sample, got {tuple(network.batch)}; clamp one input."
        )
    if not network.batch:
        return network
    return network.samples(network.batch, torch.tensor(0))


def count_units(network: VectorField) -> int:
    """Return the number of units, or refuse a network that takes states of any length."""
    if network.n_units is None:
        raise ValueError(
            "this network takes states of any length; give it n_units, as in "
            "super().__init__(n_units)."
        )
    return network.n_units
