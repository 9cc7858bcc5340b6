"""Figures of equilibria: bifurcation diagrams, phase portraits, chattering at kinks."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctebm.figures.given import check_dataset, check_list, check_place, check_text
from ctebm.figures.page import new_page
from ctebm.figures.style import MM, NARROW, OKABE_ITO, STYLE

__all__ = ["bifurcation_diagram", "bifurcation_figure", "phase_portrait", "phase_portrait_figure"]

BLUE, VERMILION, GREEN, ORANGE = *OKABE_ITO[:3], OKABE_ITO[4]
EVENTS = {
    "fold": ("o", VERMILION, "fold"),
    "pitchfork": ("D", GREEN, "pitchfork"),
    "imperfect pitchfork": ("d", VERMILION, "imperfect pitchfork"),
    "transcritical": ("^", GREEN, "transcritical point"),
    "symmetric pitchfork": ("d", GREEN, "symmetric pitchfork"),
    "multiple zero": ("v", GREEN, "multiple zero"),
    "hopf": ("*", ORANGE, "Hopf point"),
    "border collision": ("s", ORANGE, "border collision"),
}
KINDS = {
    "stable": ("o", "black", "stable point"),
    "saddle": ("X", VERMILION, "saddle"),
    "degenerate": ("D", ORANGE, "degenerate point"),
}


def bifurcation_diagram(ax: Axes, branch: xr.Dataset, unit: int = 0) -> None:
    """Draw one branch: stable parts solid, unstable dashed, events marked.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    branch : xarray.Dataset
        From :meth:`ctebm.Branch.to_dataset`; degenerate points join the parts beside them.
    unit : int
        Which unit's state to show.
    """
    check_dataset(branch, "Branch.to_dataset()", "parameter state unit index")
    check_place("units", unit, branch.sizes["unit"])
    p, s = branch.parameter.values, branch.state.isel(unit=unit).values
    stable = branch["index"].values == 0
    for solid, style in ((True, "-"), (False, "--")):
        # a piece is drawn as the less stable of its ends
        piece = (stable[1:] & stable[:-1]) == solid
        for part in np.split(np.arange(len(piece)), np.flatnonzero(np.diff(piece)) + 1):
            if len(part) and piece[part[0]]:
                span = slice(part[0], part[-1] + 2)
                ax.plot(p[span], s[span], style, color=BLUE, lw=1.4, zorder=2)
    for k in range(branch.sizes.get("event", 0)):
        event = branch.isel(event=k)
        marker, colour, _ = EVENTS[str(event.event_kind.values)]
        ax.plot(
            event.event_parameter, event.event_state.isel(unit=unit), marker,
            color=colour, ms=5, mec="black", mew=0.5, zorder=4,
        )  # fmt: skip


def bifurcation_figure(
    branches: list[xr.Dataset],
    parameter: str = "parameter",
    unit: int = 0,
    *,
    ax: Axes | None = None,
    window: bool = False,
) -> Figure:
    """Return a bifurcation diagram of the branches of one family.

    Parameters
    ----------
    branches : list of xarray.Dataset
        From :meth:`ctebm.Branch.to_dataset`.
    parameter : str
        What to call the parameter.
    unit : int
        Which unit's state to show.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import ctebm
    >>> def family(w):
    ...     return ctebm.DenseNetwork([[0, w], [w, 0]], [-w / 2, -w / 2], ctebm.Tanh())
    >>> branch = ctebm.continue_branch(family, [0.0, 0.0], (3.0, 5.0))
    >>> ctebm.figures.bifurcation_figure([branch.to_dataset()], "w").axes[0].get_xlabel()
    'w'
    """
    check_list("branches", branches, xr.Dataset, 1)
    check_text("parameter", parameter)
    for branch in branches:
        check_dataset(branch, "Branch.to_dataset()", "event_kind")
    with mpl.rc_context(STYLE):
        page = new_page(ax, 1, 1, (NARROW, 72 * MM), window)
        panel = page.axes[0, 0]
        for branch in branches:
            bifurcation_diagram(panel, branch, unit)
        panel.set(xlabel=parameter, ylabel=f"state of unit {unit}")
        kinds = {str(k) for branch in branches for k in branch.event_kind.values}
        page.legend(diagram_handles(kinds), 3)
    return page.figure


def diagram_handles(kinds: set[str]) -> list[Line2D]:
    """Return the legend of a bifurcation diagram with these kinds of events."""
    lines = [Line2D([], [], color=BLUE, lw=1.4, ls=ls, label=label)
             for ls, label in (("-", "stable"), ("--", "unstable"))]  # fmt: skip
    return lines + [
        Line2D([], [], marker=m, color=c, mec="black", mew=0.5, lw=0, ms=5, label=label)
        for kind, (m, c, label) in EVENTS.items()
        if kind in kinds
    ]


def phase_portrait(ax: Axes, plane: xr.Dataset) -> None:
    """Draw energy contours, where there is an energy, nullclines, paths and equilibria.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    plane : xarray.Dataset
        From :func:`ctebm.phase_plane`.
    """
    check_dataset(plane, "phase_plane", "x y force component lower_kink upper_kink")
    x, y = plane.x.values, plane.y.values
    if "energy" in plane:
        levels = np.quantile(plane.energy.values, np.linspace(0.0, 1.0, 16))
        ax.contour(x, y, plane.energy.values, np.unique(levels), colors="0.75", linewidths=0.6,
                   zorder=1)  # fmt: skip
    for component, colour, style in ((0, BLUE, "-"), (1, GREEN, "--")):
        f = plane.force.isel(component=component).values
        ax.contour(x, y, f, [0.0], colors=colour, linestyles=style, linewidths=1.2, zorder=2)
    for kink in (plane.attrs["lower_kink"], plane.attrs["upper_kink"]):
        for draw, at in zip((ax.axvline, ax.axhline), np.broadcast_to(kink, 2), strict=True):
            if np.isfinite(at):
                draw(at, color="0.5", lw=0.7, ls=":", zorder=1)
    for k in range(plane.sizes.get("path", 0)):
        path = plane.path_state.isel(path=k).values
        ax.plot(path[:, 0], path[:, 1], color=ORANGE, lw=1.0, zorder=3)
        ax.plot(*path[0], ".", color=ORANGE, ms=4, zorder=3)
    if "equilibrium" in plane:
        for point, kind in zip(plane.equilibrium.values, plane.stability.values, strict=True):
            marker, colour, _ = KINDS[str(kind)]
            ax.plot(*point, marker, color=colour, ms=5.5, mec="white", mew=0.6, zorder=5)
    ax.set(xlabel=plane.x.attrs["long_name"], ylabel=plane.y.attrs["long_name"], aspect="equal")


def phase_portrait_figure(
    plane: xr.Dataset, *, ax: Axes | None = None, window: bool = False
) -> Figure:
    """Return a phase portrait.

    Parameters
    ----------
    plane : xarray.Dataset
        From :func:`ctebm.phase_plane`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> plane = ctebm.phase_plane(net, n_grid=11, n_starts=5)
    >>> ctebm.figures.phase_portrait_figure(plane).axes[0].get_aspect()
    1.0
    """
    with mpl.rc_context(STYLE):
        page = new_page(ax, 1, 1, (NARROW, 100 * MM), window)
        phase_portrait(page.axes[0, 0], plane)
        kinds = {str(k) for k in plane.stability.values} if "stability" in plane else set()
        absent = {"energy contour": "energy" not in plane, "path": "path" not in plane.sizes}
        handles = [h for h in portrait_handles(kinds) if not absent.get(str(h.get_label()))]
        page.legend(handles, 2)
    return page.figure


def portrait_handles(kinds: set[str]) -> list[Line2D]:
    """Return the legend of a phase portrait with these kinds of equilibria."""
    lines = [
        Line2D([], [], color="0.75", lw=0.8, label="energy contour"),
        Line2D([], [], color=BLUE, lw=1.2, label="nullcline, horizontal unit"),
        Line2D([], [], color=GREEN, lw=1.2, ls="--", label="nullcline, vertical unit"),
        Line2D([], [], color=ORANGE, lw=1.0, marker=".", label="path"),
    ]
    return lines + [
        Line2D([], [], marker=m, color=c, mec="white", mew=0.6, lw=0, ms=5.5, label=label)
        for kind, (m, c, label) in KINDS.items()
        if kind in kinds
    ]
