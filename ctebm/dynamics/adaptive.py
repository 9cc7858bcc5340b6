"""A run by a method that chooses its steps, one for the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.dynamics.flow import Counted, integrate_adaptive
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.recorder import Observables, Recorder
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.numbers import finite, whole

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
    max_evaluations: int,
    observe: Observables | None,
) -> Trajectory:
    """Return a run whose steps follow a tolerance.

    Raises
    ------
    ValueError
        For tolerances that are none.
    FloatingPointError
        If the tolerance can not be held.
    """
    if not start.numel():
        raise ValueError(
            f"expected one sample or more, got none; {method} judges its steps by them."
        )
    rtol, atol = finite("rtol", rtol, low=0), finite("atol", atol, low=0)
    if rtol == atol == 0:
        raise ValueError("expected rtol or atol > 0, got both 0; no step has no error.")
    counted = Counted(dynamics, whole("max_evaluations", max_evaluations, least=1))
    try:
        states = integrate_adaptive(counted, METHODS[method], start, times, rtol, atol, seed)
    except AssertionError as error:  # the step has become 0, or is NaN
        raise FloatingPointError(
            f"{method} could not hold rtol = {rtol:g}, atol = {atol:g}: its steps became too "
            "small for the clock, or the force is not finite; use a larger tolerance or a "
            "fixed-step method."
        ) from error
    stopped, times = len(states) < len(times), times[: len(states)]
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
        status=torch.full(batch, 3 * stopped, dtype=torch.int8, device=start.device),
        message=[
            f"sample {i} was at time {max(counted.time, float(times[0])):.6g} after "
            f"{counted.n:,} evaluations of the force, and the run was ended: steps shrink so where "
            "the force jumps, at kinks that are not declared, or near rounding; declare kinks "
            "(Custom(rate, kinks=...), or a network's box), use a fixed-step method, a larger rtol "
            "or more max_evaluations."
            if stopped
            else ""
            for i in range(batch.numel())
        ],
        failed_step=torch.full(batch, -1, device=start.device),
        seed=seed,
        samples=tuple(range(batch.numel())),
        substeps=1,
        stream="host",
        method=method,
        threads=threads,
        dynamics=(dynamics,),
        settings={"rtol": rtol, "atol": atol},
    )
