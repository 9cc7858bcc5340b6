"""Datasets become figures. Theory is a line, measurement is points.

Functions take a dataset of :mod:`ctebm` and return a :class:`matplotlib.figure.Figure`, which
belongs to no window; ``figure.savefig(path)`` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = [
    "Panel",
    "Series",
    "correspondence_figure",
    "panel_figure",
]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "svg.hashsalt": "ctebm",
}
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TIME = "time since the target arrived (time constants)"


@dataclass(frozen=True)
class Series:
    """Points that were measured, or the line of a theory.

    Attributes
    ----------
    x, y : array
        Of one dimension.
    label : str
        For the legend; none if empty.
    line : bool
        Theory, drawn as a line; else points.
    colour : int
        Place in the Okabe-Ito palette and in the list of markers.
    low, high : array or None
        Ends of bars.
    """

    x: Any
    y: Any
    label: str = ""
    line: bool = False
    colour: int = 0
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class Panel:
    """One set of axes: series, or the map of a variable in two dimensions.

    Attributes
    ----------
    title, xlabel, ylabel : str
        Labels, with units.
    series : list of Series
        What is drawn.
    log : str
        Axes with a logarithmic scale: ``"xy"``, ``"x"``, ``"y"`` or ``""``.
    field : tuple of array, optional
        ``(x, y, values (y, x), label)`` drawn beneath as a map with a colour bar.
    contour : tuple of array, optional
        ``(x, y, values (y, x), level)``, a predicted boundary.
    """

    title: str
    xlabel: str
    ylabel: str
    series: list[Series] = field(default_factory=list)
    log: str = ""
    field: Any = None
    contour: Any = None


def panel_figure(panels: Sequence[Panel], columns: int = 3) -> Figure:
    """Draw panels in a grid, each with its legend.

    Parameters
    ----------
    panels : sequence of Panel
        In the order of reading.
    columns : int
        Panels in a row.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * columns + 0.2, 2.6 * rows + 0.1), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, panel in zip(axes, panels, strict=False):
            _panel(figure, ax, panel)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
    return figure


def _panel(figure: Figure, ax: Axes, panel: Panel) -> None:
    ax.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    ax.set_xscale("log" if "x" in panel.log else "linear")
    ax.set_yscale("log" if "y" in panel.log else "linear")
    if panel.field is not None:
        x, y, values, label = panel.field
        edges = _edges(x, "x" in panel.log), _edges(y, "y" in panel.log)
        drawn = ax.pcolormesh(*edges, values, cmap="cividis", vmin=0, vmax=1)
        figure.colorbar(drawn, ax=ax, label=label, shrink=0.9)
    if panel.contour is not None:
        x, y, values, level = panel.contour
        ax.contour(x, y, values, levels=[level], colors="white", linewidths=1.4)
        ax.contour(x, y, values, levels=[level], colors="black", linewidths=0.7, linestyles="--")
    for s in panel.series:
        colour, marker = OKABE_ITO[s.colour % 7], MARKERS[s.colour % len(MARKERS)]
        if s.low is not None:
            ax.vlines(s.x, s.low, s.high, color=colour, lw=0.8, alpha=0.7)
        style: dict[str, Any] = {"lw": 1.1} if s.line else {"marker": marker, "ms": 3.6, "lw": 0}
        ax.plot(s.x, s.y, color=colour, mew=0, label=s.label or None, **style)
    if any(s.label for s in panel.series):
        ax.legend(frameon=False, handlelength=1.4, borderaxespad=0.2, labelspacing=0.3)
    if "x" not in panel.log and all(np.asarray(s.x).dtype.kind in "iu" for s in panel.series):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for scale, axis, limits in (("x", ax.xaxis, ax.get_xlim()), ("y", ax.yaxis, ax.get_ylim())):
        if scale in panel.log and limits[1] < 100 * limits[0]:  # few powers of ten to label
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())


def _edges(centres: Any, log: bool) -> np.ndarray:
    """Return the edges of cells around centres, half-way between them."""
    x = np.log(centres) if log else np.asarray(centres, float)
    middle = (x[1:] + x[:-1]) / 2
    edges = np.array([2 * x[0] - middle[0], *middle, 2 * x[-1] - middle[-1]])
    return np.exp(edges) if log else edges


def correspondence_figure(dataset: xr.Dataset) -> Figure:
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
    """
    layers = np.argsort(dataset.depth.values)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * max(len(layers), 2) + 0.4, 4.9), layout="constrained")
        axes = figure.subplots(2, len(layers), sharex=True, sharey="row", squeeze=False)
        colours = step_colours(dataset.sizes["epsilon"])
        for column, layer in zip(axes.T, layers, strict=True):
            one = dataset.isel(layer=layer)
            _coefficients(column[0], one, colours)
            _angles(column[1], one, colours)
            depth = int(one.depth)
            name = str(one.layer_name.values)
            shown = f"${name[0]}_{{{name[1:]}}}$" if name[1:] else f"${name}$"
            column[0].set_title(f"{shown}, depth {depth}")
            column[1].set_xlabel("time $t = n\\epsilon$ (time constants)")
        axes[0, 0].set_ylabel("share of the chain gradient $a_k$")
        axes[1, 0].set_ylabel("angle to the chain gradient (degrees)")
        axes[0, 0].set_ylim(_lowest_power(dataset), 3)
        _legend(figure, dataset, colours)
    return figure


def step_colours(n: int) -> list[str]:
    """Return colours that order step sizes by lightness as well as by hue."""
    return [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0.85, 0.0, n))]


def _coefficients(ax: Axes, one: xr.Dataset, colours: Sequence[str]) -> None:
    times = one.time.values
    t = np.geomspace(np.nanmin(times[times > 0]), np.nanmax(times), 300)
    for i, colour in enumerate(colours):
        run = one.isel(epsilon=i)
        n, time = run.step.values, run.time.values
        law = run.law_coefficient.values
        seen = (n > 0) & (law > 0)
        ax.plot(time[seen], law[seen], color=colour, lw=1.0, zorder=2)
        _points(ax, time[seen], run.coefficient.values[:, seen], colour, i)
        first = np.flatnonzero(seen)[:1]
        ax.plot(time[first], law[first], "o", ms=8, mfc="none", mec=colour, mew=0.9, zorder=3)
    ax.plot(t, _gamma(int(one.depth), t), color="black", lw=1.2, ls="--", zorder=1)
    ax.set(xscale="log", yscale="log")


def _angles(ax: Axes, one: xr.Dataset, colours: Sequence[str]) -> None:
    for i, colour in enumerate(colours):
        run = one.isel(epsilon=i)
        time, tangent = run.time.values, run.tangent.values
        seen = (run.step.values > 0) & (run.law_coefficient.values > 0)
        angle = np.degrees(np.arctan2(np.abs(tangent), np.sign(tangent)))[:, seen]
        _points(ax, time[seen], angle, colour, i)
        crossing = run.first_crossing.values
        if (crossing > 0).mean() > 0.5:
            median = np.median(np.where(crossing > 0, crossing, np.inf)) * float(run.epsilon)
            ax.axvline(median, color=colour, lw=0.8, ls=":", zorder=1)
    known = one.rounding_floor.dropna("epsilon", how="all")
    if known.sizes["epsilon"]:
        floor = np.degrees(float(known.median("sample").max()))
        ax.axhspan(1e-17, floor, facecolor="0.93", edgecolor="0.75", hatch="////", lw=0, zorder=0)
    ax.set(xscale="log", yscale="log", ylim=(3e-15, 200))
    ax.axhline(90, color="0.6", lw=0.6)


def _points(ax: Axes, x: np.ndarray, samples: np.ndarray, colour: str, i: int) -> None:
    """Plot medians over samples with bars over their central 90 %."""
    known = np.isfinite(samples).any(0)
    if not known.any():
        return
    x, samples = x[known], samples[:, known]
    low, middle, high = np.nanquantile(samples, [0.05, 0.5, 0.95], axis=0)
    ax.vlines(x, np.maximum(low, 1e-300), high, color=colour, lw=0.7, alpha=0.6, zorder=2)
    ax.plot(x, middle, MARKERS[i % len(MARKERS)], ms=3.0, color=colour, mew=0, zorder=4)


def _gamma(depth: int, t: np.ndarray) -> np.ndarray:
    from scipy.special import gammainc

    return gammainc(depth + 1, t)


def _lowest_power(dataset: xr.Dataset) -> float:
    law = dataset.law_coefficient.values
    return float(np.nanmin(law[law > 0])) / 4


def _legend(figure: Figure, dataset: xr.Dataset, colours: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=c, marker=MARKERS[i % len(MARKERS)], ms=4, lw=1, mew=0,
               label=f"$\\epsilon$ = {e:g}")
        for i, (e, c) in enumerate(zip(dataset.epsilon.values, colours, strict=True))
    ]  # fmt: skip
    handles += [
        Line2D([], [], color="0.3", lw=1, label="law of the solver"),
        Line2D([], [], color="black", lw=1.2, ls="--", label=r"continuous limit $P(k+1,\,t)$"),
        Line2D([], [], color="0.3", marker="o", ms=8, mfc="none", lw=0, label="first arrival"),
        Line2D([], [], color="0.75", lw=6, label="hidden by rounding"),
    ]
    if (dataset.first_crossing.values > 0).mean() > 0.5:
        handles.append(Line2D([], [], color="0.3", lw=0.8, ls=":", label="median first crossing"))
    columns = 5 if dataset.sizes["layer"] > 2 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
