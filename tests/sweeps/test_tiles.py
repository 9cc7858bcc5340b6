"""Tiles hold every point once, and are the chunks of a store."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctebm.sweeps.tiles import Tiling, points_a_tile

SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)


@given(SHAPES, st.integers(1, 40))
def test_every_point_is_in_one_tile(shape, most):
    tiling = Tiling.of(shape, most)
    tiles = [tiling.points(i) for i in range(len(tiling))]
    assert sorted(np.concatenate(tiles).tolist()) == list(range(int(np.prod(shape))))
    assert max(map(len, tiles)) <= most
    for i, points in enumerate(tiles):
        assert {tiling.tile_of(int(p)) for p in points} == {i}


@given(SHAPES, st.integers(1, 40))
def test_a_tile_is_a_chunk(shape, most):
    """The numbers of a tile are those that its slices cut out, and its key is the chunk's."""
    tiling = Tiling.of(shape, most)
    numbers = np.arange(np.prod(shape)).reshape(shape)
    for i in range(len(tiling)):
        np.testing.assert_array_equal(numbers[tiling.slices(i)].ravel(), tiling.points(i))
        starts = [s.start // b for s, b in zip(tiling.slices(i), tiling.block, strict=True)]
        assert tiling.key(i) == "/".join(map(str, starts)) and tiling.tile(tiling.key(i)) == i


@given(st.integers(1, 10**6), st.floats(1e-9, 1e4), st.integers(0, 10**9), st.integers(1, 64))
def test_a_tile_holds_about_a_second_of_work(n, seconds, n_bytes, workers):
    size = points_a_tile(n, seconds, n_bytes, workers)
    assert size >= 1
    if size > 1:
        assert (size - 1) * seconds < 1.0 and size * n_bytes <= 2**28
        assert size - 1 < n / (4 * workers)
