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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctebm.networks.copies import mapped
from ctebm.networks.kinks import Box
from ctebm.networks.numbers import finite_array

__all__ = ["Activation", "Custom", "as_activation"]

# A user's rate is tried at so many states up to this distance from 0.
_TRIED, _TRIALS = 10.0, 400
# Between neighbours intervals are halved so often, to some 10^-8: values that differ there by this
# share of the largest jump, unless the rate is steeper than about 10^5 a unit.
_HALVINGS, _JUMP = 22, 1e-3
# A kink may be declared so far from where it is found.
_AS_DECLARED = 1e-6


class Activation(ABC):
    r"""A firing rate :math:`\rho`, applied element by element.

    Subclasses give :meth:`__call__`; derivatives default to automatic differentiation. A subclass
    with :meth:`inverse` and :meth:`integral` serves everywhere.

    Attributes
    ----------
    kinks : tuple of float
        States at which :math:`\rho'` jumps.
    box : Box or None
        ``(beta1, beta2)`` if :math:`\rho` is linear with slope 1 between two kinks and constant
        outside, so that equilibria solve ``s = clip(I, beta1, beta2)``; None without such a box.
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
    """Any element-wise function of a tensor as a firing rate, smooth but for declared kinks.

    Parameters
    ----------
    function : callable
        Maps a tensor to a tensor of the same shape, element by element, twice differentiable by
        torch. It is tried between -10 and 10 when it is given.
    kinks : tuple of float
        States at which its slope jumps. Two of them around 0, between which it rises from 0 with
        slope 1, are a ``box``, as of :class:`HardSigmoid`; on others no equilibria are found.
    rates : tuple of float
        Infimum and supremum of the function, where they are known.

    Raises
    ------
    ValueError
        For a function that torch can't differentiate, such as one of numpy, and for a slope that
        jumps where no kink is declared.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.Custom(torch.sin, rates=(-1.0, 1.0))
    >>> rho(torch.zeros(1)), rho.derivative(torch.zeros(1))
    (tensor([0.]), tensor([1.]))
    >>> ctebm.Custom(lambda s: s.clamp(0, 1), kinks=(0.0, 1.0)).box
    Box(low=0.0, high=1.0)
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    rates: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        kinks = np.sort(finite_array("a kink", self.kinks).reshape(-1))
        object.__setattr__(self, "kinks", tuple(kinks.tolist()))
        s = torch.linspace(-_TRIED, _TRIED, _TRIALS, dtype=torch.float64, device="cpu")
        if not _works(self, s):
            return
        if len(_jumps(self, self, s)):
            raise ValueError("expected a continuous rate, got one that jumps; round its step.")
        found = _jumps(self, self.derivative, s)
        far = np.abs(found[:, None] - kinks).min(1, initial=math.inf) > _AS_DECLARED
        if far.any():
            places = tuple(sorted({*(found[far].round(6) + 0.0).tolist(), *self.kinks}))
            raise ValueError(
                f"expected a smooth rate, or its kinks, got a slope that jumps at {places}; give "
                f"ctebm.Custom(function, kinks={places}), a HardSigmoid, or a smooth rate."
            )
        if _is_box(self, s):
            for name, value in {
                "box": Box(*self.kinks),
                "max_slope": 1.0,
                "max_curvature": 0.0,
            }.items():
                object.__setattr__(self, name, value)

    def __call__(self, s: Tensor) -> Tensor:
        return self.function(s)


def _works(rho: Activation, s: Tensor) -> bool:
    """Return whether a rate takes states on the CPU in float64, or refuse what is no rate."""
    failed: Exception | None = None
    for states in (s, s.float()):
        try:
            rate, slope = rho(states), rho.derivative(states)
        except Exception as error:  # of whatever the function does with a tensor
            if "device" in str(error):  # it has tensors elsewhere
                return False
            failed = error
            continue
        if rate.shape == slope.shape == s.shape and rate.is_floating_point():
            return states is s
        raise ValueError(
            "expected a function that returns one rate for each state, got another shape or type; "
            "let it act element by element."
        )
    raise ValueError(
        "expected a rate made of torch functions, such as torch.tanh, got one that torch can't "
        "differentiate: functions of numpy and math take no tensors."
    ) from failed


def _jumps(rho: Activation, function: Callable[[Tensor], Tensor], s: Tensor) -> NDArray[np.float64]:
    """Return where a function of the state jumps: what differs however near two states are."""
    low, high = s[:-1], s[1:]
    left, right = function(low), function(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        value = function(middle)
        first = (value - left).abs() > (right - value).abs()
        low, left = torch.where(first, low, middle), torch.where(first, left, value)
        high, right = torch.where(first, middle, high), torch.where(first, value, right)
    largest = torch.cat([left, right]).nan_to_num(0, 0, 0).abs().max()
    defined = torch.isfinite(rho(low)) & torch.isfinite(rho(high))
    jumps = defined & ((right - left).abs() > _JUMP * largest)
    return ((low + high) / 2)[jumps].detach().numpy()


def _is_box(rho: Activation, s: Tensor) -> bool:
    """Return whether a rate rises from 0 with slope 1 between two kinks around the state 0."""
    if len(rho.kinks) != 2 or not rho.kinks[0] <= 0 <= rho.kinks[1]:
        return False
    clipped = s.clamp(*rho.kinks) - rho.kinks[0]
    return bool(((rho(s) - clipped).abs() < _AS_DECLARED).all())


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
