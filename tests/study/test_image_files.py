"""Files of labelled images, sound and damaged."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sample_images import CODES, LABELS, PIXELS, assert_is_sample, idx

from ctebm.study.image_files import _read_idx
from ctebm.study.images import load_images


class TestFormats:
    def test_idx(self, pair: tuple[Path, Path]) -> None:
        images = load_images(*pair)
        assert_is_sample(images)
        assert (images.name, images.note) == (pair[0].name, "pixels divided by 255")

    def test_idx_gz(self, pair: tuple[Path, Path]) -> None:
        for path in pair:
            path.write_bytes(gzip.compress(path.read_bytes()))
        assert_is_sample(load_images(*pair, n_samples=3), 3)

    @given(
        array=st.sampled_from(sorted(CODES)).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=4, min_side=0, max_side=4))
        ),
        compressed=st.booleans(),
    )
    def test_idx_round_trip(
        self, array: np.ndarray, compressed: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("idx") / "array"
        path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
        back = _read_idx(path)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)

    @pytest.mark.parametrize("names", [("input", "label"), ("images", "labels"), ("x", "y")])
    def test_npz(self, tmp_path: Path, names: tuple[str, str]) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, **{names[0]: PIXELS, names[1]: LABELS})
        assert_is_sample(load_images(path))

    @pytest.mark.parametrize("header", ["", "label," + ",".join(f"p{i}" for i in range(6)) + "\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_csv(self, tmp_path: Path, header: str, mark: str) -> None:
        table = np.column_stack([LABELS, PIXELS.reshape(5, 6)])
        rows = "".join(",".join(map(str, row)) + "\n" for row in table)
        path = tmp_path / "a.csv"
        path.write_text(mark + header + rows, encoding="utf-8")
        assert_is_sample(load_images(path))

    @pytest.mark.parametrize("target", [LABELS, LABELS[:, None], np.eye(4)[LABELS]])
    def test_netcdf(self, tmp_path: Path, target: np.ndarray) -> None:
        dims = ("sample", "class")[: target.ndim]
        path = tmp_path / "a.nc"
        data = xr.Dataset({"input": (("sample", "i", "j"), PIXELS / 255), "target": (dims, target)})
        data.to_netcdf(path, engine="h5netcdf")
        images = load_images(path)
        assert_is_sample(images)
        assert images.note == "pixels as they are"


class TestRefusals:
    def test_missing_files(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        for data, labels in ((tmp_path / "no", pair[1]), (pair[0], tmp_path / "no")):
            with pytest.raises(FileNotFoundError, match="there is no file"):
                load_images(data, labels)

    def test_labels_where_they_do_not_belong(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="second file"):
            load_images(pair[0])
        with pytest.raises(ValueError, match="without data"):
            load_images(None, pair[1])
        np.savez(tmp_path / "a.npz", x=PIXELS, y=LABELS)
        with pytest.raises(ValueError, match="leave out the labels"):
            load_images(tmp_path / "a.npz", pair[1])

    @pytest.mark.parametrize(
        "damage",
        [
            lambda b: b[:-1],
            lambda b: b + b"\0",
            lambda b: b[:10],
            lambda b: b[:4],
            lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:],
        ],
        ids=["truncated", "too long", "half a header", "no sizes", "wrong size"],
    )
    def test_damaged_idx(self, pair: tuple[Path, Path], damage: object) -> None:
        pair[0].write_bytes(damage(idx(PIXELS)))  # pyright: ignore[reportCallIssue]
        with pytest.raises(ValueError, match=r"is damaged: its IDX header asks for \d+ bytes"):
            load_images(*pair)

    @pytest.mark.parametrize(
        "content", [b"", b"\0", b"PK\3\4....", b"\0\0\7\1\0\0\0\1a", b"\0\0\x08\0"]
    )
    def test_not_idx(self, pair: tuple[Path, Path], content: bytes) -> None:
        pair[0].write_bytes(content)
        with pytest.raises(ValueError, match="is not IDX"):
            load_images(*pair)

    def test_damaged_gzip(self, pair: tuple[Path, Path]) -> None:
        whole = gzip.compress(idx(PIXELS))
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 255
        for content in (whole[:-9], whole[:15], bytes(flipped), whole[:2]):
            pair[0].write_bytes(content)
            with pytest.raises(ValueError, match="is damaged or not gzip"):
                load_images(*pair)

    def test_no_more_is_inflated_than_the_header_asks_for(self, pair: tuple[Path, Path]) -> None:
        pair[0].write_bytes(gzip.compress(idx(PIXELS) + bytes(3 * 10**7), 1))
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="got more than"):
                load_images(*pair)
            assert tracemalloc.get_traced_memory()[1] < 10**6
        finally:
            tracemalloc.stop()

    def test_a_header_that_asks_for_more_than_can_be_inflated(
        self, pair: tuple[Path, Path]
    ) -> None:
        pair[0].write_bytes(gzip.compress(b"\0\0\x08\3" + b"\xff" * 12))
        with pytest.raises(ValueError, match="is damaged: its IDX header asks for"):
            load_images(*pair)

    def test_a_header_of_an_npz_that_claims_terabytes(self, tmp_path: Path) -> None:
        array = io.BytesIO()
        claim = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(array, claim)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("x.npy", array.getvalue() + bytes(80))
        with pytest.raises(ValueError, match="is damaged or not npz"):
            load_images(tmp_path / "a.npz")

    @pytest.mark.parametrize("suffix", [".npz", ".nc"])
    def test_a_file_without_permission_is_not_damaged(
        self, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbidden(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(np, "load", forbidden)
        monkeypatch.setattr("ctebm.study.image_files.check_netcdf", forbidden)
        (tmp_path / f"a{suffix}").write_text("")
        with pytest.raises(PermissionError):
            load_images(tmp_path / f"a{suffix}")

    def test_netcdf_that_leads_into_another_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"password")
        with h5py.File(tmp_path / "a.nc", "w") as file:
            file.create_dataset("input", (8,), "u1", external=[(str(tmp_path / "secret"), 0, 8)])
        with pytest.raises(ValueError, match="in another file"):
            load_images(tmp_path / "a.nc")

    @pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv"])
    def test_damaged_containers(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        np.savez(tmp_path / "a.npz", x=PIXELS, y=LABELS)
        whole = (tmp_path / "a.npz").read_bytes()
        for content in (whole[: len(whole) // 2], b"\x89HDF\r\n\x1a\n", b"1,2\n3\n", b"a,1\nb,2\n"):
            path.write_bytes(content)
            with pytest.raises(ValueError, match="is damaged or not"):
                load_images(path)

    def test_npz_of_objects_is_not_unpickled(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.array([{}], object), y=[0])
        with pytest.raises(ValueError, match="is damaged or not npz") as caught:
            load_images(tmp_path / "a.npz")
        assert "pickle" not in str(caught.value)  # numpy's advice is to load it unsafely

    def test_npy_named_npz(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, PIXELS)
        with pytest.raises(ValueError, match="is damaged or not npz"):
            load_images(tmp_path / "a.npz")

    def test_absent_arrays(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", pictures=PIXELS, y=LABELS)
        with pytest.raises(ValueError, match="needs an array input or images or x, got pictures"):
            load_images(tmp_path / "a.npz")
        xr.Dataset({"input": ("sample", [1.0])}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        with pytest.raises(ValueError, match="needs an array target, got input"):
            load_images(tmp_path / "a.nc")

    @pytest.mark.parametrize("suffix", [".npy", ".txt"])
    def test_other_files_are_not_taken_for_idx(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"1 2 3")
        with pytest.raises(ValueError, match=rf"expected an IDX file .* got .*a\{suffix}"):
            load_images(path)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError, match="expected a file of images, got the folder"):
            load_images(tmp_path)

    def test_labels_from_1(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros((10, 4)), y=np.arange(1, 11))
        with pytest.raises(
            ValueError, match="has labels from 1 to 10; expected whole numbers from 0"
        ):
            load_images(tmp_path / "a.npz")
