"""A look at a network between epochs: units at kinks, and the rule beside reference gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.gradient_rules import Chain, ChainFeedback, Implicit, ThroughTime
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.rules import Rule

__all__ = ["REFERENCES", "kink_shares", "probe"]

REFERENCES: dict[str, Rule] = {
    "chain": Chain(), "chain_feedback": ChainFeedback(), "implicit": Implicit(),
    "bptt": ThroughTime(),
}  # fmt: skip
_TOL, _MAX_SWEEPS = 1e-9, 2000  # float64 at near full precision, to judge the rule and not this


def probe(network: PlasticNetwork, rule: Rule, x: Tensor, target: Tensor) -> dict[str, Any]:
    """Return what a rule and the kinks do to some samples, in float64.

    Parameters
    ----------
    network : PlasticNetwork
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
        ``alignment``, the cosine with each reference, one a pair of layers; the shares of
        :func:`kink_shares`; ``symmetry``, the cosine of the two directions, one a pair of layers.
    """
    exact, target = network.to(dtype=torch.float64), target.double()
    equilibrium = exact.settle(x.double(), tol=_TOL, max_sweeps=_MAX_SWEEPS)
    change = exact.drive(
        equilibrium, target, eps=getattr(rule, "eps", 0.1), n_steps=getattr(rule, "n_steps", None)
    )
    # what goes back to a clamped input is neither used nor changed
    pairs = zip(network.weights[1:], network.feedback[1:], strict=True)
    return {
        "alignment": _alignment(exact, rule, equilibrium, target),
        **kink_shares(exact, equilibrium, change),
        "symmetry": [math.nan, *(_cosine(W, V) for W, V in pairs)],
    }


def kink_shares(
    network: PlasticNetwork, equilibrium: Equilibrium, change: Sequence[Tensor]
) -> dict[str, Any]:
    """Return what kinks do to a batch at equilibrium, and to its early motion.

    Parameters
    ----------
    network : PlasticNetwork
        The parameters.
    equilibrium : Equilibrium
        The states of the batch.
    change : sequence of Tensor, (batch, size)
        How far each layer moves, input first; see :meth:`PlasticNetwork.drive`.

    Returns
    -------
    dict
        ``pinned`` and ``dead``, the shares of units at a kink and of those there in every sample,
        one a hidden layer; ``crossed``, the share of samples in which a hidden unit meets or
        leaves a kink. Zero without kinks.
    """
    hidden = equilibrium.states[1:-1]
    held = [_at_kink(network, s) for s in hidden]
    crossed = torch.zeros(len(equilibrium.states[0]), dtype=torch.bool, device=network.device)
    for s, d, k in zip(hidden, change[1:-1], held, strict=True):
        crossed |= (_at_kink(network, s + d) != k).any(-1)
    return {
        "pinned": [float(k.double().mean()) for k in held],
        "dead": [float(k.all(0).double().mean()) for k in held],
        "crossed": float(crossed.double().mean()),
    }


def _alignment(
    network: PlasticNetwork, rule: Rule, equilibrium: Equilibrium, target: Tensor
) -> list[list[float]]:
    """Return the cosine with each reference, one a pair of layers; NaN where it has no meaning."""
    mine = rule.gradient(network, equilibrium, target).weights
    found = []
    for name, reference in REFERENCES.items():
        if not (network.tied and name == "chain_feedback"):  # then it is the chain gradient
            theirs = reference.gradient(network, equilibrium, target).weights
            found.append([_cosine(a, b) for a, b in zip(mine, theirs, strict=True)])
        else:
            found.append([math.nan] * len(mine))
    return found


def _at_kink(network: PlasticNetwork, s: Tensor) -> Tensor:
    box = network.activation.box
    return torch.zeros_like(s, dtype=torch.bool) if box is None else ~box.inside(s)


def _cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two arrays; NaN if one vanishes."""
    return float((a * b).sum() / (a.norm() * b.norm()))
