r"""The sigmoid firing rates: eq. 7, its smooth version, the logistic function and tanh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.kinks import Box
from ctebm.networks.numbers import finite

__all__ = ["HardSigmoid", "Logistic", "SmoothHardSigmoid", "Tanh", "derive", "sigmoid", "softplus"]

_LINEAR = 40.0  # beyond, log(1 + e^z) is z and 1/(1 + e^-z) is 1, to rounding in float64


@dataclass(frozen=True)
class HardSigmoid(Activation):
    r"""The paper's hard sigmoid, eq. 7: :math:`\rho(s) = \mathrm{clip}(s - \beta_1, 0, 1)`.

    Parameters
    ----------
    lower : float
        The lower kink :math:`\beta_1 \le 0`; the upper is :math:`\beta_2 = \beta_1 + 1 \ge 0`. With
        ``lower=0`` it is the clip to [0, 1] of Scellier & Bengio, whose kink at 0 is where units
        rest: without a current they have no margin there, which `stability` and `margin` of
        equilibria tell, their gradient is that of the pinned side, and a unit that starts below
        0 comes to it by its leak alone, without end. Between the kinks it is the same as the
        default with biases, inputs and targets lowered by 1/2.

    Raises
    ------
    ValueError
        If 0 is neither between the kinks nor on one.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.HardSigmoid(lower=-0.25)
    >>> rho(torch.tensor([-1.0, 0.0, 0.5, 2.0]))
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    >>> rho.inverse(torch.tensor([0.0, 0.5, 1.0]))
    tensor([-0.2500,  0.2500,  0.7500])
    """

    lower: float = -0.5

    def __post_init__(self) -> None:
        remedy = "shift biases, inputs and targets so that 0 lies between the kinks or on one"
        finite("lower", self.lower, low=-1, high=0, remedy=remedy)
        kinks = self.lower, self.lower + 1
        derive(
            self, box=Box(*kinks), kinks=kinks, max_slope=1.0, max_curvature=0.0, analytic_strip=0.0
        )

    def __call__(self, s: Tensor) -> Tensor:
        return (s - self.lower).clamp(0.0, 1.0)

    def derivative(self, s: Tensor) -> Tensor:
        s = s.detach()  # piecewise constant
        return s.clamp(*self.kinks).eq_(s)  # in place, much faster than a mask made numbers

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return (s - self.lower).clamp_(0.0, 1.0), self.derivative(s)

    def second_derivative(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def inverse(self, rate: Tensor) -> Tensor:
        return self.check_rates(rate, closed=True) + self.lower

    def integral(self, s: Tensor) -> Tensor:
        return self(s).square() / 2 + (s - self.lower - 1).clamp(min=0)


@dataclass(frozen=True)
class Logistic(Activation):
    r"""Logistic rate :math:`\rho(s) = 1 / (1 + e^{-g (s - c)})`; gain 4 has slope 1 at the centre.

    Its nearest poles are at :math:`c \pm i\pi/g`. With centre 1/2 it is :math:`\sigma(4s - 2)`.

    Parameters
    ----------
    gain : float
        The gain `g`.
    centre : float
        The state `c` of rate 1/2.

    Raises
    ------
    ValueError
        If the gain is not positive, or the centre not finite.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.Logistic()
    >>> rho(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0180, 0.5000, 0.9820])
    >>> rho.derivative(torch.zeros(1))
    tensor([1.])
    """

    gain: float = 4.0
    centre: float = 0.0

    def __post_init__(self) -> None:
        finite("gain", self.gain, above=0)
        finite("centre", self.centre)
        g = self.gain
        derive(
            self, max_slope=g / 4, max_curvature=g * g / math.sqrt(108), analytic_strip=math.pi / g
        )

    def __call__(self, s: Tensor) -> Tensor:
        return sigmoid(self.gain * (s - self.centre if self.centre else s))

    def derivative(self, s: Tensor) -> Tensor:
        r = self(s)
        return self.gain * r * (1 - r)

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r = self(s)
        return r, torch.addcmul(r, r, r, value=-1).mul_(self.gain)

    def second_derivative(self, s: Tensor) -> Tensor:
        r = self(s)
        return self.gain**2 * r * (1 - r) * (1 - 2 * r)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.logit(self.check_rates(rate, closed=False)) / self.gain + self.centre

    def integral(self, s: Tensor) -> Tensor:
        return softplus(self.gain * (s - self.centre)) / self.gain


@dataclass(frozen=True)
class Tanh(Activation):
    r"""Hyperbolic tangent as a rate: :math:`\rho(s) = (1 + \tanh s)/2`.

    Its poles nearest to the real axis are at :math:`\mathrm{Im}\,s = \pm\pi/2`.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.Tanh()
    >>> rho(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.1192, 0.5000, 0.8808])
    >>> rho.analytic_strip
    1.5707...
    """

    def __post_init__(self) -> None:
        derive(self, max_slope=0.5, max_curvature=2 / math.sqrt(27), analytic_strip=math.pi / 2)

    def __call__(self, s: Tensor) -> Tensor:
        return (1 + torch.tanh(s)) / 2

    def derivative(self, s: Tensor) -> Tensor:
        t = torch.tanh(s)
        return (1 - t * t) / 2

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.tanh(s)
        return torch.rsub(t, 0.5, alpha=-0.5), torch.rsub(t.square(), 0.5, alpha=0.5)

    def second_derivative(self, s: Tensor) -> Tensor:
        t = torch.tanh(s)
        return -t * (1 - t * t)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.atanh(2 * self.check_rates(rate, closed=False) - 1)

    def integral(self, s: Tensor) -> Tensor:
        return softplus(2 * s) / 2


@dataclass(frozen=True)
class SmoothHardSigmoid(Activation):
    r"""The hard sigmoid with its kinks rounded over a width `w`.

    :math:`\rho(s) = w\,[\mathrm{softplus}((s-\beta_1)/w) - \mathrm{softplus}((s-\beta_2)/w)]`,
    analytic, and eq. 7 in the limit :math:`w \to 0`. Complex states are taken too: beside the
    real axis it is analytic up to its branch points at :math:`s = \beta_{1,2} \pm i\pi w`, from
    which cuts lead away from the axis. The narrower the corners, the smaller the complex nudge
    that they bear.

    Parameters
    ----------
    lower : float
        The lower corner :math:`\beta_1`; the upper is :math:`\beta_2 = \beta_1 + 1`.
    width : float
        The width of the corners, in units of the state.

    Raises
    ------
    ValueError
        If 0 is neither between the corners nor on one, or the width is not positive.

    Examples
    --------
    >>> import torch, ctebm
    >>> rho = ctebm.SmoothHardSigmoid(width=0.05)
    >>> rho(torch.tensor([-1.0, 0.0, 0.25, 2.0]))
    tensor([2.2699e-06, 5.0000e-01, 7.4966e-01, 1.0000e+00])
    """

    lower: float = -0.5
    width: float = 0.1

    def __post_init__(self) -> None:
        HardSigmoid(self.lower)
        finite("width", self.width, above=0)
        # the slope half-way between the corners
        derive(self, max_slope=math.tanh(1 / (4 * self.width)), analytic_strip=math.pi * self.width)

    def _corners(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return (s - self.lower) / self.width, (s - self.lower - 1) / self.width

    def __call__(self, s: Tensor) -> Tensor:
        low, high = self._corners(s)
        rate = self.width * (softplus(low) - softplus(high))
        # far up, where both are as large as the state, their difference is rounding alone
        return torch.where(high.real > _LINEAR, 1, rate)

    def derivative(self, s: Tensor) -> Tensor:
        low, high = self._corners(s)
        return sigmoid(low) - sigmoid(high)

    def second_derivative(self, s: Tensor) -> Tensor:
        low, high = (sigmoid(c) for c in self._corners(s))
        return (low * (1 - low) - high * (1 - high)) / self.width

    def inverse(self, rate: Tensor) -> Tensor:
        r, w = self.check_rates(rate, closed=False), self.width
        x = r / w  # x + log(1 - e^-x) is log(e^x - 1), without overflow
        low, high = torch.log(-torch.expm1(-x)), torch.log(-torch.expm1((r - 1) / w))
        return self.lower + w * (x + low - high)


def softplus(z: Tensor) -> Tensor:
    r"""Return :math:`\log(1 + e^z)` without overflow.

    Complex `z` are turned to the half-plane where :math:`e^z` is small; what comes out is analytic
    but for cuts from the branch points :math:`\pm i\pi` away from the real axis.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.sigmoids import softplus
    >>> softplus(torch.tensor([-1e4, 0.0, 1e4]))
    tensor([0.0000e+00, 6.9315e-01, 1.0000e+04])
    """
    if not z.is_complex():
        return torch.nn.functional.softplus(z, threshold=_LINEAR)
    right = z.real > 0
    return torch.log1p(torch.exp(torch.where(right, -z, z))) + torch.where(right, z, 0)


def sigmoid(z: Tensor) -> Tensor:
    r"""Return :math:`1/(1 + e^{-z})` without overflow, of complex `z` too.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.sigmoids import sigmoid
    >>> sigmoid(torch.tensor([-1e4, 0.0, 1e4]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    if not z.is_complex():
        return torch.sigmoid(z)
    right = z.real > 0
    small = torch.exp(torch.where(right, -z, z))
    return torch.where(right, 1, small) / (1 + small)


def derive(activation: Activation, **attributes: object) -> None:
    """Set attributes that follow from the fields of a frozen dataclass.

    Parameters
    ----------
    activation : Activation
        What is being made.
    **attributes
        Such as ``rates`` or ``max_slope``.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.sigmoids import derive
    >>> rho = ctebm.Tanh()
    >>> derive(rho, max_slope=0.5)
    >>> rho.max_slope
    0.5
    """
    for name, value in attributes.items():
        object.__setattr__(activation, name, value)
