"""Labelled images as rates: the digits of scikit-learn, or a file of the user's own.

A file is IDX (gzip-compressed or not, with the labels in a second IDX file), ``.npz``, ``.csv`` or
``.nc``. The first `n_samples` in the order of the file are taken, so that a choice of samples needs
no seed.
"""

from __future__ import annotations

import gzip
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["Images", "load_images"]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_INPUT_NAMES = ("input", "images", "x")
_LABEL_NAMES = ("label", "labels", "y")


@dataclass(frozen=True)
class Images:
    """Images in file order.

    Attributes
    ----------
    input : numpy.ndarray
        Rates in [0, 1], float64, of shape ``(sample, pixel)``.
    label : numpy.ndarray
        Classes from 0, int64, of shape ``(sample,)``.
    n_classes : int
        Number of classes in the whole file: its largest label plus one, or its one-hot columns.
    name : str
        ``"digits"`` or the file's name.
    note : str
        How pixels became rates.
    """

    input: np.ndarray
    label: np.ndarray
    n_classes: int
    name: str
    note: str


def load_images(
    data: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    n_samples: int | None = None,
) -> Images:
    """Return the first `n_samples` images of `data`, or of scikit-learn's digits.

    Whole-number pixels beyond 1 are taken as bytes and divided by 255 (16-bit unsigned ones by
    65535); other pixels must lie in [0, 1] already. The whole file is checked, not the first
    `n_samples` only.

    Parameters
    ----------
    data : path, optional
        One of: an IDX file of images; an ``.npz`` with an array ``input``, ``images`` or ``x`` and
        one ``label``, ``labels`` or ``y``; a ``.csv`` with the label in the first column and an
        optional header; a netCDF file ``.nc`` with ``input`` and ``target``. Samples come first;
        labels are whole numbers from 0, or one-hot rows.
    labels : path, optional
        The IDX file of labels, if `data` is IDX.
    n_samples : int, optional
        How many; all if None.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or its contents aren't labelled images.
    """
    data = None if data is None else Path(data)
    labels = None if labels is None else Path(labels)
    if data is None:
        if labels is not None:
            raise ValueError(f"labels {labels} were given without data; give the images too.")
        pixels, target, scaling = _digits()
    else:
        pixels, target = _read(data, labels)
        scaling = _scaling(pixels, data)
    name = "digits" if data is None else data.name
    label, n_classes = _as_labels(target, labels or data or Path(name))
    if pixels.ndim < 2 or pixels.size == 0:
        raise ValueError(
            f"{name} holds no images: expected an array (sample, pixel ...), got shape "
            f"{pixels.shape}."
        )
    if len(pixels) != len(label):
        raise ValueError(
            f"{name} has {len(pixels)} images but {len(label)} labels; give the labels that "
            "belong to these images."
        )
    if n_samples is not None and not 1 <= n_samples <= len(pixels):
        raise ValueError(f"{name} has {len(pixels)} samples, got n_samples = {n_samples}.")
    rates = pixels[:n_samples].reshape(len(label[:n_samples]), -1).astype(np.float64)
    note = f"pixels divided by {scaling}" if scaling != 1 else "pixels as they are"
    return Images(rates / scaling, label[:n_samples], n_classes, name, note)


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(target), 16


def _read(data: Path, labels: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return raw pixels and labels, whatever the format."""
    reader = {".npz": _read_npz, ".csv": _read_csv, ".nc": _read_netcdf}.get(data.suffix)
    for path in (data, labels):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the path.")
    if reader is None:
        if labels is None:
            raise ValueError(f"{data} is read as IDX, whose labels are a second file; name it too.")
        return _read_idx(data), _read_idx(labels)
    if labels is not None:
        raise ValueError(f"{data} holds its own labels; leave out the labels file {labels}.")
    return reader(data)


def _read_idx(path: Path) -> np.ndarray:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(path, "gzip", error) from error
    kind, n_axes = (content[2], content[3]) if len(content) >= 4 else (0, 0)
    if content[:2] != b"\0\0" or kind not in _IDX_TYPES or n_axes == 0:
        raise ValueError(
            f"{path} is not IDX (its magic number is 0x{content[:4].hex()}); "
            "expected an IDX file, gzip-compressed or not, or a name ending in .npz, .csv or .nc."
        )
    dtype = np.dtype(_IDX_TYPES[kind])
    header = 4 + 4 * n_axes
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + dtype.itemsize * math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{path} is damaged: its IDX header asks for {expected} bytes, got {len(content)}; "
            "fetch it again."
        )
    array = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, "npz", error) from error
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
        dataset = xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, "netCDF", error) from error
    with dataset:
        return _pick(dataset, ("input",), path), _pick(dataset, ("target",), path)


def _pick(arrays: Mapping[Any, Any], names: tuple[str, ...], path: Path) -> np.ndarray:
    for name in names:
        if name in arrays:
            return np.asarray(arrays[name])
    found = ", ".join(sorted(map(str, arrays))) or "none"
    raise ValueError(f"{path} needs an array {' or '.join(names)}, got {found}.")


def _scaling(pixels: np.ndarray, path: Path) -> int:
    """Return what to divide pixels by, or refuse them."""
    if pixels.size == 0:
        return 1
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"{path} has pixels of type {pixels.dtype}; expected real numbers.")
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{path} has pixels that are NaN or infinite; remove these samples.")
    text = path.suffix == ".csv"  # which says nothing of types
    whole = high > 1 and (pixels.dtype.kind in "ui" or (text and _is_whole(pixels)))
    top = 1 if not whole else 65535 if pixels.dtype == np.uint16 else 255
    if low < 0 or high > top:
        raise ValueError(
            f"{path} has pixels from {low:g} to {high:g}; expected bytes 0 to 255 or rates in "
            "[0, 1]: rescale them."
        )
    return top


def _as_labels(target: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Return labels and the number of classes of whole numbers or one-hot rows."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim not in (1, 2) or target.size == 0 or target.dtype.kind not in "buif":
        raise ValueError(
            f"{path} holds no labels: expected one whole number or one-hot row a sample, got "
            f"{target.dtype} of shape {target.shape}."
        )
    if target.ndim == 2:
        if not (np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all()):
            raise ValueError(f"{path} has rows of labels that aren't one-hot; write a single 1.")
        return target.argmax(axis=1).astype(np.int64), target.shape[1]
    if not _is_whole(target) or target.min() < 0 or target.max() >= 2**31:
        raise ValueError(
            f"{path} has labels from {target.min():g} to {target.max():g}; expected whole numbers "
            "from 0: renumber the classes."
        )
    return target.astype(np.int64), int(target.max()) + 1


def _is_whole(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and (array == np.floor(array)).all())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} is damaged or not {kind} ({reason}); fetch or write it again.")
