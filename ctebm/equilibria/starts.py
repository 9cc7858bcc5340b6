"""The starts of settling: states inside the box, and a motion that can be followed from them."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.base import StateLike, VectorField, free_network
from ctebm.networks.energy import Network, check_energy
from ctebm.networks.layout import broadcast
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["check_motion", "start_state"]


def start_state(network: VectorField, start: StateLike | None) -> Tensor:
    """Return starts as states inside the box, one for each sample, checked."""
    free_network(network)
    s = network.finite_state(network.first_guess() if start is None else start)
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
        raise ValueError(
            f"expected an energy that torch can differentiate, got {str(error).splitlines()[0]!r}; "
            "compute it with torch operations on the state alone."
        ) from error
    if not bool(torch.isfinite(f).all()):
        raise ValueError(
            "expected a finite force at the start, got NaN or infinity; check the parameters, or "
            "start where the energy is smooth."
        )
