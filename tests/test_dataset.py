from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import ctebm
from ctebm import dataset as room


class TestVariable:
    def test_a_tensor_crosses_once_and_is_not_shared(self) -> None:
        tensor = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        v = room.variable("unit", tensor, "state", "mV", source="here")
        with torch.no_grad():
            tensor += 1
        np.testing.assert_array_equal(v.values, [1.0, 2.0])
        assert v.attrs == {"long_name": "state", "units": "mV", "source": "here"}

    def test_an_array_is_not_shared(self) -> None:
        array = np.zeros(2)
        v = room.variable("unit", array, "state")
        array[:] = 1
        assert v.values.sum() == 0
        assert v.attrs["units"] == "1"

    def test_strings(self) -> None:
        assert room.variable("x", np.array(["a", "bc"], object), "names").dtype == "<U2"

    def test_levels_of_a_multi_index_are_refused(self) -> None:
        import pandas as pd

        index = pd.MultiIndex.from_tuples([("h", 0), ("h", 1)])
        with pytest.raises(ValueError, match="one coordinate a level"):
            room.variable("x", index, "units")


class TestProvenance:
    def test_attributes(self, tmp_path: Path) -> None:
        settings = {"eps": (0.5, 0.1), "data": Path("a.npz"), "n": None}
        found = room.provenance(
            settings=settings, seed=7, device="cpu", dtype=torch.float32, threads=2
        )
        assert json.loads(str(found["settings"])) == {
            "eps": [0.5, 0.1],
            "data": "a.npz",
            "n": None,
        }
        digest = hashlib.sha256(str(found["settings"]).encode()).hexdigest()
        assert found["settings_sha256"] == digest
        assert (found["seed"], found["device"], found["dtype"]) == (7, "cpu", "float32")
        assert found["threads"] == 2
        assert found["torch_version"] == torch.__version__
        assert all(isinstance(value, str | int) for value in found.values())
        ctebm.save(xr.Dataset(attrs=found), tmp_path / "r.nc")

    def test_equal_settings_have_equal_digests(self) -> None:
        one = room.provenance(settings={"a": 1, "b": 2})
        other = room.provenance(settings={"b": 2, "a": 1})
        assert one["settings_sha256"] == other["settings_sha256"]

    def test_a_seed_too_large_for_files_is_a_string(self) -> None:
        assert room.provenance(seed=2**100)["seed"] == str(2**100)
        for seed in (0, 126, 2**31, 2**63 - 1):  # what a file holds as a whole number
            assert room.provenance(seed=seed)["seed"] == seed
        assert room.provenance(seed=2**63)["seed"] == str(2**63)

    def test_what_is_not_said_is_not_recorded(self) -> None:
        assert not {"seed", "device", "dtype", "threads", "settings"} & set(room.provenance())

    @pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
    def test_commit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def git(*words: str) -> str:
            names = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
            command = ["git", "-C", str(tmp_path), *names, *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        source = tmp_path / "ctebm" / "dataset.py"
        source.parent.mkdir()
        source.write_text("one")
        monkeypatch.setattr(room, "__file__", str(source))
        git("init")
        (tmp_path / "other").write_text("text")
        git("add", "other")
        git("commit", "-m", "a repository that doesn't track ctebm")
        assert "git_commit" not in room.provenance()
        git("add", ".")
        git("commit", "-m", "now it does")
        found = room.provenance()
        assert (found["git_commit"], found["git_dirty"]) == (git("rev-parse", "HEAD").strip(), 0)
        source.write_text("two")
        assert room.provenance()["git_dirty"] == 1


def test_units_are_picked_by_their_layer() -> None:
    layers = {"x": slice(0, 1), "y": slice(2, 4)}
    coordinates = room.layer_of_unit(layers, 5)
    assert coordinates["layer"].values.tolist() == ["x", "s", "y", "y", "s"]
    data = xr.Dataset({"a": ("unit", [0.0, 1, 2, 3, 4])}).assign_coords(coordinates)
    assert data.sel(layer="y").a.values.tolist() == [2, 3]
    other = room.layer_of_unit(layers, 5, "layer_of_unit", "row")
    assert other["layer_of_unit"].dims == ("row",)
