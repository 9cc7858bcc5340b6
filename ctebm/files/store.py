"""Checksums of a Zarr store, in a group of its own that readers of the results don't see.

The list names every file of the store, so that a chunk that is missing is an error; Zarr itself
would read it as zeros.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ctebm.files.tiled import STATUS, damaged_files, tile_lists

__all__ = [
    "MARK",
    "check_claims",
    "check_store",
    "damages",
    "remedy",
    "seal_store",
    "shared_damages",
]

MARK = {"ctebm_checksums": "ctebm.checksums"}
"""Attribute of a sealed store; without it a store that lost its list would be one that never had
any."""

_LARGEST_RATIO = 1100  # of a compression; chunks of one number are not written at all, so that
_ALLOWED = 2**31  # bytes may be claimed by a store without any

_LIST = "ctebm.checksums/zarr.json"
_STATUS = f"{STATUS}/c/"  # the chunk of a tile that says that it is finished
_GROUP = {"zarr_format": 3, "node_type": "group"}


def seal_store(folder: Path) -> None:
    """Add the list of checksums to a store whose attributes hold :data:`MARK`.

    Parameters
    ----------
    folder : Path
        A store, just written.
    """
    files = {name: _digest(folder / name) for name in _names(folder)}
    attributes = {"files": files, "files_sha256": _digest_of(files)}
    path = folder / _LIST
    path.parent.mkdir()
    path.write_text(json.dumps(_GROUP | {"attributes": attributes}, indent=1))


def check_store(folder: Path) -> bool:
    """Refuse a store in which a file is missing, damaged or more; return whether it is sealed.

    Parameters
    ----------
    folder : Path
        The store.

    Raises
    ------
    ValueError
        With a sentence on what is damaged.
    """
    if _listed(folder) is None:
        return False
    for _, sentence in damages(folder):
        raise ValueError(sentence)
    return True


def remedy(path: Path) -> str:
    """Return what to do about damage in a result that may be a sweep's.

    Parameters
    ----------
    path : Path
        A file or a store.
    """
    if tile_lists(path):
        return "repair it ('sweep verify PATH --repair' of a study, or forget_damaged)"
    return "write it again"


def damages(folder: Path) -> Iterator[tuple[str | None, str]]:
    """Yield what is damaged in a sealed store: the tile, or None, and a sentence.

    Of a store that is written tile by tile, a tile that is not finished is no damage.

    Parameters
    ----------
    folder : Path
        The store.

    Raises
    ------
    ValueError
        If the list of checksums itself is damaged.
    """
    listed, found = _listed(folder) or {}, set(_names(folder))
    tiles = tile_lists(folder)  # after the files, since a tile's list is written before them
    yield from ((None, sentence) for sentence in shared_damages(folder))
    finished = [name.removeprefix(_STATUS) for name in found if name.startswith(_STATUS)]
    no_list = {key for key in finished if tiles.get(key) is None} if tiles else set()
    for key in sorted(no_list):
        yield key, f"the list of checksums of tile {key} is missing or damaged"
    for key in finished if tiles else ():
        for name, missing in () if key in no_list else damaged_files(folder, key):
            words = _in_words(folder, name)
            yield key, f"{words} is missing" if missing else f"checksums differ in {words}"
    of_tiles = {name for allowed in tiles.values() for name in allowed or {}}
    for name in sorted(found - set(listed) - of_tiles):
        if not any(f"/c/{key}" in name for key in no_list):
            yield None, f"{_in_words(folder, name)} is not of it"


def shared_damages(folder: Path) -> Iterator[str]:
    """Yield what is damaged of the files that no tile has for itself, and every link.

    Behind a link may lie any folder of this machine.

    Parameters
    ----------
    folder : Path
        The store, which may be a link itself.

    Raises
    ------
    ValueError
        If the list of checksums itself is damaged.
    """
    for parent, folders, names in os.walk(folder):
        for name in sorted((*folders, *names)):
            path = Path(parent, name)
            if path.is_symlink():
                yield f"{_in_words(folder, path.relative_to(folder).as_posix())} is a link"
    listed = _listed(folder) or {}
    for name, digest in sorted(listed.items(), key=lambda item: item[0].endswith("zarr.json")):
        if not (folder / name).is_file():
            yield f"{_in_words(folder, name)} is missing"
        elif _digest(folder / name) != digest:
            yield f"checksums differ in {_in_words(folder, name)}"


def check_claims(folder: Path, sizes: Mapping[Hashable, int]) -> None:
    """Refuse a store without checksums that claims far more than it can hold.

    Parameters
    ----------
    folder : Path
        The store.
    sizes : mapping of str to int
        Bytes of each of its arrays.

    Raises
    ------
    ValueError
        For an array that would take longer to read than its files could fill.
    """
    held = sum((folder / name).stat().st_size for name in _names(folder))
    for name, size in sizes.items():
        if size > max(_LARGEST_RATIO * held, _ALLOWED):
            raise ValueError(f"{name!r} claims {size:.3g} bytes, more than it can hold")


def _listed(folder: Path) -> dict[str, str] | None:
    """Return the digests of the files of a store, or None if it was never sealed."""
    path = folder / _LIST
    if not path.exists():
        if next(iter(MARK)) in (folder / "zarr.json").read_text():
            raise ValueError(
                "its list of checksums is missing, as in a copy that was broken off or that "
                "another program made"
            )
        return None
    try:
        attributes = json.loads(path.read_bytes())["attributes"]
        files, digest = attributes["files"], attributes["files_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its list of checksums can't be read") from error
    if _digest_of(files) != digest:
        raise ValueError("its list of checksums is damaged")
    return files


def _names(folder: Path) -> list[str]:
    """Return the files that Zarr reads: descriptions and chunks."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    chunk = r"(^|/)(zarr\.json|c|c/(?!.*\.partial$).*)$"
    own = _LIST.partition("/")[0]
    return [n for n in names if re.search(chunk, n) and n.partition("/")[0] != own]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _in_words(folder: Path, name: str) -> str:
    """Return what a file of a store is: a description, or a chunk and what it holds."""
    variable, _, key = name.removesuffix("/zarr.json").partition("/c/")
    if name == "zarr.json":
        return "the attributes of the dataset"
    if name.endswith("/zarr.json"):
        return f"the description of {variable!r}"
    variable = variable.removesuffix("/c")
    if not key:
        return repr(variable)
    chunk = [int(i) if i.isdecimal() else 0 for i in key.split("/")]
    try:
        array = json.loads((folder / variable / "zarr.json").read_bytes())
        size = array["chunk_grid"]["configuration"]["chunk_shape"][0]
        rows = range(chunk[0] * size, min((chunk[0] + 1) * size, array["shape"][0]))
        dim = (array.get("dimension_names") or ["row"])[0]
        return f"{variable!r} ({dim} {rows[0]} to {rows[-1]}, chunk {key})"
    except (ValueError, KeyError, TypeError, IndexError, OSError, RecursionError):
        return f"{variable!r} (chunk {key})"
