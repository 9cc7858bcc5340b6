"""The starts of settling: states inside the box, and a motion that can be followed from them."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import check_tolerance, project
from ctebm.networks.base import StateLike, VectorField, free_network
from ctebm.networks.differentiable import check_force, in_words
from ctebm.networks.energy import Network, check_energy
from ctebm.networks.layout import broadcast
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["check_motion", "check_precision", "start_state"]

# Where the noise of a force is looked for: at so many states, in steps too short for its curvature
# to show in third differences, but longer than a rounding in single precision.
NOISE_STATES, NOISE_STEP = 16, 1e-6
# Third differences of independent errors are so many times as large.
THIRD_DIFFERENCE = 20**0.5


def start_state(network: VectorField, start: StateLike | None) -> Tensor:
    """Return starts as states inside the box, one for each sample, checked."""
    free_network(network)
    s = network.first_guess() if start is None else network.finite_state(start)
    batch = broadcast(start=s.shape[:-1], network=network.batch)
    s = project(network, s.expand(*batch, -1).clone())
    check_motion(network, s)
    return s


def check_motion(network: VectorField, s: Tensor) -> None:
    """Refuse an energy that is not one differentiable number for each state, or without a force."""
    if isinstance(network, PairwiseNetwork):  # closed forms of finite parameters
        return
    if isinstance(network, Network):
        check_energy(network.energy(s), s)
    try:
        f = network.force(s)
    except RuntimeError as error:
        raise in_words(error, "a force") or ValueError(
            f"expected an energy that torch can differentiate, got {str(error).splitlines()[0]!r}; "
            "compute it with torch operations on the state alone."
        ) from error
    check_force(f, s)
    if not bool(torch.isfinite(f).all()):
        raise ValueError(
            "expected a finite force at the start, got NaN or infinity; check the parameters, or "
            "start where the energy is smooth."
        )


def check_precision(network: VectorField, starts: Tensor) -> None:
    """Refuse to tell equilibria apart by a force that is known too coarsely, as in float32.

    Parameters
    ----------
    network : VectorField
        Of one sample.
    starts : Tensor, (start, unit)
        States at which its force is tried.

    Raises
    ------
    ValueError
        With the rounding error, where at most of the states it is above the default tolerance.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.equilibria.starts import check_precision
    >>> net = ctebm.LayeredNetwork.random([3, 2], ctebm.Tanh())
    >>> check_precision(net, torch.rand(4, 5, dtype=torch.float64))
    """
    if isinstance(network, PairwiseNetwork):
        return
    s = starts[:NOISE_STATES].unsqueeze(1)
    steps = torch.arange(4, dtype=s.dtype, device=s.device).unsqueeze(-1)
    f = network.force(s + NOISE_STEP * s.abs().clamp(min=1) * steps).detach()
    third = f[:, 3] - 3 * f[:, 2] + 3 * f[:, 1] - f[:, 0]
    noise = float((third.abs().amax(-1) / THIRD_DIFFERENCE).median())
    if noise > check_tolerance(None, s.dtype):
        kind = str(s.dtype).removeprefix("torch.")
        raise ValueError(
            f"expected a force computed in {kind} throughout, got one with a rounding error of "
            f"about {noise:.1g}, by which no equilibria are told apart; compute every part of it "
            "in the dtype of the state."
        )
