"""What panels show: points, lines of theory, maps, with their labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ctebm.figures.given import (
    check_bars,
    check_flag,
    check_list,
    check_text,
    check_whole,
    row_of_numbers,
)

__all__ = ["Panel", "Series", "against_theory"]


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
        Place in the Okabe-Ito palette and in the lists of markers and dashes.
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

    def __post_init__(self) -> None:
        n = len(row_of_numbers("x", self.x))
        row_of_numbers("y", self.y, n)
        check_text("label", self.label)
        check_flag("line", self.line)
        check_whole("colour", self.colour)
        check_bars(self.low, self.high, n)


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
    alone : bool
        Whether its range is its own, whatever others with its label of the y axis have.
    """

    title: str
    xlabel: str
    ylabel: str
    series: list[Series] = field(default_factory=list)
    log: str = ""
    field: Any = None
    contour: Any = None
    alone: bool = False

    def __post_init__(self) -> None:
        for what in ("title", "xlabel", "ylabel", "log"):
            check_text(what, getattr(self, what))
        if not set(self.log) <= {"x", "y"}:
            raise ValueError(f"expected log with the letters x and y alone, got {self.log!r}.")
        check_list("series", self.series, Series, 0)


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
    >>> from ctebm.figures.series import against_theory
    >>> line, points = against_theory([1, 2, 3], [1, 4, 9], [1.1, 3.9, 9.0], "depth 1", every=2)
    >>> points.x, points.y, points.label
    ([1, 3], [1.1, 9.0], 'depth 1')
    """
    return [
        Series(x, theory, line=True, colour=colour),
        Series(x[::every], y[::every], label, colour=colour),
    ]
