"""Workers of dask: the same dataset, points that kill them, schedulers elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import dask.config
import numpy as np
import psutil
import pytest
import sweep_cases
from pretended_cluster import PretendedCluster
from sweep_cases import noted

import ctebm
from ctebm.sweeps import workers
from ctebm.sweeps.computation import Job
from ctebm.sweeps.form import Form
from ctebm.sweeps.identity import identity
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import create_store, open_store
from ctebm.sweeps.workers import _of_cluster as workers_of

cloudpickle.register_pickle_by_value(sweep_cases)  # workers have not the tests' path

NO_SLURM = "nothing of SLURM is tested without dask-jobqueue: pip install '.[slurm]'"


def here():
    """Return what this process finds."""
    return ctebm.sweep(sweep_cases.good, sweep_cases.GRID).drop_attrs()


@pytest.fixture(autouse=True)
def path_of_children(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(ctebm.__file__).parents[1]))


@pytest.mark.slow
def test_workers_find_what_one_process_finds_though_some_are_killed(tmp_path):
    grid = {"a": range(60)}
    truth = ctebm.sweep(noted(tmp_path), grid)
    (tmp_path / "calls").unlink()
    killer = os.fork()
    if not killer:  # kills workers of its parent until it is stopped
        me = psutil.Process(os.getppid())
        while not (tmp_path / "x.zarr").exists():
            time.sleep(0.1)
        for _ in range(6):
            time.sleep(1.5)
            for child in me.children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()) and child.pid != os.getpid():
                    child.kill()
                    break
        os._exit(0)
    out = tmp_path / "x.zarr"
    try:
        with ctebm.sweep(noted(tmp_path, 0.1), grid, out=out, workers=2, tile_points=2) as found:
            np.testing.assert_array_equal(found.square.values, truth.square.values)
            assert bool((found.status == 1).all())
    finally:
        os.kill(killer, signal.SIGKILL)
        os.waitpid(killer, 0)


@pytest.mark.slow
def test_a_point_that_kills_its_worker_is_found_and_the_others_are_computed(tmp_path):
    with pytest.warns(UserWarning, match="1 of 8 points failed; .* ended its process"):
        found = ctebm.sweep(
            sweep_cases.kills_its_process, {"a": range(8)}, out=tmp_path / "x.zarr", workers=1,
            tile_points=8,
        )  # fmt: skip
    with found:
        assert found.status.values.tolist() == [1, 1, 1, 1, 1, 3, 1, 1]
        assert np.isnan(found.square.values[5]) and found.square.values[7] == 49


def test_a_scheduler_that_does_not_answer(monkeypatch):
    from distributed import Client

    def lost(*_, **__):
        raise OSError("Timed out")

    monkeypatch.setattr(Client, "__init__", lost)
    with pytest.raises(OSError, match=r"no scheduler answers at tcp://127.0.0.1:9"):
        ctebm.sweep(noted("."), {"a": [1]}, scheduler="tcp://127.0.0.1:9")


@contextmanager
def elsewhere(tmp_path, protocol="tcp", *options):
    """Yield the address of a scheduler with two workers, all processes of their own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"{protocol}://127.0.0.1:{port}"
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    commands = [["scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", protocol]]
    commands += [["worker", address, "--nthreads", "1"]] * 2
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, "--no-dashboard",
             *options], **how,
        )
        for name, *words in commands
    ]  # fmt: skip
    try:
        yield address
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


@pytest.mark.slow
def test_scheduler_and_workers_elsewhere(tmp_path):
    """They have an address and a directory in common, and nothing else."""
    with elsewhere(tmp_path) as address, ctebm.sweep(
        sweep_cases.good, sweep_cases.GRID, out=tmp_path / "x.zarr", scheduler=address,
        tile_points=2,
    ) as found:  # fmt: skip
        assert found.drop_attrs().equals(here())


@pytest.fixture
def certificates(tmp_path):
    """Two certificates that sign themselves, as the page on sweeps makes them."""
    if shutil.which("openssl") is None:
        pytest.skip("nothing of TLS is tested without openssl, which makes certificates")
    for name in ("own", "other"):
        words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=sweep"
        files = ["-keyout", f"{name}_key.pem", "-out", f"{name}.pem"]
        subprocess.run(
            ["openssl", *words.split(), *files], cwd=tmp_path, check=True, capture_output=True
        )
    return {
        name: {
            "distributed.comm.require-encryption": True,
            "distributed.comm.tls.ca-file": str(tmp_path / f"{name}.pem"),
            "distributed.comm.tls.client.cert": str(tmp_path / f"{name}.pem"),
            "distributed.comm.tls.client.key": str(tmp_path / f"{name}_key.pem"),
        }
        for name in ("own", "other")
    }


@pytest.mark.slow
def test_a_sweep_over_tls(tmp_path, certificates):
    """It ends for who has the certificate, and does not begin for who has another or none."""
    options = ["--tls-ca-file", "own.pem", "--tls-cert", "own.pem", "--tls-key", "own_key.pem"]
    asked = {"grid": sweep_cases.GRID, "tile_points": 2}
    with elsewhere(tmp_path, "tls", *options) as address:
        with dask.config.set(certificates["own"]), ctebm.sweep(
            sweep_cases.good, **asked, out=tmp_path / "x.zarr", scheduler=address
        ) as found:  # fmt: skip
            assert found.drop_attrs().equals(here())
        for config in (certificates["other"], {}):
            with (
                dask.config.set(config),
                pytest.raises(OSError, match="and its certificates to dask"),
            ):
                ctebm.sweep(sweep_cases.good, **asked, scheduler=address)
        with pytest.raises(OSError, match="no scheduler answers at tcp://"):
            ctebm.sweep(sweep_cases.good, **asked, scheduler=address.replace("tls", "tcp"))


@pytest.mark.slow
def test_jobs_of_slurm(tmp_path, monkeypatch):
    """A pretended sbatch runs each job script at once."""
    pytest.importorskip("dask_jobqueue", reason=NO_SLURM)
    tools = tmp_path / "bin"
    tools.mkdir()
    sbatch = tools / "sbatch"
    sbatch.write_text(
        textwrap.dedent("""\
        #!/bin/bash
        cp "${@: -1}" "$JOBS/job.$$.sh"
        nohup bash "$JOBS/job.$$.sh" >"$JOBS/$$.out" 2>&1 &
        echo "Submitted batch job $!"
    """)
    )
    scancel = tools / "scancel"
    scancel.write_text(
        '#!/bin/bash\nfor job in "$@"; do pkill -P "$job"; kill "$job"; done; true\n'
    )
    for tool in (sbatch, scancel):
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(tmp_path))
    with ctebm.sweep(
        sweep_cases.good, sweep_cases.GRID, out=tmp_path / "x.zarr", workers=1,
        slurm={"queue": "main", "walltime": "00:10:00", "memory": "1GB", "interface": "lo"},
    ) as found:  # fmt: skip
        assert found.drop_attrs().equals(here())
    (script,) = tmp_path.glob("job.*.sh")
    assert {"#SBATCH -p main", "#SBATCH -t 00:10:00"} <= {*script.read_text().splitlines()}


def test_slurm_that_cannot_be_asked(monkeypatch):
    pytest.importorskip("dask_jobqueue", reason=NO_SLURM)
    with pytest.raises(
        ValueError,
        match=r"SLURM can't be asked for this \(Got unexpected keyword argument 'colour'\); see",
    ):
        ctebm.sweep(noted("."), {"a": [1]}, slurm={"colour": "blue"})


@pytest.fixture
def job(tmp_path):
    points = Points.grid({"a": range(12)})
    form = Form.of({"square": 1.0}, ["a"])
    create_store(tmp_path / "x.zarr", points, form, (4,), identity(noted, points, 1, {}))
    return Job(tmp_path / "x.zarr", points, form, cloudpickle.dumps(noted(tmp_path)), 1)


def of_two(job, kills=(), workers=2, tiles=(0, 1, 2), known=None, **how):
    """Compute with pretended workers, which die with a part that has such a point."""

    def dies(args):
        if len(args) == 2:
            return args[1] in kills
        _, tile, part, *_ = args
        return bool({*kills} & {*(range(4 * tile, 4 * tile + 4) if part is None else part)})

    cluster = PretendedCluster(workers, dies=dies, **how)
    found = workers_of(cluster)
    return cluster, found, [*found.compute(job, np.array(tiles), known or {})]


def test_pretended_workers_compute_every_tile_once(job):
    known = {0: ({"square": 5.0}, ""), 9: ({"square": 6.0}, "")}
    cluster, found, done = of_two(job, known=known, asked=5)
    assert (found.n, found.address) == (5, "tcp://here")
    assert sorted(done) == [4, 4, 4] and cluster.most == 2
    first, second = {0: known[0]}, {9: known[9]}
    assert cluster.submitted == [
        ("compute_tile", 0, None, first), ("compute_tile", 1, None, {}),
        ("compute_tile", 2, None, second),
    ]  # fmt: skip
    assert all(future.released for future in cluster.futures) and cluster.cancelled == []
    store = open_store(job.path)
    assert (store.status() == 1).all() and store.read(0)["square"][0] == 5


@pytest.mark.parametrize(("workers", "most"), [(0, 1), (1, 1), (2, 2), (7, 3)])
def test_as_many_tiles_run_as_there_are_workers_and_one_at_least(job, workers, most):
    cluster, found, done = of_two(job, workers=workers)
    assert sum(done) == 12 and cluster.most == most and found.n == max(1, workers)


def test_a_tile_that_ends_its_worker_is_halved_down_to_the_point(job):
    cluster, _, done = of_two(job, kills=(6,))
    parts = [parts for _, tile, parts, *_ in cluster.submitted if tile == 1]
    assert parts == [None, [4, 5], [6, 7], [6], [7], [6], [6], [6]]
    status = open_store(job.path).status()
    assert status.tolist() == [1] * 6 + [3] + [1] * 5
    assert sum(done) == 12
    assert "ended its process" in open_store(job.path).messages()[6]


def test_a_suspect_that_ends_well_when_nothing_runs_beside_it_is_done(job, monkeypatch):
    cluster, _, _ = of_two(job, tiles=())
    assert cluster.submitted == []
    deaths = iter([True, True, False])
    cluster.dies = lambda args: next(deaths)
    assert workers._compute_suspect(cluster, job, 1, 6) == 1
    assert open_store(job.path).status().tolist() == [0] * 6 + [1] + [0] * 5


def test_a_point_is_tried_by_a_worker(job):
    cluster, found, _ = of_two(job, kills=(3,), tiles=())
    assert found.probe(job, 2)[:2] == (job.call([2])[0], "")
    assert found.probe(job, 3) == (None, "it ended its worker", 0.0)
    assert cluster.submitted == [("compute_point", 2), ("compute_point", 3)]
    assert all(future.released for future in cluster.futures)


def test_a_scheduler_that_is_lost_while_tiles_run_is_said(job):
    from distributed.client import FutureCancelledError

    cluster = PretendedCluster(2)

    def lost(self):
        raise FutureCancelledError("tile", "lost")

    compute = workers_of(cluster).compute(job, np.array([0, 1, 2]), {})
    assert next(compute) == 4
    cluster.futures[1].result = lost.__get__(cluster)
    with pytest.raises(OSError, match="the scheduler was lost; what is done is kept"):
        list(compute)
    assert set(cluster.cancelled) <= {*cluster.futures}
