"""One process at a time writes a locked file, and a dead one locks nothing."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import ctebm
from ctebm.files.lock import locked

ROOT = Path(ctebm.__file__).parents[1]
HOLDER = """
import sys, time
from ctebm.files.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_the_second_process_is_told_whose_it_is_until_that_is_gone(tmp_path, name):
    path = tmp_path / "c.ckpt"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=f"in use by process {holder.pid} on "):
            locked(path).__enter__()
        holder.send_signal(getattr(signal, name))
        assert holder.wait(timeout=30) == -getattr(signal, name)
    left = list(tmp_path.iterdir())
    assert len(left) == (name == "SIGKILL")
    with locked(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_its_target_are_one_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "c.ckpt")
    with locked(tmp_path / "link"), pytest.raises(BlockingIOError):
        locked(tmp_path / "c.ckpt").__enter__()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def no_locks(self: FileLock) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with pytest.warns(UserWarning, match="without locks"), locked(tmp_path / "c.ckpt"):
        pass


def test_a_place_without_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't lock .*name a file in a folder"):
        locked(tmp_path / "file" / "c.ckpt").__enter__()


def test_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.ckpt"
    for _ in range(2):
        with locked(path):
            assert path.parent.is_dir()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        (3, TypeError, "expected the path of a file, got int"),
        ("a\0b", ValueError, "no null character, got 'a"),
    ],
)
def test_what_is_no_path_is_refused(path, kind, words):
    with pytest.raises(kind, match=words), locked(path):
        pass
