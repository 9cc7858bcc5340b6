r"""The flow of a network: from a state to the states at later steps, by torchsde and torchdiffeq.

Both libraries see unit steps: the drift is multiplied by :math:`\epsilon` and the noise by
:math:`\sqrt\epsilon`, so that `n` steps are exactly `n` steps and every sample can have its own
:math:`\epsilon`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
import torchsde
from torch import Tensor

from ctebm.dynamics.methods import Method
from ctebm.dynamics.noise import BrownianSteps
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.unit_steps import Motion, Ticks, UnitSteps, column
from ctebm.networks.kinks import Box

__all__ = ["Counted", "Flow", "flow", "integrate_adaptive", "noise_of_a_step"]

Drift = Callable[[Tensor, Tensor], Tensor]
Flow = Callable[[Tensor, list[int]], Tensor]

_FIRST_STEP = 2**-6  # of the shortest time between two saves: an adaptive step with noise
_LEAST_STEP = 2**-20  # of the first step, below which an adaptive step is not refined
_PATH_GRAIN = 2**-4  # of the least step: how finely the path of the noise is resolved


def flow(
    dynamics: Dynamics,
    method: Method,
    eps: Tensor,
    start: Tensor,
    brownian: BrownianSteps | None,
    projected: bool,
) -> Flow:
    """Return the function from a state and the steps to stop at to the states there.

    Parameters
    ----------
    dynamics : Dynamics
        Drift, noise and targets.
    method : Method
        One with fixed steps.
    eps : Tensor
        Step size, ``()`` or ``(*batch)``.
    start : Tensor, (*batch, unit)
        The state from which the flow begins.
    brownian : BrownianSteps or None
        The noise, of the intensity :func:`noise_of_a_step`; None if there is none.
    projected : bool
        Let units of samples without noise slide on kinks.
    """
    eps = _as_factor(eps, start)
    box = dynamics.box(start) if projected else None
    if brownian is None:
        return _quiet(dynamics, method, eps, start, box)
    if dynamics.noise == "synaptic":
        noisy = _paper_map(dynamics, eps, brownian)
    else:
        noisy = _langevin(dynamics, method, eps, start.shape, brownian)
    has_noise = dynamics.sigma > 0
    if box is None or method.ode is None or bool(has_noise.all()):
        return noisy
    quiet = _quiet(dynamics, method, eps, start, box)
    return lambda s, stops: torch.where(has_noise, noisy(s, stops), quiet(s, stops))


def noise_of_a_step(dynamics: Dynamics, eps: Tensor, start: Tensor) -> Tensor:
    r"""Return the standard deviation of a step's noise, ``()`` or ``(sample, 1)``.

    It is :math:`\sigma\sqrt\epsilon`, in the paper's map :math:`\sigma`.
    """
    scale = dynamics.sigma
    if dynamics.noise == "langevin":
        scale = scale * _as_factor(eps, start).sqrt()
    return column(scale, start.shape)


def _quiet(dynamics: Dynamics, method: Method, eps: Tensor, start: Tensor, box: Box | None) -> Flow:
    """Return the flow without noise, along which units slide on the faces of the box."""
    if box is None:
        return _unit_steps(lambda _, s: eps * dynamics.f(0, s), method.ode)
    projected = _unit_steps(_projected_step(dynamics, method, eps, start, box), "euler")
    return lambda s, stops: box.on_kinks(projected(s, stops))


def _projected_step(
    dynamics: Dynamics, method: Method, eps: Tensor, start: Tensor, box: Box
) -> Drift:
    """Return a drift whose Euler step is a projected step of the method.

    A unit that starts outside the box is not projected into it: its leak brings it back. The sum
    of a state and a difference may miss a kink by a rounding error, and beyond the kink the drift
    is another, so that a step begins on the kink.
    """
    confined = bool(box.contains(start).all())  # and so all later states are
    plain = method.stages == 1
    move = _euler_step(dynamics, eps) if plain else _sliding_step(dynamics, method, eps, start)

    def step(_: Tensor, raw: Tensor) -> Tensor:
        if confined:
            s, walls = box.project(raw), box
        else:
            s = box.on_kinks(raw)
            walls = box.including(s)
        return walls.project(move(s, walls)) - raw

    return step


def _euler_step(dynamics: Dynamics, eps: Tensor) -> Callable[[Tensor, Box], Tensor]:
    return lambda s, box: s + eps * dynamics.f(0, s)


def _sliding_step(
    dynamics: Dynamics, method: Method, eps: Tensor, start: Tensor
) -> Callable[[Tensor, Box], Tensor]:
    """Return a step of several stages, in each of which units slide on the faces of a box.

    A unit that begins the step at a kink and whose drift points out has the drift zero (Filippov).
    """
    unit_time = torch.tensor([0.0, 1.0], dtype=torch.float64, device=start.device)

    def step(s: Tensor, box: Box) -> Tensor:
        side = box.side(s).to(s)

        def sliding(_: Tensor, u: Tensor) -> Tensor:
            f = dynamics.f(0, box.project(u))
            return eps * f.masked_fill(side * f > 0, 0.0)

        return _tensor(torchdiffeq.odeint(sliding, s, unit_time, method=method.ode))[-1]

    return step


def _unit_steps(drift: Drift, solver: str | None) -> Flow:
    """Return the flow of unit steps of a fixed-step method of torchdiffeq."""

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64, device=s.device)
        return _tensor(torchdiffeq.odeint(drift, s, ts, method=solver, options={"step_size": 1.0}))

    return advance


def _paper_map(dynamics: Dynamics, eps: Tensor, brownian: BrownianSteps) -> Flow:
    r"""Return the flow of the paper's map :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)`."""

    def change(_: Tensor, s: Tensor) -> Tensor:
        return eps * dynamics.synaptic(s, brownian.increment().reshape(s.shape))

    return _unit_steps(change, "euler")


def _langevin(
    dynamics: Dynamics, method: Method, eps: Tensor, shape: torch.Size, brownian: BrownianSteps
) -> Flow:
    """Return the flow with additive noise."""
    sde = UnitSteps(dynamics, method.calculus, shape, eps)
    increments: Any = brownian

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64)
        # torchsde checks its arguments with a draw from torch's global generator
        with torch.random.fork_rng(devices=[]):
            states = torchsde.sdeint(
                sde, s.reshape(sde.flat), ts if method.area else Ticks.of(ts), bm=increments,
                method=method.sde, dt=1.0,
            )  # fmt: skip
        return _tensor(states).reshape(len(stops), *shape)

    return advance


class Counted(Dynamics):
    """Dynamics that count their evaluations and end with the last that is allowed.

    Parameters
    ----------
    dynamics : Dynamics
        What moves.
    most : int
        Evaluations that are allowed.

    Attributes
    ----------
    n : int
        Evaluations so far.
    time : float
        The end of the last step that was accepted, if the solver tells.
    """

    def __init__(self, dynamics: Dynamics, most: int) -> None:
        vars(self).update(vars(dynamics))
        self.n: int = 0
        self.most: int = most
        self.time: float = -math.inf

    def f(self, t: Tensor | float, s: Tensor) -> Tensor:
        if self.n == self.most:
            raise Exhausted
        self.n += 1
        return super().f(t, s)

    __call__ = f

    def callback_accept_step(self, t: Tensor, s: Tensor, dt: Tensor) -> None:
        """Note how far torchdiffeq has come."""
        self.time = float(t + dt)


class Exhausted(Exception):
    """No more evaluations are allowed."""


def integrate_adaptive(
    dynamics: Counted,
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

    def solve(f: Drift, ts: Tensor) -> Tensor:
        return _tensor(
            torchdiffeq.odeint(f, start, ts.to(start), rtol=rtol, atol=atol, method=method.ode)
        )

    try:
        return solve(dynamics, times)
    except Exhausted:
        reached = times[times <= dynamics.time]
        if len(reached) < 2:
            return start.unsqueeze(0)
        # the steps do not depend on what is saved: the same ones again, to the last of these
        return solve(super(Counted, dynamics).f, reached)


def _adaptive_langevin(
    dynamics: Counted,
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
        device=start.device, entropy=seed % 2**63, halfway_tree=True, tol=least * _PATH_GRAIN,
        cache_size=256, levy_area_approximation="space-time",
    )  # fmt: skip
    states = [start.reshape(sde.flat)]
    for ts in times.unfold(0, 2, 1):
        try:
            with torch.random.fork_rng(devices=[]):
                out = torchsde.sdeint(
                    sde, states[-1], ts, bm=brownian, method=method.sde, adaptive=True, dt=first,
                    dt_min=least, rtol=rtol, atol=atol,
                )  # fmt: skip
        except Exhausted:
            break
        states.append(_tensor(out)[-1])
        dynamics.time = float(ts[-1])
    return torch.stack(states).reshape(len(states), *start.shape)


def _as_factor(eps: Tensor, start: Tensor) -> Tensor:
    """Return `eps` as it multiplies states, ``()`` or ``(*batch, 1)``."""
    eps = eps.to(start)
    return eps if eps.ndim == 0 else eps.unsqueeze(-1)


def _tensor(states: Any) -> Tensor:
    """Narrow what the libraries declare as a tensor or a tuple."""
    return states
