"""Series and panels hold what can be drawn, and nothing else."""

import pytest

from ctebm.figures.series import Panel, Series, against_theory


def test_a_theory_is_drawn_whole_and_measurements_in_part():
    line, points = against_theory(
        [1, 2, 3, 4], [1, 4, 9, 16], [1, 5, 8, 17], "a", colour=2, every=3
    )
    assert line == Series([1, 2, 3, 4], [1, 4, 9, 16], line=True, colour=2)
    assert points == Series([1, 4], [1, 17], "a", colour=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": 3.0}, "expected x as numbers in one dimension"),
        ({"y": [1.0]}, "expected y with 2 numbers, as x has, got 1"),
        ({"label": 3}, "expected label as text"),
        ({"line": "yes"}, "expected line as True or False"),
        ({"colour": True}, "expected colour as a whole number"),
        ({"colour": 1.0}, "expected colour as a whole number"),
        ({"low": [0, 1]}, "expected both ends of bars"),
        ({"low": [0, 1], "high": [1]}, "expected high with 2 numbers"),
    ],
)
def test_what_is_no_series_is_refused(change, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Series(**{"x": [0, 1], "y": [1, 2]} | change)


def test_what_is_no_panel_is_refused():
    with pytest.raises(ValueError, match="letters x and y alone, got 'z'"):
        Panel("a", "x", "y", log="z")
    with pytest.raises(TypeError, match="expected series as a list of Series, got float in it"):
        Panel("a", "x", "y", [1.0])
