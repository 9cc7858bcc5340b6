r"""Weight changes of eq. 26 and its relatives, and the gradients they are held against.

A rule looks at a batch at rest and its target, and returns a gradient for an optimiser to descend;
a change of a weight that a rule asks for is minus that. All are means over the batch of changes
for one sample. Letters: `i` after the synapse, `j` before it; `k` the depth of `i`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ctebm.early_inference.gradients import implicit_gradient
from ctebm.early_inference.laws import first_arrival_coefficient
from ctebm.equilibria.alternating import Rest
from ctebm.learning.plastic import PlasticNetwork

__all__ = [
    "RULES",
    "Chain",
    "Early",
    "EquilibriumPropagation",
    "Implicit",
    "Rule",
    "Symmetric",
    "ThroughTime",
    "WeightGradient",
    "XieSeung",
]


@dataclass(frozen=True)
class WeightGradient:
    """What an optimiser descends, input first.

    Attributes
    ----------
    weights, biases : list of Tensor
        For ``PlasticNetwork.weights`` and ``PlasticNetwork.biases[1:]``.
    feedback : list of Tensor
        For ``PlasticNetwork.feedback``, if that learns by itself and the rule says how, else empty.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    feedback: list[Tensor]


class Rule(ABC):
    """How weights change; subclasses give :meth:`gradient`."""

    @abstractmethod
    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        """Return what to descend for a batch.

        Parameters
        ----------
        network : PlasticNetwork
            The parameters.
        rest : Rest
            The batch at equilibrium.
        target : Tensor, (batch, output size)
            Target states.
        """


@dataclass(frozen=True)
class _Compensated(Rule):
    """A rule that reads the early phase, its layers compensated for their depth."""

    eps: float = 0.1
    n_steps: int | None = None
    compensated: bool = True

    def __post_init__(self) -> None:
        _check_early(self.eps, self.n_steps)

    def coefficients(self, network: PlasticNetwork) -> list[float]:
        """Return :math:`a_k(n)` of each layer, input first; 1 where nothing has arrived."""
        if not self.compensated:
            return [1.0] * len(network.sizes)
        depth = np.arange(len(network.sizes))[::-1]
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
    at their equilibrium: they begin to move after the state behind it.

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int, optional
        Steps; None reads every layer at its own first arrival, ``n = k + 1``, where the rule is
        the chain gradient unless a unit meets a kink.
    compensated : bool
        Divide by :math:`a_k(n)`; else layers need rates of their own.
    slope : bool
        Multiply by :math:`\rho'(s_i)`, the factor that eq. 26 leaves out and the gradient has; for
        a hard sigmoid it is 1 between the kinks.
    """

    slope: bool = False

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        change = network.drive(rest, target, eps=self.eps, n_steps=self.n_steps)
        delta = [-d / a_k for d, a_k in zip(change, self.coefficients(network), strict=True)]
        if self.slope:
            delta = [network.activation.derivative(s) * d
                     for s, d in zip(rest.states, delta, strict=True)]  # fmt: skip
        return _products(network, rest, delta)


@dataclass(frozen=True)
class XieSeung(_Compensated):
    r"""Presynaptic change times postsynaptic rate, :math:`\rho(s_i)\,d\rho(s_j)/dt`.

    A mirror image of eq. 26 discussed as related to STDP (Xie & Seung 2000). The clamped input
    does not change, so that its weights do not learn, and neither do biases.

    Parameters
    ----------
    eps, n_steps, compensated
        As for :class:`Early`; the coefficient is that of the unit before the synapse.
    """

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        moved = network.drive(rest, target, eps=self.eps, n_steps=self.n_steps)
        r = [network.activation(s) for s in rest.states]
        change = [
            -network.rate_change(s, d) / a_k
            for s, d, a_k in zip(rest.states, moved, self.coefficients(network), strict=True)
        ]
        return WeightGradient(
            [_outer(d_j, r_i) for d_j, r_i in zip(change[:-1], r[1:], strict=True)],
            [torch.zeros_like(b) for b in network.biases[1:]],
            [] if network.tied else
            [_outer(d_j, r_i) for d_j, r_i in zip(change[1:], r[:-1], strict=True)],
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
    """

    eps: float = 0.5
    n_steps: int = 10

    def __post_init__(self) -> None:
        _check_early(self.eps, self.n_steps)

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        moved = network.drive(rest, target, eps=self.eps, n_steps=self.n_steps)
        r = [network.activation(s) for s in rest.states]
        d = [network.rate_change(s, d) for s, d in zip(rest.states, moved, strict=True)]
        weights = [
            -_outer(d[i], r[i + 1] + d[i + 1]) - _outer(r[i], d[i + 1]) for i in range(len(r) - 1)
        ]
        return WeightGradient(
            weights, [-d_i.mean(0) for d_i in d[1:]],
            [] if network.tied else [w.mT for w in weights],
        )  # fmt: skip


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
    """

    beta: float = 0.1
    centred: bool = True
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < abs(self.beta) < 1:
            raise ValueError(f"expected 0 < |beta| < 1, got {self.beta}.")

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        up = network.nudge(rest, target, beta=self.beta, tol=self.tol).states
        if not self.centred:
            return _contrast(network, rest.states, up, self.beta)
        down = network.nudge(rest, target, beta=-self.beta, tol=self.tol).states
        return _contrast(network, down, up, 2 * self.beta)


@dataclass(frozen=True)
class Chain(Rule):
    r"""The chain gradient at the equilibrium: back-propagation from layer to layer.

    :math:`\rho'(s_i)\,g_i\,\rho(s_j)` with the `g` of :func:`~ctebm.chain_gradient`
    (eqs. 22-25). It has no change for separate feedback weights, which it goes down by.
    """

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        s = rest.states
        error = s[-1] - target
        passed = [_output_slope(network, s[-1], error) * error]
        for i in range(len(s) - 2, 0, -1):
            slope = _hidden_slope(network, s[i])
            passed.insert(0, slope.square() * (passed[0] @ network.feedback[i]))
        gradient = _products(network, rest, [torch.zeros_like(s[0]), *passed])
        return WeightGradient(gradient.weights, gradient.biases, [])


@dataclass(frozen=True)
class Implicit(Rule):
    r"""The gradient of the equilibrium's error, for tied weights.

    :math:`\rho'(s_i)\,g_i\,\rho(s_j)` in both directions, with the `g` of
    :func:`~ctebm.implicit_gradient` (recurrent back-propagation, Almeida 1987, Pineda
    1987). NaN if a sample's equilibrium is not a stable one.
    """

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        _check_tied(network, "Implicit")
        energy = network.to_network()
        clamped = energy.clamp({next(iter(energy.layers)): rest.states[0]})
        g = implicit_gradient(clamped, torch.cat(rest.states[1:], -1), target)
        slopes = [network.activation.derivative(s) for s in rest.states[1:]]
        parts = g.split(network.sizes[1:], -1)
        delta = [slope * g_i for slope, g_i in zip(slopes, parts, strict=True)]
        r = [network.activation(s) for s in rest.states]
        gradient = _products(network, rest, [torch.zeros_like(r[0]), *delta])
        for i in range(1, len(gradient.weights)):
            gradient.weights[i] += _outer(delta[i - 1], r[i + 1])
        return gradient


@dataclass(frozen=True)
class ThroughTime(Rule):
    """Back-propagation through the last steps of the settling, for tied weights.

    The gradient of the error after `n_steps` free Euler steps from equilibrium, by automatic
    differentiation. With many steps it tends to the implicit gradient (Ernoult et al. 2019).

    Parameters
    ----------
    eps : float
        Step size.
    n_steps : int
        Steps.
    """

    eps: float = 0.5
    n_steps: int = 20

    def __post_init__(self) -> None:
        _check_early(self.eps, self.n_steps)

    def gradient(self, network: PlasticNetwork, rest: Rest, target: Tensor) -> WeightGradient:
        _check_tied(network, "ThroughTime")
        copy = PlasticNetwork(network.to_network())
        leaves = [*copy.weights, *copy.biases[1:]]
        with torch.enable_grad():
            for leaf in leaves:
                leaf.requires_grad_()
            copy.feedback = [W.mT for W in copy.weights]
            s = rest.states
            for _ in range(self.n_steps):
                s = copy.euler_step(s, self.eps)
            error = (s[-1] - target).square().sum() / (2 * len(target))
            found = torch.autograd.grad(error, leaves, materialize_grads=True)
        n = len(copy.weights)
        return WeightGradient(list(found[:n]), list(found[n:]), [])


RULES: dict[str, Callable[[], Rule]] = {
    "early": Early,
    "early-with-slope": partial(Early, slope=True),
    "symmetric": Symmetric,
    "xie-seung": XieSeung,
    "equilibrium-propagation": EquilibriumPropagation,
    "equilibrium-propagation-one-sided": partial(EquilibriumPropagation, centred=False),
    "chain": Chain,
    "implicit": Implicit,
    "through-time": ThroughTime,
}


def _products(network: PlasticNetwork, rest: Rest, delta: Sequence[Tensor]) -> WeightGradient:
    """Return changes after the synapse times rates before it, `delta` input first."""
    r = [network.activation(s) for s in rest.states]
    return WeightGradient(
        [_outer(r_j, d_i) for r_j, d_i in zip(r[:-1], delta[1:], strict=True)],
        [d_i.mean(0) for d_i in delta[1:]],
        [] if network.tied else
        [_outer(r_j, d_i) for r_j, d_i in zip(r[1:], delta[:-1], strict=True)],
    )  # fmt: skip


def _contrast(
    network: PlasticNetwork, before: Sequence[Tensor], after: Sequence[Tensor], scale: float
) -> WeightGradient:
    r, q = ([network.activation(s) for s in states] for states in (before, after))
    weights = [(_outer(r[i], r[i + 1]) - _outer(q[i], q[i + 1])) / scale for i in range(len(r) - 1)]
    biases = [(r_i - q_i).mean(0) / scale for r_i, q_i in zip(r[1:], q[1:], strict=True)]
    return WeightGradient(weights, biases, [] if network.tied else [w.mT for w in weights])


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the batch's mean of the products of `a` and `b`."""
    return a.mT @ (b / len(b))  # the product is the larger array


def _hidden_slope(network: PlasticNetwork, s: Tensor) -> Tensor:
    if network.activation.box is None:
        return network.activation.derivative(s)
    low, high = network.activation.box
    return ((s > low) & (s < high)).to(s.dtype)


def _output_slope(network: PlasticNetwork, y: Tensor, error: Tensor) -> Tensor:
    """Return the slope of the outputs; at a kink the one towards their target."""
    if network.activation.box is None:
        return network.activation.derivative(y)
    low, high = network.activation.box
    outward = ((y >= high) & (error < 0)) | ((y <= low) & (error > 0))
    return (~outward).to(y.dtype)


def _check_early(eps: float, n_steps: int | None) -> None:
    if not 0 < eps <= 1:
        raise ValueError(f"expected a step size 0 < eps <= 1, got {eps}.")
    if n_steps is not None and n_steps < 1:
        raise ValueError(f"expected at least one step, got {n_steps}.")


def _check_tied(network: PlasticNetwork, name: str) -> None:
    if not network.tied:
        raise ValueError(f"{name} is defined for tied weights; train with tied=True.")
