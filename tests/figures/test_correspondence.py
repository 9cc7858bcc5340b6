"""What the figure of a correspondence shows of its dataset."""

import numpy as np
import pytest
import xarray as xr
from cases import measured

import ctebm
from ctebm.figures import correspondence_figure


@pytest.mark.parametrize("drive", ["replace", "clamp"])
def test_points_are_medians_and_lines_are_laws(drive):
    data = measured(eps=(0.5, 0.1), t_end=4.0, drive=drive).to_dataset()
    figure = correspondence_figure(data)
    top = figure.axes[: data.sizes["layer"]]
    assert [ax.get_title("left") for ax in top] == [
        r"$\mathbf{a}$  $y$, depth 0",
        r"$\mathbf{b}$  $h_{1}$, depth 1",
        r"$\mathbf{c}$  $h_{2}$, depth 2",
    ]
    one = data.sel(layer="h1", eps=0.1)
    seen = (one.step > 0) & (one.law_coefficient > 0)
    law, points = (
        [line for line in top[1].lines if len(line.get_xdata()) == int(seen.sum()) and
         (line.get_linestyle() != "None") == drawn]
        for drawn in (True, False)
    )  # fmt: skip
    np.testing.assert_allclose(law[0].get_ydata(), one.law_coefficient[seen])
    median = one.coefficient.median("sample")[seen]
    np.testing.assert_allclose(points[0].get_ydata(), median)
    np.testing.assert_allclose(points[0].get_xdata(), one.time[seen])


@pytest.mark.parametrize("drive, lead", [("replace", 0), ("clamp", 1)])
def test_the_dashed_line_is_the_continuous_law_of_the_drive(drive, lead):
    figure = correspondence_figure(measured(eps=(0.5, 0.1), drive=drive).to_dataset())
    (limit,) = [line for line in figure.axes[1].lines if line.get_color() == "black"]
    time, value = limit.get_xdata(), limit.get_ydata()
    assert len(time) > 40 and (np.diff(time) >= 0).all()
    np.testing.assert_allclose(value, ctebm.continuous_coefficient(1 - lead, time))


@pytest.mark.parametrize("gain", [0.8, 1.5])
def test_angles_below_rounding_are_hatched_and_crossings_marked(gain):
    """Where most samples have no gradient rounding hides all angles."""
    data = measured(gain=gain, eps=(0.1,), t_end=4.0).to_dataset()
    assert (data.first_crossing > 0).mean() > 0.5
    bottom = correspondence_figure(data).axes[-1]
    (band,) = [patch for patch in bottom.patches if patch.get_hatch()]
    floor = np.degrees(float(data.rounding_floor.sel(layer="h2").median()))
    assert np.isinf(floor) == (gain == 1.5)
    assert band.get_y() + band.get_height() == pytest.approx(min(floor, 180))
    (dotted,) = [line for line in bottom.lines if line.get_linestyle() == ":"]
    crossing = data.first_crossing.where(data.first_crossing > 0, np.inf)
    assert dotted.get_xdata()[0] == np.median(crossing) * 0.1


def test_entries_of_the_legend_look_as_what_is_drawn():
    figure = correspondence_figure(measured(eps=(0.5, 0.1), t_end=4.0).to_dataset())
    drawn = figure.axes[0].lines
    (legend,) = figure.legends
    entries = {entry.get_label(): entry for entry in legend.get_lines()}
    for i, eps in enumerate((0.5, 0.1)):
        entry, (law, points, first) = entries[rf"$\epsilon$ = {eps:g}"], drawn[3 * i : 3 * i + 3]
        assert entry.get_color() == law.get_color() == points.get_color()
        assert entry.get_linestyle() == law.get_linestyle()
        assert entry.get_marker() == points.get_marker()
        assert entry.get_markeredgewidth() == points.get_markeredgewidth() == 0
        assert law.get_zorder() < first.get_zorder() < points.get_zorder()
        arrival = entries["first arrival"]
        assert arrival.get_markersize() == first.get_markersize()
        assert len(first.get_xdata()) == 1 and first.get_xdata()[0] == law.get_xdata()[0]
    limit = entries[r"law as $\epsilon \to 0$"]
    assert limit.get_linewidth() == drawn[-1].get_linewidth()
    assert drawn[-1].get_zorder() < drawn[0].get_zorder()


@pytest.mark.parametrize("step, share, drawn", [(1, 1.0, True), (3, 0.6, True), (3, 0.5, False)])
def test_a_crossing_is_marked_where_most_samples_have_one(step, share, drawn):
    data = measured(eps=(0.1,), t_end=4.0).to_dataset().isel(sample=[0] * 10)
    crossings = xr.DataArray([step if i < 10 * share else -1 for i in range(10)], dims="sample")
    data["first_crossing"] = crossings + 0 * data.first_crossing
    figure = correspondence_figure(data)
    dotted = [line for line in figure.axes[-1].lines if line.get_linestyle() == ":"]
    assert [float(line.get_xdata()[0]) for line in dotted] == [step * 0.1] * drawn
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("median first crossing" in words) == drawn


def test_time_zero_has_no_place_on_a_logarithmic_axis():
    data = measured(eps=(0.5, 0.1), t_end=4.0).to_dataset()
    for ax in correspondence_figure(data).axes:
        for line in ax.lines:
            x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
            if ax.get_xscale() == "log" and line.get_transform() == ax.transData:
                assert (x > 0).all() and not (y < 0).any()


def test_a_time_without_a_number_is_left_out_and_the_others_are_drawn():
    data = measured(eps=(0.1,), t_end=4.0).to_dataset()
    data["coefficient"] = data.coefficient.where(data.save != 7)
    line = correspondence_figure(data).axes[1].lines[1]
    run = data.isel(eps=0).sel(layer="h1")
    seen = ((run.step > 0) & (run.law_coefficient > 0) & (run.save != 7)).values
    np.testing.assert_allclose(line.get_xdata(), run.time.values[seen])
    np.testing.assert_allclose(line.get_ydata(), run.coefficient.median("sample").values[seen])
