"""What a figure is given: the dataset of its source, places in it, rows of numbers, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

__all__ = [
    "check_bars",
    "check_dataset",
    "check_flag",
    "check_list",
    "check_place",
    "check_text",
    "check_whole",
    "row_of_numbers",
]


def check_dataset(dataset: object, source: str, names: str) -> None:
    """Refuse what is no dataset of a source.

    Parameters
    ----------
    dataset : xarray.Dataset
        What is to be drawn.
    source : str
        Where such a dataset comes from.
    names : str
        Variables, dimensions and attributes that are drawn, between blanks.

    Raises
    ------
    TypeError, ValueError
        With the source, and what was given or is missing.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.figures.given import check_dataset
    >>> check_dataset(xr.Dataset({"time": 0.0}, attrs={"on": 1}), "a run", "time on")
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"expected the dataset of {source}, got {type(dataset).__name__}.")
    held = {*dataset.variables, *dataset.sizes, *dataset.attrs}
    missing = [name for name in names.split() if name not in held]
    if missing:
        raise ValueError(f"expected the dataset of {source}, got one without {', '.join(missing)}.")


def check_place(what: str, value: object, n: int) -> None:
    """Refuse what is no number of one of `n` samples or units, counted from either end.

    Raises
    ------
    TypeError, IndexError
        With what was expected.

    Examples
    --------
    >>> from ctebm.figures.given import check_place
    >>> check_place("samples", -1, 3)
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"expected the number of one of {n} {what}, got {_shown(value)}.")
    if not -n <= value < n:
        raise IndexError(f"expected the number of one of {n} {what}, got {value!r}.")


def check_whole(what: str, value: object, least: int | None = None) -> None:
    """Refuse what is no whole number, or one below the least.

    Raises
    ------
    TypeError, ValueError
        With the name of the argument.

    Examples
    --------
    >>> from ctebm.figures.given import check_whole
    >>> check_whole("columns", 3, least=1)
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"expected {what} as a whole number, got {_shown(value)}.")
    if least is not None and value < least:
        raise ValueError(f"expected {what} >= {least}, got {value}.")


def check_flag(what: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises
    ------
    TypeError
        With the name of the argument.

    Examples
    --------
    >>> from ctebm.figures.given import check_flag
    >>> check_flag("line", True)
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"expected {what} as True or False, got {_shown(value)}.")


def check_list(what: str, values: object, kind: type, least: int) -> None:
    """Refuse what is no list of one kind of thing, `least` or more of them.

    Raises
    ------
    TypeError, ValueError
        With what it holds.

    Examples
    --------
    >>> from ctebm.figures.given import check_list
    >>> check_list("words", ["a"], str, 1)
    """
    if not isinstance(values, list | tuple):
        raise TypeError(f"expected {what} as a list, got {type(values).__name__}.")
    others = [type(value).__name__ for value in values if not isinstance(value, kind)]
    if others:
        raise TypeError(f"expected {what} as a list of {kind.__name__}, got {others[0]} in it.")
    if len(values) < least:
        raise ValueError(f"expected {what} with {least} of them or more, got {len(values)}.")


def check_text(what: str, value: object) -> None:
    """Refuse what is no text.

    Raises
    ------
    TypeError
        With the name of the argument.

    Examples
    --------
    >>> from ctebm.figures.given import check_text
    >>> check_text("label", "depth 1")
    """
    if not isinstance(value, str):
        raise TypeError(f"expected {what} as text, got {value!r}.")


def row_of_numbers(what: str, value: Any, n: int | None = None) -> np.ndarray:
    """Return numbers of one dimension, `n` of them if that is given.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> from ctebm.figures.given import row_of_numbers
    >>> row_of_numbers("x", [1, 2])
    array([1, 2])
    """
    try:
        row = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, what is no array at all
        row = np.array(None)
    if row.ndim != 1 or row.dtype.kind not in "biuf":
        raise ValueError(f"expected {what} as numbers in one dimension, got {_shown(value)}.")
    if n is not None and len(row) != n:
        raise ValueError(f"expected {what} with {n} numbers, as x has, got {len(row)}.")
    return row


def check_bars(low: Any, high: Any, n: int) -> None:
    """Refuse ends of bars that are not both rows of `n` numbers, or both None.

    Raises
    ------
    ValueError
        With what is missing.

    Examples
    --------
    >>> from ctebm.figures.given import check_bars
    >>> check_bars([0.9, 1.8], [1.1, 2.2], 2)
    """
    if (low is None) != (high is None):
        raise ValueError("expected both ends of bars, low and high, got one of them.")
    for what, ends in (("low", low), ("high", high)):
        if ends is not None:
            row_of_numbers(what, ends, n)


def _shown(value: object) -> str:
    """Return a value as an error shows it, with no more than a line of it."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else f"{words[:57]}..."
