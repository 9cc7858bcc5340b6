"""Densities against quadrature of other authors' digits, and distances against closed forms."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair

import ctebm
from ctebm import AsymmetricNetwork, DenseNetwork, stationary_density
from ctebm.sampling.density import density_of, marginal_distance, total_variation
from ctebm.sampling.transfer import step_density


def test_moments_of_the_smooth_pair():
    p = stationary_density(pair(3.0, TANH), 0.5, np.linspace(-4, 4, 801))
    both = ["s1", "s2"]
    assert float((p * p.s1**2).integrate(both)) == pytest.approx(0.168608867, abs=1e-9)
    assert float((p * p.s1 * p.s2).integrate(both)) == pytest.approx(0.092649963, abs=1e-9)
    assert float((p * p.s1**4).integrate(both)) == pytest.approx(0.078193953, abs=1e-9)


def test_moments_of_one_unit():
    p = stationary_density(DenseNetwork([[0.0]], [1.5], TANH), 0.5, np.linspace(-3, 4, 1401))
    mean = float((p * p.s).integrate("s"))
    assert mean == pytest.approx(0.547983415, abs=1e-9)
    assert float((p * (p.s - mean) ** 2).integrate("s")) == pytest.approx(0.086208404, abs=1e-9)


def test_moments_at_a_kink():
    """Trapezoids with a point on the kink; their error falls as the square of the spacing."""
    p = stationary_density(DenseNetwork([[0.0]], [1.0], HARD), 0.1, np.linspace(0.2, 0.8, 60001))
    mean = float((p * p.s).integrate("s"))
    assert float((p * (p.s - mean) ** 2).integrate("s")) == pytest.approx(1.824986e-4, rel=1e-6)


def test_moments_of_a_pinned_pair_in_one_well():
    p = stationary_density(pair(2.0, HARD), 0.2, np.linspace(-1.5, 2.0, 1401))
    p = p.where((p.s1 > 1e-9) & (p.s2 > 1e-9), 0.0)
    both = ["s1", "s2"]
    spread = (p * (p.s1 - 0.5) ** 2).integrate(both) / p.integrate(both)
    assert float(spread) == pytest.approx(2.640284e-3, rel=5e-4)


def test_grids_of_each_unit():
    p = stationary_density(pair(1.0, TANH), 0.5, (np.linspace(-3, 3, 61), np.linspace(-4, 4, 81)))
    assert p.sizes == {"s1": 61, "s2": 81} and float(p.integrate(["s1", "s2"])) == pytest.approx(1)


def test_a_grid_that_cuts_the_density_is_told():
    with pytest.warns(UserWarning, match="widen the grid"):
        stationary_density(pair(1.0, TANH), 0.5, np.linspace(-0.5, 3, 61))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("end", [0, -1])
def test_a_density_that_reaches_one_border_is_told(axis, end):
    x = np.linspace(-6, 6, 41)
    centres = np.zeros(2)
    centres[axis] = x[end]
    a, b = np.meshgrid(x - centres[0], x - centres[1], indexing="ij")
    with pytest.warns(UserWarning, match="the density is 1 of its maximum at the border"):
        density_of(-(a**2 + b**2) / 2, [x, x])


def test_a_coarse_grid_is_told():
    with pytest.warns(UserWarning, match="finer one"):
        stationary_density(pair(8.0, TANH), 0.02, np.linspace(-3, 3, 50))


def test_total_variation_of_two_normals():
    """2 Phi(m/2) - 1 for unit normals whose means are m apart."""
    x = np.linspace(-10, 12, 4001)
    p, q = (density_of(-((x - m) ** 2) / 2, [x]) for m in (0.0, 1.5))
    assert total_variation(p, q) == pytest.approx(math.erf(1.5 / 2 / 2**0.5), abs=1e-6)
    with pytest.raises(ValueError, match="one grid"):
        total_variation(p, density_of(-(x[1:] ** 2) / 2, [x[1:]]))
    with pytest.raises(ValueError, match=r"expected densities such as .* got ndarray"):
        total_variation(p, p.values)


def test_wasserstein_distance_of_a_shift():
    x = np.linspace(-8, 8, 3201)
    p = density_of(-(x**2) / 2, [x])
    draws = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0)).double() + 0.7
    assert marginal_distance(draws[:, :1], p, unit=0) == pytest.approx(0.7, abs=0.03)


def test_a_coarse_grid_adds_no_distance():
    """Quantiles of the density are at no distance from it; points of a grid 0.1 apart are not."""
    x = np.linspace(-3, 3, 61)
    p = density_of(-(x**2) / 0.1, [x])
    fine = np.linspace(-3, 3, 600001)
    share = np.interp(fine, x, p.values).cumsum()
    quantiles = np.interp((np.arange(4000) + 0.5) / 4000, share / share[-1], fine)
    assert marginal_distance(quantiles[:, None], p) < 1e-3


@pytest.mark.parametrize(
    "states, unit, words",
    [
        (np.zeros((5, 1)), 0, "one column for each unit"),
        (np.zeros(5), 0, "one column for each unit"),
        (np.zeros((0, 2)), 0, "one column for each unit"),
        (np.full((5, 2), np.nan), 0, "finite states"),
        (np.zeros((5, 2)), 2, "unit"),
    ],
)
def test_states_of_another_density_are_refused(states, unit, words):
    p = stationary_density(pair(3.0, TANH), 0.5, np.linspace(-3, 3, 61))
    with pytest.raises(ValueError, match=words):
        marginal_distance(states, p, unit)


@pytest.mark.parametrize(
    "density", [stationary_density, lambda *a: step_density(*a[:2], 0.1, a[2])]
)
def test_a_batch_of_inputs_has_no_one_density(density):
    net = ctebm.LayeredNetwork.random([3, 2], TANH, gain=1.0, seed=0)
    with pytest.raises(ValueError, match="expected one sample"):
        density(net.clamp({"x": torch.zeros(4, 3)}), 0.5, np.linspace(-3, 3, 61))


def test_a_grid_beyond_the_memory_is_refused():
    with pytest.raises(ValueError, match="take fewer points"):
        stationary_density(pair(3.0, TANH), 0.5, np.linspace(-3, 3, 10**6))


def test_an_energy_that_is_no_number_is_refused():
    class Root(ctebm.Network):
        def energy(self, s):
            return s.sqrt().sum(-1)

    with pytest.raises(ValueError, match="expected an energy at every point"):
        stationary_density(Root(1), 0.5, np.linspace(-1, 1, 21))


def test_steps_without_a_stationary_law_reach_the_border():
    with pytest.warns(UserWarning, match="at the border"):
        step_density(DenseNetwork([[0.0]], [0.0], HARD), 0.5, 2.5, np.linspace(-4, 4, 201))


@pytest.mark.parametrize(
    "network, sigma, grid, words",
    [
        (pair(1.0, TANH), 0.0, np.linspace(-3, 3, 9), "sigma"),
        (pair(1.0, TANH), 0.5, [0.0, 0.0, 1.0], "increasing"),
        (pair(1.0, TANH), 0.5, [0.0, np.nan, 1.0], "grid"),
        (DenseNetwork(np.zeros((3, 3)), np.zeros(3), TANH), 0.5, np.linspace(-3, 3, 9), "3 units"),
        (AsymmetricNetwork([[0, 1], [0, 0]], [0, 0], TANH), 0.5, np.linspace(-3, 3, 9), "energy"),
    ],
)
def test_what_has_no_density_is_refused(network, sigma, grid, words):
    with pytest.raises(ValueError, match=words):
        ctebm.stationary_density(network, sigma, grid)
