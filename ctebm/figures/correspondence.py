"""Datasets become figures. Theory is a line, measurement is points.

Functions take a dataset of :mod:`ctebm` and return a :class:`matplotlib.figure.Figure`, which
belongs to no window unless that is asked for; ``figure.savefig(path)`` writes it. With ``ax=`` they
draw into axes that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctebm.figures.given import check_dataset
from ctebm.figures.page import new_page
from ctebm.figures.style import DASHES, MARKERS, MM, NARROW, STYLE, WIDE, name_panel

__all__ = ["correspondence_figure", "step_colours"]

_LOWEST_ANGLE = 3e-15  # degrees; below the rounding error of any angle in double precision
_LOWEST_NUMBER = 1e-300  # what a logarithmic axis shows of 0


def correspondence_figure(dataset: xr.Dataset, *, ax: Any = None, window: bool = False) -> Figure:
    r"""Show how much of the chain gradient has arrived, and how far its direction is off.

    One column a layer, output first. Above, the coefficient :math:`a_k` of the displacement on
    the chain gradient against time, for every step size: points are medians over samples, bars
    their central 90 %, coloured lines the law of the solver, the black line its continuous limit.
    Below, the angle between the displacement and the chain gradient; hatched, what rounding
    hides at the smallest step.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.Correspondence.to_dataset`.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, ``(2, layer)``; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), gain=0.2)
    >>> record = ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=[0.5, 0.1])
    >>> figure = ctebm.figures.correspondence_figure(record.to_dataset())
    >>> [ax.get_title("left") for ax in figure.axes[:2]]
    ['$\\mathbf{a}$  $y$, depth 0', '$\\mathbf{b}$  $h_{1}$, depth 1']
    """
    check_dataset(
        dataset, "Correspondence.to_dataset()",
        "depth layer eps save sample step time coefficient law_coefficient continuous_coefficient "
        "tangent first_crossing rounding_floor",
    )  # fmt: skip
    layers = np.argsort(dataset.depth.values)
    with mpl.rc_context(STYLE):
        width = NARROW if len(layers) < 2 else WIDE
        shape, size = (2, len(layers)), (width, 125 * MM)
        page = new_page(ax, *shape, size, window, sharex=True, sharey="row")
        axes = page.axes
        colours = step_colours(dataset.sizes["eps"])
        for i, (column, layer) in enumerate(zip(axes.T, layers, strict=True)):
            one = dataset.isel(layer=layer)
            _coefficients(column[0], one, colours)
            _angles(column[1], one, colours)
            depth = int(one.depth)
            name = str(one.layer.values)
            shown = f"${name[0]}_{{{name[1:]}}}$" if name[1:] else f"${name}$"
            name_panel(column[0], i, f"{shown}, depth {depth}", width / len(layers))
            name_panel(column[1], i + len(layers), "", width)
            column[1].set_xlabel("time (time constants)")
        axes[0, 0].set_ylabel("share of the chain gradient $a_k$")
        axes[1, 0].set_ylabel("angle to it (degrees)")
        axes[0, 0].set_ylim(_lowest_power(dataset), 3)
        for panel in axes.flat:  # between powers of ten; they cost a third of the drawing
            panel.minorticks_off()
        page.legend(_handles(dataset, colours), 5 if len(layers) > 1 else 3)
        page.ask("How much of the chain gradient has arrived in each layer, and how far is its "
            "direction off?",
            "Points: medians over samples, bars: their central 90 %. Lines: the law. Where the law "
            "holds, points lie on lines above and within rounding below.")  # fmt: skip
    return page.figure


def step_colours(n: int) -> list[str]:
    """Return colours that order step sizes by lightness as well as by hue."""
    return [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0.8, 0.0, n))]


def _coefficients(ax: Axes, one: xr.Dataset, colours: Sequence[str]) -> None:
    for i, colour in enumerate(colours):
        run = one.isel(eps=i)
        n, time = run.step.values, run.time.values
        law = run.law_coefficient.values
        seen = (n > 0) & (law > 0)
        dashes = DASHES[i % len(DASHES)]
        ax.plot(time[seen], law[seen], color=colour, lw=0.9, ls=dashes, zorder=2)
        _points(ax, time[seen], run.coefficient.values[:, seen], colour, i)
        first = np.flatnonzero(seen)[:1]
        ax.plot(time[first], law[first], "o", ms=8, mfc="none", mec=colour, mew=0.9, zorder=3)
    limit = one[["continuous_coefficient"]].stack(run=("eps", "save")).sortby("time")
    limit = limit.where(limit.continuous_coefficient > 0, drop=True)
    ax.plot(limit.time, limit.continuous_coefficient, color="black", lw=1.2, ls="--", zorder=1)
    ax.set(xscale="log", yscale="log")


def _angles(ax: Axes, one: xr.Dataset, colours: Sequence[str]) -> None:
    for i, colour in enumerate(colours):
        run = one.isel(eps=i)
        time, tangent = run.time.values, run.tangent.values
        seen = (run.step.values > 0) & (run.law_coefficient.values > 0)
        angle = np.degrees(np.arctan2(np.abs(tangent), np.sign(tangent)))[:, seen]
        _points(ax, time[seen], angle, colour, i)
        crossing = run.first_crossing.values
        if (crossing > 0).mean() > 0.5:
            median = np.median(np.where(crossing > 0, crossing, np.inf)) * float(run.eps)
            ax.axvline(median, color=colour, lw=0.8, ls=":", zorder=1)
    known = one.rounding_floor.dropna("eps", how="all")
    if known.sizes["eps"]:
        floor = min(np.degrees(float(known.median("sample").max())), 180)  # all, without a gradient
        ax.axhspan(
            _LOWEST_ANGLE, floor, facecolor="0.93", edgecolor="0.75", hatch="////", lw=0, zorder=0
        )
    ax.set(xscale="log", yscale="log", ylim=(_LOWEST_ANGLE, 200))
    ax.axhline(90, color="0.6", lw=0.6)


def _points(ax: Axes, x: np.ndarray, samples: np.ndarray, colour: str, i: int) -> None:
    """Plot medians over samples with bars over their central 90 %."""
    known = np.isfinite(samples).any(0)
    if not known.any():
        return
    x, samples = x[known], samples[:, known]
    low, middle, high = np.nanquantile(samples, [0.05, 0.5, 0.95], axis=0)
    ax.vlines(x, np.maximum(low, _LOWEST_NUMBER), high, color=colour, lw=0.7, alpha=0.6, zorder=2)
    ax.plot(x, middle, MARKERS[i % len(MARKERS)], ms=3.0, color=colour, mew=0, zorder=4)


def _lowest_power(dataset: xr.Dataset) -> float:
    law = dataset.law_coefficient.values
    return float(np.nanmin(law[law > 0])) / 4


def _handles(dataset: xr.Dataset, colours: Sequence[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=c, marker=MARKERS[i % len(MARKERS)], ms=4, lw=1, mew=0,
               ls=DASHES[i % len(DASHES)], label=f"$\\epsilon$ = {e:g}")
        for i, (e, c) in enumerate(zip(dataset.eps.values, colours, strict=True))
    ]  # fmt: skip
    handles += [
        Line2D([], [], color="black", lw=1.2, ls="--", label=r"law as $\epsilon \to 0$"),
        Line2D([], [], color="0.3", marker="o", ms=8, mfc="none", lw=0, label="first arrival"),
        Line2D([], [], color="0.75", lw=6, label="hidden by rounding"),
    ]
    if (dataset.first_crossing.values > 0).mean() > 0.5:
        handles.append(Line2D([], [], color="0.3", lw=0.8, ls=":", label="median first crossing"))
    return handles
