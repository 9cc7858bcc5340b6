"""Five small labelled images, and arrays as IDX files."""

from __future__ import annotations

import struct

import numpy as np

from ctebm.study.images import Images

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
PIXELS = np.arange(5 * 2 * 3).reshape(5, 2, 3).astype(np.uint8) * 8
LABELS = np.array([3, 0, 1, 2, 1], np.uint8)
RATES = PIXELS.reshape(5, 6) / 255


def idx(array: np.ndarray) -> bytes:
    """Return the bytes of a file that holds the array: big-endian, after a header of sizes."""
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def assert_is_sample(images: Images, n: int = 5) -> None:
    """Assert that these are the first of the five images."""
    np.testing.assert_allclose(images.input, RATES[:n], rtol=1e-15)
    assert (images.input.dtype, images.label.dtype) == (np.float64, np.int64)
    np.testing.assert_array_equal(images.label, LABELS[:n])
    assert images.n_classes == 4
