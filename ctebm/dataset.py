"""Labelled arrays with units, where they came from, and their files.

Everything that ctebm writes is a plain :class:`xarray.Dataset`: named dimensions, a ``long_name``
and ``units`` on every variable, and attributes that netCDF and Zarr both hold. A file is built
beside its final name and renamed into place: a reader finds the old result or the new one, whole.
"""

# Long because labels, provenance and files are one format: they change together.

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from ctebm import __version__

__all__ = ["layer_of_unit", "open", "provenance", "replacing", "save", "variable"]

_INDEXED = ("layer", "layer_of_unit")  # coordinates that sel takes, though no dimension is theirs
_LIBRARIES = ("torch", "torchsde", "torchdiffeq", "numpy", "scipy", "xarray")
_READERS: dict[str, dict[str, Any]] = {
    ".nc": {"engine": "h5netcdf"},
    ".zarr": {"engine": "zarr", "consolidated": False},
}
_REMEDIES = {bool: "write 0 or 1", dict: "write json.dumps of it", type(None): "leave it out"}


def variable(
    dims: str | Sequence[str], values: Any, long_name: str, units: str = "1", **attrs: Any
) -> xr.Variable:
    """Return `values` with names, words and units; the copy shares no memory with them.

    Parameters
    ----------
    dims : str or sequence of str
        One name a dimension.
    values : array-like or torch.Tensor
        Numbers, truth values or strings; a tensor is detached and copied to the host.
    long_name : str
        What the numbers are, in words.
    units : str
        ``"1"`` if dimensionless; time is in units of the membrane time constant.
    **attrs
        Further attributes: str, int, float or lists of these.

    Raises
    ------
    ValueError
        For objects of another kind.

    Examples
    --------
    >>> from ctebm.dataset import variable
    >>> variable("unit", [0.5, -0.5], "state").attrs
    {'long_name': 'state', 'units': '1'}
    """
    tensor = hasattr(values, "detach")
    array = np.array(values.detach().cpu().numpy() if tensor else values)
    if array.dtype == object:
        if not all(isinstance(v, str) for v in array.flat):
            raise ValueError(
                f"{long_name!r} must hold numbers, truth values or strings, got objects such as "
                f"{type(array.flat[0]).__name__}; turn a MultiIndex into one coordinate a level."
            )
        array = array.astype(str)
    return xr.Variable(dims, array, {"long_name": long_name, "units": units, **attrs})


def layer_of_unit(layers: Mapping[str, slice], n_units: int, name: str = "layer") -> xr.Coordinates:
    """Return the layer of each unit, as an indexed coordinate of ``unit``.

    ``dataset.sel(layer="h1")`` then picks the units of a layer.

    Parameters
    ----------
    layers : mapping of str to slice
        Names of consecutive groups of units; a unit of no layer is of layer ``"s"``.
    n_units : int
        The number of units.
    name : str
        The coordinate's name; ``"layer_of_unit"`` where a dimension is called ``layer``.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.dataset import layer_of_unit
    >>> dataset = xr.Dataset({"state": ("unit", [0.1, 0.2, 0.3])})
    >>> dataset = dataset.assign_coords(layer_of_unit({"h": slice(0, 2), "y": slice(2, 3)}, 3))
    >>> dataset.sel(layer="h").state.values
    array([0.1, 0.2])
    """
    names = np.full(n_units, "s", dtype=object)
    for layer, where in layers.items():
        names[where] = layer
    coordinate = {name: variable("unit", names.astype(str), "layer of the unit")}
    return xr.Coordinates(coordinate, {name: PandasIndex.from_variables(coordinate, options={})})


def provenance(
    *,
    settings: Any = None,
    seed: int | None = None,
    device: Any = None,
    dtype: Any = None,
    threads: int | None = None,
) -> dict[str, str | int]:
    """Return attributes that say how a result was made.

    Beside what is given: versions of Python, ctebm and the libraries under it, the time, and the
    commit of the ctebm checkout (with ``git_dirty`` 0 or 1) if it runs from one.

    Parameters
    ----------
    settings : mapping or dataclass, optional
        The resolved settings, kept as one JSON string ``settings`` with its ``settings_sha256``.
    seed : int, optional
        The root seed.
    device, dtype : object, optional
        Where and in which precision it was computed.
    threads : int, optional
        Number of threads torch used.

    Examples
    --------
    >>> from ctebm.dataset import provenance
    >>> found = provenance(seed=7, settings={"eps": 0.1})
    >>> found["seed"], found["settings"]
    (7, '{"eps": 0.1}')
    """
    found: dict[str, str | int] = {
        "source": f"ctebm {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python_version": sys.version.split()[0],
        "ctebm_version": __version__,
        **{f"{name}_version": metadata.version(name) for name in _LIBRARIES},
        **_checkout(),
    }
    if seed is not None:
        found["seed"] = int(seed) if abs(seed) < 2**63 else str(seed)
    if device is not None:
        found["device"] = str(device)
        torch = sys.modules.get("torch")
        if torch is not None and str(device).startswith("cuda"):
            found["device_name"] = torch.cuda.get_device_name(device)
    if dtype is not None:
        found["dtype"] = str(dtype).removeprefix("torch.")
    if threads is not None:
        found["threads"] = int(threads)
    if settings is not None:
        plain = settings if isinstance(settings, Mapping) else dataclasses.asdict(settings)
        text = json.dumps(plain, sort_keys=True, default=str)
        found |= {"settings": text, "settings_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return found


def save(dataset: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a dataset to one netCDF file (``.nc``) or one Zarr store (``.zarr``).

    The file is whole or not there, whenever the process is stopped. Replacing a Zarr store takes
    two renames: a stop between them leaves the old store under a hidden name beside it.

    Parameters
    ----------
    dataset : xarray.Dataset
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
        If the suffix, an attribute or an index can't be written.

    Examples
    --------
    >>> import ctebm, tempfile, xarray
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ctebm.save(xarray.Dataset({"eps": 0.1}), f"{folder}/result.nc")
    ...     with ctebm.open(f"{folder}/result.nc") as result:
    ...         float(result.eps)
    0.1
    """
    path = _checked(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists and is kept; pass overwrite=True to replace it.")
    ours = path if path.suffix == ".nc" else path / "zarr.json"
    if path.exists() and not ours.is_file():
        raise ValueError(f"{path} is not a {path.suffix} result and is kept; choose another name.")
    dataset = _writable(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        try:
            if path.suffix == ".nc":
                dataset.to_netcdf(aside, engine="h5netcdf")
            else:
                dataset.to_zarr(aside, mode="w", zarr_format=3, consolidated=False)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(f"{path} can't hold this dataset: {error}") from error


def open(path: str | os.PathLike[str]) -> xr.Dataset:
    """Return the result in a ``.nc`` file or ``.zarr`` store; arrays are read when they are used.

    Use it as ``with ctebm.open(path) as dataset``, or call ``dataset.close()``, to let go of the
    file; ``dataset.load()`` reads all of it.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is not a readable result.

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
    if not path.exists():
        raise FileNotFoundError(f"there is no result at {path}; run the study that writes it.")
    try:
        # units such as "seconds" mark plain numbers here, not numpy's time differences
        dataset = xr.open_dataset(path, decode_timedelta=False, **_READERS[path.suffix])
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is damaged or not a {path.suffix} file ({reason}); write it again."
        ) from error
    for item in (dataset, *dataset.variables.values()):
        item.attrs = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in item.attrs.items()}
    indexed = [name for name in _INDEXED if name in dataset.coords and name not in dataset.xindexes]
    for name in indexed:  # files hold the index of a dimension's own coordinate only
        if dataset[name].ndim == 1:
            dataset = dataset.set_xindex(name)
    return dataset


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an unused path beside `path`; what is written there takes its place at the end.

    Whatever stops the block, the thing at `path` stays as it was.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    former = aside.with_suffix(".former")
    try:
        yield aside
        if aside.is_dir():
            if path.exists():
                path.rename(former)
            aside.rename(path)
        else:
            _sync(aside)
            aside.replace(path)
            _sync(path.parent)
    finally:
        if former.exists() and not path.exists():
            former.rename(path)
        for leftover in (aside, former):
            shutil.rmtree(leftover, ignore_errors=True)
            leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"a result's name ends in .nc or .zarr, got {str(path)!r}.")
    return path


def _writable(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` with plain attributes and without encodings of an earlier file."""
    for name, index in dataset.indexes.items():
        if index.nlevels > 1:
            raise ValueError(
                f"coordinate {name!r} is a MultiIndex, which files can't hold; "
                f"call dataset.reset_index({name!r}) first."
            )
    dataset = dataset.drop_encoding()
    dataset.attrs = _plain("the dataset", dataset.attrs)
    for name in dataset.variables:
        item = dataset[name]
        item.attrs = _plain(f"variable {name!r}", item.attrs)
        if item.dtype.kind in "UT":  # strings of no fixed length, which both formats hold
            dataset[name] = item.astype(object)
    return dataset


def _plain(owner: str, attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return attributes without numpy's types, or refuse those that files can't hold."""
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in attrs.items()}
    for name, value in plain.items():
        items = list(value) if isinstance(value, list | tuple) else [value]
        kinds = {*map(type, items)}
        text = kinds <= {str} and "\0" not in "".join(items)
        numbers = kinds <= {int, float} and all(abs(v) < 2**63 for v in items if type(v) is int)
        if not (text or numbers):
            remedy = _REMEDIES.get(type(value), "write str, int, float or a list of one of these")
            raise ValueError(
                f"attribute {name!r} of {owner} is {value!r} ({type(value).__name__}), which files "
                f"can't hold; {remedy}."
            )
    return plain


def _checkout() -> dict[str, str | int]:
    """Return commit and cleanness of the checkout that this file is tracked in, if any."""
    source = Path(__file__)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(source.parent), *words]
        options: Any = {"stderr": subprocess.DEVNULL, "text": True, "timeout": 20}
        return subprocess.check_output(command, env=environment, **options).strip()

    try:
        git("ls-files", "--error-unmatch", source.name)
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": int(dirty)}
    except (OSError, subprocess.SubprocessError):
        return {}
