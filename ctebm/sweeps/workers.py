"""Who computes: this process, or workers of dask, one thread each.

A point that ends its worker is found by halving its tile: the others are computed, and it is
marked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ctebm.sweeps.computation import Job, compute_point, compute_tile, mark_killed
from ctebm.sweeps.store import open_store

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Workers", "serial", "with_client"]

_DEATHS = 0  # of workers that dask forgives a tile; here a half of it is tried next
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
        If the scheduler does not answer, or is lost.
    """
    import dask.config
    from distributed import Client

    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS,
    }
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # kills are no news here
    with dask.config.set(settings):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout=20)
            except (OSError, ValueError, TypeError) as error:
                raise OSError(
                    f"no scheduler answers at {scheduler}; start one with 'dask scheduler' and "
                    "give the address that it prints."
                ) from error
            with client:
                yield _of_client(client, scheduler)
            return
        made = _slurm_cluster(slurm) if slurm is not None else _local_cluster(workers)
        with made as cluster, Client(cluster) as client:
            # a worker that is killed while it starts is not started again by itself
            cluster.adapt(minimum=workers or 1, maximum=workers or 1, interval="2s")
            client.wait_for_workers(workers or 1 if slurm is None else 1)
            yield _of_client(client, _address(cluster))


def _local_cluster(workers: int | None) -> Any:
    from distributed import LocalCluster

    dashboard: Any = "127.0.0.1:0" if find_spec("bokeh") else None
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=dashboard
    )


def _slurm_cluster(slurm: Mapping[str, str]) -> Any:
    try:
        from dask_jobqueue import SLURMCluster  # pyright: ignore
    except ImportError as error:
        raise ValueError("SLURM needs dask-jobqueue; pip install 'ctebm[slurm]'.") from error
    given: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "4GB"} | dict(slurm)
    try:
        cluster = SLURMCluster(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"SLURM can't be asked for this ({error}); see dask_jobqueue.") from error
    return cluster


def _address(cluster: Any) -> str:
    return cluster.dashboard_link if find_spec("bokeh") else cluster.scheduler_address


def _of_client(client: Client, address: str) -> Workers:
    from distributed import KilledWorker

    def probe(job: Job, point: int) -> tuple[Any, str, float]:
        future = client.submit(compute_point, job, point, pure=False)
        try:
            return future.result()
        except KilledWorker:
            return None, "it ended its worker", 0.0
        finally:
            future.release()

    def compute(job: Job, tiles: np.ndarray, known: Known) -> Iterator[int]:
        return _compute(client, job, tiles, known)

    n = len(client.scheduler_info(n_workers=-1)["workers"])
    return Workers(max(1, n), probe, compute, address)


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


def _compute(client: Client, job: Job, tiles: np.ndarray, known: Known) -> Iterator[int]:
    """Submit a tile for each worker, the next one as it ends, and points that end workers last."""
    from distributed import KilledWorker, as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    tiling, waiting = open_store(job.path).tiling, iter(tiles.tolist())
    known_in: dict[int, dict[int, tuple[Any, str]]] = {}
    for point, found in known.items():
        known_in.setdefault(tiling.tile_of(point), {})[point] = found
    running: dict[Future, _Work] = {}
    suspects: list[int] = []
    ended = as_completed()

    def submit(work: _Work) -> None:
        future = work.submit(client, job)
        running[future] = work
        ended.add(future)

    def fill() -> None:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        for tile in islice(waiting, max(0, max(1, n_workers) - len(running))):
            submit(_Work(tile, known_in.get(tile, {})))

    try:
        fill()
        while running:
            future = next(ended)
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
            yield _compute_suspect(client, job, tiling.tile_of(point), point)
    except (FutureCancelledError, CommClosedError) as error:
        raise OSError(
            "the scheduler was lost; what is done is kept, start the sweep again."
        ) from error
    finally:
        client.cancel([*running])


def _compute_suspect(client: Client, job: Job, tile: int, point: int) -> int:
    """Compute a point that nothing else runs beside, or mark it as one that ends its worker."""
    from distributed import KilledWorker

    for _ in range(_TRIES):
        with suppress(KilledWorker):
            return client.submit(compute_tile, job, tile, [point], pure=False).result()
    return mark_killed(job, tile, point)
