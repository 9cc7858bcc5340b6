"""What the figure of a run shows."""

import numpy as np
import pytest
import torch
from run_cases import layered, pair

import ctebm
from ctebm.figures import trajectory, trajectory_figure
from ctebm.figures.style import LINE


def test_a_line_is_a_unit_and_a_panel_a_layer():
    net = layered()
    phases = [ctebm.Phase("settle", net, 3), ctebm.Phase("drive", net, 2)]
    run = ctebm.simulate(phases, torch.full((14,), 0.1), eps=0.1)
    axes = trajectory_figure(run.to_dataset(), sample=2).axes
    assert [ax.get_title("left")[-2:] for ax in axes] == ["h2", "h1", " y"]
    lines = [line for line in axes[1].lines if line.get_linestyle() == "-"]
    np.testing.assert_array_equal([line.get_ydata() for line in lines], run.state[:, 2, 6:11].T)
    (end,) = [line for line in axes[1].lines if line.get_linestyle() == ":"]
    assert end.get_xdata()[0] == pytest.approx(0.3)


def test_what_is_not_drawn_is_said():
    net = ctebm.SparseNetwork.ring(60, 0.3, ctebm.Tanh())
    run = ctebm.simulate(net, torch.zeros(60), n_steps=2, eps=0.1)
    (ax,) = trajectory_figure(run.to_dataset()).axes
    assert ax.get_title("left") == "layer s, first 50 units" and len(ax.lines) == 50
    run = ctebm.simulate(pair(), torch.zeros(2), n_steps=2, eps=0.1, observe={"E": pair().energy})
    with pytest.raises(ValueError, match="got observables"):
        trajectory_figure(run.to_dataset())
    run = ctebm.simulate(pair(), torch.zeros(2, 2), n_steps=2, eps=0.1)
    with pytest.raises(IndexError, match="one of 2 samples, got 2"):
        run.plot(sample=2)


def test_many_layers_stand_in_rows_and_no_place_is_left_empty():
    net = ctebm.LayeredNetwork.random([2, 2, 2, 2], ctebm.Tanh(), gain=0.5, seed=0)
    run = ctebm.simulate(net, torch.zeros(8), n_steps=2, eps=0.1)
    figure = trajectory_figure(run.to_dataset())
    assert len(figure.axes) == 4
    assert figure.axes[3].get_subplotspec().rowspan.start == 1
    assert figure.axes[3].get_ylabel() == "state"


@pytest.mark.parametrize(
    ("layers", "rows", "width"), [(1, 1, 85), (2, 1, 170), (3, 1, 170), (5, 2, 170)]
)
def test_rows_hold_three_layers_and_three_lines_of_words(layers, rows, width):
    net = ctebm.LayeredNetwork.random([2] * (layers + 1), ctebm.Tanh(), gain=0.5, seed=0)
    run = ctebm.simulate(net.clamp({"x": [0.1, 0.2]}), torch.zeros(2 * layers), n_steps=2, eps=0.1)
    size = trajectory_figure(run.to_dataset()).get_size_inches() * 25.4
    height = 25.4 * (trajectory._ROW * rows + 3 * LINE)
    assert size.tolist() == pytest.approx([width, height])
