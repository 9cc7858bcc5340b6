"""Is it Langevin MCMC (section 2.2)?

The paper reads its map s <- s + eps (R(s + eta) - s) as Langevin dynamics, which visits states with
the density exp(-2 E / sigma^2). Four dynamics are held against that density, in a pair of smooth
units and at kinks: Euler-Maruyama steps, the same accepted or rejected (MALA), and the map with
noise of a fixed variance v and with v = sigma^2 / eps. Then what tells them apart: variances of
modes (N1 to N3), the noise of eq. 5, hops between valleys, weight updates at rest (section 3.1),
and the fluctuations of a layered network about its equilibrium.
"""

# Long because each of eight questions has a network, a law and a claim of its own.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm
    from ctebm.networks.activation import Activation
    from ctebm.networks.dense import DenseNetwork

EULER, MALA, FIXED, SCALED = "Euler-Maruyama", "MALA", "map, v fixed", "map, v = σ²/ε"
DYNAMICS, MAPS = (EULER, MALA, FIXED, SCALED), [FIXED, SCALED]
LINEAR = (EULER, MALA, FIXED)  # those with a law where units stay between their kinks
SMOOTH_SIGMA, KINK_SIGMA = 0.5, 0.1
KINK_BIAS = {0.05: 3.19, 0.01: 0.38, 0.002: 0.062, 0.0005: 0.014}  # of the variance, N6
MAP_SIGMA = (0.01, 0.1)
MAP_SHARE = {0.2: (0.91, 1.12), 0.05: (0.30, 0.52), 0.0125: (0.055, 0.126)}  # at 0.1, of N3's limit
HOP_EPS, BEYOND = (0.2, 0.1, 0.05), 1.0  # s1 + s2 is 1.51 in the other valley
NOISE_EPS, UPDATE_EPS, LINEAR_SIGMA, LAGS = 0.2, 0.4, 0.05, 5
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
    map_eps: tuple[float, ...] = tuple(MAP_SHARE)
    """Step sizes of the map whose modes are held against N3."""

    def __post_init__(self) -> None:
        study.refuse_ignored(self, ["device", "dtype"], "all is float64 on the CPU; leave it out")
        study.check_eps(self.eps, 3)
        for flag, steps, least, most in (
            ("eps", self.eps, 0.02, 0.5), ("kink-eps", self.kink_eps, 1e-4, 0.1),
            ("map-eps", self.map_eps, 1e-3, 0.5),
        ):  # fmt: skip
            if not (steps and least <= min(steps) and max(steps) <= most):
                raise ValueError(f"--{flag} needs {least:g} to {most:g}, got {steps}.")
        if self.chains < 320:
            raise ValueError(f"--chains needs 320 or more, got {self.chains}.")
        if not 10 <= self.time <= 10_000:
            raise ValueError(f"--time needs 10 to 10000, got {self.time}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import xarray as xr

    parts: list[Callable[[Settings], xr.Dataset]] = [
        _smooth, _kinked, _pinned, _modes, _noise, _hops, _updates, _digits,
    ]  # fmt: skip
    attrs = {"chains": settings.chains, "time": settings.time}
    return xr.merge([part(settings) for part in progress(parts, "questions")]).assign_attrs(attrs)


def _pair(w: float, rho: Activation, bias: float | None = None) -> DenseNetwork:
    """Return two units; centred without a bias."""
    import ctebm

    b = -w / 2 if bias is None else bias
    return ctebm.DenseNetwork([[0, w], [w, 0]], [b, b], rho)


def _dynamics(name: str, net: ctebm.VectorField, sigma: float, eps: float) -> ctebm.Dynamics:
    import ctebm

    if name in (EULER, MALA):
        return ctebm.Dynamics(net, sigma=sigma)
    v = sigma**2 if name == FIXED else sigma**2 / eps
    return ctebm.Dynamics(net, sigma=v**0.5, noise="synaptic")


def _mean(
    name: str, net: ctebm.VectorField, sigma: float, eps: float, start: Tensor,
    function: Callable[[Tensor], Tensor], settings: Settings, n_steps: int, burn_in: int,
) -> tuple[Tensor, Tensor, ctebm.Samples]:  # fmt: skip
    """Return a mean over chains of one of the dynamics, its standard error, and the record."""
    import torch

    import ctebm

    found = ctebm.sample(
        _dynamics(name, net, sigma, eps), start, n_steps=n_steps, burn_in=burn_in, eps=eps,
        every=max(1, min(round(0.5 / eps), n_steps // 50)), seed=settings.seed,
        method="mala" if name == MALA else "euler", observe={"x": function},
    )  # fmt: skip
    return found.observed["x"], torch.as_tensor(found.observed_error["x"]), found


def _held(
    name: str, dims: Sequence[str], value: Any, error: Any, law: Any, text: str
) -> dict[str, Sequence[Any]]:
    """Return what was measured, its standard error, and the law that it is held against."""
    return {
        name: (dims, value, text),
        f"{name}_error": (dims, error, "standard error of it"),
        f"{name}_law": (dims, law, "the same, from the law"),
    }


def _smooth(settings: Settings) -> xr.Dataset:
    """The pair of tanh units, w = 3: densities, distances, variance."""
    import numpy as np

    import ctebm

    net, eps = _pair(3.0, ctebm.Tanh()), sorted(settings.eps, reverse=True)
    x = np.linspace(-3.2, 3.2, 4 * CELLS)
    return _density(settings, "smooth", net, SMOOTH_SIGMA, eps, x, settings.time, 0.0)


def _kinked(settings: Settings) -> xr.Dataset:
    """A pair of hard sigmoids that rests at its kinks with the margin 1/2: densities, distances."""
    import numpy as np

    import ctebm

    net = _pair(0.5, ctebm.HardSigmoid(), 0.5)
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
            spread[i, j], error[i, j], found = _mean(
                name, net, sigma, eps, chains, lambda s: (s - centre).square().mean(-1), settings,
                round(time / eps), round(time / 2 / eps),
            )  # fmt: skip
            s1, s2 = found.state.T.numpy()
            drawn = _in_cells(s1, s2, edges)
            distance[i, j] = abs(drawn - share).sum() / 2
            histogram[i, j] = drawn.sum(1) / (size * (x[1] - x[0]))
    chance = share * (1 - share) / settings.chains  # variance of each cell's share of the draws
    at, dims = f"{prefix}_eps", (f"{prefix}_eps", "dynamics")
    return labelled(
        _held(f"{prefix}_spread", dims, spread, error, law, "mean squared deviation")
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
            spread[i, j], error[i, j], _ = _mean(
                name, unit, KINK_SIGMA, eps, start, lambda s: (s[..., 0] - 0.5).square(), settings,
                max(round(25 * settings.time), round(1.25 / eps)), max(500, round(1 / eps)),
            )  # fmt: skip
    variances = [float(p.s.weighted(p).var()) for p in (exact, *laws)]
    return labelled(
        _held("pinned_spread", ("pinned_eps", "dynamics"), spread, error, law,
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


def _modes(settings: Settings) -> xr.Dataset:
    """The map with v = sigma^2/eps in a pair of hard sigmoids, mode by mode, against N3."""
    import numpy as np
    import torch

    import ctebm

    net = _pair(0.5, ctebm.HardSigmoid())
    start = torch.zeros(settings.chains // 4, 2, dtype=torch.float64)
    near = ctebm.linearize(net, [0.0, 0.0])
    V, lam = near.eigenvectors, near.eigenvalues
    steps = sorted(settings.map_eps, reverse=True)
    shape = (len(MAP_SIGMA), len(steps), 2)
    mean, error, law, limit = (np.empty(shape) for _ in range(4))
    for i, sigma in enumerate(MAP_SIGMA):
        for j, eps in enumerate(steps):
            mean[i, j], error[i, j], _ = _mean(
                SCALED, net, sigma, eps, start, lambda s: (s @ V).square(), settings,
                round(settings.time / eps), round(15 / eps),
            )  # fmt: skip
            covariance = near.covariance(sigma / eps**0.5, eps=eps, synaptic=True)
            law[i, j] = (V.T @ covariance @ V).diagonal()
            limit[i, j] = sigma**2 * (1 - lam) ** 2 / (2 * lam)
    return labelled(
        _held("map_variance", ("map_sigma", "map_eps", "mode"), mean / limit, error / limit,
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

    net = _pair(0.5, ctebm.HardSigmoid())
    start = torch.zeros(settings.chains // 20, 2, dtype=torch.float64)
    mean, error = [], []
    for name in (EULER, FIXED):
        s = ctebm.simulate(
            _dynamics(name, net, LINEAR_SIGMA, NOISE_EPS), start, eps=NOISE_EPS,
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
        _held("correlation", ("noise_of", "lag"), torch.stack(mean), torch.stack(error), law,
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

    net, steps = _pair(8.0, ctebm.Tanh()), (EULER, *MAPS)
    path = ctebm.minimum_energy_path(net, [-0.75, -0.75], [0.75, 0.75])
    start = path.wells.state[:1].expand(settings.chains // 3, 2)
    rates = np.empty((3, len(HOP_EPS), len(steps)))
    for i, eps in enumerate(HOP_EPS):
        for j, name in enumerate(steps):
            found = ctebm.first_passage(
                _dynamics(name, net, SMOOTH_SIGMA, eps), start, lambda s: s.sum(-1) < BEYOND,
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
            "hops_law": ((), path.rate(SMOOTH_SIGMA), "rate of Eyring and Kramers", unit),
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
        mean[i], error[i], _ = _mean(
            name, net, LINEAR_SIGMA, UPDATE_EPS, start,
            lambda s: _by_hops(net.force(s).unsqueeze(-1) * net.rate(s).unsqueeze(-2)), settings,
            round(6 * settings.time / UPDATE_EPS), round(15 / UPDATE_EPS),
        )  # fmt: skip
        step = None if name == MALA else UPDATE_EPS
        covariance = near.covariance(LINEAR_SIGMA, eps=step, synaptic=name == FIXED)
        law[i] = _by_hops(near.jacobian @ covariance)
    first = torch.stack([_by_hops(W) / 4, 0 * _by_hops(W), -_by_hops(W @ W) / 2])
    unit = LINEAR_SIGMA**2 * UPDATE_EPS  # v is sigma^2 in the map
    return labelled(
        _held("mean_update", ("updates_of", "hops_apart"), mean / unit, error / unit, law / unit,
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
        variance, off, found = _mean(
            name, free, DIGITS_SIGMA, DIGITS_EPS, start,
            lambda s: torch.einsum("csu,sum->csm", s - rest.state, V).square(), settings,
            round(settings.time / DIGITS_EPS), round(10 / DIGITS_EPS),
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
        _held("digits_variance", ("modes_of", "sample", "digits_mode"), variance, off, law,
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
        *_judge_smooth(dataset), *_judge_kinks(dataset), *_judge_map(dataset),
        *_judge_at_rest(dataset), *_judge_digits(dataset), *_judge_question(dataset),
    ]  # fmt: skip


def _off(dataset: xr.Dataset, name: str, **at: Any) -> float:
    """Return how far a measurement is off its law, at most, in standard errors."""
    value, error, law = (dataset[name + part].sel(at) for part in ("", "_error", "_law"))
    return largest(abs(value - law) / error)


def _listed(values: np.ndarray, at: np.ndarray) -> str:
    """Return values and their places in words."""
    return ", ".join(f"{x:.2g} at {place:g}" for x, place in zip(values, at, strict=True))


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
                        _off(dataset, "smooth_spread", dynamics=EULER), 4, how),
        Verdict.at_most("MALA: variance off exp(-2E/σ²), standard errors",
                        _off(dataset, "smooth_spread", dynamics=MALA), 4),
        Verdict.at_most("MALA: total variation distance off chance, standard deviations",
                        largest(abs(z)), 4, f"{float(dataset.smooth_chance):.3f} by chance"),
        Verdict.at_most("Euler-Maruyama: total variation distance over eps",
                        largest(distance / dataset.smooth_eps), 0.3, _listed(distance.values, eps)),
    ]  # fmt: skip


def _judge_kinks(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    bias, kappa = dataset.pinned_bias.values, dataset.kappa.values
    known = np.array([KINK_BIAS.get(float(eps), np.nan) for eps in dataset.pinned_eps])
    return [
        Verdict.at_most("at a kink, Euler-Maruyama: bias of the variance over N6's, off 1",
                        largest(abs(bias / known - 1), known > 0), 0.02,
                        f"in %: {_listed(100 * bias, kappa)} (kappa)"),
        Verdict.at_most("its spread off its law, standard errors",
                        _off(dataset, "pinned_spread", dynamics=EULER), 4),
        Verdict.at_most("MALA: spread off exp(-2E/σ²), standard errors",
                        _off(dataset, "pinned_spread", dynamics=MALA), 4),
        Verdict.at_least("Euler-Maruyama in a pair at kinks: total variation distance, kappa 1.25",
                         dataset.kinked_law_distance[0], 0.4),
    ]  # fmt: skip


def _judge_map(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    share, error = (dataset[f"map_variance{x}"].sel(map_sigma=0.1) for x in ("", "_error"))
    known = np.array([MAP_SHARE.get(float(eps), (np.nan, np.nan)) for eps in dataset.map_eps])
    beyond = largest(abs(share - known) - 4 * error, known > 0)
    at = ", ".join(f"{eps:g}" for eps in dataset.map_eps.values)
    shares = ", ".join(f"{slow:.2g}/{fast:.2g}" for slow, fast in share.values)
    return [
        Verdict.at_most("map, v = σ²/ε, σ = 0.01, far from kinks: modes off N3, standard errors",
                        _off(dataset, "map_variance", map_sigma=0.01), 4),
        Verdict.at_most("map, σ = 0.1: share of N3's limit off known ones, beyond 4 errors",
                        beyond, 0.015, f"slow/fast {shares} at eps {at}"),
        Verdict.at_most("eq. 5: autocorrelation of its noise off the law, standard errors",
                        _off(dataset.isel(lag=slice(1, None)), "correlation"), 4,
                        f"{float(dataset.correlation.sel(noise_of=FIXED, lag=1)):.3f} at lag 1"),
    ]  # fmt: skip


def _judge_at_rest(dataset: xr.Dataset) -> list[Verdict]:
    hops, eps = dataset.hops.sel(steps=EULER), dataset.hop_eps.values
    scaled = _listed(dataset.hops.sel(steps=SCALED).values, eps)
    maps, rate = dataset.hops_high.sel(steps=MAPS, hop_eps=0.05), float(dataset.hops_law)
    low, high = (
        float(dataset[x].sel(steps=EULER, hop_eps=0.05)) for x in ("hops_low", "hops_high")
    )
    apart = [low - rate, rate - high, 0.0]
    law, first = (dataset[x].values for x in ("mean_update_law", "first_order"))
    return [
        Verdict.at_most("w = 8, Euler-Maruyama: interval of its hops off the law of small "
                        "noise, relative", largest(apart) / rate, 0.15,
                        f"{_listed(hops.values, eps)}; law {rate:.3f}"),
        Verdict.at_most("map: hops a time constant at eps 0.05, upper end of 95 %",
                        largest(maps), 9e-4, f"v = σ²/ε: {scaled}"),
        Verdict.at_most("weight updates at rest off their laws, standard errors",
                        _off(dataset, "mean_update"), 4,
                        f"in σ²ε: Euler-Maruyama {law[0, 0]:.2g} (W/4 = {first[0, 0]:.2g}), MALA 0"
                        f", map two hops apart {law[2, 1]:.2g} (-W²/2 = {first[2, 1]:.2g})"),
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
