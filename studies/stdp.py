"""Does the rule of eq. 26 look like spike-timing-dependent plasticity?

A unit before and one after a synapse fluctuate on their own (Langevin noise), and fire at random at
their rates. The weight changes by the rate of change of the state behind the synapse whenever the
unit before it fires (eq. 26). Averaged over pairs of spikes at a given difference of times, the
change has the shape that experiments find (Bengio et al. 2015a, arXiv:1509.05936): stronger if the
spike before the synapse comes first, weaker if it comes last. With C the autocovariance of the
state, the average is :math:`-C'(\\Delta t) / \\bar\\rho`, here an exponential on either side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does the rule of eq. 26 look like spike-timing-dependent plasticity?"""

    sigma: float = 0.2
    """Noise of the units."""
    rate: float = 10.0
    """Spikes a time constant at the rate 1."""
    eps: float = 0.05
    """Step."""
    duration: float = 100.0
    """Of a run, in membrane time constants."""
    n_runs: int = 1024
    """Independent runs."""
    window: float = 3.0
    """Largest difference of spike times."""
    bins: int = 12
    """On either side of it."""

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 0.3:
            raise ValueError(
                f"--sigma needs 0 < sigma <= 0.3, so that units stay between their kinks at "
                f"-0.5 and 0.5, got {self.sigma}."
            )
        if not 0 < self.eps <= 0.2:
            raise ValueError(f"--eps needs 0 < eps <= 0.2, got {self.eps}.")
        if not 0 < self.rate * self.eps <= 1:
            raise ValueError("--rate times --eps is a probability; give less of either.")
        if not self.bins * self.eps <= self.window < self.duration / 4:
            raise ValueError("--window must hold a step a bin, and be short beside --duration.")
        if self.n_runs < 16:
            raise ValueError(f"--n-runs needs 16 or more for its errors, got {self.n_runs}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch
    import xarray as xr

    import ctebm
    from ctebm.dataset import variable

    eps, rho = settings.eps, ctebm.HardSigmoid()
    pair = ctebm.DenseNetwork(np.zeros((2, 2)), np.zeros(2), rho)
    n_steps = round(settings.duration / eps)
    start = torch.zeros(settings.n_runs, 2, dtype=torch.float64)
    moving = ctebm.Dynamics(pair, sigma=settings.sigma)
    state = ctebm.simulate(moving, start, n_steps=n_steps, eps=eps, seed=settings.seed).state
    state = state[round(5 / eps) :]  # the start is forgotten
    rates = rho(state).numpy()
    chance = np.random.default_rng([settings.seed, 1]).random(rates.shape)
    spike = chance < settings.rate * eps * rates
    velocity = np.diff(state[..., 1].numpy(), axis=0) / eps

    per_bin = round(settings.window / settings.bins / eps)
    n_lags = per_bin * settings.bins
    lags = np.arange(1 - n_lags, n_lags + 1)
    change, pairs = _change(spike, velocity, lags, progress)
    binned = [x.reshape(2 * settings.bins, per_bin, -1).sum(1) for x in (change, pairs)]
    mean = binned[0].sum(-1) / binned[1].sum(-1)
    spread = (binned[0] - mean[:, None] * binned[1]).std(-1) * np.sqrt(settings.n_runs)
    fine = _theory(settings, lags, float(rates[..., 1].mean()))
    theory = fine.reshape(2 * settings.bins, per_bin).mean(1)
    shown = slice(0, round(10 / eps))
    time = eps * np.arange(shown.stop)
    return xr.Dataset(
        {
            "change": variable("lag", mean, "weight change a pair of spikes"),
            "error": variable("lag", spread / binned[1].sum(-1), "its standard error"),
            "pairs": variable("lag", binned[1].sum(-1), "pairs of spikes"),
            "theory": variable("lag", theory, "correlation of rate and rate of change"),
            "theory_fine": variable("fine_lag", fine, "the same, step by step"),
            "pre_rate": variable("time", rates[shown, 0, 0], "rate before the synapse"),
            "post_rate": variable("time", rates[shown, 0, 1], "rate after the synapse"),
            "pre_spike": variable("time", spike[shown, 0, 0], "spike before the synapse"),
            "post_spike": variable("time", spike[shown, 0, 1], "spike after the synapse"),
        },
        {
            "lag": variable("lag", eps * (lags.reshape(2 * settings.bins, -1).mean(1) - 0.5),
                            "spike after minus spike before", "membrane time constant"),
            "fine_lag": variable("fine_lag", eps * (lags - 0.5), "spike after minus spike before",
                                 "membrane time constant"),
            "time": variable("time", time, "time", "membrane time constant"),
        },
        {"eps": eps, "window": settings.window},
    )  # fmt: skip


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


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.learning import stdp_figure

    return stdp_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    off = abs((dataset.change - dataset.theory) / dataset.error)
    near = dataset.where(abs(dataset.lag) < 1, drop=True)
    z = near.change / near.error
    return [
        Verdict.at_most("largest distance from theory / standard error", float(off.max()), 4,
                        f"{int(dataset.pairs.sum()):,} pairs of spikes"),
        Verdict.at_least("after follows before within 1: change / error",
                         float(z.where(near.lag > 0).min()), 3),
        Verdict.at_most("before follows after within 1: change / error",
                        float(z.where(near.lag < 0).max()), -3),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
