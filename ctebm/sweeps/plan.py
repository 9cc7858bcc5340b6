"""What a sweep will do: points, tiles, bytes, time; and what its store must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctebm.sweeps.company import DIFFERENT, shared
from ctebm.sweeps.computation import Job
from ctebm.sweeps.form import Form
from ctebm.sweeps.identity import differences
from ctebm.sweeps.store import open_store
from ctebm.sweeps.tiles import Tiling, points_a_tile
from ctebm.sweeps.workers import Workers

__all__ = ["SweepPlan", "check_same_sweep", "check_same_tiles", "planned"]

_PROBES = 20  # points that may fail before a sweep is not begun
_FIRST_IS_SLOW = 2.0  # seconds; a faster first point may have waited for imports alone


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do.

    Attributes
    ----------
    form : Form
        What each point gives.
    tiling : Tiling
        How the points fall into tiles.
    seconds : float
        That a point takes.
    known : dict
        What is known of points that were tried.
    n_workers : int
        How many compute at once.
    n_done : int
        Points that need not be computed any more.
    """

    form: Form
    tiling: Tiling
    seconds: float
    known: dict[int, tuple[Any, str]]
    n_workers: int
    n_done: int = 0

    def __str__(self) -> str:
        n = int(np.prod(self.tiling.shape))
        hours = (n - self.n_done) * self.seconds / self.n_workers / 3600
        time = f"{hours:.1f} hours" if hours > 1 else f"{3600 * hours:.3g} s"
        done = f", {self.n_done} of which are done" if self.n_done else ""
        return (
            f"{n} points in {len(self.tiling)} tiles of up to {int(np.prod(self.tiling.block))}"
            f"{done}, about {_size(n * self.form.n_bytes)} and {time}"
            + (f" on {self.n_workers} workers" if self.n_workers > 1 else "")
        )


def planned(job: Job, workers: Workers, tile_points: int | None = None) -> SweepPlan:
    """Return the plan of a sweep, for which one or two of its points are computed.

    Parameters
    ----------
    job : Job
        The sweep.
    workers : Workers
        Who computes.
    tile_points : int, optional
        Points in a tile; enough for a second of work by default.

    Raises
    ------
    ValueError
        If no point that is tried gives a result.
    """
    n, known, times = len(job.points), {}, []
    form = None
    for point in dict.fromkeys(np.linspace(0, n - 1, min(n, _PROBES)).astype(int).tolist()):
        result, message, seconds = workers.probe(job, point)
        if DIFFERENT in message:
            raise ValueError(f"{message} (at {job.points[point]})")
        if message != "it ended its worker":
            known[point] = result, message
        if message:
            continue
        times.append(seconds)
        form = form or Form.of(result, job.own_names)
        if seconds > _FIRST_IS_SLOW or len(times) == 2:
            break
    if form is None:
        first = next(iter(known.values()), (None, "it ended its worker"))[1]
        raise ValueError(f"none of the {len(known) or 1} points tried gives a result: {first}")
    seconds = min(times)
    most = tile_points or points_a_tile(n, seconds, form.n_bytes, workers.n)
    tiling = Tiling.of(job.points.shape, most, shared(job.points, job.together))
    return SweepPlan(form, tiling, seconds, known, workers.n)


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def check_same_tiles(path: Path, tile_points: int, first: Sequence[bool] = ()) -> None:
    """Refuse tiles of another size than a store has.

    Parameters
    ----------
    path : Path
        The store.
    tile_points : int
        What is asked.
    first : sequence of bool, optional
        As for :meth:`ctebm.sweeps.tiles.Tiling.of`.

    Raises
    ------
    ValueError
        If its tiles are others.
    """
    there = open_store(path).tiling
    if Tiling.of(there.shape, tile_points, first) != there:
        raise ValueError(
            f"{path} has tiles of {int(np.prod(there.block))} points, got tile_points="
            f"{tile_points}; leave that out to go on."
        )


def check_same_sweep(path: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to go on with the store of another sweep.

    Parameters
    ----------
    path : Path
        The store.
    identity : mapping
        What is asked.

    Raises
    ------
    ValueError
        With what differs.
    """
    there = open_store(path).description["identity"]
    if found := differences(identity, there):
        raise ValueError(
            f"{path} is another sweep: {'; '.join(found)}; name another store, or ask for the same."
        )
