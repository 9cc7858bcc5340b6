"""The rule of Laborieux & Zenke (2022): nudges of complex strengths, and no error of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.early_inference.analytic import AnalyticField
from ctebm.early_inference.holomorphic import complex_equilibria
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.field_equilibrium import held_at
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.learning.rules import Rule
from ctebm.networks.named import named_tensors, recording, with_leaves
from ctebm.networks.numbers import finite, whole

__all__ = ["HolomorphicPropagation"]


@dataclass(frozen=True)
class HolomorphicPropagation(Rule):
    r"""Mean of :math:`(\partial E/\partial\theta)/\beta_j` at nudges of complex strength.

    .. math:: \frac{dC}{d\theta} = \frac1N \sum_j \frac{1}{\beta_j}
        \frac{\partial E}{\partial\theta}\bigl(z(\beta_j)\bigr) + O(\beta^N), \qquad
        \beta_j = \beta\,e^{2\pi i j/N}

    The implicit gradient, up to rounding for a few points, where equilibrium propagation leaves an
    error of :math:`O(\beta)` or :math:`O(\beta^2)`. For smooth rates and any analytic energy; a
    network of 1984 takes a cost of its rates,
    :class:`~ctebm.early_inference.costs.OfRates`.

    Parameters
    ----------
    beta : float
        Radius of the circle of strengths.
    points : int
        Strengths on it, `N`.
    tol : float
        Residual of the nudged equilibria.

    Raises
    ------
    ValueError
        For a radius that is not in (0, 1); in use as for :func:`ctebm.holomorphic_gradient`.

    References
    ----------
    A. Laborieux, F. Zenke, NeurIPS 35 (2022).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.Tanh(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-14), torch.eye(3)[:1].double() / 4
    >>> rules = ctebm.HolomorphicPropagation(beta=0.1, points=10), ctebm.Implicit()
    >>> W = [rule.gradient(plastic, equilibrium, target).weights[0] for rule in rules]
    >>> torch.allclose(*W, rtol=0, atol=1e-10)
    True
    """

    beta: float = 0.1
    points: int = 6
    tol: float = 1e-12

    def __post_init__(self) -> None:
        finite("beta", self.beta, above=0, below=1)
        whole("points", self.points, least=1)
        finite("tol", self.tol, above=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        held, s = held_at(network, equilibrium)
        cost = getattr(network, "cost_function", None)
        ends = complex_equilibria(held, s, target, self.beta, self.points, cost, tol=self.tol)
        if self.points == 1:  # more points sum to 0 of themselves
            ends.append((-1 / self.beta, torch.complex(s, torch.zeros_like(s))))
        own = with_leaves(network.to_network())
        parameters = named_tensors(own)
        with recording(parameters):
            field = AnalyticField(own.clamp({next(iter(own.layers)): equilibrium.states[0]}))
            terms = [(factor * field.energy(z)).real.mean() for factor, z in ends]
            leaves = list(parameters.values())
            found = torch.autograd.grad(torch.stack(terms).sum(), leaves, materialize_grads=True)
        by_name = dict(zip(parameters, found, strict=True))
        if isinstance(network, PlasticNetwork):
            weights = [by_name[f"weights.{i}"] for i in range(len(own.layers) - 1)]
            above = list(own.layers.values())[1:]
            biases = [by_name["bias"][where] for where in above]
            return WeightGradient.of_layers(weights, biases)
        learned = network.parameters
        return WeightGradient({name: g for name, g in by_name.items() if name in learned})
