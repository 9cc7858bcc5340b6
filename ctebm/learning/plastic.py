r"""A layered network whose couplings learn: equilibria and early motion of batches.

States are lists of one tensor ``(batch, size)`` a layer, input first.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ctebm.equilibria.alternating import settle_alternating
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.networks.activation import Activation
from ctebm.networks.blocks import Blocks
from ctebm.networks.kinks import Box
from ctebm.networks.layered import LayeredField, LayeredNetwork, whole_layers
from ctebm.networks.nonconservative import FeedbackNetwork

__all__ = ["PlasticNetwork"]


class PlasticNetwork:
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
        The firing rate.
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
    def parameters(self) -> list[list[Tensor]]:
        """What learns, one list for each pair of neighbouring layers, input first."""
        groups = [[W, b] for W, b in zip(self.weights, self.biases[1:], strict=True)]
        if not self.tied:
            groups = [[*group, V] for group, V in zip(groups, self.feedback, strict=True)]
        return groups

    def to_network(self) -> LayeredNetwork | FeedbackNetwork:
        """Return the network, a FeedbackNetwork if the two directions are not tied."""
        weights, biases = [W.clone() for W in self.weights], [b.clone() for b in self.biases]
        if self.tied:
            return LayeredNetwork(weights, biases, self.activation, dtype=self.dtype)
        back = [V.clone() for V in self.feedback]
        return FeedbackNetwork(weights, back, biases, self.activation, dtype=self.dtype)

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
        """Find an equilibrium for each input.

        Parameters
        ----------
        x : Tensor, (batch, size)
            Input states.
        start : sequence of Tensor, optional
            States of the layers above the input, such as earlier equilibria; by default one pass
            upwards from the state 0.
        tol : float
            Bound on the residual.
        max_sweeps : int
            Bound on the updates of every layer; the residual says what was reached.

        Returns
        -------
        Equilibrium
            Its ``states`` begin with the input, its ``currents`` with the layer above.
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
        r"""Settle again with :math:`\beta (y^* - y)` added to the output's force.

        Parameters
        ----------
        equilibrium : Equilibrium
            Where to begin.
        target : Tensor, (batch, output size)
            Target states.
        beta : float
            Strength of the nudge, of either sign, > -1.
        tol, max_sweeps
            As in :meth:`settle`.

        Returns
        -------
        Equilibrium
        """
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
        above = self.blocks.without_input(self.activation(x))
        found = settle_alternating(above, start, tol=tol, max_sweeps=max_sweeps, nudge=nudge)
        return dataclasses.replace(found, states=[x, *found.states])

    def drive(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> list[Tensor]:
        r"""Move an equilibrium while its output follows :math:`dy = (y^* - y)\,dt` (eq. 12).

        Steps are :math:`s \leftarrow \mathrm{clip}(s + \epsilon (R(s) - s), b_1, b_2)`. A layer at
        depth `k` rests until step `k + 1`, when the first change arrives. What is left of the
        residual is taken away from the pressure, as if the start were an exact equilibrium:
        otherwise it would hide the changes of deep layers, of size :math:`\epsilon^{k+1}`. For
        the same reason the changes themselves are stepped, not the states, which would round
        them off.

        Parameters
        ----------
        equilibrium : Equilibrium
            Where to begin.
        target : Tensor, (batch, output size)
            Target states.
        eps : float
            Step size.
        n_steps : int, optional
            Steps to take; None takes for each layer the steps until its first arrival, `k + 1`.

        Returns
        -------
        list of Tensor
            Changes ``s(n) - s(0)`` of each layer after the last step, the input first.
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
                d[i], d_rho[i] = d_i, self.rate_change(equilibrium.states[i], d_i)
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
        s, I, rho = equilibrium.states[i], equilibrium.currents[i - 1], self.activation
        blocks = self.blocks
        d_I = blocks.add_from_above(i, d_rho, torch.zeros_like(s))
        d_I = blocks.add_from_below(i, d_rho, d_I)
        if rho.box is not None:
            beyond = I - rho.box.project(I)  # of a pinned unit, which a change must overcome
            allowed = Box(rho.box.low - s, rho.box.high - s)
            return allowed.project(torch.lerp(d, beyond + d_I, eps))
        slope, before = rho.derivative(s + d), rho.derivative(s)
        return torch.lerp(d, slope * d_I + (slope - before) * I, eps)

    def rate_change(self, s: Tensor, d: Tensor) -> Tensor:
        """Return ``rho(s + d) - rho(s)``; in a box, where the slope is 1, the change itself."""
        if self.activation.box is not None:
            return d
        return self.activation(s + d) - self.activation(s)


def _transposed_in_memory(V: Tensor) -> Tensor:
    """Return a copy whose transpose is contiguous, as the products with it read it."""
    return V.mT.clone(memory_format=torch.contiguous_format).mT
