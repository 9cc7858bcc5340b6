"""A run by a method that chooses its steps, one for the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.dynamics.flow import integrate_adaptive
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.recorder import Observables, Recorder
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.trajectory import Trajectory

__all__ = ["adaptive_run"]


def adaptive_run(
    dynamics: Dynamics,
    method: str,
    start: Tensor,
    times: Tensor,
    *,
    seed: int | None,
    rtol: float,
    atol: float,
    threads: int,
    observe: Observables | None,
) -> Trajectory:
    """Return a run whose steps follow a tolerance.

    Raises
    ------
    FloatingPointError
        If the tolerance can not be held.
    """
    try:
        states = integrate_adaptive(dynamics, METHODS[method], start, times, rtol, atol, seed)
    except AssertionError as error:
        raise FloatingPointError(
            f"{method} could not hold rtol = {rtol:g}, atol = {atol:g} ({error}); use a larger "
            "tolerance or a fixed-step method."
        ) from error
    recorder = Recorder(start, len(times), observe, differentiable=True)
    recorder.save(range(len(times)), states, 0)
    batch = start.shape[:-1]
    return Trajectory(
        state=recorder.state,
        observed=recorder.observed,
        step=torch.full_like(times, torch.nan),
        time=times,
        phase=torch.zeros(len(times), dtype=torch.long),
        phases=("",),
        eps=None,
        status=torch.zeros(batch, dtype=torch.int8, device=start.device),
        message=[""] * batch.numel(),
        failed_step=torch.full(batch, -1, device=start.device),
        seed=seed,
        samples=tuple(range(batch.numel())),
        substeps=1,
        stream="host",
        method=method,
        threads=threads,
        network=dynamics.network,
    )
