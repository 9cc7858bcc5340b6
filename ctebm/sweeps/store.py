"""The Zarr store of a sweep: tile == chunk, data first, status last, a list of checksums a tile."""

# Long because what a store says of itself is written, read and checked in one place.

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import LocalStore, WrapperStore

from ctebm.dataset import provenance, variable
from ctebm.files.attributes import writable
from ctebm.files.replacement import replacing, restored
from ctebm.files.store import MARK, seal_store
from ctebm.files.tiled import STATUS, write_tile
from ctebm.sweeps.form import Form, Swept
from ctebm.sweeps.points import Points
from ctebm.sweeps.tiles import Tiling

__all__ = ["DONE", "FAILED", "KILLED", "MISSING", "SweepStore", "create_store", "open_store"]

MISSING, DONE, FAILED, KILLED = range(4)
_MEANINGS = "not_computed done failed killed_its_worker"
_STUDY = "study "  # begins the name of a function that is a study
_SWEEP = "ctebm_sweep"  # attribute that holds what a sweep is
_MESSAGE = Swept((), (), "str", {"long_name": "what is to be said of a point", "units": "1"}, False)


@dataclass(frozen=True)
class SweepStore:
    """The store of a sweep, as a process reads and writes it.

    Attributes
    ----------
    path : Path
        Its folder.

    Examples
    --------
    >>> import ctebm, tempfile
    >>> from ctebm.sweeps.store import open_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = f"{folder}/x.zarr"
    ...     _ = ctebm.sweep(lambda a: {"twice": 2 * a}, grid={"a": [1, 2, 3]}, out=out).load()
    ...     open_store(out).status().tolist()
    [1, 1, 1]
    """

    path: Path

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the sweep is: identity, tiles, and the command that made it."""
        return json.loads(str(self._group.attrs[_SWEEP]))

    @cached_property
    def tiling(self) -> Tiling:
        """How its points fall into tiles."""
        block, written = tuple(self.description["block"]), self._arrays[STATUS].chunks
        if block != written:
            raise ValueError(f"tiles of {block} points are chunks of {written}")
        return Tiling(tuple(self._arrays[STATUS].shape), block)

    @property
    def dims(self) -> tuple[str, ...]:
        """The axes of the sweep."""
        return tuple(self.description["dims"])

    @cached_property
    def _store(self) -> _Capturing:
        return _Capturing(LocalStore(self.path))

    @cached_property
    def _group(self) -> zarr.Group:
        return zarr.open_group(self._store, mode="r+", zarr_format=3, use_consolidated=False)

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        """The arrays that are written tile by tile, the status last."""
        names = json.loads(str(self._group.attrs[_SWEEP]))["swept"]
        with zarr.config.set({"array.write_empty_chunks": True}):  # a missing chunk is damage
            found: dict[str, Any] = {name: self._group[name] for name in names}
            status = self._group[STATUS]
        return found | {"message": self._group["message"], STATUS: status}

    def points(self) -> Points:
        """Return where each point lies."""
        with _read(self.path) as dataset:
            columns: dict[str, list[Any]] = {dim: [] for dim in self.dims}
            for name in self.description["names"]:
                values = tuple(dataset[name].values.tolist())
                columns[str(dataset[name].dims[0])].append((name, values))
        return Points(tuple((dim, tuple(found)) for dim, found in columns.items()))

    def form(self) -> Form:
        """Return what each point gives."""
        n = len(self.dims)
        swept, labels = {}, {}
        coordinates = str(self._group.attrs.get("coordinates", "")).split()
        with _read(self.path) as dataset:
            for name in self.description["swept"]:
                array = self._arrays[name]
                dtype = "str" if name in self._words else str(array.dtype)
                dims = tuple(map(str, dataset[name].dims[n:]))
                swept[name] = Swept(dims, array.shape[n:], dtype, {}, name in coordinates)
            for name in self.description["labels"]:
                labels[name] = dataset[name].variable.load()
        return Form(swept, labels)

    def status(self) -> np.ndarray:
        """Return the status of every point, on the axes of the sweep."""
        return np.asarray(self._arrays[STATUS][...])

    def messages(self) -> np.ndarray:
        """Return the message of every point, on the axes of the sweep."""
        return np.asarray(self._arrays["message"][...], object)

    def unfinished(self, redo: Iterable[int] = (MISSING,)) -> np.ndarray:
        """Return the tiles that have points to compute, in order.

        Parameters
        ----------
        redo : iterable of int
            Which statuses count as not computed.
        """
        points = np.flatnonzero(np.isin(self.status().ravel(), list(redo)))
        places = np.unravel_index(points, self.tiling.shape)
        blocks = [p // b for p, b in zip(places, self.tiling.block, strict=True)]
        return np.unique(np.ravel_multi_index(tuple(blocks), self.tiling.grid))

    def read(self, tile: int) -> dict[str, np.ndarray]:
        """Return the arrays of a tile, one row a point; those never written hold what is missing.

        Parameters
        ----------
        tile : int
            Its number.
        """
        where = self.tiling.slices(tile)
        n = self.tiling.points(tile).size
        found = {}
        for name, array in self._arrays.items():
            values = np.asarray(array[where], object if name in self._words else None)
            found[name] = values.reshape(n, *array.shape[len(where) :]).copy()
        return found

    def write(self, tile: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of a tile, as :meth:`read` returns them.

        Parameters
        ----------
        tile : int
            Its number.
        arrays : mapping
            Name to values, ``(point, ...)``.
        """
        where = self.tiling.slices(tile)
        size = tuple(s.stop - s.start for s in where)
        captured = self._store.captured
        captured.clear()
        for name, array in self._arrays.items():
            if name == "message" and not any(arrays[name]):
                continue
            array[where] = arrays[name].reshape(size + array.shape[len(where) :])
        write_tile(self.path, self.tiling.key(tile), dict(captured))

    def check(self) -> None:
        """Raise an error of any kind where the store is not as this module makes one."""
        lists, sizes = ("dims", "names", "swept", "labels"), self.tiling.shape
        words = [word for name in lists for word in self.description[name]]
        if not all(isinstance(self.description[name], list) for name in lists):
            raise ValueError("no lists of names")
        if not all(isinstance(word, str) for word in words) or len(self.dims) != len(sizes):
            raise ValueError("no names, or not one for each axis")
        if any(array.shape[: len(sizes)] != sizes for array in self._arrays.values()):
            raise ValueError("arrays of other points")
        if self._arrays["message"].dtype.kind in "biufc":
            raise ValueError("messages that are no words")
        columns: list[Any] = [self._group[name] for name in self.description["names"]]
        if not {dim for one in columns for dim in one.metadata.dimension_names} <= set(self.dims):
            raise ValueError("points along other axes")
        for name in self.description["labels"]:
            _ = self._group[name]
        _ = dict(self.description["identity"].items())

    @cached_property
    def _words(self) -> set[str]:
        return {name for name, array in self._arrays.items() if array.dtype.kind not in "biufc"}


class _Capturing(WrapperStore[LocalStore]):
    """A store that keeps the chunks it is given, for :func:`~ctebm.files.tiled.write_tile`."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.captured: dict[str, bytes] = {}

    async def set(self, key: str, value: Any, *_: Any) -> None:
        self.captured[key] = value.to_bytes()


def create_store(
    path: Path,
    points: Points,
    form: Form,
    block: tuple[int, ...],
    identity: Mapping[str, Any],
    history: str = "",
) -> None:
    """Make the store of a sweep, in which nothing is computed yet; an existing one is kept.

    Parameters
    ----------
    path : Path
        Ends in ``.zarr``.
    points : Points
        Its axes.
    form : Form
        What each point gives.
    block : tuple of int
        Points of a tile along each axis.
    identity : mapping
        What the sweep is.
    history : str
        The command that made it.

    Raises
    ------
    FileExistsError
        If something is at `path`.
    """
    columns = {
        name: variable(dim, values, "point of the sweep" if dim == name else name)
        for name, (dim, values) in points.columns().items()
    }
    if "point" in points.dims:
        columns["point"] = variable("point", np.arange(points.shape[0]), "row of the table")
    description = {
        "dims": points.dims,
        "names": points.names,
        "block": block,
        "swept": list(form.swept),
        "labels": list(form.labels),
        "identity": dict(identity),
    }
    attrs = provenance(settings=identity["settings"], threads=identity["threads"]) | MARK
    attrs |= {"title": f"Sweep over {', '.join(points.dims)}", _SWEEP: json.dumps(description)}
    if history:
        attrs["history"] = history
    if str(identity["function"]).startswith(_STUDY):
        attrs["study"] = str(identity["function"]).removeprefix(_STUDY)
    template = writable(xr.Dataset(coords={**form.labels, **columns}, attrs=attrs))
    with replacing(path, overwrite=False) as aside:
        template.to_zarr(aside, mode="w", zarr_format=3, consolidated=False)
        group = zarr.open_group(aside, mode="r+", zarr_format=3, use_consolidated=False)
        for name, one in {**form.swept, "message": _MESSAGE}.items():
            _create_array(group, name, one, points, block)
        meanings = {"flag_values": [0, 1, 2, 3], "flag_meanings": _MEANINGS}
        group.create_array(
            STATUS, shape=points.shape, chunks=block, dtype="int8", fill_value=MISSING,
            dimension_names=points.dims, compressors=None,
            attributes={"long_name": "whether a point is computed", "units": "1", **meanings},
        )  # fmt: skip
        coordinates = [name for name, one in form.swept.items() if one.coordinate]
        known = str(group.attrs.get("coordinates", "")).split()
        if coordinates or known:
            group.attrs["coordinates"] = " ".join([*known, *coordinates])
        seal_store(aside)


def _create_array(
    group: zarr.Group, name: str, one: Swept, points: Points, block: tuple[int, ...]
) -> None:
    attributes: dict[str, Any] = {"long_name": name, "units": "1"} | one.attrs
    group.create_array(
        name, shape=points.shape + one.shape, chunks=block + tuple(max(1, n) for n in one.shape),
        dtype=one.dtype, fill_value=one.missing, dimension_names=points.dims + one.dims,
        attributes=attributes,
    )  # fmt: skip


@contextmanager
def _read(path: Path) -> Iterator[xr.Dataset]:
    """Yield what is in a store, as labelled arrays."""
    try:
        with xr.open_dataset(path, engine="zarr", consolidated=False) as dataset:
            yield dataset
    except Exception as error:
        raise _no_store(path) from error


def _no_store(path: Path) -> ValueError:
    return ValueError(f"{path} is not the store of a sweep, or is damaged; name another.")


@lru_cache(maxsize=8)
def _opened(path: Path, made: tuple[int, int]) -> SweepStore:
    store = SweepStore(path)
    store.check()
    return store


def open_store(path: str | Path) -> SweepStore:
    """Return the store of a sweep, or refuse what is none.

    Parameters
    ----------
    path : path
        Its folder.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is no sweep.
    """
    path = Path(path)
    if not restored(path):
        raise FileNotFoundError(f"there is no sweep at {path}; name one that was begun.")
    try:
        made = (path / "zarr.json").stat()
        return _opened(path.resolve(), (made.st_ino, made.st_mtime_ns))
    except Exception as error:  # of any kind, by whatever stands where something else should
        raise _no_store(path) from error
