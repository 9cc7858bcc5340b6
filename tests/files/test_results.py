"""Results come back from their files as they were, or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from children import end_of, start_child

import ctebm
from ctebm.dataset import layer_of_unit, variable


@pytest.fixture
def mixed() -> xr.Dataset:
    """Every kind of variable and attribute that a result may hold."""
    nan = complex(np.nan, 1)
    return xr.Dataset(
        {
            "real": variable(("x", "unit"), np.arange(6.0).reshape(2, 3) / 7, "numbers"),
            "single": variable("unit", np.array([1, np.nan, np.inf], np.float32), "float32"),
            "complex": variable("unit", np.array([0, 1 - 2j, nan]), "eigenvalues"),
            "whole": variable("unit", np.array([0, -1, 2**40]), "steps"),
            "truth": variable("unit", [True, False, True], "pinned"),
            "scalar": variable((), 3.5, "wall time", "seconds"),
            "empty": variable("none", np.zeros(0), "nothing"),
        },
        coords={"x": variable("x", ["h_1", "ü"], "layer name")},
        attrs={"text": "a\n'b'", "empty": "", "n": 3, "r": 0.1, "many": [1, 2], "words": ["a", ""]},
    )


@pytest.fixture(params=[".nc", ".zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"result{request.param}"


class TestRoundTrip:
    def test_everything_comes_back(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        with ctebm.open(path) as back:
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
        ctebm.save(xr.Dataset({"z": variable("x", z, "z")}), path)
        with ctebm.open(path) as back:
            assert back["z"].values.tobytes() == z.tobytes()

    def test_arrays_are_read_when_used(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        with ctebm.open(path) as back:
            assert not back["real"].variable._in_memory

    def test_the_dataset_is_not_changed(self, mixed: xr.Dataset, path: Path) -> None:
        before = mixed.copy(deep=True)
        ctebm.save(mixed.assign_attrs(array=np.arange(2)), path)
        xr.testing.assert_identical(mixed, before)

    def test_a_part_of_an_opened_result_can_be_saved_again(
        self, mixed: xr.Dataset, path: Path, tmp_path: Path
    ) -> None:
        ctebm.save(mixed, path)
        for suffix in (".nc", ".zarr"):
            with ctebm.open(path) as back:
                ctebm.save(back.isel(unit=slice(1, 3)), tmp_path / f"part{suffix}")
            with ctebm.open(tmp_path / f"part{suffix}") as part:
                xr.testing.assert_equal(part.load(), mixed.isel(unit=slice(1, 3)))

    def test_an_opened_result_can_be_saved_onto_itself(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        with ctebm.open(path) as back:
            ctebm.save(back, path, overwrite=True)
        with ctebm.open(path) as again:
            xr.testing.assert_equal(again.load(), mixed)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_folders_are_made(self, mixed: xr.Dataset, tmp_path: Path) -> None:
        ctebm.save(mixed, tmp_path / "a" / "b" / "r.nc")
        assert ctebm.open(tmp_path / "a" / "b" / "r.nc").sizes == mixed.sizes

    def test_layers_are_picked_by_name_before_and_after_a_file(self, path: Path) -> None:
        layers = {"h": slice(0, 3), "y": slice(3, 5)}
        states = variable(("step", "unit"), np.arange(12.0).reshape(2, 6), "state")
        for name in ("layer", "layer_of_unit"):
            coordinate = layer_of_unit(layers, 6, name)
            dataset = xr.Dataset({"state": states}).assign_coords(coordinate)
            assert dataset[name].values.tolist() == ["h", "h", "h", "y", "y", "s"]
            ctebm.save(dataset, path, overwrite=True)
            with ctebm.open(path) as opened:
                for one in (dataset, opened):
                    assert one.sel({name: "y"}).state.values.tolist() == [[3, 4], [9, 10]]


class TestRefusals:
    def test_an_existing_result_is_kept(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            ctebm.save(mixed.isel(x=0), path)
        ctebm.save(mixed.isel(x=0), path, overwrite=True)
        with ctebm.open(path) as back:
            assert "x" not in back.sizes

    @pytest.mark.parametrize("name", ["r.csv", "r", "r.NC"])
    def test_unknown_suffix(self, mixed: xr.Dataset, tmp_path: Path, name: str) -> None:
        for call in (lambda p: ctebm.save(mixed, p), ctebm.open):
            with pytest.raises(ValueError, match=r"ends in \.nc or \.zarr"):
                call(tmp_path / name)

    def test_objects(self, path: Path) -> None:
        odd = xr.Dataset({"odd": ("x", np.array([{}, 1], object))})
        with pytest.raises(ValueError, match="can't hold this dataset"):
            ctebm.save(odd, path)
        assert list(path.parent.iterdir()) == []

    def test_a_folder_that_is_no_result_is_not_replaced(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
        with pytest.raises(ValueError, match="is kept"):
            ctebm.save(mixed, path, overwrite=True)
        assert (path / "thesis.txt").exists()

    @pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n damaged"])
    def test_a_damaged_result_is_replaced(
        self, mixed: xr.Dataset, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "r.nc").write_bytes(content)
        ctebm.save(mixed, tmp_path / "r.nc", overwrite=True)
        with ctebm.open(tmp_path / "r.nc") as back:
            assert back.sizes == mixed.sizes

    def test_a_file_that_is_no_result_is_not_replaced(
        self, mixed: xr.Dataset, path: Path, tmp_path: Path
    ) -> None:
        path.write_text("years of work")
        (tmp_path / f"link{path.suffix}").symlink_to(path)
        for place in (path, tmp_path / f"link{path.suffix}"):
            with pytest.raises(ValueError, match="is kept"):
                ctebm.save(mixed, place, overwrite=True)
        assert path.read_text() == "years of work"

    def test_a_pipe_a_device_and_a_link_to_itself_are_not_replaced(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        os.mkfifo(path.with_stem("pipe"))
        path.with_stem("of_pipe").symlink_to(path.with_stem("pipe"))
        path.with_stem("loop").symlink_to(path.with_stem("loop"))
        for name in ("pipe", "of_pipe", "loop"):
            with pytest.raises(ValueError, match="is kept; choose another name"):
                ctebm.save(mixed, path.with_stem(name), overwrite=True)
        assert path.with_stem("of_pipe").is_fifo()
        assert path.with_stem("loop").is_symlink()
        assert not list(path.parent.glob(".*"))

    @pytest.mark.parametrize("thing", [42, None, xr.DataArray([1.0])], ids=repr)
    def test_things_that_are_no_dataset_or_path(self, path: Path, thing: object) -> None:
        with pytest.raises(TypeError, match="expected a dataset or a record of a result, got"):
            ctebm.save(thing, path)  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="expected the path of a result, got"):
            ctebm.open(thing)  # pyright: ignore[reportArgumentType]

    def test_a_place_where_nothing_can_be_written_is_one_sentence(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        (path.parent / "file").write_text("text")
        for place in (path.parent / "file" / path.name, path.with_stem("x" * 300)):
            with pytest.raises(OSError, match=r"^can't write .*; name a file in a folder"):
                ctebm.save(mixed, place)
        with pytest.raises(ValueError, match="no null character"):
            ctebm.save(mixed, path.with_stem("a\0b"))

    def test_missing(self, path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no result at"):
            ctebm.open(path)

    def test_damaged(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        broken = path if path.suffix == ".nc" else path / "zarr.json"
        whole = broken.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"not a result"):
            broken.write_bytes(content)
            with pytest.raises(ValueError, match=r"is damaged or not a .* write it again"):
                ctebm.open(path)

    def test_a_name_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="there is no result at"):
            ctebm.open(tmp_path / f"{'x' * 300}.nc")

    def test_wrong_kind(self, tmp_path: Path) -> None:
        (tmp_path / "folder.nc").mkdir()
        (tmp_path / "empty.zarr").mkdir()
        (tmp_path / "file.zarr").write_text("text")
        for name in ("folder.nc", "empty.zarr", "file.zarr"):
            with pytest.raises(ValueError, match="is damaged or not a"):
                ctebm.open(tmp_path / name)


class TestIntegrity:
    """What opens is what was saved."""

    def test_of_sixty_damaged_files_none_opens_as_other_data(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        ctebm.save(mixed, path)
        rng, refused = np.random.default_rng(3), 0
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for i in range(60):
            chosen = files[i % len(files)]
            whole = chosen.read_bytes()
            damaged = bytearray(whole)
            place = rng.integers(len(whole))
            if i % 10 == 9:
                del damaged[place:]
            else:
                damaged[place] ^= 1 << rng.integers(8)
            chosen.write_bytes(damaged)
            try:
                with warnings.catch_warnings(action="ignore"), ctebm.open(path) as back:
                    assert back.load().identical(self.plain(mixed))
            except ValueError as error:
                assert f"{path} is damaged" in str(error)
                refused += 1
            chosen.write_bytes(whole)
        assert refused >= 55

    def plain(self, dataset: xr.Dataset) -> xr.Dataset:
        return dataset.assign_coords(x=dataset.x.astype(object))

    def test_impatience_opens_what_can_be_read(self, mixed: xr.Dataset, path: Path) -> None:
        ctebm.save(mixed, path)
        if path.is_dir():
            (path / "whole" / "c" / "0").unlink()
        else:
            raw = bytearray(path.read_bytes())
            with h5py.File(path) as file:
                raw[file["whole"].id.get_offset()] ^= 1
            path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"'whole' \(unit 0 to 2"):
            ctebm.open(path)
        with ctebm.open(path, verify=False) as back:
            assert back["whole"].values.tolist() != [0, -1, 2**40]
            xr.testing.assert_equal(back["real"].load(), mixed["real"])

    def test_a_file_without_checksums_opens_with_a_word(
        self, mixed: xr.Dataset, path: Path
    ) -> None:
        if path.suffix == ".nc":
            mixed.to_netcdf(path, engine="h5netcdf")
        else:
            mixed.to_zarr(path, zarr_format=3, consolidated=False)
        with pytest.warns(UserWarning, match="has no checksums"), ctebm.open(path) as back:
            xr.testing.assert_equal(back.load(), mixed)
        with warnings.catch_warnings(action="error"):
            ctebm.open(path, verify=False).close()

    def test_a_copy_that_another_program_made_of_a_store_can_be_read(
        self, mixed: xr.Dataset, tmp_path: Path
    ) -> None:
        ours, theirs = tmp_path / "r.zarr", tmp_path / "copy.zarr"
        ctebm.save(mixed, ours)
        with xr.open_zarr(ours, consolidated=False) as seen:
            seen.drop_encoding().to_zarr(theirs, zarr_format=3, consolidated=False)
        with pytest.raises(ValueError, match=r"another program made.*verify=False"):
            ctebm.open(theirs)
        with ctebm.open(theirs, verify=False) as back:
            xr.testing.assert_equal(back.load(), mixed)

    def test_a_damaged_store_without_checksums_is_one_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "r.zarr"
        xr.Dataset({"a": ("x", np.arange(9.0))}).to_zarr(path, zarr_format=3, consolidated=False)
        (path / "a" / "c" / "0").write_bytes(b"not zstd")
        with pytest.raises(ValueError, match="'a' can't be read"):
            ctebm.open(path)

    def test_links_and_permissions_are_kept(
        self, mixed: xr.Dataset, path: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "scratch" / "anything"  # a name without a suffix
        target.parent.mkdir()
        path.symlink_to(target)
        for part in (mixed, mixed.isel(x=0)):
            ctebm.save(part, path, overwrite=True)
            target.chmod(0o700)
        ctebm.save(mixed, path, overwrite=True)
        assert path.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o700
        with ctebm.open(path) as back:
            xr.testing.assert_equal(back.load(), mixed)


def test_of_two_processes_that_save_one_result_exactly_one_succeeds(tmp_path):
    names = [f"{i}{suffix}" for i in range(6) for suffix in (".nc", ".zarr")]

    def work(who: int, begin: float) -> None:
        for i, name in enumerate(names):
            time.sleep(max(0.0, begin + 0.1 * i - time.monotonic()))
            with contextlib.suppress(FileExistsError):
                ctebm.save(xr.Dataset({"who": who}), tmp_path / name)
                (tmp_path / f"{name} saved by {who}").touch()

    begin = time.monotonic() + 0.1
    children = [start_child(lambda who=who: work(who, begin)) for who in range(2)]
    assert [end_of(child) for child in children] == [0, 0]
    for name in names:
        with ctebm.open(tmp_path / name) as back:
            found = [p.name for p in tmp_path.glob(f"{name} saved*")]
            assert found == [f"{name} saved by {int(back.who)}"]
    assert len(list(tmp_path.iterdir())) == 2 * len(names)


def save_killed(path: Path, when: str) -> None:
    """Save over a result, and be killed meanwhile."""

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_half_way(self: xr.Dataset, aside: Path, *_: object, **__: object) -> None:
        if path.suffix == ".zarr":
            aside.mkdir()
        else:
            aside.write_bytes(b"half")
        kill()

    def killed_in_between(self: Path, target: Path) -> None:
        if self.suffix == ".partial":  # the old store is out of the way, the new one not in place
            kill()
        os.rename(self, target)

    if when == "writing":
        xr.Dataset.to_netcdf = xr.Dataset.to_zarr = killed_half_way
    elif when == "syncing":
        os.fsync = kill
    else:
        Path.rename = killed_in_between
    new = xr.Dataset({"a": variable("x", np.ones(10**5), "new")})
    ctebm.save(new, path, overwrite=True)


class TestStopped:
    @pytest.mark.parametrize(
        ("suffix", "when"),
        [(".nc", "writing"), (".nc", "syncing"), (".zarr", "writing"), (".zarr", "renaming")],
    )
    def test_kill_leaves_the_old_result(self, tmp_path: Path, suffix: str, when: str) -> None:
        path = tmp_path / f"r{suffix}"
        ctebm.save(xr.Dataset({"a": variable("x", np.zeros(10), "old")}), path)
        assert end_of(start_child(lambda: save_killed(path, when))) == -signal.SIGKILL
        with ctebm.open(path) as back:
            assert back["a"].attrs["long_name"] == "old"
            assert float(back["a"].sum()) == 0
        ctebm.save(back, path, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]  # the kill's leftovers are gone

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

        ctebm.save(mixed, path)
        monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
        monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
        with pytest.raises(error):
            ctebm.save(mixed, path, overwrite=True)
        with ctebm.open(path) as back:
            xr.testing.assert_equal(back.load(), mixed)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_a_failed_rename_puts_the_old_store_back(
        self, mixed: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "r.zarr"
        ctebm.save(mixed, path)
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if self.suffix == ".partial":
                raise OSError("no")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="no"):
            ctebm.save(mixed, path, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == ["r.zarr"]
        assert (path / "zarr.json").exists()
