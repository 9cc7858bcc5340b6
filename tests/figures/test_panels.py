"""Panels draw what they are given, on the scales they are given."""

import numpy as np
import pytest

import ctebm
from ctebm.figures import Panel, Series, panel_figure


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
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["theory", "measured"]


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
    assert [ax.get_title() for ax in shown] == [str(i) for i in range(n)]


def test_every_figure_is_reached_from_the_wing():
    for name in dir(ctebm.figures):
        assert getattr(ctebm.figures, name) is not None
    assert ctebm.figures.panel_figure is panel_figure
    assert ctebm.figures.learning.learning_figure is ctebm.figures.learning_figure
