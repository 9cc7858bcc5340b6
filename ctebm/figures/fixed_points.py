"""How many equilibria a network has, of which kind, and how stiff they are, against its gain."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ctebm.figures.correspondence import step_colours
from ctebm.figures.equilibria import BLUE, GREEN, VERMILION
from ctebm.figures.given import check_dataset
from ctebm.figures.page import new_page
from ctebm.figures.style import DASHES, MARKERS, MM, STYLE, WIDE, name_panel

__all__ = ["fixed_points_figure"]


def fixed_points_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Draw equilibria against the gain, for each activation, and Euler's chattering at kinks.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/fixed_points.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, six of them; a figure of its own by default.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.figures.fixed_points import fixed_points_figure
    >>> names = ("n_stable", "pinned_share", "lambda_min", "lambda_max", "eps_max")
    >>> one = (("activation", "gain", "sample"), [[[1.0, 2.0], [3.0, 2.0]]])
    >>> coords = {"activation": ["tanh"], "gain": [0.5, 1.0]}
    >>> data = xr.Dataset(dict.fromkeys(names, one), coords, {"n_starts": 4})
    >>> len(fixed_points_figure(data).axes)
    6
    """
    check_dataset(
        dataset, "studies/fixed_points.py",
        "activation gain sample n_starts n_stable pinned_share lambda_min lambda_max eps_max",
    )  # fmt: skip
    panels = {
        "n_stable": ("stable equilibria", f"found from {dataset.n_starts} starts"),
        "pinned_share": ("pinned units", "share"),
        "lambda_min": ("slowest mode", "eigenvalue $\\lambda_{min}$"),
        "lambda_max": ("fastest mode", "eigenvalue $\\lambda_{max}$"),
        "eps_max": ("Euler's limit", "$\\epsilon_{max}$ (time constants)"),
    }
    with mpl.rc_context(STYLE):
        page = new_page(ax, 2, 3, (WIDE, 125 * MM))
        *axes, last = page.axes.flat
        for i, ((name, (title, label)), panel) in enumerate(zip(panels.items(), axes, strict=True)):
            name_panel(panel, i, title, WIDE / 3)
            _draw_by_gain(panel, dataset[name], "linear" if name == "pinned_share" else "log")
            panel.set(ylabel=label)
        axes[0].axhline(dataset.n_starts, color="0.6", lw=0.7, ls="--")
        handles = axes[0].get_legend_handles_labels()[0]
        if "plain" in dataset:
            name_panel(last, 5, "Euler at kinks", WIDE / 3)
            handles += _draw_chatter(last, dataset)
        else:
            last.set_axis_off()
        page.legend(handles, 3)
        page.ask("How many equilibria has a layered network, of which kind, and how stiff are "
            "they?", "a to e: medians over images, bars their central 90 %, against the gain of "
            "the weights. f: plain Euler chatters around the kinks with an amplitude of the order "
            "of the step; projected steps come to rest.")  # fmt: skip
    return page.figure


def _draw_by_gain(ax: Axes, values: xr.DataArray, scale: str) -> None:
    """Draw median and spread over images against the gain; image by image for a single network."""
    colours = [BLUE, VERMILION, GREEN, "black", "0.5"]
    single = values.sizes["gain"] == 1
    for a, activation in enumerate(values.activation.values):
        one = values.isel(activation=a).where(np.isfinite)
        style = {"color": colours[a % len(colours)], "ms": 4, "mew": 0, "label": str(activation)}
        marker = MARKERS[a % len(MARKERS)]
        if single:
            ax.plot(np.arange(values.sizes["sample"]), one[0], marker, ls="", **style)
            continue
        low, middle, high = (one.quantile(q, "sample") for q in (0.05, 0.5, 0.95))
        gain = values.gain.values * (1 + 0.02 * a)
        ax.vlines(gain, low, high, color=style["color"], lw=0.8, alpha=0.6)
        ax.plot(gain, middle, marker, ls=DASHES[a % len(DASHES)], lw=0.6, **style)
    if scale == "log":
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    if single:
        ax.set(xlabel="image")
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        return
    ax.set(xscale="log", xlabel="gain")
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _draw_chatter(ax: Axes, dataset: xr.Dataset) -> list[Artist]:
    """Draw plain and projected runs and return the entries of their legend."""
    steps = np.arange(dataset.sizes["step"])
    colours = step_colours(dataset.sizes["eps"])
    for i, (eps, colour) in enumerate(zip(dataset.eps.values, colours, strict=True)):
        for kind, style in (("plain", "-"), ("projected", "--")):
            distance = np.maximum(dataset[kind].isel(eps=i).values, 1e-17)
            ax.plot(steps * eps, distance, style, color=colour, lw=1.0,
                    label=f"f: {kind}, $\\epsilon$ = {eps:g}")  # fmt: skip
    ax.set(yscale="log", xlabel="time (time constants)", ylabel="distance from equilibrium")
    return ax.get_legend_handles_labels()[0]
