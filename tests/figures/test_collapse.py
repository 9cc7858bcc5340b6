"""The figure of collapse shows what its dataset holds."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.collapse import collapse_figure

VALUE, RATE = [-0.5, 0.5], [0.01, 0.1, 1.0]


def collapses():
    """A dataset of two eigenvalues, two depths and three learning rates, all numbers different."""
    start = ("lower", "depth", "eigenvalue"), np.arange(8.0).reshape(2, 2, 2)
    plane = ("eigenvalue", "rate"), np.linspace(0.1, 1, 6).reshape(2, 3)
    return xr.Dataset(
        {
            "start_pinned": start, "start_hessian": (start[0], 10 + start[1]),
            "start_linear": (start[0], 20 + start[1]),
            "push": plane, "dead": (plane[0], plane[1][::-1]),
        },
        {"lower": [-0.5, -0.1], "depth": [1, 3], "eigenvalue": VALUE, "rate": RATE},
    )  # fmt: skip


def points(ax):
    """Return the points of each series by its label."""
    return {line.get_label(): line.get_ydata() for line in ax.lines}


def test_shares_of_pinned_units_by_kink_and_depth():
    data = collapses()
    axes = list(Figure().subplots(2, 3).flat)
    collapse_figure(data, ax=axes)
    for lower, ax in ((-0.5, axes[0]), (-0.1, axes[1])):
        for depth in (1, 3):
            expected = data.start_pinned.sel(lower=lower, depth=depth)
            np.testing.assert_array_equal(points(ax)[f"{depth} hidden"], expected)


def test_the_deepest_network_is_the_one_that_is_shown_by_its_kink():
    data = collapses()
    axes = {ax.get_ylabel(): ax for ax in collapse_figure(data).axes}
    for label, name in (("smallest eigenvalue, free units", "start_hessian"),
                        ("share of last rates linear in x", "start_linear")):  # fmt: skip
        for lower in (-0.5, -0.1):
            expected = data[name].sel(lower=lower, depth=3)
            np.testing.assert_array_equal(points(axes[label])[f"lower kink {lower:g}"], expected)


def test_dead_shares_against_the_push_of_each_run():
    data = collapses()
    ax = next(ax for ax in collapse_figure(data).axes if "by the first step" in ax.get_xlabel())
    for value in VALUE:
        line = next(line for line in ax.lines if line.get_label() == f"$\\lambda$ = {value:g}")
        np.testing.assert_array_equal(line.get_xdata(), data.push.sel(eigenvalue=value))
        np.testing.assert_array_equal(line.get_ydata(), data.dead.sel(eigenvalue=value))
