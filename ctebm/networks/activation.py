r"""Firing rates :math:`\rho(s)`, their derivatives and their kinks.

An activation is a callable on tensors with two derivatives. Where :math:`\rho'` jumps it has
*kinks*; a hard sigmoid has two, and between them the energy of eq. 6 is quadratic. The interval
between them is its ``box``, the set in which every equilibrium lies.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.kinks import Box

__all__ = ["Activation", "Custom", "HardSigmoid", "Logistic", "SmoothHardSigmoid", "Tanh"]


class Activation(ABC):
    r"""A firing rate :math:`\rho`, applied element by element.

    Subclasses give :meth:`__call__`; derivatives default to automatic differentiation.

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
    max_bend : float
        Supremum of :math:`|\rho''|` off the kinks.
    strip : float
        Complex states, which complex nudging needs, are taken up to this imaginary part, where
        :math:`\rho` has a pole or a branch point; 0 if it takes none, infinite if not known.
    """

    kinks: tuple[float, ...] = ()
    box: Box | None = None
    rates: tuple[float, float] = (0.0, 1.0)
    max_slope: float = math.inf
    max_bend: float = math.inf
    strip: float = math.inf

    @abstractmethod
    def __call__(self, s: Tensor) -> Tensor:
        r"""Return the rate :math:`\rho(s)`, of the shape of `s`."""

    def derivative(self, s: Tensor) -> Tensor:
        r"""Return :math:`\rho'(s)`; at a kink, the slope inside the closed linear piece."""
        # In forward mode a sum has the element-wise derivative as its tangent, at any order.
        return torch.func.jvp(self, (s,), (torch.ones_like(s),))[1]

    def second_derivative(self, s: Tensor) -> Tensor:
        r"""Return :math:`\rho''(s)`; zero at a kink."""
        return torch.func.jvp(self.derivative, (s,), (torch.ones_like(s),))[1]

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\rho(s)` and :math:`\rho'(s)`, sharing their work where they can."""
        return self(s), self.derivative(s)

    def inverse(self, rate: Tensor) -> Tensor:
        r"""Return the state `s` between the kinks with :math:`\rho(s)` = `rate`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no inverse; give states instead of rates."
        )

    def integral(self, s: Tensor) -> Tensor:
        r"""Return :math:`\int \rho\,ds` up to `s`, from where the rate vanishes."""
        raise NotImplementedError(
            f"{type(self).__name__} has no integral in closed form; use HardSigmoid, Logistic or "
            "Tanh."
        )

    def _check_rate(self, rate: Tensor, *, closed: bool) -> Tensor:
        low, high = self.rates
        inside = (rate >= low) & (rate <= high) if closed else (rate > low) & (rate < high)
        if not bool(inside.all()):
            span = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
            raise ValueError(
                f"{type(self).__name__} takes rates in {span}, got "
                f"{rate.min().item():g} to {rate.max().item():g}; rescale the rates."
            )
        return rate


@dataclass(frozen=True)
class HardSigmoid(Activation):
    r"""The paper's hard sigmoid, eq. 7: :math:`\rho(s) = \mathrm{clip}(s - b_1, 0, 1)`.

    Parameters
    ----------
    lower : float
        The lower kink :math:`b_1 < 0`; the upper is :math:`b_2 = b_1 + 1 > 0`.
    """

    lower: float = -0.5

    def __post_init__(self) -> None:
        if not -1.0 < self.lower < 0.0:
            raise ValueError(
                f"HardSigmoid needs its kinks around 0, -1 < lower < 0 (eq. 7), got {self.lower}."
            )
        _derive(self, box=Box(self.lower, self.lower + 1), kinks=(self.lower, self.lower + 1))

    max_slope = 1.0
    max_bend = 0.0
    strip = 0.0

    def __call__(self, s: Tensor) -> Tensor:
        return (s - self.lower).clamp(0.0, 1.0)

    def derivative(self, s: Tensor) -> Tensor:
        low, high = self.kinks
        return ((s >= low) & (s <= high)).to(s.dtype)

    def second_derivative(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def inverse(self, rate: Tensor) -> Tensor:
        return self._check_rate(rate, closed=True) + self.lower

    def integral(self, s: Tensor) -> Tensor:
        return self(s).square() / 2 + (s - self.lower - 1).clamp(min=0)


@dataclass(frozen=True)
class Logistic(Activation):
    r"""Logistic rate :math:`\rho(s) = 1 / (1 + e^{-g s})`; gain 4 has slope 1 at the origin.

    Its poles nearest to the real axis are at :math:`\mathrm{Im}\,s = \pm\pi/g`.

    Parameters
    ----------
    gain : float
        The gain `g`.
    """

    gain: float = 4.0

    def __post_init__(self) -> None:
        _check_positive("Logistic", "gain", self.gain)
        g = self.gain
        _derive(self, max_slope=g / 4, max_bend=g**2 / math.sqrt(108), strip=math.pi / g)

    def __call__(self, s: Tensor) -> Tensor:
        return sigmoid(self.gain * s)

    def derivative(self, s: Tensor) -> Tensor:
        r = sigmoid(self.gain * s)
        return self.gain * r * (1 - r)

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r = sigmoid(self.gain * s)
        return r, torch.addcmul(r, r, r, value=-1).mul_(self.gain)

    def second_derivative(self, s: Tensor) -> Tensor:
        r = sigmoid(self.gain * s)
        return self.gain**2 * r * (1 - r) * (1 - 2 * r)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.logit(self._check_rate(rate, closed=False)) / self.gain

    def integral(self, s: Tensor) -> Tensor:
        return softplus(self.gain * s) / self.gain


@dataclass(frozen=True)
class Tanh(Activation):
    r"""Hyperbolic tangent as a rate: :math:`\rho(s) = (1 + \tanh s)/2`.

    Its poles nearest to the real axis are at :math:`\mathrm{Im}\,s = \pm\pi/2`.
    """

    max_slope = 0.5
    max_bend = 2 / math.sqrt(27)
    strip = math.pi / 2

    def __call__(self, s: Tensor) -> Tensor:
        return (1 + torch.tanh(s)) / 2

    def derivative(self, s: Tensor) -> Tensor:
        t = torch.tanh(s)
        return (1 - t * t) / 2

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.tanh(s)
        return t.add(1).div(2), t.square().sub(1).div(-2)

    def second_derivative(self, s: Tensor) -> Tensor:
        t = torch.tanh(s)
        return -t * (1 - t * t)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.atanh(2 * self._check_rate(rate, closed=False) - 1)

    def integral(self, s: Tensor) -> Tensor:
        return softplus(2 * s) / 2


@dataclass(frozen=True)
class SmoothHardSigmoid(Activation):
    r"""The hard sigmoid with its kinks rounded over a width `w`.

    :math:`\rho(s) = w\,[\mathrm{softplus}((s-b_1)/w) - \mathrm{softplus}((s-b_2)/w)]`, analytic,
    and eq. 7 in the limit :math:`w \to 0`. Complex states are taken too: beside the real axis it
    is analytic up to its branch points at :math:`s = b_{1,2} \pm i\pi w`, from which cuts lead
    away from the axis. The narrower the corners, the smaller the complex nudge that they bear.

    Parameters
    ----------
    lower : float
        The lower corner :math:`b_1`; the upper is :math:`b_2 = b_1 + 1`.
    width : float
        The width of the corners, in units of the state.
    """

    lower: float = -0.5
    width: float = 0.1

    def __post_init__(self) -> None:
        HardSigmoid(self.lower)
        _check_positive("SmoothHardSigmoid", "width", self.width)
        # the slope half-way between the corners
        _derive(self, max_slope=math.tanh(1 / (4 * self.width)), strip=math.pi * self.width)

    def _corners(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return (s - self.lower) / self.width, (s - self.lower - 1) / self.width

    def __call__(self, s: Tensor) -> Tensor:
        low, high = self._corners(s)
        return self.width * (softplus(low) - softplus(high))

    def derivative(self, s: Tensor) -> Tensor:
        low, high = self._corners(s)
        return sigmoid(low) - sigmoid(high)

    def second_derivative(self, s: Tensor) -> Tensor:
        low, high = (sigmoid(c) for c in self._corners(s))
        return (low * (1 - low) - high * (1 - high)) / self.width

    def inverse(self, rate: Tensor) -> Tensor:
        r = self._check_rate(rate, closed=False)
        w = self.width

        # log(e^x - 1), without overflow
        def log_expm1(x: Tensor) -> Tensor:
            return x + torch.log(-torch.expm1(-x))

        return self.lower + w * (log_expm1(r / w) - torch.log(-torch.expm1((r - 1) / w)))


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
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    rates: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, s: Tensor) -> Tensor:
        return self.function(s)


def as_activation(rho: Activation | Callable[[Tensor], Tensor]) -> Activation:
    """Return `rho` itself if it is an :class:`Activation`, else wrap the callable."""
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


def softplus(z: Tensor) -> Tensor:
    r"""Return :math:`\log(1 + e^z)` without overflow.

    Complex `z` are turned to the half-plane where :math:`e^z` is small; what comes out is analytic
    but for cuts from the branch points :math:`\pm i\pi` away from the real axis.
    """
    if not z.is_complex():
        return torch.nn.functional.softplus(z, threshold=40)
    right = z.real > 0
    return torch.log1p(torch.exp(torch.where(right, -z, z))) + torch.where(right, z, 0)


def sigmoid(z: Tensor) -> Tensor:
    r"""Return :math:`1/(1 + e^{-z})` without overflow, of complex `z` too."""
    if not z.is_complex():
        return torch.sigmoid(z)
    right = z.real > 0
    small = torch.exp(torch.where(right, -z, z))
    return torch.where(right, 1, small) / (1 + small)


def _derive(activation: Activation, **attributes: object) -> None:
    """Set attributes that follow from the fields of a frozen dataclass."""
    for name, value in attributes.items():
        object.__setattr__(activation, name, value)


def _check_positive(owner: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{owner} needs {name} > 0, got {value}.")
