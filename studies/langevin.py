"""Is it Langevin MCMC (section 2.2)?

The paper reads its map s <- s + eps (R(s + eta) - s) as Langevin dynamics, which visits states with
the density exp(-2 E / sigma^2). Four dynamics are held against that density: Euler-Maruyama steps,
the same accepted or rejected (MALA), and the map with noise of a fixed variance v and with
v = sigma^2 / eps: in a pair of smooth units, in a pair and a unit at kinks, and in the fluctuations
of a layered network about its equilibrium. What the map does instead is asked by synaptic.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled
from ctebm.study.samplers import (
    DYNAMICS,
    EULER,
    FIXED,
    LINEAR,
    MALA,
    MAPS,
    held,
    listed,
    off_law,
    pair,
    visited,
)
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

    from ctebm.networks.dense import DenseNetwork

SMOOTH_SIGMA, KINK_SIGMA = 0.5, 0.1
KINK_BIAS = {0.05: 3.19, 0.01: 0.38, 0.002: 0.062, 0.0005: 0.014}  # of the variance, N6
DIGITS_EPS, DIGITS_SIGMA, DIGITS = 0.1, 0.01, 4
CELLS = 32  # along each unit, of the histograms on a plane


@dataclass(frozen=True)
class Settings(study.Settings):
    """Is it Langevin MCMC (section 2.2)?"""

    example = "--chains 16000 --out results/more_chains"

    chains: int = 3000
    """Chains of each dynamics in the smooth pair; other networks take a share of it."""
    time: float = 40.0
    """Time for which a chain is watched, in membrane time constants."""
    eps: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05)
    """Step sizes in the smooth pair."""
    kink_eps: tuple[float, ...] = tuple(KINK_BIAS)
    """Step sizes at kinks."""

    def __post_init__(self) -> None:
        study.refuse_ignored(self, ["device", "dtype"], "all is float64 on the CPU; leave it out")
        study.check_eps(self.eps, 3)
        for flag, steps, least, most in (
            ("eps", self.eps, 0.02, 0.5), ("kink-eps", self.kink_eps, 1e-4, 0.1),
        ):  # fmt: skip
            if not (steps and least <= min(steps) and max(steps) <= most):
                raise ValueError(f"--{flag} needs {least:g} to {most:g}, got {steps}.")
        if self.chains < 320:
            raise ValueError(f"--chains needs 320 or more, got {self.chains}.")
        if not 10 <= self.time <= 10_000:
            raise ValueError(f"--time needs 10 to 10000, got {self.time}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import xarray as xr

    parts: list[Callable[[Settings], xr.Dataset]] = [_smooth, _kinked, _pinned, _digits]
    attrs = {"chains": settings.chains, "time": settings.time}
    return xr.merge([part(settings) for part in progress(parts, "networks")]).assign_attrs(attrs)


def _smooth(settings: Settings) -> xr.Dataset:
    """The pair of tanh units, w = 3: densities, distances, variance."""
    import numpy as np

    import ctebm

    net, eps = pair(3.0, ctebm.Tanh()), sorted(settings.eps, reverse=True)
    x = np.linspace(-3.2, 3.2, 4 * CELLS)
    return _density(settings, "smooth", net, SMOOTH_SIGMA, eps, x, settings.time, 0.0)


def _kinked(settings: Settings) -> xr.Dataset:
    """A pair of hard sigmoids that rests at its kinks with the margin 1/2: densities, distances."""
    import numpy as np

    import ctebm

    net = pair(0.5, ctebm.HardSigmoid(), 0.5)
    x = 0.5 + 0.0025 * (np.arange(5 * CELLS) - 2.5 * CELLS + 0.5)  # the kink between two points
    return _density(settings, "kinked", net, KINK_SIGMA, [max(KINK_BIAS)], x, 5.0, 0.5)


def _density(
    settings: Settings, prefix: str, net: DenseNetwork, sigma: float, steps: Sequence[float],
    x: np.ndarray, time: float, start: float,
) -> xr.Dataset:  # fmt: skip
    """Sample all dynamics at all steps, beside the exact density and that of Euler's steps."""
    import numpy as np
    import torch

    import ctebm
    from ctebm.sampling.density import total_variation
    from ctebm.sampling.transfer import step_density

    exact = ctebm.stationary_density(net, sigma, x)
    laws = [step_density(net, sigma, eps, x) for eps in steps]
    size = len(x) // CELLS  # grid points in a cell
    edges = (x[size - 1 : -1 : size] + x[size::size]) / 2
    share = _in_cells(*np.meshgrid(x, x, indexing="ij"), edges, exact.values.ravel())
    centre = float((exact * exact.s1).integrate(["s1", "s2"]))

    def off_centre(p: xr.DataArray) -> float:
        return float((p * (p.s1 - centre) ** 2).integrate(["s1", "s2"]))

    chains = torch.full((settings.chains, 2), start, dtype=torch.float64)
    shape = (len(steps), len(DYNAMICS))
    spread, error, distance, law = (np.full(shape, np.nan) for _ in range(4))
    histogram = np.empty((*shape, CELLS))
    for i, eps in enumerate(steps):
        law[i, :2] = off_centre(laws[i]), off_centre(exact)
        for j, name in enumerate(DYNAMICS):
            spread[i, j], error[i, j], found = visited(
                name, net, sigma, eps, chains, lambda s: (s - centre).square().mean(-1),
                n_steps=round(time / eps), burn_in=round(time / 2 / eps), seed=settings.seed,
            )  # fmt: skip
            s1, s2 = found.state.T.numpy()
            drawn = _in_cells(s1, s2, edges)
            distance[i, j] = abs(drawn - share).sum() / 2
            histogram[i, j] = drawn.sum(1) / (size * (x[1] - x[0]))
    chance = share * (1 - share) / settings.chains  # variance of each cell's share of the draws
    at, dims = f"{prefix}_eps", (f"{prefix}_eps", "dynamics")
    return labelled(
        held(f"{prefix}_spread", dims, spread, error, law, "mean squared deviation")
        | {
            f"{prefix}_distance": (dims, distance, "total variation distance, in cells"),
            f"{prefix}_law_distance": (at, [total_variation(p, exact) for p in laws],
                                       "that of Euler-Maruyama steps, exactly"),
            f"{prefix}_chance": ((), np.sqrt(2 / np.pi * chance).sum() / 2,
                                 "mean distance of as many independent draws"),
            f"{prefix}_chance_spread": ((), ((1 - 2 / np.pi) * chance.sum()) ** 0.5 / 2,
                                        "its standard deviation"),
            f"{prefix}_density": (f"{prefix}_s", exact.integrate("s2").values, "exact density"),
            f"{prefix}_law_density": ((at, f"{prefix}_s"), [p.integrate("s2") for p in laws],
                                      "density of Euler-Maruyama steps"),
            f"{prefix}_histogram": ((*dims, f"{prefix}_cell"), histogram, "density of draws"),
        },
        {},
        {
            at: (at, list(steps), "step size", TAU),
            "dynamics": ("dynamics", list(DYNAMICS), "dynamics"),
            f"{prefix}_s": (f"{prefix}_s", x, "state"),
            f"{prefix}_cell": (f"{prefix}_cell", x.reshape(CELLS, -1).mean(1), "middle of a cell"),
        },
    )  # fmt: skip


def _in_cells(
    s1: np.ndarray, s2: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the share of states in each cell of the plane; those at the border are open."""
    import numpy as np

    at = CELLS * np.searchsorted(edges, s1.ravel()) + np.searchsorted(edges, s2.ravel())
    count = np.bincount(at, weights, CELLS**2)
    return count.reshape(CELLS, CELLS) / count.sum()


def _pinned(settings: Settings) -> xr.Dataset:
    """One unit at its kink with the margin 1/2: spread and bias against kappa (N6)."""
    import numpy as np
    import torch

    import ctebm
    from ctebm.sampling.transfer import step_density

    unit = ctebm.DenseNetwork([[0.0]], [1.0], ctebm.HardSigmoid())
    start = torch.full((settings.chains // 4, 1), 0.5, dtype=torch.float64)
    grid = 0.5 + 4e-4 * (np.arange(-500, 500) + 0.5)  # the kink lies half-way between two points
    exact = ctebm.stationary_density(unit, KINK_SIGMA, grid)
    steps = sorted(settings.kink_eps, reverse=True)
    laws = [step_density(unit, KINK_SIGMA, eps, grid) for eps in steps]
    shape = (len(steps), len(DYNAMICS))
    spread, error, law = (np.full(shape, np.nan) for _ in range(3))
    for i, eps in enumerate(steps):
        law[i, :2] = [float((p * (p.s - 0.5) ** 2).integrate("s")) for p in (laws[i], exact)]
        for j, name in enumerate(DYNAMICS):
            spread[i, j], error[i, j], _ = visited(
                name, unit, KINK_SIGMA, eps, start, lambda s: (s[..., 0] - 0.5).square(),
                n_steps=max(round(25 * settings.time), round(1.25 / eps)),
                burn_in=max(500, round(1 / eps)), seed=settings.seed,
            )  # fmt: skip
    variances = [float(p.s.weighted(p).var()) for p in (exact, *laws)]
    return labelled(
        held("pinned_spread", ("pinned_eps", "dynamics"), spread, error, law,
              "mean squared distance from the kink")
        | {"pinned_bias": ("pinned_eps", [x / variances[0] - 1 for x in variances[1:]],
                           "relative bias of the variance of Euler-Maruyama steps, exactly")},
        {},
        {
            "pinned_eps": ("pinned_eps", steps, "step size", TAU),
            "kappa": ("pinned_eps", [e * 0.25 / KINK_SIGMA**2 for e in steps], "kink number"),
            "dynamics": ("dynamics", list(DYNAMICS), "dynamics"),
        },
    )  # fmt: skip


def _digits(settings: Settings) -> xr.Dataset:
    """Fluctuations of 64-32-32-10 about its equilibrium at clamped digits, mode by mode."""
    import torch

    import ctebm
    from ctebm.study.image_settings import ImageSettings
    from ctebm.study.problem import images_problem

    images = ImageSettings(n_samples=DIGITS, seed=settings.seed)
    one = images_problem(images, [32, 32], "hard-sigmoid", 0.25)
    free = one.network.clamp({"x": one.x})
    rest = ctebm.settle(free, tol=1e-12).raise_for_status()
    near, hidden = ctebm.linearize(free, rest), slice(0, sum(one.hidden))
    V, start = (
        near.eigenvectors,
        rest.state.expand(max(64, settings.chains // 32), *rest.state.shape),
    )
    mean, error, laws, gap = [], [], [], []
    for name in LINEAR:
        variance, off, found = visited(
            name, free, DIGITS_SIGMA, DIGITS_EPS, start,
            lambda s: torch.einsum("csu,sum->csm", s - rest.state, V).square(),
            n_steps=round(settings.time / DIGITS_EPS), burn_in=round(10 / DIGITS_EPS),
            seed=settings.seed,
        )  # fmt: skip
        step = None if name == MALA else DIGITS_EPS
        law = near.covariance(DIGITS_SIGMA, eps=step, synaptic=name == FIXED)
        mean.append(variance)
        error.append(off)
        laws.append(torch.einsum("sum,suv,svm->sm", V, law, V))
        away = (found.covariance - law)[:, hidden, hidden]
        gap.append(away.norm() / law[:, hidden, hidden].norm())
    variance, off, law = (torch.stack(x) / DIGITS_SIGMA**2 for x in (mean, error, laws))
    return labelled(
        held("digits_variance", ("modes_of", "sample", "digits_mode"), variance, off, law,
              "variance of a mode over sigma^2")
        | {
            "digits_gap": ("modes_of", torch.stack(gap), "covariance of hidden units off its law"),
            "eigenvalue": (("sample", "digits_mode"), near.eigenvalues, "eigenvalue of H"),
        },
        {},
        {"modes_of": ("modes_of", list(LINEAR), "dynamics")},
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.langevin import langevin_figure

    return langevin_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    return [
        *_judge_smooth(dataset), *_judge_kinks(dataset), *_judge_digits(dataset),
        *_judge_question(dataset),
    ]  # fmt: skip


def _judge_smooth(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    eps, law = dataset.smooth_eps.values, dataset.smooth_spread_law
    bias = law.sel(dynamics=EULER) - law.sel(dynamics=MALA)
    b, a = np.polyfit(eps, bias / eps, 1)
    error = largest((dataset.smooth_spread_error / dataset.smooth_spread).sel(dynamics=EULER))
    how = f"{dataset.chains} chains, time {dataset.time:g}: errors up to {100 * error:.2g} %"
    adjusted = dataset.smooth_distance.sel(dynamics=MALA)
    z = (adjusted - dataset.smooth_chance) / dataset.smooth_chance_spread
    distance = dataset.smooth_law_distance
    return [
        Verdict.at_most("smooth pair, Euler-Maruyama: bias of the variance is a eps + b eps²; a "
                        "off 0.055", abs(a - 0.055), 0.005, f"a = {a:.4f}, b = {b:.4f}"),
        Verdict.at_most("its variance off its law, standard errors",
                        off_law(dataset, "smooth_spread", dynamics=EULER), 4, how),
        Verdict.at_most("MALA: variance off exp(-2E/σ²), standard errors",
                        off_law(dataset, "smooth_spread", dynamics=MALA), 4),
        Verdict.at_most("MALA: total variation distance off chance, standard deviations",
                        largest(abs(z)), 4, f"{float(dataset.smooth_chance):.3f} by chance"),
        Verdict.at_most("Euler-Maruyama: total variation distance over eps",
                        largest(distance / dataset.smooth_eps), 0.3, listed(distance.values, eps)),
    ]  # fmt: skip


def _judge_kinks(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    bias, kappa = dataset.pinned_bias.values, dataset.kappa.values
    known = np.array([KINK_BIAS.get(float(eps), np.nan) for eps in dataset.pinned_eps])
    return [
        Verdict.at_most("at a kink, Euler-Maruyama: bias of the variance over N6's, off 1",
                        largest(abs(bias / known - 1), known > 0), 0.02,
                        f"in %: {listed(100 * bias, kappa)} (kappa)"),
        Verdict.at_most("its spread off its law, standard errors",
                        off_law(dataset, "pinned_spread", dynamics=EULER), 4),
        Verdict.at_most("MALA: spread off exp(-2E/σ²), standard errors",
                        off_law(dataset, "pinned_spread", dynamics=MALA), 4),
        Verdict.at_least("Euler-Maruyama in a pair at kinks: total variation distance, kappa 1.25",
                         dataset.kinked_law_distance[0], 0.4),
    ]  # fmt: skip


def _judge_digits(dataset: xr.Dataset) -> list[Verdict]:
    gaps = ", ".join(f"{float(g):.2g}" for g in dataset.digits_gap)
    law, variance = dataset.digits_variance_law, dataset.digits_variance
    moved = law > 1e-9  # the map can't move a mode with eigenvalue 1, on which R does not depend
    z = ((variance - law) / dataset.digits_variance_error).where(moved)
    n = int(moved.sum())
    return [
        Verdict.at_most(f"64-32-32-10: {n} variances of modes off N1 to N3, standard errors",
                        largest(abs(z), moved), 4.5,
                        f"hidden covariance off by {gaps} (Frobenius; Euler, MALA, map)"),
        Verdict.at_most("the same, mean square, off 1", abs(float((z**2).mean()) - 1),
                        4 * (2 / n) ** 0.5),
        Verdict.at_most(f"the map's variance in the {int((~moved).sum())} modes with eigenvalue 1",
                        largest(variance, ~moved), 1e-12),
    ]  # fmt: skip


def _judge_question(dataset: xr.Dataset) -> list[Verdict]:
    """Say what the title's question comes to."""
    distance = dataset.smooth_distance.sel(dynamics=MAPS)
    exact = dataset.smooth_spread_law.sel(dynamics=MALA)
    share = dataset.smooth_spread.sel(dynamics=MAPS) / exact
    at_kinks = dataset.kinked_distance.sel(dynamics=MAPS)
    return [
        Verdict.at_least("is it Langevin MCMC? no: the map's least total variation distance",
                         smallest(distance), 0.4,
                         f"up to {largest(distance):.2g}; at kinks from {smallest(at_kinks):.2g}"),
        Verdict.at_most("and its largest variance over that of exp(-2E/σ²)", largest(share), 0.25,
                        f"least {smallest(share):.2g}, in proportion to eps"),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
