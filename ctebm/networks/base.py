r"""Energies, and the forces and curvatures that follow from them.

A network is an energy :math:`E(s)` on states ``s`` of shape ``(*batch, unit)``. Everything else is
a derivative of it: the force :math:`-\partial E/\partial s`, the pressure
:math:`R(s) = s - \partial E/\partial s` (eq. 8), the Hessian :math:`H`. A user's network gives
:meth:`Network.energy` alone; the networks of eq. 6 give closed forms.

Letters: state ``s``, rate ``r`` = :math:`\rho(s)`, weights ``W``, biases ``b``, current
``I`` = ``b + W r``.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["Network"]


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
        super().__init__(None, consecutive({k: size_of(whole.layers[k]) for k in free}))
        self.n_units = sum(size_of(where) for where in self.layers.values())
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
        values = {k: rows_of(x, batch, rows) for k, x in self.values.items()}
        return ClampedNetwork(self.whole.samples(batch, rows), values)


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


def check_memory(what: str, n_bytes: int, remedy: str) -> None:
    """Refuse what does not fit the free memory of this machine."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > free:
        raise ValueError(
            f"{what} takes about {n_bytes:,} bytes, of which {free:,} are free; {remedy}."
        )


def rows_of(t: Tensor, batch: torch.Size, rows: Tensor) -> Tensor:
    """Return rows of a parameter ``(*batch, unit)`` that is broadcast to a batch and flattened."""
    return t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1])[rows] if t.ndim > 1 else t


def single(network: Network) -> Network:
    """Return a network of one sample without its batch, or refuse it."""
    if math.prod(network.batch) != 1:
        raise ValueError(
            f"expected a network with one sample, got {tuple(network.batch)}; clamp one input."
        )
    if not network.batch:
        return network
    return network.samples(network.batch, torch.tensor(0))


def count_units(network: Network) -> int:
    """Return the number of units, or refuse a network that takes states of any length."""
    if network.n_units is None:
        raise ValueError(
            "this network takes states of any length; give it n_units, as in "
            "super().__init__(n_units)."
        )
    return network.n_units
