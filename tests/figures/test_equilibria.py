"""What figures show of phase planes and branches."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from analytic import HARD, TANH, pair

from ctebm import AsymmetricNetwork, continue_branch, phase_plane, switch_branch
from ctebm.figures import equilibria as portrait


def test_portrait_draws_what_is_there():
    plane = phase_plane(pair(2.0, HARD), n_grid=21, starts=[(0.3, -0.2)], n_starts=20)
    (ax,) = portrait.phase_portrait_figure(plane).axes
    dots = {tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() in ("o", "X")}
    assert dots == {(0.5, 0.5), (-0.5, -0.5), (0.0, 0.0)}


def test_portrait_of_a_motion_without_an_energy():
    rotation = AsymmetricNetwork([[0, 2], [-2, 0]], [0, 0], TANH).centred()
    figure = portrait.phase_portrait_figure(phase_plane(rotation, n_grid=11, n_starts=5))
    (legend,) = figure.legends
    labels = {text.get_text() for text in legend.texts}
    assert "energy contour" not in labels
    assert "nullcline, vertical unit" in labels
    assert len(figure.axes[0].collections) == 2  # the nullclines


@pytest.mark.parametrize("starts", [[], [(0.3, -0.2)]], ids=["without paths", "with a path"])
def test_the_legend_of_a_portrait_has_what_is_drawn_and_is_inside_the_figure(starts):
    plane = phase_plane(pair(2.0, HARD), n_grid=11, starts=starts, n_starts=20)
    figure = portrait.phase_portrait_figure(plane)
    (legend,) = figure.legends
    labels = {text.get_text() for text in legend.texts}
    assert ("path" in labels) == bool(starts)
    assert {"energy contour", "stable point", "saddle"} <= labels
    figure.draw_without_rendering()
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0


def test_branches_share_axes_and_one_legend():
    branch = continue_branch(lambda w: pair(w, TANH), [0.0, 0.0], (3.0, 5.0), step=0.1)
    arms = switch_branch(branch, branch.branch_points[0])
    expected = ["stable", "unstable", "pitchfork"]
    ax = branch.plot(parameter="w")
    for arm in arms:
        assert arm.plot(ax, parameter="w") is ax
    assert ax.get_xlabel() == "w" and ax.get_legend() is None
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.texts] == expected
    plt.close(ax.figure)
    _, ax = plt.subplots()
    for one in (branch, *arms):
        one.plot(ax)
    assert [text.get_text() for text in ax.get_legend().texts] == expected
    plt.close(ax.figure)


def test_diagram_draws_stable_parts_solid():
    branch = continue_branch(lambda w: pair(w, TANH), [0.0, 0.0], (2.0, 8.0))
    arms = switch_branch(branch, branch.branch_points[0])
    figure = portrait.bifurcation_figure([b.to_dataset() for b in (branch, *arms)], "coupling $w$")
    lines = figure.axes[0].lines
    solid = np.concatenate([x.get_xdata() for x in lines if x.get_linestyle() == "-"])
    (dashed,) = [line for line in lines if line.get_linestyle() == "--"]
    assert solid.min() == 2.0
    assert dashed.get_xdata().min() == pytest.approx(4.0, abs=0.1)
    assert (dashed.get_ydata() == 0).all()
    markers = [x.get_xydata()[0] for x in lines if x.get_marker() == "D"]
    assert markers[0] == pytest.approx([4.0, 0.0], abs=1e-9)
