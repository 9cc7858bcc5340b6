"""What a sweep is asked for: its function and points, who computes, and where it is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ctebm.sweeps.points import Points, Scalar

__all__ = [
    "asked_points",
    "check_function",
    "check_numbers",
    "check_part",
    "check_who",
    "store_path",
]

_MOST = 100_000  # workers, points of a tile: more are a mistake


def asked_points(
    grid: Mapping[str, Iterable[Scalar]] | None, points: Iterable[Mapping[str, Scalar]] | None
) -> Points:
    """Return the points of a grid, of a table, or of one at every point of the other.

    Parameters
    ----------
    grid, points
        As in :func:`ctebm.sweep`.
    """
    if grid is None and points is None:
        raise ValueError("a sweep needs a grid or points, such as grid={'gain': [0.5, 1]}.")
    if points is None:
        return Points.grid({} if grid is None else grid)
    table = Points.table(points)
    return table if grid is None else table.times(Points.grid(grid))


def check_function(function: Any) -> None:
    """Refuse what can't be called.

    Parameters
    ----------
    function : callable
        What is swept.
    """
    if not callable(function):
        raise TypeError(f"expected a function to sweep, got {type(function).__name__}.")


def check_numbers(**numbers: Any) -> None:
    """Refuse numbers of workers, points of a tile and threads that are none.

    Parameters
    ----------
    **numbers : int or None
        By their names; threads must be given.
    """
    for name, value in numbers.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and 1 <= value <= _MOST) and not (value is None and name != "threads"):
            raise ValueError(f"{name} must be a whole number from 1 to {_MOST}, got {value!r:.80}.")


def check_who(workers: int | None, scheduler: Any, slurm: Any) -> None:
    """Refuse two answers to who computes.

    Parameters
    ----------
    workers, scheduler, slurm
        As in :func:`ctebm.sweep`.
    """
    if scheduler is not None and (not isinstance(scheduler, str) or workers or slurm is not None):
        raise ValueError("scheduler is an address, without workers or slurm beside it.")
    if scheduler is not None and not scheduler.strip():
        raise ValueError("scheduler is an address, such as tcp://10.0.0.1:8786, got an empty one.")
    if slurm is not None and not isinstance(slurm, Mapping):
        raise ValueError(f"slurm is a mapping, such as {{'queue': 'main'}}, got {slurm!r:.80}.")


def check_part(part: Any) -> None:
    """Refuse a part that is none.

    Parameters
    ----------
    part : tuple of int or None
        As in :func:`ctebm.sweep`.
    """
    if part is not None:
        pair = isinstance(part, tuple) and len(part) == 2 and all(type(n) is int for n in part)
        if not pair or not 0 <= part[0] <= part[1] or part[1] < 1:
            raise ValueError(f"part is (i, n) with 0 <= i <= n, got {part!r:.80}.")


def store_path(out: str | os.PathLike[str]) -> Path:
    """Return where a sweep is kept.

    Parameters
    ----------
    out : path
        Ends in ``.zarr``.
    """
    try:
        path = Path(out)
    except TypeError as error:
        raise TypeError(f"out is the path of a store, got {type(out).__name__}.") from error
    if path.suffix != ".zarr" or "\0" in str(path):
        raise ValueError(f"a sweep's out ends in .zarr, got {str(path)!r}.")
    return path
