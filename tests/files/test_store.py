"""Every file of a Zarr store is on its list."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ctebm
from ctebm.files.store import MARK, check_claims, check_store, damages, seal_store
from ctebm.files.tiled import write_tile


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A sealed store of several chunks."""
    folder = tmp_path / "r.zarr"
    data = {
        "state": (("sample", "unit"), np.arange(1.0, 41).reshape(10, 4)),
        "truth": ("sample", np.ones(10, bool)),
        "eps": ((), 0.1),
    }
    dataset = xr.Dataset(data, attrs=MARK)
    chunks = {"state": {"chunks": (4, 4)}}
    dataset.to_zarr(folder, zarr_format=3, consolidated=False, encoding=chunks)
    seal_store(folder)
    return folder


def test_a_sealed_store_is_an_ordinary_one(store):
    assert check_store(store)
    with warnings.catch_warnings(action="error"), xr.open_zarr(store, consolidated=False) as found:
        assert set(found) == {"state", "truth", "eps"}
        assert float(found.state.sum()) == 820


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("state/c/1/0", r"'state' \(sample 4 to 7, chunk 1/0\)"),
        ("state/c/2/0", r"'state' \(sample 8 to 9, chunk 2/0\)"),
        ("truth/c/0", r"'truth' \(sample 0 to 9, chunk 0\)"),
        ("eps/c", "'eps'"),
        ("eps/zarr.json", "the description of 'eps'"),
        ("zarr.json", "the attributes of the dataset"),
    ],
)
def test_what_is_damaged_or_missing_is_named(store, name, words):
    raw = bytearray((store / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (store / name).write_bytes(raw)
    with pytest.raises(ValueError, match=f"checksums differ in {words}"):
        check_store(store)
    (store / name).unlink()
    with pytest.raises(ValueError, match=f"{words} is missing"):
        check_store(store)


def test_a_chunk_that_is_not_of_it_is_refused(store):
    shutil.copy(store / "state" / "c" / "0" / "0", store / "truth" / "c" / "1")
    with pytest.raises(ValueError, match=r"'truth' .* is not of it"):
        check_store(store)
    (store / "truth" / "c" / "1").unlink()
    (store / "truth" / ".DS_Store").write_text("of the file manager")
    assert check_store(store)


def test_the_list_is_checked_too(store):
    path = store / "ctebm.checksums" / "zarr.json"
    listed = json.loads(path.read_bytes())
    del listed["attributes"]["files"]["truth/c/0"]
    path.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="list of checksums is damaged"):
        check_store(store)
    for text in ("", "[" * 10**5, "{}", '{"attributes": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="list of checksums can't be read"):
            check_store(store)
    shutil.rmtree(path.parent)
    with pytest.raises(ValueError, match="list of checksums is missing"):
        check_store(store)


def test_a_store_that_never_had_a_list_is_not_sealed(tmp_path):
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "r.zarr", zarr_format=3, consolidated=False)
    assert not check_store(tmp_path / "r.zarr")


def test_a_store_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    path = tmp_path / "r.zarr"
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(path, zarr_format=3, consolidated=False)
    check_claims(path, {"a": 8})
    description = path / "a" / "zarr.json"
    told = json.loads(description.read_bytes())
    told["shape"] = [10**15]
    description.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="'a' claims 8e\\+15 bytes, more than it can hold"):
        ctebm.open(path)


def test_damage_of_a_tile_is_told_by_its_list_and_a_lost_list_once(store):
    tiles = ("0/0", "1/0")
    for key in tiles:
        write_tile(store, key, {f"status/c/{key}": b"1", f"value/c/{key}": b"numbers"})
    assert [*damages(store)] == []
    (store / "value/c/0/0").write_bytes(b"others")
    (store / "ctebm.checksums/c/1/0").write_text("no list")
    (store / "value/c/1/0").write_bytes(b"others")
    found = dict(damages(store))
    assert found.keys() == set(tiles) and len([*damages(store)]) == 2
    assert "checksums differ in" in found["0/0"]
    assert found["1/0"] == "the list of checksums of tile 1/0 is missing or damaged"


def test_damaged_data_are_named_before_descriptions(store):
    for name in ("zarr.json", "state/c/1/0", "eps/zarr.json", "truth/c/0"):
        (store / name).unlink()
    said = [sentence for _, sentence in damages(store)]
    assert len(said) == 4 and all("chunk" in one for one in said[:2])
    assert not any("chunk" in one for one in said[2:])
