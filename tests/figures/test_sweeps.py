"""A sweep drawn: means, intervals, bounds, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import ctebm
from ctebm.figures.sweeps import _scales, claims, mean_interval, sweep_figure


def test_an_interval_is_students():
    values = xr.DataArray(np.random.default_rng(0).normal(size=(3, 8)), dims=("a", "seed"))
    values[1, 2:] = np.nan
    values[2, 1:] = np.nan
    mean, low, high = mean_interval(values)
    for i, n in enumerate((8, 2)):
        row = values.values[i, :n]
        expected = stats.t.interval(0.95, n - 1, row.mean(), stats.sem(row))
        np.testing.assert_allclose((low[i], high[i]), expected, rtol=1e-12)
    assert mean[2] == values[2, 0] and np.isnan(low[2])


def test_an_interval_holds_the_truth_as_often_as_it_says():
    draws = xr.DataArray(np.random.default_rng(1).normal(2.0, size=(4000, 5)), dims=("n", "seed"))
    _, low, high = mean_interval(draws)
    share = float(((low < 2) & (high > 2)).mean())
    assert abs(share - 0.95) < 4.5 * np.sqrt(0.95 * 0.05 / 4000)


def test_axes_lines_and_words():
    grid = {"a": [1, 2, 3], "word": ["x", "y"], "seed": range(3)}
    found = ctebm.sweep(lambda a, word, seed: {"n": a + seed, "m": len(word)}, grid)
    found.status[0, 0, 0] = 2
    figure = sweep_figure(found)
    assert [ax.get_xlabel() for ax in figure.axes] == ["a", "a"]
    assert [ax.get_title("left")[-1] for ax in figure.axes] == ["m", "n"]
    line = figure.axes[1].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [2, 3, 4])
    assert {one.get_label() for one in figure.axes[0].lines} == {"word = x", "word = y"}
    texts = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))
    assert "1 of 18 points are missing" in texts and "Means of 3 seeds" in texts


def test_claims_are_found_by_their_words():
    text = (("a", "claim"), [["small", ""], ["known", "small"]])
    numbers = (("a", "claim"), [[0.1, 0.0], [1.0, 0.2]])
    data = {"claim_text": text, "value": numbers, "bound": numbers, "holds": numbers}
    found = claims(xr.Dataset(data))
    assert list(found) == ["small", "known"]
    np.testing.assert_array_equal(found["known"].value, [np.nan, 1.0])
    dataset = xr.Dataset(data, {"a": [0.5, 1.0]}).assign(status=("a", [1, 1]))
    assert [len(ax.lines) for ax in sweep_figure(dataset).axes] == [2, 2]


def test_what_has_no_number_anywhere_is_named_instead_of_drawn():
    found = ctebm.sweep(lambda a: {"n": a, "never": float("nan"), "nor": np.nan}, {"a": [1, 2]})
    figure = sweep_figure(found)
    assert [ax.get_title("left") for ax in figure.axes] == ["n"]
    texts = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))
    assert "Without a number at any point: never; nor." in " ".join(texts.split())
    with pytest.raises(ValueError, match="numbers without further dimensions"):
        sweep_figure(found.drop_vars("n"))


def test_what_cannot_be_drawn_is_refused():
    words = ctebm.sweep(lambda word: {"n": len(word)}, {"word": ["a", "bc"]})
    with pytest.raises(ValueError, match="needs an axis of numbers, got word"):
        sweep_figure(words)
    many = ctebm.sweep(lambda a: xr.Dataset({"s": ("unit", [a, 1.0])}), {"a": [1, 2]})
    with pytest.raises(ValueError, match="numbers without further dimensions"):
        sweep_figure(many)


def test_of_further_axes_the_first_values_are_drawn():
    grid = {"a": [1, 2, 3], "b": [0.5, 2.0], "c": [10, 20], "word": ["x", "y"]}
    found = ctebm.sweep(lambda a, b, c, word: {"n": a + b + c + len(word)}, grid)
    (ax,) = sweep_figure(found).axes
    assert ax.get_xlabel() == "a"
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert list(lines) == ["b = 0.5", "b = 2.0"]
    for b, line in zip((0.5, 2.0), lines.values(), strict=True):
        np.testing.assert_allclose(line, np.array([1, 2, 3]) + b + 10 + 1)


def test_a_bound_that_differs_between_seeds_is_drawn_where_it_is_weakest():
    text = (("a", "seed", "claim"), np.full((2, 3, 1), "small", object))
    value = (("a", "seed", "claim"), np.arange(6.0).reshape(2, 3, 1) / 10)
    bound = (("a", "seed", "claim"), np.array([1.0, 3.0, 2.0, 4.0, 6.0, 5.0]).reshape(2, 3, 1))
    data = {"claim_text": text, "value": value, "bound": bound, "holds": value}
    dataset = xr.Dataset(data, {"a": [0.5, 1.0], "seed": range(3)})
    (ax,) = sweep_figure(dataset.assign(status=(("a", "seed"), np.ones((2, 3), int)))).axes
    (line,) = [line for line in ax.lines if line.get_label() == "bound"]
    assert [*line.get_ydata()] == [3.0, 6.0]
    mean = next(line for line in ax.lines if line is not line_of(ax, "bound"))
    np.testing.assert_allclose(mean.get_ydata(), [0.1, 0.4])


def line_of(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_an_axis_is_logarithmic_where_means_and_ends_of_intervals_are_positive():
    x = np.array([1.0, 2.0])
    near = xr.DataArray([[1.0, 1.1, 0.9], [1000.0, 1001.0, 999.0]], dims=("a", "seed"))
    wide = xr.DataArray([[1.0, 9.0, 1.0], [1000.0, 1001.0, 999.0]], dims=("a", "seed"))
    assert _scales(near, None, x) == "y" and _scales(wide, None, x) == ""
    assert _scales(near[:, 0], None, np.array([1.0, 1000.0])) == "xy"
    assert _scales(near, xr.DataArray([0.0, 1.0], dims="a"), x) == ""
