"""What a measurement is asked for, checked at the door: step sizes and saved steps, noisy runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from ctebm.dynamics.methods import method_named
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, finite_array, one_of, whole

__all__ = ["BASELINES", "MOST_SAVED", "Replicates", "Schedule", "saved_steps"]

BASELINES = ("undriven", "held", "equilibrium")
MOST_SAVED = 48  # steps of a run: enough points for a smooth curve in log time
_MOST_STEPS = 10**10  # a step takes some ten microseconds at least
_BYTES_A_STEP = 40  # of a whole number in a list
AFTER_ARRIVAL = 2  # steps after the first arrival: in the second, activity has come back (P3)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Step sizes, and the steps that are saved at each.

    Attributes
    ----------
    eps : Tensor
        Step sizes, ``(eps,)``.
    steps : list of list of int
        Saved steps for each step size, the first is 0.
    method : str
        The solver.
    """

    eps: Tensor
    steps: list[list[int]]
    method: str

    @classmethod
    def of(
        cls,
        eps: float | Sequence[float] | Tensor,
        method: str,
        deepest: int,
        t_end: float,
        n_steps: int | None = None,
        save_all: bool = False,
    ) -> Self:
        """Return the schedule of a measurement in layers down to the depth `deepest`.

        Parameters
        ----------
        eps, method, t_end, n_steps, save_all
            As for :func:`ctebm.correspondence`.
        deepest : int
            Hops from the output to the deepest layer.

        Raises
        ------
        ValueError
            For step sizes out of range, no steps, or an unknown method.

        Examples
        --------
        >>> from ctebm.early_inference.schedule import Schedule
        >>> Schedule.of([0.5, 0.1], "euler", deepest=1, t_end=2.0, save_all=True).steps[0]
        [0, 1, 2, 3, 4]
        """
        sizes = finite_array("eps", eps, above=0, high=1, remedy="larger steps overshoot").reshape(
            -1
        )
        if len(sizes) == 0:
            raise ValueError("expected one or more step sizes 0 < eps <= 1, got none.")
        method_named(method)
        if n_steps is None:
            t_end, least = finite("t_end", t_end, low=0), deepest + 1 + AFTER_ARRIVAL
            steps_of = [finite("t_end / eps", t_end / eps) for eps in sizes.tolist()]
            ends = [max(round(n), least) for n in steps_of]
        else:
            ends = [whole("n_steps", n_steps, least=1)] * len(sizes)
        at_most = None if save_all else MOST_SAVED
        steps = [saved_steps(deepest, end, at_most) for end in ends]
        return cls(torch.as_tensor(sizes, device="cpu"), steps, method)


@dataclass(frozen=True)
class Replicates:
    """Noisy runs of each sample, and what is made of them.

    Attributes
    ----------
    sigma : float
        Intensity of the noise; 0 without noise.
    noise : {"langevin", "synaptic"}
        Its kind, see :class:`ctebm.Dynamics`.
    n : int
        Runs of each sample.
    baseline : {"undriven", "held", "equilibrium"}
        What is subtracted from a noisy run, see :func:`ctebm.correspondence`.
    intervals : bool
        Whether to make confidence intervals over replicates.
    seed : int or None
        Root seed of the noise; drawn freshly if None.
    """

    sigma: float = 0.0
    noise: Literal["langevin", "synaptic"] = "langevin"
    n: int = 1
    baseline: str = "undriven"
    intervals: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", finite("sigma", self.sigma, low=0))
        object.__setattr__(self, "n", whole("replicates", self.n, least=1))
        if self.seed is not None:
            object.__setattr__(self, "seed", whole("seed", self.seed, least=0))
        one_of("noise", self.noise, ["langevin", "synaptic"])
        one_of("baseline", self.baseline, BASELINES)
        if self.n > 1 and self.sigma == 0:
            raise ValueError(f"expected sigma > 0 with {self.n} replicates, got 0; all are equal.")
        if self.intervals and self.n < 2:
            raise ValueError(
                f"expected replicates >= 2 with intervals, got {self.n}; one run has no spread."
            )


def saved_steps(deepest: int, n_steps: int, at_most: int | None = MOST_SAVED) -> list[int]:
    """Return every step up to two past the first arrival at a depth, then evenly in log time.

    Parameters
    ----------
    deepest : int
        The depth.
    n_steps : int
        The last step.
    at_most : int or None
        Number of steps to save; None for all.

    Examples
    --------
    >>> from ctebm.early_inference.schedule import saved_steps
    >>> saved_steps(deepest=1, n_steps=100, at_most=8)
    [0, 1, 2, 3, 4, 12, 34, 100]
    """
    deepest = whole("deepest", deepest, least=0)
    n_steps = whole(
        "n_steps", n_steps, 0, _MOST_STEPS, remedy="more would take days: take larger ones"
    )
    if at_most is None:
        remedy = "take fewer steps, or let save_all be False"
        check_memory(f"every one of {n_steps} steps", _BYTES_A_STEP * (n_steps + 1), remedy)
        return list(range(n_steps + 1))
    at_most = whole("at_most", at_most, least=2)
    check_memory(f"{at_most} saved steps", _BYTES_A_STEP * at_most, "save fewer")
    early = list(range(min(deepest + 1 + AFTER_ARRIVAL, n_steps) + 1))
    n_late = at_most - len(early)
    if early[-1] == n_steps or n_late <= 0:
        return sorted({*early, n_steps})
    late = np.geomspace(early[-1], n_steps, n_late + 1).round().astype(int)[1:]
    return sorted({*early, *map(int, late), n_steps})
