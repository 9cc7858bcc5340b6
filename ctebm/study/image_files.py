"""Files of labelled images: IDX with the labels in a second file, ``.npz``, ``.csv`` and ``.nc``.

An IDX file may be compressed by gzip.
"""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ctebm.files.netcdf import check_netcdf

__all__ = ["read_image_file"]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LARGEST_RATIO = 1100  # of gzip's compression; zlib's bound is 1032
_OTHER = (".npy", ".txt", ".tsv", ".mat", ".pt", ".pkl", ".png", ".jpg", ".zip", ".h5", ".parquet")
_INPUT_NAMES = ("input", "images", "x")
_LABEL_NAMES = ("label", "labels", "y")


def read_image_file(data: Path, labels: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw pixels and labels of a file.

    Parameters
    ----------
    data : path
        A file of images.
    labels : path, optional
        The IDX file of labels, if `data` is IDX.

    Returns
    -------
    ndarray, (sample, pixel ...), and ndarray
        As they stand in the file, unchecked.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged or has none of the arrays that are looked for.

    Examples
    --------
    >>> from pathlib import Path
    >>> from ctebm.study.image_files import read_image_file
    >>> read_image_file(Path("nowhere.npz"))
    Traceback (most recent call last):
    FileNotFoundError: there is no file nowhere.npz; check the path.
    """
    reader = {".npz": _read_npz, ".csv": _read_csv, ".nc": _read_netcdf}.get(data.suffix)
    for path in (data, labels):
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"expected a file of images, got the folder {path}.")
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the path.")
    if reader is None and data.suffix in _OTHER:
        raise ValueError(
            f"expected an IDX file or a name ending in .npz, .csv or .nc, got {data}; write the "
            "images with numpy.savez(path, images=..., labels=...)."
        )
    if reader is None:
        if labels is None:
            raise ValueError(f"{data} is read as IDX, whose labels are a second file; name it too.")
        return _read_idx(data), _read_idx(labels)
    if labels is not None:
        raise ValueError(f"{data} holds its own labels; leave out the labels file {labels}.")
    return reader(data)


def _read_idx(path: Path) -> np.ndarray:
    """Read no more of a file than its header asks for, however much a compressed one holds."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    most = path.stat().st_size * (_LARGEST_RATIO if compressed else 1)
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            head = file.read(4)
            kind, n_axes = (head[2], head[3]) if len(head) == 4 else (0, 0)
            if head[:2] != b"\0\0" or kind not in _IDX_TYPES or n_axes == 0:
                raise ValueError(
                    f"{path} is not IDX (its magic number is 0x{head.hex()}); expected an IDX "
                    "file, gzip-compressed or not, or a name ending in .npz, .csv or .nc."
                )
            dtype, sizes = np.dtype(_IDX_TYPES[kind]), file.read(4 * n_axes)
            shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * n_axes, 4)]
            expected = dtype.itemsize * math.prod(shape)
            content = file.read(expected + 1) if expected <= most else b""
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, "gzip", error) from error
    if len(sizes) < 4 * n_axes or len(content) != expected:
        got = f"more than {expected}" if len(content) > expected else f"{len(content)}"
        raise ValueError(
            f"{path} is damaged: its IDX header asks for {expected} bytes of numbers, got {got}; "
            "fetch it again."
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            known = [*_INPUT_NAMES, *_LABEL_NAMES]
            arrays = {name: file[name] if name in known else None for name in file.files}
    except PermissionError:
        raise
    except Exception as error:  # of a damaged file numpy and zipfile raise whatever they come upon
        # numpy's own words advise to load what may run code
        reason = "it is no archive of plain arrays"
        raise _damaged(path, "npz", ValueError(reason)) from error
    return _pick(arrays, _INPUT_NAMES, path), _pick(arrays, _LABEL_NAMES, path)


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = not any(map(_is_number, file.readline().split(",")))
        with warnings.catch_warnings(action="ignore"):  # of an empty file, refused below
            table = np.loadtxt(
                path, delimiter=",", skiprows=int(header), ndmin=2, encoding="utf-8-sig"
            )
    except ValueError as error:
        raise _damaged(path, "csv", error) from error
    return table[:, 1:], table[:, 0]


def _read_netcdf(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        check_netcdf(path)
        dataset = xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    except PermissionError:
        raise
    except Exception as error:  # of a damaged file the libraries raise whatever they come upon
        raise _damaged(path, "netCDF", error) from error
    with dataset:
        return _pick(dataset, ("input",), path), _pick(dataset, ("target",), path)


def _pick(arrays: Mapping[Any, Any], names: tuple[str, ...], path: Path) -> np.ndarray:
    for name in names:
        if name in arrays:
            return np.asarray(arrays[name])
    found = ", ".join(sorted(map(str, arrays))) or "none"
    raise ValueError(f"{path} needs an array {' or '.join(names)}, got {found}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} is damaged or not {kind} ({reason}); fetch or write it again.")
