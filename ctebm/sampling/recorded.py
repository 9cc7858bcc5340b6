"""A noisy run whose states go into a recorder, and what such runs ask for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ctebm.dynamics.clock import Clock, Saves
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.request import check_method
from ctebm.dynamics.run import Run
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.seeding import Seeding
from ctebm.dynamics.step_limit import exceeded_limit
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import one_of

__all__ = ["check_draws", "check_noise", "check_steps", "recorded_run", "step_limit"]

_JUDGED_UNITS = 512  # units up to which eigenvalues cost little beside a run
_BYTES_OF_A_DRAW = 100  # its number in lists, and its place on the clock


def check_noise(dynamics: Dynamics) -> None:
    """Refuse a motion without noise, which has no law to sample."""
    if not isinstance(dynamics, Dynamics):
        raise ValueError(
            f"expected dynamics with noise, got {type(dynamics).__name__}; give "
            "Dynamics(network, sigma=...)."
        )
    if not bool((dynamics.sigma > 0).all()):
        raise ValueError(
            "expected sigma > 0 in every sample, got 0; without noise a network visits no more "
            "than its way to rest, see ctebm.simulate."
        )


def check_steps(dynamics: Dynamics, method: str, *further: str) -> None:
    """Refuse what is no method of fixed steps with noise, nor one of some further ones.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.sampling.recorded import check_steps
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> check_steps(ctebm.Dynamics(unit, sigma=0.1), "rk4")
    Traceback (most recent call last):
    ValueError: expected method 'euler', 'heun' or 'srk', got 'rk4'.
    """
    fixed = [name for name, known in METHODS.items() if known.sde and not known.adaptive]
    one_of("method", method, [*fixed, *further])
    if method not in further:
        check_method(method, [dynamics], None)


def step_limit(dynamics: Dynamics, s: Tensor, eps: float) -> float | None:
    """Return the largest stable step at the first of some states if `eps` is above it, else None.

    None also for networks of more than 512 units, whose eigenvalues cost too much.
    """
    return exceeded_limit(dynamics.network, s, eps) if s.shape[-1] <= _JUDGED_UNITS else None


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
