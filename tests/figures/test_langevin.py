"""The figures of Langevin dynamics and of noise inside the pressure show what datasets hold."""

import numpy as np
import pytest
import xarray as xr

from ctebm.figures.langevin import DYNAMICS, langevin_figure, synaptic_figure
from ctebm.study import samplers

LINEAR, EPS = DYNAMICS[:3], [0.4, 0.2, 0.1]


def held(name, **dims):
    """A measurement 10 % above its law, with errors of 1 %."""
    shape = [len(values) for values in dims.values()]
    law = 1 + np.arange(np.prod(shape)).reshape(shape)
    parts = {"": 1.1 * law, "_error": 0.01 * law, "_law": law}
    return {name + part: ([*dims], value, {}) for part, value in parts.items()}


def densities(prefix):
    at, s, cell = (f"{prefix}_{name}" for name in ("eps", "s", "cell"))
    drawn = np.zeros((3, 4, 2))
    drawn[:, :, 1] = 1 + np.arange(4)
    return {
        at: (at, EPS), s: (s, [0.0, 1.0, 2.0]), cell: (cell, [0.5, 1.5]),
        f"{prefix}_density": (s, [0.0, 5.0, 0.0]),
        f"{prefix}_law_density": ((at, s), np.full((3, 3), 2.0)),
        f"{prefix}_histogram": ((at, "dynamics", cell), drawn),
    }  # fmt: skip


def test_colours_are_those_of_the_dynamics_that_studies_compare():
    assert tuple(DYNAMICS) == samplers.DYNAMICS


@pytest.fixture
def figure():
    found = held("digits_variance", modes_of=LINEAR, sample=[0], digits_mode=[0, 1])
    found["digits_variance_law"][1][2, 0, 1] = 0  # the map does not move this mode
    data = xr.Dataset(
        densities("smooth") | densities("kinked") | found
        | held("smooth_spread", smooth_eps=EPS, dynamics=DYNAMICS)
        | held("smooth_distance", smooth_eps=EPS, dynamics=DYNAMICS)
        | held("pinned_spread", pinned_eps=EPS, dynamics=DYNAMICS)
        | {"smooth_chance": 0.5, "smooth_law_distance": ("smooth_eps", [0.3, 0.2, 0.1]),
           "eigenvalue": (("sample", "digits_mode"), [[0.5, 1.0]]),
           "kappa": ("pinned_eps", [3.0, 2.0, 1.0])},
        {"dynamics": DYNAMICS, "modes_of": LINEAR},
    )  # fmt: skip
    return langevin_figure(data)


@pytest.fixture
def of_the_map():
    data = xr.Dataset(
        held("map_variance", map_sigma=[0.01, 0.1], map_eps=EPS, mode=["slow", "fast"])
        | held("correlation", noise_of=LINEAR[::2], lag=[0, 1])
        | held("mean_update", updates_of=LINEAR, hops_apart=[1, 2])
        | {name: (("hop_eps", "steps"), np.full((3, 2), value))
           for name, value in (("hops", 2.0), ("hops_low", 1.0), ("hops_high", 3.0))}
        | {"hops_law": 2.5},
        {
            "map_sigma": [0.01, 0.1], "map_eps": EPS, "mode": ["slow", "fast"],
            "noise_of": LINEAR[::2], "lag": [0, 1], "updates_of": LINEAR, "hops_apart": [1, 2],
            "hop_eps": EPS, "steps": [DYNAMICS[0], DYNAMICS[2]],
        },
    )  # fmt: skip
    return synaptic_figure(data)


def curves(figure, panel):
    return [line.get_xydata().tolist() for line in figure.axes[panel].lines]


def test_densities_stand_with_the_cells_that_were_visited(figure):
    exact, steps, *drawn = curves(figure, 0)
    assert exact == [[0, 0], [1, 5], [2, 0]] and steps == [[0, 2], [1, 2], [2, 2]]
    assert drawn == [[[1.5, i + 1]] for i in range(4)]


def test_spreads_are_shown_over_the_exact_one_that_mala_has(figure):
    for panel, x in ((3, EPS), (4, [3.0, 2.0, 1.0])):
        exact, *rest = figure.axes[panel].lines
        assert exact.get_ydata().tolist() == [1, 1, 1] and exact.get_xdata().tolist() == x
        laws, points = rest[::2], rest[1::2]
        assert len(points) == len(DYNAMICS)
        for i, (law, point) in enumerate(zip(laws, points, strict=True)):
            np.testing.assert_allclose(
                law.get_ydata(), [(4 * k + i + 1) / (4 * k + 2) for k in range(3)]
            )
            np.testing.assert_allclose(point.get_ydata(), 1.1 * law.get_ydata())


def test_distances_stand_beside_that_of_chance(figure):
    chance, exact, *drawn = curves(figure, 2)
    assert exact == [[0.4, 0.3], [0.2, 0.2], [0.1, 0.1]]
    assert chance == [[eps, 0.5] for eps in EPS]
    assert len(drawn) == len(DYNAMICS)
    for i, points in enumerate(drawn):
        np.testing.assert_allclose(points, [[e, 1.1 * (4 * k + i + 1)] for k, e in enumerate(EPS)])


def test_bars_are_four_standard_errors(of_the_map):
    bars = of_the_map.axes[1].collections[0].get_segments()
    np.testing.assert_allclose(bars[1], [[1, 2.2 - 0.08], [1, 2.2 + 0.08]])


def test_modes_at_two_intensities_are_told_apart(of_the_map):
    laws, points = of_the_map.axes[0].lines[::2], of_the_map.axes[0].lines[1::2]
    assert len({line.get_marker() for line in points}) == 4
    assert [line.get_color() for line in points[:2]] == [line.get_color() for line in points[2:]]
    assert len(points) == 4
    for law, point in zip(laws, points, strict=True):
        np.testing.assert_allclose(point.get_ydata(), 1.1 * law.get_ydata())


def test_hops_stand_beside_their_law(of_the_map):
    law, *hops = curves(of_the_map, 2)
    assert law == [[eps, 2.5] for eps in EPS] and hops == [[[eps, 2.0] for eps in EPS]] * 2


def test_a_mode_that_nothing_moves_is_left_out_of_a_logarithmic_panel(figure):
    assert all(np.isfinite(y) and y > 0 for _, y in curves(figure, 5)[0])
    assert np.isnan(figure.axes[5].lines[-1].get_ydata()).tolist() == [False, True]


def test_one_legend_names_the_dynamics_and_the_exact_density(figure):
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["exp(-2E/σ²)", *DYNAMICS]
    assert figure.get_suptitle().startswith("Is it Langevin MCMC")
