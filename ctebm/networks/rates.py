r"""The rates of machine learning: identity, ReLU, its leaky relative, softplus, the signed tanh.

All but the last grow without bound. In eq. 6 the couplings of such rates can outgrow the leak:
where an eigenvalue of ``W`` exceeds 1 on states that all rise together, the energy falls without
bound, and the state grows. In predictive coding the energy is a sum of squares, bounded below for
every rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.kinks import Box
from ctebm.networks.numbers import finite
from ctebm.networks.sigmoids import derive, sigmoid, softplus

__all__ = ["Identity", "LeakyReLU", "ReLU", "SignedTanh", "Softplus"]


@dataclass(frozen=True)
class Identity(Activation):
    r"""The state itself as a rate, :math:`\rho(s) = s`, as of linear layers and raw inputs.

    Examples
    --------
    >>> import torch, ctebm
    >>> ctebm.Identity()(torch.tensor([-2.0, 3.0]))
    tensor([-2.,  3.])
    """

    def __post_init__(self) -> None:
        derive(self, rates=(-math.inf, math.inf), max_slope=1.0, max_curvature=0.0)

    def __call__(self, s: Tensor) -> Tensor:
        return s

    def derivative(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)

    def second_derivative(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def inverse(self, rate: Tensor) -> Tensor:
        return rate

    def integral(self, s: Tensor) -> Tensor:
        return s.square() / 2


@dataclass(frozen=True)
class ReLU(Activation):
    r"""The positive part, :math:`\rho(s) = \max(s, 0)`, with one kink, at 0.

    In eq. 6 its equilibria solve :math:`s = \max(I, 0)`: a unit without a positive current is
    pinned at the kink. It has no upper kink, and with couplings above the leak no equilibrium.

    Examples
    --------
    >>> import torch, ctebm
    >>> ctebm.ReLU()(torch.tensor([-2.0, 0.0, 3.0])), ctebm.ReLU().box
    (tensor([0., 0., 3.]), Box(low=0.0, high=inf))
    """

    def __post_init__(self) -> None:
        derive(self, kinks=(0.0,), box=Box(0.0, math.inf), rates=(0.0, math.inf))
        derive(self, max_slope=1.0, max_curvature=0.0, analytic_strip=0.0)

    def __call__(self, s: Tensor) -> Tensor:
        return s.clamp(min=0.0)

    def derivative(self, s: Tensor) -> Tensor:
        return (s.detach() >= 0).to(s.dtype)

    def second_derivative(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def inverse(self, rate: Tensor) -> Tensor:
        return self.check_rates(rate)

    def integral(self, s: Tensor) -> Tensor:
        return self(s).square() / 2


@dataclass(frozen=True)
class LeakyReLU(Activation):
    r"""ReLU with a slope below 0, :math:`\rho(s) = \max(s, a s)`.

    Parameters
    ----------
    slope : float
        The slope `a` below 0, in (0, 1).

    Raises
    ------
    ValueError
        For another slope.

    Examples
    --------
    >>> import torch, ctebm
    >>> ctebm.LeakyReLU(0.1)(torch.tensor([-2.0, 3.0]))
    tensor([-0.2000,  3.0000])
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        finite("slope", self.slope, above=0, below=1)
        derive(self, kinks=(0.0,), rates=(-math.inf, math.inf))
        derive(self, max_slope=1.0, max_curvature=0.0, analytic_strip=0.0)

    def __call__(self, s: Tensor) -> Tensor:
        return torch.maximum(s, self.slope * s)

    def derivative(self, s: Tensor) -> Tensor:
        return torch.where(s.detach() >= 0, torch.ones_like(s), self.slope)

    def second_derivative(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.minimum(rate, rate / self.slope)

    def integral(self, s: Tensor) -> Tensor:
        return s * self(s) / 2


@dataclass(frozen=True)
class Softplus(Activation):
    r"""The smooth ReLU, :math:`\rho(s) = \log(1 + e^{g s}) / g`.

    Parameters
    ----------
    gain : float
        The gain `g`; large ones come near to :class:`ReLU`.

    Raises
    ------
    ValueError
        If the gain is not positive.

    Examples
    --------
    >>> import torch, ctebm
    >>> ctebm.Softplus()(torch.zeros(1))
    tensor([0.6931])
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        g = finite("gain", self.gain, above=0)
        derive(self, rates=(0.0, math.inf), max_slope=1.0)
        derive(self, max_curvature=g / 4, analytic_strip=math.pi / g)

    def __call__(self, s: Tensor) -> Tensor:
        return softplus(self.gain * s) / self.gain

    def derivative(self, s: Tensor) -> Tensor:
        return sigmoid(self.gain * s)

    def second_derivative(self, s: Tensor) -> Tensor:
        r = sigmoid(self.gain * s)
        return self.gain * r * (1 - r)

    def inverse(self, rate: Tensor) -> Tensor:
        z = self.gain * self.check_rates(rate, closed=False)
        return (z + torch.log(-torch.expm1(-z))) / self.gain


@dataclass(frozen=True)
class SignedTanh(Activation):
    r"""The hyperbolic tangent with rates in (-1, 1), :math:`\rho(s) = \tanh(g s)`.

    What multilayer perceptrons and predictive coding call tanh; :class:`~ctebm.Tanh` is
    :math:`(1 + \tanh s)/2`, a rate in (0, 1).

    Parameters
    ----------
    gain : float
        The gain `g`.

    Raises
    ------
    ValueError
        If the gain is not positive.

    Examples
    --------
    >>> import torch, ctebm
    >>> ctebm.SignedTanh()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.7616,  0.0000,  0.7616])
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        g = finite("gain", self.gain, above=0)
        derive(self, rates=(-1.0, 1.0), max_slope=g)
        derive(self, max_curvature=4 * g * g / math.sqrt(27), analytic_strip=math.pi / (2 * g))

    def __call__(self, s: Tensor) -> Tensor:
        return torch.tanh(self.gain * s)

    def derivative(self, s: Tensor) -> Tensor:
        return self.gain * (1 - torch.tanh(self.gain * s).square())

    def rate_and_slope(self, s: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.tanh(self.gain * s)
        return t, self.gain * (1 - t.square())

    def second_derivative(self, s: Tensor) -> Tensor:
        t = torch.tanh(self.gain * s)
        return -2 * self.gain**2 * t * (1 - t * t)

    def inverse(self, rate: Tensor) -> Tensor:
        return torch.atanh(self.check_rates(rate, closed=False)) / self.gain

    def integral(self, s: Tensor) -> Tensor:
        z = (self.gain * s).abs()
        return (z + torch.log1p(torch.exp(-2 * z)) - math.log(2)) / self.gain
