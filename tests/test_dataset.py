from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import ctebm
from ctebm import dataset as room

ROOT = Path(ctebm.__file__).parents[1]


@pytest.fixture
def mixed() -> xr.Dataset:
    """Every kind of variable and attribute that a result may hold."""
    nan = complex(np.nan, 1)
    return xr.Dataset(
        {
            "real": room.variable(("x", "unit"), np.arange(6.0).reshape(2, 3) / 7, "numbers"),
            "single": room.variable("unit", np.array([1, np.nan, np.inf], np.float32), "float32"),
            "complex": room.variable("unit", np.array([0, 1 - 2j, nan]), "eigenvalues"),
            "whole": room.variable("unit", np.array([0, -1, 2**40]), "steps"),
            "truth": room.variable("unit", [True, False, True], "pinned"),
            "scalar": room.variable((), 3.5, "wall time", "seconds"),
            "empty": room.variable("none", np.zeros(0), "nothing"),
        },
        coords={"x": room.variable("x", ["h_1", "ü"], "layer name")},
        attrs={"text": "a\n'b'", "empty": "", "n": 3, "r": 0.1, "many": [1, 2], "words": ["a", ""]},
    )


@pytest.fixture(params=[".nc", ".zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"result{request.param}"


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

    def test_layers_are_picked_by_name_before_and_after_a_file(self, path: Path) -> None:
        layers = {"h": slice(0, 3), "y": slice(3, 5)}
        states = room.variable(("step", "unit"), np.arange(12.0).reshape(2, 6), "state")
        for name in ("layer", "layer_of_unit"):
            coordinate = room.layer_of_unit(layers, 6, name)
            dataset = xr.Dataset({"state": states}).assign_coords(coordinate)
            assert dataset[name].values.tolist() == ["h", "h", "h", "y", "y", "s"]
            room.save(dataset, path, overwrite=True)
            with room.open(path) as opened:
                for one in (dataset, opened):
                    assert one.sel({name: "y"}).state.values.tolist() == [[3, 4], [9, 10]]

    def test_levels_of_a_multi_index_are_refused(self) -> None:
        import pandas as pd

        index = pd.MultiIndex.from_tuples([("h", 0), ("h", 1)])
        with pytest.raises(ValueError, match="one coordinate a level"):
            room.variable("x", index, "units")


class TestRoundTrip:
    def test_everything_comes_back(self, mixed: xr.Dataset, path: Path) -> None:
        room.save(mixed, path)
        with room.open(path) as back:
            back.load()
        xr.testing.assert_equal(back, mixed)
        assert back.attrs == mixed.attrs
        for name in mixed.variables:
            assert back[name].attrs == mixed[name].attrs
            if mixed[name].dtype.kind != "U":
                assert back[name].dtype == mixed[name].dtype
        assert type(back.attrs["n"]) is int
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_complex_is_exact(self, path: Path) -> None:
        rng = np.random.default_rng(0)
        z = rng.standard_normal(50) + 1j * rng.standard_normal(50)
        room.save(xr.Dataset({"z": room.variable("x", z, "z")}), path)
        with room.open(path) as back:
            assert back["z"].values.tobytes() == z.tobytes()

    def test_arrays_are_read_when_used(self, mixed: xr.Dataset, path: Path) -> None:
        room.save(mixed, path)
        with room.open(path) as back:
            assert not back["real"].variable._in_memory

    def test_the_dataset_is_not_changed(self, mixed: xr.Dataset, path: Path) -> None:
        before = mixed.copy(deep=True)
        room.save(mixed.assign_attrs(array=np.arange(2)), path)
        xr.testing.assert_identical(mixed, before)

    def test_a_part_of_an_opened_result_can_be_saved_again(
        self, mixed: xr.Dataset, path: Path, tmp_path: Path
    ) -> None:
        room.save(mixed, path)
        for suffix in (".nc", ".zarr"):
            with room.open(path) as back:
                room.save(back.isel(unit=slice(1, 3)), tmp_path / f"part{suffix}")
            with room.open(tmp_path / f"part{suffix}") as part:
                xr.testing.assert_equal(part.load(), mixed.isel(unit=slice(1, 3)))

    def test_an_opened_result_can_be_saved_onto_itself(self, mixed: xr.Dataset, path: Path) -> None:
        room.save(mixed, path)
        with room.open(path) as back:
            room.save(back, path, overwrite=True)
        with room.open(path) as again:
            xr.testing.assert_equal(again.load(), mixed)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_folders_are_made(self, mixed: xr.Dataset, tmp_path: Path) -> None:
        room.save(mixed, tmp_path / "a" / "b" / "r.nc")
        assert ctebm.open(tmp_path / "a" / "b" / "r.nc").sizes == mixed.sizes


class TestRefusals:
    def test_an_existing_result_is_kept(self, mixed: xr.Dataset, path: Path) -> None:
        room.save(mixed, path)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            room.save(mixed.isel(x=0), path)
        room.save(mixed.isel(x=0), path, overwrite=True)
        with room.open(path) as back:
            assert "x" not in back.sizes

    @pytest.mark.parametrize("name", ["r.csv", "r", "r.NC"])
    def test_unknown_suffix(self, mixed: xr.Dataset, tmp_path: Path, name: str) -> None:
        for call in (lambda p: room.save(mixed, p), room.open):
            with pytest.raises(ValueError, match=r"ends in \.nc or \.zarr"):
                call(tmp_path / name)

    @pytest.mark.parametrize(
        ("value", "remedy"),
        [
            (True, "0 or 1"),
            (None, "leave it out"),
            ({"a": 1}, "json.dumps"),
            (np.bool_(True), "0 or 1"),
            ([1, "a"], "list of one of these"),
            ([True], "list of one of these"),
            ([[1]], "list of one of these"),
            (1j, "list of one of these"),
            (2**70, "list of one of these"),
            ("a\0", "list of one of these"),
            (np.zeros((2, 2)), "list of one of these"),
        ],
        ids=str,
    )
    def test_attributes(self, mixed: xr.Dataset, path: Path, value: object, remedy: str) -> None:
        with pytest.raises(ValueError, match=f"'bad' of the dataset .*{remedy}"):
            room.save(mixed.assign_attrs(bad=value), path)
        mixed["real"].attrs["bad"] = value
        with pytest.raises(ValueError, match="'bad' of variable 'real'"):
            room.save(mixed, path)
        assert list(path.parent.iterdir()) == []

    def test_numpy_attributes_become_plain(self, mixed: xr.Dataset, path: Path) -> None:
        numbers = {"i": np.int64(3), "f": np.float32(0.5), "s": np.str_("a"), "a": np.arange(2)}
        room.save(mixed.assign_attrs(numbers), path)
        with room.open(path) as back:
            found = {name: back.attrs[name] for name in numbers}
        assert found == {"i": 3, "f": 0.5, "s": "a", "a": [0, 1]}

    def test_multi_index(self, mixed: xr.Dataset, path: Path) -> None:
        with pytest.raises(ValueError, match="reset_index"):
            room.save(mixed.stack(both=("x", "unit")), path)

    def test_objects(self, path: Path) -> None:
        odd = xr.Dataset({"odd": ("x", np.array([{}, 1], object))})
        with pytest.raises(ValueError, match="can't hold this dataset"):
            room.save(odd, path)
        assert list(path.parent.iterdir()) == []

    def test_a_folder_that_is_no_result_is_not_replaced(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
        with pytest.raises(ValueError, match="is kept"):
            room.save(mixed, path, overwrite=True)
        assert (path / "thesis.txt").exists()

    def test_missing(self, path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no result at"):
            room.open(path)

    def test_damaged(self, mixed: xr.Dataset, path: Path) -> None:
        room.save(mixed, path)
        broken = path if path.suffix == ".nc" else path / "zarr.json"
        whole = broken.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"not a result"):
            broken.write_bytes(content)
            with pytest.raises(ValueError, match=r"is damaged or not a .* write it again"):
                room.open(path)

    def test_wrong_kind(self, tmp_path: Path) -> None:
        (tmp_path / "folder.nc").mkdir()
        (tmp_path / "empty.zarr").mkdir()
        (tmp_path / "file.zarr").write_text("text")
        for name in ("folder.nc", "empty.zarr", "file.zarr"):
            with pytest.raises(ValueError, match="is damaged or not a"):
                room.open(tmp_path / name)


KILLED = """
import os, signal, sys
import numpy as np, xarray as xr
from ctebm import dataset

def killed_half_way(self, aside, *args, **kwargs):
    os.makedirs(aside) if sys.argv[1].endswith(".zarr") else open(aside, "wb").write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "writing":
    xr.Dataset.to_netcdf = xr.Dataset.to_zarr = killed_half_way
else:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
new = xr.Dataset({"a": dataset.variable("x", np.ones(10**5), "new")})
dataset.save(new, sys.argv[1], overwrite=True)
"""


class TestStopped:
    @pytest.mark.parametrize(
        ("suffix", "when"), [(".nc", "writing"), (".nc", "syncing"), (".zarr", "writing")]
    )
    def test_kill_leaves_the_old_result(self, tmp_path: Path, suffix: str, when: str) -> None:
        path = tmp_path / f"r{suffix}"
        room.save(xr.Dataset({"a": room.variable("x", np.zeros(10), "old")}), path)
        command = [sys.executable, "-c", KILLED, str(path), when]
        assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
        with room.open(path) as back:
            assert back["a"].attrs["long_name"] == "old"
            assert float(back["a"].sum()) == 0
        room.save(back, tmp_path / f"again{suffix}")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_an_exception_leaves_the_old_result_and_nothing_else(
        self,
        mixed: xr.Dataset,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
    ) -> None:
        def fail(self: xr.Dataset, aside: Path, *args: object, **kwargs: object) -> None:
            aside.mkdir()
            (aside / "chunk").write_text("half")
            raise error

        room.save(mixed, path)
        monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
        monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
        with pytest.raises(error):
            room.save(mixed, path, overwrite=True)
        with room.open(path) as back:
            xr.testing.assert_equal(back.load(), mixed)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_a_failed_rename_puts_the_old_store_back(
        self, mixed: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "r.zarr"
        room.save(mixed, path)
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if self.suffix == ".partial":
                raise OSError("no")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="no"):
            room.save(mixed, path, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == ["r.zarr"]
        assert (path / "zarr.json").exists()


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
        room.save(xr.Dataset(attrs=found), tmp_path / "r.nc")

    def test_equal_settings_have_equal_digests(self) -> None:
        one = room.provenance(settings={"a": 1, "b": 2})
        other = room.provenance(settings={"b": 2, "a": 1})
        assert one["settings_sha256"] == other["settings_sha256"]

    def test_a_seed_too_large_for_files_is_a_string(self) -> None:
        assert room.provenance(seed=2**100)["seed"] == str(2**100)

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
