"""Checksums of a netCDF file, behind its end, where other readers don't look.

A file is sealed by one line of JSON and one of text after its last byte: digests of its pieces,
none of which holds parts of two variables, and where each variable lies. Checking takes one reading
of the file and happens before the netCDF library, which can crash or loop on a damaged file, sees
it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from ctebm.files.hdf5 import check_claims, read_through

try:
    import resource
except ImportError:  # there are none of these limits on Windows
    resource = None

__all__ = ["check_netcdf", "check_room", "seal_netcdf"]

_LINE = b"ctebm checksums %012d %s\n"
_LINE_LENGTH = len(_LINE % (0, b"0" * 64))
_LINE_PATTERN = rb"ctebm checksums (\d{12}) ([0-9a-f]{64})\n"
_DESCRIPTION = 2048  # bytes at most that words, units and place of an array usually take
_LEAST_PIECE = 1024  # bytes
_MOST_PIECES = 1024
_HDF5 = b"\x89HDF\r\n\x1a\n"  # begins a superblock; its version comes next
_FIRST_NEW_SUPERBLOCK = 2  # version of the format in which the end of the file moved
_END_ADDRESS_OLD, _END_ADDRESS = 40, 28  # where a superblock says where the file ends, in 8 bytes
_DIGEST = 32  # hexadecimal digits of SHA-256 that are kept for a piece


def check_room(path: Path, n_bytes: int, n_variables: int) -> None:
    """Refuse to begin a file that its disk, or the process' limit on a file, has no room for.

    The library for HDF5 can crash the process where it can't write on.

    Parameters
    ----------
    path : Path
        Where the file will be.
    n_bytes, n_variables : int
        Of its numbers, and how many arrays they are.

    Raises
    ------
    OSError
        With the bytes that are needed and free.
    """
    needed = n_bytes + _DESCRIPTION * n_variables
    free = shutil.disk_usage(path.parent).free
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        free = free if limit == resource.RLIM_INFINITY else min(free, limit)
    if needed > free:
        raise OSError(errno.ENOSPC, f"it takes {needed} bytes, and {free} are free")


def seal_netcdf(path: Path) -> None:
    """Add checksums to a netCDF file.

    Parameters
    ----------
    path : Path
        A file without them, just written.
    """
    size = path.stat().st_size
    places = _places(path)
    cuts = {*range(0, size, max(_LEAST_PIECE, -(-size // _MOST_PIECES))), size}
    for place in places.values():
        cuts |= {place["offset"], place["offset"] + _n_bytes(place)}
    with path.open("rb") as file:
        digests = "".join(_digests(file, sorted(cuts)))
    record = {"cuts": sorted(cuts), "sha256": digests, "variables": places}
    text = b"\n" + json.dumps(record, sort_keys=True).encode() + b"\n"
    with path.open("ab") as file:
        file.write(text + _LINE % (len(text), hashlib.sha256(text).hexdigest().encode()))
        file.flush()
        os.fsync(file.fileno())


def check_netcdf(path: Path, verify: bool = True) -> bool:
    """Refuse a damaged netCDF file, or one that leads out of itself; return whether it is sealed.

    A file that is not sealed, such as one of another program, is read through in another process.

    Parameters
    ----------
    path : Path
        The file.
    verify : bool
        False to look at its structure alone.

    Raises
    ------
    ValueError
        With a sentence on what is damaged.
    """
    if not path.is_file():
        raise ValueError("it is no file")
    sealed = _check_seal(path) if verify else False
    if verify and not sealed and _more_than_hdf5(path):
        raise ValueError("its checksums are damaged")
    if verify and not sealed and (reason := read_through(path)):
        raise ValueError(reason)
    check_claims(path)
    return sealed


def _check_seal(path: Path) -> bool:
    """Refuse a file that is not what was sealed; return False if it never was."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _LINE_LENGTH))
        line = re.fullmatch(_LINE_PATTERN, file.read())
        if line is None:
            return False
        begin = end - _LINE_LENGTH - int(line[1])
        file.seek(max(0, begin))
        text = file.read(int(line[1]))
        if hashlib.sha256(text).hexdigest().encode() != line[2]:
            raise ValueError("its checksums don't agree with their own")
        record = json.loads(text)
        cuts, digests = record["cuts"], record["sha256"]
        if begin != cuts[-1]:
            raise ValueError(f"it has {begin} bytes instead of {cuts[-1]}")
        file.seek(0)
        bad = [
            _what_lies(cuts[i], cuts[i + 1], record["variables"])
            for i, digest in enumerate(_digests(file, cuts))
            if digest != digests[_DIGEST * i : _DIGEST * (i + 1)]
        ]
    if bad:
        raise ValueError(f"checksums differ in {', '.join(dict.fromkeys(bad))}")
    return True


def _more_than_hdf5(path: Path) -> bool:
    """Return whether there is something behind the end of an HDF5 file, as only checksums are.

    A file whose last pages were never written, and read as zeros, has lost its checksums with them.
    """
    with path.open("rb") as file:
        start = file.read(48)
    if not start.startswith(_HDF5):
        return False
    place = _END_ADDRESS_OLD if start[len(_HDF5)] < _FIRST_NEW_SUPERBLOCK else _END_ADDRESS
    return path.stat().st_size > int.from_bytes(start[place : place + 8], "little")


def _digests(file: BinaryIO, cuts: Sequence[int]) -> Iterator[str]:
    """Yield the digest of each piece of a file."""
    for begin, end in pairwise(cuts):
        yield hashlib.sha256(file.read(end - begin)).hexdigest()[:_DIGEST]


def _places(path: Path) -> dict[str, dict[str, Any]]:
    """Return where the numbers of each variable lie in a file, those of strings left out."""
    places: dict[str, dict[str, Any]] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind != "O":
            offset = item.id.get_offset()
            if offset is not None:
                shape = list(item.shape)
                places[name] = {"offset": offset, "item": item.dtype.itemsize, "shape": shape}

    with h5py.File(path, "r") as file:
        file.visititems(add)
        for name, place in places.items():
            place["dims"] = _dimensions(file[name])
    return places


def _dimensions(item: Any) -> list[str]:
    return [scale[0].name.rpartition("/")[2] if len(scale) else "" for scale in item.dims]


def _what_lies(begin: int, end: int, places: Mapping[str, Mapping[str, Any]]) -> str:
    """Return in words what is in a piece: a variable, and which part of it."""
    for name, place in places.items():
        first, last = begin - place["offset"], end - place["offset"] - 1
        if 0 <= first <= last < _n_bytes(place):
            return repr(name) + _part(place, first // place["item"], last // place["item"])
    return "names, texts or structure"


def _n_bytes(place: Mapping[str, Any]) -> int:
    return place["item"] * math.prod(place["shape"])


def _part(place: Mapping[str, Any], first: int, last: int) -> str:
    shape = place["shape"]
    if not shape:
        return ""
    rows = [int(np.unravel_index(i, shape)[0]) for i in (first, last)]
    dim = place["dims"][0] or "row"
    return f" ({dim} {rows[0]})" if rows[0] == rows[1] else f" ({dim} {rows[0]} to {rows[1]})"
