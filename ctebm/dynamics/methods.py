"""The solvers of torchsde and torchdiffeq: their orders, and one phase of a run as unit steps."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchdiffeq
import torchsde
from torch import Tensor

from ctebm.dynamics.noise import BrownianSteps
from ctebm.dynamics.sde import Dynamics

__all__ = [
    "METHODS",
    "Flow",
    "Method",
    "flow",
    "integrate_adaptive",
    "method_named",
    "noise_of_a_step",
]

Drift = Callable[[Tensor, Tensor], Tensor]
Flow = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Method:
    """A solver, its names in torchdiffeq and torchsde, and its orders.

    Attributes
    ----------
    ode, sde : str or None
        Its names in torchdiffeq and torchsde; None where it does not exist.
    order : int
        Deterministic order of convergence.
    stages : int
        Evaluations of the drift a step, which is also how many layers one step crosses.
    weak, strong : float or None
        Orders with additive noise and a smooth rate; None if the method takes no noise. Where the
        noise carries units over a kink, no method is of a higher strong order than 3/4.
    calculus : {"ito", "stratonovich"}
        That of the solver; with additive noise both are the same equation.
    area : bool
        Whether it needs the integral of the noise over a step.
    adaptive : bool
        Whether the step follows a tolerance instead of `eps`.
    """

    ode: str | None
    order: int
    stages: int
    sde: str | None = None
    weak: float | None = None
    strong: float | None = None
    calculus: str = "ito"
    area: bool = False
    adaptive: bool = False


# Milstein's method is Euler's where noise is additive, so it is not listed.
METHODS: dict[str, Method] = {
    "euler": Method("euler", 1, 1, sde="euler", weak=1.0, strong=1.0),
    "midpoint": Method("midpoint", 2, 2),
    "heun": Method("heun2", 2, 2, "heun", weak=2.0, strong=1.0, calculus="stratonovich"),
    "srk": Method(None, 3, 10, sde="srk", weak=2.0, strong=1.5, area=True),
    "adaptive_srk": Method(None, 3, 10, "srk", weak=2.0, strong=1.5, area=True, adaptive=True),
    "rk4": Method("rk4", 4, 4),
    "bosh3": Method("bosh3", 3, 4, adaptive=True),
    "dopri5": Method("dopri5", 5, 7, adaptive=True),
    "dopri8": Method("dopri8", 8, 14, adaptive=True),
}


def method_named(name: str) -> Method:
    """Return a method by its name, or raise a ValueError that names the nearest."""
    if name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(METHODS)}."
        raise ValueError(
            f"expected a method of ctebm.dynamics.methods.METHODS, got {name!r}; {hint}"
        )
    return METHODS[name]


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
        The state from which the phase begins.
    brownian : BrownianSteps or None
        The noise, of the intensity :func:`noise_of_a_step`; None if there is none.
    projected : bool
        Let units of samples without noise slide on kinks.
    """
    rate = _rate(eps, start)
    if brownian is None:
        return _calm(dynamics, method, rate, start, projected)
    if dynamics.noise == "synaptic":

        def paper_map(_: Tensor, s: Tensor) -> Tensor:
            return rate * dynamics.synaptic(s, brownian.increment().reshape(s.shape))

        noisy = _unit_steps(paper_map, "euler")
    else:
        noisy = _langevin(dynamics, method, rate, start.shape, brownian)
    has_kinks = projected and method.ode is not None and dynamics.sliding(start) is not None
    if not has_kinks or bool((dynamics.sigma > 0).all()):
        return noisy
    calm = _calm(dynamics, method, rate, start, projected)
    return lambda s, stops: torch.where(dynamics.sigma > 0, noisy(s, stops), calm(s, stops))


def _calm(dynamics: Dynamics, method: Method, rate: Tensor, start: Tensor, projected: bool) -> Flow:
    """Return the flow without noise."""
    drift = _projected(dynamics, rate, method, start) if projected else None
    if drift is not None:
        return _on_kinks(_unit_steps(drift, "euler"), dynamics)
    return _unit_steps(lambda _, s: rate * dynamics.f(0, s), method.ode)


def noise_of_a_step(dynamics: Dynamics, eps: Tensor, start: Tensor) -> Tensor:
    r"""Return the standard deviation of a step's noise, ``()`` or ``(sample, 1)``.

    It is :math:`\sigma\sqrt\epsilon`, in the paper's map :math:`\sigma`.
    """
    scale = dynamics.sigma
    if dynamics.noise == "langevin":
        scale = scale * _rate(eps, start).sqrt()
    return _column(scale, start.shape)


def integrate_adaptive(
    dynamics: Dynamics,
    method: Method,
    start: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    seed: int | None,
) -> Tensor:
    """Return the states at `times` by a method that chooses its steps, one for the whole batch."""
    if seed is not None:
        return _adaptive_langevin(dynamics, method, start, times, rtol, atol, seed)

    def f(t: Tensor, s: Tensor) -> Tensor:
        return dynamics.f(t, s)

    return _tensor(
        torchdiffeq.odeint(f, start, times.to(start), rtol=rtol, atol=atol, method=method.ode)
    )


def _adaptive_langevin(
    dynamics: Dynamics,
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
    sde = _Motion(dynamics, method.calculus, start.shape)
    first = float(times.diff().min()) / 64
    least = first / 2**20
    brownian = torchsde.BrownianInterval(
        t0=float(times[0]), t1=float(times[-1]), size=sde.flat, dtype=start.dtype,
        device=start.device, entropy=seed % 2**63, halfway_tree=True, tol=least / 16,
        cache_size=256, levy_area_approximation="space-time",
    )  # fmt: skip
    states = [start.reshape(sde.flat)]
    for ts in times.unfold(0, 2, 1):
        with torch.random.fork_rng(devices=[]):
            out = torchsde.sdeint(
                sde, states[-1], ts, bm=brownian, method=method.sde, adaptive=True, dt=first,
                dt_min=least, rtol=rtol, atol=atol,
            )  # fmt: skip
        states.append(_tensor(out)[-1])
    return torch.stack(states).reshape(len(times), *start.shape)


class _Ticks(Tensor):
    """Times whose elements are Python numbers.

    torchsde takes numbers or tensors as times. Its loop reads them from here one by one, and
    arithmetic on tensors of one time would cost more than the drift of a small network.
    """

    numbers: list[float]

    def __getitem__(self, where: Any) -> Any:
        picked = self.numbers[where]
        return (
            _ticks(torch.tensor(picked, dtype=torch.float64))
            if isinstance(picked, list)
            else picked
        )

    def __iter__(self) -> Any:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def _ticks(times: Tensor) -> _Ticks:
    ticks = times.as_subclass(_Ticks)
    ticks.numbers = times.tolist()
    return ticks


class _Motion:
    """The SDE on states ``(sample, unit)``."""

    noise_type = "diagonal"

    def __init__(self, dynamics: Dynamics, calculus: str, shape: torch.Size) -> None:
        self.sde_type, self.flat = calculus, (shape[:-1].numel(), shape[-1])
        self.intensity = _column(dynamics.sigma, shape).expand(self.flat)
        self.drift = dynamics.f
        if len(shape) != 2:
            self.drift = lambda t, s: dynamics.f(t, s.reshape(shape)).reshape(self.flat)

    def f(self, t: Any, s: Tensor) -> Tensor:
        return self.drift(t, s)

    def g(self, t: Any, s: Tensor) -> Tensor:
        return self.intensity


class _UnitSteps(_Motion):
    """The SDE with time in steps and its noise as it comes, with the intensity of a step."""

    def __init__(self, dynamics: Dynamics, calculus: str, shape: torch.Size, rate: Tensor) -> None:
        super().__init__(dynamics, calculus, shape)
        self.rate = _column(rate, shape)
        self.intensity = torch.ones_like(self.intensity)

    def f(self, t: Any, s: Tensor) -> Tensor:
        return self.rate * self.drift(t, s)

    def f_and_g_prod(self, t: Any, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.rate * self.drift(t, s), v


def _langevin(
    dynamics: Dynamics, method: Method, rate: Tensor, shape: torch.Size, brownian: BrownianSteps
) -> Flow:
    sde = _UnitSteps(dynamics, method.calculus, shape, rate)

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64)
        # torchsde checks its arguments with a draw from torch's global generator
        with torch.random.fork_rng(devices=[]):
            states = torchsde.sdeint(
                sde, s.reshape(sde.flat), ts if method.area else _ticks(ts), bm=brownian,
                method=method.sde, dt=1.0,
            )  # fmt: skip
        return _tensor(states).reshape(len(stops), *shape)

    return advance


def _unit_steps(drift: Drift, solver: str | None) -> Flow:
    """Return the flow of unit steps of a fixed-step method of torchdiffeq."""

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        ts = torch.tensor(stops, dtype=torch.float64, device=s.device)
        return _tensor(torchdiffeq.odeint(drift, s, ts, method=solver, options={"step_size": 1.0}))

    return advance


def _on_kinks(advance: Flow, dynamics: Dynamics) -> Flow:
    """Return the flow with states that a sum has put beside a kink put on it."""

    def exactly(s: Tensor, stops: list[int]) -> Tensor:
        states = advance(s, stops)
        return dynamics.on_kinks(states)

    return exactly


def _projected(dynamics: Dynamics, rate: Tensor, method: Method, start: Tensor) -> Drift | None:
    """Return a drift whose Euler step is a projected step of the method, or None without kinks.

    Between the kinks it is the plain step. At a kink, a drift that points out is that of a unit
    sliding on it: zero (Filippov), in each stage of the step. The sum of a state and a difference
    may miss a kink by a rounding error, and beyond it the drift is another: a step begins on it.
    """
    bounds = dynamics.sliding(start)
    if bounds is None:
        return None
    unit = torch.tensor([0.0, 1.0], dtype=torch.float64, device=start.device)

    def step(_: Tensor, raw: Tensor) -> Tensor:
        s, low, high = bounds(raw)
        if method.stages == 1:
            moved = s + rate * dynamics.f(0, s)
        else:
            at_low, at_high = s <= low, s >= high

            def sliding(_: Tensor, u: Tensor) -> Tensor:
                f = dynamics.f(0, u.clamp(low, high))
                return rate * torch.where(at_low & (f < 0) | at_high & (f > 0), 0.0, f)

            moved = _tensor(torchdiffeq.odeint(sliding, s, unit, method=method.ode))[-1]
        return moved.clamp(low, high) - raw

    return step


def _rate(eps: Tensor, start: Tensor) -> Tensor:
    """Return `eps` as it multiplies states, ``()`` or ``(*batch, 1)``."""
    eps = eps.to(start)
    return eps if eps.ndim == 0 else eps.unsqueeze(-1)


def _column(value: Tensor, shape: torch.Size) -> Tensor:
    """Return ``()``, or one number for each of the flattened samples, ``(sample, 1)``."""
    return value if value.ndim == 0 else value.expand(*shape[:-1], 1).reshape(-1, 1)


def _tensor(states: Any) -> Tensor:
    """Narrow what the libraries declare as a tensor or a tuple."""
    return states
