r"""The flow of a network: from a state to the states at later steps, by torchsde and torchdiffeq.

Euler's steps are taken in one loop (:mod:`ctebm.dynamics.euler`), which ends at the same bits. Both
libraries see unit steps: the drift is multiplied by :math:`\epsilon` and the noise by
:math:`\sqrt\epsilon`, so that `n` steps are exactly `n` steps and every sample can have its own
:math:`\epsilon`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
import torchsde
from torch import Tensor

from ctebm.dynamics.euler import Flow, euler_flow, map_flow, projected_flow, sliding_flow, way
from ctebm.dynamics.methods import Method
from ctebm.dynamics.noise import BrownianSteps
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.unit_steps import Ticks, UnitSteps, column
from ctebm.networks.kinks import Box, Kinks

__all__ = ["flow", "integrator", "noise_of_a_step"]

Drift = Callable[[Tensor, Tensor], Tensor]


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
        return _quiet(dynamics, method, eps, start, box, projected)
    if dynamics.noise == "synaptic":
        noisy = _paper_map(dynamics, method, eps, brownian)
    elif _in_one_loop(method):
        noisy = euler_flow(dynamics, eps, start, brownian.increment)
    else:
        noisy = _langevin(dynamics, method, eps, start.shape, brownian)
    has_noise = dynamics.sigma > 0
    kinked = box is not None or (projected and dynamics.network.kinks is not None)
    if not kinked or method.ode is None or bool(has_noise.all()):
        return noisy
    quiet = _quiet(dynamics, method, eps, start, box, projected)
    return lambda s, stops: torch.where(has_noise, noisy(s, stops), quiet(s, stops))


def integrator(dynamics: Dynamics, method: Method) -> str:
    """Return what takes the steps of a method: a library, or the loop of Euler's own steps.

    Parameters
    ----------
    dynamics : Dynamics
        Drift, noise and targets.
    method : Method
        The solver.
    """
    if _in_one_loop(method):
        return "ctebm.dynamics.euler"
    return "torchsde" if dynamics.noisy and dynamics.noise == "langevin" else "torchdiffeq"


def _in_one_loop(method: Method) -> bool:
    """Return whether :mod:`ctebm.dynamics.euler` takes the steps.

    Gradients through a run are left to the libraries, which change nothing in place.
    """
    return method.ode == "euler" and not torch.is_grad_enabled()


def noise_of_a_step(dynamics: Dynamics, eps: Tensor, start: Tensor) -> Tensor:
    r"""Return the standard deviation of a step's noise, ``()`` or ``(sample, 1)``.

    It is :math:`\sigma\sqrt\epsilon`, in the paper's map :math:`\sigma`.
    """
    scale = dynamics.sigma
    if dynamics.noise == "langevin":
        scale = scale * _as_factor(eps, start).sqrt()
    return column(scale, start.shape)


def _quiet(
    dynamics: Dynamics, method: Method, eps: Tensor, start: Tensor, box: Box | None, projected: bool
) -> Flow:
    """Return the flow without noise, along which units slide on kinks."""
    kinks = dynamics.kinks(start) if projected else None
    if kinks is not None:
        if _in_one_loop(method):
            return sliding_flow(dynamics, eps, kinks, box)
        steps = _unit_steps(_step_to_kinks(dynamics, method, eps, kinks, box), "euler")
        return lambda s, stops: kinks.on_kinks(steps(s, stops))
    if _in_one_loop(method):
        if box is None:
            return euler_flow(dynamics, eps, start)
        return projected_flow(dynamics, eps, start, box)
    if box is None:
        return _unit_steps(lambda _, s: eps * dynamics.f(0, s), method.ode)
    steps = _unit_steps(_projected_step(dynamics, method, eps, start, box), "euler")
    return lambda s, stops: box.on_kinks(steps(s, stops))


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


def _step_to_kinks(
    dynamics: Dynamics, method: Method, eps: Tensor, kinks: Kinks, box: Box | None
) -> Drift:
    """Return a drift whose Euler step is one of the method that ends on the next inner kink.

    All stages see the forces between the kinks beside which a unit sets out; on a kink that both
    sides lead to it stays.
    """
    unit_time = torch.tensor([0.0, 1.0], dtype=torch.float64, device=eps.device)

    def step(_: Tensor, raw: Tensor) -> Tensor:
        s = kinks.on_kinks(raw if box is None else box.on_kinks(raw))
        move = dynamics.sliding(s)
        walls, held = way(s, move, kinks, box), kinks.on(s) & (move == 0)
        side = walls.side(s).to(s)

        def sliding(_: Tensor, u: Tensor) -> Tensor:
            f = dynamics.f(0, walls.from_inside(u))
            return eps * f.masked_fill(held | (side * f > 0), 0.0)

        if method.stages == 1:
            return walls.project(s + eps * move) - raw
        ends = _tensor(torchdiffeq.odeint(sliding, s, unit_time, method=method.ode))
        return walls.project(ends[-1]) - raw

    return step


def _unit_steps(drift: Drift, solver: str | None) -> Flow:
    """Return the flow of unit steps of a fixed-step method of torchdiffeq."""

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64, device=s.device)
        return _tensor(torchdiffeq.odeint(drift, s, ts, method=solver, options={"step_size": 1.0}))

    return advance


def _paper_map(dynamics: Dynamics, method: Method, eps: Tensor, brownian: BrownianSteps) -> Flow:
    r"""Return the flow of the paper's map :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)`."""

    def drift(s: Tensor) -> Tensor:
        return dynamics.synaptic(s, brownian.increment().reshape(s.shape))

    if _in_one_loop(method):
        return map_flow(drift, eps)
    return _unit_steps(lambda _, s: eps * drift(s), method.ode)


def _langevin(
    dynamics: Dynamics, method: Method, eps: Tensor, shape: torch.Size, brownian: BrownianSteps
) -> Flow:
    """Return the flow with additive noise."""
    sde = UnitSteps(dynamics, method.calculus, shape, eps)
    increments: Any = brownian

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64, device="cpu")
        # torchsde checks its arguments with a draw from torch's global generator
        with torch.random.fork_rng(devices=[]):
            states = torchsde.sdeint(
                sde, s.reshape(sde.flat), ts if method.area else Ticks.of(ts), bm=increments,
                method=method.sde, dt=1.0,
            )  # fmt: skip
        return _tensor(states).reshape(len(stops), *shape)

    return advance


def _as_factor(eps: Tensor, start: Tensor) -> Tensor:
    """Return `eps` as it multiplies states, ``()`` or ``(*batch, 1)``."""
    eps = eps.to(start)
    return eps if eps.ndim == 0 else eps.unsqueeze(-1)


def _tensor(states: Any) -> Tensor:
    """Narrow what the libraries declare as a tensor or a tuple."""
    return states
