"""Panels of points, lines and maps in a grid, with one legend."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from ctebm.figures.given import check_list, check_text, check_whole
from ctebm.figures.page import Page, new_page
from ctebm.figures.series import Panel, Series, against_theory
from ctebm.figures.style import (
    LINE,
    MM,
    NARROW,
    OKABE_ITO,
    STYLE,
    WIDE,
    look,
    name_panel,
    panel_letter,
    wrapped,
)

__all__ = ["Panel", "Series", "against_theory", "panel_figure"]

_ROW = 47 * MM  # height of a row of panels


def panel_figure(
    panels: Sequence[Panel],
    columns: int = 3,
    *,
    question: str = "",
    see: str = "",
    ax: Any = None,
    window: bool = False,
) -> Figure:
    """Draw panels in a grid, with letters if several, one legend, and what they are about.

    Panels with one label of the y axis have one range, and maps of one quantity one colour bar.

    Parameters
    ----------
    panels : sequence of Panel
        In the order of reading.
    columns : int
        Panels in a row.
    question : str
        What the figure asks, in a sentence that stands above it.
    see : str
        What to see in it, in the next.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, one for each panel; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

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
    check_list("panels", panels, Panel, 1)
    check_whole("columns", columns, 1)
    check_text("question", question)
    check_text("see", see)
    columns = min(columns, len(panels)) if ax is None else len(panels)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        width = WIDE if columns > 1 else NARROW
        entries = _legend_entries(panels)
        spare = rows * columns - len(panels)
        below = 0 if spare or not entries else 1 + len(entries)
        lines = len(wrapped(question, width) + wrapped(see, width))
        height = _ROW * rows + LINE * (lines + below)
        page = new_page(ax, rows, columns, (width, height), window)
        figure, axes = page.figure, list(page.axes.flat)
        for i, (place, panel) in enumerate(zip(axes, panels, strict=False)):
            _panel(place, panel)
            name_panel(place, i if len(panels) > 1 else None, panel.title, width / columns)
        _share_ranges(axes, panels)
        for place, panel in zip(axes, panels, strict=False):
            _label_few_powers(place, panel)
        _colour_bars(figure, axes, panels)
        for place in axes[len(panels) :]:
            place.set_axis_off()
        if entries and spare:
            axes[-1].legend(handles=[*itertools.chain(*entries)], loc="center")
        elif page.given:
            page.legend([*itertools.chain(*entries)], 1)
        elif entries:
            _legend_below(page, entries)
        page.ask(question, see)
    return figure


def _legend_entries(panels: Sequence[Panel]) -> list[list[Artist]]:
    """Return the entries of a legend: one group for all panels, or one for each set of labels."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for i, panel in enumerate(panels):
        labels = tuple((s.label, s.colour) for s in panel.series if s.label)
        if not labels:
            continue
        known = next((g for g in groups if set(labels) <= set(g)), None)
        inside = [g for g in groups if set(g) < set(labels)]
        members = [i for g in inside for i in groups.pop(g)]
        groups.setdefault(known or labels, []).extend([*members, i])
    columns = []
    for labels, members in groups.items():
        series = [s for i in members for s in panels[i].series]
        column: list[Artist] = [_entry(label, series) for label, _ in labels]
        if len(groups) > 1:
            letters = ", ".join(map(panel_letter, sorted(members)))
            column.insert(
                0, Line2D([], [], lw=0, label=f"panel{'s' * (len(members) > 1)} {letters}")
            )
        columns.append(column)
    return columns


def _entry(label: str, series: Sequence[Series]) -> Line2D:
    """Return how a label is drawn: its points, and the line of their theory if there is one."""
    named = next(s for s in series if s.label == label)
    alike = [s for s in series if s.colour == named.colour]
    line = any(s.line for s in alike if s.label in ("", label))
    points = any(not s.line for s in alike if s.label == label)
    style: dict[str, Any] = look(named.colour, line=True) if line else {"lw": 0}
    marker = look(named.colour, line=False) if points else {}
    return Line2D([], [], **({k: v for k, v in marker.items() if k != "lw"} | style), label=label)


def _legend_below(page: Page, groups: list[list[Artist]]) -> None:
    """Put a legend below the panels, a row for each group of labels."""
    if len(groups) == 1:
        (handles,) = groups
        longest = max(len(str(h.get_label())) for h in handles)
        columns = max(1, int(page.figure.get_size_inches()[0] / MM / (1.3 * longest + 11)))
    else:
        columns, blank = max(map(len, groups)), Line2D([], [], lw=0, label=" ")
        rows = [[*group, *[blank] * (columns - len(group))] for group in groups]
        handles = [row[i] for i in range(columns) for row in rows]
    page.legend(handles, columns)


def _share_ranges(axes: Sequence[Axes], panels: Sequence[Panel]) -> None:
    """Give panels of one quantity one range, with a margin beyond the data of all of them."""
    alike: dict[tuple[str, bool], list[Axes]] = {}
    for ax, panel in zip(axes, panels, strict=False):
        if panel.field is None and not panel.alone:
            alike.setdefault((panel.ylabel, "y" in panel.log), []).append(ax)
    for group in alike.values():
        ends = [y for ax in group for y in (*ax.dataLim.intervaly, ax.dataLim.minposy)]
        points = [(0, y) for y in ends if np.isfinite(y)]
        for ax in group if len(group) > 1 and points else ():
            ax.update_datalim(points, updatex=False)
            ax.autoscale_view(scalex=False)


def _colour_bars(figure: Figure, axes: Sequence[Axes], panels: Sequence[Panel]) -> None:
    for label in dict.fromkeys(p.field[3] for p in panels if p.field is not None):
        of = [
            ax for ax, p in zip(axes, panels, strict=False)
            if p.field is not None and p.field[3] == label
        ]  # fmt: skip
        figure.colorbar(of[0].collections[0], ax=of, label=label, shrink=0.9, pad=0.02)


def _panel(ax: Axes, panel: Panel) -> None:
    ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    ax.set_xscale("log" if "x" in panel.log else "linear")
    ax.set_yscale("log" if "y" in panel.log else "linear")
    if panel.field is not None:
        x, y, values, _ = panel.field
        edges = _edges(x, "x" in panel.log), _edges(y, "y" in panel.log)
        ax.pcolormesh(*edges, values, cmap="cividis", vmin=0, vmax=max(1.0, np.nanmax(values)))
    if panel.contour is not None:
        x, y, values, level = panel.contour
        ax.contour(x, y, values, levels=[level], colors="white", linewidths=1.4)
        ax.contour(x, y, values, levels=[level], colors="black", linewidths=0.7, linestyles="--")
    for s in panel.series:
        if s.low is not None:
            colour = OKABE_ITO[s.colour % 7]
            ax.vlines(s.x, s.low, s.high, color=colour, lw=0.8, alpha=0.7)
        ax.plot(s.x, s.y, label=s.label or None, **look(s.colour, line=s.line))
    if "x" not in panel.log and all(np.asarray(s.x).dtype.kind in "iu" for s in panel.series):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label_few_powers(ax: Axes, panel: Panel) -> None:
    """Label more than powers of ten where a logarithmic scale has few of them."""
    for scale, axis, limits in (("x", ax.xaxis, ax.get_xlim()), ("y", ax.yaxis, ax.get_ylim())):
        if scale in panel.log and limits[1] < 100 * limits[0]:
            axis.set_major_locator(
                LogLocator(subs=(1, 2, 5) if limits[1] < 20 * limits[0] else (1, 3))
            )
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())


def _edges(centres: Any, log: bool) -> np.ndarray:
    """Return the edges of cells around centres, half-way between them."""
    x = np.log(centres) if log else np.asarray(centres, float)
    middle = (x[1:] + x[:-1]) / 2
    edges = np.array([2 * x[0] - middle[0], *middle, 2 * x[-1] - middle[-1]])
    return np.exp(edges) if log else edges
