r"""The motion down an energy: the force and the curvature that follow from it.

A :class:`Network` is the motion :math:`f = -\partial E/\partial s`; a user's own gives
:meth:`Network.energy` alone. The networks of eq. 6 give closed forms.

Letters: state ``s``, energy ``E``, Hessian ``H``, rate ``r`` = :math:`\rho(s)`, weights ``W``,
biases ``b``, current ``I`` = ``b + W r``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.clamped import ClampedField
from ctebm.networks.constants import Constants
from ctebm.networks.differentiable import Differentiated, in_words
from ctebm.networks.held import evaluated
from ctebm.networks.layer_states import states_of_layers
from ctebm.networks.layout import broadcast_shapes
from ctebm.networks.matrices import columns
from ctebm.networks.versions import is_plain

__all__ = ["ClampedNetwork", "LyapunovField", "Network"]


class Network(VectorField):
    r"""The motion down an energy, :math:`f = -\partial E/\partial s`; subclass with `energy` alone.

    Parameters
    ----------
    n_units : int, optional
        The number of units; None if the energy takes states of any length.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units that cover all of them, input first, output last.

    Raises
    ------
    TypeError
        When a class is made that sets ``is_gradient = False``: it is a :class:`VectorField`.

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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.is_gradient:
            raise TypeError(
                f"{cls.__name__} is a Network, whose force is the gradient of its energy, and sets "
                "is_gradient = False; subclass VectorField and write `force` alone."
            )

    @abstractmethod
    def energy(self, s: Tensor) -> Tensor:
        """Return the energy of each state, shape ``(*batch)``."""

    def force(self, s: Tensor) -> Tensor:
        r"""Return the force :math:`-\partial E/\partial s`, shape ``(*batch, unit)``."""
        return self._energy_and_gradient(s)[1].neg()

    def potential(self, s: Tensor) -> Tensor:
        r"""Return :math:`L(s) = |s|^2/2 - E(s)` (eq. 21), whose gradient is the pressure."""
        s = self.as_state(s)
        return s.square().sum(-1) / 2 - self.energy(s)

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return :meth:`energy` and :meth:`force`."""
        if type(self).force is not Network.force:
            s = self.as_state(s)
            return self.energy(s), self.force(s)
        energy, gradient = self._energy_and_gradient(s)
        return energy, -gradient

    def _energy_and_gradient(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self._in_samples(s)

        def total(u: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.energy(u)
            check_energy(energy, u)
            return energy.sum(), energy

        try:
            gradient, energy = torch.func.grad(total, has_aux=True)(s)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise in_words(error, "an energy") or ValueError(
                "expected an energy that torch can differentiate, got "
                f"{str(error).splitlines()[0]!r}; compute it with torch operations on the state "
                "alone."
            ) from error
        return energy, gradient

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`H(s)\,v`, :math:`H = \partial^2 E/\partial s^2`, without the matrix."""
        return -super().jacobian_product(s, v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map ``v -> H(s) v``, with all that depends on `s` computed once."""
        s = self._in_samples(s)
        if type(self).hessian_product is not Network.hessian_product:
            return lambda v: self.hessian_product(s, v)
        # H is symmetric, so that one recorded force serves every product, backwards.
        with Differentiated("a force"):
            backwards = torch.func.vjp(self.force, s)[1]
        return lambda v: -backwards(v.expand_as(s))[0]

    def hessian_operator_on(self, s: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """Return products with the Hessian that are right on some units, of vectors 0 elsewhere.

        Parameters
        ----------
        s, free : Tensor
            States, and 1 for the units that count, else 0, ``(*batch, unit)``.
        """
        return self.hessian_operator(s)

    def hessian(self, s: Tensor) -> Tensor:
        r"""Return the matrix :math:`H = \partial^2 E/\partial s^2`, ``(*batch, unit, unit)``."""
        s = self._in_samples(s)
        return columns(self.hessian_operator(s), s)

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
            Its energy is that of the full network at the completed state; what a subclass
            overrides is kept.
        """
        return ClampedNetwork(self, states_of_layers(self, states))


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


# The two bases give the same methods, of which Network says less in its types.
class ClampedNetwork(ClampedField[Network], Network):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A network with some layers held, by substitution into its energy.

    Parameters
    ----------
    whole : Network
        The network of all layers.
    states : mapping of str to Tensor
        A state for each held layer, ``(*batch, size)``.

    Examples
    --------
    >>> import ctebm
    >>> class Pair(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.square().sum(-1) / 2 - s.prod(-1)
    >>> held = Pair(2, {"x": slice(0, 1), "y": slice(1, 2)}).clamp({"x": [3.0]})
    >>> ctebm.settle(held).state
    tensor([3.], dtype=torch.float64)
    """

    def __init__(self, whole: Network, states: Mapping[str, Tensor]) -> None:
        super().__init__(whole, states)
        self._constants = Constants()

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        batch = broadcast_shapes(s.shape[:-1], *(x.shape[:-1] for x in self.states.values()))
        held = [name in self.states for name in self.whole.layers]
        parts = [
            self._constants.expanded(self.states[name], batch)
            if name in self.states
            else s[..., self.layers[name]].expand(*batch, -1)
            for name in self.whole.layers
        ]
        layers = [*self.whole.layers.values()]
        return evaluated(self.whole.energy, layers, parts, held, self._constants)

    def force(self, s: Tensor) -> Tensor:
        if type(self.whole).force is Network.force:
            return Network.force(self, s)
        return super().force(s)

    def pressure(self, s: Tensor) -> Tensor:
        if type(self.whole).force is Network.force:
            return Network.pressure(self, s)
        return super().pressure(s)

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        if type(self.whole).energy_and_force is Network.energy_and_force:
            return Network.energy_and_force(self, s)
        energy, force = self.whole.energy_and_force(self.completed(s))
        return energy, self.kept(force)

    def _energy_and_gradient(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self._in_samples(s)
        first = not all(self._constants.has(x, s.shape[:-1]) for x in self.states.values())
        if first and is_plain(s):
            with torch.no_grad():  # what is computed within a derivative can't be kept
                self.energy(s)
        return super()._energy_and_gradient(s)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        if self._by_energy:
            s, v = self._with_vector(s, v)
            return -torch.func.jvp(self.force, (s.contiguous(),), (v,))[1]
        return self.kept(self.whole.hessian_product(*self._whole_with_vector(s, v)))

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self._in_samples(s)
        if self._by_energy:
            backwards = torch.func.vjp(self.force, s)[1]
            return lambda v: -backwards(self.as_state(v).expand_as(s))[0]
        product = self.whole.hessian_operator(self.completed(s))
        return lambda v: self.kept(product(self.padded(self.as_state(v).expand_as(s))))

    def hessian(self, s: Tensor) -> Tensor:
        if type(self.whole).hessian is Network.hessian:
            return Network.hessian(self, s)
        return self._block(self.whole.hessian(self.completed(s)))

    @property
    def _by_energy(self) -> bool:
        """Whether all that is known of the whole is its energy."""
        kind = type(self.whole)
        return kind.force is Network.force and kind.hessian_product is Network.hessian_product


def check_energy(energy: Any, s: Tensor) -> None:
    """Refuse an energy that is not one number for each state."""
    if not isinstance(energy, Tensor) or energy.shape != s.shape[:-1]:
        got = tuple(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
        raise ValueError(
            f"expected an energy of shape {tuple(s.shape[:-1])} for states {tuple(s.shape)}, "
            f"got {got}; sum over the last dimension only."
        )
    if not energy.is_floating_point():
        raise ValueError(
            f"expected an energy of real numbers, got {str(energy.dtype).removeprefix('torch.')}; "
            "compute it in the dtype of the state."
        )
