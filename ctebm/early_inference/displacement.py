"""What a drive moves: runs from an equilibrium, minus what would have happened without it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ctebm.dynamics.integrate import simulate
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.sde import Dynamics
from ctebm.early_inference.crossings import Crossings
from ctebm.early_inference.drive import Drive
from ctebm.early_inference.driven import ComplexNudge, check_strip
from ctebm.early_inference.metrics import replicate_intervals
from ctebm.networks.base import VectorField

__all__ = ["BASELINES", "Displacement", "DrivenRun"]

BASELINES = ("undriven", "held", "equilibrium")
_KEPT_NUMBERS = 2**22  # of the states kept at a time, to see every crossing in bounded memory


@dataclass(frozen=True)
class Displacement:
    """Displacements for unit strength of the drive, at one step size.

    Attributes
    ----------
    mean : Tensor
        ``(save, sample, unit)``, over replicates if there is noise.
    standard_error : Tensor or None
        Of that mean; None without noise.
    coefficient_interval, cosine_interval : Tensor or None
        Confidence intervals over replicates, ``(2, save, sample, layer)``.
    crossings : Crossings
        First kink of each sample, in any replicate.
    seed : int or None
        Root seed of the noise.
    """

    mean: Tensor
    standard_error: Tensor | None
    coefficient_interval: Tensor | None
    cosine_interval: Tensor | None
    crossings: Crossings
    seed: int | None


@dataclass(frozen=True)
class DrivenRun:
    """A network at equilibrium and what is done to it.

    Attributes
    ----------
    network : VectorField
        With its input clamped.
    state, target, responsive, chain : Tensor
        Equilibrium, target states, units that carry a change, and the chain gradient.
    drive : Drive
        How the target arrives.
    method : str
        The solver.
    sigma, noise, replicates
        Intensity and kind of the noise, and runs of each sample.
    baseline : str
        What is subtracted from a noisy run.
    intervals : bool
        Whether to make confidence intervals over replicates.
    """

    network: VectorField
    state: Tensor
    target: Tensor
    responsive: Tensor
    chain: Tensor
    drive: Drive
    method: str
    sigma: float = 0.0
    noise: Literal["langevin", "synaptic"] = "langevin"
    replicates: int = 1
    baseline: str = "equilibrium"
    intervals: bool = False

    def at(self, eps: float, saves: list[int], seed: int | None = None) -> Displacement:
        """Return what the drive has moved at the given steps."""
        crossings = Crossings(self.network.box, self.state, self.responsive)
        total: Tensor | None = None
        for beta, factor in self.drive.weights():
            moved, seed = self._moved(beta, eps, saves, seed, crossings)
            part = (factor * moved).real if moved.is_complex() else factor.real * moved
            total = part if total is None else total + part
        assert total is not None
        if self.sigma == 0:
            return Displacement(total, None, None, None, crossings, None)
        mean = total.mean(1)
        error = total.std(1) / self.replicates**0.5 if self.replicates > 1 else mean * torch.nan
        coefficient = cosine = None
        if self.intervals:
            coefficient, cosine = self._intervals(total)
        return Displacement(mean, error, coefficient, cosine, crossings, seed)

    def linear_response(self, eps: float, saves: list[int]) -> Tensor:
        """Return what the linearised network does under the same drive, ``(save, ...)``."""
        motion, start = self.drive.tangent(self.network, self.state, self.target, self.responsive)
        with warnings.catch_warnings():  # of a large eps, already said of the network itself
            warnings.simplefilter("ignore")
            return run(motion, start, eps, saves, self.method)

    def _moved(
        self, beta: complex, eps: float, saves: list[int], seed: int | None, crossings: Crossings
    ) -> tuple[Tensor, int | None]:
        """Return the displacement at one strength, undivided, and the seed of its noise."""
        if beta.imag:
            return self._complex(beta, eps, saves), seed
        motion = self.drive.dynamics(self.network, self.target, self.sigma, self.noise, beta.real)
        start = self.drive.start(self.network, self.state, self.target)
        if self.sigma == 0:
            return self._watched(motion, start, eps, saves, crossings) - self.state, None
        start = start.expand(self.replicates, *start.shape)
        noisy = simulate(
            motion, start, n_steps=saves[-1], eps=eps, method=self.method, save_steps=saves,
            seed=seed,
        )  # fmt: skip
        states = self.drive.seen(self.network, noisy.state, self.target)
        for n, s in zip(saves, states, strict=True):
            crossings.see(n, s)
        twin = self._twin(beta.real)
        if twin is None:
            return states - self.state, noisy.seed
        rest = simulate(
            twin, self.state.expand_as(start), n_steps=saves[-1], eps=eps, method=self.method,
            save_steps=saves, noise_of=noisy,
        ).state  # fmt: skip
        if self.baseline == "held":
            rest = self.drive.seen(self.network, rest, self._own_output)
        return states - rest, noisy.seed

    def _twin(self, beta: float) -> Dynamics | None:
        """Return the motion to subtract, on the same noise."""
        if self.baseline == "equilibrium":
            return None
        if self.baseline == "undriven":
            return Dynamics(self.network, sigma=self.sigma, noise=self.noise)
        return self.drive.dynamics(self.network, self._own_output, self.sigma, self.noise, beta)

    @property
    def _own_output(self) -> Tensor:
        return self.state[..., self.network.layers[self.network.output]]

    def _complex(self, beta: complex, eps: float, saves: list[int]) -> Tensor:
        n = self.state.shape[-1]
        start = torch.cat([self.state, torch.zeros_like(self.state)], -1)
        motion = Dynamics(ComplexNudge(self.network, self.target, beta))
        moved = run(motion, start, eps, saves, self.method) - start
        real, imaginary = moved[..., :n].contiguous(), moved[..., n:].contiguous()
        check_strip(self.network, float(imaginary.abs().max()), beta)
        return torch.complex(real, imaginary)

    def _watched(
        self, motion: Dynamics, start: Tensor, eps: float, saves: list[int], crossings: Crossings
    ) -> Tensor:
        """Return the saved states; every step between them is looked at for crossings."""
        if self.network.box is None or METHODS[self.method].adaptive:
            return run(motion, start, eps, saves, self.method)
        if start is not self.state:
            crossings.see(0, start)
        kept, s, wanted = [start], start, set(saves)
        span = max(16, _KEPT_NUMBERS // s.numel())
        for first in range(0, saves[-1], span):
            m = min(span, saves[-1] - first)
            states = simulate(motion, s, n_steps=m, eps=eps, method=self.method).state
            for j in range(1, m + 1):
                crossings.see(first + j, states[j])
                if first + j in wanted:
                    kept.append(states[j].clone())
            s = states[-1]
        return torch.stack(kept)

    def _intervals(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Return intervals over the replicates of ``(save, replicate, sample, unit)``."""
        coefficients, cosines = [], []
        for where in self.network.layers.values():
            d, g = moved[..., where], self.chain[..., where]
            dots = (d * g).sum(-1).movedim(1, -1)
            gram = torch.einsum("krsu,kqsu->ksrq", d, d)
            norm = g.norm(dim=-1).expand(dots.shape[:-1])
            coefficient, cosine = replicate_intervals(dots, gram, norm)
            coefficients.append(coefficient)
            cosines.append(cosine)
        return torch.stack(coefficients, -1), torch.stack(cosines, -1)


def run(motion: Dynamics, start: Tensor, eps: float, saves: list[int], method: str) -> Tensor:
    """Return the states at the given steps of a noiseless run."""
    if METHODS[method].adaptive:
        times = torch.tensor(saves, dtype=torch.float64) * eps
        return simulate(motion, start, times=times, method=method).state
    return simulate(
        motion, start, n_steps=saves[-1], eps=eps, method=method, save_steps=saves
    ).state
