r"""Trajectories, through torchsde and torchdiffeq on an integer clock.

Both libraries see unit steps: the drift is multiplied by :math:`\epsilon` and the noise by
:math:`\sqrt\epsilon`, so that `n` steps are exactly `n` steps and every sample can have its own
:math:`\epsilon`. Physical time is a coordinate of the result.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.clock import Clock, adaptive_times, clock, step_size
from ctebm.dynamics import Dynamics, Phase
from ctebm.noise import BrownianSteps, fresh_seed
from ctebm.solver import METHODS, Flow, Method, flow, integrate_adaptive, method_named
from ctebm.trajectory import Trajectory, failures

__all__ = ["METHODS", "Method", "Phase", "Trajectory", "simulate"]

Observables = Mapping[str, Callable[[Tensor], Tensor]]

_SPAN = 2000  # most steps between two looks at whether all is finite
_STEADY_SPAN = 16  # most steps between two looks at the force
_KEPT_BYTES = 2**24  # of the states that one call of a library returns
_SMALL_STEP = 2**16  # numbers in a state below which one thread is faster than many
_GRAPH_FACTOR = 12  # states' worth of memory that a step keeps for its gradient, about


def simulate(
    dynamics: Dynamics | Sequence[Phase],
    start: ArrayLike | Tensor,
    *,
    n_steps: int | None = None,
    times: ArrayLike | Tensor | None = None,
    eps: float | Tensor | None = None,
    method: str = "euler",
    save_every: int = 1,
    save_steps: Sequence[int] | None = None,
    observe: Observables | None = None,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
    noise_of: Trajectory | None = None,
    first_step: int | None = None,
    steady: float | None = None,
    projected: bool = True,
    differentiable: bool = False,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    threads: int | None = None,
    progress: bool = False,
    callback: Callable[[int, Tensor], object] | None = None,
) -> Trajectory:
    r"""Integrate a network from a state.

    Euler's step is :math:`s \leftarrow s + \epsilon f(s) + \sigma\sqrt{\epsilon}\,\xi`; the
    paper's map with synaptic noise is :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)` (eqs. 1-2).

    Parameters
    ----------
    dynamics : Dynamics or sequence of Phase
        Drift, noise and targets; or phases one after another, whose ends are saved.
    start : array, (*batch, unit)
        The first state.
    n_steps : int, optional
        Number of steps; give it, or `times`, or phases.
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
    observe : mapping of str to callable, optional
        Functions of a state ``(*batch, unit)`` to be kept at each save instead of states.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None. One seed names one path for
        each dtype.
    samples : sequence of int, optional
        The number of each row of the flattened batch, by which its stream of noise is found; by
        default 0, 1, ... A part of a sweep that gives its rows' numbers in the whole has the
        noise it has in the whole. Rows of one number share their noise.
    noise_of : Trajectory, optional
        Use the noise of that run, sample by sample the same Brownian path; this run's `eps` may
        be a whole multiple of that run's.
    first_step : int, optional
        Steps taken before `start`: clock and noise go on from there, so that a run begun from a
        saved state with its step and seed is the rest of the run that saved it.
    steady : float, optional
        Without noise, end the run when the largest force of every sample is at most this, judged
        every 16 steps and at saves; the state it is judged at is the last one saved.
    projected : bool
        Without noise, let units slide on kinks (Filippov) instead of chattering around them.
    differentiable : bool
        Keep the graph, so that parameters and start have gradients. It holds about 12 states a
        step in memory.
    rtol, atol : float
        Tolerances of the adaptive methods.
    threads : int, optional
        Threads of torch during the run. By default 1 where a state has fewer than 65,536 numbers,
        else as many as torch is set to.
    progress : bool
        Show a bar.
    callback : callable, optional
        Called as ``callback(step, state)`` at each save; the run ends if it returns a true value.

    Returns
    -------
    Trajectory
        A sample that leaves the finite numbers is reported in its ``status``, with step and unit;
        the others go on.

    Raises
    ------
    ValueError
        For a request that has no meaning, such as an adaptive method on kinks, or no room.
    """
    chosen = method_named(method)
    phases = _phases(dynamics, n_steps, times)
    s = _start(phases, start)
    noisy = any(phase.dynamics.noisy for phase in phases)
    if steady is not None and (noisy or not steady > 0 or chosen.adaptive):
        raise ValueError("expected steady > 0 with a fixed-step method and no noise; leave it out.")
    if noisy and chosen.sde is None:
        raise ValueError(f"{method} takes no noise; use method='euler' or sigma=0.")
    if not noisy and chosen.ode is None:
        raise ValueError(f"{method} is for noise; use method='rk4', or give a sigma.")
    with _threads(threads, s) as used, torch.set_grad_enabled(differentiable):
        if chosen.adaptive:
            t = adaptive_times(eps, n_steps, times, method)
            _refuse_kinks(phases[0].dynamics, method)
            _check_room(len(t), s, observe, 0)
            return _adaptive_run(phases[0].dynamics, method, s, t, rtol, atol, used, observe)
        step = step_size(eps, method)
        source = _noise_source(s, step, seed, samples, noise_of, noisy)
        first = first_step if first_step is not None else source.first
        ends = [sum(p.n_steps for p in phases[: i + 1]) for i in range(len(phases))]
        if n_steps is None and times is None:
            n_steps = ends[-1]
            save_steps = [*(save_steps or range(0, n_steps, save_every)), *ends]
            save_every = 1
        ticks = clock(step, n_steps, times, save_every, save_steps, first)
        _check_room(len(ticks.saved), s, observe, ticks.n_steps if differentiable else 0)
        _warn_unstable(phases[0].dynamics, s, step)
        run = _Run(phases, chosen, ticks, source, projected, s, observe, differentiable)
        run.go(steady, progress, callback)
        return run.trajectory(method, used, steady)


@dataclass(frozen=True)
class _NoiseSource:
    """Where the noise of a run comes from; no seed if there is none."""

    seed: int | None
    samples: tuple[int, ...]
    substeps: int
    first: int

    def open(self, s: Tensor, first: int, n_steps: int, method: Method) -> BrownianSteps:
        assert self.seed is not None
        return BrownianSteps(
            self.seed, self.samples, s.shape[-1], s.dtype, s.device,
            first=first, n_steps=n_steps, substeps=self.substeps, area=method.area,
        )  # fmt: skip


class _Run:
    """A run with fixed steps under way."""

    def __init__(
        self,
        phases: Sequence[Phase],
        method: Method,
        ticks: Clock,
        source: _NoiseSource,
        projected: bool,
        s: Tensor,
        observe: Observables | None,
        differentiable: bool,
    ) -> None:
        self.phases, self.method, self.ticks, self.source = phases, method, ticks, source
        self.projected, self.observe, self.s = projected, observe or {}, s
        n_samples = s.shape[:-1].numel()
        self.failed = torch.full((n_samples,), -1, device=s.device)
        self.unit = self.failed.clone()
        self.kept: list[Tensor] = []
        self.room = None if differentiable or observe else s.new_empty(len(ticks.saved), *s.shape)
        self.observed: dict[str, list[Tensor]] = {name: [] for name in self.observe}
        self.steps: list[int] = []
        self.phase: list[int] = []
        self.save([ticks.first], s.unsqueeze(0), 0)

    def go(
        self,
        steady: float | None,
        progress: bool,
        callback: Callable[[int, Tensor], object] | None,
    ) -> None:
        """Take the steps, phase by phase."""
        most = max(_KEPT_BYTES // max(self.s.numel() * self.s.element_size(), 1), 1)
        span = _SPAN if steady is None else _STEADY_SPAN
        first = self.ticks.first
        ends = [first + sum(p.n_steps for p in self.phases[: i + 1])
                for i in range(len(self.phases))]  # fmt: skip
        stretches = self.ticks.stretches(ends, span, 1 if callback else min(most, 512))
        here, brownian, advance = -1, None, None
        wanted = iter(self.ticks.saved[1:])
        due = next(wanted)
        with _bar(progress, self.ticks.n_steps) as bar:
            try:
                for stops in stretches:
                    if here < 0 or stops[0] == ends[here]:
                        here += 1
                        if brownian is not None:
                            brownian.close()
                        brownian, advance = self.begin(here, stops[0])
                    assert advance is not None
                    before, out = self.s, advance(self.s, stops)
                    self.s = out[-1]
                    n = 0
                    while n < len(stops) - 1 and stops[n + 1] == due:
                        n += 1
                        due = next(wanted, -1)
                    self.save(stops[1 : n + 1], out[1 : n + 1], here)
                    self.look(before, stops, here)
                    bar(stops[-1] - stops[0])
                    if bool((self.failed >= 0).all()):
                        break
                    if steady is not None and self.is_steady(steady, here):
                        break
                    if callback and n and callback(stops[-1], self.s):
                        break
                if self.steps[-1] != stops[-1]:
                    self.save(stops[-1:], out[-1:], here)
            finally:
                if brownian is not None:
                    brownian.close()

    def begin(self, here: int, first: int) -> tuple[BrownianSteps | None, Flow]:
        """Return the noise and the flow of a phase from a step."""
        dynamics = self.phases[here].dynamics
        brownian = None
        if dynamics.noisy:
            end = first + self.phases[here].n_steps
            brownian = self.source.open(self.s, first, end - first, self.method)
        ticks = self.ticks
        return brownian, flow(dynamics, self.method, ticks.eps, self.s, brownian, self.projected)

    def save(self, steps: Sequence[int], states: Tensor, here: int) -> None:
        """Keep states, or what is observed of them."""
        if self.room is not None:
            self.room[len(self.steps) : len(self.steps) + len(steps)] = states
        elif not self.observe:
            self.kept.append(states)
        for name, function in self.observe.items():
            self.observed[name] += [torch.as_tensor(function(state)) for state in states]
        self.steps += steps
        self.phase += [here] * len(steps)

    def look(self, before: Tensor, stops: list[int], here: int) -> None:
        """Note which samples have left the finite numbers, where and when."""
        lost = ~torch.isfinite(self.s).all(-1).reshape(-1) & (self.failed < 0)
        if not bool(lost.any()):
            return
        after, self.s = self.s, before
        brownian, advance = self.begin(here, stops[0])
        s, step = before, stops[0]
        while bool(lost.any()):
            chunk = list(range(step, min(step + 16, stops[-1]) + 1))
            out = advance(s, chunk)
            bad = ~torch.isfinite(out[1:]).reshape(len(chunk) - 1, len(lost), -1)
            now = lost & bad.any(-1).any(0)
            when = bad.any(-1).int().argmax(0)
            rows = torch.arange(len(lost), device=s.device)
            self.failed[now] = (step + 1 + when)[now]
            self.unit[now] = bad[when, rows].int().argmax(-1)[now]
            lost, s, step = lost & ~now, out[-1], chunk[-1]
        if brownian is not None:
            brownian.close()
        self.s = after

    def is_steady(self, tol: float, here: int) -> bool:
        """Return whether every sample that is left rests, in the last phase."""
        if here < len(self.phases) - 1:
            return False
        rest = self.phases[here].dynamics.defect(self.s).reshape(-1) <= tol
        return bool((rest | (self.failed >= 0)).all())

    def trajectory(self, method: str, threads: int, steady: float | None) -> Trajectory:
        """Return the record."""
        dynamics, batch = self.phases[-1].dynamics, self.s.shape[:-1]
        force = None if steady is None else dynamics.defect(self.s).reshape(-1)
        status, message = failures(self.failed, self.unit, force, steady, self.steps[-1])
        if self.room is not None:
            state = self.room[: len(self.steps)]
        else:
            state = self.s.unsqueeze(0) if self.observe else torch.cat(self.kept)
        return Trajectory(
            state=state,
            observed={name: torch.stack(values) for name, values in self.observed.items()},
            step=torch.tensor(self.steps, dtype=torch.float64),
            time=self.ticks.time_of(self.steps),
            phase=torch.tensor(self.phase),
            phases=tuple(phase.name for phase in self.phases),
            eps=self.ticks.eps,
            status=status.reshape(batch),
            message=message,
            failed_step=self.failed.reshape(batch),
            seed=self.source.seed,
            samples=self.source.samples,
            substeps=self.source.substeps,
            method=method,
            threads=threads,
            network=dynamics.network,
        )


def _adaptive_run(
    dynamics: Dynamics,
    method: str,
    s: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    threads: int,
    observe: Observables | None,
) -> Trajectory:
    try:
        states = integrate_adaptive(dynamics, method_named(method), s, times, rtol, atol)
    except AssertionError as error:
        raise FloatingPointError(
            f"{method} could not hold rtol = {rtol:g}, atol = {atol:g} ({error}); use a larger "
            "tolerance or a fixed-step method."
        ) from error
    n_samples = s.shape[:-1].numel()
    none = torch.full((n_samples,), -1, device=s.device)
    values = {
        name: torch.stack([torch.as_tensor(function(state)) for state in states])
        for name, function in (observe or {}).items()
    }
    return Trajectory(
        state=states[-1:] if observe else states,
        observed=values,
        step=torch.full_like(times, torch.nan),
        time=times,
        phase=torch.zeros(len(times), dtype=torch.long),
        phases=("",),
        eps=None,
        status=torch.zeros(s.shape[:-1], dtype=torch.int8, device=s.device),
        message=[""] * n_samples,
        failed_step=none.reshape(s.shape[:-1]),
        seed=None,
        samples=tuple(range(n_samples)),
        substeps=1,
        method=method,
        threads=threads,
        network=dynamics.network,
    )


def _phases(
    dynamics: Dynamics | Sequence[Phase], n_steps: int | None, times: ArrayLike | Tensor | None
) -> Sequence[Phase]:
    if isinstance(dynamics, Dynamics):
        return [Phase("", dynamics, n_steps if n_steps is not None and n_steps >= 1 else 1)]
    phases = list(dynamics)
    if not phases or n_steps is not None or times is not None:
        raise ValueError("expected one or more phases and no n_steps or times; phases have theirs.")
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError(f"expected phases of different names, got {names}.")
    sizes = {phase.dynamics.network.n_units for phase in phases}
    if len(sizes) > 1:
        raise ValueError(f"expected phases with the same units, got {sorted(map(str, sizes))}.")
    return phases


def _start(phases: Sequence[Phase], start: ArrayLike | Tensor) -> Tensor:
    """Return the first state, broadcast against biases, targets and noise."""
    s = phases[0].dynamics.network.as_state(start)
    finite = torch.isfinite(s).all(-1)
    if not bool(finite.all()):
        row = int((~finite).reshape(-1).int().argmax())
        raise ValueError(f"expected a finite start, got NaN or infinity in sample {row}; mend it.")
    batch = torch.broadcast_shapes(s.shape[:-1], *(phase.dynamics.batch for phase in phases))
    return s.expand(*batch, s.shape[-1]).contiguous()


def _noise_source(
    s: Tensor,
    eps: Tensor,
    seed: int | None,
    samples: Sequence[int] | None,
    noise_of: Trajectory | None,
    noisy: bool,
) -> _NoiseSource:
    """Return the streams of a run, those of another run if it is given."""
    n_samples = s.shape[:-1].numel()
    if samples is None:
        samples = noise_of.samples if noise_of is not None else range(n_samples)
    if len(samples) != n_samples or any(int(i) != i or i < 0 for i in samples):
        raise ValueError(
            f"expected samples as {n_samples} numbers >= 0, one a row, got {len(samples)}."
        )
    samples = tuple(int(i) for i in samples)
    if noise_of is None:
        seed = (fresh_seed() if seed is None else int(seed)) if noisy else None
        return _NoiseSource(seed, samples, 1, 0)
    if seed is not None:
        raise ValueError("expected seed or noise_of, got both; noise_of brings its seed.")
    if noise_of.seed is None or noise_of.eps is None:
        raise ValueError("expected noise_of to be a run with noise, got one without.")
    if noise_of.state.dtype != s.dtype or noise_of.state.shape[-1] != s.shape[-1]:
        raise ValueError("expected noise_of to have this run's dtype and units, got others.")
    ratio = eps.cpu() / noise_of.eps.cpu()
    m = int(ratio.max().round())
    if m < 1 or bool(((ratio - m).abs() > 1e-9 * m).any()):
        raise ValueError(
            "expected eps to be a whole multiple of that of noise_of, got "
            f"{float(ratio.max()):g} times it; run the finer one first."
        )
    first = int(noise_of.step[0])
    if first % m:
        raise ValueError(f"expected noise_of to start at a multiple of {m} steps, got {first}.")
    return _NoiseSource(noise_of.seed, samples, m * noise_of.substeps, first // m)


def _refuse_kinks(dynamics: Dynamics, method: str) -> None:
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
    H = dynamics.network.hessian(flat).detach()
    H = H[(0,) * (H.ndim - 2)]
    if float(eps.max()) * float(H.abs().sum(-1).max()) < 2:
        return
    limit = 2 / float(torch.linalg.eigvalsh(H)[-1])
    if limit > 0 and float(eps.max()) >= limit:
        warnings.warn(
            f"eps = {float(eps.max()):g} is at or above 2/lambda_max = {limit:.6g} at the start: "
            "plain steps oscillate instead of settling.",
            stacklevel=3,
        )


def _check_room(n_saved: int, s: Tensor, observe: Observables | None, graph_steps: int) -> None:
    """Refuse a run whose states do not fit into memory."""
    a_state = s.numel() * s.element_size()
    needed = a_state * ((0 if observe else n_saved) + _GRAPH_FACTOR * graph_steps)
    free = torch.cuda.mem_get_info(s.device)[0] if s.is_cuda else _free_memory()
    if needed > free:
        remedy = "take fewer steps" if graph_steps else "save fewer (save_every) or use observe"
        raise ValueError(
            f"this run would keep {needed / 2**30:.3g} GiB, more than the {free / 2**30:.3g} GiB "
            f"there are; {remedy}."
        )


def _free_memory() -> float:
    try:
        with open("/proc/meminfo") as lines:
            return next(1024.0 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@contextmanager
def _threads(threads: int | None, s: Tensor) -> Iterator[int]:
    """Set the threads of torch for a while."""
    before = torch.get_num_threads()
    used = threads if threads is not None else 1 if s.numel() < _SMALL_STEP else before
    if used < 1:
        raise ValueError(f"expected threads >= 1, got {threads}.")
    torch.set_num_threads(used)
    try:
        yield used
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bar(shown: bool, n_steps: int) -> Iterator[Callable[[int], object]]:
    if not shown:
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=n_steps, unit="step") as bar:
        yield bar.update
