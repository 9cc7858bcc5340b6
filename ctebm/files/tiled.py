"""Stores that are written tile by tile: data first, status last, and a list of checksums a tile.

A tile is the chunks that no other tile has a part in. Its list is written before its chunks; while
a tile is replaced, the list allows each file's old and new content, so that a kill at any moment
leaves a tile that is whole: the old one, the new one, or new numbers under the old status.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from ctebm.files.process import Process, this_process

__all__ = [
    "STATUS",
    "damaged_files",
    "digest",
    "drop_tile",
    "sweep_tiles",
    "tile_lists",
    "write_tile",
]

STATUS = "status"
"""The array whose chunk is written last; a tile without it is not finished."""

_LISTS = "ctebm.checksums/c"
_ABSENT = ""  # stands for the digest of a file that is not there


def write_tile(folder: Path, key: str, chunks: Mapping[str, bytes]) -> None:
    """Write the chunks of a tile, in place of those it had.

    Parameters
    ----------
    folder : Path
        The store.
    key : str
        The tile's place, such as ``"0/3"``.
    chunks : mapping of str to bytes
        Name of each file in the store to its content.

    Raises
    ------
    FileNotFoundError
        If the store is no longer there.
    """
    if not (folder / "zarr.json").exists():
        raise FileNotFoundError(f"{folder} was removed while it was written; start again.")
    last = f"{STATUS}/c/{key}"
    path = folder / _LISTS / key
    old = _read_list(path) if path.exists() else {}
    new = {name: [digest(content)] for name, content in chunks.items()}
    gone = {name: [_ABSENT] for name in old if name not in new}
    if old:
        names = {**old, **new}
        blank = [_ABSENT]
        both = {n: old.get(n, blank) + (new | gone).get(n, blank) for n in names}
        _put(path, _listed(both))
    else:
        _put(path, _listed(new))
    for name in sorted(chunks, key=last.__eq__):  # the status comes last
        _put(folder / name, chunks[name])
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    if old:
        _put(path, _listed(new))


def drop_tile(folder: Path, key: str) -> None:
    """Forget a tile, which then counts as never computed.

    Parameters
    ----------
    folder : Path
        The store.
    key : str
        The tile's place.
    """
    (folder / STATUS / "c" / key).unlink(missing_ok=True)
    for place in folder.glob(f"*/c/{key}"):
        if place.parts[len(folder.parts)] != _LISTS.split("/")[0]:
            for path in [place, *place.rglob("*")]:
                if path.is_file():
                    path.unlink()
    (folder / _LISTS / key).unlink(missing_ok=True)


def tile_lists(folder: Path) -> dict[str, dict[str, list[str]] | None]:
    """Return what each tile's list allows its files to be, or None for a list that can't be read.

    Parameters
    ----------
    folder : Path
        The store.
    """
    root = folder / _LISTS
    found: dict[str, dict[str, list[str]] | None] = {}
    for parent, _, names in os.walk(root):
        for name in names:
            if name.startswith("."):
                continue
            path = Path(parent, name)
            try:
                found[path.relative_to(root).as_posix()] = _read_list(path)
            except ValueError:
                found[path.relative_to(root).as_posix()] = None
    return found


def damaged_files(folder: Path, key: str) -> list[tuple[str, bool]]:
    """Return the files of a tile that are not what its list allows, and whether they are missing.

    Parameters
    ----------
    folder : Path
        The store.
    key : str
        The tile's place.
    """
    path = folder / _LISTS / key
    while True:
        before = path.read_bytes()
        found = [*_damaged(folder, _read_list(path))]
        if not found or path.read_bytes() == before:  # else it is being replaced
            return found


def _damaged(folder: Path, allowed: Mapping[str, list[str]]) -> Iterator[tuple[str, bool]]:
    for name, digests in allowed.items():
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            if _ABSENT not in digests:
                yield name, True
            continue
        if digest(content) not in digests:
            yield name, False


def sweep_tiles(folder: Path) -> None:
    """Remove half-written files of processes that have ended.

    Parameters
    ----------
    folder : Path
        The store.
    """
    for path in folder.rglob(".*.partial"):
        owner = Process.parse(path.name.removeprefix(".").split(".", 1)[1].rsplit(".", 2)[0])
        if owner is not None and owner.is_gone():
            path.unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content.

    Examples
    --------
    >>> from ctebm.files.tiled import digest
    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def _listed(allowed: Mapping[str, list[str]]) -> bytes:
    files = {name: sorted(set(digests)) for name, digests in allowed.items()}
    text = json.dumps(files, sort_keys=True, indent=0)
    return f"{text}\n{digest(text.encode())}\n".encode()


def _read_list(path: Path) -> dict[str, list[str]]:
    text, _, check = path.read_bytes().decode().rstrip("\n").rpartition("\n")
    if digest(text.encode()) != check:
        raise ValueError("its list of checksums is damaged")
    found: Any = json.loads(text)
    if any(name.startswith("/") or ".." in name.split("/") for name in found):
        raise ValueError("its list of checksums leads out of the store")
    return found


@cache
def _tag(pid: int) -> str:
    """Return the tag of this process, which a fork of it must not inherit."""
    return this_process().tag()


def _put(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    aside = path.with_name(f".{path.name}.{_tag(os.getpid())}.{uuid4().hex[:8]}.partial")
    try:
        try:
            aside.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(
            f"can't write {path} ({error.strerror or error}); what is finished is kept: make room, "
            "and start again."
        ) from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
