"""What does noise inside the pressure do, beside Langevin noise (eqs. 1, 2, 4 and 5)?

The paper's map s <- s + eps (R(s + eta) - s) takes its noise through the rates of the neighbours.
What tells it apart from Euler-Maruyama steps with Langevin noise: the variances of modes as eps
falls (N3), the noise of eq. 5 in the noisy state, hops between the valleys of a pair, and what it
leaves of weight updates at rest (section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled
from ctebm.study.samplers import (
    EULER,
    FIXED,
    LINEAR,
    MALA,
    MAPS,
    SCALED,
    held,
    listed,
    motion,
    off_law,
    pair,
    visited,
)
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

MAP_SIGMA = (0.01, 0.1)
MAP_SHARE = {0.2: (0.91, 1.12), 0.05: (0.30, 0.52), 0.0125: (0.055, 0.126)}  # at 0.1, of N3's limit
HOP_SIGMA, HOP_EPS, BEYOND = 0.5, (0.2, 0.1, 0.05), 1.0  # s1 + s2 is 1.51 in the other valley
NOISE_EPS, UPDATE_EPS, LINEAR_SIGMA, LAGS = 0.2, 0.4, 0.05, 5


@dataclass(frozen=True)
class Settings(study.Settings):
    """What does noise inside the pressure do, beside Langevin noise (eqs. 1, 2, 4 and 5)?"""

    example = "--chains 16000 --out results/more_chains"

    chains: int = 3000
    """Chains of each dynamics; every network takes a share of it."""
    time: float = 40.0
    """Time for which a chain is watched, in membrane time constants."""
    eps: tuple[float, ...] = tuple(MAP_SHARE)
    """Step sizes of the map whose modes are held against N3."""

    def __post_init__(self) -> None:
        study.refuse_ignored(self, ["device", "dtype"], "all is float64 on the CPU; leave it out")
        if not (self.eps and min(self.eps) >= 1e-3 and max(self.eps) <= 0.5):
            raise ValueError(f"--eps needs 0.001 to 0.5, got {self.eps}.")
        if self.chains < 320:
            raise ValueError(f"--chains needs 320 or more, got {self.chains}.")
        if not 10 <= self.time <= 10_000:
            raise ValueError(f"--time needs 10 to 10000, got {self.time}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import xarray as xr

    parts: list[Callable[[Settings], xr.Dataset]] = [_modes, _noise, _hops, _updates]
    attrs = {"chains": settings.chains, "time": settings.time}
    return xr.merge([part(settings) for part in progress(parts, "questions")]).assign_attrs(attrs)


def _modes(settings: Settings) -> xr.Dataset:
    """The map with v = sigma^2/eps in a pair of hard sigmoids, mode by mode, against N3."""
    import numpy as np
    import torch

    import ctebm

    net = pair(0.5, ctebm.HardSigmoid())
    start = torch.zeros(settings.chains // 4, 2, dtype=torch.float64)
    near = ctebm.linearize(net, [0.0, 0.0])
    V, lam = near.eigenvectors, near.eigenvalues
    steps = sorted(settings.eps, reverse=True)
    shape = (len(MAP_SIGMA), len(steps), 2)
    mean, error, law, limit = (np.empty(shape) for _ in range(4))
    for i, sigma in enumerate(MAP_SIGMA):
        for j, eps in enumerate(steps):
            mean[i, j], error[i, j], _ = visited(
                SCALED, net, sigma, eps, start, lambda s: (s @ V).square(),
                n_steps=round(settings.time / eps), burn_in=round(15 / eps), seed=settings.seed,
            )  # fmt: skip
            covariance = near.covariance(sigma / eps**0.5, eps=eps, synaptic=True)
            law[i, j] = (V.T @ covariance @ V).diagonal()
            limit[i, j] = sigma**2 * (1 - lam) ** 2 / (2 * lam)
    return labelled(
        held("map_variance", ("map_sigma", "map_eps", "mode"), mean / limit, error / limit,
              law / limit, "variance of a mode over the limit of N3"),
        {},
        {
            "map_sigma": ("map_sigma", list(MAP_SIGMA), "intensity of the noise"),
            "map_eps": ("map_eps", steps, "step size", TAU),
            "mode": ("mode", ["slow", "fast"], "mode"),
        },
    )  # fmt: skip


def _noise(settings: Settings) -> xr.Dataset:
    """The noise in eq. 5, read from a run: what increments of the noisy state are off its drift.

    Between kinks the pressure tells at which noisy state it was taken: R(u) = b + W rho(u).
    """
    import torch

    import ctebm

    net = pair(0.5, ctebm.HardSigmoid())
    start = torch.zeros(settings.chains // 20, 2, dtype=torch.float64)
    mean, error = [], []
    for name in (EULER, FIXED):
        s = ctebm.simulate(
            motion(name, net, LINEAR_SIGMA, NOISE_EPS), start, eps=NOISE_EPS,
            seed=settings.seed, n_steps=round(5 * settings.time / NOISE_EPS),
        ).state  # fmt: skip
        if name == FIXED:
            R = (s[1:] - (1 - NOISE_EPS) * s[:-1]) / NOISE_EPS
            s = torch.linalg.solve(net.weight, (R - net.bias).mT).mT + net.activation.kinks[0]
        xi = s[1:] - s[:-1] - NOISE_EPS * net.force(s[:-1])
        lagged = [(xi[: len(xi) - k] * xi[k:]).mean((0, -1)) for k in range(LAGS + 1)]
        each = torch.stack(lagged) / lagged[0]  # (lag, chain)
        mean.append(each.mean(-1))
        error.append(each.std(-1) / each.shape[-1] ** 0.5)
    law = torch.zeros(2, LAGS + 1)
    law[:, 0], law[1, 1] = 1, -(1 - NOISE_EPS) / (1 + (1 - NOISE_EPS) ** 2)
    return labelled(
        held("correlation", ("noise_of", "lag"), torch.stack(mean), torch.stack(error), law,
              "autocorrelation of the noise"),
        {},
        {
            "noise_of": ("noise_of", [EULER, FIXED], "dynamics"),
            "lag": ("lag", list(range(LAGS + 1)), "lag, steps"),
        },
    )  # fmt: skip


def _hops(settings: Settings) -> xr.Dataset:
    """How often each dynamics leads from one valley of the pair with w = 8 to the other."""
    import numpy as np

    import ctebm

    net, steps = pair(8.0, ctebm.Tanh()), (EULER, *MAPS)
    path = ctebm.minimum_energy_path(net, [-0.75, -0.75], [0.75, 0.75])
    start = path.wells.state[:1].expand(settings.chains // 3, 2)
    rates = np.empty((3, len(HOP_EPS), len(steps)))
    for i, eps in enumerate(HOP_EPS):
        for j, name in enumerate(steps):
            found = ctebm.first_passage(
                motion(name, net, HOP_SIGMA, eps), start, lambda s: s.sum(-1) < BEYOND,
                eps=eps, n_steps=round(2.5 * settings.time / eps), seed=settings.seed,
            )  # fmt: skip
            low, high = found.mean_interval
            rates[:, i, j] = 1 / found.mean, 1 / high, 1 / low
    dims, unit = ("hop_eps", "steps"), "1 / membrane time constant"
    return labelled(
        {
            "hops": (dims, rates[0], "rate of hops to the other valley", unit),
            "hops_low": (dims, rates[1], "lower end of its 95 % interval", unit),
            "hops_high": (dims, rates[2], "upper end of it", unit),
            "hops_law": ((), path.rate(HOP_SIGMA), "rate of Eyring and Kramers", unit),
        },
        {},
        {
            "hop_eps": ("hop_eps", list(HOP_EPS), "step size", TAU),
            "steps": ("steps", list(steps), "dynamics"),
        },
    )


def _updates(settings: Settings) -> xr.Dataset:
    """Mean of the drift of a unit times the rate of another, at rest, in a chain of three units."""
    import numpy as np
    import torch

    import ctebm

    W = torch.tensor([[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]], dtype=torch.float64)
    net = ctebm.DenseNetwork(W, -W.sum(1) / 2, ctebm.HardSigmoid())
    start = torch.zeros(settings.chains // 2, 3, dtype=torch.float64)
    near = ctebm.linearize(net, start[0])
    mean, error, law = (np.empty((len(LINEAR), 2)) for _ in range(3))
    for i, name in enumerate(LINEAR):
        mean[i], error[i], _ = visited(
            name, net, LINEAR_SIGMA, UPDATE_EPS, start,
            lambda s: _by_hops(net.force(s).unsqueeze(-1) * net.rate(s).unsqueeze(-2)),
            n_steps=round(6 * settings.time / UPDATE_EPS), burn_in=round(15 / UPDATE_EPS),
            seed=settings.seed,
        )  # fmt: skip
        step = None if name == MALA else UPDATE_EPS
        covariance = near.covariance(LINEAR_SIGMA, eps=step, synaptic=name == FIXED)
        law[i] = _by_hops(near.jacobian @ covariance)
    first = torch.stack([_by_hops(W) / 4, 0 * _by_hops(W), -_by_hops(W @ W) / 2])
    unit = LINEAR_SIGMA**2 * UPDATE_EPS  # v is sigma^2 in the map
    return labelled(
        held("mean_update", ("updates_of", "hops_apart"), mean / unit, error / unit, law / unit,
              "mean weight update over sigma^2 eps")
        | {"first_order": (("updates_of", "hops_apart"), first, "the same to first order in eps")},
        {},
        {
            "updates_of": ("updates_of", list(LINEAR), "dynamics"),
            "hops_apart": ("hops_apart", [1, 2], "connections between the two units"),
        },
    )  # fmt: skip


def _by_hops(matrix: Tensor) -> Tensor:
    """Return the mean over pairs of a chain's units one connection apart, and two, ``(..., 2)``."""
    import torch

    both = matrix + matrix.mT
    return torch.stack([both.diagonal(k, -2, -1).mean(-1) / 2 for k in (1, 2)], -1)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.langevin import synaptic_figure

    return synaptic_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    return [*_judge_map(dataset), *_judge_at_rest(dataset)]


def _judge_map(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    share, error = (dataset[f"map_variance{x}"].sel(map_sigma=0.1) for x in ("", "_error"))
    known = np.array([MAP_SHARE.get(float(eps), (np.nan, np.nan)) for eps in dataset.map_eps])
    beyond = largest(abs(share - known) - 4 * error, known > 0)
    at = ", ".join(f"{eps:g}" for eps in dataset.map_eps.values)
    shares = ", ".join(f"{slow:.2g}/{fast:.2g}" for slow, fast in share.values)
    return [
        Verdict.at_most("map, v = σ²/ε, σ = 0.01, far from kinks: modes off N3, standard errors",
                        off_law(dataset, "map_variance", map_sigma=0.01), 4),
        Verdict.at_most("map, σ = 0.1: share of N3's limit off known ones, beyond 4 errors",
                        beyond, 0.015, f"slow/fast {shares} at eps {at}"),
        Verdict.at_most("eq. 5: autocorrelation of its noise off the law, standard errors",
                        off_law(dataset.isel(lag=slice(1, None)), "correlation"), 4,
                        f"{float(dataset.correlation.sel(noise_of=FIXED, lag=1)):.3f} at lag 1"),
    ]  # fmt: skip


def _judge_at_rest(dataset: xr.Dataset) -> list[Verdict]:
    hops, eps = dataset.hops.sel(steps=EULER), dataset.hop_eps.values
    scaled = listed(dataset.hops.sel(steps=SCALED).values, eps)
    maps, rate = dataset.hops_high.sel(steps=MAPS, hop_eps=0.05), float(dataset.hops_law)
    low, high = (
        float(dataset[x].sel(steps=EULER, hop_eps=0.05)) for x in ("hops_low", "hops_high")
    )
    apart = [low - rate, rate - high, 0.0]
    law, first = (dataset[x].values for x in ("mean_update_law", "first_order"))
    return [
        Verdict.at_most("w = 8, Euler-Maruyama: interval of its hops off the law of small "
                        "noise, relative", largest(apart) / rate, 0.15,
                        f"{listed(hops.values, eps)}; law {rate:.3f}"),
        Verdict.at_most("map: hops a time constant at eps 0.05, upper end of 95 %",
                        largest(maps), 9e-4, f"v = σ²/ε: {scaled}"),
        Verdict.at_most("weight updates at rest off their laws, standard errors",
                        off_law(dataset, "mean_update"), 4,
                        f"in σ²ε: Euler-Maruyama {law[0, 0]:.2g} (W/4 = {first[0, 0]:.2g}), MALA 0"
                        f", map two hops apart {law[2, 1]:.2g} (-W²/2 = {first[2, 1]:.2g})"),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
