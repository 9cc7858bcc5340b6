"""What takes a place is whole, one of several writers has it, and nothing is left beside it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ctebm
from ctebm.files import replacement
from ctebm.files.process import Process, this_process
from ctebm.files.replacement import former_of, replacing, restored

ROOT = Path(ctebm.__file__).parents[1]
ELSEWHERE = Process(1, "0", "elsewhere")


def write(path: Path, text: str, folder: bool, overwrite: bool = True) -> None:
    with replacing(path, overwrite) as aside:
        if folder:
            (aside / "c").mkdir(parents=True)
            (aside / "c" / "0").write_text(text)
        (aside / "zarr.json" if folder else aside).write_text(text)


def read(path: Path) -> str:
    return (path / "zarr.json" if path.is_dir() else path).read_text()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_former_folder_gives_way_to_one_put_there_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is free when it is looked at; a moment later another writer has taken it."""
    place = tmp_path / "r"
    former = replacement._beside(place, "former")
    write(place, "new", folder=True)
    write(former, "old", folder=True)
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    replacement._clear(place, [former])
    assert read(place) == "new" and names(tmp_path) == ["r"]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
class TestPlace:
    def test_one_of_many_writers_succeeds(self, folder: bool, tmp_path: Path) -> None:
        done, refused, together = [], [], threading.Barrier(8)

        def writer(i: int) -> None:
            together.wait()
            try:
                write(tmp_path / "r", str(i), folder, overwrite=False)
                done.append(str(i))
            except FileExistsError:
                refused.append(i)

        threads = [threading.Thread(target=writer, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1 and len(refused) == 7
        assert read(tmp_path / "r") == done[0]
        assert names(tmp_path) == ["r"]

    @pytest.mark.parametrize("attempt", range(5))
    def test_many_overwriters_leave_one_whole_result(
        self, attempt: int, folder: bool, tmp_path: Path
    ) -> None:
        write(tmp_path / "r", "old", folder)
        failed: list[Exception] = []

        def writer(i: int) -> None:
            try:
                write(tmp_path / "r", str(i), folder)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=writer, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert read(tmp_path / "r") in set("01234567")
        assert names(tmp_path) == ["r"]

    def test_a_link_stays_and_its_target_is_replaced(self, folder: bool, tmp_path: Path) -> None:
        (tmp_path / "scratch").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "scratch" / "r")
        for text in ("new", "newer"):  # at first there is no target
            write(tmp_path / "link", text, folder)
            assert (tmp_path / "link").is_symlink()
            assert read(tmp_path / "scratch" / "r") == text
        assert names(tmp_path / "scratch") == ["r"]

    def test_permissions_are_handed_on(self, folder: bool, tmp_path: Path) -> None:
        write(tmp_path / "r", "old", folder)
        for path in [tmp_path / "r", *(tmp_path / "r").rglob("*")]:
            path.chmod(0o750 if path.is_dir() else 0o640)
        write(tmp_path / "r", "new", folder)
        for path in [tmp_path / "r", *(tmp_path / "r").rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)

    def test_a_long_name(self, folder: bool, tmp_path: Path) -> None:
        write(tmp_path / ("r" * 255), "new", folder)
        assert names(tmp_path) == ["r" * 255]

    def test_a_kill_is_swept_by_the_next_writer(self, folder: bool, tmp_path: Path) -> None:
        path = tmp_path / "r"
        write(path, "old", folder)
        gone = Process(this_process().pid, "0", this_process().host)
        for owner, kind in ((gone, "partial"), (gone, "former"), (this_process(), "partial"),
                            (ELSEWHERE, "partial")):  # fmt: skip
            left = tmp_path / f".r.{owner.tag()}.0123abcd.{kind}"
            left.mkdir() if folder else left.write_text("half")
        kept = [f".r.{owner.tag()}.0123abcd.partial" for owner in (this_process(), ELSEWHERE)]
        write(path, "new", folder)
        assert names(tmp_path) == sorted([*kept, "r"])
        os.utime(tmp_path / kept[1], (0, 0))  # no machine writes for years
        write(path, "newer", folder)
        assert names(tmp_path) == sorted([kept[0], "r"])


def test_without_hard_links_one_writer_succeeds_too(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no hard links")

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "r", "first", False, overwrite=False)
    with pytest.raises(FileExistsError):
        write(tmp_path / "r", "second", False, overwrite=False)
    assert read(tmp_path / "r") == "first"
    assert names(tmp_path) == ["r"]


def test_a_second_name_of_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "main").write_text("secret")
    (tmp_path / "main").chmod(0o600)
    (tmp_path / "previous").write_text("old")
    with replacing(tmp_path / "previous") as aside:
        os.link(tmp_path / "main", aside)
    assert (tmp_path / "main").stat().st_mode & 0o777 == 0o600


class TestBetweenTwoRenames:
    """A folder is moved out of the way before the new one takes its place."""

    def leave(self, path: Path, owner: Process) -> Path:
        write(path, "old", True)
        return path.rename(path.with_name(f".r.{owner.tag()}.0123abcd.former"))

    def test_the_folder_of_a_killed_process_is_put_back(self, tmp_path: Path) -> None:
        self.leave(tmp_path / "r", Process(this_process().pid, "0", this_process().host))
        assert restored(tmp_path / "r")
        assert read(tmp_path / "r") == "old"
        assert names(tmp_path) == ["r"]

    @pytest.mark.parametrize("owner", [this_process(), ELSEWHERE], ids=["running", "unknown"])
    def test_that_of_another_is_named(self, tmp_path: Path, owner: Process) -> None:
        left = self.leave(tmp_path / "r", owner)
        assert not restored(tmp_path / "r")
        assert former_of(tmp_path / "r") == (left, owner)
        assert former_of(tmp_path / "other") is None


WRITER = """
import sys, time
from pathlib import Path
from ctebm.files.replacement import replacing
with replacing(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def stop_a_writer(path: Path, *numbers: int, ignored: int | None = None) -> int:
    """Send signals to a process that writes here, and return its exit code."""

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=prepare
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        for number in numbers:
            process.send_signal(number)
        return process.wait(timeout=30)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing_and_ends_the_process(tmp_path, name):
    (tmp_path / "r").write_text("old")
    number = getattr(signal, name)
    assert stop_a_writer(tmp_path / "r", number) == -number
    assert names(tmp_path) == ["r"] and read(tmp_path / "r") == "old"


def test_a_kill_leaves_what_the_next_writer_sweeps(tmp_path):
    (tmp_path / "r").write_text("old")
    assert stop_a_writer(tmp_path / "r", signal.SIGKILL) == -signal.SIGKILL
    assert len(names(tmp_path)) == 2 and read(tmp_path / "r") == "old"
    write(tmp_path / "r", "new", False)
    assert names(tmp_path) == ["r"]


def test_an_ignored_signal_stays_ignored(tmp_path):
    code = stop_a_writer(tmp_path / "r", signal.SIGHUP, signal.SIGTERM, ignored=signal.SIGHUP)
    assert code == -signal.SIGTERM
    assert names(tmp_path) == []


def test_a_folder_that_can_not_be_removed_is_left_after_a_while(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(replacement.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(replacement.time, "sleep", slept.append)
    (tmp_path / ".r.partial").mkdir()
    replacement._clear(tmp_path / "r", [tmp_path / ".r.partial"])
    assert sum(slept) == pytest.approx(replacement._PATIENCE)
