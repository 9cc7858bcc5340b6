"""Checksums behind the end of a netCDF file."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray as xr

import ctebm
from ctebm.files.netcdf import check_netcdf, seal_netcdf

STATE = np.arange(4000.0).reshape(100, 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed file."""
    path = tmp_path / "r.nc"
    data = {"state": (("sample", "unit"), STATE), "eps": ((), 0.1), "word": ("sample", ["a"] * 100)}
    xr.Dataset(data).to_netcdf(path, engine="h5netcdf")
    seal_netcdf(path)
    return path


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def test_a_sealed_file_is_an_ordinary_one(path):
    assert check_netcdf(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["state"], STATE)


@pytest.mark.parametrize("row", [0, 37, 99])
def test_a_flip_names_the_variable_and_the_samples(path, row):
    with h5py.File(path) as file:
        place = file["state"].id.get_offset() + 8 * 40 * row + 11
    flip(path, place)
    with pytest.raises(ValueError, match=r"differ in 'state' \(sample (\d+) to (\d+)\)") as found:
        check_netcdf(path)
    first, last = (int(word.strip(")")) for word in str(found.value).split() if word[0].isdigit())
    assert first <= row <= last < first + 6
    assert not check_netcdf(path, verify=False)


def test_a_flip_elsewhere_is_found(path):
    flip(path, 9)
    with pytest.raises(ValueError, match="names, texts or structure"):
        check_netcdf(path)
    flip(path, 9)
    with h5py.File(path) as file:
        place = file["eps"].id.get_offset()
    flip(path, place)
    with pytest.raises(ValueError, match="'eps'"):
        check_netcdf(path)


def test_the_checksums_are_checked_too(path):
    flip(path, -150)
    with pytest.raises(ValueError, match="don't agree with their own"):
        check_netcdf(path)


def test_a_longer_file_is_damaged(path):
    raw = path.read_bytes()
    path.write_bytes(raw[:500] + b"more" + raw[500:])
    with pytest.raises(ValueError, match="bytes instead of"):
        check_netcdf(path)


def test_without_checksums_a_file_is_read_through(path):
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rindex(b'\n{"cuts"')])
    assert not check_netcdf(path)
    path.write_bytes(raw[:3000])
    with pytest.raises(ValueError, match="truncated file"):
        check_netcdf(path)


@pytest.mark.parametrize("zeros", [1, 90, 700, 2500])
def test_a_file_whose_end_was_not_written_has_not_lost_its_checksums_unnoticed(path, zeros):
    raw = path.read_bytes()
    for end in (b"", bytes(zeros)):
        path.write_bytes(raw[:-zeros] + end)
        with pytest.raises(ValueError, match=r"checksums|truncated"):
            check_netcdf(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "r.nc")
    with pytest.raises(ValueError, match="no file"):
        check_netcdf(tmp_path / "r.nc")


def test_a_file_above_the_limit_of_its_process_is_not_begun(tmp_path):
    """The library for HDF5 crashes there."""
    path, before = tmp_path / "r.nc", resource.getrlimit(resource.RLIMIT_FSIZE)
    ctebm.save(xr.Dataset({"a": 1.0}), path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"it takes 34048 bytes, and 30000 are free\); name a"):
            ctebm.save(xr.Dataset({"state": (("sample", "unit"), STATE)}), path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with ctebm.open(path) as kept:
        assert float(kept.a) == 1


def test_a_file_that_its_disk_has_no_room_for_is_not_begun(tmp_path, monkeypatch):
    """The library for HDF5 can crash where a disk gets full."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=30_000))
    words = r"can't write .*r.nc \(it takes 34048 bytes, and 30000 are free\); name a file"
    with pytest.raises(OSError, match=words):
        ctebm.save(xr.Dataset({"state": (("sample", "unit"), STATE)}), tmp_path / "r.nc")
    assert not any(tmp_path.iterdir())
    ctebm.save(xr.Dataset({"state": ("unit", STATE[0])}), tmp_path / "r.nc")
