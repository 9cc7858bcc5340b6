r"""The way of a batch of layers to rest, by turns of the layers of one kind and of the other.

Layers in a chain at even and at odd depth do not see their own kind. With a hard sigmoid

.. math:: s_i \leftarrow \mathrm{clip}(b_i + W\rho(s)_i,\, b_1,\, b_2)

on all layers of one kind is therefore the exact minimum of the energy over them, and taking turns
is block coordinate descent: it never goes uphill, needs no step size, and stops at a fixed point.
With a smooth activation each unit of a kind solves its own equation :math:`s_i = R_i(s)`, which
has one solution if the rate saturates away from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ctebm.networks.activation import Activation

__all__ = ["Layers", "Rest", "States", "relax"]

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


class Layers(Protocol):
    """What relaxing asks of layers in a chain; states are one tensor a layer, input first."""

    activation: Activation

    def received(self, r: States) -> Tensor:
        """Return what the first layer above the input receives from it, which stays."""
        ...

    def current(self, i: int, r: States, received: Tensor) -> Tensor:
        r"""Return :math:`I = b + W \rho(s)` of layer `i`."""
        ...

    def pressure(self, s: Tensor, I: Tensor) -> Tensor:
        r"""Return :math:`R = \rho'(s) I`; in a box, where the slope is 1, the current."""
        ...

    def rate(self, s: Tensor) -> Tensor:
        """Return ``rho(s)`` of states that lie in the box, if there is one."""
        ...

    def clip(self, s: Tensor) -> Tensor:
        """Return states in the box, if there is one."""
        ...


def relax(
    network: Layers,
    start: States,
    tol: float,
    max_sweeps: int,
    nudge: tuple[Tensor, float] | None = None,
) -> Rest:
    r"""Settle every sample of a batch.

    Parameters
    ----------
    network : Layers
        The couplings.
    start : list of Tensor, (batch, size)
        Where to begin, the clamped input first.
    tol : float
        Bound on the residual.
    max_sweeps : int
        Bound on the updates of every layer; the residual says what was reached.
    nudge : (Tensor, float), optional
        Target `t` of the output and strength :math:`\beta > -1` of the force
        :math:`\beta (t - y)`.

    Raises
    ------
    ValueError
        For less than one sweep.
    """
    if max_sweeps < 1:
        raise ValueError(f"expected max_sweeps >= 1, got {max_sweeps}.")
    going, ended = _Relaxation(network, start, nudge), []
    width = sum(s.shape[1] for s in start[1:])
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


class _Relaxation:
    """Samples on their way to rest, by turns of the layers of one kind and those of the other."""

    def __init__(self, network: Layers, start: States, nudge: tuple[Tensor, float] | None) -> None:
        self.network, self.nudge, self.s = network, nudge, list(start)
        self.r = [network.activation(s) for s in start]
        self.received = network.received(self.r)
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
        old, I = self.s[i], self.network.current(i, self.r, self.received)
        self.I[i] = I
        target, beta = 0.0, 0.0
        if self.nudge is not None and i == len(self.s) - 1:
            target, beta = self.nudge

        def pull(s: Tensor) -> Tensor:
            return (self.network.pressure(s, I) + beta * target) / (1 + beta)

        if self.network.activation.box is None:
            bend = self.network.activation.second_derivative
            new = _alone(pull, lambda s: bend(s) * I / (1 + beta), old)
            away, left = pull(old) - old, pull(new) - new
        else:
            goal = self.network.clip(pull(old))
            new, away = goal, goal - old
            if self.omega is not None:
                new = self.network.clip(torch.addcmul(old, self.omega, away))
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
