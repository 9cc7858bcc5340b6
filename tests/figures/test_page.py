"""Where figures are drawn, and that nothing else is touched."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctebm.figures import Panel, Series, panel_figure
from ctebm.figures.page import new_page


@pytest.fixture(autouse=True)
def no_window_is_left():
    yield
    plt.close("all")


def lines(*labels):
    return [Line2D([], [], label=label) for label in labels]


def words(legend):
    return [text.get_text() for text in legend.texts]


def test_a_figure_of_its_own_leaves_pyplot_alone_and_shows_itself_in_a_notebook():
    page = new_page(None, 2, 3, (4, 3))
    assert page.axes.shape == (2, 3) and not plt.get_fignums()
    assert page.figure._repr_png_().startswith(b"\x89PNG")


def test_a_window_is_one_of_pyplot_and_changes_no_setting():
    before = dict(mpl.rcParams)
    panel = Panel("", "x", "y", [Series([1, 2], [1, 4], "curve")])
    figure = panel_figure([panel], question="How far?", window=True)
    assert plt.gcf() is figure and dict(mpl.rcParams) == before
    plt.close(figure)
    assert not plt.get_fignums()


def test_axes_that_are_given_are_used_and_counted():
    figure, given = plt.subplots(1, 2)
    page = new_page(given, 2, 1, (9, 9))
    assert page.figure is figure and [*page.axes.flat] == [*given.flat]
    with pytest.raises(ValueError, match="expected ax with 2 x 2 axes, got 2 of them"):
        new_page(given, 2, 2, (9, 9))


def test_panels_go_into_given_axes_with_their_legend_and_without_the_question():
    figure, given = plt.subplots(2, 2)
    panels = [Panel(str(i), "x", "y", [Series([1, 2], [i, 1], f"run {i}")]) for i in range(4)]
    assert panel_figure(panels, question="How far?", ax=given) is figure
    assert [len(ax.lines) for ax in given.flat] == [1] * 4
    assert not figure.get_suptitle() and not figure.legends and len(figure.axes) == 4
    assert {f"run {i}" for i in range(4)} <= {*words(given[0, 0].get_legend())}


def test_a_legend_grows_and_lists_each_label_once():
    page = new_page(None, 1, 1, (3, 2))
    page.legend(lines("a", "b"), 2)
    new_page(page.axes, 1, 1, (3, 2)).legend(lines("b", "c"), 2)
    (legend,) = page.figure.legends
    assert words(legend) == ["a", "b", "c"] and page.axes[0, 0].get_legend() is None


def test_the_legend_of_another_is_left_where_it_is():
    figure = Figure()
    ax = figure.subplots()
    own = figure.legend(handles=lines("theirs"), loc="upper left")
    new_page(ax, 1, 1, (3, 2)).legend(lines("a"), 1)
    assert figure.legends == [own] and words(own) == ["theirs"]
    assert words(ax.get_legend()) == ["a"]


def test_axes_of_a_subfigure_belong_to_the_whole_figure():
    figure = Figure()
    left, _ = figure.subfigures(1, 2)
    assert new_page(left.subplots(), 1, 1, (3, 2)).figure is figure
    assert np.shape(figure.subfigs) == (2,)


@pytest.mark.parametrize("other", [3.0, "ax", [None], np.zeros(2), np.array(1.0), [[1], [1, 2]]])
def test_what_is_no_axes_is_refused(other):
    with pytest.raises(TypeError, match="expected ax as axes of matplotlib, got "):
        new_page(other, 1, 1, (3, 2))


def test_axes_come_alone_in_lists_and_in_arrays():
    axes = new_page(None, 2, 2, (3, 2)).axes
    for given in (axes, axes.tolist(), [*axes.flat], tuple(axes)):
        page = new_page(given, 2, 2, (3, 2))
        assert page.given and (page.axes == axes).all()
    assert new_page(axes[0, 1], 1, 1, (3, 2)).axes[0, 0] is axes[0, 1]
    with pytest.raises(ValueError, match="expected ax with 1 x 3 axes, got 4 of them"):
        new_page(axes, 1, 3, (3, 2))
