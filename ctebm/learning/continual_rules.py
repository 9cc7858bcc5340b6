"""Rules whose weights move together with the states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.early_inference.nudged import nudged
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.field_equilibrium import moved_to
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.rules import Rule, check_steps
from ctebm.networks.numbers import finite

__all__ = ["ContinualEquilibriumPropagation"]


@dataclass(frozen=True)
class ContinualEquilibriumPropagation(Rule):
    r"""Equilibrium propagation whose weights move in every step of the nudged phase.

    From the free equilibrium, states and parameters step together:

    .. math::
        s_{t+1} &= s_t + \epsilon\,f_\beta(s_t, \theta_t), \\
        \theta_{t+1} &= \theta_t - \frac{\eta}{\beta} \left[
            \frac{\partial E}{\partial\theta}(s_{t+1}, \theta_t)
            - \frac{\partial E}{\partial\theta}(s_t, \theta_t)\right],

    so that no weight needs to remember the free phase. What is returned is
    :math:`(\theta_0 - \theta_n)/\eta`; plain gradient descent with the learning rate
    :math:`\eta` comes to :math:`\theta_n`. As :math:`\eta/\beta` and :math:`\beta` vanish it is
    the gradient through the last `n` steps of settling, :class:`ThroughTime`, from which it is off
    by the order of each. A motion without an energy takes the product of its force with
    :math:`s_t - s_{t+1}`.

    Parameters
    ----------
    beta : float
        Strength of the nudge.
    eps : float
        Step size of the states.
    n_steps : int
        Steps of the nudged phase.
    rate : float
        Learning rate :math:`\eta` in the nudged phase, far below beta.

    Raises
    ------
    ValueError
        For a strength of 0, or of 1 or more, steps or a rate out of range.

    References
    ----------
    M. Ernoult et al., "Equilibrium propagation with continual weight updates", arXiv:2005.04168
    (2020).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> rule = ctebm.ContinualEquilibriumPropagation(beta=1e-4, n_steps=10, rate=1e-8)
    >>> rules = rule, ctebm.ThroughTime(n_steps=10)
    >>> W = [rule.gradient(plastic, equilibrium, target).weights[0] for rule in rules]
    >>> torch.allclose(*W, rtol=1e-2)
    True
    """

    beta: float = 0.1
    eps: float = 0.5
    n_steps: int = 20
    rate: float = 1e-4

    def __post_init__(self) -> None:
        if finite("beta", self.beta, above=-1, below=1) == 0:
            raise ValueError("expected 0 < |beta| < 1, got 0.")
        check_steps(self.eps, self.n_steps)
        finite("rate", self.rate, above=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        moving, cost = network.to(dtype=network.dtype), getattr(network, "cost_function", None)
        x, *above = equilibrium.states
        before, s = equilibrium, torch.cat(above, -1)
        with torch.no_grad():
            for _ in range(self.n_steps):
                whole = moving.to_network()
                held = whole.clamp({next(iter(whole.layers)): x})
                s = s + self.eps * nudged(held, target, self.beta, cost).force(s)
                s = s if held.box is None else held.box.project(s)
                after = moved_to(before, s)
                update = moving.contrast(before, before, after, self.beta).by_name
                for name, g in update.items():
                    moving.parameters[name] -= self.rate * g
                before = after
        last = moving.parameters
        return WeightGradient(
            {name: (p - last[name]) / self.rate for name, p in network.parameters.items()}
        )
