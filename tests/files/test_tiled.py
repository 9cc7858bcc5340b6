"""Tiles of a store: written data first, status last, whole whatever stops it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from ctebm.files import tiled
from ctebm.files.tiled import damaged_files, drop_tile, sweep_tiles, tile_lists, write_tile

OLD = {"status/c/0/1": b"\1", "value/c/0/1/0": b"old", "message/c/0/1": b"words"}
NEW = {"status/c/0/1": b"\2", "value/c/0/1/0": b"new"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "zarr.json").write_text("{}")
    return tmp_path


class Stopped(BaseException):
    """What a kill is to the process that writes."""


def stop_after(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Let the n-th file and all later ones not be written."""
    put, written = tiled._put, []

    def counted(path: Path, content: bytes) -> None:
        if len(written) == n:
            raise Stopped
        written.append(path)
        put(path, content)

    monkeypatch.setattr(tiled, "_put", counted)


def test_the_status_is_written_last(folder, monkeypatch):
    order, put = [], tiled._put
    monkeypatch.setattr(tiled, "_put", lambda p, c: (order.append(p.name), put(p, c)))
    write_tile(folder, "0/1", OLD)
    assert (folder / "status/c/0/1").read_bytes() == b"\1"
    assert order == ["1", "0", "1", "1"] and damaged_files(folder, "0/1") == []
    assert tile_lists(folder) == {"0/1": {n: [tiled.digest(c)] for n, c in OLD.items()}}


@pytest.mark.parametrize("n", range(5))
def test_a_tile_that_is_replaced_is_whole_at_every_moment(folder, monkeypatch, n):
    write_tile(folder, "0/1", OLD)
    with monkeypatch.context() as patched:
        stop_after(patched, n)
        try:
            write_tile(folder, "0/1", NEW)
        except Stopped:
            assert n < 4
    assert damaged_files(folder, "0/1") == []
    write_tile(folder, "0/1", NEW)
    assert damaged_files(folder, "0/1") == []
    assert not (folder / "message/c/0/1").exists()
    assert tile_lists(folder) == {"0/1": {n: [tiled.digest(c)] for n, c in NEW.items()}}


def test_damage_is_found_and_forgotten(folder):
    write_tile(folder, "0/1", OLD)
    write_tile(folder, "0/2", {"status/c/0/2": b"\1", "value/c/0/2/0": b"other"})
    (folder / "value/c/0/1/0").write_bytes(b"odd")
    (folder / "message/c/0/1").unlink()
    assert sorted(damaged_files(folder, "0/1")) == [
        ("message/c/0/1", True), ("value/c/0/1/0", False)
    ]  # fmt: skip
    drop_tile(folder, "0/1")
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert left == {"zarr.json", "ctebm.checksums/c/0/2", "status/c/0/2", "value/c/0/2/0"}


def test_a_list_that_is_damaged_or_leads_out_is_none(folder):
    write_tile(folder, "0", {"status/c/0": b"\1"})
    path = folder / "ctebm.checksums/c/0"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"status", b"statuS"))
    assert tile_lists(folder) == {"0": None}
    text = b'{"../secret": ["0"]}'
    path.write_bytes(text + b"\n" + tiled.digest(text).encode() + b"\n")
    assert tile_lists(folder) == {"0": None}


def test_a_store_that_was_removed_is_not_made_again(folder):
    (folder / "zarr.json").unlink()
    with pytest.raises(FileNotFoundError, match="was removed while it was written"):
        write_tile(folder, "0", {"status/c/0": b"\1"})
    assert not any(folder.iterdir())


def test_half_written_files_of_ended_processes_are_swept(folder):
    gone, here = folder / ".0.999999-1-nowhere.aa.partial", None
    from ctebm.files.process import this_process

    host = this_process().host
    dead = folder / f".0.999999-1-{host}.0a0b0c0d.partial"
    here = folder / f".0.{this_process().tag()}.0a0b0c0d.partial"
    for path in (gone, dead, here):
        path.write_text("half")
    sweep_tiles(folder)
    assert gone.exists() and here.exists() and not dead.exists()


def test_what_cannot_be_written_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match=r"can't write .* \(full\); what is finished is kept"):
        write_tile(folder, "0", {"status/c/0": b"\1"})
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"]


def test_a_tile_that_is_dropped_leaves_nothing_and_may_be_dropped_again(folder):
    write_tile(folder, "0/1", OLD)
    for _ in range(2):
        drop_tile(folder, "0/1")
        assert [path for path in folder.rglob("*") if path.is_file()] == [folder / "zarr.json"]


def own_tag() -> str:
    return tiled._tag(os.getpid())


def test_files_of_a_fork_are_its_own():
    """Else what it leaves when it is killed would stay for as long as its parent lives."""
    tag = own_tag()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(own_tag) != tag
