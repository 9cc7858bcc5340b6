r"""Trajectories, through torchsde and torchdiffeq on an integer clock.

Both libraries see unit steps: the drift is multiplied by :math:`\epsilon` and the noise by
:math:`\sqrt\epsilon`, so that `n` steps are exactly `n` steps and every sample can have its own
:math:`\epsilon`. Physical time is a coordinate of the result.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torchdiffeq
import torchsde
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.dynamics import Dynamics
from ctebm.network import Network
from ctebm.noise import BrownianSteps, fresh_seed

__all__ = ["METHODS", "Method", "Trajectory", "simulate"]


@dataclass(frozen=True)
class Method:
    """A solver: its name in the library beneath, and its orders.

    Attributes
    ----------
    order : int
        Deterministic order of convergence.
    stages : int
        Evaluations of the drift a step, which is also how many layers one step crosses.
    weak, strong : float or None
        Orders with additive noise; None if the method takes no noise.
    adaptive : bool
        Whether the step follows a tolerance instead of `eps`.
    """

    ode: str | None
    order: int
    stages: int
    sde: str | None = None
    weak: float | None = None
    strong: float | None = None
    adaptive: bool = False


METHODS: dict[str, Method] = {
    "euler": Method("euler", 1, 1, sde="euler", weak=1.0, strong=1.0),
    "midpoint": Method("midpoint", 2, 2),
    "heun": Method("heun2", 2, 2),
    "rk4": Method("rk4", 4, 4),
    "bosh3": Method("bosh3", 3, 4, adaptive=True),
    "dopri5": Method("dopri5", 5, 7, adaptive=True),
    "dopri8": Method("dopri8", 8, 14, adaptive=True),
}


@dataclass(frozen=True)
class Trajectory:
    """Saved states of a run.

    Attributes
    ----------
    state : Tensor
        ``(step, *batch, unit)``.
    step : Tensor
        The number of steps taken at each saved state, ``(step,)``; NaN for adaptive methods.
    time : Tensor
        Physical time in membrane time constants, ``(step,)``, or ``(step, *batch)`` if samples
        have their own `eps`.
    eps : Tensor or None
        The step size, ``()`` or ``(*batch)``.
    status : Tensor
        0 where a sample stayed finite, 1 where it left the finite numbers, ``(*batch)``.
    message : list of str
        A sentence for each sample that failed, in the order of the flattened batch, else ``""``.
    seed : int or None
        Root seed of the noise; None without noise.
    """

    state: Tensor
    step: Tensor
    time: Tensor
    eps: Tensor | None
    status: Tensor
    message: list[str]
    seed: int | None
    method: str
    network: Network = field(repr=False)

    def raise_for_status(self) -> Trajectory:
        """Return the trajectory itself, or raise FloatingPointError for the first failure."""
        for sentence in self.message:
            if sentence:
                raise FloatingPointError(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return the states with named dimensions ``step``, ``sample`` and ``unit``."""
        n_units = self.state.shape[-1]
        states = self.state.reshape(len(self.state), -1, n_units)
        time = self.time.reshape(len(self.time), -1).expand(-1, states.shape[1])
        data = {
            "state": variable(("step", "sample", "unit"), states, "state"),
            "status": variable(("sample",), self.status.reshape(-1), "0 finite, 1 left the finite"),
        }
        coords: dict[str, Any] = {
            "step_number": variable(("step",), self.step, "steps taken"),
            "time": variable(("step", "sample"), time, "time", "membrane time constant"),
        }
        names = np.full(n_units, "s", dtype=object)
        for name, where in self.network.layers.items():
            names[where] = name
        coords["layer_of_unit"] = variable(("unit",), names.astype(str), "layer of the unit")
        attrs = {"method": self.method, "seed": str(self.seed)}
        return xr.Dataset(data, coords, attrs)


def simulate(
    dynamics: Dynamics,
    start: ArrayLike | Tensor,
    *,
    n_steps: int | None = None,
    times: ArrayLike | Tensor | None = None,
    eps: float | Tensor | None = None,
    method: str = "euler",
    save_every: int = 1,
    save_steps: Sequence[int] | None = None,
    seed: int | None = None,
    noise_of: Trajectory | None = None,
    projected: bool = True,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Trajectory:
    r"""Integrate a network from a state.

    Euler's step is :math:`s \leftarrow s + \epsilon f(s) + \sigma\sqrt{\epsilon}\,\xi`; the
    paper's map with synaptic noise is :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)` (eqs. 1-2).

    Parameters
    ----------
    dynamics : Dynamics
        Drift, noise and targets.
    start : array, (*batch, unit)
        The first state.
    n_steps : int, optional
        Number of steps; give it or `times`.
    times : array, optional
        Increasing times to save, the first that of `start`; whole multiples of `eps` apart for
        methods with a fixed step, since nothing is interpolated.
    eps : float or Tensor, optional
        Step size of the fixed-step methods; one for each sample if of shape ``(*batch)``.
    method : str
        One of :data:`METHODS`.
    save_every : int
        Steps between saved states; the first and the last are always saved.
    save_steps : sequence of int, optional
        The steps to save, instead of `save_every`; 0 and the last are added if missing.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None.
    noise_of : Trajectory, optional
        Use the noise of that run: sample by sample the same Brownian path.
    projected : bool
        Without noise, let units slide on kinks (Filippov) instead of chattering around them.
    rtol, atol : float
        Tolerances of the adaptive methods.

    Returns
    -------
    Trajectory
        A sample that leaves the finite numbers is reported in its ``status``; the others go on.

    Raises
    ------
    ValueError
        For a request that has no meaning, such as an adaptive method on kinks.
    """
    chosen = method_named(method)
    network = dynamics.network
    s = network.as_state(start)
    if not bool(torch.isfinite(s).all()):
        raise ValueError("expected a finite start, got NaN or infinity; clean the start state.")
    s = s.broadcast_to(_batch_of(dynamics, s))
    steps, t, eps = _clock(chosen, method, s, n_steps, times, eps, save_every, save_steps)
    if chosen.adaptive:
        if eps is not None:
            raise ValueError(f"{method} chooses its own steps; give times and no eps.")
        _refuse_adaptive(dynamics, method)
        states = torchdiffeq.odeint(dynamics.f, s, t, rtol=rtol, atol=atol, method=chosen.ode)
        return _trajectory(dynamics, method, states, steps, t, None, None)
    assert eps is not None
    _warn_unstable(dynamics, s, eps)
    rate = eps if eps.ndim == 0 else eps.unsqueeze(-1)
    if not dynamics.noisy:
        drift = _projected(dynamics, rate, chosen) if projected else None
        if drift is not None:
            states = _odeint(drift, s, steps, "euler")
        else:
            states = _odeint(lambda _, u: rate * dynamics.f(0, u), s, steps, chosen.ode)
        return _trajectory(dynamics, method, states, steps, t, eps, None)
    if chosen.sde is None:
        raise ValueError(f"{method} takes no noise; use method='euler' or sigma=0.")
    root = noise_of.seed if noise_of is not None else seed
    root = fresh_seed() if root is None else int(root)
    flat = s.reshape(-1, s.shape[-1])
    brownian = BrownianSteps(root, range(len(flat)), flat.shape[-1], s.dtype, s.device)
    if dynamics.noise == "synaptic":

        def paper_map(_: Tensor, u: Tensor) -> Tensor:
            eta = brownian.increment().reshape(u.shape) * dynamics.sigma
            return rate * dynamics.synaptic(u, eta)

        states = _odeint(paper_map, s, steps, "euler")
    else:
        sde = _IntegerClock(dynamics, rate, s.shape)
        states = torchsde.sdeint(
            sde, flat, steps.to(s.device), bm=brownian, method=chosen.sde, dt=1.0
        )
        states = torch.as_tensor(states).reshape(-1, *s.shape)
    return _trajectory(dynamics, method, states, steps, t, eps, root)


class _IntegerClock:
    """The SDE with time in steps, on states ``(batch, unit)``."""

    sde_type, noise_type = "ito", "diagonal"

    def __init__(self, dynamics: Dynamics, rate: Tensor, shape: torch.Size) -> None:
        self.dynamics, self.rate, self.shape = dynamics, rate, shape
        self.scale = (dynamics.sigma * rate.sqrt()).expand(shape).reshape(-1, shape[-1])

    def f(self, t: Tensor, s: Tensor) -> Tensor:
        u = s.reshape(self.shape)
        return (self.rate * self.dynamics.f(t, u)).reshape(s.shape)

    def g(self, t: Tensor, s: Tensor) -> Tensor:
        return self.scale


def _odeint(drift: Any, s: Tensor, steps: Tensor, solver: str | None) -> Tensor:
    """Take unit steps of a fixed-step method of torchdiffeq."""
    return torchdiffeq.odeint(drift, s, steps, method=solver, options={"step_size": 1.0})  # pyright: ignore[reportReturnType]


def _projected(dynamics: Dynamics, rate: Tensor, chosen: Method) -> Any:
    """Return a drift whose Euler step is a projected step of the method, or None without kinks.

    Between the kinks it is the plain step. At a kink, a drift that points out is that of a unit
    sliding on it: zero (Filippov). A method with stages sees the sliding field in each of them.
    """
    if dynamics.network.box is None:
        return None
    unit = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def step(_: Tensor, s: Tensor) -> Tensor:
        low, high = dynamics.bounds(s)  # pyright: ignore[reportGeneralTypeIssues]

        def sliding(_: Tensor, u: Tensor) -> Tensor:
            u = u.clamp(low, high)
            f = dynamics.f(0, u)
            return rate * torch.where((u <= low) & (f < 0) | (u >= high) & (f > 0), 0.0, f)

        if chosen.stages == 1:
            moved = s + rate * dynamics.f(0, s)
        else:
            moved: Any = torchdiffeq.odeint(sliding, s, unit, method=chosen.ode)[-1]
        return moved.clamp(low, high) - s

    return step


def method_named(name: str) -> Method:
    """Return one of :data:`METHODS`, or suggest the nearest name."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(METHODS)}."
        raise ValueError(f"unknown method {name!r}; {hint}")
    return METHODS[name]


def _batch_of(dynamics: Dynamics, s: Tensor) -> torch.Size:
    """Return the shape of states: start, biases and targets broadcast against each other."""
    shapes = [s.shape[:-1], dynamics.sigma.shape[:-1], dynamics.beta.shape[:-1]]
    shapes += [x.shape[:-1] for x in (*dynamics.drive.values(), *dynamics.nudge.values())]
    bias = getattr(dynamics.network, "bias", None)
    if bias is not None:
        shapes.append(bias.shape[:-1])
    return torch.Size((*torch.broadcast_shapes(*shapes), s.shape[-1]))


def _clock(
    chosen: Method,
    method: str,
    s: Tensor,
    n_steps: int | None,
    times: ArrayLike | Tensor | None,
    eps: float | Tensor | None,
    save_every: int,
    save_steps: Sequence[int] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the saved steps, the saved times and the step size."""
    if (n_steps is None) == (times is None):
        raise ValueError("expected either n_steps or times, got both or neither.")
    if eps is not None:
        eps = torch.as_tensor(eps, dtype=torch.float64, device=s.device)
        if not bool((torch.isfinite(eps) & (eps > 0)).all()):
            raise ValueError(f"expected a finite eps > 0, got {eps.min().item():g}.")
    if times is not None:
        t = torch.as_tensor(times, dtype=torch.float64)
        if t.ndim != 1 or len(t) < 2 or not bool((t.diff() > 0).all()):
            raise ValueError("expected two or more strictly increasing times, got others.")
        if chosen.adaptive:
            return torch.full_like(t, math.nan), t, eps
        if eps is None or eps.ndim:
            raise ValueError(f"{method} takes fixed steps; give one eps with times.")
        exact = (t - t[0]) / eps.cpu()
        steps = exact.round()
        if bool(((exact - steps).abs() > 1e-6).any()) or not bool((steps.diff() > 0).all()):
            raise ValueError(
                f"expected times that are whole multiples of eps = {eps.item():g} after the first, "
                "got others; nothing is interpolated, so change eps or the times."
            )
        return steps, t, eps
    assert n_steps is not None
    if chosen.adaptive:
        raise ValueError(f"{method} chooses its own steps; give times instead of n_steps.")
    if eps is None:
        raise ValueError(f"{method} takes fixed steps; give eps.")
    if n_steps < 1 or save_every < 1:
        raise ValueError(f"expected n_steps, save_every >= 1, got {n_steps} and {save_every}.")
    saved = set(range(0, n_steps + 1, save_every) if save_steps is None else save_steps)
    saved = sorted(int(n) for n in saved | {0, n_steps})
    if saved[0] < 0 or saved[-1] > n_steps:
        raise ValueError(f"expected save_steps between 0 and n_steps = {n_steps}.")
    steps = torch.tensor(saved, dtype=torch.float64)
    time = steps.reshape(-1, *(1,) * eps.ndim) * eps.cpu()
    return steps, time, eps


def _refuse_adaptive(dynamics: Dynamics, method: str) -> None:
    if dynamics.noisy:
        raise ValueError(f"{method} takes no noise; use method='euler' or sigma=0.")
    kinks = getattr(getattr(dynamics.network, "activation", None), "kinks", ())
    if kinks:
        raise ValueError(
            f"{method} stalls where units chatter around the kinks at {kinks}; use a fixed-step "
            "method, which slides on kinks, or a smooth activation such as SmoothHardSigmoid."
        )


def _warn_unstable(dynamics: Dynamics, s: Tensor, eps: Tensor, n_max: int = 512) -> None:
    """Warn where eps reaches 2 / lambda_max of the Hessian at the start (F4)."""
    if s.shape[-1] > n_max:
        return
    flat = s.reshape(-1, s.shape[-1])[:1] if s.ndim == 1 else s[(0,) * (s.ndim - 1)][None]
    if dynamics.network.box is not None:
        flat = flat.clamp(*dynamics.network.box)
    J = dynamics.network.jacobian(flat).detach()
    J = J[(0,) * (J.ndim - 2)]
    if float(eps.max()) * float(J.abs().sum(-1).max()) < 2:
        return
    mu = torch.linalg.eigvalsh(J) if dynamics.network.is_gradient else torch.linalg.eigvals(J)
    mu = mu[mu.real < 0]
    limit = float((-2 * mu.real / mu.abs().square()).min()) if len(mu) else 0.0
    if limit > 0 and float(eps.max()) >= limit:
        warnings.warn(
            f"eps = {float(eps.max()):g} is at or above 2/lambda_max = {limit:.6g} at the start: "
            "plain steps oscillate instead of settling.",
            stacklevel=3,
        )


def _trajectory(
    dynamics: Dynamics,
    method: str,
    states: Any,
    steps: Tensor,
    time: Tensor,
    eps: Tensor | None,
    seed: int | None,
) -> Trajectory:
    bad = ~torch.isfinite(states).all(-1)
    status = bad.any(0)
    message = [""] * status.numel()
    for row in torch.nonzero(status.reshape(-1)).flatten().tolist():
        first = int(bad.reshape(len(states), -1)[:, row].int().argmax())
        unit = int((~torch.isfinite(states.reshape(len(states), -1, states.shape[-1])[first, row]))
                   .int().argmax())  # fmt: skip
        message[row] = (
            f"sample {row} left the finite numbers by step {steps[first]:g} at unit {unit}; "
            "use a smaller eps."
        )
    return Trajectory(
        states, steps, time, eps, status.to(torch.int8), message, seed, method, dynamics.network
    )
