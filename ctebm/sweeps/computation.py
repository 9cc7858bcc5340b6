"""A point and a tile, computed: what a worker does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from ctebm.sweeps.form import Form
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import DONE, FAILED, KILLED, MISSING, open_store

__all__ = ["Job", "compute_point", "compute_tile", "mark_killed"]

KILLS = "this point ended its process, perhaps by running out of memory; try it alone"


@dataclass(frozen=True)
class Job:
    """All that a worker needs, as bytes can carry it.

    Attributes
    ----------
    path : Path
        The store.
    points : Points
        Of the sweep.
    form : Form or None
        What each point gives, once it is known.
    function : bytes
        What to call, pickled by this process; never read from a file.
    threads : int
        Of torch and of linear algebra.
    redo : tuple of int
        Which statuses count as not computed.
    """

    path: Path
    points: Points
    form: Form | None
    function: bytes
    threads: int
    redo: tuple[int, ...] = (MISSING,)

    @property
    def own_names(self) -> tuple[str, ...]:
        """Axes and what varies, which results need not repeat."""
        return tuple(dict.fromkeys(self.points.dims + self.points.names))

    def call(self, point: int) -> Any:
        """Return what the function gives at a point.

        Parameters
        ----------
        point : int
            Its number.
        """
        return _loaded(self.function)(**self.points[point])


@lru_cache(maxsize=4)
def _loaded(function: bytes) -> Callable[..., Any]:
    return cloudpickle.loads(function)


def compute_point(job: Job, point: int) -> tuple[Any, str, float]:
    """Return what the function gives at one point, what it fails with, and how long it takes.

    Parameters
    ----------
    job : Job
        The sweep.
    point : int
        Its number.
    """
    with _threads(job.threads):
        begun = time.perf_counter()
        try:
            return job.call(point), "", time.perf_counter() - begun
        except (Exception, SystemExit) as error:
            return None, _sentence(error), time.perf_counter() - begun


def compute_tile(
    job: Job,
    tile: int,
    only: Collection[int] | None = None,
    known: Mapping[int, tuple[Any, str]] | None = None,
) -> int:
    """Compute what is missing in a tile and write it; return how many points that were.

    Points that were computed before are left as they are. A point that raises has its sentence as
    message, and the others go on.

    Parameters
    ----------
    job : Job
        The sweep.
    tile : int
        Its number.
    only : collection of int, optional
        Points to compute now; all if None.
    known : mapping, optional
        What points gave already, and what they failed with.
    """
    assert job.form is not None
    store = open_store(job.path)
    arrays = store.read(tile)
    points = store.tiling.points(tile)
    todo = [
        row for row in np.flatnonzero(np.isin(arrays["status"], job.redo))
        if only is None or points[row] in only
    ]  # fmt: skip
    if not todo:
        return 0
    with _threads(job.threads):
        for row in todo:
            point = int(points[row])
            status, message, values = _computed(job, point, (known or {}).get(point))
            arrays["status"][row], arrays["message"][row] = status, message
            for name, value in values.items():
                arrays[name][row] = value
    store.write(tile, arrays)
    return len(todo)


def mark_killed(job: Job, tile: int, point: int) -> int:
    """Write down that a point ends the process that computes it.

    Parameters
    ----------
    job : Job
        The sweep.
    tile, point : int
        Their numbers.
    """
    store = open_store(job.path)
    arrays = store.read(tile)
    row = int(np.flatnonzero(store.tiling.points(tile) == point)[0])
    arrays["status"][row], arrays["message"][row] = KILLED, KILLS
    store.write(tile, arrays)
    return 1


def _computed(
    job: Job, point: int, known: tuple[Any, str] | None
) -> tuple[int, str, dict[str, Any]]:
    """Return status, message and values of a point."""
    assert job.form is not None
    result, message = known or (None, "")
    if message:
        return FAILED, message, {}
    try:
        if known is None:
            result = job.call(point)
        return DONE, "", job.form.row(result, job.own_names)
    except (Exception, SystemExit) as error:  # of the user's function: whatever it raises
        return FAILED, _sentence(error), {}


def _sentence(error: BaseException) -> str:
    """Return in one line, which a file can hold, what went wrong."""
    try:
        text = str(error)
    except Exception:
        text = "it has no words for what went wrong"
    text = " ".join(text.replace("\0", "").encode(errors="replace").decode().split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Compute with so many threads, since last bits depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with _controller().limit(limits=n):
            yield
    finally:
        torch.set_num_threads(before)
