"""What an HDF5 file claims to hold, and whether it can be read at all.

As a program it reads a file through, for a process that must not crash or hang with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py

__all__ = ["check_claims", "read_through"]

_LARGEST_RATIO = 1100  # of the formats' compressions; zlib's is 1032
_LEAST_SECONDS = 20.0  # for a file without an end
_BYTES_PER_SECOND = 2e7  # of a slow disk
_READ_TOGETHER = 2**24  # bytes


def check_claims(path: Path) -> None:
    """Refuse an HDF5 file that leads out of itself, or that claims more than it can hold.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ValueError
        If an array or a link of it lies in another file, which would read any file of this machine
        into the result, or if an array would be larger than the file can be uncompressed.
    Exception
        Whatever h5py raises if it is no HDF5 file.
    """
    with h5py.File(path, "r") as file:
        _check_group(file, _LARGEST_RATIO * path.stat().st_size)


def _check_group(group: h5py.Group, most: int) -> None:
    for name in group:
        where = f"{group.name}/{name}".lstrip("/")
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{where!r} is a link into another file, {link.filename}")
        if isinstance(link, h5py.SoftLink):
            continue  # to what is met in its own place
        item = group[name]
        if isinstance(item, h5py.Group):
            _check_group(item, most)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"the numbers of {where!r} are in another file")
            if item.nbytes > most and not _is_bare_dimension(item):
                raise ValueError(f"{where!r} claims {item.nbytes:.3g} bytes, more than it can hold")


def _is_bare_dimension(item: h5py.Dataset) -> bool:
    """Return whether netCDF writes an array without numbers here, for the length alone."""
    return bytes(item.attrs.get("NAME", b"")).startswith(b"This is a netCDF dimension but not")


def read_through(path: Path) -> str:
    """Return what is wrong with an HDF5 file, or "": read in another process, for a limited time.

    A damaged file can make the library loop, or crash the process that reads it.

    Parameters
    ----------
    path : Path
        The file.
    """
    limit = _LEAST_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    command = [sys.executable, "-P", __file__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"reading it does not end within {limit:.0f} s"
    if done.returncode < 0:
        return "reading it crashes"
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def _read(path: Path) -> None:
    """Read all names, attributes and numbers, a piece at a time."""
    check_claims(path)
    with h5py.File(path, "r") as file:
        dict(file.attrs)
        file.visititems(_read_item)


def _read_item(name: str, item: Any) -> None:
    try:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset) and item.size and not _is_bare_dimension(item):
            rows = item.shape[0] if item.shape else 1
            step = max(1, _READ_TOGETHER * rows // item.nbytes)
            for i in range(0, rows, step):
                item[i : i + step] if item.shape else item[()]
    except Exception as error:
        raise ValueError(f"{name!r} can't be read: {error}") from error


def _main(path: str) -> None:
    try:
        _read(Path(path))
    except Exception as error:
        raise SystemExit(" ".join(str(error).split()) or type(error).__name__) from None


if __name__ == "__main__":
    _main(sys.argv[1])
