"""What is known of all equilibria beforehand: where they lie, and whether there is one only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.settling import settle_from
from ctebm.networks.base import VectorField, count_units
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["certify_unique", "state_bounds"]


def state_bounds(network: VectorField) -> tuple[Tensor, Tensor]:
    r"""Return bounds ``(unit,)`` between which every fixed point lies.

    With kinks the box. Else :math:`|s_i| \le \max|\rho'|\,\max|I_i|`, the currents being largest
    when every rate is at its end. For an energy of the user's own the bounds are a guess: half as
    far again as where a few settled states lie.
    """
    n = count_units(network)
    ones = torch.ones(n, dtype=network.dtype, device=network.device)
    if network.box is not None:
        return network.box[0] * ones, network.box[1] * ones
    if isinstance(network, PairwiseNetwork):
        slowest, fastest = network.activation.rates
        reach = network.activation.max_slope * _largest_current(network, slowest, fastest)
        if bool(torch.isfinite(reach).all()):
            return -reach, reach
    starts = torch.as_tensor(np.random.default_rng(0).standard_normal((8, n))).to(ones)
    reach = 1.5 * settle_from(network, starts, 1e-6).abs().max() + 0.5
    return -reach * ones, reach * ones


def certify_unique(network: PairwiseNetwork) -> bool:
    r"""Return True if a norm bound proves that there is exactly one equilibrium, else False.

    The energy is strictly convex where
    :math:`\max\rho'^2\,\lambda_{max}(W) + \max|\rho''|\,\max|I| < 1`. False proves nothing.
    """
    n = count_units(network)
    rho = network.activation
    if n <= 4000:
        coupling = max(0.0, float(torch.linalg.eigvalsh(network.dense_weight())[-1]))
    else:  # the largest row sum bounds every eigenvalue
        ones = torch.ones(n, dtype=network.dtype, device=network.device)
        coupling = float(network._map(torch.abs).coupling(ones).max())
    bend = 0.0
    if network.box is None:
        bend = rho.max_curvature * float(_largest_current(network, *rho.rates).max())
    return rho.max_slope**2 * coupling + bend < 1


def _largest_current(network: PairwiseNetwork, slowest: float, fastest: float) -> Tensor:
    """Return a bound on each unit's absolute current, the rates being anywhere in their range."""
    centre = torch.full_like(network.bias, (slowest + fastest) / 2)
    spread = torch.full_like(network.bias, (fastest - slowest) / 2)
    middle = (network.bias + network.coupling(centre)).abs()
    return middle + network._map(torch.abs).coupling(spread)
