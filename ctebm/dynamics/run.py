"""A run under way: phase by phase, from save to save, looking after each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.dynamics.clock import Clock
from ctebm.dynamics.methods import (
    Flow,
    Method,
    flow,
    integrate_adaptive,
    method_named,
    noise_of_a_step,
)
from ctebm.dynamics.noise import BrownianSteps, fresh_seed
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.trajectory import Trajectory, failures

__all__ = ["NoiseSource", "Observables", "Run", "adaptive_run", "noise_source"]

Observables = Mapping[str, Callable[[Tensor], Tensor]]

_SPAN = 2000  # most steps between two looks at whether all is finite
_STEADY_SPAN = 16  # most steps between two looks at the force
_KEPT_BYTES = 2**24  # of the states that one call of a library returns


@dataclass(frozen=True)
class NoiseSource:
    """Where the noise of a run comes from; no seed if there is none."""

    seed: int | None
    samples: tuple[int, ...]
    substeps: int
    first: int

    def open(
        self, s: Tensor, first: int, n_steps: int, method: Method, intensity: Tensor
    ) -> BrownianSteps:
        """Return the noise of a stretch of steps on states like `s`."""
        assert self.seed is not None
        return BrownianSteps(
            self.seed, self.samples, s.shape[-1], s.dtype, s.device, first=first, n_steps=n_steps,
            substeps=self.substeps, area=method.area, intensity=intensity,
        )  # fmt: skip


class Run:
    """A run with fixed steps under way."""

    def __init__(
        self,
        phases: Sequence[Phase],
        method: Method,
        ticks: Clock,
        source: NoiseSource,
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
        stops, out = [first], self.s.unsqueeze(0)
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
        eps, brownian = self.ticks.eps, None
        if dynamics.noisy:
            intensity = noise_of_a_step(dynamics, eps, self.s)
            n_steps = self.phases[here].n_steps
            brownian = self.source.open(self.s, first, n_steps, self.method, intensity)
        return brownian, flow(dynamics, self.method, eps, self.s, brownian, self.projected)

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
        rest = self.phases[here].dynamics.residual(self.s).reshape(-1) <= tol
        return bool((rest | (self.failed >= 0)).all())

    def trajectory(self, method: str, threads: int, steady: float | None) -> Trajectory:
        """Return the record."""
        dynamics, batch = self.phases[-1].dynamics, self.s.shape[:-1]
        force = None if steady is None else dynamics.residual(self.s).reshape(-1)
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


def adaptive_run(
    dynamics: Dynamics,
    method: str,
    s: Tensor,
    times: Tensor,
    seed: int | None,
    rtol: float,
    atol: float,
    threads: int,
    observe: Observables | None,
) -> Trajectory:
    """Return a run of a method that chooses its steps."""
    try:
        states = integrate_adaptive(dynamics, method_named(method), s, times, rtol, atol, seed)
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
        seed=seed,
        samples=tuple(range(n_samples)),
        substeps=1,
        method=method,
        threads=threads,
        network=dynamics.network,
    )


def noise_source(
    s: Tensor,
    eps: Tensor,
    seed: int | None,
    samples: Sequence[int] | None,
    noise_of: Trajectory | None,
    noisy: bool,
) -> NoiseSource:
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
        return NoiseSource(seed, samples, 1, 0)
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
    return NoiseSource(noise_of.seed, samples, m * noise_of.substeps, first // m)


@contextmanager
def _bar(shown: bool, n_steps: int) -> Iterator[Callable[[int], object]]:
    if not shown:
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=n_steps, unit="step") as bar:
        yield bar.update
