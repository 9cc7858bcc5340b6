"""A run with fixed steps: phase by phase, in stretches of steps that end at saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ctebm.dynamics.clock import Clock
from ctebm.dynamics.euler import Flow
from ctebm.dynamics.failures import Failures
from ctebm.dynamics.flow import flow, integrator, noise_of_a_step
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.recorder import Recorder
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.seeding import Seeding
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.named import named_tensors
from ctebm.networks.versions import Versions

__all__ = ["Callback", "Run"]

Callback = Callable[[int, Tensor], object]

_SPAN = 2000  # most steps between two looks at whether all is finite
_STEADY_SPAN = 16  # most steps between two looks at the force
_KEPT_BYTES = 2**24  # of the states that one call of a library returns
_KEPT_STATES = 512  # most states that one call of a library returns
_JUDGED_STEPS = 50  # steps of a run beside which two more cost little
_RETURNED = 0.01  # of a step, what a state may be off that has returned after the next one


@dataclass(kw_only=True, eq=False)
class Run:
    """A run with fixed steps under way.

    Attributes
    ----------
    phases : sequence of Phase
        What moves the state, one after another.
    method : str
        The solver.
    clock : Clock
        Steps and saves.
    seeding : Seeding
        Where the noise comes from.
    projected : bool
        Let units of samples without noise slide on kinks.
    state : Tensor, (*batch, unit)
        The state now.
    recorder : Recorder
        What is kept.
    steady : float or None
        End when the largest force is at most this.
    callback : callable or None
        Called as ``callback(step, state)`` at saves; ends the run by a true value.
    failures : Failures
        Samples that left the finite numbers.
    motions : sequence of Dynamics
        Those of the phases, with what held layers send when the run begins.
    """

    phases: Sequence[Phase]
    method: str
    clock: Clock
    seeding: Seeding
    projected: bool
    state: Tensor
    recorder: Recorder
    steady: float | None = None
    callback: Callback | None = None
    failures: Failures = field(init=False)
    motions: Sequence[Dynamics] = field(init=False)

    def __post_init__(self) -> None:
        self.failures = Failures(self.state)
        self.motions = [phase.dynamics.snapshot() for phase in self.phases]
        if self.callback is not None and not callable(self.callback):
            raise ValueError(
                f"expected callback(step, state) as a function, got {self.callback!r}."
            )

    def _tensors(self) -> list[Tensor]:
        wholes = [phase.dynamics.network.origin[0] for phase in self.phases]
        return [p for whole in wholes for p in named_tensors(whole).values()]

    def go(self, progress: bool = False) -> None:
        """Take the steps, and save the last state, wherever the run ends."""
        self.recorder.save([self.clock.first], self.state.unsqueeze(0), 0)
        with _bar(progress, self.clock.n_steps) as bar:
            step, phase = self._go(bar)
        if self.recorder.steps[-1] != step:
            self.recorder.save([step], self.state.unsqueeze(0), phase)

    def _go(self, bar: Callable[[int], object]) -> tuple[int, int]:
        """Take the steps; return the step and the phase at which the run ends."""
        step, phase = self.clock.first, 0
        ends = accumulate((p.n_steps for p in self.phases), initial=step)
        for phase, (first, last) in enumerate(pairwise(ends)):
            with self._flow(phase, self.state, first, last) as advance:
                for stops in self.clock.stretches(first, last, *self._stretch_limits()):
                    step = self._advance(advance, stops, phase)
                    bar(step - stops[0])
                    if self._ends(step, phase):
                        return step, phase
        return step, phase

    def _stretch_limits(self) -> tuple[int, int]:
        """Return how many steps and how many saves a stretch may have."""
        span = _SPAN if self.steady is None else _STEADY_SPAN
        if self.callback is not None:
            return span, 1
        a_state = max(self.state.numel() * self.state.element_size(), 1)
        return span, min(max(_KEPT_BYTES // a_state, 1), _KEPT_STATES)

    @contextmanager
    def _flow(self, phase: int, start: Tensor, first: int, last: int) -> Iterator[Flow]:
        """Yield the flow of a phase from a step on, with its noise up to another."""
        dynamics, method, eps = self.motions[phase], METHODS[self.method], self.clock.eps
        noise = nullcontext()
        if dynamics.noisy:
            intensity = noise_of_a_step(dynamics, eps, start)
            noise = self.seeding.noise(start, first, last - first, method, intensity)
        with noise as brownian:
            yield flow(dynamics, method, eps, start, brownian, self.projected)

    def _advance(self, advance: Flow, stops: list[int], phase: int) -> int:
        """Take the steps of a stretch, save, and look for samples that are lost.

        Return the step that it ends at, the last one or the first at which all is steady.
        """
        before, states = self.state, advance(self.state, stops)
        steady = self._is_steady(states[1:], phase)
        if any(steady):
            stops = stops[: steady.index(True) + 2]
            states = states[: len(stops)]
        self.state = states[-1]
        n_saved = len(stops) - 1 if self.clock.is_saved(stops[-1]) else len(stops) - 2
        self.recorder.save(stops[1 : n_saved + 1], states[1 : n_saved + 1], phase)
        lost = self.failures.new(self.state)
        if bool(lost.any()):
            with self._flow(phase, before, stops[0], stops[-1]) as again:
                self.failures.trace(lost, again, before, stops[0], stops[-1])
        return stops[-1]

    def _ends(self, step: int, phase: int) -> bool:
        """Return whether the run ends at a step, before its last one."""
        if self.failures.all or any(self._is_steady(self.state.unsqueeze(0), phase)):
            return True
        if self.callback is None or not self.clock.is_saved(step):
            return False
        before = Versions.of(self._tensors())
        if self.callback(step, self.state):
            return True
        if not before.are(self._tensors()):
            raise ValueError(
                "expected parameters that stay as they are during a run, got others after the "
                f"callback at step {step}; let it return True there, and go on from the last state "
                f"with first_step={step}."
            )
        return False

    def _is_steady(self, states: Tensor, phase: int) -> list[bool]:
        """Return at which of some states every sample that is left is at equilibrium.

        Only the last phase ends there.
        """
        if self.steady is None or phase < len(self.phases) - 1:
            return []
        residuals = torch.stack([self._residual(s) for s in states])
        return ((residuals <= self.steady) | (self.failures.step >= 0)).all(-1).tolist()

    def _residual(self, s: Tensor) -> Tensor:
        """Return the largest force of each sample, ``(sample,)``, in the last phase."""
        return self.motions[-1].residual(s).reshape(-1)

    def alternating(self) -> Tensor:
        """Return which samples have ended in a jump to and fro between two states, ``(sample,)``.

        Two more steps are taken: one changes the state, and both together hardly do. Nothing is
        looked for with noise, in short runs, and where chattering at kinks is asked for.
        """
        step, phase = self.recorder.steps[-1], self.recorder.phases[-1]
        short = step - self.clock.first < _JUDGED_STEPS
        if short or not self.projected or self.phases[phase].dynamics.noisy:
            return torch.zeros_like(self.failures.step, dtype=torch.bool)
        with torch.no_grad(), self._flow(phase, self.state, step, step + 2) as advance:
            now, once, twice = advance(self.state, [step, step + 1, step + 2])
        rounding = math.sqrt(torch.finfo(now.dtype).eps)
        jump, rest = ((s - now).abs().amax(-1).reshape(-1) for s in (once, twice))
        scale = now.abs().amax(-1).reshape(-1).clamp(min=1)
        return (jump > rounding * scale) & (rest <= _RETURNED * jump)

    def trajectory(self, threads: int) -> Trajectory:
        """Return the record."""
        batch, kept = self.state.shape[:-1], self.recorder
        residual = None if self.steady is None else self._residual(self.state)
        status, message = self.failures.outcome(residual, self.steady, kept.steps[-1])
        return Trajectory(
            state=kept.state,
            observed=kept.observed,
            step=torch.tensor(kept.steps, dtype=torch.float64, device="cpu"),
            time=self.clock.time_of(kept.steps),
            phase=torch.tensor(kept.phases, device="cpu"),
            phases=tuple(phase.name for phase in self.phases),
            eps=self.clock.eps,
            status=status.reshape(batch),
            message=message,
            failed_step=self.failures.step.reshape(batch),
            seed=self.seeding.seed,
            samples=self.seeding.samples,
            substeps=self.seeding.substeps,
            stream=self.seeding.stream,
            method=self.method,
            threads=threads,
            dynamics=tuple(phase.dynamics for phase in self.phases),
            settings={
                "integrator": ", ".join(sorted(self._integrators())),
                "projected": self.projected,
                "steady": math.nan if self.steady is None else self.steady,
            },
        )

    def _integrators(self) -> set[str]:
        return {integrator(phase.dynamics, METHODS[self.method]) for phase in self.phases}


@contextmanager
def _bar(shown: bool, n_steps: int) -> Iterator[Callable[[int], object]]:
    if not shown:
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=n_steps, unit="step") as bar:
        yield bar.update
