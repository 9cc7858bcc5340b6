r"""The motion of a state: a force, and what follows from it.

A :class:`VectorField` is a motion :math:`\dot s = f(s)` on states ``s`` of shape
``(*batch, unit)``; a user's own gives :meth:`VectorField.force` alone. Where an energy has that
force, it is a :class:`~ctebm.Network`, see :mod:`ctebm.networks.energy`.

Letters: state ``s``, force ``f``, vector ``v``, Jacobian ``J``.
"""

# Long because each method of a motion says its shapes, what it returns and what it refuses.

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from inspect import isabstract
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import check_float, real_tensor
from ctebm.networks.copies import changed, independent
from ctebm.networks.differentiable import Differentiated
from ctebm.networks.drives import Drives, driven_layers
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layer_states import first_not_finite, states_of_layers
from ctebm.networks.layout import broadcast, covering, size_of
from ctebm.networks.matrices import columns
from ctebm.networks.named import named_tensors, with_leaves, write_tensors

__all__ = [
    "StateLike",
    "VectorField",
    "count_units",
    "free_network",
    "single",
]

N = TypeVar("N", bound="VectorField")

# What one closed form says that the others follow from, so that none is replaced alone.
_CLOSED = (
    "energy", "force", "energy_and_force", "pressure", "current", "rate", "coupling",
    "adjoint_coupling", "dense_weight",
)  # fmt: skip


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
        The kinks ``(beta1, beta2)`` between which equilibria lie, one pair for all units or
        ``(unit,)`` each, infinite for units without; None without kinks.
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
    _closed_forms: ClassVar[tuple[str, ...]] = ()  # of a class that is abstract yet
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _refuse_other_closed_forms(cls)
        declared = vars(cls).get("drives")
        if isinstance(declared, Mapping):  # the property goes on answering, for the others too
            cls.declared_drives = dict(declared)
            # a property of VectorField, which this class has overridden
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
        from ctebm.networks.clamped import ClampedField  # a motion itself

        return ClampedField(self, states_of_layers(self, states))

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
        return changed(self, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return independent(self, memo)

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
                f"expected finite states, got {first_not_finite(s)}; settle first, or leave that "
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


def _refuse_other_closed_forms(cls: type[VectorField]) -> None:
    """Refuse a class of one's own that replaces some closed forms of a class of ctebm's."""
    if cls.__module__.startswith("ctebm."):
        return
    for base in cls.__mro__[1:]:
        if not (base.__module__.startswith("ctebm.") and issubclass(base, VectorField)):
            continue
        closed = base._closed_forms if isabstract(base) else _CLOSED
        own = [name for name in closed if name in vars(cls)]
        if own:
            kind = "Network" if hasattr(cls, "energy") else "VectorField"
            raise TypeError(
                f"expected {cls.__name__} to keep the closed forms of {base.__name__}, which "
                f"follow from each other, got {', '.join(own)} of its own; subclass ctebm.{kind} "
                "and call such a network in it."
            )


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
    return network.samples(network.batch, torch.tensor(0, device="cpu"))


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
