"""A point and a tile, computed: what a worker does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from ctebm.files.signals import Stopped
from ctebm.sweeps.company import DIFFERENT, call_together, company, groups
from ctebm.sweeps.form import Form, as_result
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import DONE, FAILED, KILLED, MISSING, open_store

__all__ = ["Job", "compute_point", "compute_tile", "mark_killed", "pickled"]

Outcome = tuple[int, str, dict[str, Any]]
_ENDS = (KeyboardInterrupt, Stopped)  # no failures of a point, whatever else it raises is one
_TRIED = 64  # points of the call that a plan holds against a point alone
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
    together : tuple of str
        What may differ within a call of the function.
    """

    path: Path
    points: Points
    form: Form | None
    function: bytes
    threads: int
    redo: tuple[int, ...] = (MISSING,)
    together: tuple[str, ...] = ()

    @property
    def own_names(self) -> tuple[str, ...]:
        """Axes and what varies, which results need not repeat."""
        return tuple(dict.fromkeys(self.points.dims + self.points.names))

    def call(self, points: Sequence[int]) -> list[Any]:
        """Return what the function gives at points that share a call, or at a single one.

        Parameters
        ----------
        points : sequence of int
            Their numbers.
        """
        function = _loaded(self.function)
        if not self.together:
            return [function(**self.points[point]) for point in points]
        return call_together(function, [self.points[i] for i in points], self.together)


def pickled(function: Callable[..., Any]) -> bytes:
    """Return a function as the bytes that reach a worker.

    Parameters
    ----------
    function : callable
        Called at every point.

    Raises
    ------
    ValueError
        If it brings along what can't be pickled.
    """
    try:
        return cloudpickle.dumps(function)
    except Exception as error:  # whatever an object says that it brings along
        raise ValueError(
            f"the function brings along what no other process can have ({error}); make that "
            "within the function."
        ) from error


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
            (result,) = job.call([point])
            seconds = time.perf_counter() - begun
            result = _copied(result, job.own_names)
            return result, "", _in_company(job, point, result) if job.together else seconds
        except _ENDS:
            raise
        except BaseException as error:
            return None, _sentence(error), time.perf_counter() - begun


def _copied(result: Any, axes: Sequence[str]) -> Any:
    """Return a result that stays as it is if the function writes into its arrays again."""
    try:
        return as_result(result, axes).compute().copy(deep=True)
    except Exception:  # it is refused, with its sentence, where the form is asked for
        return result


def _in_company(job: Job, point: int, alone: Any) -> float:
    """Return the seconds that a point takes among others, or refuse one that differs there."""
    points = company(job.points, point, job.together, _TRIED)
    form, begun = Form.of(alone, job.own_names), time.perf_counter()
    try:
        result = job.call(points)[0]
    except _ENDS:
        raise
    except BaseException:  # another point's: all of the call are computed alone then
        return time.perf_counter() - begun
    seconds = time.perf_counter() - begun
    together = form.row(result, job.own_names)
    for name, value in form.row(alone, job.own_names).items():
        if value.dtype == object:
            same = bool((value == together[name]).all())
        else:
            same = value.tobytes() == together[name].tobytes()
        if not same:
            raise ValueError(f"{name!r}: {DIFFERENT}.")
    return seconds / len(points)


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
    rows = {int(points[row]): row for row in todo}
    with _threads(job.threads):
        for point, (status, message, values) in _computed(job, rows, known or {}):
            row = rows[point]
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
    job: Job, points: Iterable[int], known: Mapping[int, tuple[Any, str]]
) -> Iterator[tuple[int, Outcome]]:
    """Yield points and what became of each; those that may share a call do."""
    left = []
    for point in points:
        if point in known:
            result, message = known[point]
            yield point, (FAILED, message, {}) if message else _outcome(job, lambda r=result: r)
        else:
            left.append(point)
    for group in groups(job.points, left, job.together):
        try:
            results = job.call(group) if len(group) > 1 else []
        except _ENDS:
            raise
        except BaseException:
            results = []  # which of them it is shows when each is alone
        for point, result in zip(group, results, strict=bool(results)):
            yield point, _outcome(job, lambda r=result: r)
        if not results:
            for point in group:
                yield point, _outcome(job, lambda p=point: job.call([p])[0])


def _outcome(job: Job, result: Callable[[], Any]) -> Outcome:
    """Return status, message and values of a point."""
    assert job.form is not None
    try:
        return DONE, "", job.form.row(result(), job.own_names)
    except _ENDS:
        raise
    except BaseException as error:  # of the user's function: whatever it raises
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
