"""Dynamics beside Langevin dynamics: what they visit, and what noise inside the pressure does."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.given import check_dataset
from ctebm.figures.panels import Panel, Series, against_theory, panel_figure
from ctebm.figures.style import OKABE_ITO

__all__ = ["langevin_figure", "synaptic_figure"]

_EPS = r"step $\epsilon$ (time constants)"
_EXACT = "exp(-2E/σ²)"
_MODES, _BLACK = 4, 6
# Those that are compared, in the order of their colours.
DYNAMICS = ["Euler-Maruyama", "MALA", "map, v fixed", "map, v = σ²/ε"]


def langevin_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Draw what dynamics visit, and how far that is from the density of Langevin dynamics.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/langevin.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, six of them; a figure of its own by default.

    Returns
    -------
    Figure
    """
    check_dataset(
        dataset, "studies/langevin.py",
        "dynamics smooth_eps smooth_s smooth_density kinked_density smooth_distance smooth_chance "
        "smooth_law_distance smooth_spread pinned_spread kappa digits_variance",
    )  # fmt: skip
    smooth, kinked = (_shown(dataset, prefix) for prefix in ("smooth", "kinked"))
    panels = [
        _density(dataset, "smooth", smooth, "smooth pair"),
        _density(dataset, "kinked", kinked, "pair at kinks"),
        _distance(dataset),
        _spread(dataset, "smooth", dataset.smooth_eps.values, "smooth pair", _EPS),
        _spread(dataset, "pinned", dataset.kappa.values, "unit at a kink",
                r"kink number $\kappa = \epsilon a^2/\sigma^2$"),
        _digits(dataset),
    ]  # fmt: skip
    return panel_figure(
        panels,
        question="Is it Langevin MCMC (section 2.2)?",
        see="Points: measured. Lines: exact, or the law. Black: what Langevin dynamics visits; in "
        "c the distance of as many exact draws, by chance. Accepted or rejected steps (MALA) visit "
        "it at any ε, Euler-Maruyama steps as ε falls, much later at kinks, and the paper's map at "
        "no ε. f: bars are 4 standard errors.",
        ax=ax,
    )


def synaptic_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Draw what noise inside the pressure does, beside Langevin noise.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/synaptic.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, four of them; a figure of its own by default.

    Returns
    -------
    Figure
    """
    check_dataset(
        dataset, "studies/synaptic.py",
        "map_sigma map_eps map_variance correlation hops hops_law mean_update",
    )  # fmt: skip
    return panel_figure(
        [_modes(dataset), _noise(dataset), _hops(dataset), _updates(dataset)],
        columns=2,
        question="What does noise inside the pressure do, beside Langevin noise?",
        see="Points: measured. Lines: the law. a: v = σ²/ε; slow and fast mode have the variance "
        "of N3 while the noise stays far from kinks (σ = 0.01), else it falls with ε. b: half of "
        "the noise is taken back one step later. c: as ε falls the map does not leave its valley; "
        "black: the law of Eyring and Kramers, bars: 95 %. d: what noise leaves of eq. 26, bars: 4 "
        "standard errors.",
        ax=ax,
    )


def _shown(dataset: xr.Dataset, prefix: str) -> float:
    """Return the step whose densities are drawn."""
    eps = dataset[f"{prefix}_eps"].values
    return float(eps[len(eps) // 3])


def _colour(name: str) -> int:
    """Return the colour that one of the dynamics has in every panel."""
    return DYNAMICS.index(name)


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


def _distance(dataset: xr.Dataset) -> Panel:
    eps = dataset.smooth_eps.values
    chance = np.full(len(eps), float(dataset.smooth_chance))
    series = [
        Series(eps, chance, line=True, colour=_BLACK),
        Series(eps, dataset.smooth_law_distance.values, line=True, colour=0),
    ]
    for name in dataset.dynamics.values:
        y = dataset.smooth_distance.sel(dynamics=name).values
        series.append(Series(eps, y, str(name), colour=_colour(name)))
    return Panel("smooth pair", _EPS, "total variation distance", series, "x")


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
    for i, sigma in enumerate(dataset.map_sigma.values):
        for j, mode in enumerate(dataset["mode"].values):
            one = dataset.sel(map_sigma=sigma, mode=mode)
            law, variance = one.map_variance_law.values, one.map_variance.values
            label, colour = f"{mode}, σ = {sigma:g}", _MODES + j + i * len(OKABE_ITO)
            series += against_theory(eps, law, variance, label, colour=colour)
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
        colour = _colour(which)
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
                eps, one.hops.values, str(name), colour=_colour(name),
                low=one.hops_low.values, high=one.hops_high.values,
            )
        )  # fmt: skip
    return Panel("hops between valleys", _EPS, "hops a time constant", series, "x")
