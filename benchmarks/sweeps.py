"""Kill sweeps, and time what they cost beside the work.

The driver of a sweep of 1,000 points, and workers of another one, are killed with SIGKILL at random
moments; what was finished must be there at the end, computed once, and all of it equal to a sweep
that nothing stopped. Then the overhead of 10^5 points is timed, in processor time. The exit code is
1 if something was lost, done again, or differs.

    python benchmarks/sweeps.py                     # 100 kills of the driver, 100 of workers, times
    python benchmarks/sweeps.py --drivers 10 --workers 0 --no-times
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

import ctebm
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import open_store
from ctebm.sweeps.tiles import Tiling
from ctebm.sweeps.verification import verify_sweep

N_POINTS, A_TILE = 1000, 10
GRID = {"a": range(20), "b": range(N_POINTS // 20)}
MOST_LIVES = 1000


class Noted:
    """A function that takes some time and writes down where it is called."""

    def __init__(self, folder: str, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds

    def __repr__(self) -> str:
        return "Noted()"

    def __call__(self, a: int, b: int) -> dict[str, float]:
        descriptor = os.open(f"{self.folder}/calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, f"{a * len(GRID['b']) + b} {time.monotonic()}\n".encode())
        os.close(descriptor)
        time.sleep(self.seconds)
        return {"number": float(np.random.default_rng([a, b]).normal())}


class Watch:
    """What was finished when, and what of it was called again."""

    def __init__(self, folder: str) -> None:
        self.folder, self.kills = folder, 0
        self.seen: dict[int, float] = {}

    def look(self) -> None:
        """Note the moment at which points are seen to be finished."""
        if Path(self.folder, "x.zarr").exists():
            status = open_store(f"{self.folder}/x.zarr").status().ravel()
            now = time.monotonic()
            for point in np.flatnonzero(status == 1).tolist():
                self.seen.setdefault(point, now)

    def again(self) -> int:
        """Return how many calls began at points that had been seen to be finished."""
        calls = (line.split() for line in Path(self.folder, "calls").read_text().splitlines())
        return sum(float(at) > self.seen.get(int(i), float("inf")) for i, at in calls)


def drive(folder: str, seconds: float, workers: int | None) -> None:
    ctebm.sweep(
        Noted(folder, seconds), GRID, out=f"{folder}/x.zarr", tile_points=A_TILE, workers=workers
    ).close()


def kill_drivers(folder: str, n: int, rng: np.random.Generator) -> Watch:
    watch = Watch(folder)
    for _ in range(MOST_LIVES):
        child = os.fork()
        if not child:
            try:
                drive(folder, 0.02, None)
            finally:
                os._exit(0)
        if watch.kills < n:
            time.sleep(rng.uniform(0.02, 0.4))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        watch.look()
        if code == 0:
            break
        watch.kills += 1
    return watch


def kill_workers(folder: str, n: int, rng: np.random.Generator) -> Watch:
    watch = Watch(folder)
    while True:
        driver = psutil.Popen([sys.executable, __file__, "--drive", folder])
        while driver.poll() is None:
            time.sleep(rng.uniform(0.1, 1.0))
            found = [p for p in _children(driver) if watch.kills < n and watch.seen]
            watch.look()
            if found:
                found[rng.integers(len(found))].kill()
                watch.kills += 1
        if driver.returncode == 0:
            return watch


def _children(driver: psutil.Popen) -> list[psutil.Process]:
    try:
        found = [p for p in driver.children(recursive=True) if "spawn_main" in str(p.cmdline())]
    except psutil.NoSuchProcess:
        return []
    return found


def judged(what: str, folder: str, watch: Watch, truth: np.ndarray, n: int) -> bool:
    with warnings.catch_warnings(), ctebm.open(f"{folder}/x.zarr") as found:
        lost = int((found.status != 1).sum())
        same = bool((found.number.values == truth).all())
    damage = len(verify_sweep(f"{folder}/x.zarr"))
    print(
        f"{what}: {watch.kills} kills, {lost} of {N_POINTS} points lost, {watch.again()} finished "
        f"ones done again, {damage} damaged, {'identical' if same else 'DIFFERENT'}"
    )
    if watch.kills < n:
        print(f"{what}: it was done before {n} kills")
    return watch.kills == n and not lost and not watch.again() and not damage and same


def times() -> None:
    """Time planning, overhead and status of 10^5 points at 200 a tile."""
    grid = {"a": range(500), "b": range(200)}
    begun = time.process_time()
    points = Points.grid(grid)
    tiling = Tiling.of(points.shape, 200)
    points.digest()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"planning: {time.process_time() - begun:.3f} s, {len(tiling)} tiles, {memory:.0f} MiB")
    with TemporaryDirectory() as folder:
        out = f"{folder}/x.zarr"
        calls = [time.process_time(), 0.0]

        def function(a: int, b: int) -> dict[str, float]:
            return {"x": a + b, "y": a - b, "z": a * b}

        ctebm.sweep(function, grid, out=out, tile_points=200).close()
        calls[1] = time.process_time()
        print(f"overhead: {(calls[1] - calls[0]) / 1e5 * 1e3:.3f} ms a point, 3 numbers each")
        begun = time.process_time()
        open_store(out).status()
        print(f"status: {time.process_time() - begun:.2f} s")
        begun = time.process_time()
        ctebm.open(out).close()
        print(f"open: {time.process_time() - begun:.2f} s")


def two_workers() -> None:
    """Time 200 points of 50 ms on one and two workers, start of the workers left out."""
    from ctebm.sweeps.run import run_sweep
    from ctebm.sweeps.workers import with_client

    spent = {}
    for n in (1, 2):
        with TemporaryDirectory() as folder, with_client(n) as who:
            from contextlib import nullcontext

            points = Points.grid({"a": range(20), "b": range(10)})
            warm = Points.grid({"a": range(n), "b": range(2)})
            run_sweep(Noted(folder, 0.05), warm, Path(folder, "w.zarr"), nullcontext(who))
            begun, cpu = time.perf_counter(), time.process_time()
            run_sweep(
                Noted(folder, 0.05), points, Path(folder, "x.zarr"), nullcontext(who), tile_points=5
            )
            spent[n] = time.perf_counter() - begun
            print(f"{n} workers: {spent[n]:.2f} s, driver busy {time.process_time() - cpu:.2f} s")
    print(f"two workers are {spent[1] / spent[2]:.2f} times as fast as one")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", type=int, default=100, help="kills of the driver")
    parser.add_argument("--workers", type=int, default=100, help="kills of workers")
    parser.add_argument("--times", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(given.drive, 0.1, 2)
        return 0
    rng, good = np.random.default_rng(given.seed), True
    with TemporaryDirectory() as folder:
        truth = ctebm.sweep(Noted(folder, 0.0), GRID).number.values
    for what, kill, n in (
        ("drivers", kill_drivers, given.drivers), ("workers", kill_workers, given.workers)
    ):  # fmt: skip
        if n:
            with TemporaryDirectory() as folder:
                good &= judged(what, folder, kill(folder, n, rng), truth, n)
    if given.times:
        times()
        two_workers()
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
