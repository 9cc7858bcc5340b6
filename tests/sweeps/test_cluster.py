"""Workers that die while they start, that never start, and a scheduler with none."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
from distributed import Status
from sweep_cases import noted

import ctebm
from ctebm.sweeps import cluster as clusters
from ctebm.sweeps.cluster import Cluster


class Pretended:
    """A client and a cluster in one, whose workers stand where they are told to."""

    def __init__(self, **statuses):
        self.worker_spec = {name: {} for name in statuses}
        self.workers = {
            name: SimpleNamespace(status=status)
            for name, status in statuses.items() if status is not None
        }  # fmt: skip
        self.here = [name for name, status in statuses.items() if status == Status.running]

    def scheduler_info(self, n_workers):
        return {"workers": {f"tcp://{name}": {"name": name} for name in self.here}}

    def scale(self, n):
        for i in range(n - len(self.worker_spec)):
            self.worker_spec[f"new{i}"] = {}


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clusters.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(clusters.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now


def of(pretended, **how):
    return Cluster(pretended, "tcp://here", 100.0, own=pretended, **how)


@pytest.mark.parametrize("status", [Status.closed, Status.failed])
def test_a_worker_that_died_while_it_started_is_replaced(status, clock):
    pretended = Pretended(good=Status.running, dead=status, starting=Status.init)
    of(pretended, asked=3).look_after()
    assert [*pretended.worker_spec] == ["good", "starting", "new0"]


def test_a_worker_that_does_not_come_in_time_is_replaced(clock):
    pretended = Pretended(good=Status.running, starting=Status.running)
    pretended.here.remove("starting")
    found = of(pretended, asked=2, start=60.0)
    for clock[0] in (0.0, 50.0):
        found.look_after()
        assert "starting" in pretended.worker_spec
    clock[0] = 61.0
    found.look_after()
    assert [*pretended.worker_spec] == ["good", "new0"]


def test_a_job_that_waits_in_a_queue_is_left_there(clock):
    pretended = Pretended(good=Status.running, queued=None)
    found = of(pretended, asked=2)
    for clock[0] in (0.0, 80000.0):
        found.look_after()
    assert [*pretended.worker_spec] == ["good", "queued"]


@pytest.mark.parametrize("own", [True, False])
def test_where_no_worker_comes_it_ends_with_a_sentence(own, clock):
    pretended = Pretended()
    found = of(pretended, asked=2) if own else Cluster(pretended, "tcp://here", 100.0)
    words = r"there has been no worker for 100 s at tcp://here; what is done is kept"
    with pytest.raises(OSError, match=words):
        found.wait(SimpleNamespace(done=lambda: False))
    assert 100 < clock[0] < 102


def test_workers_that_go_and_come_are_waited_for(clock):
    pretended = Pretended(good=Status.running)
    found = Cluster(pretended, "tcp://here", 100.0)
    for clock[0], here in ((0, ["good"]), (99, ["good"]), (190, []), (198, []), (250, ["b"])):
        pretended.here = here
        found.look_after()
    assert found.n_workers == 1


def test_a_scheduler_that_is_lost_is_said(clock):
    pretended = Pretended()

    def lost(n_workers):
        raise OSError("closed")

    pretended.scheduler_info = lost
    with pytest.raises(OSError, match="the scheduler was lost; what is done is kept"):
        of(pretended).look_after()


@pytest.mark.slow
def test_workers_that_are_killed_while_they_start_lose_nothing(tmp_path):
    """All workers are killed every half second for a while: none gets so far as to compute."""
    killer = os.fork()
    if not killer:
        me, begun = psutil.Process(os.getppid()), time.monotonic()
        while time.monotonic() - begun < 8:
            time.sleep(0.5)
            for child in me.children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()) and child.pid != os.getpid():
                    child.kill()
        os._exit(0)
    try:
        found = ctebm.sweep(noted(tmp_path, 0.1), {"a": range(20)}, workers=2, tile_points=2)
    finally:
        os.kill(killer, signal.SIGKILL)
        os.waitpid(killer, 0)
    assert bool((found.status == 1).all())
    assert found.drop_attrs().equals(ctebm.sweep(noted(tmp_path), {"a": range(20)}).drop_attrs())


def test_the_time_to_start_begins_anew_when_a_worker_has_been_there(clock):
    pretended = Pretended(good=Status.running, other=Status.running)
    found = of(pretended, asked=2, start=60.0)
    for clock[0], here in ((0, ["good"]), (50, ["good", "other"]), (70, ["good"]), (100, ["good"])):
        pretended.here = here
        found.look_after()
        assert [*pretended.worker_spec] == ["good", "other"]
    clock[0] = 131
    found.look_after()
    assert [*pretended.worker_spec] == ["good", "new0"]


@pytest.mark.parametrize(("workers", "n"), [(None, 1), (3, 3)])
@pytest.mark.parametrize(
    ("slurm", "patience", "start"), [(None, 120, 60), ({"queue": "main"}, 86400, float("inf"))]
)
def test_as_many_workers_as_are_asked_for_or_one(workers, n, slurm, patience, start, monkeypatch):
    """A machine's own are waited for some minutes, those of a queue for a day."""
    asked = {}

    def made(kind):
        def cluster(given):
            asked.update(kind=kind, given=given)
            return contextlib.nullcontext(SimpleNamespace(scheduler_address="tcp://here"))

        return cluster

    def noted_cluster(client, address, *how):
        asked["how"] = (*how[:2], *how[3:])
        return SimpleNamespace(wait=lambda: asked.setdefault("waited", True))

    monkeypatch.setattr(clusters, "check_script", lambda: asked.setdefault("script", True))
    monkeypatch.setattr(clusters, "_local_cluster", made("local"))
    monkeypatch.setattr(clusters, "_slurm_cluster", made("slurm"))
    monkeypatch.setattr(clusters, "_address", lambda own: own.scheduler_address)
    monkeypatch.setattr(clusters, "Cluster", noted_cluster)
    monkeypatch.setattr("distributed.Client", contextlib.nullcontext)
    with clusters.cluster_of(workers, slurm=slurm):
        here = {"kind": "local", "given": n, "script": True}
        there = {"kind": "slurm", "given": slurm}
        expected = (here if slurm is None else there) | {"waited": True}
        assert asked == expected | {"how": (patience, n, start)}
