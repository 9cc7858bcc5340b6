"""Panels of points and lines, and the style that figures share.

Theory is a line, measurement is points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = ["MARKERS", "OKABE_ITO", "STYLE", "Panel", "Series", "against_theory", "panel_figure"]

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


def against_theory(
    x: Any, theory: Any, y: Any, label: str = "", *, colour: int = 0, every: int = 1
) -> list[Series]:
    """Return a theory as a line and what was measured as points, in one colour.

    Parameters
    ----------
    x, theory, y : array
        Of one dimension.
    label : str
        Of the points.
    colour : int
        As in :class:`Series`.
    every : int
        Which points are drawn: the first and every so many after it.

    Examples
    --------
    >>> from ctebm.figures.panels import against_theory
    >>> line, points = against_theory([1, 2, 3], [1, 4, 9], [1.1, 3.9, 9.0], "depth 1", every=2)
    >>> points.x, points.y, points.label
    ([1, 3], [1.1, 9.0], 'depth 1')
    """
    return [
        Series(x, theory, line=True, colour=colour),
        Series(x[::every], y[::every], label, colour=colour),
    ]


def panel_figure(panels: Sequence[Panel], columns: int = 3) -> Figure:
    """Draw panels in a grid, each with its legend.

    Parameters
    ----------
    panels : sequence of Panel
        In the order of reading.
    columns : int
        Panels in a row.

    Returns
    -------
    Figure

    Examples
    --------
    >>> from ctebm.figures import Panel, Series, panel_figure
    >>> theory, data = Series([1, 2], [1, 4], line=True), Series([1, 2], [1.1, 3.9], "measured")
    >>> figure = panel_figure([Panel("A power law", "$x$", "$y$", [theory, data], log="xy")])
    >>> figure.axes[0].get_xscale()
    'log'
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
