"""`sweep()`: whole, stopped, killed, retried, refused."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from children import end_of, start_child
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sweep_cases import GRID, fails_at_two, good, noted, slow_truth, until_told

import ctebm
from ctebm.files import tiled
from ctebm.files.lock import locked
from ctebm.files.process import this_process
from ctebm.files.tiled import sweep_tiles
from ctebm.sweeps import run as runs
from ctebm.sweeps.verification import forget_damaged, verify_sweep


def calls(folder):
    path = Path(folder, "calls")
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def test_a_sweep_is_a_plain_loop(tmp_path):
    truth = slow_truth(good, GRID)
    for tile_points in (1, 3, 5, 12, None):
        found = ctebm.sweep(good, GRID, tile_points=tile_points)
        for name, values in truth.items():
            np.testing.assert_array_equal(found[name].values, values)
        assert found.s.dims == ("a", "b", "unit") and found.depth.dims == found.s.dims
        assert "depth" in found.coords and found.unit.values.tolist() == ["p", "q"]


def test_points_of_a_table():
    rows = [{"a": 1, "b": 0.5}, {"a": 3, "b": 0.25}]
    found = ctebm.sweep(good, points=rows)
    assert found.n.values.tolist() == [1, 3] and found.b.values.tolist() == [0.5, 0.25]
    both = ctebm.sweep(lambda a, seed: {"n": a + seed}, {"seed": [0, 10]}, [{"a": 1}, {"a": 2}])
    assert both.n.dims == ("point", "seed") and both.n.values.tolist() == [[1, 11], [2, 12]]


def test_points_that_fail_are_said_and_retried(tmp_path):
    out, function = tmp_path / "x.zarr", until_told(tmp_path)
    with pytest.warns(UserWarning, match="4 of 12 points failed; .* ZeroDivisionError"):
        ctebm.sweep(function, GRID, out=out, tile_points=5).close()
    (tmp_path / "mended").touch()
    with pytest.warns(UserWarning, match="4 of 12 points failed"):  # it is not asked to
        ctebm.sweep(function, GRID, out=out).close()
    with ctebm.sweep(function, GRID, out=out, retry_failed=True) as found:
        assert found.drop_attrs().equals(ctebm.sweep(good, GRID).drop_attrs())


def test_numbers_of_a_failed_point_are_missing():
    with pytest.warns(UserWarning, match="ValueError: no equilibrium"):
        found = ctebm.sweep(fails_at_two, GRID)
    one = found.sel(a=2, b=1.0)
    assert np.isnan(one.z) and np.isnan(one.n) and str(one.word.values) == ""
    assert int(found.status.sum()) == 13 and str(one.message.values).startswith("ValueError")


def test_parts_make_a_whole(tmp_path):
    out, function = tmp_path / "x.zarr", noted(tmp_path)
    for i in (2, 0, 1):
        ctebm.sweep(function, {"a": range(10)}, out=out, part=(i, 3), tile_points=1).close()
    with ctebm.open(out) as found:
        assert bool((found.status == 1).all())
    probed = calls(tmp_path)[:2]
    assert sorted({*calls(tmp_path)}) == [*range(10)] and len(calls(tmp_path)) <= 10 + len(probed)


def test_one_driver_a_store(tmp_path):
    out, function = tmp_path / "x.zarr", noted(tmp_path)
    with locked(out), pytest.raises(BlockingIOError, match=r"is in use by process \d+"):
        ctebm.sweep(function, {"a": [1]}, out=out)
    assert calls(tmp_path) == []


def test_kills_lose_nothing_and_repeat_nothing(tmp_path):
    """A driver is killed again and again; each point is computed once, and all is as without."""
    grid = {"a": range(24)}
    truth = ctebm.sweep(noted(tmp_path), grid)
    (tmp_path / "calls").unlink()
    out, function, rng = tmp_path / "x.zarr", noted(tmp_path, 0.005), np.random.default_rng(0)

    def work():
        ctebm.sweep(function, grid, out=out, tile_points=1).close()

    kills = 0
    for _ in range(60):
        child = start_child(work)
        time.sleep(rng.uniform(0.05, 0.4))
        os.kill(child, signal.SIGKILL)
        if end_of(child) == 0:
            break
        kills += 1
        if out.exists():
            done = int((ctebm.sweeps.store.open_store(out).status() == 1).sum())
            assert len(calls(tmp_path)) >= done
    with ctebm.sweep(function, grid, out=out) as found:
        np.testing.assert_array_equal(found.square.values, truth.square.values)
    # a kill costs the point under way, or the two that are tried before there is a store
    assert kills and len(calls(tmp_path)) <= 24 + 2 * kills
    assert verify_sweep(out) == []
    assert not [*out.rglob("*.partial")]


@pytest.mark.parametrize("swallow", [False, True])
def test_what_a_queue_ends_is_no_failure(tmp_path, swallow):
    """SIGTERM, as a job gets at the end of its time: the process ends, and no point has failed."""
    out, marks = tmp_path / "x.zarr", tmp_path / "marks"

    def function(a):
        with contextlib.suppress(BaseException if swallow else ZeroDivisionError):
            marks.write_text(str(a))
            time.sleep(0.05)
        return {"n": a}

    def work():
        ctebm.sweep(function, {"a": range(40)}, out=out, tile_points=2).close()

    child = start_child(work)
    while not (out.exists() and marks.exists() and marks.read_text() == "9"):
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    assert end_of(child) == -signal.SIGTERM
    status = ctebm.sweeps.store.open_store(out).status()
    assert {*status.tolist()} == {0, 1} and (status == 1).sum() < 20
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    with ctebm.sweep(function, {"a": range(40)}, out=out) as found:
        assert found.n.values.tolist() == [*range(40)] and bool((found.status == 1).all())


def test_damage_is_said_with_what_mends_it(tmp_path):
    out = tmp_path / "x.zarr"
    ctebm.sweep(good, GRID, out=out).close()
    (out / "n/c/0/0").unlink()
    words = r"chunk 0/0\) is missing\); repair it \('sweep verify PATH --repair'"
    with pytest.raises(ValueError, match=words):
        ctebm.open(out)
    forget_damaged(out)
    with ctebm.sweep(good, GRID, out=out) as found:
        assert bool((found.status == 1).all())


@pytest.mark.skipif(
    not Path("/dev/full").exists() or os.getuid() == 0, reason="root writes anywhere"
)
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="can't lock"):
        ctebm.sweep(good, GRID, out=tmp_path / "x.zarr")


def test_a_store_that_is_removed_underneath(tmp_path):
    import shutil

    out = tmp_path / "x.zarr"

    def function(a):
        if a == 7:
            shutil.rmtree(out)
        return {"n": a}

    with pytest.raises(FileNotFoundError, match="was removed while it was written"):
        ctebm.sweep(function, {"a": range(10)}, out=out, tile_points=2)
    assert not out.exists()


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    """Days forth and back at every point; what this process half wrote stays its own."""
    out, note = tmp_path / "x.zarr", tmp_path / "ahead"
    note.write_text("0")
    now, create_time = time.time, psutil.Process.create_time
    monkeypatch.setattr(time, "time", lambda: now() + float(note.read_text()))
    monkeypatch.setattr(
        psutil.Process, "create_time", lambda self: create_time(self) + float(note.read_text())
    )

    def function(a):
        if out.exists():
            half = out / f".{a}.{this_process().tag()}.0a0b0c0d.partial"
            half.write_text("half")
            note.write_text(str(float(note.read_text()) + 86400 * (-3) ** (a % 5)))
            sweep_tiles(out)  # as another part of the sweep does when it begins
            half.unlink()
        return {"n": a}

    with ctebm.sweep(function, {"a": range(10)}, out=out, tile_points=2) as found:
        assert found.n.values.tolist() == [*range(10)] and bool((found.status == 1).all())
    assert float(note.read_text()) > 86400 and verify_sweep(out) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs a grid or points"),
        ({"grid": GRID, "out": "x.nc"}, r"ends in \.zarr"),
        ({"grid": GRID, "workers": 0}, "workers must be"),
        ({"grid": GRID, "tile_points": 1.5}, "tile_points must be"),
        ({"grid": GRID, "threads": None}, "threads must be"),
        ({"grid": GRID, "part": (4, 3)}, "part is"),
        ({"grid": GRID, "slurm": "main"}, "slurm is a mapping"),
        ({"grid": GRID, "scheduler": 3}, "scheduler is an address"),
        ({"grid": GRID, "quiet": torch.tensor([])}, "quiet must be True or False, got Tensor"),
        ({"grid": GRID, "retry_failed": 1}, "retry_failed must be True or False, got int"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        ctebm.sweep(good, **arguments)


def test_what_cannot_travel_is_one_sentence():
    lock = threading.Lock()
    with pytest.raises(
        ValueError, match=r"no other process can have .*; make that within the func"
    ):
        ctebm.sweep(lambda a: {"x": lock.locked() + a}, {"a": range(3)})


def test_a_function_that_goes_to_another_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def function(a):
        os.chdir(tmp_path)
        return {"x": a}

    found = ctebm.sweep(function, {"a": range(3)}, out="x.zarr")
    assert found.x.values.tolist() == [0, 1, 2] and (tmp_path / "here" / "x.zarr").is_dir()
    found.close()


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="expected a function"):
        ctebm.sweep("good", GRID)  # pyright: ignore[reportArgumentType]


class Stopped(BaseException):
    """What a kill is to the process that computes."""


class AnyOrder(RuleBasedStateMachine):
    """Write, kill, resume, retry, damage, verify, in any order; the end is always the same."""

    @initialize(tile_points=st.integers(1, 12))
    def begin(self, tile_points):
        from tempfile import mkdtemp

        self.folder = Path(mkdtemp())
        self.out, self.function = self.folder / "x.zarr", until_told(self.folder)
        self.tile_points, self.damaged, self.stopped_retry = tile_points, False, False

    def sweep(self, **how):
        import warnings

        with warnings.catch_warnings(action="ignore"):
            ctebm.sweep(
                self.function, GRID, out=self.out, tile_points=self.tile_points, **how
            ).close()

    @rule(files=st.integers(0, 25), retry=st.booleans())
    def kill(self, files, retry):
        put, left = tiled._put, [files]

        def limited(path, content):
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            put(path, content)

        tiled._put = limited
        try:
            if not self.damaged:
                self.sweep(retry_failed=retry)
        except Stopped:
            self.stopped_retry |= retry
        finally:
            tiled._put = put

    @rule(i=st.integers(0, 2))
    def part(self, i):
        if not self.damaged:
            self.sweep(part=(i, 3))

    @rule()
    def mend(self):
        (self.folder / "mended").touch()

    @rule(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip(self, where, bit):
        own = ("a", "b", "unit")
        found = [p for p in self.out.rglob("c/**/*") if p.is_file()]
        found = sorted(p for p in found if p.relative_to(self.out).parts[0] not in own)
        finished = {(*p.parts[-2:],) for p in (self.out / "status").rglob("c/*/*")}
        found = [
            p for p in found if any(f in zip(p.parts, p.parts[1:], strict=False) for f in finished)
        ]
        if found and not self.damaged:  # twice would be none
            path = found[int(where * len(found))]
            raw = bytearray(path.read_bytes())
            raw[int(where * len(raw))] ^= 1 << bit
            path.write_bytes(raw)
            self.damaged = True

    @rule()
    def repair(self):
        if self.out.exists():
            assert bool(forget_damaged(self.out)) >= self.damaged
            self.damaged = False
            assert verify_sweep(self.out) == []

    @invariant()
    def what_is_done_is_right(self):
        if getattr(self, "out", None) and self.out.exists() and not self.damaged:
            with ctebm.open(self.out) as found:
                done = found.status.values == 1
                for name, values in slow_truth(good, GRID).items():
                    np.testing.assert_array_equal(found[name].values[done], values[done])
                # a kill in a retry leaves its numbers, without their status
                early = found.n.values == slow_truth(good, GRID)["n"]
                assert (np.isnan(found.n.values) | early)[~done].all()
                failed = found.status.values == 2
                assert all(found.message.values[failed]) or self.stopped_retry

    def teardown(self):
        import shutil

        if hasattr(self, "folder"):
            self.repair()
            self.mend()
            self.sweep(retry_failed=True)
            with ctebm.open(self.out) as found:
                assert bool((found.status == 1).all())
            self.what_is_done_is_right()
            shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=8, stateful_step_count=8, deadline=None)


class Late:
    """Presses Ctrl-C where Python drops it: in a destructor."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_gets_lost_ends_the_sweep_all_the_same(tmp_path):
    def function(a):
        late = Late() if a == 5 else None
        del late
        return {"n": a}

    out, before = tmp_path / "x.zarr", signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has another
    try:
        with pytest.raises(KeyboardInterrupt):
            ctebm.sweep(function, {"a": range(20)}, out=out, tile_points=2)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    with ctebm.open(out) as found:
        assert found.status.values.tolist() == [1] * 6 + [0] * 14


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runs, "create_store", full)
    with pytest.raises(OSError, match=r"can't make .*x.zarr \(No space left on device\); name a"):
        ctebm.sweep(lambda a: {"n": a}, {"a": [1]}, out=tmp_path / "x.zarr")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["n/c", "status/c", "n/c/0", "ctebm.checksums/c"])
def test_nothing_is_read_or_written_behind_a_link(tmp_path, name):
    def function(a):
        return {"n": a}

    out, elsewhere = tmp_path / "x.zarr", tmp_path / "elsewhere"
    ctebm.sweep(function, {"a": range(4)}, out=out, tile_points=1, part=(0, 2)).close()
    (out / name).rename(elsewhere)
    (out / name).symlink_to(elsewhere)
    before = sorted(path.name for path in elsewhere.rglob("*"))
    for ask in (
        lambda: ctebm.sweep(function, {"a": range(4)}, out=out),
        lambda: ctebm.open(out),
        lambda: forget_damaged(out),
    ):
        with pytest.raises(ValueError, match=r"is a link"):
            ask()
    assert any("is a link" in damage.sentence for damage in verify_sweep(out))
    assert sorted(path.name for path in elsewhere.rglob("*")) == before


@pytest.mark.parametrize("name", ["zarr.json", "n/zarr.json", "a/c/0", "ctebm.checksums/zarr.json"])
def test_a_damaged_description_is_not_gone_on_with(tmp_path, name):
    def function(a):
        return {"n": a}

    out = tmp_path / "x.zarr"
    ctebm.sweep(function, {"a": range(4)}, out=out, tile_points=1, part=(0, 2)).close()
    content = bytearray((out / name).read_bytes())
    content[-9] ^= 1
    (out / name).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"can't go on, since|is damaged"):
        ctebm.sweep(function, {"a": range(4)}, out=out)
    (out / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=r"x\.zarr"):
        ctebm.sweep(function, {"a": range(4)}, out=out)


@pytest.mark.parametrize(("address", "said"), [("tcp://here:1", True), ("", False)])
def test_the_address_of_dask_is_said_where_there_is_one(address, said, monkeypatch, capsys):
    workers = contextlib.nullcontext(dataclasses.replace(runs.serial(), address=address))
    monkeypatch.setattr(runs, "with_client", lambda *_: workers)
    found = ctebm.sweep(good, GRID, workers=2, quiet=False)
    assert bool((found.status == 1).all())
    assert ("dask: tcp://here:1" in capsys.readouterr().err) == said
    ctebm.sweep(good, GRID, workers=2, quiet=True)
    assert "dask" not in capsys.readouterr().err
