"""Axes of a sweep from flags and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctebm.study import Settings
from ctebm.study.axes import grid_axes, seed_axis, setting_at, table_rows


@dataclass(frozen=True)
class Some(Settings):
    gain: float = 1.0
    eps: tuple[float, ...] = (0.1, 0.2)
    sizes: tuple[int, ...] = (4, 3, 2)
    activation: str = "tanh"
    save_all: bool = False
    solver: Literal["euler", "heun"] = "euler"
    weights: Path | None = None


def test_values_are_read_by_the_type_of_their_setting():
    words = ["gain=0.25:3:12", "eps=0.5,0.1", "sizes=4 3 2;4 2", "save-all=true,no"]
    words += ["solver=heun", "activation=tanh,logistic:gain=4", "weights=a.nc"]
    axes = grid_axes(Some, words)
    np.testing.assert_allclose(axes["gain"], np.linspace(0.25, 3, 12), rtol=1e-15)
    del axes["gain"]
    assert axes == {
        "eps": [0.5, 0.1], "sizes": ["4 3 2", "4 2"], "save_all": [True, False],
        "solver": ["heun"], "activation": ["tanh", "logistic:gain=4"], "weights": ["a.nc"],
    }  # fmt: skip
    assert setting_at(tuple[int, ...], "4 3 2") == (4, 3, 2)
    assert setting_at(tuple[float, ...], 0.5) == (0.5,)
    assert setting_at(Path | None, "a.nc") == Path("a.nc")


@given(st.integers(-50, 50), st.integers(0, 20), st.integers(2, 9))
def test_ranges_of_whole_numbers(low, step, n):
    high = low + step * (n - 1)
    axes = grid_axes(Some, [f"seed={low}:{high}:{n}"])
    assert axes["seed"] == np.linspace(low, high, n).round().astype(int).tolist()
    assert {type(v) for v in axes["seed"]} == {int}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("gian=1", "'gian' is no setting that can be swept; did you mean 'gain'"),
        ("out=x", "'out' is no setting that can be swept"),
        ("threads=1,2", "'threads' is no setting that can be swept; choose from"),
        ("gain", "takes NAME=VALUES"),
        ("gain=", "takes NAME=VALUES"),
        ("gain=a", "expected a number, got 'a'"),
        ("gain=1:2:0", "--grid gain=1:2:0 needs 2 or more values"),
        ("gain=1:2:1", "needs 2 or more values from end to end"),
        ("gain=1:2:100000000", "more than 10000000 values"),
        ("gain=1:nan:3", "--grid gain: expected a finite number, got 'nan'"),
        ("gain=1,inf", "expected a finite number, got 'inf'"),
        ("gain=1,,2", "--grid gain: expected a number, got ''"),
        ("seed=0:1:3", "not whole"),
        ("gain=1 2", "--grid gain: expected one value, got '1 2'"),
        ("save_all=perhaps", "expected true or false"),
        ("solver=rk4", "expected one of euler, heun"),
    ],
)
def test_mistakes_are_one_sentence(word, sentence):
    with pytest.raises(ValueError, match=sentence):
        grid_axes(Some, [word])


def test_an_axis_is_named_once():
    with pytest.raises(ValueError, match="names gain twice"):
        grid_axes(Some, ["gain=1", "gain=2"])


def test_a_table_is_read_line_by_line(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("gain, save-all\n0.5, yes\n\n2, no\n")
    assert table_rows(Some, path) == [
        {"gain": 0.5, "save_all": True}, {"gain": 2.0, "save_all": False}
    ]  # fmt: skip
    for text, sentence in [
        ("gain\n", "a line of names and a line"),
        ("gain,gain\n1,2\n", "names a column twice"),
        ("gain\n1\n1,2\n", r"line 3: expected a value for each of 1 names, got 2"),
        ("gain\nx\n", "line 2: .* expected a number"),
        ("color\n1\n", "line 1: 'color' is no setting"),
        ("gain\n\n\n1\n\nnan\n", "line 6: gain: expected a finite number, got 'nan'"),
        ("gain;seed\n1;2\n", "has ';' between columns; put commas there"),
        ('gain\n"1\n', "not a table in CSV: unexpected end of data"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            table_rows(Some, path)


def test_replicates_are_seeds():
    assert seed_axis(3, 2) == {"seed": [3, 4]} and seed_axis(3, 1) == {"seed": [3]}
    for n in (0, 10**9):
        with pytest.raises(ValueError, match=f"from 1 to 10000000, got {n}"):
            seed_axis(0, n)


@pytest.mark.parametrize("text", ['gain\n"1', 'gain\n"1"2\n', "gain\n"])
def test_a_table_that_is_cut_off_is_refused(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"t\.csv (is not a table in CSV|needs a line of names)"):
        table_rows(Some, path)


def test_a_table_may_have_spaces_after_its_commas_and_empty_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('gain, activation\n\n1, "logistic:gain=4"\n2,tanh\n')
    assert table_rows(Some, path) == [
        {"gain": 1.0, "activation": "logistic:gain=4"}, {"gain": 2.0, "activation": "tanh"},
    ]  # fmt: skip
