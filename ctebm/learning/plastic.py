r"""A layered network whose couplings are learned: fast equilibria and early motion, in batches.

Equilibria are found by :mod:`ctebm.equilibria.alternating`. States are lists of one tensor
``(batch, size)`` a layer, input first.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ctebm.equilibria.alternating import Rest, States, relax
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.nonconservative import FeedbackNetwork

__all__ = ["PlasticNetwork"]


class PlasticNetwork:
    r"""Couplings and biases as separate tensors that an optimiser can change in place.

    Parameters
    ----------
    network : LayeredNetwork or FeedbackNetwork
        Not clamped. Its parameters are copied.
    tied : bool
        One weight for both directions, as the energy of eq. 6 asks; else each direction is its own
        parameter, and the motion :math:`I - s` (clipped) has no energy once they differ. The two
        begin equal, or as they are in a FeedbackNetwork.

    Attributes
    ----------
    weights : list of Tensor
        Towards the output; ``weights[i]`` is ``(size_i, size_i+1)``.
    feedback : list of Tensor
        Towards the input; ``feedback[i]`` is ``(size_i+1, size_i)``, the transposed weights
        themselves if tied.
    biases : list of Tensor
        ``(size_i,)``; that of the input is not used.
    """

    def __init__(self, network: LayeredField, *, tied: bool = True) -> None:
        blocks = [W for W in network.weights if W is not None]
        if len(blocks) != len(network.layers) - 1 or network.bias.ndim != 1:
            raise ValueError("expected a network with nothing clamped; its input comes in batches.")
        self.activation = network.activation
        self.weights = [W.clone() for W in blocks]
        self.tied = tied
        back = self.weights
        if isinstance(network, FeedbackNetwork):
            if tied:
                raise ValueError("a FeedbackNetwork has two weights a pair; train with tied=False.")
            back = [V for V in network.feedback if V is not None]
        self.feedback = [V.mT if tied else V.mT.clone(memory_format=torch.contiguous_format)
                         for V in back]  # fmt: skip
        self.biases = [b.clone() for b in network.biases]
        self.dtype, self.device = network.dtype, network.device

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

    def to_network(self) -> LayeredField:
        """Return the network, a FeedbackNetwork if the two directions are not tied."""
        weights, biases = [W.clone() for W in self.weights], [b.clone() for b in self.biases]
        if self.tied:
            return LayeredNetwork(weights, biases, self.activation, dtype=self.dtype)
        back = [V.mT.clone() for V in self.feedback]
        return FeedbackNetwork(weights, back, biases, self.activation, dtype=self.dtype)

    def to(self, *, dtype: torch.dtype) -> Self:
        """Return a copy in another dtype."""
        other = copy.copy(self)
        other.weights = [W.to(dtype, copy=True) for W in self.weights]
        other.biases = [b.to(dtype, copy=True) for b in self.biases]
        tied = zip(other.weights, self.feedback, strict=True)
        other.feedback = [W.mT if self.tied else V.to(dtype, copy=True) for W, V in tied]
        other.dtype = dtype
        return other

    def settle(
        self, x: Tensor, start: Sequence[Tensor] | None = None, *, tol: float, max_sweeps: int = 500
    ) -> Rest:
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
            Bound on the work; the residual says what was reached.
        """
        if start is not None:
            return relax(self, [x, *start], tol, max_sweeps)
        s, zero = [x], x.new_zeros(())
        for i, (W, b) in enumerate(zip(self.weights, self.biases[1:], strict=True)):
            I = torch.addmm(b, self.activation(s[i]), W)
            if i + 1 < len(self.weights):
                above = self.activation(zero).expand(self.sizes[i + 2])
                I = I + above @ self.feedback[i + 1]
            s.append(self.clip(self.pressure(zero, I)))
        return relax(self, s, tol, max_sweeps)

    def nudge(
        self, rest: Rest, target: Tensor, *, beta: float, tol: float, max_sweeps: int = 500
    ) -> Rest:
        r"""Settle again with :math:`\beta (y^* - y)` added to the output's force.

        Parameters
        ----------
        rest : Rest
            Where to begin.
        target : Tensor, (batch, output size)
            Target states.
        beta : float
            Strength of the nudge, of either sign, > -1.
        tol, max_sweeps
            As in :meth:`settle`.
        """
        return relax(self, rest.states, tol, max_sweeps, (target, beta))

    def drive(
        self, rest: Rest, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> States:
        r"""Move an equilibrium while its output follows :math:`dy = (y^* - y)\,dt` (eq. 12).

        Steps are :math:`s \leftarrow \mathrm{clip}(s + \epsilon (R(s) - s), b_1, b_2)`. A layer at
        depth `k` rests until step `k + 1`, when the first change arrives. What is left of the
        residual is taken away from the pressure, as if the start were an exact equilibrium:
        otherwise it would hide the changes of deep layers, of size :math:`\epsilon^{k+1}`. For
        the same reason the changes themselves are stepped, not the states, which would round
        them off.

        Parameters
        ----------
        rest : Rest
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
        top = len(rest.states) - 1
        d = [torch.zeros_like(s) for s in rest.states]
        d_rho: list[Tensor | None] = [None] * len(d)
        for step in range(top if n_steps is None else n_steps):
            front = max(top - step, 1)
            # At its first arrival a layer has seen nothing but the layer above at its own.
            moving = [front] if n_steps is None else range(front, top + 1)
            moved = {
                i: torch.lerp(d[i], target - rest.states[i], eps) if i == top
                else self._driven(i, rest, d[i], d_rho, eps)
                for i in moving
            }  # fmt: skip
            for i, d_i in moved.items():
                d[i], d_rho[i] = d_i, self.rate_change(rest.states[i], d_i)
        return d

    def _driven(
        self, i: int, rest: Rest, d: Tensor, d_rho: Sequence[Tensor | None], eps: float
    ) -> Tensor:
        """Return the change of hidden layer `i` one step later."""
        s, I = rest.states[i], rest.currents[i - 1]
        d_I = torch.zeros_like(s)
        for change, W in ((d_rho[i + 1], self.feedback[i]), (d_rho[i - 1], self.weights[i - 1])):
            if change is not None:
                d_I = torch.addmm(d_I, change, W)
        if self.activation.box is not None:
            low, high = self.activation.box
            beyond = I - self.clip(I)
            return torch.lerp(d, beyond + d_I, eps).clamp(low - s, high - s)
        slope, before = self.activation.derivative(s + d), self.activation.derivative(s)
        return torch.lerp(d, slope * d_I + (slope - before) * I, eps)

    def euler_step(self, states: States, eps: float) -> States:
        """Return the states after one free projected Euler step of all layers at once."""
        r = [self.activation(s_i) for s_i in states]
        received = self.received(r)
        R = [self.pressure(states[i], self.current(i, r, received)) for i in range(1, len(r))]
        moved = [self.clip(torch.lerp(s, R_i, eps)) for s, R_i in zip(states[1:], R, strict=True)]
        return [states[0], *moved]

    def residual(self, states: States) -> Tensor:
        """Return the largest ``|clip(R(s), b1, b2) - s|`` of each sample."""
        r = [self.activation(s_i) for s_i in states]
        received = self.received(r)
        R = [self.pressure(states[i], self.current(i, r, received)) for i in range(1, len(r))]
        away = [self.clip(R_i) - s for s, R_i in zip(states[1:], R, strict=True)]
        return torch.cat(away, -1).abs().amax(-1)

    def received(self, r: States) -> Tensor:
        """Return what the first layer above the input receives from it, computed once."""
        return torch.addmm(self.biases[1], r[0], self.weights[0])

    def current(self, i: int, r: States, received: Tensor) -> Tensor:
        r"""Return :math:`I = b + W \rho(s)` of a layer.

        Parameters
        ----------
        i : int
            The layer, counted from the input.
        r : list of Tensor, (batch, size)
            Rates, input first.
        received : Tensor, (batch, size)
            What :meth:`received` returned.
        """
        I = received if i == 1 else torch.addmm(self.biases[i], r[i - 1], self.weights[i - 1])
        return torch.addmm(I, r[i + 1], self.feedback[i]) if i < len(r) - 1 else I

    def pressure(self, s: Tensor, I: Tensor) -> Tensor:
        r"""Return :math:`R = \rho'(s) I`; in a box, where the slope is 1, the current."""
        return I if self.activation.box is not None else self.activation.derivative(s) * I

    def rate_change(self, s: Tensor, d: Tensor) -> Tensor:
        """Return ``rho(s + d) - rho(s)``; in a box, where the slope is 1, the change itself."""
        if self.activation.box is not None:
            return d
        return self.activation(s + d) - self.activation(s)

    def rate(self, s: Tensor) -> Tensor:
        """Return ``rho(s)`` of states that lie in the box, if there is one."""
        box = self.activation.box
        return self.activation(s) if box is None else s - box[0]

    def clip(self, s: Tensor) -> Tensor:
        """Return states in the box, if there is one."""
        return s if self.activation.box is None else self.activation.box.project(s)
