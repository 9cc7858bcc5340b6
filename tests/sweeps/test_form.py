"""Results of one form, and what is refused as one of another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import ctebm
from ctebm.sweeps.form import Form, as_result


def result(**more):
    data = {"s": ("unit", np.array([0.5, 1.5], "float32")), "z": 1j, "n": 3, "word": "a"}
    coords = {"unit": ["p", "q"], "time": ("unit", [0.1, 0.2]), "gain": 2.0}
    return xr.Dataset(data, coords).assign(more)


def test_numbers_are_kept_in_a_type_that_can_be_missing():
    form = Form.of(result(), ["gain"])
    kinds = {name: one.dtype for name, one in form.swept.items()}
    expected = {"s": "float32", "z": "complex128", "n": "float64", "word": "str"}
    assert kinds == expected | {"time": "float64"}
    assert form.swept["time"].coordinate and not form.swept["s"].coordinate
    assert set(form.labels) == {"unit"} and np.isnan(form.swept["z"].missing)
    row = form.row(result(), ["gain"])
    assert row["n"] == 3 and row["s"].dtype == np.float32 and row["word"] == "a"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (result().isel(unit=[0]), "'unit' is not that of the first point"),
        (result().assign_coords(unit=["p", "r"]), "'unit' is not that of the first point"),
        (result(more=1.0), "'more' is not among"),
        (result().drop_vars("n"), "'n' is missing"),
        (result().assign(n=1j), "'n' is complex"),
        (result().assign(n=2**60), "beyond 2.53"),
        (result().assign(n="three"), "'n' must hold numbers"),
        (result().assign(word=3), "'word' must hold words"),
        (result().assign(s=1.0), "'s' has the sizes"),
    ],
)
def test_another_form_is_refused(other, words):
    form = Form.of(result(), ["gain"])
    with pytest.raises(ValueError, match=words):
        form.row(other, ["gain"])


def test_what_varies_is_no_part_of_a_result():
    one = xr.Dataset({"error": (("eps", "unit"), [[1.0, 2.0]])}, {"eps": [0.1], "seed": 3})
    assert as_result(one, ["eps", "seed"]).identical(xr.Dataset({"error": ("unit", [1.0, 2.0])}))
    with pytest.raises(ValueError, match="2 entries along 'eps'"):
        as_result(xr.Dataset({"error": ("eps", [1.0, 2.0])}), ["eps"])


def test_records_and_mappings_are_results():
    pair = ctebm.DenseNetwork([[0, 1], [1, 0]], [0.1, 0.2], ctebm.Tanh())
    found = as_result(ctebm.simulate(ctebm.Dynamics(pair), [0.0, 0.0], n_steps=2, eps=0.1), [])
    assert "result_status" in found and "status" not in found
    assert float(as_result({"error": 0.5}, []).error) == 0.5
    for other in (None, 3, xr.DataArray([1.0])):
        with pytest.raises(TypeError, match="the function returned"):
            as_result(other, [])
    with pytest.raises(ValueError, match="nothing that could be kept"):
        Form.of({}, [])
    with pytest.raises(ValueError, match="a sweep can't keep"):
        Form.of(xr.Dataset({"t": np.datetime64("2026-01-01", "ns")}), [])


def test_numbers_take_no_detour_and_are_the_same():
    first = {"n": 1, "x": torch.tensor(0.5, requires_grad=True), "word": "a"}
    form = Form.of(first, [])
    by_dataset = form.row(as_result(first, []), [])
    assert form.row(first, []) == by_dataset == {"n": 1.0, "x": 0.5, "word": "a"}
    for other in ({"n": 1, "x": 1}, first | {"more": 1}, first | {"n": [1, 2]}, first | {"n": "a"}):
        with pytest.raises(ValueError):
            form.row(other, [])


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"x/y": 1.0}, "'x/y', which can't be a file's"),
        ({"..": 1.0}, "can't be a file's"),
        ({"": 1.0}, "can't be a file's"),
        ({".hidden": 1.0}, "can't be a file's"),
        ({"zarr.json": 1.0}, "can't be a file's"),
        ({"x" * 300: 1.0}, "can't be a file's"),
        (xr.Dataset({"x": ("k/l", [1.0])}), "'k/l', which can't be a file's"),
        ({"x": [1.0, 2.0]}, r"'x' has 2 values of the sizes \(2,\), .* return a Dataset"),
        ({"x": np.longdouble(1)}, "'x' holds .*, which a sweep can't keep"),
        ({"x": np.datetime64("2020-01-01")}, "which a sweep can't keep"),
        ({"x": b"word"}, "which a sweep can't keep"),
        ({"x": None}, "'x' must hold numbers"),
        ({"x": 2**60}, "beyond 2.53"),
        ({"x": "\ud800"}, "half of a pair of surrogates"),
        (xr.Dataset({"x": ("k", np.array([1, "b"], object))}), "'x' must hold words"),
        ({"status": 1.0, "result_status": 1.0}, "'status' and 'result_status', which are one"),
        (xr.Dataset({"x": ((), 1.0, {"scale_factor": 2.0})}), "attribute 'scale_factor'"),
        (xr.Dataset({"x": ((), 1.0, {"_FillValue": 1})}), "attribute '_FillValue'"),
        (xr.Dataset({"x": ((), 1.0, {"units": None})}), "attribute 'units' .* leave it out"),
    ],
)
def test_what_a_store_cannot_hold_is_refused_in_a_sentence(odd, words):
    with pytest.raises(ValueError, match=words):
        Form.of(odd, ["gain"])


def test_a_number_is_not_rounded_to_the_type_of_the_first_point():
    form = Form.of({"x": np.float32(0.1)}, ["gain"])
    assert form.row({"x": 0.5}, ["gain"])["x"] == 0.5  # which a float32 holds
    assert np.isnan(form.row({"x": np.nan}, ["gain"])["x"])
    with pytest.raises(ValueError, match="'x' is float64, and that of the first point was float32"):
        form.row({"x": 0.1}, ["gain"])


def test_what_is_masked_is_missing():
    form = Form.of({"x": 1.0}, ["gain"])
    assert np.isnan(form.row({"x": np.ma.masked}, ["gain"])["x"])


def test_tensors_of_every_float_are_numbers():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        value = torch.tensor(0.5, dtype=dtype, requires_grad=True)
        assert Form.of({"x": value}, ["gain"]).row({"x": value}, ["gain"])["x"] == 0.5


def test_attributes_of_numpy_are_written(tmp_path):
    def function(gain):
        return xr.Dataset({"x": ((), gain, {"limits": np.arange(2)})})

    with ctebm.sweep(function, {"gain": [1.0]}, out=tmp_path / "x.zarr") as found:
        assert [*found.x.attrs["limits"]] == [0, 1]


def test_a_value_under_the_name_of_an_axis_is_refused_and_a_coordinate_is_left_out():
    with pytest.raises(ValueError, match="the variable 'a', which is an axis of the sweep"):
        as_result({"a": 2.0, "b": 3.0}, ["a"])
    with pytest.raises(ValueError, match="the variable 'a', which is an axis of the sweep"):
        as_result(xr.Dataset({"a": 2.0, "b": 3.0}), ["a"])
    assert list(as_result(xr.Dataset({"b": 3.0}, {"a": 2.0}), ["a"]).variables) == ["b"]


def test_bytes_of_a_point_are_those_of_its_values():
    """A word is counted with 32 bytes."""
    sizes = {name: one.n_bytes for name, one in Form.of(result(), ["gain"]).swept.items()}
    assert sizes == {"s": 2 * 4, "z": 16, "n": 8, "word": 32, "time": 2 * 8}
    words = xr.Dataset({"words": (("a", "b"), [["x", "y", "z"]])})
    assert Form.of(words, []).n_bytes == 3 * 32
