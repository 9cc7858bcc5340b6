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


def test_gains_and_counts_have_marks_that_can_be_read():
    """1, 2, 5 of each power of ten, as plain numbers."""
    axes = fixed_points_figure(counted(gains=(0.5, 1.0, 20.0))).axes[:5]
    marked = [ax.xaxis for ax in axes] + [ax.yaxis for ax in axes if ax.get_yscale() == "log"]
    assert len(marked) > 5
    for axis in marked:
        shown = [axis.get_major_formatter()(tick) for tick in (0.5, 2, 50)]
        assert shown == ["0.5", "2", "50"] and axis.get_minor_formatter()(3) == ""
        ticks = axis.get_major_locator().tick_values(0.5, 20)
        assert {0.5, 1, 2, 5, 10, 20} <= {float(f"{tick:.6g}") for tick in ticks}


def test_bars_and_points_are_quantiles_beside_each_other():
    data = counted()
    ax = fixed_points_figure(data).axes[3]
    for a, line in enumerate(ax.lines[:2]):
        np.testing.assert_allclose(line.get_xdata(), data.gain * (1 + 0.02 * a))
        low, high = data.lambda_max[a].quantile([0.05, 0.95], "sample").values
        bars = [one[:, 1] for one in ax.collections[a].get_segments()]
        np.testing.assert_allclose(bars, np.stack([low, high], 1))
