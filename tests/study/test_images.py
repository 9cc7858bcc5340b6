"""Labelled images as rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sample_images import LABELS, PIXELS, assert_is_sample, idx

from ctebm.study.images import load_images, split_images


def test_paths_may_be_strings(pair: tuple[Path, Path]) -> None:
    assert_is_sample(load_images(str(pair[0]), str(pair[1])))


class TestRates:
    def test_digits(self) -> None:
        images = load_images()
        assert images.input.shape == (1797, 64)
        assert (images.input.min(), images.input.max()) == (0, 1)
        assert (images.n_classes, images.name) == (10, "digits")
        assert images.note == "pixels divided by 16"
        first = load_images(n_samples=7)
        np.testing.assert_array_equal(first.input, images.input[:7])
        np.testing.assert_array_equal(first.label, np.arange(7))
        assert first.n_classes == 10

    def test_digits_are_those_of_scikit_learn(self) -> None:
        from sklearn.datasets import load_digits

        pixels, label = load_digits(return_X_y=True)
        np.testing.assert_array_equal(load_images().input, pixels / 16)
        np.testing.assert_array_equal(load_images().label, label)

    def test_digits_without_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ctebm.study.images.find_spec", lambda _: None)
        with pytest.raises(ValueError, match=r"scikit-learn for its digits; .* --data"):
            load_images()

    @pytest.mark.parametrize(
        ("dtype", "top"),
        [(np.uint8, 255), (np.int64, 255), (np.uint16, 65535), (np.float64, 1), (np.bool_, 1)],
    )
    def test_scaling(self, tmp_path: Path, dtype: type, top: int) -> None:
        path = tmp_path / "a.npz"
        pixels = np.array([[0, top], [1, 0]]).astype(dtype)
        np.savez(path, input=pixels, label=[0, 1])
        np.testing.assert_allclose(load_images(path).input, [[0, 1], [1 / top, 0]])

    def test_zeros_and_ones_are_rates(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, input=np.eye(2, dtype=np.uint8), label=[0, 1])
        np.testing.assert_array_equal(load_images(path).input, np.eye(2))


class TestRefusals:
    @pytest.mark.parametrize("n", [0, -1, 6])
    def test_number_of_samples(self, pair: tuple[Path, Path], n: int) -> None:
        with pytest.raises(ValueError, match=f"has 5 samples, got n_samples = {n}"):
            load_images(*pair, n_samples=n)

    def test_different_lengths(self, pair: tuple[Path, Path]) -> None:
        pair[1].write_bytes(idx(LABELS[:4]))
        with pytest.raises(ValueError, match="5 images but 4 labels"):
            load_images(*pair)

    def test_exchanged_files(self, pair: tuple[Path, Path]) -> None:
        with pytest.raises(ValueError, match="holds no labels"):
            load_images(pair[1], pair[0])

    def test_no_images(self, pair: tuple[Path, Path]) -> None:
        for empty in (LABELS, PIXELS[:, :0]):
            pair[0].write_bytes(idx(empty))
            with pytest.raises(ValueError, match="holds no images"):
                load_images(*pair)

    def test_empty_csv(self, tmp_path: Path) -> None:
        for text in ("", "label,pixel\n"):
            (tmp_path / "a.csv").write_text(text)
            with pytest.raises(ValueError, match="holds no labels"):
                load_images(tmp_path / "a.csv")
        (tmp_path / "a.csv").write_text("0\n1\n")
        with pytest.raises(ValueError, match="holds no images"):
            load_images(tmp_path / "a.csv")

    @pytest.mark.parametrize(
        ("pixel", "message"),
        [
            (math.nan, "NaN or infinite"),
            (math.inf, "NaN or infinite"),
            (-0.1, "rescale"),
            (1.5, "rescale"),
            (255.0, "rescale"),
            (np.int64(256), "rescale"),
            (np.int64(-1), "rescale"),
            (1j, "expected real numbers"),
            ("a", "expected real numbers"),
        ],
    )
    def test_pixels(self, tmp_path: Path, pixel: object, message: str) -> None:
        np.savez(tmp_path / "a.npz", x=np.array([[pixel, pixel]] * 3), y=[0, 1, 2])
        with pytest.raises(ValueError, match=message):
            load_images(tmp_path / "a.npz", n_samples=1)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, -1], "renumber"),
            ([0, 0.5], "renumber"),
            ([0, math.nan], "renumber"),
            ([0, 2.0**40], "renumber"),
            (["a", "b"], "holds no labels"),
            ([[1, 1], [0, 1]], "one-hot"),
            ([[0, 0], [0, 1]], "one-hot"),
            ([[0.5, 0.5], [0, 1]], "one-hot"),
            (0, "holds no labels"),
        ],
    )
    def test_labels(self, tmp_path: Path, labels: object, message: str) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.array(labels))
        with pytest.raises(ValueError, match=message):
            load_images(tmp_path / "a.npz")

    @pytest.mark.parametrize("order", [[0, 2, 1, 2], [3, 0, 0, 1]])
    def test_one_hot_rows_are_the_labels_of_their_ones(self, tmp_path: Path, order: list) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros((4, 3)), y=np.eye(5)[order])
        found = load_images(tmp_path / "a.npz")
        assert found.label.tolist() == order and found.n_classes == 5
        np.savez(tmp_path / "b.npz", x=np.zeros((4, 3)), y=np.array([[0], [1], [2], [1]]))
        assert load_images(tmp_path / "b.npz").label.tolist() == [0, 1, 2, 1]


class TestSplit:
    def test_classes_keep_their_share(self) -> None:
        images = load_images()
        left, aside = split_images(images, 0.2)
        assert (len(left.label), len(aside.label)) == (1437, 360)
        assert left.n_classes == aside.n_classes == 10
        share = np.bincount(aside.label) / np.bincount(images.label)
        np.testing.assert_allclose(share, 0.2, atol=0.01)
        both = np.concatenate([left.input, aside.input])
        assert sorted(map(bytes, both)) == sorted(map(bytes, images.input))

    def test_a_class_of_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"digits can't be split .* give more images"):
            split_images(load_images(n_samples=11), 0.2)
