"""Panels draw what they are given, on the scales they are given."""

import matplotlib as mpl
import numpy as np
import pytest

import ctebm
from ctebm.figures import Panel, Series, panel_figure
from ctebm.figures.style import DASHES, MARKERS


def test_a_theory_is_a_line_and_a_measurement_is_points_with_bars():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 9.0])
    theory = Series(x, y, "theory", line=True)
    points = Series(x, y + 0.1, "measured", colour=1, low=y, high=y + 0.2)
    (ax,) = panel_figure([Panel("title", "x", "y", [theory, points], log="xy")]).axes
    line, dots = ax.lines
    assert line.get_linewidth() > 0 and line.get_marker() == "None"
    assert dots.get_linewidth() == 0 and dots.get_marker() == "s"
    assert line.get_color() != dots.get_color()
    np.testing.assert_array_equal(dots.get_ydata(), y + 0.1)
    assert [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()] == [
        [low, low + 0.2] for low in y.tolist()
    ]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    (legend,) = ax.get_figure().legends
    assert [text.get_text() for text in legend.get_texts()] == ["theory", "measured"]


def test_a_map_has_cells_around_its_points():
    values = np.arange(6.0).reshape(2, 3) / 5
    field = (np.array([1.0, 10.0, 100.0]), np.array([0.0, 1.0]), values, "share")
    ax = panel_figure([Panel("", "x", "y", log="x", field=field)]).axes[0]
    (mesh,) = ax.collections
    edges = mesh.get_coordinates()
    np.testing.assert_allclose(edges[0, :, 0], 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))
    np.testing.assert_allclose(edges[:, 0, 1], [-0.5, 0.5, 1.5])
    np.testing.assert_array_equal(mesh.get_array(), values)


@pytest.mark.parametrize("n, rows", [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_panels_fill_rows_of_three(n, rows):
    figure = panel_figure([Panel(str(i), "x", "y") for i in range(n)])
    assert figure.axes[0].get_subplotspec().get_gridspec().nrows == rows
    shown = [ax for ax in figure.axes if ax.axison]
    letters = [rf"$\mathbf{{{letter}}}$  " for letter in "abcdefg"] if n > 1 else [""]
    assert [ax.get_title("left") for ax in shown] == [f"{letters[i]}{i}" for i in range(n)]


def named(*labels):
    """A panel with a series for each label, in the order of the colours."""
    series = [Series([1, 2], [i, i + 1], label, colour=i) for i, label in enumerate(labels)]
    return Panel("", "x", f"y of {labels}", series)


def test_panels_alike_have_one_legend_without_repeats():
    figure = panel_figure([named("one", "two"), named("one"), named("one", "two")])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_a_legend_says_which_panels_its_words_belong_to():
    figure = panel_figure([named("one", "two"), named("three"), named("one")])
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts() if text.get_text().strip()]
    assert words == ["panels a, c", "panel b", "one", "three", "two"]  # column by column
    assert not any(ax.get_legend() for ax in figure.axes)


def test_a_free_place_in_the_grid_holds_the_legend():
    figure = panel_figure([named("one"), named("one"), named("one"), named("one")])
    assert not figure.legends
    assert [ax.get_legend() is not None for ax in figure.axes] == [False] * 5 + [True]


def test_one_quantity_has_one_range_and_maps_of_it_one_colour_bar():
    curves = [Panel("", "x", "y", [Series([1, 2], [0, top])]) for top in (1, 9)]
    values = np.array([[0.1, 0.2], [0.3, 0.4]])
    maps = [Panel("", "x", "z", field=([1, 2], [1, 2], values, "share"))] * 2
    figure = panel_figure([*curves, *maps], 2)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert len(figure.axes) == 5


def test_a_figure_says_what_it_asks_in_its_final_size():
    figure = panel_figure([named("one")], question="How far?", see="Points: measured. " * 6)
    assert figure.get_suptitle().startswith("How far?\nPoints: measured.")
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(85)
    wide = panel_figure([named("one")] * 2)
    assert wide.get_size_inches()[0] * 25.4 == pytest.approx(170)
    sizes = [text.get_fontsize() for text in wide.findobj(mpl.text.Text) if text.get_text()]
    assert min(sizes) >= 7


def test_colours_are_told_apart_in_grey():
    looks = [(str(DASHES[i]), MARKERS[i]) for i in range(6)]
    assert len({line for line, _ in looks}) == len({marker for _, marker in looks}) == 6


def test_every_figure_is_reached_from_the_wing():
    for name in dir(ctebm.figures):
        assert getattr(ctebm.figures, name) is not None
    assert ctebm.figures.panel_figure is panel_figure
    assert ctebm.figures.learning.learning_figure is ctebm.figures.learning_figure


@pytest.mark.parametrize(
    ("panels", "options", "words"),
    [
        ([], {}, "expected panels with 1 of them or more, got 0"),
        (3, {}, "expected panels as a list, got int"),
        ([3], {}, "expected panels as a list of Panel, got int in it"),
        (None, {"columns": 0}, "expected columns >= 1, got 0"),
        (None, {"columns": True}, "expected columns as a whole number"),
        (None, {"question": 3}, "expected question as text"),
        (None, {"see": None}, "expected see as text"),
    ],
)
def test_what_is_no_figure_is_refused(panels, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        panel_figure([Panel("a", "x", "y")] if panels is None else panels, **options)
