"""Panels draw what they are given, on the scales they are given."""

import matplotlib as mpl
import numpy as np
import pytest

import ctebm
from ctebm.figures import Panel, Series, panel_figure, panels
from ctebm.figures.page import Page
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


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 3, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)])
def test_a_figure_is_as_high_as_its_rows_words_and_legend(n, columns, rows):
    """47 mm a row, 3.7 mm a line; the legend stands in a free place, or in lines below."""

    def height(labelled, see=""):
        one = named("one") if labelled else Panel("", "x", "y")
        figure = panel_figure([one] * n, columns, question="How far?", see=see)
        return figure.get_size_inches()[1] * 25.4

    below = 2 if n % min(columns, n) == 0 else 0
    assert height(False) == pytest.approx(47 * rows + 3.7)
    assert height(True) == pytest.approx(47 * rows + 3.7 * (1 + below))
    assert height(False, "As far as it is asked.") == pytest.approx(47 * rows + 3.7 * 2)


def test_groups_of_a_legend_have_a_line_each():
    figure = panel_figure([named("one"), named("two"), named("three")])
    assert figure.get_size_inches()[1] * 25.4 == pytest.approx(47 + 3.7 * 4)
    (legend,) = figure.legends
    assert legend._ncols == 2


@pytest.mark.parametrize(("label", "columns"), [("a", 13), ("abcdefghij", 7), ("x" * 150, 1)])
def test_a_legend_has_as_many_columns_as_fit(label, columns, monkeypatch):
    """Of 11 mm and 1.3 mm a letter."""
    asked = []
    monkeypatch.setattr(Page, "legend", lambda page, handles, n: asked.append(n))
    panel_figure([named(label), named(label)])
    panel_figure([named(label)])
    assert asked == [columns, max(1, int(85 / (11 + 1.3 * len(label))))]


def test_maps_begin_at_0_and_reach_1_or_more():
    for top, expected in ((0.4, 1.0), (7.0, 7.0)):
        field = ([1, 2], [1, 2], np.array([[0.1, 0.2], [np.nan, top]]), "share")
        (mesh,) = panel_figure([Panel("", "x", "y", field=field)]).axes[0].collections
        assert mesh.get_clim() == (0, expected)


def test_a_boundary_is_drawn_at_its_level_in_black_on_white():
    x = np.linspace(0, 1, 5)
    values = x + 0 * x[:, None]
    ax = panel_figure([Panel("", "x", "y", contour=(x, x, values, 0.6))]).axes[0]
    white, black = ax.collections
    assert white.get_linewidth() > black.get_linewidth() and white.levels == black.levels == [0.6]
    for line in (white, black):
        np.testing.assert_allclose(line.get_paths()[0].vertices[:, 0], 0.6)


def test_cells_have_edges_half_way_on_either_scale():
    np.testing.assert_allclose(panels._edges([1.0, 3.0, 4.0], False), [0, 2, 3.5, 4.5])
    np.testing.assert_allclose(panels._edges([1.0, 100.0], True), [0.1, 10, 1000])


@pytest.mark.parametrize(
    ("ends", "marks"), [((1, 15), [1, 2, 5, 10]), ((1, 50), [1, 3, 10, 30]), ((1, 1e4), None)]
)
def test_logarithmic_axes_of_few_powers_have_more_marks(ends, marks):
    series = Series([*ends], [*ends], "s")
    ax = panel_figure([Panel("", "x", "y", [series], log="xy")]).axes[0]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        shown = [t for t in axis.get_majorticklocs() if low <= t <= high]
        if marks is None:
            assert all(np.log10(t) % 1 == 0 for t in shown)
        else:
            assert [t for t in shown if ends[0] <= t <= ends[1]] == marks
            assert axis.get_major_formatter()(2) == "2" and axis.get_minor_formatter()(2) == ""


@pytest.mark.parametrize(("x", "whole"), [([1, 2, 3], True), ([1.0, 2.0, 3.0], False)])
def test_whole_numbers_have_whole_marks(x, whole):
    ax = panel_figure([Panel("", "x", "y", [Series(x, x), Series([1, 2, 3], x)])]).axes[0]
    ticks = ax.get_xticks()
    assert bool((ticks == ticks.round()).all()) == whole


def test_ranges_are_shared_by_panels_of_one_label_and_scale_alone():
    def panel(top, label="y", **how):
        return Panel("", "x", label, [Series([1, 2], [1, top])], **how)

    figure = panel_figure(
        [panel(2), panel(9), panel(50, alone=True), panel(70, "z"), panel(80, log="y"), panel(5)]
    )
    ends = [ax.get_ylim()[1] for ax in figure.axes]
    assert ends[0] == ends[1] == ends[5] and ends[0] == pytest.approx(9.4)
    assert ends[2] == pytest.approx(52.45) and ends[3] == pytest.approx(73.45)
    assert ends[4] > 80
    assert figure.axes[0].get_ylim()[0] == pytest.approx(0.6)


def test_no_marker_is_cut_where_a_narrow_range_joins_a_wide_one():
    """Each range has a margin of a twentieth of the axis beyond the data of all panels."""
    for log, scale in (("", np.array), ("y", np.log)):
        narrow = Panel("", "x", "y", [Series([1, 2], [9.0, 13.0])], log=log)
        wide = Panel("", "x", "y", [Series([1, 2], [10.0, 90.0])], log=log)
        for ax in panel_figure([narrow, wide]).axes:
            (low, high), (first, last) = scale(ax.get_ylim()), scale([9.0, 90.0])
            margin = 0.05 * (last - first)
            np.testing.assert_allclose((low, high), (first - margin, last + margin))
            assert ax.dataLim.intervalx.tolist() == [1, 2]  # nothing is added to what is drawn


def test_a_shared_logarithmic_range_is_labelled_as_a_whole():
    few = Panel("", "x", "y", [Series([1, 2], [9.0, 13.0])], log="y")
    many = Panel("", "x", "y", [Series([1, 2], [0.01, 90.0])], log="y")
    for ax in panel_figure([few, many]).axes:
        assert all(np.log10(t) % 1 == 0 for t in ax.yaxis.get_majorticklocs())


def test_a_legend_names_panels_beyond_z():
    columns = panels._legend_entries([named("one")] * 27 + [named("two")])
    heads = [column[0].get_label() for column in columns]
    assert heads[0].endswith("y, z, aa") and heads[1] == "panel ab"


def test_an_entry_looks_as_its_points_and_their_theory():
    theory, points = Series([1], [1], "", True, 2), Series([1], [1], "data", colour=2)
    both = panels._entry("data", [theory, points])
    assert both.get_linewidth() == 1 and both.get_marker() == "^"
    alone = panels._entry("data", [points, Series([1], [1], "other", True, 2)])
    assert alone.get_linewidth() == 0 and alone.get_marker() == "^"
    line = panels._entry("law", [Series([1], [1], "law", True, 2), points])
    assert line.get_linestyle() == "-." and line.get_marker() == "None"
    assert {e.get_color() for e in (both, alone, line)} == {"#009E73"}
