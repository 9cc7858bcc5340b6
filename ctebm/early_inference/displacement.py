"""What a drive moves: runs from an equilibrium, minus what would have happened without it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ctebm.dynamics.integrate import simulate
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.trajectory import Trajectory
from ctebm.early_inference.analytic import ComplexNudge, check_analytic_strip
from ctebm.early_inference.crossings import CrossingDetector, Crossings
from ctebm.early_inference.drive import Drive
from ctebm.early_inference.gradients import chain_gradient, responsive_units
from ctebm.early_inference.metrics import replicate_intervals
from ctebm.early_inference.schedule import Replicates
from ctebm.networks.base import VectorField

__all__ = ["Displacement", "DrivenRun"]

_KEPT_NUMBERS = 2**22  # of the states kept at a time, to look at every step in bounded memory
_SHORTEST_SPAN = 16  # steps in one call of the solver, however large the state


@dataclass(frozen=True, eq=False)
class Displacement:
    """Displacements for unit strength of the drive, at one step size.

    Attributes
    ----------
    mean : Tensor
        ``(save, sample, unit)``, over replicates if there is noise.
    linear_response : Tensor
        What the linearised network does under the same drive, solver and step, of the same shape.
    crossings : Crossings
        First kink of each sample, in any replicate.
    standard_error : Tensor or None
        Of that mean; None without noise, NaN for one replicate.
    coefficient_interval, cosine_interval : Tensor or None
        Confidence intervals over replicates, ``(2, save, sample, layer)``; None if not asked for.
    seed : int or None
        Root seed of the noise; None without noise.
    """

    mean: Tensor
    linear_response: Tensor
    crossings: Crossings
    standard_error: Tensor | None = None
    coefficient_interval: Tensor | None = None
    cosine_interval: Tensor | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class DrivenRun:
    """A network at equilibrium and what is done to it.

    Attributes
    ----------
    network : VectorField
        With its input clamped.
    state : Tensor
        The equilibrium, ``(sample, unit)``.
    target : Tensor
        Target states of the output, ``(sample, output unit)``.
    drive : Drive
        How the target arrives.
    method : str
        The solver.
    replicates : Replicates
        The noisy runs, or the one run without noise.
    """

    network: VectorField
    state: Tensor
    target: Tensor
    drive: Drive
    method: str
    replicates: Replicates

    @cached_property
    def aim(self) -> Tensor:
        """Targets whose squared error has the slope of the cost, ``(sample, output unit)``."""
        return self.drive.aim(self.network, self.state, self.target)

    @cached_property
    def responsive(self) -> Tensor:
        """Units that carry a small change, ``(sample, unit)``."""
        return responsive_units(self.network, self.state, self.aim, self.drive.one_sided)

    @cached_property
    def chain(self) -> Tensor:
        """The chain gradient, ``(sample, unit)``."""
        return chain_gradient(self.network, self.state, self.aim, self.drive.one_sided)

    def displacement(self, eps: float, steps: list[int], seed: int | None = None) -> Displacement:
        """Return what the drive has moved after the given steps of size `eps`."""
        box, kinks = self.network.box, self.network.kinks
        detector = CrossingDetector(box, kinks, self.state, self.responsive)
        total: Tensor | None = None
        for strength, factor in self.drive.runs():
            moved, seed = self._moved(strength, eps, steps, seed, detector)
            term = (factor * moved).real if moved.is_complex() else factor.real * moved
            total = term if total is None else total + term
        assert total is not None
        linear = self._linear_response(eps, steps)
        if self.replicates.sigma == 0:
            return Displacement(total, linear, detector.found)
        n, mean = self.replicates.n, total.mean(1)
        error = total.std(1) / n**0.5 if n > 1 else mean * torch.nan
        intervals = self._intervals(total) if self.replicates.intervals else (None, None)
        return Displacement(mean, linear, detector.found, error, *intervals, seed)

    def _linear_response(self, eps: float, steps: list[int]) -> Tensor:
        motion, start = self.drive.tangent(self.network, self.state, self.target, self.responsive)
        with warnings.catch_warnings():  # of a large eps, already said of the network itself
            warnings.simplefilter("ignore")
            return states_at(motion, start, eps, steps, self.method)

    def _moved(
        self,
        strength: complex,
        eps: float,
        steps: list[int],
        seed: int | None,
        detector: CrossingDetector,
    ) -> tuple[Tensor, int | None]:
        """Return the displacement at one strength, undivided, and the seed of its noise."""
        if strength.imag:
            return self._moved_by_complex(strength, eps, steps), seed
        motion = self._motion(self.target, strength.real)
        start = self.drive.start(self.network, self.state, self.target)
        if not self.replicates.sigma:
            return self._watched(motion, start, eps, steps, detector) - self.state, None
        noisy = simulate(
            motion, start.expand(self.replicates.n, *start.shape), n_steps=steps[-1], eps=eps,
            method=self.method, save_steps=steps, seed=seed,
        )  # fmt: skip
        states = self.drive.seen(self.network, noisy.state, self.target)
        for n, s in zip(steps, states, strict=True):
            detector.look(n, s)
        return states - self._baseline(noisy, strength.real, eps, steps), noisy.seed

    def _motion(self, target: Tensor, strength: float) -> Dynamics:
        noise = self.replicates
        return self.drive.dynamics(self.network, target, noise.sigma, noise.noise, strength)

    def _baseline(self, noisy: Trajectory, strength: float, eps: float, steps: list[int]) -> Tensor:
        """Return what to subtract from a noisy run: another run on the same noise, or its start."""
        chosen, own = self.replicates, self.state[..., self.network.layers[self.network.output]]
        if chosen.baseline == "equilibrium":
            return self.state
        held = chosen.baseline == "held"
        twin = (
            self._motion(own, strength)
            if held
            else Dynamics(self.network, sigma=chosen.sigma, noise=chosen.noise)
        )
        states = simulate(
            twin, self.state.expand(chosen.n, *self.state.shape), n_steps=steps[-1], eps=eps,
            method=self.method, save_steps=steps, noise_of=noisy,
        ).state  # fmt: skip
        return self.drive.seen(self.network, states, own) if held else states

    def _moved_by_complex(self, strength: complex, eps: float, steps: list[int]) -> Tensor:
        """Return the complex displacement under a nudge of complex strength."""
        n = self.state.shape[-1]
        start = torch.cat([self.state, torch.zeros_like(self.state)], -1)
        motion = Dynamics(ComplexNudge(self.network, self.target, strength))
        moved = states_at(motion, start, eps, steps, self.method) - start
        real, imaginary = moved[..., :n].contiguous(), moved[..., n:].contiguous()
        check_analytic_strip(self.network, float(imaginary.abs().max()), strength)
        return torch.complex(real, imaginary)

    def _watched(
        self,
        motion: Dynamics,
        start: Tensor,
        eps: float,
        steps: list[int],
        detector: CrossingDetector,
    ) -> Tensor:
        """Return the saved states; every step between them is looked at for crossings."""
        kinked = self.network.box is not None or self.network.kinks is not None
        if not kinked or METHODS[self.method].adaptive:
            return states_at(motion, start, eps, steps, self.method)
        if start is not self.state:
            detector.look(0, start)
        kept, s, wanted = [start], start, set(steps)
        span = max(_SHORTEST_SPAN, _KEPT_NUMBERS // s.numel())
        for first in range(0, steps[-1], span):
            m = min(span, steps[-1] - first)
            states = simulate(motion, s, n_steps=m, eps=eps, method=self.method).state
            for j in range(1, m + 1):
                detector.look(first + j, states[j])
                if first + j in wanted:
                    kept.append(states[j].clone())
            s = states[-1]
        return torch.stack(kept)

    def _intervals(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Return intervals over the replicates of ``(save, replicate, sample, unit)``."""
        chain, coefficients, cosines = self.chain, [], []
        for where in self.network.layers.values():
            d, g = moved[..., where], chain[..., where]
            dots = (d * g).sum(-1).movedim(1, -1)
            gram = torch.einsum("krsu,kqsu->ksrq", d, d)
            norm = g.norm(dim=-1).expand(dots.shape[:-1])
            coefficient, cosine = replicate_intervals(dots, gram, norm)
            coefficients.append(coefficient)
            cosines.append(cosine)
        return torch.stack(coefficients, -1), torch.stack(cosines, -1)


def states_at(motion: Dynamics, start: Tensor, eps: float, steps: list[int], method: str) -> Tensor:
    """Return the states after the given steps of a noiseless run, ``(save, *batch, unit)``."""
    if METHODS[method].adaptive:
        times = torch.tensor(steps, dtype=torch.float64, device="cpu") * eps
        return simulate(motion, start, times=times, method=method).raise_for_status().state
    return simulate(
        motion, start, n_steps=steps[-1], eps=eps, method=method, save_steps=steps
    ).state
