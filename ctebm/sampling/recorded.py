"""A noisy run whose states go into a recorder, which keeps of them what is asked for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ctebm.dynamics.clock import Clock, Saves
from ctebm.dynamics.run import Run
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.seeding import Seeding
from ctebm.networks.memory import check_memory

__all__ = ["check_draws", "recorded_run"]

_BYTES_OF_A_DRAW = 100  # its number in lists, and its place on the clock


def check_draws(n: int) -> None:
    """Refuse a run with more draws, those of its burn-in among them, than fit the memory."""
    check_memory(f"a run with {n:,} draws", _BYTES_OF_A_DRAW * n, "take fewer steps")


def recorded_run(
    dynamics: Dynamics,
    s: Tensor,
    eps: Tensor,
    n_steps: int,
    burn_in: int,
    every: int,
    method: str,
    source: Seeding,
    recorder: Any,
    first: int = 0,
) -> Run:
    """Return the run, which has not begun.

    Parameters
    ----------
    dynamics : Dynamics
        The motion.
    s : Tensor, ``(chain, *sample, unit)``
        The first states.
    eps : Tensor
        Step size, ``()`` or ``(chain, *sample)``.
    n_steps, burn_in, every : int
        Steps after the burn-in, before it, and from one save to the next.
    method : str
        One with fixed steps.
    source : Seeding
        Where the noise comes from.
    recorder : object
        Has a list ``steps`` and takes ``save(steps, states, phase)``, like
        :class:`~ctebm.dynamics.recorder.Recorder`. Draws are in phase 1, in phase 0 without a
        burn-in.
    first : int
        Steps taken before.
    """
    check_draws((burn_in + n_steps) // every)
    phases = [Phase("burn in", dynamics, burn_in)] if burn_in else []
    phases.append(Phase("sample", dynamics, n_steps))
    ends = [burn_in] if burn_in else []
    return Run(
        phases=phases, method=method, seeding=source, projected=False, state=s, recorder=recorder,
        clock=Clock.of_steps(eps, Saves(burn_in + n_steps, every, ends=ends), first),
    )  # fmt: skip
