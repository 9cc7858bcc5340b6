"""Workers of dask: the same dataset, points that kill them, schedulers elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest
import sweep_cases
from sweep_cases import noted

import ctebm

cloudpickle.register_pickle_by_value(sweep_cases)  # workers have not the tests' path


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


@pytest.mark.slow
def test_scheduler_and_workers_elsewhere(tmp_path):
    """They have an address and a directory in common, and nothing else."""
    address = f"tcp://127.0.0.1:{20000 + os.getpid() % 20000}"
    port, command = address.rsplit(":", 1)[1], [sys.executable, "-m", "distributed.cli.dask_"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(
        [*command[:2], "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port,
         "--no-dashboard"], **options
    )]  # fmt: skip
    started += [
        subprocess.Popen(
            [*command[:2], "distributed.cli.dask_worker", address, "--nthreads", "1",
             "--no-dashboard"], cwd=tmp_path, **options,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        with ctebm.sweep(
            sweep_cases.good, sweep_cases.GRID, out=tmp_path / "x.zarr", scheduler=address,
            tile_points=2,
        ) as found:  # fmt: skip
            assert found.drop_attrs().equals(here())
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


@pytest.mark.slow
def test_jobs_of_slurm(tmp_path, monkeypatch):
    """A pretended sbatch runs each job script at once."""
    pytest.importorskip("dask_jobqueue")
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
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(ValueError, match="SLURM can't be asked for this"):
        ctebm.sweep(noted("."), {"a": [1]}, slurm={"colour": "blue"})
