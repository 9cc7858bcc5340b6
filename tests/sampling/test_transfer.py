"""Laws of Euler-Maruyama steps against closed forms and digits that were computed independently."""

import numpy as np
import pytest
from analytic import HARD, TANH, pair

import ctebm
from ctebm import AsymmetricNetwork, DenseNetwork, stationary_density
from ctebm.sampling import transfer
from ctebm.sampling.density import total_variation
from ctebm.sampling.transfer import _kernel, step_density


def moments(p):
    """Mean and variance of one unit."""
    mean = float((p * p.s).integrate("s"))
    return mean, float((p * (p.s - mean) ** 2).integrate("s"))


@pytest.mark.parametrize(
    "eps, variance, covariance", [(0.4, 0.198278, 0.083634), (0.2, 0.181226, 0.089607)]
)
def test_pair_of_tanh_units(eps, variance, covariance):
    p = step_density(pair(3.0, TANH), 0.5, eps, np.linspace(-3.2, 3.2, 65))
    both = ["s1", "s2"]
    assert float((p * p.s1**2).integrate(both)) == pytest.approx(variance, abs=6e-7)
    assert float((p * p.s1 * p.s2).integrate(both)) == pytest.approx(covariance, abs=6e-7)


def test_one_unit_with_a_bias():
    unit = DenseNetwork([[0.0]], [1.5], TANH)
    found = moments(step_density(unit, 0.5, 0.2, np.linspace(-3, 4, 281)))
    assert found == pytest.approx((0.546032409, 0.101775253), abs=1e-8)


@pytest.mark.parametrize("eps, variance", [(0.01, 2.526e-4), (0.001, 1.8785e-4)])
def test_a_kink_half_way_between_points(eps, variance):
    unit, h = DenseNetwork([[0.0]], [1.0], HARD), 5e-4
    grid = 0.5 + h * (np.arange(-300, 300) + 0.5)
    _, found = moments(step_density(unit, 0.1, eps, grid))
    assert found == pytest.approx(variance, rel=3e-4)


@pytest.mark.parametrize("skew", [0.0, 0.6])
def test_linear_motion_has_the_covariance_of_its_linearisation(skew):
    """Without an energy too: between its kinks the hard sigmoid is linear."""
    net = AsymmetricNetwork([[0, 0.5 + skew], [0.5 - skew, 0]], [0, 0], HARD).centred()
    p = step_density(net, 0.06, 0.3, np.linspace(-0.5, 0.5, 101))
    exact = ctebm.linearize(net, [0.0, 0.0]).covariance(0.06, eps=0.3)
    for powers, value in (((2, 0), exact[0, 0]), ((1, 1), exact[0, 1]), ((0, 2), exact[1, 1])):
        found = (p * p.s1 ** powers[0] * p.s2 ** powers[1]).integrate(["s1", "s2"])
        assert float(found) == pytest.approx(float(value), rel=1e-6)


def test_the_distance_from_langevin_falls_with_the_step():
    net, grid = DenseNetwork([[0.0]], [1.5], TANH), np.linspace(-2, 3, 201)
    exact = stationary_density(net, 0.5, grid)
    far, near = (total_variation(step_density(net, 0.5, eps, grid), exact) for eps in (0.1, 0.05))
    assert 0.45 < near / far < 0.55


@pytest.mark.parametrize(
    "change, words",
    [
        ({"eps": 1e-4}, "take more points"),
        ({"eps": 0.0}, "eps"),
        ({"sigma": -0.1}, "sigma"),
        ({"network": DenseNetwork(np.zeros((3, 3)), np.zeros(3), TANH)}, "3 units"),
        ({"grid": [0.0, 0.0, 1.0]}, "increasing"),
    ],
)
def test_what_has_no_meaning_is_refused(change, words):
    unit = DenseNetwork([[0.0]], [0.0], TANH)
    given = {"network": unit, "sigma": 0.5, "eps": 0.1, "grid": np.linspace(-2, 2, 41)} | change
    with pytest.raises(ValueError, match=words):
        step_density(**given)


def test_steps_that_leave_the_grid_are_told():
    unit = DenseNetwork([[0.0]], [0.0], TANH)
    with pytest.warns(UserWarning, match="widen the grid"):
        step_density(unit, 0.5, 0.5, np.linspace(-0.5, 0.5, 21))


def test_the_mass_of_each_start_is_shared_by_the_normal_law_and_none_is_lost():
    x, mean, width = np.array([0.0, 0.1, 0.25, 0.4]), np.array([0.12, 0.38, 9.0, -50.0]), 0.1
    found = _kernel(x, mean, width)
    for j, m in enumerate(mean):
        share = [np.exp(-((p - m) ** 2) / (2 * width**2)) for p in x]
        share = np.array(share) * [0.1, np.gradient(x)[1], np.gradient(x)[2], 0.15]
        if m == 9.0:
            share = np.array([0, 0, 0, 1.0])
        if m == -50.0:
            share = np.array([1.0, 0, 0, 0])
        np.testing.assert_allclose(found[:, j], share / share.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.sum(0), 1)


def test_grids_may_be_as_coarse_as_the_noise_of_a_step_and_no_coarser():
    unit, width = DenseNetwork([[0.0]], [0.0], TANH), 0.5 * 0.2**0.5
    step_density(unit, 0.5, 0.2, np.arange(-12, 13) * width * 0.999)
    with pytest.raises(ValueError, match=r"at most sigma sqrt\(eps\) = 0.224 apart, got 0.224;"):
        step_density(unit, 0.5, 0.2, np.arange(-12, 13) * width * 1.001)


def test_memory_is_asked_for_two_numbers_a_pair_of_neighbours(monkeypatch):
    asked = []
    monkeypatch.setattr(transfer, "check_memory", lambda *about: asked.append(about))
    step_density(pair(0.1, TANH), 0.5, 0.4, (np.linspace(-2, 2, 21), np.linspace(-2, 2, 31)))
    assert asked == [("the steps between grid points", 16 * 21 * 31 * 52, "take fewer points")]


def test_the_density_does_not_depend_on_where_the_points_lie():
    """Three times closer at one end than at the other."""
    unit, t = DenseNetwork([[0.0]], [1.5], TANH), np.linspace(0, 1, 401)
    found = moments(step_density(unit, 0.5, 0.2, -3 + 7 * (t + t**2) / 2))
    assert found == pytest.approx((0.546032409, 0.101775253), abs=1e-4)
