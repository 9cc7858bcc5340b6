"""What a sweep is asked for, checked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctebm.sweeps.request import (
    asked_points,
    check_function,
    check_numbers,
    check_part,
    check_who,
    store_path,
)  # fmt: skip


def test_a_table_at_every_point_of_a_grid():
    points = asked_points({"b": [1, 2, 3]}, [{"a": 0}, {"a": 5}])
    assert points.dims == ("point", "b") and points[4] == {"a": 5, "b": 2}
    with pytest.raises(ValueError, match="a sweep needs a grid or points"):
        asked_points(None, None)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", 10**6])
def test_numbers_that_are_none(value):
    for name in ("workers", "tile_points", "threads"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 to 100000"):
            check_numbers(**{name: value})


def test_numbers_that_need_not_be_given():
    check_numbers(workers=None, tile_points=None, threads=1)
    with pytest.raises(ValueError, match="threads must be a whole number"):
        check_numbers(threads=None)


@pytest.mark.parametrize("who", [(1, "tcp://a:1", None), (None, "tcp://a:1", {}), (None, 3, None)])
def test_one_answer_to_who_computes(who):
    with pytest.raises(ValueError, match="without workers or slurm beside it"):
        check_who(*who)


def test_other_mistakes_are_one_sentence():
    for who, words in [((None, " ", None), "got an empty one"), ((1, None, "main"), "a mapping")]:
        with pytest.raises(ValueError, match=words):
            check_who(*who)
    for part in [(3, 2), (-1, 2), (0, 0), (0, 1.0), 3]:
        with pytest.raises(ValueError, match=r"part is \(i, n\)"):
            check_part(part)
    check_part((2, 2))
    with pytest.raises(TypeError, match="expected a function to sweep, got int"):
        check_function(3)
    assert store_path("a/x.zarr") == Path("a/x.zarr")
    for out in ("x.nc", "x", "\0.zarr"):
        with pytest.raises(ValueError, match=r"ends in \.zarr"):
            store_path(out)
    with pytest.raises(TypeError, match="out is the path of a store, got int"):
        store_path(3)  # pyright: ignore[reportArgumentType]
