r"""The motion of a state: a force, and what follows from it.

A :class:`VectorField` is a motion :math:`\dot s = f(s)` on states ``s`` of shape
``(*batch, unit)``; a user's own gives :meth:`VectorField.force` alone. Where an energy has that
force, it is a :class:`~ctebm.Network`, see :mod:`ctebm.networks.energy`.

Letters: state ``s``, force ``f``, vector ``v``, Jacobian ``J``.
"""

# Long because clamping is a method of a motion and returns one: neither class stands alone.

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import check_float, mapped, real_tensor, refuse_integers
from ctebm.networks.differentiable import Differentiated
from ctebm.networks.drives import Drives, driven_layers
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layout import (
    broadcast,
    broadcast_shapes,
    consecutive,
    covering,
    rows_of,
    size_of,
)
from ctebm.networks.matrices import columns
from ctebm.networks.named import named_tensors, with_leaves, write_tensors

__all__ = [
    "ClampedField",
    "LyapunovField",
    "StateLike",
    "VectorField",
    "count_units",
    "free_network",
    "single",
]

N = TypeVar("N", bound="VectorField")


class HasState(Protocol):
    """A record of states, such as that of equilibria."""

    @property
    def state(self) -> Tensor: ...


StateLike = ArrayLike | Tensor | HasState


class VectorField(ABC):
    r"""A motion :math:`\dot s = f(s)` of states ``(*batch, unit)``; subclass it with `force` alone.

    Nothing asks it for an energy. All that follows from the force comes by automatic
    differentiation; a subclass may override any method with a closed form.

    Parameters
    ----------
    n_units : int, optional
        The number of units; None if the force takes states of any length.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units that cover all of them, input first, output last.

    Attributes
    ----------
    box : Box or None
        The kinks ``(b1, b2)`` between which equilibria lie, one pair for all units or ``(unit,)``
        each, infinite for units without; None without kinks.
    kinks : Kinks or None
        Kinks inside the range of units, at which the force jumps, see
        :class:`~ctebm.networks.kinks.Kinks`; None without. A network with an energy settles on
        them.
    is_gradient : bool
        Whether the force is the gradient of an energy, which is what a :class:`Network` is.
    declared_drives : mapping of str to str
        What a class declares as its ``drives``.
    dtype, device
        Of the parameters; states are brought to them.

    Raises
    ------
    ValueError
        For layers that do not cover the units one behind the other.

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
    layers: Mapping[str, slice] = MappingProxyType({})
    declared_drives: Mapping[str, str] = MappingProxyType({})
    box: Box | None = None
    kinks: Kinks | None = None
    is_gradient: bool = False
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared = vars(cls).get("drives")
        if isinstance(declared, Mapping):  # the property goes on answering, for the others too
            cls.declared_drives = dict(declared)
            del cls.drives  # pyright: ignore[reportAttributeAccessIssue]

    def __init__(
        self, n_units: int | None = None, layers: Mapping[str, slice] | None = None
    ) -> None:
        layers = self.layers if layers is None else layers  # which a class may declare
        if not isinstance(layers, Mapping):
            raise TypeError(f"expected layers as a mapping of names to slices, got {layers!r}.")
        n_units = self.n_units if n_units is None else n_units
        self.layers = covering(layers, n_units) if layers else {}
        self.n_units = sum(map(size_of, self.layers.values())) if layers else n_units

    @abstractmethod
    def force(self, s: Tensor) -> Tensor:
        """Return the force `f`, which is the velocity of the state, shape ``(*batch, unit)``."""

    def force_operator(self) -> Callable[[Tensor], Tensor]:
        """Return :meth:`force` for many states of its dtype, with the parameters as they are."""
        return self.force

    def pressure(self, s: Tensor) -> Tensor:
        r"""Return the pressure :math:`R(s) = s + f(s)` (eq. 8), where the leak alone would lead."""
        s = self.as_state(s)
        return s + self.force(s)

    def layer_force(self, name: str, s: Tensor) -> Tensor:
        """Return the force on one layer, ``(*batch, size)``; a subclass may leave out the others.

        Parameters
        ----------
        name : str
            The layer.
        s : Tensor, (*batch, unit)
            The state.

        Raises
        ------
        ValueError
            For a layer that is not there or is held.

        Examples
        --------
        >>> import ctebm
        >>> net = ctebm.LayeredNetwork([[[2.0]]], [[0], [1]], ctebm.Identity()).clamp({"x": [0.5]})
        >>> net.layer_force("y", net.as_state([0.5]))  # 2 * 0.5 + 1 - 0.5
        tensor([1.5000], dtype=torch.float64)
        """
        where = self.layer(name)
        return self.force(self.as_state(s))[..., where]

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`J(s)\,v` with :math:`J = \partial f/\partial s`, without the matrix."""
        s, v = self._with_vector(s, v)
        with Differentiated("a force"):
            return torch.func.jvp(self.force, (s.contiguous(),), (v,))[1]

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        """Return :math:`J(s)'v`, without the matrix."""
        s, v = self._with_vector(s, v)
        with Differentiated("a force"):
            return torch.func.vjp(self.force, s)[1](v)[0]

    def jacobian(self, s: Tensor) -> Tensor:
        r"""Return :math:`J = \partial f/\partial s` of the force, ``(*batch, unit, unit)``."""
        s = self._in_samples(s)
        known = (type(self).jacobian_product, type(self).adjoint_product)
        if known != (VectorField.jacobian_product, VectorField.adjoint_product):
            return columns(lambda v: self.jacobian_product(s, v), s)
        # one recorded force serves every product, backwards: rows of J
        with Differentiated("a force"):
            backwards = torch.func.vjp(self.force, s)[1]
        return columns(lambda v: backwards(v)[0], s).mT

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that the parameters bring along, such as clamped inputs."""
        return torch.Size()

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        """Return the motion of some rows of the flattened `batch`.

        Raises
        ------
        NotImplementedError
            If the parameters bring samples along and the class does not say how to choose rows.
        """
        if self.batch:
            raise NotImplementedError(
                f"{type(self).__name__} has a batch {tuple(self.batch)} of its own; override "
                "`samples` to return the motion with some rows of its parameters."
            )
        return self

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> VectorField:
        """Return the motion of the other units, with some layers held at states.

        Parameters
        ----------
        states : mapping of str to array
            A state for each clamped layer by its name, ``(*batch, size)``; one row a sample.
            States, not rates: the ``state`` method of a network with rates turns rates into states.

        Returns
        -------
        VectorField
            Its force is that of the whole at the completed state; what a subclass overrides is
            kept.

        Raises
        ------
        ValueError
            Without names of layers, for a layer that does not exist, or states of another size, not
            finite, or integers.
        """
        return ClampedField(self, self._layer_states(states))

    def snapshot(self) -> Self:
        """Return the motion with what held layers send as it is now.

        It is not computed again if parameters change, nor looked after, as a long computation wants
        it; the motion itself where nothing is kept.
        """
        return self

    def first_guess(self) -> Tensor:
        """Return a state from which to settle, if no other is given: 0, ``(*batch, unit)``.

        Raises
        ------
        ValueError
            If the number of units is not known.
        """
        if self.n_units is None:
            raise ValueError("this network takes states of any length; give a start.")
        return torch.zeros(self.n_units, dtype=self.dtype, device=self.device)

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        """The motion of all layers that this was clamped from, and the states of held layers.

        States are ``(*batch, size)``; the motion itself and none where nothing is held.
        """
        return self, {}

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and the tensors of the parameters, of the whole where layers are held.

        Every floating-point tensor among the attributes, also in lists, dicts, modules and other
        motions there: ``W``, ``weights.0``, ``net.0.bias``.
        """
        yield from named_tensors(self.origin[0]).items()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters by name, on no graph."""
        return {name: p.detach() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Write parameters over the present ones, in place; what was clamped from them follows.

        Parameters
        ----------
        state : mapping of str to Tensor
            One for each parameter by its name, as of :meth:`state_dict`.

        Raises
        ------
        ValueError
            For other names or shapes, or numbers that are not finite or not real; nothing is
            written then.
        TypeError
            For what is no mapping.

        Examples
        --------
        >>> import ctebm
        >>> net, other = (ctebm.LayeredNetwork.random([3, 2], ctebm.Tanh(), seed=i) for i in (0, 1))
        >>> net.load_state_dict(other.state_dict())
        >>> net.weights[0].equal(other.weights[0])
        True
        """
        write_tensors(dict(self.named_parameters()), state)

    @property
    def drives(self) -> Drives:
        """The layer that each parameter drives, by name: of a coupling that nearer the output.

        A class declares it as ``drives = {"W": "h1"}``; what it does not declare is found by
        trying the force. Of one tensor that holds numbers of several layers, such as biases in one
        row, there is a mask for each layer.

        Raises
        ------
        ValueError
            For a number that touches more than two layers and is not declared.
        """
        own = with_leaves(self.origin[0])
        return driven_layers(own, named_tensors(own))

    def to(
        self,
        *targets: torch.dtype | torch.device | str,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return the motion with its parameters in another dtype or on another device.

        Tensors among its attributes go along, also those in lists, tuples, dicts, modules,
        activations and other motions there.

        Parameters
        ----------
        *targets : torch.dtype, torch.device or str
            A dtype, a device, or both.
        dtype : torch.dtype, optional
            ``torch.float64`` or ``torch.float32``.
        device : torch.device or str, optional
            Such as ``"cuda"``.

        Raises
        ------
        ValueError
            For another dtype.
        """
        for target in targets:
            if isinstance(target, torch.dtype):
                dtype = target
            else:
                device = target
        real = None if dtype is None else check_float(dtype)
        wide = None if dtype is None else dtype.to_complex()

        def change(t: Tensor) -> Tensor:
            kind = real if t.is_floating_point() else wide if t.is_complex() else None
            return t.to(device=device, dtype=kind)

        return self._map(change)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the motion with a change applied to every tensor that it has."""
        other = copy.copy(self)
        attributes = declared_tensors(type(self)) | vars(other)
        vars(other).update({name: mapped(value, change) for name, value in attributes.items()})
        like = change(torch.empty(0, dtype=self.dtype, device=self.device))
        other.dtype, other.device = like.dtype, like.device
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        def keep(t: Tensor) -> Tensor:
            # torch deep-copies neither sparse tensors nor such as hang on a graph
            if id(t) not in memo and not (t.is_leaf and t.layout == torch.strided):
                memo[id(t)] = t.clone()
            return t

        self._map(keep)
        other = memo[id(self)] = copy.copy(self)
        vars(other).update(copy.deepcopy(vars(other), memo))
        return other

    def as_state(self, s: StateLike) -> Tensor:
        """Return `s` as a tensor of the network's dtype and device, its last length checked.

        Parameters
        ----------
        s : array or record, (*batch, unit)
            States, or a record with a ``state``, such as :class:`~ctebm.FixedPoints` or its
            dataset. A dimension ``unit`` of xarray goes last.

        Raises
        ------
        ValueError
            For another number of units, or complex numbers.
        """
        if not (
            isinstance(s, Tensor)
            and s.dtype == self.dtype
            and s.device == self.device
            and s.layout == torch.strided
        ):
            array: Any = getattr(s, "state", s)
            if "unit" in getattr(array, "dims", ()):  # of xarray, where order is free
                array = array.transpose(..., "unit")
            s = real_tensor(array, self.dtype, self.device)
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
        if not bool(torch.isfinite(s).all()):
            raise ValueError(
                f"expected finite states, got {_first_not_finite(s)}; settle first, or leave that "
                "sample out."
            )
        return s

    def layer(self, name: str) -> slice:
        """Return the units of a layer by its name, or raise ValueError if there is none."""
        if not (isinstance(name, str) and name in self.layers):
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

    def __repr__(self) -> str:
        sizes = [f"{name}: {size_of(where)}" for name, where in self.layers.items()]
        return f"{type(self).__name__}({', '.join(sizes) or self.n_units or ''})"

    def _in_samples(self, s: StateLike) -> Tensor:
        """Return a state, one for each sample that the parameters bring along."""
        state, batch = self.as_state(s), self.batch
        if not batch or state.shape[:-1] == batch:
            return state
        return state.expand(*broadcast(states=state.shape[:-1], network=batch), -1)

    def _with_vector(self, s: StateLike, v: StateLike) -> tuple[Tensor, Tensor]:
        """Return a state and a vector, one for each sample."""
        state, vector = torch.broadcast_tensors(self._in_samples(s), self.as_state(v))
        return state, vector

    def _layer_states(self, states: Mapping[str, ArrayLike | Tensor]) -> dict[str, Tensor]:
        if not isinstance(states, Mapping):
            name = next(iter(self.layers), "x")
            raise ValueError(
                f"expected states of layers by their names, got {type(states).__name__}; give "
                f"{{{name!r}: states}}."
            )
        found = {name: self._layer_state(name, x) for name, x in states.items()}
        batches = {f"layer {name!r}": x.shape[:-1] for name, x in found.items()}
        broadcast(**batches, network=self.batch)
        return found

    def _layer_state(self, name: str, x: ArrayLike | Tensor) -> Tensor:
        """Return a copy of the states of a layer, checked."""
        refuse_integers(
            x,
            f"states of layer {name!r} as floats",
            "pixels are rates: scale them to [0, 1] and give network.state(rates), or give float "
            "states",
        )
        return self._of_layer(name, x, "state").clone()

    def _of_layer(self, name: str, x: ArrayLike | Tensor, what: str) -> Tensor:
        size = size_of(self.layer(name))
        x = real_tensor(x, self.dtype, self.device)
        if x.ndim == 0 or x.shape[-1] != size:
            raise ValueError(
                f"expected a {what} of shape (*batch, {size}) for layer {name!r}, "
                f"got {tuple(x.shape)}."
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"expected finite {what}s for layer {name!r}, got {_first_not_finite(x)}; clean "
                "the data."
            )
        return x


class LyapunovField(VectorField):
    r"""A motion down an energy that is not the potential of its force.

    Its energy tells which way the motion goes, and nothing else: there is no Hessian and no
    detailed balance. Clamped, it is a motion alone, unless a subclass knows that its energy falls
    with some units held too.

    Parameters
    ----------
    n_units, layers
        As for a :class:`VectorField`.

    Examples
    --------
    >>> import ctebm
    >>> class Spiral(ctebm.LyapunovField):  # E = |s|^2 / 2 falls, but nothing turns along it
    ...     def force(self, s):
    ...         return s.flip(-1) * s.new_tensor([1.0, -1.0]) - s
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2
    >>> ctebm.linearize(Spiral(2), [0.0, 0.0]).eigenvalues  # of -J
    tensor([1.-1.j, 1.+1.j], dtype=torch.complex128)
    """

    @abstractmethod
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, which falls along the motion, shape ``(*batch)``."""


class ClampedField(VectorField, Generic[N]):
    """A motion with some layers held, by substitution into its force; what ``clamp`` returns.

    Parameters
    ----------
    whole : VectorField
        The motion of all layers.
    states : mapping of str to Tensor
        A state for each held layer, ``(*batch, size)``.

    Examples
    --------
    >>> import ctebm
    >>> class Decay(ctebm.VectorField):
    ...     def force(self, s):
    ...         return s.flip(-1) - s
    >>> held = Decay(2, {"x": slice(0, 1), "y": slice(1, 2)}).clamp({"x": [[1.0], [3.0]]})
    >>> held.force(held.as_state([0.5]))
    tensor([[0.5000],
            [2.5000]], dtype=torch.float64)
    """

    whole: N
    states: dict[str, Tensor]
    free: Tensor
    n_units: int | None
    box: Box | None
    kinks: Kinks | None
    dtype: torch.dtype
    device: torch.device

    def __init__(self, whole: N, states: Mapping[str, Tensor]) -> None:
        layers = covering(whole.layers, whole.n_units)  # which a class may declare
        self.whole, self.states = whole, dict(states)
        free = {name: where for name, where in layers.items() if name not in states}
        super().__init__(None, consecutive({name: size_of(w) for name, w in free.items()}))
        self.n_units = sum(map(size_of, free.values()))
        self.dtype, self.device = whole.dtype, whole.device
        numbers = [np.arange(where.start, where.stop) for where in free.values()]
        self.free = torch.as_tensor(np.concatenate([*numbers, np.zeros(0, int)]))
        self.free = self.free.to(whole.device)
        self.box = None if whole.box is None else whole.box.of_units(self.free)
        self.kinks = None if whole.kinks is None else whole.kinks.of_units(self.free)

    def completed(self, s: Tensor) -> Tensor:
        """Return states of the free units together with the held ones."""
        s = self.as_state(s)
        batch = broadcast_shapes(s.shape[:-1], *(x.shape[:-1] for x in self.states.values()))
        parts = {k: self.states[k] if k in self.states else s[..., self.layers[k]]
                 for k in self.whole.layers}  # fmt: skip
        return torch.cat([p.expand(*batch, -1) for p in parts.values()], -1)

    def padded(self, v: Tensor) -> Tensor:
        """Return a vector on the free units with zeros on the held ones."""
        n = sum(map(size_of, self.whole.layers.values()))
        return v.new_zeros(*v.shape[:-1], n).index_copy(-1, self.free, v)

    def kept(self, t: Tensor) -> Tensor:
        """Return the free units of a vector."""
        return t.index_select(-1, self.free)

    def force(self, s: Tensor) -> Tensor:
        return self.kept(self.whole.force(self.completed(s)))

    def pressure(self, s: Tensor) -> Tensor:
        return self.kept(self.whole.pressure(self.completed(s)))

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.jacobian_product(*self._whole_with_vector(s, v)))

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.adjoint_product(*self._whole_with_vector(s, v)))

    def jacobian(self, s: Tensor) -> Tensor:
        return self._block(self.whole.jacobian(self.completed(s)))

    @property
    def batch(self) -> torch.Size:
        shapes = (x.shape[:-1] for x in self.states.values())
        return broadcast_shapes(self.whole.batch, *shapes)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        states = {k: rows_of(x, batch, rows) for k, x in self.states.items()}
        return type(self)(self.whole.samples(batch, rows), states)

    def snapshot(self) -> Self:
        whole = self.whole.snapshot()
        return self if whole is self.whole else type(self)(whole, self.states)

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        return type(self)(self.whole, self.states | self._layer_states(states))

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        whole, held = self.whole.origin
        return whole, held | self.states

    def _whole_with_vector(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        s, v = self._with_vector(s, v)
        return self.completed(s), self.padded(v)

    def _block(self, matrix: Tensor) -> Tensor:
        return matrix.index_select(-1, self.free).index_select(-2, self.free)


def declared_tensors(cls: type) -> dict[str, Any]:
    """Return the tensors, and the tuples such as a box of tensors, that a class declares."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Tensor | tuple) and not name.startswith("__"):
                found[name] = value
    return found


def single(network: N) -> N:
    """Return a network of one sample without its batch, or refuse it.

    Raises
    ------
    ValueError
        As :func:`free_network`, and for a network of more samples than one, or of none.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.base import single
    >>> net = ctebm.LayeredNetwork.random([2, 3, 1], ctebm.Tanh())
    >>> single(net.clamp({"x": [[0.5, 0.5]]})).batch
    torch.Size([])
    """
    if math.prod(free_network(network).batch) != 1:
        raise ValueError(
            f"expected a network with one sample, got {tuple(network.batch)}; clamp one input."
        )
    if not network.batch:
        return network
    return network.samples(network.batch, torch.tensor(0))


def free_network(network: N) -> N:
    """Return a network with units that move, or refuse what has none.

    Raises
    ------
    ValueError
        For something else than a network, or one with every layer clamped.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.base import free_network
    >>> net = ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh())
    >>> free_network(net) is net
    True
    """
    if not isinstance(network, VectorField):
        raise ValueError(
            f"expected a network, got {type(network).__name__}; give one such as DenseNetwork."
        )
    if network.n_units == 0:
        raise ValueError(
            "expected a network with a free layer, got one with every layer clamped; leave the "
            "output out of clamp."
        )
    return network


def count_units(network: VectorField) -> int:
    """Return the number of units, or refuse a network that takes states of any length.

    Raises
    ------
    ValueError
        If the number of units is not known.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.base import count_units
    >>> count_units(ctebm.LayeredNetwork.random([2, 3, 1], ctebm.Tanh()))
    6
    """
    if network.n_units is None:
        raise ValueError(
            "this network takes states of any length; give it n_units, as in "
            "super().__init__(n_units)."
        )
    return network.n_units


def _first_not_finite(x: Tensor) -> str:
    """Return the first number ``(*batch, unit)`` that is not finite, and where it is, in words."""
    *sample, unit = torch.nonzero(~torch.isfinite(x))[0].tolist()
    where = f" of sample {', '.join(map(str, sample))}" if sample else ""
    return f"{float(x[(*sample, unit)])} in unit {unit}{where}"
