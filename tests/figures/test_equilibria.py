"""Phase planes and what the figures show of them."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

from ctebm import continue_branch, phase_plane, switch_branch
from ctebm.figures import equilibria as portrait


def test_phase_plane_holds_force_and_energy():
    network = pair(8.0, TANH)
    plane = phase_plane(network, limits=(-1, 1), n_grid=9, starts=[(0.5, -0.9)], n_starts=20)
    s = torch.tensor([float(plane.x[6]), float(plane.y[2])], dtype=torch.float64)
    here = plane.isel(x=6, y=2)
    assert float(here.energy) == pytest.approx(float(network.energy(s)))
    assert here.force.values == pytest.approx(network.force(s).numpy())
    assert sorted(plane.stability.values) == ["saddle", "stable", "stable"]
    start, end = plane.path_state.isel(path=0, step=[0, -1]).values
    assert start == pytest.approx([0.5, -0.9])
    # most of the way to a minimum
    assert np.abs(plane.equilibrium.values - end).max(1).min() < 0.05


def test_units_in_either_order():
    network = random_dense(2, 0, TANH)
    forth = phase_plane(network, (0, 1), n_grid=5, starts=[(0.1, 0.4)], n_starts=5)
    back = phase_plane(network, (1, 0), n_grid=5, starts=[(0.4, 0.1)], n_starts=5)
    assert np.allclose(forth.energy.values, back.energy.values.T)
    assert np.allclose(forth.path_state.values, back.path_state.values[..., ::-1])


def test_slice_of_a_larger_network():
    network = random_dense(5, 0, HARD)
    base = 0.1 * torch.arange(5, dtype=torch.float64)
    plane = phase_plane(network, (1, 3), base=base, limits=(-0.4, 0.4), n_grid=5)
    s = base.clone()
    s[1], s[3] = float(plane.x[4]), float(plane.y[0])
    assert float(plane.energy.isel(x=4, y=0)) == pytest.approx(float(network.energy(s)))
    assert "equilibrium" not in plane
    with pytest.raises(ValueError, match="leave the plane"):
        phase_plane(network, (1, 3), starts=[(0.0, 0.0)])
    with pytest.raises(ValueError, match="two different units"):
        phase_plane(network, (1, 1))


def test_portrait_draws_what_is_there():
    plane = phase_plane(pair(2.0, HARD), n_grid=21, starts=[(0.3, -0.2)], n_starts=20)
    (ax,) = portrait.phase_portrait_figure(plane).axes
    dots = {tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() in ("o", "X")}
    assert dots == {(0.5, 0.5), (-0.5, -0.5), (0.0, 0.0)}


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
