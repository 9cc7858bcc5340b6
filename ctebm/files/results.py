"""The files of results: one netCDF file or one Zarr store each, with checksums."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from ctebm.files.attributes import plain, writable
from ctebm.files.netcdf import check_netcdf, check_room, seal_netcdf
from ctebm.files.replacement import former_of, replacing, restored
from ctebm.files.signals import undisturbed
from ctebm.files.store import MARK, check_claims, check_store, remedy, seal_store

__all__ = ["check_replaceable", "open", "save", "saving"]

# Coordinates that sel takes, though no dimension is theirs.
_INDEXED = ("layer", "layer_of_unit", "layer_to")
_READERS: dict[str, dict[str, Any]] = {
    ".nc": {"engine": "h5netcdf"},
    ".zarr": {"engine": "zarr", "consolidated": False},
}
_READ_TOGETHER = 2**24  # bytes
_BEGINNINGS = {
    ".nc": (b"\x89HDF\r\n\x1a\n", b"CDF"),
    ".png": (b"\x89PNG",),
    ".pdf": (b"%PDF",),
}


class HasDataset(Protocol):
    """A record of a result, which can be written down."""

    def to_dataset(self) -> xr.Dataset: ...


def save(
    dataset: xr.Dataset | HasDataset, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Write a dataset or a record to one netCDF file (``.nc``) or one Zarr store (``.zarr``).

    Checksums are added, which :func:`ctebm.open` reads.

    The file is whole or not there, whenever the process is stopped. Where several processes write
    one file without `overwrite`, one succeeds. A symbolic link stays, and its target is written;
    what is replaced hands on its permissions.

    Parameters
    ----------
    dataset : xarray.Dataset or record
        A record, such as that of :func:`~ctebm.settle`, is written as its ``to_dataset()``.
        Attributes must be str, int, float or lists of one of these. A list of one element comes
        back from netCDF as that element.
    path : path
        Ends in ``.nc`` or ``.zarr``; missing folders are made.
    overwrite : bool
        Replace an existing result.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False.
    ValueError
        If the suffix, an attribute or an index can't be written, or if what is at `path` is no
        result.

    Examples
    --------
    >>> import ctebm, tempfile, xarray
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ctebm.save(xarray.Dataset({"eps": 0.1}), f"{folder}/result.nc")
    ...     with ctebm.open(f"{folder}/result.nc") as result:
    ...         float(result.eps)
    0.1
    """
    with saving(dataset, path, overwrite):
        pass


@contextmanager
def saving(
    dataset: xr.Dataset | HasDataset, path: str | os.PathLike[str], overwrite: bool = False
) -> Iterator[None]:
    """Write a dataset as :func:`save` does, and run the block before it takes its place.

    Parameters
    ----------
    dataset, path, overwrite
        As in :func:`save`.

    Examples
    --------
    >>> import tempfile, xarray
    >>> from pathlib import Path
    >>> from ctebm.files.results import saving
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with saving(xarray.Dataset({"eps": 0.1}), f"{folder}/result.nc"):
    ...         Path(folder, "figure of the result before.png").unlink(missing_ok=True)
    """
    path = _checked(path)
    suffix, dataset = path.suffix, writable(_as_dataset(dataset))
    path = Path(os.path.realpath(path))
    if os.path.lexists(path):
        if not overwrite:
            raise _kept(path)
        check_replaceable(path, suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, overwrite) as aside:
            try:
                _write(dataset, aside, suffix)
            except (TypeError, ValueError, NotImplementedError) as error:
                raise ValueError(f"{path} can't hold this dataset: {error}") from error
            yield
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite and os.path.lexists(path):
            raise _kept(path) from error
        raise type(error)(
            f"can't write {path} ({error.strerror or error}); name a file in a folder that you can "
            "write to, on a disk with room."
        ) from error


def _as_dataset(result: xr.Dataset | HasDataset) -> xr.Dataset:
    if isinstance(result, xr.Dataset):
        return result
    if isinstance(result, xr.DataArray) or not hasattr(result, "to_dataset"):
        raise TypeError(
            f"expected a dataset or a record of a result, got {type(result).__name__}; an array "
            "needs a name: array.to_dataset(name=...)."
        )
    return result.to_dataset()


def _kept(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists and is kept; pass overwrite=True to replace it.")


def _write(dataset: xr.Dataset, path: Path, suffix: str) -> None:
    if suffix == ".nc":
        check_room(path, dataset.nbytes, len(dataset.variables))
        dataset.to_netcdf(path, engine="h5netcdf")
        seal_netcdf(path)
    else:
        with undisturbed():  # Zarr's threads would write on into a folder that is being removed
            dataset.assign_attrs(MARK).to_zarr(path, mode="w", zarr_format=3, consolidated=False)
        seal_store(path)


def check_replaceable(path: Path, suffix: str | None = None) -> None:
    """Refuse to replace what is no result or figure.

    Parameters
    ----------
    path : Path
        What is to be replaced; it need not be there.
    suffix : str, optional
        Says which kind of result is meant; that of `path` if None.

    Raises
    ------
    ValueError
        If something else is there.
    """
    suffix, place = suffix or path.suffix, Path(os.path.realpath(path))
    if suffix == ".zarr":
        ours = not os.path.lexists(place) or any(
            (place / name / "zarr.json").is_file() for name in ("", *MARK.values())
        )
    elif place.is_file() and place.stat().st_size:
        with place.open("rb") as file:
            ours = file.read(8).startswith(_BEGINNINGS[suffix])
    else:  # a folder, a pipe, a device and a link to itself are none
        ours = place.is_file() or not os.path.lexists(place)
    if not ours:
        raise ValueError(f"{path} is not a {suffix} result and is kept; choose another name.")


def open(path: str | os.PathLike[str], *, verify: bool = True) -> xr.Dataset:
    """Return the result in a ``.nc`` file or ``.zarr`` store; arrays are read when they are used.

    The file is held against its checksums before anything is made of it. A file without them, of
    another program or of an earlier version, opens with a warning. Use it as ``with
    ctebm.open(path) as dataset``, or call ``dataset.close()``; ``dataset.load()`` reads all of it.

    Parameters
    ----------
    path : path
        Ends in ``.nc`` or ``.zarr``.
    verify : bool
        False to leave the checksums alone: faster, and damaged files open as far as they can.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is damaged or not a result; it says in which variable, and where.

    Examples
    --------
    >>> import ctebm, tempfile, xarray
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ctebm.save(xarray.Dataset({"state": ("unit", [0.5, -0.5])}), f"{folder}/result.zarr")
    ...     with ctebm.open(f"{folder}/result.zarr") as result:
    ...         dict(result.sizes)
    {'unit': 2}
    """
    path = _checked(path)
    _find(path)
    with _damage_in_one_sentence(path):
        sealed = _is_sealed(path, verify)
        # units such as "seconds" mark plain numbers here, not numpy's time differences
        dataset = xr.open_dataset(path, decode_timedelta=False, **_READERS[path.suffix])
    if verify and not sealed:
        with _damage_in_one_sentence(path):
            if path.suffix == ".zarr":
                check_claims(path, {k: v.nbytes for k, v in dataset.variables.items()})
            _read_through(dataset)
        warnings.warn(
            f"{path} has no checksums, so damage to its numbers can't be seen; save it again to "
            "add them.",
            stacklevel=2,
        )
    for item in (dataset, *dataset.variables.values()):
        item.attrs = plain(item.attrs)
    dataset.attrs = {k: v for k, v in dataset.attrs.items() if k not in MARK}
    indexed = [name for name in _INDEXED if name in dataset.coords and name not in dataset.xindexes]
    for name in indexed:  # files hold the index of a dimension's own coordinate only
        if dataset[name].ndim == 1:
            dataset = dataset.set_xindex(name)
    return dataset


def _find(path: Path) -> None:
    """Refuse a path with nothing there, once what a killed process left is put back."""
    if restored(path):
        return
    former = former_of(path)
    if former is None:
        raise FileNotFoundError(f"there is no result at {path}; run the study that writes it.")
    raise FileNotFoundError(
        f"there is no result at {path}, but {former[1]} was replacing one, which lies at "
        f"{former[0]}; if that process has ended, rename it."
    )


def _is_sealed(path: Path, verify: bool) -> bool:
    """Refuse a result that is damaged; return whether it has checksums."""
    if path.suffix == ".nc":
        return check_netcdf(path, verify)
    return verify and check_store(path)


def _read_through(dataset: xr.Dataset) -> None:
    """Read every variable, a part at a time, so that what can't be read is found now."""
    for name, item in dataset.variables.items():
        rows = item.shape[0] if item.ndim else 1
        step = max(1, _READ_TOGETHER * rows // max(item.nbytes, 1))
        try:
            for i in range(0, rows, step):
                item[i : i + step].to_numpy() if item.ndim else item.to_numpy()
        except Exception as error:
            raise ValueError(f"{name!r} can't be read: {error}") from error


@contextmanager
def _damage_in_one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionError(f"{path} may not be read; ask for the permission to.") from error
    # of a damaged file the libraries raise whatever they come upon
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is damaged or not a {path.suffix} file ({reason}); {remedy(path)}, restore "
            "a copy, or read what can be read with verify=False."
        ) from error


def _checked(path: str | os.PathLike[str]) -> Path:
    try:
        path = Path(path)
    except TypeError as error:
        raise TypeError(f"expected the path of a result, got {type(path).__name__}.") from error
    if "\0" in str(path):
        raise ValueError(f"a result's name holds no null character, got {str(path)!r}.")
    if path.suffix not in _READERS:
        raise ValueError(f"a result's name ends in .nc or .zarr, got {str(path)!r}.")
    return path
