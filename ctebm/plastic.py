r"""A layered network whose couplings are learned: fast equilibria and early motion, in batches.

The layers of a :class:`~ctebm.layered.LayeredNetwork` form a chain, so that those at even and those
at odd depth do not see their own kind. With a hard sigmoid

.. math:: s_i \leftarrow \mathrm{clip}(b_i + W\rho(s)_i,\, b_1,\, b_2)

on all layers of one kind is therefore the exact minimum of the energy over them, and taking turns
is block coordinate descent: it never goes uphill, needs no step size, and stops at a fixed point.
Smooth activations take turns with the pressure, :math:`s_i \leftarrow R_i(s)`; for them the
residual says whether that converged.

States are lists of one tensor ``(batch, size)`` a layer, input first.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ctebm.layered import LayeredNetwork

__all__ = ["PlasticNetwork", "Rest"]

States = list[Tensor]


@dataclass(frozen=True)
class Rest:
    """Equilibria of a batch.

    Attributes
    ----------
    states : list of Tensor, (batch, size)
        One a layer, the clamped input first.
    residual : Tensor, (batch,)
        Largest ``|clip(R(s), b1, b2) - s|`` over the units, at ``states``.
    sweeps : int
        Updates of every layer that it took.
    received : Tensor, (batch, size)
        What the first layer gets from the input and its bias, which does not change.
    """

    states: States
    residual: Tensor
    sweeps: int
    received: Tensor


class PlasticNetwork:
    r"""Couplings and biases as separate tensors that an optimiser can change in place.

    Parameters
    ----------
    network : LayeredNetwork
        Not clamped. Its parameters are copied.
    tied : bool
        One weight for both directions, as the energy of eq. 6 asks; else each direction is its own
        parameter, and the motion :math:`I - s` (clipped) has no energy once they differ.

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

    def __init__(self, network: LayeredNetwork, *, tied: bool = True) -> None:
        blocks = [W for W in network.weights if W is not None]
        if len(blocks) != len(network.layers) - 1 or network.bias.ndim != 1:
            raise ValueError("expected a network with nothing clamped; its input comes in batches.")
        self.activation = network.activation
        self.weights = [W.clone() for W in blocks]
        self.tied = tied
        self.feedback = [W.mT if tied else W.mT.clone(memory_format=torch.contiguous_format)
                         for W in self.weights]  # fmt: skip
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

    def to_network(self) -> LayeredNetwork:
        """Return the energy with the weights towards the output in both directions."""
        return LayeredNetwork(
            [W.clone() for W in self.weights], [b.clone() for b in self.biases],
            self.activation, dtype=self.dtype,
        )  # fmt: skip

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
            return self._relax([x, *start], tol, max_sweeps)
        s = [x, *(x.new_zeros(len(x), n) for n in self.sizes[1:])]
        r = [self.activation(s_i) for s_i in s]
        received = self._received(r)
        for i in range(1, len(s)):
            s[i] = self._clip(self._pressure(i, s, r, received))
            r[i] = self.activation(s[i])
        return self._relax(s, tol, max_sweeps)

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
        return self._relax(rest.states, tol, max_sweeps, (target, beta))

    def drive(
        self, rest: Rest, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> States:
        r"""Move an equilibrium while its output follows :math:`dy = (y^* - y)\,dt` (eq. 12).

        Steps are :math:`s \leftarrow \mathrm{clip}(s + \epsilon (R(s) - s), b_1, b_2)`. A layer at
        depth `k` rests until step `k + 1`, when the first change arrives. What is left of the
        residual is taken away from the pressure, as if the start were an exact equilibrium:
        otherwise it would hide the changes of deep layers, of size :math:`\\epsilon^{k+1}`.

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
            States after the last step, the input first.
        """
        s, top, received = list(rest.states), len(rest.states) - 1, rest.received
        r = [self.activation(s_i) for s_i in s]
        reached = range(max(top - (n_steps or top) + 1, 1), top)
        defect = {i: self._clip(self._pressure(i, s, r, received)) - s[i] for i in reached}
        for step in range(top if n_steps is None else n_steps):
            front = max(top - step, 1)
            # At its first arrival a layer has seen nothing but the layer above at its own.
            moving = [front] if n_steps is None else range(front, top + 1)
            goal = {i: self._pressure(i, s, r, received) - defect[i] for i in moving if i < top}
            for i in moving:
                s[i] = (
                    self._clip(torch.lerp(s[i], goal[i], eps)) if i < top
                    else torch.lerp(s[i], target, eps)
                )  # fmt: skip
                r[i] = self.activation(s[i])
        return s

    def euler_step(self, states: States, eps: float) -> States:
        """Return the states after one free projected Euler step of all layers at once."""
        r = [self.activation(s_i) for s_i in states]
        received = self._received(r)
        moved = [self._clip(torch.lerp(states[i], self._pressure(i, states, r, received), eps))
                 for i in range(1, len(states))]  # fmt: skip
        return [states[0], *moved]

    def residual(self, states: States) -> Tensor:
        """Return the largest ``|clip(R(s), b1, b2) - s|`` of each sample."""
        r = [self.activation(s_i) for s_i in states]
        received = self._received(r)
        return torch.stack(
            [(self._clip(self._pressure(i, states, r, received)) - states[i]).abs().amax(-1)
             for i in range(1, len(states))]
        ).amax(0)  # fmt: skip

    def _relax(
        self, start: States, tol: float, max_sweeps: int, nudge: tuple[Tensor, float] | None = None
    ) -> Rest:
        s, top = list(start), len(start) - 1
        r = [self.activation(s_i) for s_i in s]
        received = self._received(r)
        omega = s[top].new_ones(len(s[top]), 1)

        def update(i: int) -> tuple[Tensor, Tensor]:
            """Over-relax layer `i`; return its distances from no force, before and after."""
            R = self._pressure(i, s, r, received)
            if nudge is not None and i == top:
                target, beta = nudge
                R = (R + beta * target) / (1 + beta)
            goal, old = self._clip(R), s[i]
            s[i] = self._clip(torch.addcmul(old, omega, goal - old))
            r[i] = self.activation(s[i])
            return goal - old, goal - s[i]

        first, second = range(top, 0, -2), range(top - 1, 0, -2)
        left, distance = torch.zeros_like(omega), None
        for sweep in range(max_sweeps + 1):
            state, previous = s.copy(), distance
            away = torch.cat([update(i)[0] for i in first], -1)
            # Nothing has moved since the second kind was left, so this is the whole residual.
            residual = torch.maximum(away.abs().amax(-1, keepdim=True), left)
            if sweep == max_sweeps or (sweep > 0 and float(residual.max()) <= tol):
                return Rest(state, residual.squeeze(-1), sweep, received)
            distance = away.norm(dim=-1, keepdim=True)
            if sweep % 4 == 0 and previous is not None and self.activation.box is not None:
                omega = _over_relaxation(omega, distance / previous.clamp(min=1e-30))
            if len(second) > 0:
                left = torch.cat([update(i)[1] for i in second], -1).abs().amax(-1, keepdim=True)
        raise AssertionError("the last sweep returns")

    def _received(self, r: States) -> Tensor:
        """Return what the first layer above the input receives from it, computed once."""
        return torch.addmm(self.biases[1], r[0], self.weights[0])

    def _pressure(self, i: int, s: States, r: States, received: Tensor) -> Tensor:
        r"""Return :math:`R = \rho'(s) (b + W \rho(s))` of layer `i`; in a box, where slope is 1."""
        I = received if i == 1 else torch.addmm(self.biases[i], r[i - 1], self.weights[i - 1])
        if i < len(r) - 1:
            I = torch.addmm(I, r[i + 1], self.feedback[i])
        return I if self.activation.box is not None else self.activation.derivative(s[i]) * I

    def _clip(self, s: Tensor) -> Tensor:
        return s if self.activation.box is None else s.clamp(*self.activation.box)


def _over_relaxation(omega: Tensor, rate: Tensor, largest: float = 1.5) -> Tensor:
    r"""Return the factors that the observed rate of convergence asks for, never lowered.

    Layers form a consistently ordered chain, for which (Young 1971) the rate :math:`\lambda` at
    :math:`\omega` gives :math:`\mu^2 = (\lambda + \omega - 1)^2 / (\lambda \omega^2)` and the best
    factor is :math:`2 / (1 + \sqrt{1 - \mu^2})`. In a box any factor below 2 goes downhill.
    """
    rate = rate.clamp(1e-3, 1.0)
    mu = (rate + omega - 1).square() / (rate * omega.square())
    best = 2 / (1 + (1 - mu.clamp(max=1.0)).sqrt())
    return torch.maximum(omega, best.clamp(max=largest))
