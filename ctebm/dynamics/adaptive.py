"""A run by a method that chooses its steps, one for the whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchdiffeq
import torchsde
from scipy.integrate import DOP853
from torch import Tensor

from ctebm.dynamics.methods import METHODS, Method
from ctebm.dynamics.recorder import Observables, Recorder
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.trajectory import Trajectory
from ctebm.dynamics.unit_steps import Motion
from ctebm.networks.numbers import finite, whole

__all__ = ["adaptive_run"]

_FIRST_STEP = 2**-6  # of the shortest time between two saves: an adaptive step with noise
_LEAST_STEP = 2**-20  # of the first step, below which an adaptive step is not refined
_PATH_GRAIN = 2**-4  # of the least step: how finely the path of the noise is resolved
_LEAST_RTOL = 100 * np.finfo(float).eps  # that scipy takes; it would replace a smaller one


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
    if METHODS[method].scipy:
        _check_scipy(method, start, rtol)
    counted = _Counted(dynamics.snapshot(), whole("max_evaluations", max_evaluations, least=1))
    try:
        # a motion that is the same at all times begins at 0, where a clock is finest
        states = _integrate(counted, METHODS[method], start, times - times[0], rtol, atol, seed)
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
        phase=torch.zeros(len(times), dtype=torch.long, device="cpu"),
        phases=("",),
        eps=None,
        status=torch.full(batch, 3 * stopped, dtype=torch.int8, device=start.device),
        message=[
            f"sample {i} was at time {float(times[0]) + max(counted.time, 0.0):.6g} after "
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
        settings={
            "integrator": _library(METHODS[method], seed),
            "rtol": rtol,
            "atol": atol,
        },
    )


def _check_scipy(method: str, start: Tensor, rtol: float) -> None:
    """Refuse what a solver of scipy would not do, or do otherwise in silence."""
    if torch.is_grad_enabled():
        raise ValueError(
            f"{method} is scipy's and keeps no graph for gradients; use method='dopri8' with "
            "differentiable=True."
        )
    if start.is_cuda:
        raise ValueError(
            f"{method} is scipy's and runs on the CPU, got a state on {start.device}; use "
            "method='dopri8', or move the network to the CPU."
        )
    if rtol < _LEAST_RTOL:
        raise ValueError(
            f"expected rtol of at least {_LEAST_RTOL:.2g} for {method}, got {rtol:g}; use "
            "method='dopri8'."
        )


def _library(method: Method, seed: int | None) -> str:
    if seed is not None:
        return "torchsde"
    return "scipy" if method.scipy else "torchdiffeq"


class _Counted(Dynamics):
    """Dynamics that count their evaluations and end with the last that is allowed.

    Parameters
    ----------
    dynamics : Dynamics
        What moves.
    most : int
        Evaluations that are allowed.

    Attributes
    ----------
    moved : Dynamics
        What moves, whose drift may be one of its own.
    n : int
        Evaluations so far.
    time : float
        The end of the last step that was accepted, if the solver tells.
    """

    def __init__(self, dynamics: Dynamics, most: int) -> None:
        vars(self).update(vars(dynamics))
        self.moved: Dynamics = dynamics
        self.n: int = 0
        self.most: int = most
        self.time: float = -math.inf

    def f(self, t: Tensor | float, s: Tensor) -> Tensor:
        if self.n == self.most:
            raise _Exhausted
        self.n += 1
        return self.moved.f(t, s)

    __call__ = f

    def callback_accept_step(self, t: Tensor, s: Tensor, dt: Tensor) -> None:
        """Note how far torchdiffeq has come."""
        self.time = float(t + dt)


class _Exhausted(Exception):
    """No more evaluations are allowed."""


def _integrate(
    dynamics: _Counted,
    method: Method,
    start: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    seed: int | None,
) -> Tensor:
    """Return the states at `times` by a method that chooses its steps, one for the whole batch.

    Where the evaluations are exhausted before the last time, the states at the times before.
    """
    if seed is not None:
        return _adaptive_langevin(dynamics, method, start, times, rtol, atol, seed)
    if method.scipy:
        return _by_scipy(dynamics, start, times, rtol, atol)

    def solve(f: Callable[[Tensor, Tensor], Tensor], ts: Tensor) -> Tensor:
        ts = ts.to(start.device)  # in double precision, whatever that of the state
        options = {} if method.dense else {"step_t": ts[1:]}
        states: Any = torchdiffeq.odeint(
            f, start, ts, rtol=rtol, atol=atol, method=method.ode, options=options
        )
        return states

    try:
        return solve(dynamics, times)
    except _Exhausted:
        reached = times[times <= dynamics.time]
        if len(reached) < 2:
            return start.unsqueeze(0)
        # steps do not depend on later saves: the same ones again, to the last of these
        return solve(dynamics.moved.f, reached)


def _by_scipy(dynamics: _Counted, start: Tensor, times: Tensor, rtol: float, atol: float) -> Tensor:
    """Return the states at `times` by scipy's DOP853.

    Its step costs less than half of one of torchdiffeq, which counts where a state is small.
    """

    def force(t: float, y: np.ndarray) -> np.ndarray:
        s = torch.from_numpy(y).to(start.dtype).reshape(start.shape)
        return dynamics.f(t, s).reshape(-1).numpy()

    saves = times.double().numpy()
    states = [start.reshape(-1).double().numpy()]
    try:
        solver = DOP853(force, saves[0], states[0], saves[-1], rtol=rtol, atol=atol)
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                raise AssertionError
            dynamics.time = float(solver.t)
            reached = int(np.searchsorted(saves, solver.t, side="right"))
            if reached > len(states):
                states += list(solver.dense_output()(saves[len(states) : reached]).T)
    except _Exhausted:
        pass
    return torch.from_numpy(np.stack(states)).to(start.dtype).reshape(-1, *start.shape)


def _adaptive_langevin(
    dynamics: _Counted,
    method: Method,
    start: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    seed: int,
) -> Tensor:
    """Return the states at `times`, each the end of a step: torchsde interpolates in between.

    With the dyadic tree the path is a function of time. By default torchsde's tree, and with it
    the path, follows the queries, so that another tolerance would be another path; and it recurses
    once a step, and fails after 20,000.
    """
    sde = Motion(dynamics, method.calculus, start.shape)
    first = float(times.diff().min()) * _FIRST_STEP
    least = first * _LEAST_STEP
    brownian = torchsde.BrownianInterval(
        t0=float(times[0]), t1=float(times[-1]), size=sde.flat, dtype=start.dtype,
        device=start.device, entropy=seed, halfway_tree=True, tol=least * _PATH_GRAIN,
        cache_size=256, levy_area_approximation="space-time",
    )  # fmt: skip
    states = [start.reshape(sde.flat)]
    for ts in times.unfold(0, 2, 1):
        try:
            with torch.random.fork_rng(devices=[]):
                out: Any = torchsde.sdeint(
                    sde, states[-1], ts, bm=brownian, method=method.sde, adaptive=True, dt=first,
                    dt_min=least, rtol=rtol, atol=atol,
                )  # fmt: skip
        except _Exhausted:
            break
        states.append(out[-1])
        dynamics.time = float(ts[-1])
    return torch.stack(states).reshape(len(states), *start.shape)
