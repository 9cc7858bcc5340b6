"""Processes that compute for a sweep: started, replaced when they die, given up when none is left.

dask starts a worker again that dies at work, and leaves one that dies while it starts. Here the
number that was asked for is kept up as long as the sweep goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ctebm.sweeps.script import check_script

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["LOST", "Cluster", "cluster_of"]

LOST = "the scheduler was lost; what is done is kept, start the sweep again."
"""What is said where no scheduler answers any more."""

_DEATHS = 0  # of workers that dask forgives a tile; here a half of it is tried next
_LOOK = 1.0  # seconds from one look at the workers to the next
_START = 60.0  # seconds that a worker of this machine may take to start
_LOCAL, _SCHEDULER, _SLURM = 120.0, 600.0, 86400.0  # seconds without a worker: given up


@dataclass
class Cluster:
    """Workers of dask, and how long to wait where there is none.

    Attributes
    ----------
    client : distributed.Client
        Of their scheduler.
    address : str
        Of its dashboard, or its own.
    patience : float
        Seconds without a worker after which the sweep ends.
    asked : int or None
        How many workers are kept up; None for those of a scheduler elsewhere.
    own : object, optional
        The cluster of dask that this process started.
    start : float
        Seconds in which a worker must have started.
    n_workers : int
        How many were there at the last look.
    """

    client: Client
    address: str
    patience: float
    asked: int | None = None
    own: Any = None
    start: float = float("inf")
    n_workers: int = 0
    _looked: float = field(default=float("-inf"), repr=False)
    _here: float = field(default_factory=lambda: time.monotonic(), repr=False)
    _absent: dict[Any, float] = field(default_factory=dict, repr=False)

    def look_after(self) -> None:
        """Start workers in place of those that are gone, once a second at most.

        Raises
        ------
        OSError
            If there has been no worker for too long, or the scheduler is lost.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        except OSError as error:
            raise OSError(LOST) from error
        self.n_workers = len(workers)
        if self.n_workers:
            self._here = now
        elif now - self._here > self.patience:
            raise OSError(
                f"there has been no worker for {self.patience:.0f} s at {self.address}; what is "
                "done is kept, start the sweep again when there are workers."
            )
        if self.own is not None:
            self._replace({worker["name"] for worker in workers}, now)

    def wait(self, future: Future[Any] | None = None) -> None:
        """Wait until a future has ended, or for a first worker, and look after workers meanwhile.

        Parameters
        ----------
        future : distributed.Future, optional
            What is waited for.

        Raises
        ------
        OSError
            As :meth:`look_after` does.
        """
        self.look_after()
        while not (self.n_workers if future is None else future.done()):
            time.sleep(0.02)
            self.look_after()

    def _replace(self, here: set[Any], now: float) -> None:
        """Drop workers that have ended, or have not come in time, and ask for others."""
        from distributed import Status

        started = dict(self.own.workers)
        for name in [*self.own.worker_spec]:
            if name in here:
                self._absent.pop(name, None)
                continue
            late = now - self._absent.setdefault(name, now) > self.start
            ended = name in started and started[name].status in (Status.closed, Status.failed)
            if late or ended:
                del self.own.worker_spec[name], self._absent[name]
        self.own.scale(self.asked)


@contextmanager
def cluster_of(
    workers: int | None = None, scheduler: str | None = None, slurm: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Yield workers of dask, one of which is there: as ``with_client`` says.

    Parameters
    ----------
    workers, scheduler, slurm
        As for :func:`ctebm.sweeps.workers.with_client`.

    Raises
    ------
    OSError
        If the scheduler does not answer, or there is no worker for too long.
    ValueError
        If workers of this machine can't read the script.
    """
    import dask.config
    from distributed import Client

    for name in ("distributed", "tornado.application", "asyncio"):  # kills are no news here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout=20)
            except (OSError, ValueError, TypeError) as error:
                named = ", and its certificates to dask" if scheduler.startswith("tls:") else ""
                raise OSError(
                    f"no scheduler answers at {scheduler}; start one with 'dask scheduler' and "
                    f"give the address that it prints{named}."
                ) from error
            with client:
                found = Cluster(client, scheduler, _SCHEDULER)
                found.wait()
                yield found
            return
        n = workers or 1
        here = slurm is None
        if here:
            check_script()
        # dask would end a worker of this machine while it starts again
        lost = {"distributed.deploy.lost-worker-timeout": "1 day"} if here else {}
        made = _local_cluster(n) if slurm is None else _slurm_cluster(slurm)
        with dask.config.set(lost), made as own, Client(own) as client:
            patience, start = (_LOCAL, _START) if here else (_SLURM, float("inf"))
            found = Cluster(client, _address(own), patience, n, own, start)
            found.wait()
            yield found


def _local_cluster(n: int) -> Any:
    """Return a cluster without workers, whose workers will share the memory."""
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    return LocalCluster(
        n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
        memory_limit=MEMORY_LIMIT // n, silence_logs=logging.CRITICAL,  # errors are raised here
    )  # fmt: skip


def _slurm_cluster(slurm: Mapping[str, str]) -> Any:
    try:
        SLURMCluster = import_module("dask_jobqueue").SLURMCluster  # of an extra
    except ImportError as error:
        raise ValueError("SLURM needs dask-jobqueue; pip install 'ctebm[slurm]'.") from error
    given: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "4GB"} | dict(slurm)
    try:
        cluster = SLURMCluster(**given)
    except (TypeError, ValueError) as error:
        reason = str(error).partition(". ")[0]
        raise ValueError(f"SLURM can't be asked for this ({reason}); see dask_jobqueue.") from error
    return cluster


def _address(cluster: Any) -> str:
    return cluster.dashboard_link if find_spec("bokeh") else cluster.scheduler_address
