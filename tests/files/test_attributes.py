"""Attributes that files hold, and the refusal of others."""

import numpy as np
import pytest
import xarray as xr

from ctebm.files.attributes import writable


def dataset(attrs: dict, of_variable: dict | None = None) -> xr.Dataset:
    return xr.Dataset({"real": ("x", [1.0, 2.0], of_variable)}, attrs=attrs)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (True, "0 or 1"),
        (None, "leave it out"),
        ({"a": 1}, "json.dumps"),
        (np.bool_(True), "0 or 1"),
        ([1, "a"], "list of one of these"),
        ([True], "list of one of these"),
        ([[1]], "list of one of these"),
        (1j, "list of one of these"),
        (2**70, "list of one of these"),
        ("a\0", "list of one of these"),
        (np.zeros((2, 2)), "list of one of these"),
    ],
    ids=str,
)
def test_what_files_can_not_hold_is_refused(value, remedy):
    with pytest.raises(ValueError, match=f"'bad' of the dataset .*{remedy}"):
        writable(dataset({"bad": value}))
    with pytest.raises(ValueError, match="'bad' of variable 'real'"):
        writable(dataset({}, {"bad": value}))


def test_numpys_types_become_plain_and_the_dataset_is_not_changed():
    numbers = {"i": np.int64(3), "f": np.float32(0.5), "s": np.str_("a"), "a": np.arange(2)}
    given = dataset(numbers)
    found = writable(given).attrs
    assert found == {"i": 3, "f": 0.5, "s": "a", "a": [0, 1]}
    assert type(found["i"]) is int
    assert type(given.attrs["i"]) is np.int64


def test_a_multi_index_is_refused():
    given = xr.Dataset({"a": (("x", "y"), np.ones((2, 2)))}, {"x": [0, 1], "y": [0, 1]})
    with pytest.raises(ValueError, match="reset_index"):
        writable(given.stack(both=("x", "y")))


def test_a_plain_index_is_written():
    given = xr.Dataset({"a": ("x", [1.0, 2.0])}, {"x": ["left", "right"]})
    assert writable(given).identical(given)
