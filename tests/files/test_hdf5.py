"""Files that lead out of themselves, claim too much, or can't be read without harm."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ctebm.files import hdf5
from ctebm.files.hdf5 import check_claims, read_through


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.nc"


def test_numbers_of_another_file_are_refused(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"password" * 8)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (64,), "u1", external=[(str(secret), 0, 64)])
    with pytest.raises(ValueError, match="'a' are in another file"):
        check_claims(path)
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "b", (4,))
    with h5py.File(path, "w") as file:
        file.create_group("g").create_virtual_dataset("v", layout)
    with pytest.raises(ValueError, match="'g/v' are in another file"):
        check_claims(path)


def test_links_to_another_file_are_refused(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("other.h5", "/b")
    with pytest.raises(ValueError, match=r"'a' is a link into another file, other\.h5"):
        check_claims(path)


def test_claims_that_no_file_of_this_size_can_hold_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10**12,), "f8", chunks=(1000,))
    with pytest.raises(ValueError, match=r"'a' claims 8e\+12 bytes"):
        check_claims(path)
    assert "claims" in read_through(path)


def test_what_is_highly_compressed_is_not_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(10**6), compression="gzip", chunks=(10**6,))
        file["soft"] = h5py.SoftLink("/nowhere")
        file["type"] = np.dtype("f8")
    check_claims(path)
    assert read_through(path) == ""


def test_what_can_not_be_read_is_named(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(1000.0), fletcher32=True, chunks=(1000,))
        place = file["a"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    assert "'a' can't be read" in read_through(path)
    assert "Traceback" not in read_through(path)


def test_a_reading_that_hangs_or_crashes_is_bounded(path, monkeypatch):
    path.write_bytes(b"")
    program = Path(path).with_name("program.py")
    monkeypatch.setattr(hdf5, "__file__", str(program))
    monkeypatch.setattr(hdf5, "_LEAST_SECONDS", 0.3)
    program.write_text("import time; time.sleep(60)")
    assert "does not end within" in read_through(path)
    monkeypatch.setattr(hdf5, "_LEAST_SECONDS", 30)
    program.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert read_through(path) == "reading it crashes"


def test_a_large_file_may_be_read_for_longer(path, monkeypatch):
    limits = []

    def run(command, *, timeout, **options):
        limits.append(timeout)
        return hdf5.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(hdf5.subprocess, "run", run)
    for size in (0, round(10 * hdf5._BYTES_PER_SECOND)):
        with open(path, "wb") as file:
            file.truncate(size)
        assert read_through(path) == ""
    assert limits == [hdf5._LEAST_SECONDS, hdf5._LEAST_SECONDS + 10]


@pytest.mark.parametrize("together", [1, 2**24])
@pytest.mark.parametrize("damaged", [0, 2, 5])
def test_every_row_is_read(path, monkeypatch, together, damaged):
    monkeypatch.setattr(hdf5, "_READ_TOGETHER", together)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(6.0), fletcher32=True, chunks=(1,))
        file["n"] = 3.0
        place = file["a"].id.get_chunk_info(damaged).byte_offset
    hdf5._read(path)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="'a' can't be read"):
        hdf5._read(path)
