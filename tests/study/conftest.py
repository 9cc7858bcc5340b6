"""Files that several tests of images read."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_images import LABELS, PIXELS, idx


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """IDX files of five images and of their labels."""
    data, labels = tmp_path / "images-idx3-ubyte", tmp_path / "labels-idx1-ubyte"
    data.write_bytes(idx(PIXELS))
    labels.write_bytes(idx(LABELS))
    return data, labels
