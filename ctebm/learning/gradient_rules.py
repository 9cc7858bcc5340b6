r"""Rules that descend a gradient of the error: nudged equilibria, and the reference gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.early_inference.gradients import back_propagate, implicit_gradient
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.rules import Rule, WeightGradient, check_steps, outer, products
from ctebm.networks.blocks import Blocks
from ctebm.networks.memory import check_memory
from ctebm.networks.numbers import finite

__all__ = ["Chain", "ChainFeedback", "EquilibriumPropagation", "Implicit", "ThroughTime"]

_GRAPH_STATES = 5  # that a step keeps for its gradient, about


@dataclass(frozen=True)
class EquilibriumPropagation(Rule):
    r"""Difference of products between nudged and free equilibria, :math:`/ \beta`.

    Its limit as beta -> 0 is the implicit gradient (Scellier & Bengio 2017); the centred form,
    between nudges of either sign, has an error of second order in beta (Laborieux et al. 2021).

    Parameters
    ----------
    beta : float
        Strength of the nudge.
    centred : bool
        Nudge with beta and -beta.
    tol : float
        Residual of the nudged equilibria.

    Raises
    ------
    ValueError
        For a strength of 0, or of 1 or more.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> rule = ctebm.EquilibriumPropagation(beta=0.01, tol=1e-12)
    >>> implicit = ctebm.Implicit().gradient(plastic, equilibrium, target).weights[0]
    >>> torch.allclose(rule.gradient(plastic, equilibrium, target).weights[0], implicit, rtol=1e-3)
    True
    """

    beta: float = 0.1
    centred: bool = True
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if finite("beta", self.beta, above=-1, below=1) == 0:
            raise ValueError("expected 0 < |beta| < 1, got 0.")
        finite("tol", self.tol, above=0)

    def gradient(
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        up = network.nudge(equilibrium, target, beta=self.beta, tol=self.tol).states
        if not self.centred:
            return _contrast(network, equilibrium.states, up, self.beta)
        down = network.nudge(equilibrium, target, beta=-self.beta, tol=self.tol).states
        return _contrast(network, down, up, 2 * self.beta)


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
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return _chain(network, equilibrium, target, network.weights)


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
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        return _chain(network, equilibrium, target, network.feedback)


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
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        whole, states = network.to_network(), equilibrium.states
        clamped = whole.clamp({next(iter(whole.layers)): states[0]})
        g = implicit_gradient(clamped, torch.cat(states[1:], -1), target)
        slopes = [network.activation.derivative(s) for s in states[1:]]
        parts = g.split(network.sizes[1:], -1)
        delta = [slope * g_i for slope, g_i in zip(slopes, parts, strict=True)]
        gradient = products(network, equilibrium, [torch.zeros_like(states[0]), *delta])
        if network.tied:
            for i in range(1, len(gradient.weights)):
                r_above = network.activation(states[i + 1])
                gradient.weights[i] += outer(delta[i - 1], r_above)
        return gradient


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
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        states = sum(s.numel() for s in equilibrium.states) * target.element_size()
        what = f"the graph of {self.n_steps:,} steps of {len(target):,} samples"
        n_bytes = _GRAPH_STATES * self.n_steps * states
        check_memory(what, n_bytes, "take fewer steps or a smaller batch", target.device)
        copy = network.to(dtype=network.dtype)
        back = [] if network.tied else copy.feedback
        leaves = [*copy.weights, *copy.biases[1:], *back]
        with torch.enable_grad():
            for leaf in leaves:
                leaf.requires_grad_()
            # one node for each direction; the gradients of the two add up where they are tied
            blocks = Blocks(
                copy.activation, copy.weights, [V.view_as(V) for V in copy.feedback], copy.biases
            )
            s = equilibrium.states
            for _ in range(self.n_steps):
                s = _euler_step(blocks, s, self.eps)
            error = (s[-1] - target).square().sum() / (2 * len(target))
            found = torch.autograd.grad(error, leaves, materialize_grads=True)
        n = len(copy.weights)
        return WeightGradient(list(found[:n]), list(found[n : 2 * n]), list(found[2 * n :]))


def _chain(
    network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor, back: Sequence[Tensor]
) -> WeightGradient:
    """Return the chain gradient that goes down by the weights `back`."""
    s, rho = equilibrium.states, network.activation
    responsive = _responsive(network, s, target)
    above = Blocks(rho, network.weights[1:], back[1:], network.biases[1:])
    g = back_propagate(s[-1] - target, responsive, lambda i, v: above.adjoint(i, s[1:], v))
    passed = [c * g_i for c, g_i in zip(responsive, g, strict=True)]
    if rho.box is None:
        passed = [rho.derivative(s_i) * p for s_i, p in zip(s[1:], passed, strict=True)]
    gradient = products(network, equilibrium, [torch.zeros_like(s[0]), *passed])
    return WeightGradient(gradient.weights, gradient.biases, [])


def _contrast(
    network: PlasticNetwork, before: Sequence[Tensor], after: Sequence[Tensor], scale: float
) -> WeightGradient:
    """Return products of rates before minus after, over `scale`."""
    r, q = ([network.activation(s) for s in states] for states in (before, after))
    weights = [(outer(r[i], r[i + 1]) - outer(q[i], q[i + 1])) / scale for i in range(len(r) - 1)]
    biases = [(r_i - q_i).mean(0) / scale for r_i, q_i in zip(r[1:], q[1:], strict=True)]
    return WeightGradient(weights, biases, [] if network.tied else list(weights))


def _responsive(network: PlasticNetwork, s: Sequence[Tensor], target: Tensor) -> list[Tensor]:
    """Return which units above the input carry a small change; outputs, if driven (eq. 12)."""
    box, y = network.activation.box, s[-1]
    if box is None:
        return [torch.ones_like(s_i) for s_i in s[1:]]
    hidden = [box.inside(s_i) for s_i in s[1:-1]]
    return [c.to(y.dtype) for c in (*hidden, ~box.pulled_out(y, target - y))]


def _euler_step(blocks: Blocks, s: Sequence[Tensor], eps: float) -> list[Tensor]:
    """Return the states after one projected Euler step of all layers above the input."""
    r = [blocks.activation(s_i) for s_i in s]
    R = [blocks.pressure(s[i], blocks.current(i, r)) for i in range(1, len(s))]
    moved = [blocks.project(torch.lerp(s_i, R_i, eps)) for s_i, R_i in zip(s[1:], R, strict=True)]
    return [s[0], *moved]
