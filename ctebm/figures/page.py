"""Where a figure is drawn: on a page of its own, in a window of pyplot, or into given axes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctebm.figures.style import ask

__all__ = ["Page", "new_page"]

_OURS = "ctebm"  # the mark of a legend that may be made anew


@dataclass(frozen=True)
class Page:
    """A figure, its axes, and where its words go.

    Attributes
    ----------
    figure : Figure
        To which the axes belong.
    axes : ndarray of matplotlib.axes.Axes, (row, column)
        Where to draw.
    given : bool
        Whether the axes are another's: then the figure's question stays unwritten, and the legend
        goes into the first of them.
    """

    figure: Figure
    axes: np.ndarray
    given: bool

    def ask(self, question: str, see: str = "") -> None:
        """Write above the figure what it asks, unless the axes were given."""
        if not self.given:
            ask(self.figure, question, see)

    def legend(self, handles: Sequence[Artist], columns: int) -> None:
        """Put one legend below the figure, or into the first of given axes.

        Where an earlier one of ours is, its entries stay, and each label is listed once.
        """
        first = self.axes.flat[0]
        below = next((one for one in self.figure.legends if one.get_gid() == _OURS), None)
        before = below or first.get_legend()
        entries = [*handles]
        if before is not None:
            known = {h.get_label(): h for h in before.legend_handles if h is not None}
            entries = [*(known | {handle.get_label(): handle for handle in handles}).values()]
            before.remove()
        if self.given and below is None:
            named = [handle for handle in entries if str(handle.get_label()).strip()]
            first.legend(handles=named, frameon=True, edgecolor="none", framealpha=0.85)
        else:
            made = self.figure.legend(handles=entries, loc="outside lower center", ncols=columns)
            made.set_gid(_OURS)


def new_page(
    ax: Any,
    rows: int,
    columns: int,
    size: tuple[float, float],
    window: bool = False,
    **options: Any,
) -> Page:
    """Return the page for a grid of axes: those given, or new ones.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or array of them, optional
        Where to draw, row by row; a new figure if None.
    rows, columns : int
        How many axes there are.
    size : tuple of float
        Width and height of a new figure in inches.
    window : bool
        Make a new figure with pyplot, so that ``plt.show()`` shows it. It is pyplot's until it is
        closed. Without, pyplot is left alone.
    **options
        Of :meth:`matplotlib.figure.Figure.subplots`.

    Raises
    ------
    TypeError, ValueError
        For what is no axes, or another number of them.

    Examples
    --------
    >>> from ctebm.figures.page import new_page
    >>> page = new_page(None, 1, 2, (3, 2))
    >>> new_page(page.axes, 2, 1, (3, 2)).axes.shape
    (2, 1)
    """
    if ax is not None:
        flat = _flat(ax)
        others = [type(one).__name__ for one in flat if not isinstance(one, Axes)]
        if others:
            raise TypeError(f"expected ax as axes of matplotlib, got {others[0]}.")
        given = np.array(flat, dtype=object)
        if len(given) != rows * columns:
            raise ValueError(f"expected ax with {rows} x {columns} axes, got {len(given)} of them.")
        return Page(given[0].get_figure(root=True), given.reshape(rows, columns), given=True)
    kind: dict[str, Any] = {"figsize": size, "layout": "constrained"}
    if window:
        import matplotlib.pyplot as plt  # which looks for a display

        figure = plt.figure(**kind)
    else:
        figure = _Shown(**kind)
    return Page(figure, figure.subplots(rows, columns, squeeze=False, **options), given=False)


def _flat(ax: Any) -> list[Any]:
    """Return axes in lists and arrays of any depth as one list."""
    if isinstance(ax, np.ndarray):
        return ax.ravel().tolist()
    if isinstance(ax, list | tuple):
        return [one for part in ax for one in _flat(part)]
    return [ax]


class _Shown(Figure):
    """A figure that belongs to no window, and shows itself where it ends a cell of a notebook."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=110)
        return image.getvalue()
