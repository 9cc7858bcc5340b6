"""The integer clock: which steps are taken and saved, and at what physical time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["Clock", "adaptive_times", "clock", "step_size"]

_ROUNDING = 1e-6  # of a step: what the division of a time by eps may lose


@dataclass(frozen=True)
class Clock:
    """Saved steps of a run with fixed steps.

    Attributes
    ----------
    saved : list of int
        Numbers of the saved steps, from the first to the last step.
    time : Tensor
        Physical time of each, ``(step,)``, or ``(step, *batch)`` if samples have their own `eps`.
    eps : Tensor
        Step size, ``()`` or ``(*batch)``, in float64.
    """

    saved: list[int]
    time: Tensor
    eps: Tensor

    @property
    def first(self) -> int:
        """The step of the start."""
        return self.saved[0]

    @property
    def n_steps(self) -> int:
        """How many steps are taken."""
        return self.saved[-1] - self.saved[0]

    def time_of(self, steps: Sequence[int]) -> Tensor:
        """Return the physical time of steps, that of the saved ones as it was asked for."""
        after = torch.tensor(steps, dtype=torch.float64) - self.first
        time = self.time[0] + after.reshape(-1, *(1,) * self.eps.ndim) * self.eps.cpu()
        known = {step: i for i, step in enumerate(self.saved)}
        for i, step in enumerate(steps):
            if step in known:
                time[i] = self.time[known[step]]
        return time

    def stretches(self, ends: Sequence[int], span: int, most: int) -> Iterator[list[int]]:
        """Yield consecutive runs of steps to stop at, each from the last of the one before.

        Parameters
        ----------
        ends : sequence of int
            Steps at which a stretch must end.
        span : int
            Most steps in a stretch.
        most : int
            Most stops in a stretch.
        """
        stops, must_end = [self.saved[0]], set(ends)
        for step in self.saved[1:]:
            while step - stops[0] > span:
                yield [*stops, stops[0] + span] if stops[-1] < stops[0] + span else stops
                stops = [stops[0] + span]
            stops.append(step)
            if step in must_end or len(stops) > most or step - stops[0] == span:
                yield stops
                stops = [step]
        if len(stops) > 1:
            yield stops


def step_size(eps: float | Tensor | None, method: str) -> Tensor:
    """Return `eps` as a float64 tensor, checked."""
    if eps is None:
        raise ValueError(f"{method} takes fixed steps; give eps, the step size.")
    eps = torch.as_tensor(eps, dtype=torch.float64)
    if not eps.numel() or not bool((torch.isfinite(eps) & (eps > 0)).all()):
        worst = eps.min().item() if eps.numel() else "none"
        raise ValueError(f"expected a finite eps > 0, got {worst}; give the step size.")
    return eps


def clock(
    eps: Tensor,
    n_steps: int | None,
    times: ArrayLike | Tensor | None,
    save_every: int,
    save_steps: Sequence[int] | None,
    first: int = 0,
) -> Clock:
    """Return the clock of a run, from a number of steps or from times a whole number apart."""
    if (n_steps is None) == (times is None):
        raise ValueError("expected either n_steps or times, got both or neither; give one.")
    first = _whole("first_step", first, 0)
    if n_steps is not None:
        saved = _saved(_whole("n_steps", n_steps, 1), save_every, save_steps)
        steps = torch.tensor(saved, dtype=torch.float64) + first
        time = steps.reshape(-1, *(1,) * eps.ndim) * eps.cpu()
        return Clock([n + first for n in saved], time, eps)
    if save_every != 1 or save_steps is not None:
        raise ValueError("expected save_every and save_steps with n_steps only; times are saved.")
    t = _increasing(times)
    if eps.ndim:
        raise ValueError("expected one eps with times, got one a sample; give n_steps instead.")
    exact = (t - t[0]) / eps.cpu()
    steps = exact.round()
    if bool(((exact - steps).abs() > _ROUNDING).any()) or not bool((steps.diff() > 0).all()):
        raise ValueError(
            f"expected times that are whole multiples of eps = {eps.item():g} after the first, "
            "got others; nothing is interpolated, so change eps or the times."
        )
    return Clock([int(n) + first for n in steps.tolist()], t, eps)


def adaptive_times(
    eps: float | Tensor | None, n_steps: int | None, times: ArrayLike | Tensor | None, method: str
) -> Tensor:
    """Return the times of a method that chooses its own steps."""
    if eps is not None or n_steps is not None or times is None:
        raise ValueError(f"{method} chooses its own steps; give times, and no eps or n_steps.")
    return _increasing(times)


def _increasing(times: ArrayLike | Tensor | None) -> Tensor:
    t = torch.as_tensor(times, dtype=torch.float64).cpu()
    if t.ndim != 1 or len(t) < 2 or not bool((t.diff() > 0).all() & torch.isfinite(t).all()):
        raise ValueError(
            f"expected two or more finite, strictly increasing times, got "
            f"{t.flatten().tolist()[:4]}; the first is that of the start."
        )
    return t


def _saved(n_steps: int, save_every: int, save_steps: Sequence[int] | None) -> list[int]:
    every = _whole("save_every", save_every, 1)
    if save_steps is None:
        return [*range(0, n_steps, every), n_steps]
    if every != 1:
        raise ValueError("expected save_every or save_steps, got both; give one.")
    saved = {_whole("each of save_steps", n, 0) for n in save_steps}
    if saved and max(saved) > n_steps:
        raise ValueError(
            f"expected save_steps up to n_steps = {n_steps}, got {max(saved)}; take more steps."
        )
    return sorted(saved | {0, n_steps})


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"expected {name} to be a whole number >= {least}, got {value!r}.")
    return int(value)
