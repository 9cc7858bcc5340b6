"""Dynamics beside the density of Langevin dynamics: the figure of the study of that name."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.given import check_dataset
from ctebm.figures.panels import Panel, Series, against_theory, panel_figure

__all__ = ["langevin_figure"]

_EPS = r"step $\epsilon$ (time constants)"
_EXACT = "exp(-2E/σ²)"
_BLACK = 6


def langevin_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Draw what dynamics visit, how far off they are, and what tells them apart.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/langevin.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, nine of them; a figure of its own by default.

    Returns
    -------
    Figure
    """
    check_dataset(
        dataset, "studies/langevin.py",
        "dynamics smooth_eps smooth_s smooth_density kinked_density smooth_spread pinned_spread "
        "kappa map_sigma map_eps map_variance correlation hops hops_law mean_update "
        "digits_variance",
    )  # fmt: skip
    smooth, kinked = (_shown(dataset, prefix) for prefix in ("smooth", "kinked"))
    panels = [
        _density(dataset, "smooth", smooth, "smooth pair"),
        _density(dataset, "kinked", kinked, "pair at kinks"),
        _spread(dataset, "smooth", dataset.smooth_eps.values, "smooth pair", _EPS),
        _spread(dataset, "pinned", dataset.kappa.values, "unit at a kink",
                r"kink number $\kappa = \epsilon a^2/\sigma^2$"),
        _modes(dataset), _noise(dataset), _hops(dataset), _updates(dataset), _digits(dataset),
    ]  # fmt: skip
    return panel_figure(
        panels,
        question="Is it Langevin MCMC (section 2.2)?",
        see="Points: measured. Lines: exact, or the law. Black: what Langevin dynamics visits. "
        "Accepted or rejected steps (MALA) visit it at any ε, Euler-Maruyama steps as ε falls, "
        "much later at kinks, and the paper's map at no ε. e: v = σ²/ε, slow (▼) and fast (✚) "
        "mode, on their lines (N3) with σ = 0.01, where the noise stays far from kinks, and below "
        "them with σ = 0.1. g: the line is the law of Eyring and Kramers. Bars: 4 standard errors, "
        "g: 95 %.",
        ax=ax,
    )


def _shown(dataset: xr.Dataset, prefix: str) -> float:
    """Return the step whose densities are drawn."""
    eps = dataset[f"{prefix}_eps"].values
    return float(eps[len(eps) // 3])


def _colour(dataset: xr.Dataset, name: str) -> int:
    return list(dataset.dynamics.values).index(name)


def _density(dataset: xr.Dataset, prefix: str, eps: float, title: str) -> Panel:
    at = dataset.sel({f"{prefix}_eps": eps})
    x, cell = dataset[f"{prefix}_s"].values, dataset[f"{prefix}_cell"].values
    lines = [
        Series(x, at[f"{prefix}_density"].values, _EXACT, line=True, colour=_BLACK),
        Series(x, at[f"{prefix}_law_density"].values, line=True, colour=0),
    ]
    drawn = at[f"{prefix}_histogram"].transpose("dynamics", ...).values
    points = [
        Series(cell[y > 0], y[y > 0], str(name), colour=i)  # where states were drawn
        for i, (name, y) in enumerate(zip(dataset.dynamics.values, drawn, strict=True))
    ]
    return Panel(f"{title}, ε = {eps:g}", "state of one unit $s_1$", f"density, {title}",
                 [*lines, *points])  # fmt: skip


def _spread(dataset: xr.Dataset, prefix: str, x: np.ndarray, title: str, xlabel: str) -> Panel:
    ylabel = "variance over the exact" if prefix == "smooth" else "spread over the exact"
    spread, law = dataset[f"{prefix}_spread"], dataset[f"{prefix}_spread_law"]
    exact = law.sel(dynamics="MALA").values
    series = [Series(x, exact / exact, _EXACT, line=True, colour=_BLACK)]
    for i, name in enumerate(dataset.dynamics.values):
        y, theory = (values.sel(dynamics=name).values / exact for values in (spread, law))
        series += against_theory(x, theory, y, str(name), colour=i)
    return Panel(title, xlabel, ylabel, series, "xy")


def _modes(dataset: xr.Dataset) -> Panel:
    series, eps = [], dataset.map_eps.values
    for sigma in dataset.map_sigma.values:
        for j, mode in enumerate(dataset["mode"].values):
            one = dataset.sel(map_sigma=sigma, mode=mode)
            law, variance = one.map_variance_law.values, one.map_variance.values
            series += against_theory(eps, law, variance, colour=4 + j)
    return Panel("modes of the map", _EPS, "variance over N3's limit", series, "xy")


def _noise(dataset: xr.Dataset) -> Panel:
    return Panel("noise of eq. 5", "lag (steps)", "autocorrelation",
                 _by_law(dataset, "noise_of", "correlation", dataset.lag.values))  # fmt: skip


def _updates(dataset: xr.Dataset) -> Panel:
    return Panel(
        "weight updates at rest", "connections between the units",
        r"mean over $\sigma^2\epsilon$",
        _by_law(dataset, "updates_of", "mean_update", dataset.hops_apart.values),
    )  # fmt: skip


def _digits(dataset: xr.Dataset) -> Panel:
    one = dataset.isel(sample=0)
    shown = one.where(one.digits_variance_law > 1e-9)  # the map leaves out eigenvalue 1
    series = _by_law(shown, "modes_of", "digits_variance", one.eigenvalue.values)
    return Panel("64-32-32-10 at a digit", r"eigenvalue $\lambda$ of $H$",
                 r"variance over $\sigma^2$", series, "y")  # fmt: skip


def _by_law(dataset: xr.Dataset, dim: str, name: str, x: np.ndarray) -> list[Series]:
    """Return each dynamics as points beside its law, with bars of four standard errors."""
    series = []
    for which in dataset[dim].values:
        y, error, law = (dataset[name + p].sel({dim: which}).values for p in ("", "_error", "_law"))
        colour = _colour(dataset, which)
        series += [
            Series(x, law, line=True, colour=colour),
            Series(x, y, str(which), colour=colour, low=y - 4 * error, high=y + 4 * error),
        ]
    return series


def _hops(dataset: xr.Dataset) -> Panel:
    eps = dataset.hop_eps.values
    law = np.full(len(eps), float(dataset.hops_law))
    series = [Series(eps, law, line=True, colour=_BLACK)]
    for name in dataset.steps.values:
        one = dataset.sel(steps=name)
        series.append(
            Series(
                eps, one.hops.values, str(name), colour=_colour(dataset, name),
                low=one.hops_low.values, high=one.hops_high.values,
            )
        )  # fmt: skip
    return Panel("hops between valleys", _EPS, "hops a time constant", series, "x")
