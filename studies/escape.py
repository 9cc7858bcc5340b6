"""How does noise carry a network from one valley to another, and how often?

Along the path of least energy, over its saddle, at the rate of Eyring and Kramers where the noise
is small; where units are pinned at kinks another law holds (N8). Mean times of exits against both,
for a smooth and a pinned pair and for a memory of two patterns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled, stacked
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm.networks.energy import Network
    from ctebm.sampling.path import EnergyPath

SMOOTH_W, KINKED_W = 8.0, 2.0
NAMES = ("smooth pair", "pinned pair", "memory")
UNLIKE = 0.4  # share of the units in which the two patterns differ
FINER = (1.0, 0.2, 1.0)  # steps of each network, in units of eps: kinks need smaller ones
PATIENCE = 30  # chains are watched for so many times the law's time
N_IMAGES = 61
GRID, REACH, SEEN = 81, 1.2, 2.0  # of the energies that are drawn, in states and barriers
LEAST_UNITS = 16  # in which two patterns are two valleys
LEAST_BARRIERS = 3  # that a line through times over the law needs, with one to judge it by


@dataclass(frozen=True)
class Settings(study.Settings):
    """How does noise carry a network from one valley to another, and how often?"""

    example = "--chains 2000 --barriers 3 5 7 --out results/rare"

    barriers: tuple[float, ...] = (2.0, 3.0, 4.0, 4.5)
    """Heights of the barrier in units of D = sigma^2 / 2."""
    chains: int = 300
    """Networks that wait for their exit side by side."""
    eps: float = 0.05
    """Euler's step, in membrane time constants; a fifth of it is taken where units are pinned."""
    n_units: int = 40
    """Units of the memory, which stores two patterns."""
    memory_gain: float = 6.0
    """Strength of its Hebbian weights."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        study.check_eps(self.eps, upper=0.2)
        study.check_positive("--memory-gain", self.memory_gain)
        if not self.barriers or not all(1 <= x <= 10 for x in self.barriers):
            raise ValueError(
                f"--barriers needs values from 1 to 10, got {self.barriers}: above, exits take too "
                "long to be waited for, and below there is no barrier to speak of."
            )
        if len(set(self.barriers)) < LEAST_BARRIERS:
            raise ValueError(f"--barriers needs {LEAST_BARRIERS} or more different values.")
        if self.chains < 50:
            raise ValueError(f"--chains needs 50 or more for its errors, got {self.chains}.")
        if self.n_units < LEAST_UNITS:
            raise ValueError(
                f"--n-units needs {LEAST_UNITS} or more for two patterns, got {self.n_units}."
            )


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    ways = [_ways(*problem) for problem in _problems(settings)]
    times = []
    for name, paths, finer in zip(NAMES, ways, FINER, strict=True):
        eps = finer * settings.eps
        row = [_times(settings, paths, x, eps) for x in progress(settings.barriers, name)]
        times.append(stacked(row))
    return _recorded(settings, [paths[0] for paths in ways], stacked(times))


def _problems(settings: Settings) -> list[tuple[Network, Any, list[Any]]]:
    """Return each network with a state in a valley, and one in each valley beside it."""
    import numpy as np

    import ctebm

    def pair(w: float, rho: ctebm.Activation) -> ctebm.DenseNetwork:
        return ctebm.DenseNetwork([[0, w], [w, 0]], [-w / 2, -w / 2], rho)

    draw = np.random.default_rng(settings.seed)
    one = draw.choice([-1.0, 1.0], settings.n_units)
    unlike = draw.permutation(settings.n_units) < UNLIKE * settings.n_units
    other = np.where(unlike, -one, one)
    W = settings.memory_gain * (np.outer(one, one) + np.outer(other, other)) / settings.n_units
    np.fill_diagonal(W, 0)
    memory = ctebm.DenseNetwork(W, np.zeros(settings.n_units), ctebm.Tanh()).centred()
    return [
        (pair(SMOOTH_W, ctebm.Tanh()), [-0.7, -0.7], [[0.7, 0.7]]),
        (pair(KINKED_W, ctebm.HardSigmoid()), [-0.5, -0.5], [[0.5, 0.5]]),
        (memory, one, [other, -other]),
    ]


def _ways(network: Network, a: Any, others: list[Any]) -> list[EnergyPath]:
    """Return the paths from a valley to those beside it, the one of the lowest barrier first."""
    import ctebm

    paths = [
        ctebm.minimum_energy_path(network, a, b, n_images=N_IMAGES).raise_for_status()
        for b in others
    ]
    return sorted(paths, key=lambda path: path.barrier)


def _times(settings: Settings, paths: list[EnergyPath], x: float, eps: float) -> dict[str, Any]:
    """Return twice the mean time to a ridge, from which half fall back, and the law's time."""
    import ctebm

    sigma = math.sqrt(2 * paths[0].barrier / x)
    law = 1 / sum(path.rate(sigma) for path in paths)
    network, well = paths[0].network, paths[0].wells.state[0]
    exits = ctebm.first_passage(
        ctebm.Dynamics(network, sigma), well.expand(settings.chains, -1), _inside(paths), eps=eps,
        n_steps=round(PATIENCE * law / eps), seed=settings.seed, threads=settings.threads,
    )  # fmt: skip
    low, high = exits.mean_interval
    return {
        "time": 2 * exits.mean, "low": 2 * low, "high": 2 * high, "law": law, "sigma": sigma,
        "censored": float(exits.censored.double().mean()),
    }  # fmt: skip


def _inside(paths: list[EnergyPath]) -> Any:
    """Return the distance from the nearest ridge: planes through saddles, across the way down."""
    import torch

    planes = []
    for path in paths:
        well, saddle = path.wells.state[0], path.saddles.state[0]
        across = torch.linalg.eigh(path.network.hessian(saddle))[1][:, 0]
        planes.append((saddle, across * torch.sign((well - saddle) @ across)))
    return lambda s: torch.stack([(s - at) @ across for at, across in planes]).amin(0)


def _recorded(settings: Settings, paths: list[EnergyPath], times: dict[str, Tensor]) -> xr.Dataset:
    import numpy as np

    each, along = ("network", "barrier"), ("network", "image")
    pairs = [path.state.numpy() for path in paths[:2]]
    grid = np.linspace(-REACH, REACH, GRID)
    data = {
        "time": (each, times["time"], "twice the mean time to the ridge", TAU),
        "low": (each, times["low"], "lower end of its 95 % interval", TAU),
        "high": (each, times["high"], "upper end of its 95 % interval", TAU),
        "law": (each, times["law"], "mean time by the law of small noise", TAU),
        "sigma": (each, times["sigma"], "intensity of the noise"),
        "censored": (each, times["censored"], "share of chains that did not leave"),
        "height": ("network", [path.barrier for path in paths], "energy of the saddle over it"),
        "residual": ("network", [float(path.saddles.residual.max()) for path in paths],
                     "largest force at the saddle"),
        "index": ("network", [int(path.saddles.index[0]) for path in paths],
                  "unstable directions of the saddle"),
        "length": (along, np.stack([path.length.numpy() for path in paths]), "length of the path"),
        "energy": (along, np.stack([_above(path).numpy() for path in paths]),
                   "energy above the well"),
        "path": (("pair", "image", "unit"), np.stack(pairs), "state along the path"),
        "landscape": (("pair", "s2", "s1"), np.stack([_landscape(p, grid) for p in paths[:2]]),
                      "energy above the well, over the barrier"),
    }  # fmt: skip
    coords = {
        "network": ("network", np.array(NAMES), "network"),
        "barrier": ("barrier", list(settings.barriers), "height of the barrier over D"),
        "s1": ("s1", grid, "state of unit 1"),
        "s2": ("s2", grid, "state of unit 2"),
    }
    return labelled(data, {"chains": settings.chains}, coords)


def _above(path: EnergyPath) -> Tensor:
    """Return the energy along a path above its first well."""
    return path.energy - path.wells.energy[0]


def _landscape(path: EnergyPath, grid: Any) -> Any:
    """Return the energy of two units above the well, over the barrier, ``(s2, s1)``."""
    import numpy as np
    import torch

    s = torch.as_tensor(np.stack(np.meshgrid(grid, grid), -1))
    return ((path.network.energy(s) - path.wells.energy[0]) / path.barrier).numpy()


def limits(dataset: xr.Dataset) -> xr.Dataset:
    """Return time over law as the noise vanishes, by a line in D / barrier, and its error."""
    import numpy as np
    import xarray as xr

    share = dataset.time / dataset.law
    error = (dataset.high - dataset.low) / dataset.law / 4  # of a 95 % interval
    found = []
    for i in range(dataset.sizes["network"]):
        x = np.stack([np.ones_like(dataset.barrier), 1 / dataset.barrier], -1)
        w = 1 / error[i].values[:, None]
        covariance = np.linalg.inv((w * x).T @ (w * x))
        found.append((covariance[0] @ ((w * x).T @ (w[:, 0] * share[i].values)), covariance[0, 0]))
    value, variance = np.array(found).T
    return xr.Dataset({"ratio": ("network", value), "error": ("network", np.sqrt(variance))},
                      {"network": dataset.network})  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    panels = []
    for i, name in enumerate(NAMES[:2]):
        one, way = dataset.landscape.isel(pair=i), dataset.path.isel(pair=i)
        line = Series(way[:, 0], way[:, 1], "path of least energy", line=True, colour=4)
        seen = one.clip(max=SEEN)
        panels.append(Panel(name, "$s_1$", "$s_2$", [line],
                            field=(one.s1, one.s2, seen, "energy / barrier"),
                            contour=(one.s1, one.s2, one, 1.0)))  # fmt: skip
    heights, times, ratio = [], [], []
    for i, name in enumerate(NAMES):
        one = dataset.isel(network=i)
        x = one.length / one.length[-1]
        heights.append(Series(x, one.energy / one.height, name, line=True, colour=i))
        times += [
            Series(one.barrier, one.law, line=True, colour=i),
            Series(one.barrier, one.time, name, colour=i, low=one.low, high=one.high),
        ]
        share = one.time / one.law
        ratio.append(Series(one.barrier, share, name, colour=i, low=one.low / one.law,
                            high=one.high / one.law))  # fmt: skip
    one = 0 * dataset.barrier + 1
    ratio.append(Series(dataset.barrier, one, "law of small noise", line=True, colour=6))
    barrier = "barrier / D"
    panels += [
        Panel("along the path", "share of its length", "energy / barrier", heights),
        Panel("mean times", barrier, "time (time constants)", times, "y"),
        Panel("times over the law", barrier, "measured / law", ratio),
    ]
    return panel_figure(
        panels, question="How often does noise carry a network over a saddle?",
        see="As often as the law of small noise says, smooth or at kinks; the rest falls with D. "
        "a, b: the energy of the saddle is dashed. d, e: twice the mean time to the ridge, from "
        "which half fall back; lines are the law, bars 95 %.",
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = [
        Verdict.at_most("largest force at a saddle", largest(dataset.residual), 1e-10),
        Verdict.equal("unstable directions of every saddle", largest(abs(dataset["index"] - 1)), 0),
        Verdict.at_most("share of chains that did not leave", largest(dataset.censored), 0.01),
    ]
    limit = limits(dataset)
    for name in NAMES:
        one, end = dataset.sel(network=name).isel(barrier=-1), limit.sel(network=name)
        at = f"{float(one.time / one.law):.3g} at barrier {float(one.barrier):g} D"
        note = f"{float(end.ratio):.3g} +- {float(end.error):.2g}, {at}"
        off = abs(end.ratio - 1) / end.error
        out.append(
            Verdict.at_most(f"{name}: time / law - 1 as D -> 0, over its error", off, 4, note)
        )
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
