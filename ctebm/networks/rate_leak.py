r"""Eq. 6 with the leak of Scellier & Bengio (2017), on the rates and not on the states.

.. math:: E(s) = \tfrac12 |\rho(s)|^2 - \tfrac12 \rho(s)' W \rho(s) - b'\rho(s)

Where a rate is flat this energy is too, so states are kept in an interval, [0, 1] there. Inside
it a hard sigmoid makes it eq. 6; with a smooth rate it is another network: a unit rests where its
rate, not its state, is its current, or at an end of the interval.

Letters: state ``s``, rate ``r``, current ``I`` = ``b + W r``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.networks.energy import Network
from ctebm.networks.hopfield import OtherEnergy
from ctebm.networks.kinks import Box
from ctebm.networks.numbers import finite
from ctebm.networks.pairwise import PairwiseNetwork
from ctebm.networks.remainder import looks_once

__all__ = ["RateLeakNetwork"]


# The two bases give the same methods, of which Network says less in its types.
class RateLeakNetwork(OtherEnergy, Network):  # pyright: ignore[reportIncompatibleMethodOverride]
    r"""The couplings of a network of eq. 6 with the leak :math:`\rho(s)^2/2`.

    .. math:: f = \rho'(s)\,(I - \rho(s)), \qquad I = b + W\rho(s)

    Parameters
    ----------
    network : PairwiseNetwork
        Symmetric weights, biases, layers and activation.
    low, high : float
        The interval in which states are kept: units at an end are pinned there, as at a kink.

    Raises
    ------
    TypeError
        For couplings that are not symmetric.
    ValueError
        For an empty interval, or a rate with a kink inside it.

    References
    ----------
    B. Scellier, Y. Bengio, Front. Comput. Neurosci. 11, 24 (2017).

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 0.3], [0.3, 0]], [0.2, 0.1], ctebm.Logistic(4, centre=0.5))
    >>> rest = ctebm.settle(ctebm.RateLeakNetwork(pair))
    >>> pair.rate(rest.state)  # where inside, the rate is the current
    tensor([0.2527, 0.1758], dtype=torch.float64)
    """

    box: Box | None
    low: float
    high: float

    def __init__(self, network: PairwiseNetwork, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(network)
        self.low = finite("low", low)
        self.high = finite("high", high, above=self.low, remedy="states lie between low and high")
        inside = [kink for kink in self.activation.kinks if self.low < kink < self.high]
        if inside:
            raise ValueError(
                f"expected a rate without a kink between {self.low:g} and {self.high:g}, got "
                f"{self.activation}, with one at {inside[0]:g}; give low and high between its "
                "kinks."
            )
        self.box = Box(self.low, self.high)

    @looks_once
    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        r, slope = self.activation.rate_and_slope(s)
        return slope * (self.pairwise.current(s) - r)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(self.as_state(v))

    @looks_once
    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        slope, diagonal = self._slope_and_diagonal(s)
        coupling = self.pairwise.coupling
        return lambda v: diagonal * v - slope * coupling(slope * v)

    @looks_once
    def hessian(self, s: Tensor) -> Tensor:
        slope, diagonal = self._slope_and_diagonal(s)
        H = -slope.unsqueeze(-1) * self.pairwise.dense_weight() * slope.unsqueeze(-2)
        H.diagonal(dim1=-2, dim2=-1).add_(diagonal)  # in place, since it is new
        return H

    def first_guess(self) -> Tensor:
        middle = (self.low + self.high) / 2
        return torch.full_like(super().first_guess(), middle)

    def _slope_and_diagonal(self, s: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\rho'` and :math:`\rho'^2 - \rho''(I - \rho)`."""
        s = self._in_samples(s)
        rho = self.activation
        r, slope = rho.rate_and_slope(s)
        away = self.pairwise.current(s) - r
        return slope, slope.square() - rho.second_derivative(s) * away

    def _own(self, s: Tensor) -> Tensor:
        return self.activation(s).square() / 2
