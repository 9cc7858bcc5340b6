"""What figures show of phase planes and branches."""

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
