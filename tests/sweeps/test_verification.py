"""What is damaged is found, forgotten and computed again."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from sweep_cases import GRID, good

import ctebm
from ctebm.sweeps.verification import forget_damaged, verify_sweep


@pytest.fixture
def path(tmp_path):
    ctebm.sweep(good, GRID, out=tmp_path / "x.zarr", tile_points=4).close()
    return tmp_path / "x.zarr"


def whole(path):
    with ctebm.open(path) as dataset:
        return dataset.load()


def chunks(path):
    return sorted(p for p in path.glob("*/c/**/*") if p.is_file() and "checksums" not in str(p))


def test_any_flipped_bit_is_found_and_repaired(path):
    rng, truth = np.random.default_rng(0), whole(path)
    tiled = [p for p in chunks(path) if p.relative_to(path).parts[0] not in ("a", "b", "unit")]
    for chunk in tiled:
        raw = bytearray(chunk.read_bytes())
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        chunk.write_bytes(raw)
        (damage,) = verify_sweep(path)
        assert damage.points == 4 and "checksums differ" in damage.sentence
        with pytest.raises(ValueError, match="checksums differ"):
            ctebm.open(path)
        assert forget_damaged(path) == [damage] and verify_sweep(path) == []
        ctebm.sweep(good, GRID, out=path).close()
        assert whole(path).identical(truth)


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_missing_or_short_chunk_is_found_and_repaired(path, how):
    truth = whole(path)
    for name in ("z/c/1/0", "status/c/1/0", "ctebm.checksums/c/1/0"):
        content = (path / name).read_bytes()
        (path / name).unlink()
        if how == "truncated":
            (path / name).write_bytes(content[: len(content) // 2])
        found = verify_sweep(path)
        assert found and {damage.tile for damage in found} == {1}
        forget_damaged(path)
        ctebm.sweep(good, GRID, out=path).close()
        assert whole(path).identical(truth) and verify_sweep(path) == []


def test_what_all_points_share_cannot_be_repaired(path):
    (path / "unit/c/0").unlink()
    with pytest.raises(ValueError, match=r"can't be repaired, since 'unit' .* is missing"):
        forget_damaged(path)


def test_what_leads_out_of_the_store_is_damage(path, tmp_path):
    shutil.move(path / "z/c/1/0", tmp_path / "z")
    (path / "z/c/1/0").symlink_to(tmp_path / "z")
    with pytest.raises(ValueError, match="is a link"):
        ctebm.open(path)
