"""Who computes: this process, or workers of dask, one thread each.

A point that ends its worker is found by halving its tile: the others are computed, and it is
marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from ctebm.sweeps.cluster import LOST, Cluster, cluster_of
from ctebm.sweeps.computation import Job, compute_point, compute_tile, mark_killed
from ctebm.sweeps.store import open_store

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Workers", "serial", "with_client"]

_TURN = 0.5  # seconds from one look for idle workers to the next
_TRIES = 3  # of a point that nothing runs beside, since a worker may be killed from outside too

Known = Mapping[int, tuple[Any, str]]


@dataclass(frozen=True)
class Workers:
    """Who computes the tiles of a sweep.

    Attributes
    ----------
    n : int
        How many, for tiles small enough that all have work.
    probe : callable
        Takes a job and a point, returns result, message and seconds.
    compute : callable
        Takes a job, tiles, and what is known of points; yields the number of points computed.
    address : str
        Of dask's dashboard or scheduler; "" without dask.
    """

    n: int
    probe: Callable[[Job, int], tuple[Any, str, float]]
    compute: Callable[[Job, np.ndarray, Known], Iterator[int]]
    address: str = ""


def serial() -> Workers:
    """Return this process as the one that computes.

    Examples
    --------
    >>> from ctebm.sweeps.workers import serial
    >>> serial().n
    1
    """

    def compute(job: Job, tiles: np.ndarray, known: Known) -> Iterator[int]:
        for tile in tiles:
            yield compute_tile(job, int(tile), known=known)

    return Workers(1, compute_point, compute)


@contextmanager
def with_client(
    workers: int | None = None, scheduler: str | None = None, slurm: Mapping[str, str] | None = None
) -> Iterator[Workers]:
    """Yield workers of dask: on this machine, of a running scheduler, or as jobs of SLURM.

    Parameters
    ----------
    workers : int, optional
        How many processes on this machine, or jobs of SLURM.
    scheduler : str, optional
        Address of a scheduler that runs, such as ``"tcp://10.0.0.1:8786"``.
    slurm : mapping, optional
        Arguments of :class:`dask_jobqueue.SLURMCluster`, such as ``queue`` and ``walltime``.

    Raises
    ------
    OSError
        If the scheduler does not answer, or is lost, or if there is no worker for two minutes on
        this machine, ten of a running scheduler, a day of SLURM.
    """
    with cluster_of(workers, scheduler, slurm) as cluster:
        yield _of_cluster(cluster)


def _of_cluster(cluster: Cluster) -> Workers:
    from distributed import KilledWorker

    def probe(job: Job, point: int) -> tuple[Any, str, float]:
        future = cluster.client.submit(compute_point, job, point, pure=False)
        try:
            cluster.wait(future)
            return future.result()
        except KilledWorker:
            return None, "it ended its worker", 0.0
        finally:
            future.release()

    def compute(job: Job, tiles: np.ndarray, known: Known) -> Iterator[int]:
        return _compute(cluster, job, tiles, known)

    return Workers(cluster.asked or max(1, cluster.n_workers), probe, compute, cluster.address)


@dataclass
class _Work:
    """A tile, and the parts of it that are still to be computed, one after another."""

    tile: int
    known: Known
    parts: list[list[int] | None] = field(default_factory=lambda: [None])

    def submit(self, client: Client, job: Job) -> Future:
        return client.submit(compute_tile, job, self.tile, self.parts[-1], self.known, pure=False)

    def halve(self, job: Job) -> list[int]:
        """Split the part that ended its worker; return it if it is a single point."""
        part = self.parts.pop()
        if part is None:
            part = open_store(job.path).tiling.points(self.tile).tolist()
        middle = len(part) // 2
        self.parts += [part[middle:], part[:middle]] if middle else []
        return [] if middle else part


def _compute(cluster: Cluster, job: Job, tiles: np.ndarray, known: Known) -> Iterator[int]:
    """Submit a tile for each worker, the next one as it ends, and points that end workers last."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    tiling, waiting = open_store(job.path).tiling, iter(tiles.tolist())
    known_in: dict[int, dict[int, tuple[Any, str]]] = {}
    for point, found in known.items():
        known_in.setdefault(tiling.tile_of(point), {})[point] = found
    running: dict[Future, _Work] = {}
    suspects: list[int] = []
    ended: SimpleQueue[Future] = SimpleQueue()

    def submit(work: _Work) -> None:
        future = work.submit(cluster.client, job)
        running[future] = work
        future.add_done_callback(ended.put)

    def fill() -> None:
        cluster.look_after()
        for tile in islice(waiting, max(0, max(1, cluster.n_workers) - len(running))):
            submit(_Work(tile, known_in.get(tile, {})))

    try:
        fill()
        while running:
            try:
                future = ended.get(timeout=_TURN)
            except Empty:
                fill()
                continue
            work, done = running.pop(future), 0
            try:
                done = future.result()
                work.parts.pop()
            except KilledWorker:
                suspects += work.halve(job)
            future.release()
            if work.parts:
                submit(work)
            fill()
            yield done
        for point in suspects:
            yield _compute_suspect(cluster, job, tiling.tile_of(point), point)
    except (FutureCancelledError, CommClosedError) as error:
        raise OSError(LOST) from error
    finally:
        with suppress(OSError):  # a scheduler that is lost
            cluster.client.cancel([*running])


def _compute_suspect(cluster: Cluster, job: Job, tile: int, point: int) -> int:
    """Compute a point that nothing else runs beside, or mark it as one that ends its worker."""
    from distributed import KilledWorker

    for _ in range(_TRIES):
        with suppress(KilledWorker):
            future = cluster.client.submit(compute_tile, job, tile, [point], pure=False)
            cluster.wait(future)
            return future.result()
    return mark_killed(job, tile, point)
