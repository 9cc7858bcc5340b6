"""The figure of equilibria against the gain shows what its dataset holds."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.fixed_points import fixed_points_figure

NAMES = ("n_stable", "pinned_share", "lambda_min", "lambda_max", "eps_max")


def counted(gains=(0.5, 1.0), kinds=("hard-sigmoid", "tanh")):
    """A dataset in which every number differs from every other."""
    dims, sizes = ("activation", "gain", "sample"), (len(kinds), len(gains), 3)
    values = 1 + np.arange(np.prod(sizes), dtype=float).reshape(sizes)
    data = {name: (dims, (i + 1) * values) for i, name in enumerate(NAMES)}
    return xr.Dataset(data, {"activation": list(kinds), "gain": list(gains)}, {"n_starts": 50})


def test_each_panel_has_the_median_over_images_for_each_activation():
    data = counted()
    axes = list(Figure().subplots(2, 3).flat)
    fixed_points_figure(data, ax=axes)
    for name, ax in zip(NAMES, axes, strict=False):
        medians = {line.get_label(): line.get_ydata() for line in ax.lines}
        for kind in data.activation.values:
            np.testing.assert_array_equal(medians[kind], data[name].sel(activation=kind)[:, 1])


def test_values_that_are_not_finite_are_left_out_of_the_median():
    data = counted(kinds=("tanh",))
    data["eps_max"][0, 0, 0] = np.inf
    (line,) = fixed_points_figure(data).axes[4].lines
    assert line.get_ydata()[0] == float(data.eps_max[0, 0, 1:].mean())


def test_a_single_network_is_shown_image_by_image():
    data = counted(gains=(1.0,), kinds=("tanh",))
    ax = fixed_points_figure(data).axes[3]
    assert ax.get_xlabel() == "image"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), data.lambda_max[0, 0])


@pytest.mark.parametrize("kind", ["plain", "projected"])
def test_chattering_is_drawn_where_it_was_measured(kind):
    assert not fixed_points_figure(counted()).axes[5].axison
    data = counted().assign_coords(eps=[0.1, 0.2])
    for i, name in enumerate(("plain", "projected")):
        data[name] = (("eps", "step"), 10.0 ** -np.arange(8).reshape(2, 4) / (i + 1))
    drawn = {line.get_label(): line for line in fixed_points_figure(data).axes[5].lines}
    for eps in (0.1, 0.2):
        line = drawn[f"f: {kind}, $\\epsilon$ = {eps:g}"]
        np.testing.assert_array_equal(line.get_ydata(), data[kind].sel(eps=eps))
        np.testing.assert_allclose(line.get_xdata(), eps * np.arange(4))
