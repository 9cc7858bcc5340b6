"""What figures of paths, exits and fluctuations show, on datasets that are easy to see through."""

import numpy as np
import pytest
import xarray as xr

from ctebm.figures import path_figure, response_figure, sampling, survival_figure


def line(figure, label):
    return next(x for x in figure.axes[0].lines if x.get_label() == label)


def test_minima_and_saddles_stand_on_the_path():
    t = np.linspace(-1, 1, 9)
    path = xr.Dataset(
        {
            "state": (("image", "unit"), np.stack([t, 0 * t], 1)),
            "energy": ("image", (1 - t**2) ** 2),
            "minimum": (("well", "unit"), [[-1.0, 0.0], [1.0, 0.0]]),
            "well_energy": ("well", [0.0, 0.0]),
            "saddle_state": (("saddle", "unit"), [[0.0, 0.0]]),
            "saddle_energy": ("saddle", [1.0]),
            "barrier": 1.0,
            "length": ("image", t + 1),
        }
    )
    figure = path_figure(path)
    assert line(figure, "minimum").get_xydata().tolist() == [[0, 0], [2, 0]]
    assert line(figure, "saddle").get_xydata().tolist() == [[1, 1]]
    assert "is 1 above" in figure.get_suptitle()


def passage(time, status, mean):
    return xr.Dataset(
        {
            "time": ("chain", np.array(time, float)), "status": ("chain", np.array(status)),
            "mean": mean, "mean_interval": ("bound", [mean / 2, mean * 2]),
        }
    )  # fmt: skip


def test_shares_count_censored_chains_and_leave_out_those_that_never_began():
    figure = survival_figure(passage([3, 1, 4, 4, 0, 2], [0, 0, 2, 2, 3, 1], 6.0))
    np.testing.assert_allclose(line(figure, "chains").get_xydata(), [[0, 1], [1, 0.75], [3, 0.5]])
    t, law = line(figure, "constant rate").get_xydata().T
    np.testing.assert_allclose(law, np.exp(-t / 6))
    assert t.max() == 4


def test_without_an_exit_all_stay_inside():
    figure = survival_figure(passage([2, 2], [2, 2], np.inf))
    assert line(figure, "chains").get_xydata().tolist() == [[0, 1]]
    assert (line(figure, "constant rate").get_ydata() == 1).all()


@pytest.mark.filterwarnings("error")
def test_chains_that_are_all_lost_have_no_curve():
    figure = survival_figure(
        passage([2, 1], [1, 3], np.inf).assign(mean_interval=("bound", [0, np.inf]))
    )
    assert len(line(figure, "chains").get_xdata()) == 0


def test_many_exits_are_thinned_and_the_last_is_not_drawn_at_zero():
    figure = survival_figure(passage(np.arange(1, 1001), [0] * 1000, 500.0))
    x, y = line(figure, "chains").get_xydata().T
    assert 50 < len(x) < 70
    np.testing.assert_allclose(y, 1 - x / 1000)


def test_a_response_is_a_point_with_two_standard_errors():
    found = xr.Dataset(
        {"exact": ("unit", [0.1, -0.3]), "displacement": ("unit", [0.2, -0.4]),
         "error": ("unit", [0.05, 0.1])}, {"layer": ("unit", ["h1", "y"])},
    )  # fmt: skip
    figure = response_figure(found)
    assert line(figure, "layer y").get_xydata().tolist() == [[-0.3, -0.4]]
    bars = [c.get_segments()[0][:, 1].tolist() for c in figure.axes[0].collections]
    np.testing.assert_allclose(bars, [[0.1, 0.3], [-0.6, -0.2]])
    assert line(figure, "equal").get_xydata().tolist() == [[-0.3, -0.3], [0.1, 0.1]]


def test_a_minimum_stands_at_the_nearest_image():
    path = xr.Dataset(
        {
            "state": (("image", "unit"), [[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]]),
            "length": ("image", [0.0, 1.0, 4.0]),
            "minimum": (("well", "unit"), [[0.9, 0.4], [0.4, 0.1], [5.0, 1.6]]),
        }
    )
    assert sampling._lengths_at(path, "minimum").tolist() == [1, 0, 4]


def test_bounds_of_the_rate_are_drawn_where_they_are_known():
    figure = survival_figure(passage([3, 1, 4, 4], [0, 0, 2, 2], 6.0))
    lines = figure.axes[0].lines
    assert [one.get_label() for one in lines][1:3] == ["95 % interval of the rate", "_child2"]
    for one, mean in zip(lines, (6.0, 3.0, 12.0), strict=False):
        t, share = one.get_xydata().T
        assert len(t) == 50 and t[0] == 0 and t[-1] == 4
        np.testing.assert_allclose(share, np.exp(-t / mean))
    nothing = survival_figure(passage([3, 1], [0, 0], 6.0).assign(mean=0.0))
    assert nothing.axes[0].lines[0].get_label() == "95 % interval of the rate"


def test_sixty_shares_of_many_and_each_of_few():
    for n, shown in ((1000, 60), (61, 60), (60, 60), (7, 7)):
        figure = survival_figure(passage(np.arange(1.0, n + 1), [0] * n, 9.0))
        x, y = line(figure, "chains").get_xydata().T
        assert len(x) == shown and x[0] == 0 and y[0] == 1
        np.testing.assert_allclose(y, 1 - x / n)
