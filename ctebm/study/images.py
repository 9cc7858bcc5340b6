"""Labelled images as rates: the digits of scikit-learn, or a file of the user's own.

The first `n_samples` in the order of the file are taken, so that a choice of samples needs no seed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ctebm.study.image_files import read_image_file

__all__ = ["Images", "load_images", "split_images"]


@dataclass(frozen=True, eq=False)
class Images:
    """Images in file order.

    Attributes
    ----------
    input : numpy.ndarray
        Rates in [0, 1], float64, of shape ``(sample, pixel)``.
    label : numpy.ndarray
        Classes from 0, int64, of shape ``(sample,)``.
    n_classes : int
        Number of classes in the whole file: its largest label plus one, or its one-hot columns.
    name : str
        ``"digits"`` or the file's name.
    note : str
        How pixels became rates.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.study.images import Images
    >>> Images(np.zeros((2, 9)), np.array([0, 1]), 2, "dark", "no pixels at all").input.shape
    (2, 9)
    """

    input: np.ndarray
    label: np.ndarray
    n_classes: int
    name: str
    note: str

    def check_sizes(self, sizes: Sequence[int], remedy: str, owner: str = "--sizes") -> None:
        """Refuse layers that don't begin with the pixels and end with the classes.

        Parameters
        ----------
        sizes : sequence of int
            Units of each layer, input first.
        remedy : str
            What to do instead.
        owner : str
            Whose sizes they are.

        Raises
        ------
        ValueError
            If they don't fit.

        Examples
        --------
        >>> from ctebm.study.images import load_images
        >>> load_images().check_sizes((64, 16, 5), "end with 10")
        Traceback (most recent call last):
        ValueError: digits has 10 classes but --sizes ends with 5; end with 10.
        """
        n_pixels = self.input.shape[1]
        if sizes[0] != n_pixels:
            raise ValueError(
                f"{self.name} has {n_pixels} pixels but {owner} begins with {sizes[0]}; {remedy}."
            )
        if sizes[-1] != self.n_classes:
            raise ValueError(
                f"{self.name} has {self.n_classes} classes but {owner} ends with {sizes[-1]}; "
                f"{remedy}."
            )


def load_images(
    data: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    n_samples: int | None = None,
) -> Images:
    """Return the first `n_samples` images of `data`, or of scikit-learn's digits.

    Whole-number pixels beyond 1 are taken as bytes and divided by 255 (16-bit unsigned ones by
    65535); other pixels must lie in [0, 1] already. The whole file is checked, not the first
    `n_samples` only.

    Parameters
    ----------
    data : path, optional
        One of: an IDX file of images; an ``.npz`` with an array ``input``, ``images`` or ``x`` and
        one ``label``, ``labels`` or ``y``; a ``.csv`` with the label in the first column and an
        optional header; a netCDF file ``.nc`` with ``input`` and ``target``. Samples come first;
        labels are whole numbers from 0, or one-hot rows.
    labels : path, optional
        The IDX file of labels, if `data` is IDX.
    n_samples : int, optional
        How many; all if None.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or its contents aren't labelled images.

    Examples
    --------
    >>> from ctebm.study.images import load_images
    >>> images = load_images(n_samples=3)
    >>> images.input.shape, images.label, images.note
    ((3, 64), array([0, 1, 2]), 'pixels divided by 16')
    """
    data = None if data is None else Path(data)
    labels = None if labels is None else Path(labels)
    if data is None:
        if labels is not None:
            raise ValueError(f"labels {labels} were given without data; give the images too.")
        pixels, target, scaling = _digits()
    else:
        pixels, target = read_image_file(data, labels)
        scaling = _scaling(pixels, data)
    name = "digits" if data is None else data.name
    label, n_classes = _as_labels(target, labels or data or Path(name))
    if pixels.ndim < 2 or pixels.size == 0:
        raise ValueError(
            f"{name} holds no images: expected an array (sample, pixel ...), got shape "
            f"{pixels.shape}."
        )
    if len(pixels) != len(label):
        raise ValueError(
            f"{name} has {len(pixels)} images but {len(label)} labels; give the labels that "
            "belong to these images."
        )
    if n_samples is not None and not 1 <= n_samples <= len(pixels):
        raise ValueError(f"{name} has {len(pixels)} samples, got n_samples = {n_samples}.")
    rates = pixels[:n_samples].reshape(len(label[:n_samples]), -1).astype(np.float64)
    note = f"pixels divided by {scaling}" if scaling != 1 else "pixels as they are"
    return Images(rates / scaling, label[:n_samples], n_classes, name, note)


def split_images(images: Images, share: float) -> tuple[Images, Images]:
    """Part images into two, with the same share of every class in both; no seed is needed.

    Parameters
    ----------
    images : Images
        At least two of each class.
    share : float
        Of the images that are set aside, in (0, 1).

    Returns
    -------
    Images, Images
        Those that are left, and those that are set aside.

    Raises
    ------
    ValueError
        If there are too few images of a class.

    Examples
    --------
    >>> from ctebm.study.images import load_images, split_images
    >>> train, test = split_images(load_images(), 0.2)
    >>> len(train.label), len(test.label)
    (1437, 360)
    """
    from sklearn.model_selection import train_test_split

    try:
        parts = train_test_split(
            np.arange(len(images.label)), test_size=share, stratify=images.label, random_state=0
        )
    except ValueError as error:
        raise ValueError(
            f"{images.name} can't be split with the same share of every class in both parts "
            f"({error}); give more images, or others to test on."
        ) from error
    left, aside = (
        dataclasses.replace(images, input=images.input[i], label=images.label[i]) for i in parts
    )
    return left, aside


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    """Return the digits of scikit-learn from its file; to import it would take a second."""
    installed = find_spec("sklearn")
    if installed is None or installed.origin is None:
        raise ValueError("expected scikit-learn for its digits; install it, or give --data.")
    path = Path(installed.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int), 16


def _scaling(pixels: np.ndarray, path: Path) -> int:
    """Return what to divide pixels by, or refuse them."""
    if pixels.size == 0:
        return 1
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"{path} has pixels of type {pixels.dtype}; expected real numbers.")
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{path} has pixels that are NaN or infinite; remove these samples.")
    text = path.suffix == ".csv"  # which says nothing of types
    whole = high > 1 and (pixels.dtype.kind in "ui" or (text and _is_whole(pixels)))
    top = 1 if not whole else 65535 if pixels.dtype == np.uint16 else 255
    if low < 0 or high > top:
        raise ValueError(
            f"{path} has pixels from {low:g} to {high:g}; expected bytes 0 to 255 or rates in "
            "[0, 1]: rescale them."
        )
    return top


def _as_labels(target: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Return labels and the number of classes of whole numbers or one-hot rows."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim not in (1, 2) or target.size == 0 or target.dtype.kind not in "buif":
        raise ValueError(
            f"{path} holds no labels: expected one whole number or one-hot row a sample, got "
            f"{target.dtype} of shape {target.shape}."
        )
    if target.ndim == 2:
        if not (np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all()):
            raise ValueError(f"{path} has rows of labels that aren't one-hot; write a single 1.")
        return target.argmax(axis=1).astype(np.int64), target.shape[1]
    if not _is_whole(target) or target.min() != 0 or target.max() >= 2**31:
        raise ValueError(
            f"{path} has labels from {target.min():g} to {target.max():g}; expected whole numbers "
            "from 0: renumber the classes."
        )
    return target.astype(np.int64), int(target.max()) + 1


def _is_whole(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and (array == np.floor(array)).all())
