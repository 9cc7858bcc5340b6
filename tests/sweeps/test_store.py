"""The store of a sweep: what is written is what is read, and what is missing says so."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from sweep_cases import GRID, good

import ctebm
from ctebm.files.store import seal_store
from ctebm.sweeps.form import Form
from ctebm.sweeps.identity import identity
from ctebm.sweeps.points import Points
from ctebm.sweeps.store import DONE, FAILED, create_store, open_store

POINTS = Points.grid(GRID)
FORM = Form.of(good(1, 0.5), ["a", "b"])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.zarr"
    create_store(path, POINTS, FORM, (2, 3), identity(good, POINTS, 1, {}), "made by hand")
    return path


def rows_of(store, tile):
    arrays = store.read(tile)
    for row, point in enumerate(store.tiling.points(tile)):
        for name, value in FORM.row(good(**POINTS[int(point)]), ["a", "b"]).items():
            arrays[name][row] = value
        arrays["status"][row] = 1
    return arrays


def test_a_store_begins_with_nothing(path):
    with ctebm.open(path) as dataset:
        assert dict(dataset.sizes) == {"a": 3, "b": 4, "unit": 2}
        assert dataset.a.values.tolist() == [1, 2, 3] and set(dataset.coords) == {
            "a", "b", "unit", "depth"
        }  # fmt: skip
        assert not dataset.status.values.any() and not any(dataset.message.values.ravel())
        assert np.isnan(dataset.s.values).all() and np.isnan(dataset.n.values).all()
        z = dataset.z.values
        assert z.dtype == complex and np.isnan(z.real).all() and np.isnan(z.imag).all()
        assert not any(dataset.word.values.ravel())
        flags = dataset.status.attrs["flag_meanings"].split()
        assert [*dataset.status.attrs["flag_values"]] == [0, 1, 2, 3] and len(flags) == 4
        assert flags[DONE] == "done" and flags[FAILED] == "failed"
        assert dataset.status.attrs["units"] == dataset.message.attrs["units"] == "1"
        assert dataset.attrs["history"] == "made by hand"
    with pytest.raises(FileExistsError):
        create_store(path, POINTS, FORM, (3, 4), identity(good, POINTS, 1, {}))


def test_chunks_are_tiles_with_all_of_what_one_point_holds(path):
    group = zarr.open_group(path, mode="r")
    for name in ("s", "n", "z", "status"):
        array = group[name]
        assert array.chunks[:2] == (2, 3) and array.chunks[2:] == array.shape[2:], name


def test_tiles_are_chunks_and_come_back(path):
    store = open_store(path)
    assert store.tiling.block == (2, 3) and store.unfinished().tolist() == [0, 1, 2, 3]
    for tile in (3, 0):
        written = rows_of(store, tile)
        store.write(tile, written)
        for name, values in store.read(tile).items():
            np.testing.assert_array_equal(values, written[name])
    assert store.unfinished().tolist() == [1, 2]
    with ctebm.open(path) as dataset:
        here = dataset.isel(a=slice(0, 2), b=slice(0, 3))
        assert float(here.s.sel(a=2, b=1.0, unit="p")) == 2 and bool((here.status == 1).all())
        assert np.isnan(dataset.z.sel(a=1, b=3.0).values)
    for name in ("s", "z", "n", "word", "depth", "status"):
        assert zarr.open_array(path / name, mode="r").chunks[:2] == (2, 3)
        keys = {p.relative_to(path / name / "c").parts[:2] for p in (path / name / "c").rglob("*")}
        assert {k for k in keys if len(k) == 2} == {("0", "0"), ("1", "1")}


def test_a_store_tells_its_form(path):
    found = open_store(path).form()
    assert {n: (s.dims, s.shape, s.dtype, s.coordinate) for n, s in found.swept.items()} == {
        n: (s.dims, s.shape, s.dtype, s.coordinate) for n, s in FORM.swept.items()
    }
    assert found.labels["unit"].values.tolist() == ["p", "q"]


def test_an_ordinary_reader_reads_it(path):
    store = open_store(path)
    for tile in range(4):
        store.write(tile, rows_of(store, tile))
    with xr.open_zarr(path, consolidated=False) as dataset:
        assert float(dataset.n.sum()) == 4 * (1 + 2 + 3)
    assert json.loads(dataset.attrs["ctebm_sweep"])["dims"] == ["a", "b"]


def test_what_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sweep at"):
        open_store(tmp_path / "x.zarr")
    ctebm.save(xr.Dataset({"a": 1.0}), tmp_path / "x.zarr")
    with pytest.raises(ValueError, match="not the store of a sweep"):
        open_store(tmp_path / "x.zarr")


def test_the_rows_of_a_table_are_counted_and_its_columns_named(tmp_path):
    points = Points.table([{"a": 1, "b": 0.5}, {"a": 5, "b": 1.0}, {"a": 1, "b": 2.0}])
    form = Form.of(good(1, 0.5), ["point"])
    create_store(tmp_path / "x.zarr", points, form, (2,), identity(good, points, 1, {}))
    with ctebm.open(tmp_path / "x.zarr") as dataset:
        assert dataset.point.values.tolist() == [0, 1, 2]
        assert dataset.point.attrs["long_name"] == "row of the table"
        assert dataset.a.dims == ("point",) and dataset.a.values.tolist() == [1, 5, 1]
        assert dataset.a.attrs["long_name"] == "a"
        assert "history" not in dataset.attrs


@pytest.mark.parametrize("block", [[0, 2], [-3, 2], [3], [3, 2, 1], [4, 4]])
def test_tiles_that_are_no_chunks_are_refused(path, block):
    group = zarr.open_group(path, mode="r+")
    description = json.loads(str(group.attrs["ctebm_sweep"]))
    group.attrs["ctebm_sweep"] = json.dumps(description | {"block": block})
    with pytest.raises(ValueError, match="is not the store of a sweep, or is damaged"):
        open_store(path)


WRONG = [
    *[(key, value) for key in ("dims", "names", "swept", "labels", "block", "identity")
      for value in (None, 2.5, "word", [None], ["nothing"], {"x": 1}, [[1]])],
    ("identity", []), ("dims", ["a"]), ("names", ["result"]), ("", None), ("", []), ("", 3),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG, ids=str)
def test_a_store_that_was_written_by_hand_and_sealed_again_is_refused_in_a_sentence(
    path, key, value
):
    """Its checksums agree, so that only what it says is wrong."""
    if (key, value) == ("identity", {"x": 1}):
        sentence = "is another sweep: .* x is missing here and 1 there"
    else:
        sentence = "is not the store of a sweep, or is damaged"
    meta = json.loads((path / "zarr.json").read_text())
    description = json.loads(meta["attributes"]["ctebm_sweep"])
    meta["attributes"]["ctebm_sweep"] = json.dumps(description | {key: value} if key else value)
    (path / "zarr.json").write_text(json.dumps(meta))
    shutil.rmtree(path / "ctebm.checksums")
    seal_store(path)
    with pytest.raises(ValueError, match=sentence):
        ctebm.sweep(good, grid=GRID, out=path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("fill_value", [1]), ("chunk_grid", None), ("shape", [7, 7]), ("dimension_names", None)],
)
@pytest.mark.parametrize("name", ["result", "message", "status", "a"])
def test_arrays_that_were_changed_by_hand_are_refused_in_a_sentence(path, name, key, value):
    name = name if name != "result" else next(iter(FORM.swept))
    meta = json.loads((path / name / "zarr.json").read_text())
    (path / name / "zarr.json").write_text(json.dumps(meta | {key: value}))
    shutil.rmtree(path / "ctebm.checksums")
    seal_store(path)
    with pytest.raises(ValueError, match=r"(damaged|can.t|another).*"):
        ctebm.sweep(good, grid=GRID, out=path)
