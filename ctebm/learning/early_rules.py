r"""Rules that read the first moments after the target arrives: eq. 26 and its relatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctebm.early_inference.laws import first_arrival_coefficient
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_layers import outer
from ctebm.learning.rules import Rule, check_steps, in_layers

__all__ = ["Early", "Presynaptic", "Symmetric", "XieSeung"]


@dataclass(frozen=True)
class _Compensated(Rule):
    """A rule that reads the early phase, its layers compensated for their depth."""

    eps: float = 0.1
    n_steps: int | None = None
    compensated: bool = True

    def __post_init__(self) -> None:
        check_steps(self.eps, self.n_steps)

    def coefficients(self, network: Plastic) -> list[float]:
        """Return :math:`a_k(n)` of each layer, input first; 1 where nothing has arrived."""
        if not self.compensated:
            return [1.0] * len(network.sizes)
        depth = np.array(network.depths)
        n = depth + 1 if self.n_steps is None else self.n_steps
        a = first_arrival_coefficient(depth, n, self.eps)
        return np.where(a > 0, a, 1.0).tolist()


@dataclass(frozen=True)
class Early(_Compensated):
    r"""The rule of eq. 26, :math:`\Delta W_{ij} \propto \dot s_i\,\rho(s_j)`, in the first moments.

    From equilibrium, the output is driven towards its target (eq. 12) for `n` steps, and

    .. math:: \Delta W_{ij} = \frac{s_i(n) - s_i(0)}{a_k(n)}\,\rho(s_j(0)),

    with :math:`a_k(n)` of :func:`~ctebm.first_arrival_coefficient` as the compensation for depth
    that the paper asks of the layers' rates (section 3.2). Rates before the synapse are held
    at their equilibrium: they begin to move after the state behind it. Of any other network a
    parameter gets the product of the force of the layer that it drives with that layer's own
    :math:`-(s(n) - s(0))/a_k(n)`, which for predictive coding is back-propagation's gradient.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int, optional
        Steps; None reads every layer at its own first arrival, ``n = k + 1``, where the rule is
        the chain gradient unless a unit meets a kink.
    compensated : bool
        Divide by :math:`a_k(n)`; else layers need learning rates of their own.
    slope : bool
        Multiply by :math:`\rho'(s_i)`, the factor that eq. 26 leaves out and the gradient has; for
        a hard sigmoid it is 1 between the kinks. Of a network that is not in layers coupled as in
        eq. 6 the force has its own factors.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> early = ctebm.Early(eps=0.1).gradient(plastic, equilibrium, target)
    >>> chain = ctebm.Chain().gradient(plastic, equilibrium, target)
    >>> torch.allclose(early.weights[0], chain.weights[0])
    True
    """

    slope: bool = False

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        change = network.drive(equilibrium, target, eps=self.eps, n_steps=self.n_steps)
        delta = [-d / a_k for d, a_k in zip(change, self.coefficients(network), strict=True)]
        return network.driven(equilibrium, delta, slope=self.slope)


@dataclass(frozen=True)
class XieSeung(_Compensated):
    r"""Differential anti-Hebbian change, :math:`-\rho(s_j)\,d\rho(s_i)/dt` (Xie & Seung 2000).

    A synapse that is depressed when the spike before it leads and potentiated when it lags changes
    by minus the derivative of the rate *after* it, times the rate before it. That is eq. 26 with
    the other sign, which with a target climbs the error; there it holds an activity where it is.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int, optional
        Steps; None reads every layer at its own first arrival.
    compensated : bool
        Divide by the :math:`a_k(n)` of the unit after the synapse.

    References
    ----------
    X. Xie and H. S. Seung, "Spike-based learning rules and stabilization of persistent neural
    activity", NIPS 12, 199-208 (2000).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> anti = ctebm.XieSeung(eps=0.1).gradient(plastic, equilibrium, target)
    >>> early = ctebm.Early(eps=0.1).gradient(plastic, equilibrium, target)
    >>> torch.equal(anti.weights[0], -early.weights[0])
    True
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        network = in_layers(network, self)
        moved = network.drive(equilibrium, target, eps=self.eps, n_steps=self.n_steps)
        each = zip(equilibrium.states, moved, self.coefficients(network), strict=True)
        change = [network.rate_change(i, s, d) / a_k for i, (s, d, a_k) in enumerate(each)]
        return network.driven(equilibrium, change, slope=False)


@dataclass(frozen=True)
class Presynaptic(_Compensated):
    r"""Presynaptic change times postsynaptic rate, :math:`\rho(s_i)\,d\rho(s_j)/dt`.

    Eq. 26 with the ends of the synapse exchanged. The clamped input does not change, so that its
    weights do not learn, and neither do biases.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int, optional
        Steps; None reads every layer at its own first arrival.
    compensated : bool
        Divide by the :math:`a_k(n)` of the unit before the synapse.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> mirror = ctebm.Presynaptic(eps=0.1).gradient(plastic, equilibrium, target)
    >>> [bool(W.any()) for W in mirror.weights]
    [False, True]
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        network = in_layers(network, self)
        moved = network.drive(equilibrium, target, eps=self.eps, n_steps=self.n_steps)
        r = network.rates(equilibrium.states)
        each = zip(equilibrium.states, moved, self.coefficients(network), strict=True)
        change = [-network.rate_change(i, s, d) / a_k for i, (s, d, a_k) in enumerate(each)]
        return WeightGradient.of_layers(
            [outer(d_j, r_i) for d_j, r_i in zip(change[:-1], r[1:], strict=True)],
            [torch.zeros_like(b) for b in network.biases[1:]],
            [] if network.tied else
            [outer(d_j, r_i).mT for d_j, r_i in zip(change[1:], r[:-1], strict=True)],
        )  # fmt: skip


@dataclass(frozen=True)
class Symmetric(Rule):
    r"""The symmetric form :math:`d[\rho(s_i)\rho(s_j)]/dt`, integrated over the early phase.

    It integrates to a difference of products, the contrastive rule (Scellier & Bengio 2017), and
    is the sum of eq. 26 with :math:`\rho'(s_i)` in both directions. It is not compensated, since
    its two ends lie at different depths.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int
        Steps.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> early = ctebm.Early(n_steps=1, compensated=False).gradient(plastic, equilibrium, target)
    >>> both = ctebm.Symmetric(eps=0.1, n_steps=1).gradient(plastic, equilibrium, target)
    >>> torch.allclose(both.weights[1], early.weights[1])  # after a step only the output has moved
    True
    """

    eps: float = 0.5
    n_steps: int = 10

    def __post_init__(self) -> None:
        check_steps(self.eps, self.n_steps)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        network = in_layers(network, self)
        moved = network.drive(equilibrium, target, eps=self.eps, n_steps=self.n_steps)
        r = network.rates(equilibrium.states)
        each = enumerate(zip(equilibrium.states, moved, strict=True))
        d = [network.rate_change(i, s, d) for i, (s, d) in each]
        weights = [
            -outer(d[i], r[i + 1] + d[i + 1]) - outer(r[i], d[i + 1]) for i in range(len(r) - 1)
        ]
        return WeightGradient.of_layers(
            weights, [-d_i.mean(0) for d_i in d[1:]], [] if network.tied else list(weights)
        )
