"""Does a trained denoiser know the energy (eq. 3)?

The paper argues that a denoiser R gives the score of what it was trained on, R(s) - s in proportion
to -dE/ds. Two tanh units have a density exp(-E) that is known exactly. States drawn from it get
normal noise of variance v, and least squares on the noisy states gives the best of three denoisers:
(a) denoising score matching, r = s + v (R(s) - s) with the pressure R of eq. 8 and its coupling,
bias and leak free; (b) the pressure itself, r = R(s); (c) as (a), with the linear combination of
rates that section 2.2 speaks of. The coupling of each is held against that of the energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import labelled
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DENOISERS = ("score matching", "R itself", "rates")
WEIGHTS = ("coupling", "bias", "leak")
REACH = 8.0  # where the density, with noise of variance 1, is 1e-8 of its maximum


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does a trained denoiser know the energy (eq. 3)?"""

    example = "--w 2 --out results/weaker"

    w: float = 3.0
    """Coupling of the two units."""
    noise: tuple[float, ...] = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
    """Variances of the noise that is taken away."""
    n_samples: int = 400_000
    """States drawn from the density, each with its noise and the opposite noise."""
    spacing: float = 0.05
    """Spacing of the grid of the quadrature."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        study.check_positive("--noise", self.noise)
        if len(set(self.noise)) < 2 or max(self.noise) > 1:
            raise ValueError(f"--noise needs two or more of 0 to 1, got {self.noise}.")
        if not 0 < self.w <= 4:
            raise ValueError(f"--w needs 0 to 4, where there is one valley, got {self.w}.")
        if self.n_samples < 1000:
            raise ValueError(f"--n-samples needs 1000 or more, got {self.n_samples}.")
        if not 0 < self.spacing <= 0.7 * min(self.noise) ** 0.5:
            raise ValueError(
                f"--spacing needs 0 to {0.7 * min(self.noise) ** 0.5:.2g}, to see the smallest "
                f"noise, got {self.spacing}."
            )


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    import ctebm

    pair = ctebm.DenseNetwork([[0, settings.w], [settings.w, 0]], [0, 0], ctebm.Tanh()).centred()
    x = np.arange(-REACH, REACH + settings.spacing / 2, settings.spacing)
    density = ctebm.stationary_density(pair, 2**0.5, x)  # sigma = sqrt 2: exp(-E)
    rng = np.random.default_rng(settings.seed)
    s = _drawn(density.values, x, settings.n_samples, rng)
    xi = rng.standard_normal(s.shape)
    shape = (len(settings.noise), len(DENOISERS), len(WEIGHTS))
    exact, found, error = (np.full(shape, np.nan) for _ in range(3))
    for i, v in enumerate(progress(sorted(settings.noise, reverse=True), "noise")):
        for j, name in enumerate(DENOISERS):
            n = 2 if name == "R itself" else 3
            exact[i, j, :n] = _by_quadrature(name, density.values, x, v)
            found[i, j, :n], error[i, j, :n] = _trained(name, s, xi, v)
    dims = ("noise", "denoiser", "weight")
    return labelled(
        {
            "exact": (dims, exact, "weight of the best denoiser, by quadrature"),
            "trained": (dims, found, "weight of the denoiser that was trained"),
            "error": (dims, error, "standard error of the trained weight"),
        },
        {"w": settings.w, "n_samples": settings.n_samples},
        {
            "noise": ("noise", sorted(settings.noise, reverse=True), "variance of the noise"),
            "denoiser": ("denoiser", list(DENOISERS), "denoiser"),
            "weight": ("weight", list(WEIGHTS), "weight"),
        },
    )


def _drawn(
    p: NDArray[np.float64], x: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw states from a density: a cell of the grid, and a place in it, ``(sample, unit)``."""
    import numpy as np

    cumulated = p.ravel().cumsum()
    cell = np.searchsorted(cumulated, rng.random(n) * cumulated[-1])
    inside = rng.random((n, 2)) - 0.5
    return x[np.stack(np.unravel_index(cell, p.shape), -1)] + inside * (x[1] - x[0])


def _features(name: str, own: np.ndarray, other: np.ndarray) -> NDArray[np.float64]:
    """Return what the weights of a unit's denoiser multiply, ``(weight, ...)``."""
    import numpy as np

    rho, slope = (1 + np.tanh(other)) / 2, 1 / (2 * np.cosh(own) ** 2)
    if name == "rates":
        return np.stack([rho, np.ones_like(own), -own])
    pressure = [slope * rho, slope]
    return np.stack(pressure if name == "R itself" else [*pressure, -own])


def _by_quadrature(
    name: str, p: NDArray[np.float64], x: NDArray[np.float64], v: float
) -> NDArray[np.float64]:
    """Return the weights that minimise the expected squared error, by integrals on the grid.

    The clean state expected at a noisy one, by Tweedie's formula ``s + v d log p_v / ds``, is
    what a denoiser is fitted to.
    """
    import numpy as np

    apart = x[:, None] - x
    kernel = np.exp(-(apart**2) / (2 * v))
    kernel /= kernel[:, len(x) // 2].sum()
    noisy = kernel @ p @ kernel.T
    slope = (-apart / v * kernel) @ p @ kernel.T  # of noisy, in the first unit
    own, other = np.meshgrid(x, x, indexing="ij")
    target = slope if name != "R itself" else own * noisy + v * slope
    phi = _features(name, own, other).reshape(-1, p.size)
    return np.linalg.solve(phi * noisy.ravel() @ phi.T, phi @ target.ravel())


def _trained(
    name: str, s: NDArray[np.float64], xi: NDArray[np.float64], v: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights by least squares on noisy states, and their standard errors.

    Noise comes in opposite pairs, ``xi`` and ``-xi``, which takes away most of what is large in
    ``(s - noisy) / v``. Both units have one coupling, bias and leak.
    """
    import numpy as np

    rows, right = 0.0, 0.0
    for sign in (1, -1):
        noisy = s + sign * v**0.5 * xi
        for unit in (0, 1):
            phi = _features(name, noisy[:, unit], noisy[:, 1 - unit])
            target = s[:, unit] if name == "R itself" else -sign * xi[:, unit] / v**0.5
            rows = rows + phi[:, None] * phi  # (weight, weight, sample)
            right = right + phi * target
    assert isinstance(rows, np.ndarray) and isinstance(right, np.ndarray)
    inverse = np.linalg.inv(rows.sum(-1))
    weights = inverse @ right.sum(-1)
    left = right - np.einsum("ijs,j->is", rows, weights)  # what each sample pulls by
    return weights, np.sqrt(np.diag(inverse @ (left @ left.T) @ inverse))


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, against_theory, panel_figure

    v, w = dataset.noise.values, dataset.w
    couplings, others = [], []
    for i, name in enumerate(DENOISERS):
        one = dataset.sel(denoiser=name, weight="coupling")
        couplings += against_theory(v, one.exact.values, one.trained.values, name, colour=i)
    couplings.append(Series(v, 0 * v + w, "of the energy", line=True, colour=6))
    matched = dataset.sel(denoiser=DENOISERS[0])
    for i, (name, true) in enumerate(zip(WEIGHTS, _true(w), strict=True)):
        if name != "bias":  # as far off as the coupling, by symmetry
            one = abs(matched.sel(weight=name) / true - 1)
            others += against_theory(v, one.exact.values, one.trained.values, name, colour=3 + i)
    noise = "variance of the noise $v$"
    return panel_figure(
        [
            Panel("coupling of a trained denoiser", noise, "coupling", couplings, "x"),
            Panel("score matching: its error", noise, "relative error", others, "xy"),
        ],
        columns=2,
        question="Does a trained denoiser know the energy (eq. 3)?",
        see="Points: least squares on noisy states. Lines: exact. Score matching finds the weights "
        "of the energy with an error in proportion to v; R itself, and rates alone, never do.",
    )


def _true(w: float) -> tuple[float, float, float]:
    """Return coupling, bias and leak of the energy."""
    return w, -w / 2, 1.0


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    z = abs(dataset.trained - dataset.exact) / dataset.error
    fitted = dataset.exact.notnull()
    coupling = dataset.exact.sel(weight="coupling")
    matched, itself, rates = (coupling.sel(denoiser=name) for name in DENOISERS)
    w, (large, small) = dataset.w, dataset.noise.values[-2:]
    off = w - matched.values
    exponent = np.log(off[-2] / off[-1]) / np.log(large / small)
    limit = (matched.values[-1] * large - matched.values[-2] * small) / (large - small)
    values = ", ".join(f"{c:.2f}" for c in matched.values)
    never = f"at v = 1, where r = R(s): {float(itself[0]):.2f}"
    return [
        Verdict.at_most("trained weights off the exact ones, standard errors",
                        largest(z, fitted), 4, f"{dataset.n_samples:,} states, opposite noise"),
        Verdict.at_most("score matching: exponent of the coupling's error in v, off 1",
                        abs(exponent - 1), 0.15, f"couplings {values}"),
        Verdict.at_most("score matching: coupling as v -> 0, relative error",
                        abs(limit / w - 1), 0.01, f"{limit:.3f} for {w:g}"),
        Verdict.at_most("R itself as the denoiser: largest coupling over the energy's",
                        largest(itself / w), 0.75, never if dataset.noise[0] == 1 else ""),
        Verdict.at_most("rates alone: largest coupling over the energy's", largest(rates / w), 0.75,
                        "the score is no linear combination of rates"),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
