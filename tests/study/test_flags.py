"""Words of a command line that become values."""

from __future__ import annotations

import argparse
from typing import Literal

import pytest

from ctebm.study.flags import Parser, argument_of, unmistakable


@pytest.mark.parametrize(
    ("hint", "word", "value"),
    [(int, "3", 3), (float, "-1e-3", -1e-3), (str, "a", "a"), (tuple[int, ...], " 4", 4),
     (int | None, "5", 5), (Literal["a", "b"], "b", "b")],
)  # fmt: skip
def test_a_word_is_read_by_its_type(hint, word, value):
    assert argument_of(hint)["type"](word) == value


@pytest.mark.parametrize("hint", [int, float, Literal["a", "b"]])
def test_a_word_of_another_type_is_refused(hint):
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected .*, got 'x'"):
        argument_of(hint)["type"]("x")


def test_mistakes_are_sentences():
    parser = Parser()
    parser.add_argument("--gain", **argument_of(float))
    with pytest.raises(ValueError, match="unknown flag --gian; did you mean --gain"):
        parser.parse_args(["--gian", "1"])
    with pytest.raises(ValueError, match="expected a flag, got 'x'"):
        parser.parse_args(["x"])
    assert parser.parse_args(unmistakable(["--gain", "-.5"])).gain == -0.5
