r"""The reference gradients as rules."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import Adjoint, Plastic, WeightGradient
from ctebm.learning.rules import Rule, check_steps

__all__ = ["Chain", "ChainFeedback", "Implicit", "ThroughTime"]


@dataclass(frozen=True)
class Chain(Rule):
    r"""The chain gradient, what back-propagation from layer to layer would do.

    :math:`\rho'(s_i)\,g_i\,\rho(s_j)` with the `g` of :func:`~ctebm.chain_gradient`
    (eqs. 22-25), which goes down by the forward weights. It has no change for separate feedback
    weights.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> bias = ctebm.Chain().gradient(plastic, equilibrium, target).biases[-1]
    >>> torch.allclose(bias, (equilibrium.states[-1] - target)[0])
    True
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return _forward_only(network, equilibrium, target, "chain")


@dataclass(frozen=True)
class ChainFeedback(Rule):
    r"""The chain gradient by the weights that the error really goes down by, the feedback.

    :class:`Chain` where the two directions are tied. Where they are not, it is what early motion
    carries, and no gradient: with random feedback it is feedback alignment (Lillicrap et al. 2016).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> turned = ctebm.FeedbackNetwork.at_angle(net, 90)
    >>> plastic, x = ctebm.PlasticNetwork(turned, tied=False), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> rules = ctebm.Early(), ctebm.ChainFeedback(), ctebm.Chain()
    >>> W = [rule.gradient(plastic, equilibrium, target).weights[0] for rule in rules]
    >>> torch.allclose(W[0], W[1]), torch.allclose(W[0], W[2])
    (True, False)
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return _forward_only(network, equilibrium, target, "chain_feedback")


@dataclass(frozen=True)
class Implicit(Rule):
    r"""The gradient of the equilibrium's error.

    :math:`\rho'(s_i)\,g_i\,\rho(s_j)` in both directions, which a tied weight adds, with the `g` of
    :func:`~ctebm.implicit_gradient` (recurrent back-propagation, Almeida 1987, Pineda
    1987). NaN if a sample's equilibrium is not a stable one, which is looked at for tied weights.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> implicit = ctebm.Implicit().gradient(plastic, equilibrium, target)
    >>> [tuple(W.shape) for W in implicit.weights]
    [(4, 5), (5, 3)]
    """

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return network.whole(equilibrium, network.adjoint(equilibrium, target, "implicit"))


@dataclass(frozen=True)
class ThroughTime(Rule):
    """Back-propagation through the last steps of the settling.

    The gradient of the error after `n_steps` free Euler steps from equilibrium, by automatic
    differentiation. With many steps it tends to the implicit gradient (Ernoult et al. 2019).

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
    >>> bptt = ctebm.ThroughTime(n_steps=100).gradient(plastic, equilibrium, target)
    >>> implicit = ctebm.Implicit().gradient(plastic, equilibrium, target)
    >>> torch.allclose(bptt.weights[0], implicit.weights[0])
    True
    """

    eps: float = 0.5
    n_steps: int = 20

    def __post_init__(self) -> None:
        check_steps(self.eps, self.n_steps)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return network.through_time(equilibrium, target, eps=self.eps, n_steps=self.n_steps)


def _forward_only(
    network: Plastic, equilibrium: Equilibrium, target: Tensor, which: Adjoint
) -> WeightGradient:
    """Return the products of a chain, without change for separate feedback weights."""
    found = network.driven(equilibrium, network.adjoint(equilibrium, target, which))
    kept = {name: g for name, g in found.by_name.items() if not name.startswith("feedback.")}
    return WeightGradient(kept)
