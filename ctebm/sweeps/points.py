"""The points of a sweep: a grid over axes, or a table with one point a row."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np

__all__ = ["Points", "Scalar"]

Scalar = bool | int | float | str
"""What a point may be made of."""

_RESERVED = ("status", "message", "point")
_MOST, _MOST_OF_AXIS = 10**8, 10**7  # more points are a mistake
_LARGEST = 2**53  # whole numbers beyond it are not all floats


@dataclass(frozen=True)
class Points:
    """Points on axes, the last of which varies fastest.

    An axis holds one column in a grid, and all columns of a table in the axis ``point``.

    Attributes
    ----------
    axes : tuple
        Name of each axis and its columns, name to values.

    Examples
    --------
    >>> from ctebm.sweeps.points import Points
    >>> points = Points.grid({"gain": [0.5, 1.0], "seed": range(3)})
    >>> points.shape, points[4]
    ((2, 3), {'gain': 1.0, 'seed': 1})
    """

    axes: tuple[tuple[str, tuple[tuple[str, tuple[Scalar, ...]], ...]], ...]

    @classmethod
    def grid(cls, axes: Mapping[str, Iterable[Scalar]]) -> Points:
        """Return every combination of the values on some axes.

        Parameters
        ----------
        axes : mapping of str to iterable of bool, int, float or str
            Name of each axis and its values, all different.
        """
        if not isinstance(axes, Mapping) or not axes:
            raise ValueError(f"a grid needs axes, such as {{'gain': [0.5, 1]}}, got {axes!r:.80}.")
        found = tuple((str(name), ((str(name), _column(name, v)),)) for name, v in axes.items())
        for name, ((_, values),) in found:
            if len(set(values)) < len(values):
                raise ValueError(f"the axis {name!r} needs different values, got {_shown(values)}.")
        return cls(found)._checked()

    @classmethod
    def table(cls, rows: Iterable[Mapping[str, Scalar]]) -> Points:
        """Return the points of a table, on one axis ``point``.

        Parameters
        ----------
        rows : iterable of mapping
            Each with the same names.
        """
        alone = not isinstance(rows, Iterable) or getattr(rows, "ndim", 1) == 0
        if alone or isinstance(rows, str | Mapping):
            raise ValueError(f"a table of points is a list of mappings, got {rows!r:.80}.")
        listed = list(rows)
        if not listed or not all(isinstance(row, Mapping) and row for row in listed):
            raise ValueError(f"a table of points is a list of mappings, got {listed!r:.80}.")
        names = list(listed[0])
        for i, row in enumerate(listed):
            if set(row) != set(names):
                raise ValueError(
                    f"row {i} of the points has the names {sorted(map(str, row))} and row 0 "
                    f"{sorted(map(str, names))}; give every row the same."
                )
        columns = tuple((str(n), _column(n, (row[n] for row in listed))) for n in names)
        return cls((("point", columns),))

    def times(self, other: Points) -> Points:
        """Return each of these points with each of others.

        Parameters
        ----------
        other : Points
            On other axes.

        Raises
        ------
        ValueError
            If a name stands in both.
        """
        both = set(self.names) & set(other.names)
        if both:
            raise ValueError(f"{min(both)!r} is given twice; leave one of the two out.")
        return Points(self.axes + other.axes)._checked()

    def _checked(self) -> Points:
        if len(self) > _MOST:
            raise ValueError(f"{len(self)} points are more than {_MOST}; ask for less.")
        return self

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(dim for dim, _ in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what varies."""
        return tuple(name for _, columns in self.axes for name, _ in columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(columns[0][1]) for _, columns in self.axes)

    def __len__(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, i: int) -> dict[str, Scalar]:
        places = np.unravel_index(i, self.shape)
        return {
            name: values[int(place)]
            for (_, columns), place in zip(self.axes, places, strict=True)
            for name, values in columns
        }

    def __iter__(self) -> Iterator[dict[str, Scalar]]:
        for places in product(*map(range, self.shape)):
            yield self[int(np.ravel_multi_index(places, self.shape))]

    def columns(self) -> dict[str, tuple[str, tuple[Scalar, ...]]]:
        """Return the axis and the values of everything that varies."""
        return {name: (dim, values) for dim, columns in self.axes for name, values in columns}

    def digest(self) -> str:
        """Return a SHA-256 of all names and values."""
        return hashlib.sha256(json.dumps(self.axes).encode()).hexdigest()


def _column(name: Any, values: Iterable[Any]) -> tuple[Scalar, ...]:
    """Return the values of one setting, all of one kind, or refuse them."""
    if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
        raise ValueError(
            f"what varies needs the name of an argument other than {', '.join(_RESERVED)}, "
            f"got {name!r}."
        )
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name!r} needs several values, such as [0.5, 1], got {values!r:.80}.")
    if isinstance(values, set | frozenset):
        raise ValueError(f"the values of {name!r} need an order, give a list instead of a set.")
    column = tuple(islice((v.item() if _scalar(v) else v for v in values), _MOST_OF_AXIS + 1))
    if len(column) > _MOST_OF_AXIS:
        raise ValueError(f"{name!r} has more than {_MOST_OF_AXIS} values; ask for less.")
    if not column:
        raise ValueError(f"{name!r} needs at least one value.")
    kinds = {type(v) for v in column}
    if kinds == {int, float}:
        column = tuple(map(float, column))
    elif len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        raise ValueError(
            f"the values of {name!r} must be numbers, truth values or words of one kind, "
            f"got {_shown(column)}."
        )
    for value in column:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the values of {name!r} must be finite, got {value}.")
        if type(value) is int and abs(value) > _LARGEST:
            raise ValueError(f"the values of {name!r} must lie within 2^53, got {value}.")
        if isinstance(value, str) and not _storable(value):
            raise ValueError(
                f"the words of {name!r} hold neither null characters nor halves of a pair of "
                f"surrogates, got {value!r}."
            )
    return column


def _storable(word: str) -> bool:
    """Return whether a file can hold a word."""
    return "\0" not in word and word == word.encode(errors="replace").decode()


def _scalar(value: Any) -> bool:
    """Return whether this is an array or tensor of one number, truth value or word."""
    alone = hasattr(value, "item") and getattr(value, "ndim", 1) == 0
    return alone and getattr(value.dtype, "kind", "f") in "biufU"


def _shown(values: Sequence[Any]) -> str:
    text = ", ".join(map(repr, values[:6]))
    return f"{text}, ..." if len(values) > 6 else text
