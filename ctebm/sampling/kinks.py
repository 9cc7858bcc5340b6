r"""What kinks cost Euler-Maruyama: the drift jumps where a unit rests, and a step does not see it.

At a pinned unit the drift is :math:`-a_{out}` outside the box and :math:`a_{in}` inside, so that
its stationary density is a two-sided exponential of width :math:`\sigma^2/2a`. A step that moves
further than that, :math:`\epsilon a \gg \sigma^2/a`, makes the density as wide as itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.dynamics.integrate import simulate
from ctebm.dynamics.sde import Dynamics
from ctebm.networks.kinks import Box

__all__ = ["ACCEPTED", "kink_number", "margins"]

# The relative bias of a pinned unit's variance is 6 % here, and falls faster than in proportion.
ACCEPTED = 0.05
# How far from a kink the drifts on its two sides are taken, in roundings.
_BESIDE = 64
# Chains are followed without noise to where they rest: steps, and their size.
_STEPS, _EPS = 400, 0.05
_CHAINS = 16


def margins(
    drift: Callable[[Tensor], Tensor], box: Box | None, s: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which units of an equilibrium are pinned, and their drifts inside and outside.

    Parameters
    ----------
    drift : callable
        Of states, such as the force of a network.
    box : Box or None
        The kinks.
    s : Tensor, (*batch, unit)
        The equilibrium.

    Returns
    -------
    tuple of Tensor
        Truth values, ``a_in`` and ``a_out``, ``(*batch, unit)`` each; both are positive where a
        unit is pinned and 0 elsewhere.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.kinks import margins
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.8], ctebm.HardSigmoid())
    >>> found = margins(unit.force, unit.box, torch.tensor([0.5], dtype=torch.float64))
    >>> [round(float(a), 6) for a in found]
    [1.0, 0.3, 0.5]
    """
    if box is None:
        return torch.zeros_like(s, dtype=torch.bool), torch.zeros_like(s), torch.zeros_like(s)
    s = box.project(s)
    pinned = box.pinned(s, drift(s))
    side = box.side(s).to(s) * pinned
    beside = _BESIDE * torch.finfo(s.dtype).eps * s.abs().clamp(min=1.0) * side
    inside, outside = side * drift(s - beside), -side * drift(s + beside)
    return pinned, inside.clamp(min=0), outside.clamp(min=0)


def kink_number(dynamics: Dynamics, s: Tensor, eps: Tensor) -> Tensor:
    r"""Return the largest :math:`\kappa = \epsilon a^2/\sigma^2` over the pinned units.

    `a` is the larger of the two drifts that hold a unit at its kink, where the chains rest once
    their noise is off. The relative bias of a pinned unit's variance under Euler-Maruyama is
    1.4 % at 0.0125, 6 % at 0.05, 38 % at 0.25 and 319 % at 1.25 (N6).

    Parameters
    ----------
    dynamics : Dynamics
        The motion, with Langevin noise.
    s : Tensor, ``(chain, *sample, unit)``
        States of chains; the first 16 chains are looked at.
    eps : Tensor
        Step size, ``()`` or ``(chain, *sample, 1)``.

    Returns
    -------
    Tensor, (*sample)
        0 where no unit is pinned.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.kinks import kink_number
    >>> unit = ctebm.DenseNetwork([[0.0]], [1.0], ctebm.HardSigmoid())
    >>> start = torch.zeros(1, 1, dtype=torch.float64)
    >>> kink_number(ctebm.Dynamics(unit, sigma=0.1), start, torch.tensor(0.05))
    tensor(1.2500, dtype=torch.float64)
    """
    if dynamics.network.box is None:
        return s.new_zeros(s.shape[1:-1])
    quiet, few = dynamics.without_noise(), s[:_CHAINS]
    if any(n not in (1, m) for n, m in zip(quiet.batch[::-1], few.shape[-2::-1], strict=False)):
        few = s  # chains have targets of their own
    rest = simulate(quiet, few, n_steps=_STEPS, eps=_EPS, save_every=_STEPS).state[-1]
    _, a_in, a_out = margins(lambda s: quiet.f(0, s), quiet.box(rest), rest)
    largest = torch.maximum(a_in, a_out).amax(-1)  # (chain, *sample)
    noise = (dynamics.sigma.square() / eps).expand(*s.shape[:-1], 1).squeeze(-1)
    return largest.square().amax(0) / noise.amin(0)
