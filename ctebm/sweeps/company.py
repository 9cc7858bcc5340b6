"""Points that share a call of the function: arrays go in, a row for each point comes out.

Products of matrices sum in another order where a batch has few rows, or a number of them that
does not fit a processor's registers. So every call has a multiple of ``ROWS`` rows, the last point
repeated, and a point alone is such a call too: its bits are those it has in company.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice, product
from typing import Any

import numpy as np
import xarray as xr

from ctebm.sweeps.points import Points, Scalar

__all__ = ["DIFFERENT", "ROWS", "call_together", "check_together", "company", "groups", "shared"]

ROWS = 16
"""Rows of a call are a multiple of it; twice what the widest registers hold of 8-byte numbers."""

DIFFERENT = "with others in the call it has other last bits than alone; leave together out"
"""What is said where a function's rows depend on each other."""

_ROW = "sample"  # dimension of a result along which points lie


def check_together(points: Points, together: Any) -> tuple[str, ...]:
    """Return the names of what differs within a call, or refuse them.

    Parameters
    ----------
    points : Points
        Of the sweep.
    together : sequence of str
        Names of the grid or table.
    """
    alone = isinstance(together, str) or getattr(together, "ndim", 1) == 0
    if alone or not isinstance(together, Iterable):
        raise ValueError(f"together is a list of names, such as ['seed'], got {together!r:.80}.")
    names = tuple(together)
    for name in names:
        if not isinstance(name, str) or name not in points.names:
            known = ", ".join(points.names)
            raise ValueError(f"together has {name!r:.80}, which is none of {known}.")
    return tuple(name for name in points.names if name in names)


def shared(points: Points, together: Collection[str]) -> tuple[bool, ...]:
    """Return for each axis whether all along it may share a call.

    Parameters
    ----------
    points : Points
        Of the sweep.
    together : collection of str
        Names that may differ within a call.
    """
    return tuple(all(name in together for name, _ in columns) for _, columns in points.axes)


def groups(points: Points, numbers: Iterable[int], together: Collection[str]) -> list[list[int]]:
    """Return points that share all but what may differ within a call.

    Parameters
    ----------
    points : Points
        Of the sweep.
    numbers : iterable of int
        Which of them.
    together : collection of str
        Names that may differ; each point is alone if there are none.

    Examples
    --------
    >>> from ctebm.sweeps.company import groups
    >>> from ctebm.sweeps.points import Points
    >>> points = Points.grid({"gain": [0.5, 1.0], "seed": range(3)})
    >>> groups(points, [0, 1, 2, 4], together=["seed"])
    [[0, 1, 2], [4]]
    """
    if not together:
        return [[i] for i in numbers]
    found: dict[Any, list[int]] = {}
    for i in numbers:
        rest = tuple(value for name, value in points[i].items() if name not in together)
        found.setdefault(rest, []).append(i)
    return [*found.values()]


def company(points: Points, point: int, together: Collection[str], most: int) -> list[int]:
    """Return a point and others that may share a call with it.

    Parameters
    ----------
    points : Points
        Of the sweep.
    point : int
        Its number.
    together : collection of str
        Names that may differ within a call.
    most : int
        How many points to return at most.
    """
    place = np.unravel_index(point, points.shape)
    free = zip(shared(points, together), points.shape, place, strict=True)
    ranges = [range(n) if along else [int(at)] for along, n, at in free]
    others = (int(np.ravel_multi_index(at, points.shape)) for at in product(*ranges))
    return [point, *islice((i for i in others if i != point), most - 1)]


def call_together(
    function: Callable[..., Any],
    points: Sequence[Mapping[str, Scalar]],
    together: Collection[str],
) -> list[Any]:
    """Return what a function gives at each of some points, by one call.

    Parameters
    ----------
    function : callable
        Takes an array for each of `together`, a scalar for what else varies; returns a Dataset or
        record with a dimension ``sample``, or a mapping from names to arrays of one dimension.
    points : sequence of mapping
        Equal in all but `together`.
    together : collection of str
        Names that may differ.

    Raises
    ------
    ValueError
        If the result has not one row a point, or equal points have unequal rows.

    Examples
    --------
    >>> from ctebm.sweeps.company import call_together
    >>> points = [{"a": 1, "b": 2}, {"a": 1, "b": 3}]
    >>> [int(row["product"]) for row in call_together(
    ...     lambda a, b: {"product": a * b}, points, together=["b"])]
    [2, 3]
    """
    n = len(points)
    rows = [*points, *[points[-1]] * (-n % ROWS)]
    arrays = {name: np.array([row[name] for row in rows]) for name in together}
    result = function(**{k: v for k, v in points[0].items() if k not in together}, **arrays)
    split = _mapping(result, len(rows)) if _is_mapping(result) else _dataset(result, len(rows))
    return [split(i) for i in range(n)]


def _is_mapping(result: Any) -> bool:
    return isinstance(result, Mapping) and not isinstance(result, xr.Dataset)


def _mapping(result: Mapping[str, Any], n: int) -> Callable[[int], Any]:
    for name, value in result.items():
        shape = tuple(getattr(value, "shape", ()))
        if shape != (n,):
            raise ValueError(
                f"{name!r} has the sizes {shape}, expected ({n},), a number for each point of the "
                "call; a Dataset with a dimension 'sample' holds more."
            )
    return lambda i: {name: value[i] for name, value in result.items()}


def _dataset(result: Any, n: int) -> Callable[[int], Any]:
    dataset = result if isinstance(result, xr.Dataset) else None
    if dataset is None and callable(getattr(result, "to_dataset", None)):
        dataset = result.to_dataset()
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(
            f"the function returned {type(result).__name__}; expected a Dataset, a record, or a "
            "mapping from names to arrays."
        )
    if dataset.sizes.get(_ROW) != n:
        raise ValueError(
            f"the result has {dataset.sizes.get(_ROW, 'no')} entries along 'sample', expected {n}, "
            "one for each point of the call."
        )
    plain = dataset.drop_vars(_ROW, errors="ignore")
    return lambda i: plain.isel({_ROW: i})
