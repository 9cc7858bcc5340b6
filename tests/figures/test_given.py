"""What is no dataset of a figure's source, no place in it, no numbers, is refused in words."""

import inspect

import numpy as np
import pytest
import torch
import xarray as xr

from ctebm import figures
from ctebm.figures.given import check_dataset, check_place, check_text, row_of_numbers


def test_a_dataset_has_what_is_drawn_as_variable_dimension_or_attribute():
    dataset = xr.Dataset({"a": ("t", [1.0])}, attrs={"b": 1})
    check_dataset(dataset, "a run", "a b t")
    with pytest.raises(ValueError, match=r"dataset of a run, got one without c, d\."):
        check_dataset(dataset, "a run", "a c d")
    with pytest.raises(TypeError, match="dataset of a run, got DataArray"):
        check_dataset(dataset.a, "a run", "a")


def test_a_place_is_counted_from_either_end():
    for place in (0, 2, -3, np.int64(1)):
        check_place("units", place, 3)
    for place in (3, -4):
        with pytest.raises(IndexError, match=f"one of 3 units, got {place}"):
            check_place("units", place, 3)
    for place in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match="one of 3 units"):
            check_place("units", place, 3)


def test_text_is_text():
    check_text("label", "")
    with pytest.raises(TypeError, match=r"expected label as text, got 3\."):
        check_text("label", 3)


def test_a_row_has_numbers_in_one_dimension():
    for row in ([1, 2], (1.0, 2.0), np.array([True, False]), torch.ones(2), xr.DataArray([1, 2])):
        assert len(row_of_numbers("x", row, 2)) == 2
    assert len(row_of_numbers("x", [])) == 0
    for other in (
        3.0,
        [[1.0]],
        ["a"],
        [1j],
        [[1], [1, 2]],
        None,
        object(),
        torch.eye(2).to_sparse(),
    ):
        with pytest.raises(ValueError, match="expected x as numbers in one dimension, got "):
            row_of_numbers("x", other)
    with pytest.raises(ValueError, match=r"ndarray of shape \(2, 3\)"):
        row_of_numbers("x", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"got '(a){56}\.\.\.\."):
        row_of_numbers("x", "a" * 99)
    with pytest.raises(ValueError, match="expected y with 3 numbers, as x has, got 2"):
        row_of_numbers("y", [1, 2], 3)


@pytest.mark.parametrize("name", [n for n in dir(figures) if n.endswith("_figure")])
def test_every_figure_refuses_a_dataset_that_is_another_one(name):
    """In words, before anything is drawn."""
    draw = getattr(figures, name)
    if "dataset" not in inspect.signature(draw).parameters:
        return
    for other in (xr.Dataset(), xr.Dataset({"other": ("k", [1.0])})):
        with pytest.raises(ValueError, match=r"expected .*dataset.* got"):
            draw(other)
