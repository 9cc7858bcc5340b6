"""A look at a network between epochs: units at kinks, and the rule beside reference gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.gradient_rules import Chain, ChainFeedback, Implicit, ThroughTime
from ctebm.learning.plastic import Plastic
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.learning.rules import Rule
from ctebm.networks.couplings import UnknownChain
from ctebm.networks.drives import UnknownDrive

__all__ = ["REFERENCES", "kink_shares", "probe"]

REFERENCES: dict[str, Rule] = {
    "chain": Chain(), "chain_feedback": ChainFeedback(), "implicit": Implicit(),
    "bptt": ThroughTime(),
}  # fmt: skip
_TOL, _MAX_SWEEPS = 1e-9, 2000  # float64 at near full precision, to judge the rule and not this


def probe(network: Plastic, rule: Rule, x: Tensor, target: Tensor) -> dict[str, Any]:
    """Return what a rule and the kinks do to some samples, in float64.

    Parameters
    ----------
    network : Plastic
        The parameters.
    rule : Rule
        What is held against :data:`REFERENCES`.
    x : Tensor, (sample, input unit)
        Input states.
    target : Tensor, (sample, output unit)
        Target states.

    Returns
    -------
    dict
        ``alignment``, the cosine with each reference, one a pair of layers or a parameter; the
        shares of :func:`kink_shares`; of layers coupled as in eq. 6 ``symmetry``, the cosine of the
        two directions, one a pair of layers.
    """
    exact = network.to(dtype=torch.float64)
    target = target.double() if target.is_floating_point() else target
    equilibrium = exact.settle(x.double(), tol=_TOL, max_sweeps=_MAX_SWEEPS)
    reads = getattr(rule, "rule", rule)  # what a rule around another one leaves to it
    change = exact.drive(
        equilibrium, target, eps=getattr(reads, "eps", 0.1), n_steps=getattr(reads, "n_steps", None)
    )
    found = {
        "alignment": _alignment(exact, rule, equilibrium, target),
        **kink_shares(exact, equilibrium, change),
    }
    if isinstance(network, PlasticNetwork):
        # what goes back to a clamped input is neither used nor changed
        pairs = zip(network.weights[1:], network.feedback[1:], strict=True)
        found["symmetry"] = [math.nan, *(_cosine(W, V) for W, V in pairs)]
    return found


def kink_shares(
    network: Plastic, equilibrium: Equilibrium, change: Sequence[Tensor]
) -> dict[str, Any]:
    """Return what kinks do to a batch at equilibrium, and to its early motion.

    Parameters
    ----------
    network : Plastic
        The parameters.
    equilibrium : Equilibrium
        The states of the batch.
    change : sequence of Tensor, (batch, size)
        How far each layer moves, input first; see :meth:`Plastic.drive`.

    Returns
    -------
    dict
        ``pinned`` and ``dead``, the shares of units at a kink and of those there in every sample,
        one a hidden layer; ``crossed``, the share of samples in which a hidden unit meets or
        leaves a kink. Zero without kinks.
    """
    held = network.at_kink(equilibrium.states)[1:-1]
    moved = [s + d for s, d in zip(equilibrium.states, change, strict=True)]
    crossed = torch.zeros(len(equilibrium.states[0]), dtype=torch.bool, device=network.device)
    for k, after in zip(held, network.at_kink(moved)[1:-1], strict=True):
        crossed |= (after != k).any(-1)
    return {
        "pinned": [float(k.double().mean()) for k in held],
        "dead": [float(k.all(0).double().mean()) for k in held],
        "crossed": float(crossed.double().mean()),
    }


def _alignment(
    network: Plastic, rule: Rule, equilibrium: Equilibrium, target: Tensor
) -> list[list[float]]:
    """Return the cosine with each reference, one a connection; NaN where it has no meaning."""
    keys = [names[0] for names in network.groups.values()]
    mine = rule.gradient(network, equilibrium, target).by_name
    found = []
    for name, reference in REFERENCES.items():
        if network.tied and name == "chain_feedback":  # then it is the chain gradient
            found.append([math.nan] * len(keys))
            continue
        try:
            theirs = reference.gradient(network, equilibrium, target).by_name
        except (UnknownChain, UnknownDrive):  # of layers coupled past others and within
            theirs = {}
        found.append(
            [
                _cosine(mine[key], theirs[key]) if key in mine and key in theirs else math.nan
                for key in keys
            ]
        )
    return found


def _cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two arrays; NaN if one vanishes."""
    return float((a * b).sum() / (a.norm() * b.norm()))
