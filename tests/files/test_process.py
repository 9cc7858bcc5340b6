"""Whether a process still runs, whatever the clock says."""

import dataclasses
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from ctebm.files import process
from ctebm.files.process import Process, this_process

ON_LINUX = pytest.mark.skipif(not process._boot(), reason="there is no /proc to read")


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A /proc of its own, with one process that runs and one that has a strange name."""
    folder = tmp_path / "proc"
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text("8c798af7-a770-4757-a1dd-2f3fb92b2297\n")
    for pid, name, state in ((7, "python", "S"), (8, "a) Z 1 (b", "R"), (9, "ended", "Z")):
        (folder / str(pid)).mkdir()
        rest = " ".join(["0"] * 18)
        (folder / str(pid) / "stat").write_text(f"{pid} ({name}) {state} {rest} 57942 1 2\n")
    monkeypatch.setattr(process, "_PROC", folder)
    process._boot.cache_clear()
    yield folder
    process._boot.cache_clear()


def here(pid: int, begun: str) -> Process:
    return Process(pid, begun, socket.gethostname())


def test_a_process_is_read_back_from_its_tag():
    mine = this_process()
    assert Process.parse(mine.tag()) == mine
    assert Process.parse("1-2a-a.b-c") == Process(1, "2a", "a.b-c")
    assert Process.parse("somebody") is None


def test_a_process_is_gone_when_it_has_ended_and_its_number_is_anothers():
    mine = this_process()
    assert not mine.is_gone()
    assert dataclasses.replace(mine, begun="0").is_gone()
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = dataclasses.replace(mine, pid=child.pid)
    child.wait()
    assert ended.is_gone()


def test_of_other_machines_nothing_is_known():
    elsewhere = Process(2**22 + 1, "0", "elsewhere")
    assert not elsewhere.is_here()
    assert not elsewhere.is_gone()


@ON_LINUX
@pytest.mark.parametrize("jump", [-86400.0, -3.0, 3.0, 86400.0])
def test_a_clock_that_is_set_ends_no_process(jump, monkeypatch):
    """Times of beginning are the boot's, which moves with the clock, and ticks since then."""
    mine = this_process()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + jump)
    monkeypatch.setattr(psutil, "boot_time", lambda: 1e9 + jump)
    assert not mine.is_gone()
    assert this_process() == mine


def test_the_same_number_at_the_same_tick_of_another_boot_is_another_process(proc):
    assert not here(7, "8c798af70000e256").is_gone()
    assert here(7, "8c798af70000e257").is_gone()
    assert here(7, "8c798af80000e256").is_gone()


def test_a_name_with_brackets_hides_nothing(proc):
    assert not here(8, "8c798af70000e256").is_gone()
    assert here(9, "8c798af70000e256").is_gone()  # ended, not yet waited for


@pytest.mark.parametrize(
    ("raised", "gone"), [(None, False), (PermissionError, False), (ProcessLookupError, True)]
)
def test_a_process_that_the_system_hides_is_not_taken_for_gone(proc, monkeypatch, raised, gone):
    def kill(pid, signal):
        assert (pid, signal) == (6, 0)
        if raised:
            raise raised

    monkeypatch.setattr(os, "kill", kill)
    assert here(6, "8c798af70000e256").is_gone() == gone


class TestWithoutProc:
    """There a beginning is a time, which may move a little."""

    @pytest.fixture(autouse=True)
    def pretended(self, proc, monkeypatch):
        (proc / "sys/kernel/random/boot_id").unlink()
        self.status = psutil.STATUS_RUNNING
        of = SimpleNamespace(status=lambda: self.status, create_time=lambda: 1000.9)
        self.found = lambda pid: of
        monkeypatch.setattr(psutil, "Process", lambda pid: self.found(pid))

    def test_it_is_in_whole_seconds(self):
        assert this_process().begun == "1000"

    @pytest.mark.parametrize(
        ("begun", "gone"),
        [("998", False), ("1002", False), ("997", True), ("1003", True), ("a", True)],
    )
    def test_two_seconds_are_no_difference(self, begun, gone):
        assert here(7, begun).is_gone() == gone

    def test_one_that_has_ended_is_gone(self):
        self.status = psutil.STATUS_ZOMBIE
        assert here(7, "1000").is_gone()

    @pytest.mark.parametrize(
        ("error", "gone"), [(psutil.NoSuchProcess(7), True), (psutil.AccessDenied(7), False)]
    )
    def test_one_that_is_hidden_is_not_known_to_be(self, error, gone):
        def found(pid):
            raise error

        self.found = found
        assert here(7, "1000").is_gone() == gone
