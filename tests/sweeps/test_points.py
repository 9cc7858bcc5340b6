"""Points on axes: every combination once, in order, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctebm.sweeps.points import Points

NAMES = st.sampled_from(["gain", "eps", "seed", "sigma"])
VALUES = st.one_of(
    st.lists(st.integers(-99, 99), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(-9, 9), min_size=1, max_size=4, unique=True),
    st.lists(st.text("abc", max_size=3), min_size=1, max_size=4, unique=True),
)
GRIDS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)


@given(GRIDS)
def test_a_grid_is_the_product_of_its_axes(grid):
    points = Points.grid(grid)
    slow = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert [points[i] for i in range(len(points))] == [*points] == slow
    assert points.shape == tuple(map(len, grid.values())) and points.dims == tuple(grid)


@given(GRIDS, GRIDS)
def test_equal_points_and_no_others_have_one_digest(one, other):
    same = list(one.items()) == list(other.items())
    kinds = [type(next(iter(v))) for v in one.values()] == [type(v[0]) for v in other.values()]
    assert (Points.grid(one).digest() == Points.grid(other).digest()) == (same and kinds)
    assert Points.grid(one).digest() == Points.grid(dict(one)).digest()


def test_a_table_is_one_axis():
    points = Points.table([{"a": 1, "b": 0.5}, {"b": 2, "a": 1}])
    assert points.dims == ("point",) and points.names == ("a", "b") and points.shape == (2,)
    assert points[1] == {"a": 1, "b": 2.0}
    both = points.times(Points.grid({"seed": range(3)}))
    assert both.shape == (2, 3) and both[4] == {"a": 1, "b": 2.0, "seed": 1}


def test_numbers_of_numpy_and_torch_are_plain():
    points = Points.grid({"a": np.linspace(0, 1, 3), "b": np.arange(2)})
    assert {type(v) for v in points[0].values()} == {float, int}


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "needs axes"),
        ({"a": [1, 1.0]}, "different values"),
        ({"a": []}, "at least one value"),
        ({"a": "word"}, "needs several values"),
        ({"a": 3}, "needs several values"),
        ({"a": [1, "b"]}, "of one kind"),
        ({"a": [[1]]}, "of one kind"),
        ({"a": [float("nan")]}, "must be finite"),
        ({"a": [2**60]}, r"within 2\^53"),
        ({"a": np.array(["2020-01-01"], "datetime64[ns]")}, "of one kind"),
        ({"a": ["\ud800"]}, "halves of a pair of surrogates"),
        ({"a": {"p", "q"}}, "need an order"),
        ({"a": [0.0, -0.0]}, "different values"),
        ({"status": [1]}, "name of an argument"),
        ({"not a name": [1]}, "name of an argument"),
    ],
)
def test_what_is_no_grid_is_refused(grid, words):
    with pytest.raises(ValueError, match=words):
        Points.grid(grid)


@pytest.mark.parametrize(
    "rows", [[], "a", 3, None, np.array(3), [{}], [1], {"a": 1}, [{"a": 1}, {"b": 1}]]
)
def test_what_is_no_table_is_refused(rows):
    with pytest.raises(ValueError, match=r"list of mappings|same"):
        Points.table(rows)


def test_a_name_stands_once():
    with pytest.raises(ValueError, match="'a' is given twice"):
        Points.table([{"a": 1}]).times(Points.grid({"a": [1]}))


def test_more_points_than_anyone_means_are_refused_at_once():
    with pytest.raises(ValueError, match="'seed' has more than 10000000 values"):
        Points.grid({"seed": range(10**12)})
    axes = {name: range(1000) for name in "abc"}
    with pytest.raises(ValueError, match="1000000000 points are more than 100000000"):
        Points.grid(axes)
