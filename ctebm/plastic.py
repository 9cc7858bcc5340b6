r"""A layered network whose couplings are learned: fast equilibria and early motion, in batches.

The layers of a :class:`~ctebm.layered.LayeredNetwork` form a chain, so that those at even and those
at odd depth do not see their own kind. With a hard sigmoid

.. math:: s_i \leftarrow \mathrm{clip}(b_i + W\rho(s)_i,\, b_1,\, b_2)

on all layers of one kind is therefore the exact minimum of the energy over them, and taking turns
is block coordinate descent: it never goes uphill, needs no step size, and stops at a fixed point.
With a smooth activation each unit of a kind solves its own equation :math:`s_i = R_i(s)`, which
has one solution if the rate saturates away from 0.

States are lists of one tensor ``(batch, size)`` a layer, input first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ctebm.feedback import FeedbackNetwork
from ctebm.layered import LayeredNetwork

__all__ = ["PlasticNetwork", "Rest"]

States = list[Tensor]

_FEW_NUMBERS = 2**12  # in the states of a batch that is not worth parting
_NEWTON_STEPS = 12  # of units by themselves in a sweep; most need four


@dataclass(frozen=True)
class Rest:
    r"""Equilibria of a batch.

    Attributes
    ----------
    states : list of Tensor, (batch, size)
        One a layer, the clamped input first.
    currents : list of Tensor, (batch, size)
        :math:`I = b + W \rho(s)` of the layers above the input, at ``states``.
    residual : Tensor, (batch,)
        Largest ``|clip(R(s), b1, b2) - s|`` over the units, at ``states``.
    sweeps : Tensor of int, (batch,)
        Updates of every layer spent on each sample.
    """

    states: States
    currents: States
    residual: Tensor
    sweeps: Tensor


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

    def __init__(self, network: LayeredNetwork, *, tied: bool = True) -> None:
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

    def to_network(self) -> LayeredNetwork:
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
            return self._relax([x, *start], tol, max_sweeps)
        s, zero = [x], x.new_zeros(())
        for i, (W, b) in enumerate(zip(self.weights, self.biases[1:], strict=True)):
            I = torch.addmm(b, self.activation(s[i]), W)
            if i + 1 < len(self.weights):
                above = self.activation(zero).expand(self.sizes[i + 2])
                I = I + above @ self.feedback[i + 1]
            s.append(self._clip(self._pressure(zero, I)))
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
            beyond = I - self._clip(I)
            return torch.lerp(d, beyond + d_I, eps).clamp(low - s, high - s)
        slope, before = self.activation.derivative(s + d), self.activation.derivative(s)
        return torch.lerp(d, slope * d_I + (slope - before) * I, eps)

    def euler_step(self, states: States, eps: float) -> States:
        """Return the states after one free projected Euler step of all layers at once."""
        r = [self.activation(s_i) for s_i in states]
        received = self._received(r)
        R = [self._pressure(states[i], self._current(i, r, received)) for i in range(1, len(r))]
        moved = [self._clip(torch.lerp(s, R_i, eps)) for s, R_i in zip(states[1:], R, strict=True)]
        return [states[0], *moved]

    def residual(self, states: States) -> Tensor:
        """Return the largest ``|clip(R(s), b1, b2) - s|`` of each sample."""
        r = [self.activation(s_i) for s_i in states]
        received = self._received(r)
        R = [self._pressure(states[i], self._current(i, r, received)) for i in range(1, len(r))]
        away = [self._clip(R_i) - s for s, R_i in zip(states[1:], R, strict=True)]
        return torch.cat(away, -1).abs().amax(-1)

    def _relax(
        self, start: States, tol: float, max_sweeps: int, nudge: tuple[Tensor, float] | None = None
    ) -> Rest:
        if max_sweeps < 1:
            raise ValueError(f"expected max_sweeps >= 1, got {max_sweeps}.")
        going, ended, width = _Relaxation(self, start, nudge), [], sum(self.sizes[1:])
        going.update_first()
        for sweep in range(1, max_sweeps + 1):
            going.update_second()
            tested, residual = going.s.copy(), going.update_first()
            settled = residual <= tol
            n = int(settled.sum())
            if n == len(settled) or sweep == max_sweeps:
                ended.append(going.rest(tested, residual, sweep))
                break
            # Few samples need many sweeps, and the others need not wait for them.
            if 2 * n >= len(settled) and len(settled) * width > _FEW_NUMBERS:
                ended.append(going.rest(tested, residual, sweep, settled))
                going.keep(~settled)
            if sweep % 4 == 0:
                going.over_relax()
        return _in_order(ended)

    def _received(self, r: States) -> Tensor:
        """Return what the first layer above the input receives from it, computed once."""
        return torch.addmm(self.biases[1], r[0], self.weights[0])

    def _current(self, i: int, r: States, received: Tensor) -> Tensor:
        r"""Return :math:`I = b + W \rho(s)` of layer `i`."""
        I = received if i == 1 else torch.addmm(self.biases[i], r[i - 1], self.weights[i - 1])
        return torch.addmm(I, r[i + 1], self.feedback[i]) if i < len(r) - 1 else I

    def _pressure(self, s: Tensor, I: Tensor) -> Tensor:
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

    def _clip(self, s: Tensor) -> Tensor:
        return s if self.activation.box is None else s.clamp(*self.activation.box)


class _Relaxation:
    """Samples on their way to rest, by turns of the layers of one kind and those of the other."""

    def __init__(
        self, network: PlasticNetwork, start: States, nudge: tuple[Tensor, float] | None
    ) -> None:
        self.network, self.nudge, self.s = network, nudge, list(start)
        self.r = [network.activation(s) for s in start]
        self.received = network._received(self.r)
        self.I = list(start)
        self.rows = torch.arange(len(start[0]), device=start[0].device)
        self.omega: Tensor | None = None
        self.away = self.before = self.left = torch.zeros_like(self.received[:, :1])

    def update_first(self) -> Tensor:
        """Update the output and every other layer below; return the residual before it.

        Nothing has moved since the other kind was left, so that this is the whole residual.
        """
        layers = range(len(self.s) - 1, 0, -2)
        self.before, self.away = self.away, _beside([self._update(i)[0] for i in layers])
        return torch.maximum(self.away.abs().amax(-1), self.left.abs().amax(-1))

    def update_second(self) -> None:
        """Update the layers between."""
        left = [self._update(i)[1] for i in range(len(self.s) - 2, 0, -2)]
        self.left = _beside(left or [self.left])

    def _update(self, i: int) -> tuple[Tensor, Tensor]:
        """Put layer `i` at rest or beyond; return its distances from no force before and after."""
        old, I = self.s[i], self.network._current(i, self.r, self.received)
        self.I[i] = I
        target, beta = 0.0, 0.0
        if self.nudge is not None and i == len(self.s) - 1:
            target, beta = self.nudge

        def pull(s: Tensor) -> Tensor:
            return (self.network._pressure(s, I) + beta * target) / (1 + beta)

        if self.network.activation.box is None:
            bend = self.network.activation.second_derivative
            new = _alone(pull, lambda s: bend(s) * I / (1 + beta), old)
            away, left = pull(old) - old, pull(new) - new
        else:
            goal = self.network._clip(pull(old))
            new, away = goal, goal - old
            if self.omega is not None:
                new = self.network._clip(torch.addcmul(old, self.omega, away))
            left = goal - new
        self.s[i], self.r[i] = new, self.network.rate(new)
        return away, left

    def over_relax(self) -> None:
        """Choose the factors that the last sweep's rate of convergence asks for."""
        if self.network.activation.box is not None:
            rate = self.away.norm(dim=-1, keepdim=True) / self.before.norm(
                dim=-1, keepdim=True
            ).clamp(min=1e-30)
            omega = torch.ones_like(rate) if self.omega is None else self.omega
            self.omega = _over_relaxation(omega, rate)

    def rest(
        self, states: States, residual: Tensor, sweeps: int, chosen: Tensor | None = None
    ) -> tuple[Tensor, Rest]:
        """Return the chosen samples, all by default, with their places in the batch."""
        n = torch.full_like(self.rows, sweeps)
        every = [self.rows, residual, n, *states, *self.I[1:]]
        rows, residual, n, *parts = every if chosen is None else [part[chosen] for part in every]
        return rows, Rest(parts[: len(states)], parts[len(states) :], residual, n)

    def keep(self, chosen: Tensor) -> None:
        """Go on with the chosen samples alone."""
        self.s, self.r, self.I = ([part[chosen] for part in parts]
                                  for parts in (self.s, self.r, self.I))  # fmt: skip
        self.rows, self.received = self.rows[chosen], self.received[chosen]
        self.away, self.before, self.left = (
            self.away[chosen], self.before[chosen], self.left[chosen]
        )  # fmt: skip
        if self.omega is not None:
            self.omega = self.omega[chosen]
        if self.nudge is not None:
            self.nudge = self.nudge[0][chosen], self.nudge[1]


def _alone(
    pressure: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], s: Tensor
) -> Tensor:
    r"""Return where units come to rest by themselves, :math:`s = R(s)`, from `s` on.

    By Newton's method, in brackets: a pressure that falls with the state, as that of a saturating
    rate does, has its rest between the state and the pressure there. Where it rises instead, the
    pressure itself is returned, or what lies on the way.
    """
    R = pressure(s)
    low, high = torch.minimum(s, R), torch.maximum(s, R)
    rounding = 8 * torch.finfo(s.dtype).eps * R.abs().clamp(min=1)
    enough = torch.maximum(rounding, 1e-3 * (R - s).abs())  # their surroundings move on too
    for _ in range(_NEWTON_STEPS):
        away = R - s
        low, high = torch.where(away > 0, s, low), torch.where(away < 0, s, high)
        newton = s + away / (1 - slope(s)).clamp(min=0.1)
        inside = (newton > low) & (newton < high)
        s = torch.where(away == 0, s, torch.where(inside, newton, (low + high) / 2))
        R = pressure(s)
        if bool(((R - s).abs() <= enough).all()):
            break
    return s


def _beside(parts: list[Tensor]) -> Tensor:
    """Return layers side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _in_order(parts: list[tuple[Tensor, Rest]]) -> Rest:
    """Join samples that came to rest at different times, in the order of the batch."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    rests = [rest for _, rest in parts]

    def joined(tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(tensors))[order]

    return Rest(
        [joined(layer) for layer in zip(*(rest.states for rest in rests), strict=True)],
        [joined(layer) for layer in zip(*(rest.currents for rest in rests), strict=True)],
        joined(rest.residual for rest in rests),
        joined(rest.sweeps for rest in rests),
    )


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
