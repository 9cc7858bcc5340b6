r"""What a firing rate :math:`\rho(s)` is: its derivatives, its kinks, its inverse.

An activation is a callable on tensors with two derivatives. Where :math:`\rho'` jumps it has
*kinks*; a hard sigmoid has two, and between them the energy of eq. 6 is quadratic. The interval
between them is its ``box``, the set in which every equilibrium lies.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ctebm.networks.arrays import mapped
from ctebm.networks.kinks import Box

__all__ = ["Activation", "Custom", "as_activation"]


class Activation(ABC):
    r"""A firing rate :math:`\rho`, applied element by element.

    Subclasses give :meth:`__call__`; derivatives default to automatic differentiation. A subclass
    with :meth:`inverse` and :meth:`integral` serves everywhere.

    Attributes
    ----------
    kinks : tuple of float
        States at which :math:`\rho'` jumps.
    box : Box or None
        ``(b1, b2)`` if :math:`\rho` is linear with slope 1 between two kinks and constant outside,
        so that equilibria solve ``s = clip(I, b1, b2)``; None if there is no such box.
    rates : tuple of float
        Infimum and supremum of :math:`\rho`.
    max_slope : float
        Supremum of :math:`|\rho'|`.
    max_curvature : float
        Supremum of :math:`|\rho''|` off the kinks.
    analytic_strip : float
        Complex states, which complex nudging needs, are taken up to this imaginary part, where
        :math:`\rho` has a pole or a branch point; 0 if it takes none, infinite if not known.

    Examples
    --------
    >>> import torch, ctebm
    >>> class Softplus(ctebm.Activation):
    ...     rates = (0.0, torch.inf)
    ...     def __call__(self, s):
    ...         return torch.log1p(torch.exp(s))
    >>> Softplus().derivative(torch.zeros(2))
    tensor([0.5000, 0.5000])
    """

    kinks: tuple[float, ...] = ()
    box: Box | None = None
    rates: tuple[float, float] = (0.0, 1.0)
    max_slope: float = math.inf
    max_curvature: float = math.inf
    analytic_strip: float = math.inf

    @abstractmethod
    def __call__(self, s: Tensor) -> Tensor:
        r"""Return the rate :math:`\rho(s)`, of the shape of `s`."""

    def derivative(self, s: Tensor) -> Tensor:
        r"""Return :math:`\rho'(s)`; at a kink, the slope inside the closed linear piece."""
        # In forward mode a sum has the element-wise derivative as its tangent, at any order.
        return torch.func.jvp(self, (s.contiguous(),), (torch.ones_like(s),))[1]

    def second_derivative(self, s: Tensor) -> Tensor:
        r"""Return :math:`\rho''(s)`; zero at a kink."""
        return torch.func.jvp(self.derivative, (s.contiguous(),), (torch.ones_like(s),))[1]

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\rho(s)` and :math:`\rho'(s)`, sharing their work where they can."""
        return self(s), self.derivative(s)

    def inverse(self, rate: Tensor) -> Tensor:
        r"""Return the state `s` between the kinks with :math:`\rho(s)` = `rate`.

        Raises
        ------
        ValueError
            For rates that the activation does not take on.
        NotImplementedError
            If it has no inverse in closed form.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no inverse; give states instead of rates."
        )

    def integral(self, s: Tensor) -> Tensor:
        r"""Return :math:`\int \rho\,ds` up to `s`, from where the rate vanishes.

        Raises
        ------
        NotImplementedError
            If it has no integral in closed form.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no integral in closed form; use HardSigmoid, Logistic or "
            "Tanh."
        )

    def check_rates(self, rate: Tensor, *, closed: bool = True) -> Tensor:
        """Return rates, or refuse such as the activation does not take on.

        Parameters
        ----------
        rate : Tensor
            Of any shape.
        closed : bool
            Whether the infimum and the supremum are allowed.

        Raises
        ------
        ValueError
            For rates out of range, or NaN.
        """
        low, high = self.rates
        inside = (rate >= low) & (rate <= high) if closed else (rate > low) & (rate < high)
        if not bool(inside.all()):
            span = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
            raise ValueError(
                f"{type(self).__name__} takes rates in {span}, got "
                f"{rate.min().item():g} to {rate.max().item():g}; rescale the rates."
            )
        return rate

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the activation with a change applied to every tensor that it has."""
        other = copy.copy(self)
        vars(other).update(mapped(vars(self), change))
        return other


@dataclass(frozen=True)
class Custom(Activation):
    """Any smooth element-wise function of a tensor as a firing rate.

    Parameters
    ----------
    function : callable
        Maps a tensor to a tensor of the same shape, element by element, twice differentiable by
        torch.
    kinks : tuple of float
        States at which its slope jumps; equilibria on such kinks are found only for activations
        with a ``box``.
    rates : tuple of float
        Infimum and supremum of the function, where they are known.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.Custom(torch.sin, rates=(-1.0, 1.0))
    >>> rho(torch.zeros(1)), rho.derivative(torch.zeros(1))
    (tensor([0.]), tensor([1.]))
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    rates: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, s: Tensor) -> Tensor:
        return self.function(s)


def as_activation(rho: Activation | Callable[[Tensor], Tensor]) -> Activation:
    """Return `rho` itself if it is an :class:`Activation`, else wrap the callable.

    Raises
    ------
    TypeError
        For a class instead of an instance, or what cannot be called.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.activation import as_activation
    >>> type(as_activation(torch.tanh)).__name__
    'Custom'
    """
    if isinstance(rho, Activation):
        return rho
    if isinstance(rho, type) and issubclass(rho, Activation):
        raise TypeError(f"expected an activation, got the class {rho.__name__}; call it first.")
    if callable(rho):
        return Custom(rho)
    raise TypeError(
        f"expected an activation or a callable on tensors, got {type(rho).__name__}; "
        "use for example ctebm.HardSigmoid()."
    )
