"""The first exit of each chain from a region, seen during a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ctebm.dynamics.streams import Blocks, Streams

__all__ = ["Exits", "Region"]

Region = Callable[[Tensor], Tensor]

_BRIDGING = (3,)  # the purpose of the stream that decides on crossings between steps


class Exits:
    """The first step of each chain outside a region, in the place of a recorder of states.

    Parameters
    ----------
    start : Tensor, (chain, unit)
        The first states.
    inside : callable
        As for :func:`first_passage`.
    variance : Tensor, optional
        Of a step's noise, ``()`` or ``(chain, 1)``; without it nothing counts between steps.
    seed : int
        Root seed of the decisions on crossings between steps.

    Attributes
    ----------
    step : Tensor, (chain,)
        The first step outside, 0 for a chain that starts there, -1 for one still inside.
    state : Tensor, (chain, unit)
        The state at that step, or the last one.
    """

    def __init__(self, start: Tensor, inside: Region, variance: Tensor | None, seed: int) -> None:
        self.steps: list[int] = [0]
        self._inside = inside
        distance = self._distance(start)
        self.bridged: bool = variance is not None and distance.dtype != torch.bool
        self.step: Tensor = torch.full((len(start),), -1, device=start.device)
        self.step[~_positive(distance)] = 0
        self.begun: Tensor = self.step < 0
        if not bool(self.begun.any()):
            raise ValueError(
                "expected chains that start inside the region, got none: `inside` is true, or a "
                "distance positive, where a chain has not left yet."
            )
        self.state: Tensor = start.clone()
        self.lost: Tensor = torch.zeros_like(self.begun)
        self._before = distance.double()
        self._variance = start if variance is None else variance.reshape(-1).expand(len(start))
        self._seed, self._rows = seed, torch.arange(len(start), device=start.device)

    def _distance(self, s: Tensor) -> Tensor:
        distance = self._inside(s)
        if not isinstance(distance, Tensor) or distance.shape != s.shape[:-1]:
            got = tuple(distance.shape) if isinstance(distance, Tensor) else type(distance).__name__
            raise ValueError(
                f"expected `inside` to return one truth value or distance a state, {len(s)} of "
                f"them, got {got}; use s[..., i] for unit i."
            )
        if bool((torch.isnan(distance) & torch.isfinite(s).all(-1)).any()):
            raise ValueError(
                "expected `inside` to return a distance from the border, negative outside, got nan "
                "at a finite state; return a number everywhere, or truth values."
            )
        return distance if distance.is_floating_point() else distance.bool()

    @property
    def over(self) -> bool:
        """Whether every chain has left, or is lost."""
        return bool(((self.step >= 0) | self.lost).all())

    def watch(self, first: int, shared: bool) -> Tensor:
        """Return the chains to go on with from a step, all of them if they are not `shared`.

        Parameters
        ----------
        first : int
            The step.
        shared : bool
            Whether all chains have one motion, so that those that have left can be left out.
        """
        if shared:
            self._rows = torch.nonzero((self.step < 0) & ~self.lost).flatten()
        streams = Streams(self._seed, self._rows.tolist(), _BRIDGING, 1, torch.float64)
        self._deciding = Blocks(streams, torch.float64, self.state.device, first, None, None, None)
        return self._rows

    def save(self, steps: Sequence[int], states: Tensor, phase: int) -> None:
        """Look at the states of steps that follow one another, ``(step, chain, unit)``."""
        if not steps or steps[0] == self.steps[-1]:  # the first state of a part was looked at
            return
        rows, n_units = self._rows, states.shape[-1]
        distance = self._distance(states.reshape(-1, n_units)).reshape(states.shape[:-1])
        out = ~_positive(distance)
        if self.bridged:
            d = torch.cat([self._before[rows].unsqueeze(0), distance.double()])
            between = -2 * d[:-1] * d[1:] / self._variance[rows]
            normals = torch.stack([self._deciding.next().flatten() for _ in steps])
            out |= torch.special.log_ndtr(normals) < between
            self._before[rows] = d[-1]
        finite = torch.isfinite(states).all(-1)
        self.lost[rows] |= ~finite[-1] & (self.step[rows] < 0)
        out &= finite & (self.step[rows] < 0)
        when = torch.where(out.any(0), out.int().argmax(0), len(steps) - 1)
        still = self.step[rows] < 0
        at = states[when, torch.arange(len(rows), device=rows.device)]
        self.state[rows] = torch.where(still.unsqueeze(-1), at, self.state[rows])
        left = out.any(0)
        self.step[rows[left]] = torch.as_tensor(steps, device=rows.device)[when[left]]
        self.steps = [steps[-1]]


def _positive(distance: Tensor) -> Tensor:
    return distance if distance.dtype == torch.bool else distance > 0
