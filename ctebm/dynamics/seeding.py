"""Which noise a run has: its root seed, the numbers of its samples, and where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from ctebm.dynamics.methods import Method, Stream
from ctebm.dynamics.noise import BrownianSteps
from ctebm.dynamics.streams import fresh_seed
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.numbers import one_of, whole, whole_array

__all__ = ["Seeding", "root_seed", "seeding"]

_MOST = {"host": 2**53 - 1, "philox": 2**32 - 1}  # numbers of samples that are told apart
_RATIO_ROUNDING = 1e-9  # relative: what the division of two step sizes may lose


@dataclass(frozen=True)
class Seeding:
    """Where the noise of a run comes from.

    Attributes
    ----------
    seed : int or None
        Root seed; None if there is no noise.
    samples : tuple of int
        Number of each row's sample, which names its stream.
    substeps : int
        How many finer steps of the streams a step's noise is made of.
    first : int
        The step at which the run begins if it does not say.
    stream : {"host", "philox"}
        How normals are made from the seed.
    """

    seed: int | None
    samples: tuple[int, ...]
    substeps: int = 1
    first: int = 0
    stream: Stream = "host"

    def noise(
        self, s: Tensor, first: int, n_steps: int, method: Method, intensity: Tensor
    ) -> BrownianSteps:
        """Return the noise of some steps on states like `s`."""
        assert self.seed is not None
        return BrownianSteps(
            self.seed, self.samples, s.shape[-1], s.dtype, s.device, first=first, n_steps=n_steps,
            substeps=self.substeps, area=method.area, intensity=intensity, stream=self.stream,
        )  # fmt: skip


def seeding(
    s: Tensor,
    eps: Tensor,
    seed: int | None,
    samples: Sequence[int] | None,
    noise_of: Trajectory | None,
    noisy: bool,
    stream: Stream = "host",
) -> Seeding:
    """Return the seeding of a run, that of another run if it is given.

    Parameters
    ----------
    s : Tensor, (*batch, unit)
        The first state.
    eps : Tensor
        Step size, ``()`` or ``(*batch)``.
    seed : int or None
        Root seed; drawn freshly if None.
    samples : sequence of int or None
        Number of each row of the flattened batch; by default those of `noise_of`, or 0, 1, ...
    noise_of : Trajectory or None
        The run whose noise is shared.
    noisy : bool
        Whether the run has noise.
    stream : {"host", "philox"}
        How normals are made from the seed; those of `noise_of` are made as they were there.

    Raises
    ------
    ValueError
        If the numbers are not one a row, or the other run's noise is not that of these steps.
    """
    if not isinstance(noise_of, Trajectory | None):
        raise ValueError(
            f"expected noise_of to be the record of a run, got {type(noise_of).__name__}; give "
            "what simulate returned."
        )
    if samples is None:
        samples = noise_of.samples if noise_of is not None else range(s.shape[:-1].numel())
    one_of("stream", stream, get_args(Stream))
    stream = stream if noise_of is None else noise_of.stream
    samples = _numbers(samples, s.shape[:-1].numel(), _MOST[stream])
    if noise_of is None:
        return Seeding(root_seed(seed) if noisy else None, samples, stream=stream)
    if seed is not None:
        raise ValueError("expected seed or noise_of, got both; noise_of brings its seed.")
    if noise_of.seed is None or noise_of.eps is None:
        raise ValueError("expected noise_of to be a run with noise, got one without.")
    if noise_of.state.dtype != s.dtype or noise_of.state.shape[-1] != s.shape[-1]:
        raise ValueError("expected noise_of to have this run's dtype and units, got others.")
    m = _multiple(eps.cpu() / noise_of.eps.cpu())
    first = int(noise_of.step[0])
    if first % m:
        raise ValueError(f"expected noise_of to start at a multiple of {m} steps, got {first}.")
    return Seeding(noise_of.seed, samples, m * noise_of.substeps, first // m, stream)


def root_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one."""
    return fresh_seed() if seed is None else whole("seed", seed, least=0)


def _numbers(samples: Sequence[int], n_samples: int, most: int) -> tuple[int, ...]:
    numbers = whole_array("samples", samples, 0, most, remedy="number them from 0")
    if numbers.shape != (n_samples,):
        raise ValueError(
            f"expected {n_samples} samples, one a row, got {numbers.size}; number each row."
        )
    return tuple(numbers.astype(int).tolist())


def _multiple(ratio: Tensor) -> int:
    """Return the whole number of finer steps in a step."""
    m = int(ratio.max().round())
    if m < 1 or bool(((ratio - m).abs() > _RATIO_ROUNDING * m).any()):
        raise ValueError(
            "expected eps to be a whole multiple of that of noise_of, got "
            f"{float(ratio.max()):g} times it; run the finer one first."
        )
    return m
