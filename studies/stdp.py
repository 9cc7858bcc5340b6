"""Does the rule of eq. 26 look like spike-timing-dependent plasticity?

A unit before and one after a synapse fluctuate on their own (Langevin noise), and fire at random at
their rates. The weight changes by the rate of change of the state behind the synapse whenever the
unit before it fires (eq. 26). Averaged over pairs of spikes at a given difference of times, the
change has the signs that experiments find (Bengio et al. 2015a, arXiv:1509.05936): stronger if the
spike before the synapse comes first, weaker if it comes last. With C the autocovariance of the
state, the average is :math:`-C'(\\Delta t) / \\bar\\rho`, here an exponential on either side. It is
antisymmetric, with one time constant, where experiments find unequal sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

FORGOTTEN = 5.0  # time after which the start no longer matters
SHOWN = 10.0  # time of one run that is kept for the figure


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does the rule of eq. 26 look like spike-timing-dependent plasticity?"""

    example = "--n-runs 4096 --seed 1 --out results/more_spikes"

    sigma: float = 0.2
    """Intensity of the units' Langevin noise."""
    spike_rate: float = 10.0
    """Spikes in a membrane time constant of a unit whose rate is 1."""
    eps: float = 0.05
    """Step size, in membrane time constants."""
    duration: float = 100.0
    """Length of a run, in membrane time constants."""
    n_runs: int = 1024
    """Number of independent runs."""
    window: float = 3.0
    """Largest difference of spike times, in membrane time constants."""
    bins: int = 12
    """Bins of spike times on either side of 0."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        if not 0 < self.sigma <= 0.3:
            raise ValueError(
                f"--sigma needs 0 < sigma <= 0.3, so that units stay between their kinks at "
                f"-0.5 and 0.5, got {self.sigma}."
            )
        study.check_eps(self.eps, upper=0.2)
        if not 0 < self.spike_rate * self.eps <= 1:
            raise ValueError("--spike-rate times --eps is a probability; give less of either.")
        if self.bins < 1:
            raise ValueError(f"--bins needs 1 or more, got {self.bins}.")
        if not self.bins * self.eps <= self.window < self.duration / 4:
            raise ValueError("--window must hold a step a bin, and be short beside --duration.")
        if self.n_runs < 16:
            raise ValueError(f"--n-runs needs 16 or more for its errors, got {self.n_runs}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    eps = settings.eps
    state, rates = _fluctuations(settings)
    chance = np.random.default_rng([settings.seed, 1]).random(rates.shape)
    spike = chance < settings.spike_rate * eps * rates
    velocity = np.diff(state[..., 1], axis=0) / eps
    per_bin = round(settings.window / settings.bins / eps)
    n_lags = per_bin * settings.bins
    lags = np.arange(1 - n_lags, n_lags + 1)
    bins = (2 * settings.bins, per_bin)
    found = _binned(*_change(spike, velocity, lags, progress), bins)
    theory = _theory(settings, lags, float(rates[..., 1].mean()))
    shown = slice(0, round(SHOWN / eps))
    return _recorded(settings, found, theory, bins, rates[shown, 0], spike[shown, 0])


def _fluctuations(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return states and rates of two units that move on their own, ``(step, run, unit)``."""
    import numpy as np
    import torch

    import ctebm

    eps, rho = settings.eps, ctebm.HardSigmoid()
    pair = ctebm.DenseNetwork(np.zeros((2, 2)), np.zeros(2), rho)
    start = torch.zeros(settings.n_runs, 2, dtype=torch.float64)
    state = ctebm.simulate(
        ctebm.Dynamics(pair, sigma=settings.sigma), start,
        n_steps=round(settings.duration / eps), eps=eps, seed=settings.seed,
    ).state[round(FORGOTTEN / eps) :]  # fmt: skip
    return state.numpy(), rho(state).numpy()


def _change(
    spike: np.ndarray, velocity: np.ndarray, lags: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each lag and run, the sum of changes over pairs of spikes, and their number."""
    import numpy as np

    edge = int(abs(lags).max()) + 1
    when = np.arange(edge, len(velocity) - edge)
    fired = spike[when, :, 0]
    # What all spikes before the synapse change in the mean is noise that every lag shares.
    moved = np.where(fired, velocity[when] - velocity[when][fired].mean(), 0.0)
    change, pairs = (np.empty((len(lags), spike.shape[1])) for _ in range(2))
    for i, lag in enumerate(progress(lags.tolist(), "spike timings")):
        after = spike[when + lag, :, 1]
        change[i] = np.einsum("tr,tr->r", moved, after)
        pairs[i] = np.count_nonzero(fired & after, axis=0)
    return change, pairs


def _theory(settings: Settings, lags: np.ndarray, mean_rate: float) -> np.ndarray:
    """Return ``(C(m - 1) - C(m)) / (eps rate)`` with the covariance C of Euler-Maruyama steps."""

    variance = settings.sigma**2 / (2 - settings.eps)

    def C(m: np.ndarray) -> np.ndarray:
        return variance * (1 - settings.eps) ** abs(m)

    return (C(lags - 1) - C(lags)) / (settings.eps * mean_rate)


def _binned(change: np.ndarray, pairs: np.ndarray, bins: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the mean change over pairs in bins of lags, and its error over independent runs."""
    import numpy as np

    change, pairs = (x.reshape(*bins, -1).sum(1) for x in (change, pairs))
    mean = change.sum(-1) / pairs.sum(-1)
    spread = (change - mean[:, None] * pairs).std(-1) * np.sqrt(change.shape[-1])
    return {"change": mean, "error": spread / pairs.sum(-1), "pairs": pairs.sum(-1)}


def _recorded(
    settings: Settings,
    found: dict[str, np.ndarray],
    theory: np.ndarray,
    bins: tuple[int, int],
    rates: np.ndarray,
    spike: np.ndarray,
) -> xr.Dataset:
    import numpy as np

    eps, n_lags = settings.eps, theory.size // 2
    lags, lag = np.arange(1 - n_lags, n_lags + 1), "spike after minus spike before"
    middle = eps * (lags.reshape(bins).mean(1) - 0.5)
    return labelled(
        {
            "change": ("lag", found["change"], "weight change a pair of spikes"),
            "error": ("lag", found["error"], "its standard error"),
            "pairs": ("lag", found["pairs"], "pairs of spikes"),
            "theory": (
                "lag", theory.reshape(bins).mean(1), "correlation of rate and rate of change",
            ),
            "theory_fine": ("fine_lag", theory, "the same, step by step"),
            "pre_rate": ("time", rates[:, 0], "rate before the synapse"),
            "post_rate": ("time", rates[:, 1], "rate after the synapse"),
            "pre_spike": ("time", spike[:, 0], "spike before the synapse"),
            "post_spike": ("time", spike[:, 1], "spike after the synapse"),
        },
        {"eps": eps, "window": settings.window},
        {
            "lag": ("lag", middle, lag, TAU),
            "fine_lag": ("fine_lag", eps * (lags - 0.5), lag, TAU),
            "time": ("time", eps * np.arange(len(rates)), "time", TAU),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.learning import stdp_figure

    return stdp_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    off = abs((dataset.change - dataset.theory) / dataset.error)
    z, near = dataset.change / dataset.error, abs(dataset.lag) < 1
    pairs = f"{int(dataset.pairs.sum()):,} pairs of spikes"
    return [
        Verdict.at_most("largest distance from theory / standard error", largest(off), 4, pairs),
        Verdict.at_least("after follows before within 1: change / error",
                         smallest(z, near & (dataset.lag > 0)), 3),
        Verdict.at_most("before follows after within 1: change / error",
                        largest(z, near & (dataset.lag < 0)), -3),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
