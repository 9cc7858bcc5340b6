"""Figures of the studies of learning show what their datasets hold."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures import learning_figure, saturation_figure, stdp_figure


def training(epochs=3):
    """A dataset of a training, with numbers that tell each curve from the others."""
    epoch, each = np.arange(epochs), np.linspace(0, 1, epochs)
    return xr.Dataset(
        {
            "train_error": ("epoch", 8 - epoch),
            "test_error": ("epoch", 9 - epoch),
            "alignment": (("epoch", "reference", "connection"), np.full((epochs, 2, 2), 0.5)),
            "pinned": (("epoch", "hidden"), each[:, None] / 2),
            "dead": (("epoch", "hidden"), each[:, None] / 4),
            "crossed": ("epoch", each / 8),
        },
        {"epoch": epoch, "reference": ["chain", "implicit"], "connection": ["x-h1", "h1-y"],
         "hidden": ["h1"]},
    )  # fmt: skip


def curves(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines}


def test_learning_shows_errors_angles_and_kinks():
    data = training()
    data["bp_test_error"] = ("bp_epoch", [7.0, 5.0])
    figure = learning_figure(data)
    errors, angles, kinks = figure.axes
    assert figure.get_suptitle().startswith("Does the rule of eq. 26, read in the first moments,")
    np.testing.assert_array_equal(curves(errors)["rule, training"], [8, 7, 6])
    np.testing.assert_array_equal(curves(errors)["rule, held out"], [9, 8, 7])
    np.testing.assert_array_equal(curves(errors)["back-propagation, held out"], [7, 5])
    assert len(angles.lines) == 4
    for line in angles.lines:
        np.testing.assert_allclose(line.get_ydata(), 60)
    np.testing.assert_allclose(curves(kinks)["h1, pinned"], [0, 25, 50])
    np.testing.assert_allclose(curves(kinks)["h1, dead (pinned in all)"], [0, 12.5, 25])
    np.testing.assert_allclose(curves(kinks)["samples crossing a kink early"], [0, 6.25, 12.5])


def test_given_axes_have_their_own_legends():
    errors, angles, kinks = Figure().subplots(1, 3)
    figure = learning_figure(training(), ax=[errors, angles, kinks])
    words = [text.get_text() for text in errors.get_legend().texts]
    assert words == ["rule, training", "rule, held out"] and not figure.legends
    assert len(angles.get_legend().texts) == 4 and len(kinks.get_legend().texts) == 3


def test_a_training_that_failed_at_once_says_so():
    names = {"hidden": ["h1"], "connection": ["x-h1", "h1-y"], "reference": ["chain"]}
    errors = learning_figure(xr.Dataset(coords=names | {"epoch": []})).axes[0]
    assert "failed in its first epoch" in errors.get_title("left")


def test_saturation_shows_both_energies():
    which = {"energy": ["eq. 6", "1984"]}
    data = xr.Dataset(
        {
            "rate": (("energy", "time"), [[0.0, 1.0], [0.0, 0.9]]),
            "kicked_rate": (("energy", "kick_time"), [[1.0, 0.5], [1.0, 0.4]]),
            "weight_change": (("energy", "current"), [[1.0, 0.0], [1.0, 0.2]]),
            "on": 1.0, "pulse": 2.0, "baseline": 0.5, "kinks": ("kink", [-0.5, 0.5]),
        },
        which | {"time": [0.0, 1.0], "kick_time": [0.0, 1.0], "current": [0.0, 1.0]},
    )  # fmt: skip
    pulse, kick, change = given = Figure().subplots(1, 3)
    saturation_figure(data, ax=given)
    for i, name in enumerate(which["energy"]):
        np.testing.assert_array_equal(curves(pulse)[name], data.rate[i])
        np.testing.assert_array_equal(curves(kick)[name], data.kicked_rate[i])
        np.testing.assert_array_equal(curves(change)[name], data.weight_change[i])
    assert saturation_figure(data).get_suptitle().startswith("Does a saturated neuron return")


def test_stdp_shows_theory_as_a_line_and_the_simulation_as_points():
    data = xr.Dataset(
        {
            "pre_rate": ("time", [0.2, 0.4]), "post_rate": ("time", [0.6, 0.8]),
            "pre_spike": ("time", [False, True]), "post_spike": ("time", [True, False]),
            "theory_fine": ("fine_lag", [-0.1, 0.0, 0.1]),
            "change": ("lag", [-0.1, 0.1]), "error": ("lag", [0.01, 0.02]),
        },
        {"time": [0.0, 1.0], "fine_lag": [-1.0, 0.0, 1.0], "lag": [-0.5, 0.5]},
    )  # fmt: skip
    trace, window = given = Figure().subplots(1, 2)
    stdp_figure(data, ax=given)
    np.testing.assert_array_equal(trace.lines[1].get_xdata(), [1.0])  # the spike before
    before, _, after, spikes = trace.lines  # one above the other, spikes under their rates
    np.testing.assert_allclose(before.get_ydata(), data.pre_rate + 1.3)
    np.testing.assert_array_equal(after.get_ydata(), data.post_rate)
    np.testing.assert_allclose(trace.lines[1].get_ydata(), [1.22])
    np.testing.assert_allclose(spikes.get_xydata(), [[0.0, -0.08]])
    theory = next(line for line in window.lines if line.get_label().startswith("theory"))
    np.testing.assert_array_equal(theory.get_ydata(), data.theory_fine)
    (bars,) = window.containers
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), data.change)
    (segments,) = bars.lines[2]
    heights = [segment[1, 1] - segment[0, 1] for segment in segments.get_segments()]
    np.testing.assert_allclose(heights, 4 * data.error)
    assert stdp_figure(data).get_suptitle().startswith("Does the rule of eq. 26 look like")
