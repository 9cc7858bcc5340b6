r"""Layers coupled as in eq. 6 that learn: the closed forms of what rules ask."""

# Long because the closed form of every question of a rule is here, in one class.

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from ctebm.early_inference.gradients import back_propagate, implicit_gradient
from ctebm.equilibria.alternating import settle_alternating
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import Adjoint, Plastic, WeightGradient
from ctebm.networks.activation import Activation
from ctebm.networks.blocks import Blocks
from ctebm.networks.kinks import Box
from ctebm.networks.layer_rates import rate_of_layer, rates_given, rates_without
from ctebm.networks.layered import LayeredField, LayeredNetwork, whole_layers
from ctebm.networks.layout import layer_names
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.nonconservative import FeedbackNetwork

__all__ = ["PlasticNetwork", "outer"]

_GRAPH_STATES = 5  # that a step keeps for its gradient, about


class PlasticNetwork(Plastic):
    r"""Weights and biases as separate tensors, which an optimiser changes in place.

    Parameters
    ----------
    network : LayeredNetwork or FeedbackNetwork
        Not clamped. Its parameters are copied.
    tied : bool
        One weight for both directions, as the energy of eq. 6 asks; else each direction has its
        own, and the motion :math:`I - s` (clipped) has no energy once they differ. The two begin
        equal, or as they are in a FeedbackNetwork.

    Attributes
    ----------
    activation : Activation
        The firing rate, of all layers or of each.
    weights : list of Tensor
        Towards the output; ``weights[i]`` is ``(size_i, size_i+1)``.
    feedback : list of Tensor
        Towards the input, from layer ``i + 1`` to ``i`` and of the same shapes; the weights
        themselves if tied.
    biases : list of Tensor
        ``(size_i,)``; that of the input is not used.
    tied : bool
        Whether one weight serves both directions.
    dtype, device
        Of the parameters.

    Raises
    ------
    ValueError
        For a network with a clamped layer, or two directions to be tied.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic = ctebm.PlasticNetwork(net)
    >>> equilibrium = plastic.settle(torch.full((10, 4), 0.2).double(), tol=1e-9)
    >>> [tuple(s.shape) for s in equilibrium.states]
    [(10, 4), (10, 5), (10, 3)]
    """

    activation: Activation
    weights: list[Tensor]
    feedback: list[Tensor]
    biases: list[Tensor]
    tied: bool
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: LayeredField, *, tied: bool = True) -> None:
        weights = whole_layers(network)
        back = [V for V in network.blocks.feedback if V is not None]
        if tied and isinstance(network, FeedbackNetwork):
            raise ValueError("a FeedbackNetwork has two weights a pair; train with tied=False.")
        self.activation, self.tied = network.activation, tied
        self.weights = [W.clone() for W in weights]
        self.feedback = self.weights if tied else [_transposed_in_memory(V) for V in back]
        self.biases = [b.clone() for b in network.biases]
        self.dtype, self.device = network.dtype, network.device

    @property
    def blocks(self) -> Blocks:
        """The couplings layer by layer, with the parameters themselves."""
        return Blocks(self.activation, self.weights, self.feedback, self.biases)

    @property
    def sizes(self) -> list[int]:
        """Units in each layer, input first."""
        return [b.shape[0] for b in self.biases]

    @property
    def depths(self) -> list[int]:
        return list(range(len(self.biases)))[::-1]

    @property
    def parameters(self) -> dict[str, Tensor]:
        found = {}
        for i, W in enumerate(self.weights):
            found |= {f"weights.{i}": W, f"biases.{i + 1}": self.biases[i + 1]}
            found |= {} if self.tied else {f"feedback.{i}": self.feedback[i]}
        return found

    @property
    def groups(self) -> dict[str, list[str]]:
        """What belongs to each pair of neighbouring layers."""
        names = layer_names(len(self.biases))
        return {
            f"{below}-{above}": [f"weights.{i}", f"biases.{i + 1}"]
            + ([] if self.tied else [f"feedback.{i}"])
            for i, (below, above) in enumerate(pairwise(names))
        }

    def to_network(self) -> LayeredNetwork | FeedbackNetwork:
        """Return the network, a FeedbackNetwork if the two directions are not tied."""
        weights, biases = [W.clone() for W in self.weights], [b.clone() for b in self.biases]
        rho = rates_given(self.activation)
        if self.tied:
            return LayeredNetwork(weights, biases, rho, dtype=self.dtype)
        back = [V.clone() for V in self.feedback]
        return FeedbackNetwork(weights, back, biases, rho, dtype=self.dtype)

    def rho(self, i: int) -> Activation:
        """Return the activation of layer `i`, counted from the input."""
        return rate_of_layer(self.activation, i)

    def rates(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Return the rates of states, layer by layer, input first."""
        return [self.rho(i)(s) for i, s in enumerate(states)]

    def to(self, *, dtype: torch.dtype) -> Self:
        """Return a copy in another dtype."""
        other = copy.copy(self)
        other.weights = [W.to(dtype, copy=True) for W in self.weights]
        other.biases = [b.to(dtype, copy=True) for b in self.biases]
        back = [V.to(dtype, copy=True) for V in self.feedback]
        other.feedback = other.weights if self.tied else back
        other.dtype = dtype
        return other

    def settle(
        self, x: Tensor, start: Sequence[Tensor] | None = None, *, tol: float, max_sweeps: int = 500
    ) -> Equilibrium:
        """Find an equilibrium for each input; ``currents`` begin with the layer above it.

        Without a start it begins with one pass upwards from the state 0.

        Parameters
        ----------
        x, start, tol, max_sweeps
            As for :meth:`ctebm.learning.plastic.Plastic.settle`.

        Returns
        -------
        Equilibrium
        """
        return self._settle(x, start, tol, max_sweeps)

    def nudge(
        self,
        equilibrium: Equilibrium,
        target: Tensor,
        *,
        beta: float,
        tol: float,
        max_sweeps: int = 500,
    ) -> Equilibrium:
        x, *start = equilibrium.states
        return self._settle(x, start, tol, max_sweeps, (target, beta))

    def _settle(
        self,
        x: Tensor,
        start: Sequence[Tensor] | None,
        tol: float,
        max_sweeps: int,
        nudge: tuple[Tensor, float] | None = None,
    ) -> Equilibrium:
        above = self.blocks.without_input(self.rho(0)(x))
        found = settle_alternating(above, start, tol=tol, max_sweeps=max_sweeps, nudge=nudge)
        return dataclasses.replace(found, states=[x, *found.states])

    def drive(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> list[Tensor]:
        r"""Move an equilibrium while its output follows :math:`dy = (y^* - y)\,dt` (eq. 12).

        Steps are :math:`s \leftarrow \mathrm{clip}(s + \epsilon (R(s) - s), \beta_1, \beta_2)`. A
        layer at depth `k` rests until step `k + 1`, when the first change arrives. What is left of
        the residual is taken away from the pressure, as if the start were an exact equilibrium:
        otherwise it would hide the changes of deep layers, of size :math:`\epsilon^{k+1}`. For
        the same reason the changes themselves are stepped, not the states, which would round
        them off.

        Parameters
        ----------
        equilibrium, target, eps, n_steps
            As for :meth:`ctebm.learning.plastic.Plastic.drive`.

        Returns
        -------
        list of Tensor
        """
        top = len(equilibrium.states) - 1
        d = [torch.zeros_like(s) for s in equilibrium.states]
        d_rho: list[Tensor | None] = [None] * len(d)
        for step in range(top if n_steps is None else n_steps):
            front = max(top - step, 1)
            # At its first arrival a layer has seen nothing but the layer above at its own.
            moving = [front] if n_steps is None else range(front, top + 1)
            moved = {
                i: torch.lerp(d[i], target - equilibrium.states[i], eps) if i == top
                else self._driven(i, equilibrium, d[i], d_rho, eps)
                for i in moving
            }  # fmt: skip
            for i, d_i in moved.items():
                d[i], d_rho[i] = d_i, self.rate_change(i, equilibrium.states[i], d_i)
        return d

    def _driven(
        self,
        i: int,
        equilibrium: Equilibrium,
        d: Tensor,
        d_rho: Sequence[Tensor | None],
        eps: float,
    ) -> Tensor:
        """Return the change of hidden layer `i` one step later."""
        s, I, rho = equilibrium.states[i], equilibrium.currents[i - 1], self.rho(i)
        blocks = self.blocks
        d_I = blocks.add_from_above(i, d_rho, torch.zeros_like(s))
        d_I = blocks.add_from_below(i, d_rho, d_I)
        if rho.box is not None:
            beyond = I - rho.box.project(I)  # of a pinned unit, which a change must overcome
            allowed = Box(rho.box.low - s, rho.box.high - s)
            return allowed.project(torch.lerp(d, beyond + d_I, eps))
        slope, before = rho.derivative(s + d), rho.derivative(s)
        return torch.lerp(d, slope * d_I + (slope - before) * I, eps)

    def adjoint(self, equilibrium: Equilibrium, target: Tensor, which: Adjoint) -> list[Tensor]:
        s = equilibrium.states
        if which == "implicit":
            whole = self.to_network()
            clamped = whole.clamp({next(iter(whole.layers)): s[0]})
            g = implicit_gradient(clamped, torch.cat(s[1:], -1), target)
            return [torch.zeros_like(s[0]), *g.split(self.sizes[1:], -1)]
        responsive = self._responsive(s, target)
        back = self.weights if which == "chain" else self.feedback
        rho = rates_without(self.activation, 0)
        above = Blocks(rho, self.weights[1:], back[1:], self.biases[1:])
        g = back_propagate(s[-1] - target, responsive, lambda i, v: above.adjoint(i, s[1:], v))
        return [torch.zeros_like(s[0]), *(c * g_i for c, g_i in zip(responsive, g, strict=True))]

    def _responsive(self, s: Sequence[Tensor], target: Tensor) -> list[Tensor]:
        """Return which units above the input carry a small change; outputs, if driven (eq. 12)."""
        carrying = []
        for i, s_i in enumerate(s[1:], 1):
            box, hidden = self.rho(i).box, i < len(s) - 1
            if box is None:
                carrying.append(torch.ones_like(s_i))
            else:
                free = box.inside(s_i) if hidden else ~box.pulled_out(s_i, target - s_i)
                carrying.append(free.to(s_i.dtype))
        return carrying

    def driven(
        self, equilibrium: Equilibrium, v: Sequence[Tensor], *, slope: bool = True
    ) -> WeightGradient:
        r = self.rates(equilibrium.states)
        if slope:  # between kinks it is 1 where anything passes
            each = enumerate(zip(equilibrium.states, v, strict=True))
            v = [v_i if self.rho(i).box is not None else self.rho(i).derivative(s) * v_i
                 for i, (s, v_i) in each]  # fmt: skip
        return WeightGradient.of_layers(
            [outer(r_j, v_i) for r_j, v_i in zip(r[:-1], v[1:], strict=True)],
            [v_i.mean(0) for v_i in v[1:]],
            [] if self.tied else
            [outer(r_j, v_i).mT for r_j, v_i in zip(r[1:], v[:-1], strict=True)],
        )  # fmt: skip

    def whole(self, equilibrium: Equilibrium, v: Sequence[Tensor]) -> WeightGradient:
        states = equilibrium.states
        each = enumerate(zip(states, v, strict=True))
        delta = [self.rho(i).derivative(s) * v_i for i, (s, v_i) in each]
        gradient = self.driven(equilibrium, delta, slope=False)
        if self.tied:
            for i in range(1, len(self.weights)):
                r_above = self.rho(i + 1)(states[i + 1])
                gradient.by_name[f"weights.{i}"] += outer(delta[i], r_above)
        return gradient

    def contrast(
        self, equilibrium: Equilibrium, before: Equilibrium, after: Equilibrium, scale: float
    ) -> WeightGradient:
        """Return products of rates before minus after, over `scale`, for both directions.

        Parameters
        ----------
        equilibrium, before, after, scale
            As for :meth:`ctebm.learning.plastic.Plastic.contrast`.
        """
        r, q = (self.rates(e.states) for e in (before, after))
        weights = [
            (outer(r[i], r[i + 1]) - outer(q[i], q[i + 1])) / scale for i in range(len(r) - 1)
        ]
        biases = [(r_i - q_i).mean(0) / scale for r_i, q_i in zip(r[1:], q[1:], strict=True)]
        return WeightGradient.of_layers(weights, biases, [] if self.tied else weights)

    def through_time(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int
    ) -> WeightGradient:
        states = sum(s.numel() for s in equilibrium.states) * target.element_size()
        what = f"the graph of {n_steps:,} steps of {len(target):,} samples"
        n_bytes = _GRAPH_STATES * n_steps * states
        check_memory(what, n_bytes, "take fewer steps or a smaller batch", target.device)
        copy = self.to(dtype=self.dtype)
        leaves = copy.parameters
        with torch.enable_grad():
            for leaf in leaves.values():
                leaf.requires_grad_()
            # one node for each direction; the gradients of the two add up where they are tied
            back = [V.view_as(V) for V in copy.feedback]
            blocks = Blocks(copy.activation, copy.weights, back, copy.biases)
            s = equilibrium.states
            for _ in range(n_steps):
                s = _euler_step(blocks, s, eps)
            error = (s[-1] - target).square().sum() / (2 * len(target))
            found = torch.autograd.grad(error, list(leaves.values()), materialize_grads=True)
        return WeightGradient(dict(zip(leaves, found, strict=True)))

    def error(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        return equilibrium.states[-1] - target

    def cost(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        return self.error(equilibrium, target).square().sum(-1) / 2

    def at_kink(self, states: Sequence[Tensor]) -> list[Tensor]:
        boxes = [self.rho(i).box for i in range(len(states))]
        return [
            torch.zeros_like(s, dtype=torch.bool) if box is None else ~box.inside(s)
            for box, s in zip(boxes, states, strict=True)
        ]

    def rate_change(self, i: int, s: Tensor, d: Tensor) -> Tensor:
        """Return ``rho(s + d) - rho(s)`` of a layer; in a box, of slope 1, the change itself.

        Parameters
        ----------
        i : int
            The layer, counted from the input.
        s, d : Tensor, (batch, size)
            Its states, and how far they move.
        """
        rho = self.rho(i)
        return d if rho.box is not None else rho(s + d) - rho(s)


def _transposed_in_memory(V: Tensor) -> Tensor:
    """Return a copy whose transpose is contiguous, as the products with it read it."""
    return V.mT.clone(memory_format=torch.contiguous_format).mT


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the batch's mean of the products of `a` and `b`."""
    return a.mT @ (b / len(b))  # the product is the larger array


def _euler_step(blocks: Blocks, s: Sequence[Tensor], eps: float) -> list[Tensor]:
    """Return the states after one projected Euler step of all layers above the input."""
    r = [blocks.rho(i)(s_i) for i, s_i in enumerate(s)]
    R = {i: blocks.pressure(i, s[i], blocks.current(i, r)) for i in range(1, len(s))}
    return [s[0], *(blocks.project(i, torch.lerp(s[i], R_i, eps)) for i, R_i in R.items())]
