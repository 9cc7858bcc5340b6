r"""The Metropolis-adjusted Langevin algorithm: Langevin steps without a bias of the step size.

An Euler-Maruyama step is taken as a proposal, and accepted with the probability that makes
:math:`e^{-2E/\sigma^2}` stationary at every :math:`\epsilon` (Roberts & Tweedie 1996).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.seeding import Seeding
from ctebm.dynamics.streams import Blocks, Streams
from ctebm.networks.energy import Network
from ctebm.sampling.moments import Moments

__all__ = ["adjusted_chains", "check_energy", "energy_and_force"]

_ACCEPTING = (2,)  # the purpose of the stream that decides, as words of its name


def adjusted_chains(
    dynamics: Dynamics,
    s: Tensor,
    eps: Tensor,
    draws: Sequence[int],
    burn_in: int,
    source: Seeding,
    moments: Moments,
) -> tuple[Tensor, Tensor]:
    r"""Run the chains, and return their last states and the share of steps that were accepted.

    A proposal :math:`p = s + \epsilon f(s) + \sigma\sqrt\epsilon\,\xi` is accepted with the
    probability :math:`\min(1, e^a)`,

    .. math:: a = \frac{2}{\sigma^2}\left(E(s) - E(p)\right)
              + \frac{|\sigma\sqrt\epsilon\,\xi|^2 - |s - p - \epsilon f(p)|^2}{2\sigma^2\epsilon}.

    Parameters
    ----------
    dynamics : Dynamics
        With an energy and Langevin noise in every sample.
    s : Tensor, ``(chain, *sample, unit)``
        The first states.
    eps : Tensor
        Step size, ``()`` or ``(chain, *sample, 1)``.
    draws : sequence of int
        Numbers of the steps whose states are draws, the last step among them.
    burn_in : int
        Steps before the first draw counts.
    source : Seeding
        Where the noise comes from.
    moments : Moments
        What takes the draws.
    """
    n_steps, rows = draws[-1], s.shape[:-1]
    sigma, kept = dynamics.sigma, set(draws)
    intensity = (sigma * eps.sqrt()).expand(*rows, 1).reshape(-1, 1)
    assert source.seed is not None
    deciding = Streams(source.seed, source.samples, _ACCEPTING, 1, torch.float64)
    deciding = Blocks(deciding, torch.float64, s.device, 0, n_steps, None, None)
    accepted = torch.zeros(rows, dtype=torch.float64, device=s.device)
    E, f = energy_and_force(dynamics, s)
    with source.noise(s, 0, n_steps, METHODS["euler"], intensity) as brownian:
        for step in range(1, n_steps + 1):
            noise = brownian.increment().reshape(s.shape)
            p = s + eps * f + noise
            E_p, f_p = energy_and_force(dynamics, p)
            back = s - p - eps * f_p
            unlike = noise.square().sum(-1) - back.square().sum(-1)
            a = ((E - E_p) + unlike / (4 * eps).squeeze(-1)) * (2 / sigma.square()).squeeze(-1)
            # a standard normal's distribution function of itself is uniform
            yes = torch.special.log_ndtr(deciding.next()).reshape(rows) <= a
            s, f = (torch.where(yes.unsqueeze(-1), new, old) for new, old in ((p, s), (f_p, f)))
            E = torch.where(yes, E_p, E)
            if step > burn_in:
                accepted += yes
            if step in kept:
                moments.save([step], s.unsqueeze(0), 0)
    deciding.close()
    return s, accepted / (n_steps - burn_in)


def check_energy(dynamics: Dynamics) -> None:
    """Refuse a motion that does not go down an energy.

    Raises
    ------
    ValueError
        If its network has none, or a layer is driven.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.sampling.mala import check_energy
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> check_energy(ctebm.Dynamics(unit, drive={"s": [1.0]}))
    Traceback (most recent call last):
    ValueError: a driven layer does not go down the energy of the others...
    """
    if not isinstance(dynamics.network, Network):
        raise ValueError(
            "expected a network whose force is that of an energy, got "
            f"{type(dynamics.network).__name__}; take "
            "method='euler'."
        )
    if dynamics.drive:
        raise ValueError(
            "a driven layer does not go down the energy of the others, so that the motion has "
            "none; nudge or clamp the layer, or take method='euler'."
        )
    if dynamics.noise != "langevin":
        raise ValueError(
            "the map with synaptic noise is no Langevin step and has no density of an energy; take "
            "method='euler'."
        )


def energy_and_force(dynamics: Dynamics, s: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the energy with that of nudges, :math:`E + \beta|y^* - y|^2/2`, and its force.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.mala import energy_and_force
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> nudged = ctebm.Dynamics(unit, nudge={"s": [1.0]}, beta=0.5)
    >>> energy_and_force(nudged, torch.zeros(1, dtype=torch.float64))[0]
    tensor(0.2500, dtype=torch.float64)
    """
    assert isinstance(dynamics.network, Network)
    E, f = dynamics.network.energy_and_force(s)
    for name, target in dynamics.nudge.items():
        where = dynamics.network.layers[name]
        away = target - s[..., where]
        E = E + (dynamics.beta / 2 * away.square()).sum(-1)
        f = f.clone()
        f[..., where] += dynamics.beta * away
    return E, f
