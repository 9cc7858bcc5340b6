r"""How often noise carries a network over a saddle: Eyring and Kramers' law, smooth or at kinks.

With :math:`D = \sigma^2/2` the mean time from one well over a saddle to the next is, for small `D`,

.. math:: \tau = \frac{Z_{well}}{Z_{saddle}}\sqrt{\frac{2\pi}{D|\lambda_u|}}\;e^{(E_s - E_w)/D},

where `Z` is a product over directions: :math:`\sqrt{2\pi D/\lambda}` for a smooth one with
curvature :math:`\lambda > 0`, and :math:`D(1/a_{in} + 1/a_{out})` for a unit pinned at a kink, at
which the density is a two-sided exponential (N8). Without pinned units this is the law of Eyring
and Kramers, :math:`\frac{2\pi}{|\lambda_u|}\sqrt{|\det H_s|/\det H_w}\,e^{(E_s - E_w)/D}`.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from ctebm.equilibria.inertia import root_of_rounding
from ctebm.networks.energy import Network
from ctebm.sampling.kinks import margins

__all__ = ["log_weight", "mean_passage_time"]

_LONGEST = math.log(sys.float_info.max)  # a time above it is infinite


def mean_passage_time(network: Network, wells: Tensor, saddles: Tensor, sigma: float) -> float:
    r"""Return the mean time from the first well over all saddles to the last well.

    Over saddles in a row the times add, each with the weight of the wells before it,
    :math:`\sum_k \sum_{j \le k} Z_j e^{-E_j/D}\,\sqrt{2\pi/D|\lambda_k|}\,e^{E_k/D}/Z_k`.

    Parameters
    ----------
    network : Network
        With an energy.
    wells : Tensor, (well, unit)
        The minima in order; the last is where the way ends.
    saddles : Tensor, (saddle, unit)
        The saddles between neighbours.
    sigma : float
        Intensity of the noise, small beside the barriers.

    Returns
    -------
    float
        NaN where an eigenvalue is 0 or a pinned unit has no margin, for which there is no law;
        infinite above 1e308.

    Examples
    --------
    >>> import math, torch, ctebm
    >>> from ctebm.sampling.rates import mean_passage_time
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> wells = torch.tensor([[-0.5, -0.5], [0.5, 0.5]], dtype=torch.float64)
    >>> D = 0.05
    >>> tau = mean_passage_time(pair, wells, torch.zeros(1, 2).double(), math.sqrt(2 * D))
    >>> round(tau / (16 * 3**0.5 * D * math.exp(1 / (4 * D))), 6)
    1.0
    """
    D = sigma * sigma / 2
    weights = [log_weight(network, s, D)[0] - float(network.energy(s)) / D for s in wells[:-1]]
    total = 0.0
    for k, s in enumerate(saddles):
        log_Z, unstable = log_weight(network, s, D)
        before = torch.logsumexp(torch.tensor(weights[: k + 1], dtype=torch.float64), 0)
        flux = log_Z + math.log(D * unstable / (2 * math.pi)) / 2 - float(network.energy(s)) / D
        time = float(before) - flux
        total += math.exp(time) if time < _LONGEST else math.inf
    return total


def log_weight(network: Network, s: Tensor, D: float) -> tuple[float, float]:
    r"""Return :math:`\ln Z` of an equilibrium and the size of its negative eigenvalue.

    Parameters
    ----------
    network : Network
        With an energy.
    s : Tensor, (unit)
        A stable equilibrium, or a saddle with one unstable direction, which `Z` leaves out.
    D : float
        :math:`\sigma^2/2`.

    Returns
    -------
    tuple of float
        The second is 0 at a stable equilibrium. NaN where there is no law.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.rates import log_weight
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.2], ctebm.HardSigmoid())  # curvature 1
    >>> log_weight(unit, torch.tensor([0.2]).double(), D=0.5)
    (0.572..., 0.0)
    """
    pinned, a_in, a_out = margins(network.force, network.box, s)
    free = torch.nonzero(~pinned).flatten()
    lam = torch.linalg.eigvalsh(network.hessian(s)[free][:, free])
    negative = lam[lam < 0]
    zero = root_of_rounding(s.dtype)
    sides = torch.cat([a_in[pinned], a_out[pinned]])
    if len(negative) > 1 or bool((lam.abs() <= zero).any() | (sides <= zero).any()):
        return math.nan, math.nan
    kinked = D * (1 / a_in[pinned] + 1 / a_out[pinned])
    log_Z = (2 * math.pi * D / lam[lam > 0]).log().sum() / 2 + kinked.log().sum()
    return float(log_Z), float(negative.abs().sum())
