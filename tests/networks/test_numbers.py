"""The door for numbers: every refusal is one sentence, and what passes keeps its value."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from ctebm.networks.numbers import finite, finite_array, known_array, one_of, whole, whole_array

NO_NUMBERS = (None, "0.1", 1j, [0.1], torch.ones(1), np.array(0.5 + 0j))


@pytest.mark.parametrize("value", [0.5, Fraction(1, 2), np.float32(0.5), torch.tensor(0.5)])
def test_a_number_of_any_make_is_a_float(value):
    number = finite("eps", value, above=0, below=1)
    assert (number, type(number)) == (0.5, float)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.array(3), torch.tensor(3.0)])
def test_a_whole_number_of_any_make_is_an_int(value):
    number = whole("n", value, least=3, most=3)
    assert (number, type(number)) == (3, int)


def test_a_large_whole_number_keeps_every_digit():
    assert whole("n", 10**18 + 1) == 10**18 + 1


def test_a_number_of_thousands_of_digits_is_told_by_its_size():
    for value, shown in ((3 * 10**20, "3" + "0" * 20), (10**5000, "about 1e5000")):
        with pytest.raises(ValueError, match=rf"got {shown}\.$"):
            whole("n", value, 0, 10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, *NO_NUMBERS])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^expected a finite eps, got .*; use 0\.1\.$"):
        finite("eps", value, remedy="use 0.1")
    with pytest.raises(ValueError, match=r"^expected a whole number n, got .*[^.]\.$"):
        whole("n", value)


def test_bounds_are_reached_or_not_as_said():
    assert [finite("a", 0, low=0), finite("a", 1, high=1)] == [0, 1]
    out: list[dict[str, Any]] = [{"above": 0}, {"low": 1e-9}, {"below": 0}, {"high": -1e-9}]
    for bounds in out:
        with pytest.raises(ValueError, match="expected"):
            finite("a", 0, **bounds)
        with pytest.raises(ValueError, match="expected"):
            finite_array("a", [0.0], **bounds)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"low": 0}, "a finite a >= 0"),
        ({"above": 0}, "a finite a > 0"),
        ({"high": 0}, "a finite a <= 0"),
        ({"below": 0}, "a finite a < 0"),
        ({"low": 0, "below": 1}, "0 <= a < 1"),
        ({"above": 0, "high": 1}, "0 < a <= 1"),
    ],
)
def test_the_message_states_the_range(bounds, words):
    for refused in (
        lambda: finite("a", np.nan, **bounds),
        lambda: finite_array("a", [np.nan], **bounds),
    ):
        with pytest.raises(ValueError) as error:
            refused()
        assert str(error.value) == f"expected {words}, got nan."


@pytest.mark.parametrize("value", [0, 5, 2.7])
def test_whole_numbers_have_bounds(value):
    for refused in (lambda: whole("m", value, 1, 4), lambda: whole_array("m", [2, value], 1, 4)):
        with pytest.raises(ValueError, match=f"^expected a whole number 1 <= m <= 4, got {value}"):
            refused()


def test_arrays_keep_their_shape_and_name_the_first_that_is_wrong():
    assert finite_array("t", [[1, 2]]).shape == (1, 2)
    assert whole_array("n", torch.arange(3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="got -1"):
        finite_array("t", [0, -1, np.nan], low=0)


@pytest.mark.parametrize("values", [None, "12", [1j], [[1], [1, 2]], [None, 1]])
def test_what_holds_no_real_numbers_is_refused(values):
    for door in (finite_array, whole_array):
        with pytest.raises(ValueError, match=r"^expected real numbers for t, got"):
            door("t", values)


def test_what_was_measured_can_be_unknown_and_nothing_else():
    found = known_array("t", [[0.5, np.nan], [1, 2]], low=0.5, high=2)
    np.testing.assert_array_equal(found, [[0.5, np.nan], [1, 2]])
    for bad in (0.4, 2.1, np.inf, -np.inf):
        with pytest.raises(ValueError, match=f"expected 0.5 <= t <= 2, got {bad}"):
            known_array("t", [np.nan, bad], low=0.5, high=2)
    with pytest.raises(ValueError, match="real numbers for t"):
        known_array("t", [[1], [1, 2]])


@pytest.mark.parametrize("word", ["white", None, 1, ["langevin"], np.zeros(2)])
def test_words_are_those_of_a_list(word):
    assert one_of("noise", "langevin", ("langevin", "synaptic", "none")) == "langevin"
    with pytest.raises(ValueError, match=r"^expected noise 'langevin', 'synaptic' or 'none', got"):
        one_of("noise", word, ("langevin", "synaptic", "none"))
