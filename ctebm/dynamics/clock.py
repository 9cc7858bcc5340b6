"""The integer clock: which steps are taken and saved, and at what physical time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor
from ctebm.networks.numbers import whole, whole_array

__all__ = ["MOST_STEPS", "Clock", "Saves", "in_double_precision", "increasing", "step_size"]

MOST_STEPS = 2**53  # of a run: more are not counted one by one in double precision
_ROUNDING = 1e-6  # of a step: what the division of a time by eps may lose


@dataclass(frozen=True)
class Saves:
    """Which steps of a run are saved, before they are written out.

    Attributes
    ----------
    n_steps : int
        Steps of the run; 0 and the last are always saved.
    every : int
        Steps between two saves.
    chosen : sequence of int, optional
        The steps to save, instead of `every`.
    ends : sequence of int
        Steps at which phases end, which are saved too.

    Examples
    --------
    >>> from ctebm.dynamics.clock import Saves
    >>> Saves(10, every=4).steps()
    [0, 4, 8, 10]
    """

    n_steps: int
    every: int = 1
    chosen: Sequence[int] | None = None
    ends: Sequence[int] = ()

    def __post_init__(self) -> None:
        whole("n_steps", self.n_steps, least=1)
        whole("save_every", self.every, least=1)
        if self.chosen is None:
            return
        if self.every != 1:
            raise ValueError("expected save_every or save_steps, got both; give one.")
        listed = isinstance(self.chosen, Sequence) or getattr(self.chosen, "ndim", 0) == 1
        if not listed:
            raise ValueError(f"expected save_steps as a list of numbers, got {self.chosen!r}.")

    @property
    def most(self) -> int:
        """At most so many saves; written out, they could fill the memory."""
        asked = self.n_steps // self.every if self.chosen is None else len(self.chosen)
        return int(asked) + len(self.ends) + 2

    def steps(self) -> list[int]:
        """Return the numbers of the saved steps, in order."""
        n_steps = int(self.n_steps)
        if self.chosen is None:
            asked = set(range(0, n_steps, int(self.every)))
        else:
            chosen = whole_array("save_steps", self.chosen, least=0).reshape(-1)
            asked = set(chosen.astype(int).tolist())
        if asked and max(asked) > n_steps:
            raise ValueError(
                f"expected save_steps up to n_steps = {n_steps}, got {max(asked)}; take more steps."
            )
        return sorted(asked | {0, n_steps, *self.ends})


@dataclass(frozen=True, eq=False)
class Clock:
    """Saved steps of a run with fixed steps, and their times.

    Attributes
    ----------
    saved : list of int
        Numbers of the saved steps, from the first to the last step.
    time : Tensor
        Physical time of each, ``(step,)``, or ``(step, *batch)`` if samples have their own `eps`.
    eps : Tensor
        Step size, ``()`` or ``(*batch)``, in float64.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.clock import Clock
    >>> Clock.of_times(torch.tensor(0.1), [0.0, 0.5, 2.0]).saved
    [0, 5, 20]
    """

    saved: list[int]
    time: Tensor
    eps: Tensor

    @classmethod
    def of_steps(cls, eps: Tensor, saves: Saves, first: int = 0) -> Clock:
        """Return the clock of a number of steps after the step `first`."""
        first, saved = whole("first_step", first, 0, MOST_STEPS), saves.steps()
        steps = torch.tensor(saved, dtype=torch.float64, device="cpu") + first
        time = steps.reshape(-1, *(1,) * eps.ndim) * eps.cpu()
        return cls([n + first for n in saved], time, eps)

    @classmethod
    def of_times(cls, eps: Tensor, times: ArrayLike | Tensor, first: int = 0) -> Clock:
        """Return the clock of times that are whole numbers of steps apart, all of them saved."""
        first, t = whole("first_step", first, 0, MOST_STEPS), increasing(times)
        if eps.ndim:
            raise ValueError("expected one eps with times, got one a sample; give n_steps instead.")
        exact = (t - t[0]) / eps.cpu()
        steps = exact.round()
        if bool(((exact - steps).abs() > _ROUNDING).any()) or not bool((steps.diff() > 0).all()):
            raise ValueError(
                f"expected times that are whole multiples of eps = {eps.item():g} after the first, "
                "got others; nothing is interpolated, so change eps or the times."
            )
        return cls([int(n) + first for n in steps.tolist()], t, eps)

    @property
    def first(self) -> int:
        """The step of the start."""
        return self.saved[0]

    @property
    def n_steps(self) -> int:
        """How many steps are taken."""
        return self.saved[-1] - self.saved[0]

    def is_saved(self, step: int) -> bool:
        """Return whether a step of the run is saved."""
        return self.saved[bisect_left(self.saved, step)] == step

    def time_of(self, steps: Sequence[int]) -> Tensor:
        """Return the physical time of the first saves, and of a last step between two saves."""
        if self.is_saved(steps[-1]):
            return self.time[: len(steps)]
        last = self.time[0] + (steps[-1] - self.first) * self.eps.cpu()
        return torch.cat([self.time[: len(steps) - 1], last.unsqueeze(0)])

    def stretches(self, first: int, last: int, span: int, most: int) -> Iterator[list[int]]:
        """Yield steps to stop at, from `first` to `last`, in stretches that follow one another.

        A stretch begins at the last step of the one before. All its other steps are saves, but
        for the last where `span` ends a stretch between two saves.

        Parameters
        ----------
        first, last : int
            Two saved steps, the ends of a phase.
        span : int
            Most steps in a stretch.
        most : int
            Most stops in a stretch.
        """
        stops = [first]
        for step in self.saved[bisect_right(self.saved, first) : bisect_right(self.saved, last)]:
            while step - stops[0] > span:
                yield [*stops, stops[0] + span]
                stops = [stops[0] + span]
            stops.append(step)
            if len(stops) > most or step - stops[0] == span:
                yield stops
                stops = [step]
        if len(stops) > 1:
            yield stops


def in_double_precision(eps: float | ArrayLike | Tensor) -> Tensor:
    """Return step sizes in float64, on the CPU if they are no tensor, which is where it is.

    Examples
    --------
    >>> from ctebm.dynamics.clock import in_double_precision
    >>> in_double_precision([0.5, 1])
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    where = eps.device if isinstance(eps, Tensor) else torch.device("cpu")
    return real_tensor(eps, torch.float64, where)


def step_size(eps: float | Tensor | None, method: str) -> Tensor:
    """Return `eps` as a float64 tensor, or refuse what is no step size."""
    if eps is None:
        raise ValueError(f"{method} takes fixed steps; give eps, the step size.")
    eps = in_double_precision(eps)
    if not eps.numel() or not bool((torch.isfinite(eps) & (eps > 0)).all()):
        worst = eps.min().item() if eps.numel() else "none"
        raise ValueError(f"expected a finite eps > 0, got {worst}; give the step size.")
    return eps


def increasing(times: ArrayLike | Tensor | None) -> Tensor:
    """Return times in float64 on the CPU, or refuse those that do not increase."""
    if times is None:
        raise ValueError("expected times to save at, got none; give times=[0, ...].")
    t = real_tensor(times, torch.float64, torch.device("cpu"))
    if t.ndim != 1 or len(t) < 2 or not bool((t.diff() > 0).all() & torch.isfinite(t).all()):
        raise ValueError(
            f"expected two or more finite, strictly increasing times, got "
            f"{t.flatten().tolist()[:4]}; the first is that of the start."
        )
    return t
