r"""Rules of predictive coding that are back-propagation: fixed predictions, zero divergence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ctebm.early_inference.gradients import responsive_units
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.early_rules import Early
from ctebm.learning.field_equilibrium import FieldEquilibrium
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_field import PlasticField
from ctebm.learning.rules import Rule, check_steps
from ctebm.networks.predictive import PredictiveNetwork

__all__ = ["FixedPrediction", "ZeroDivergence"]


@dataclass(frozen=True)
class ZeroDivergence(Rule):
    """Zero-divergence inference learning: each weight changes when the error first reaches it.

    Inference with steps of one time constant, the weights below depth `k` read at step `k + 1`:
    :class:`Early` with ``eps=1``, which is back-propagation exactly.

    References
    ----------
    Y. Song et al., "Can the brain do backpropagation?", NeurIPS 33 (2020).

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]]], [[0], [1]], ctebm.Identity())  # y = 2 x + 1
    >>> plastic = ctebm.PlasticField(net)
    >>> rest = plastic.settle(torch.ones(1, 1).double(), tol=1e-9)
    >>> ctebm.ZeroDivergence().gradient(plastic, rest, torch.zeros(1, 1)).weights  # (y - 0) x
    [tensor([[3.]], dtype=torch.float64)]
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        _predictive(network, self)
        return Early(eps=1.0).gradient(network, equilibrium, target)


@dataclass(frozen=True)
class FixedPrediction(Rule):
    r"""Inference learning with predictions held at the forward pass.

    The output's error is that of its target; the errors below follow
    :math:`\dot e_k = (\partial\hat s_{k-1}/\partial s_k)'e_{k-1} - e_k`, with predictions and
    slopes fixed, and after `n` steps weights change by error times rate. As `n` grows that is
    back-propagation.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int
        Steps.

    References
    ----------
    J. Whittington and R. Bogacz, Neural Comput. 29, 1229 (2017); B. Millidge et al., Neural
    Comput. 34, 1329 (2022).

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.PredictiveNetwork.random([4, 5, 3], ctebm.SignedTanh())
    >>> plastic, x = ctebm.PlasticField(net), torch.full((1, 4), 0.2).double()
    >>> rest, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double()
    >>> rules = ctebm.FixedPrediction(eps=0.5, n_steps=60), ctebm.Chain()
    >>> W = [rule.gradient(plastic, rest, target).weights[0] for rule in rules]
    >>> torch.allclose(*W)
    True
    """

    eps: float = 0.1
    n_steps: int = 100

    def __post_init__(self) -> None:
        check_steps(self.eps, self.n_steps)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        rest = _predictive(network, self, equilibrium)
        held, layers = rest.held, list(rest.held.layers.values())
        error = network.error(equilibrium, target)
        e = torch.zeros_like(rest.state)
        e[..., layers[-1]] = error
        carries = responsive_units(held, rest.state, rest.states[-1] - error).to(e.dtype)
        with torch.no_grad():
            for _ in range(self.n_steps):
                back = torch.zeros_like(e)
                for below, above in pairwise(layers):
                    sent = torch.zeros_like(e)
                    sent[..., above] = carries[..., above] * e[..., above]
                    back[..., below] = held.adjoint_product(rest.state, sent)[..., below]
                moved = e + self.eps * (carries * back - e)
                moved[..., layers[-1]] = error
                e = moved
        x, *above = equilibrium.states
        return network.driven(
            equilibrium, [torch.zeros_like(x), *e.split([h.shape[-1] for h in above], -1)]
        )


def _predictive(
    network: Plastic, rule: Rule, equilibrium: Equilibrium | None = None
) -> FieldEquilibrium:
    """Return the equilibrium of predictive coding, or refuse another network."""
    own = isinstance(network, PlasticField) and isinstance(network.network, PredictiveNetwork)
    if not own or not (equilibrium is None or isinstance(equilibrium, FieldEquilibrium)):
        raise ValueError(
            f"{type(rule).__name__} needs predictive coding, whose errors vanish at rest; give a "
            "PredictiveNetwork, or take Early()."
        )
    # None where none was given, and then nobody reads it
    return equilibrium  # pyright: ignore[reportReturnType]
