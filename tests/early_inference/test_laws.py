from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ctebm.early_inference.laws import (
    cascade_coefficient,
    continuous_coefficient,
    discretisation_error,
    first_arrival_coefficient,
    half_time,
    paper_coefficient,
)


@given(st.integers(0, 6), st.integers(0, 60), st.integers(1, 99))
def test_binomial_tail_exactly(depth, n, percent):
    """P[Binomial(n, eps) >= k + 1], in rational arithmetic."""
    p = Fraction(percent / 100)
    tail = sum(comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(depth + 1, n + 1))
    assert first_arrival_coefficient(depth, n, percent / 100) == pytest.approx(
        float(tail), rel=1e-13, abs=0
    )


@given(st.integers(0, 8), st.floats(1e-3, 1.0))
def test_first_arrival_is_the_paper_s_power(depth, eps):
    assert first_arrival_coefficient(depth, depth + 1, eps) == paper_coefficient(depth, eps)
    assert first_arrival_coefficient(depth, depth, eps) == 0


def test_continuous_limit_is_the_gamma_distribution():
    t = np.geomspace(1e-3, 20, 40)
    for k in range(5):
        expected = stats.gamma(k + 1).cdf(t)
        np.testing.assert_allclose(continuous_coefficient(k, t), expected, rtol=1e-10)
        early = t[:5] ** (k + 1) / factorial(k + 1)
        np.testing.assert_allclose(continuous_coefficient(k, t[:5]), early, rtol=2e-2)


def test_discretisation_error_of_the_law_is_of_order_eps():
    eps = np.array([0.04, 0.02, 0.01, 0.005])
    for k in range(4):
        t = np.linspace(0.4, 8, 20)
        n = np.rint(t / eps[:, None])
        gap = np.abs(first_arrival_coefficient(k, n, eps[:, None]) - continuous_coefficient(k, t))
        slope = np.polyfit(np.log(eps), np.log(gap.max(1)), 1)[0]
        assert slope == pytest.approx(1, abs=0.02)


def test_discretisation_error_is_known_to_second_order():
    eps = np.array([0.08, 0.04, 0.02, 0.01])
    for k in range(5):
        t = np.linspace(0.4, 8, 20)
        n = np.rint(t / eps[:, None])
        gap = first_arrival_coefficient(k, n, eps[:, None]) - continuous_coefficient(k, t)
        rest = np.abs(gap - discretisation_error(k, t, eps[:, None])).max(1)
        assert np.polyfit(np.log(eps), np.log(rest), 1)[0] == pytest.approx(2, abs=0.05)
        assert discretisation_error(k, 0.0, 0.1) == 0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5])
def test_cascade_is_the_runge_kutta_response_of_leaky_integrators(order, depth):
    """Step a chain dz_0 = 1 - z_0, dz_k = z_{k-1} - z_k with the Taylor series of its flow."""
    eps, n_steps = 0.3, 12
    size = depth + 2
    M = np.zeros((size, size))  # the last unit is the constant 1
    M[0, -1] = 1
    for k in range(depth + 1):
        M[k, k] = -1
        if k:
            M[k, k - 1] = 1
    step = sum(np.linalg.matrix_power(eps * M, m) / factorial(m) for m in range(order + 1))
    z, expected = np.eye(size)[-1], []
    for _ in range(n_steps + 1):
        expected.append(z[depth])
        z = step @ z
    found = cascade_coefficient(depth, np.arange(n_steps + 1), eps, order)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-16)


def test_cascade_of_order_one_is_the_binomial_law():
    n = np.arange(40)
    for k in range(4):
        np.testing.assert_allclose(
            cascade_coefficient(k, n, 0.07, 1), first_arrival_coefficient(k, n, 0.07), rtol=1e-12
        )


def test_a_method_of_order_p_crosses_p_layers_in_a_step():
    for order in (1, 2, 3, 4):
        moved = [cascade_coefficient(k, 1, 0.1, order) != 0 for k in range(6)]
        assert moved == [k < order for k in range(6)]


def test_rk4_step_has_the_continuous_size_up_to_its_order():
    eps = 0.01
    for k in range(4):
        ratio = cascade_coefficient(k, 1, eps, 4) / continuous_coefficient(k, eps)
        assert ratio == pytest.approx(1, abs=3 * eps ** (4 - k))


def test_half_of_the_gradient_is_there_after_k_and_two_thirds():
    k = np.arange(1, 11)
    assert np.all((half_time(k) - k > 0.66) & (half_time(k) - k < 0.69))
    np.testing.assert_allclose(continuous_coefficient(k, half_time(k)), 0.5)


def test_size_at_first_arrival_never_tends_to_that_of_the_flow():
    """At t = (k + 1) eps the ratio tends to (k + 1)! / (k + 1)^(k + 1)."""
    for k, limit in enumerate([1, 1 / 2, 2 / 9, 0.09375]):
        eps = 1e-6
        ratio = paper_coefficient(k, eps) / continuous_coefficient(k, (k + 1) * eps)
        assert ratio == pytest.approx(limit, rel=1e-5)


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, np.nan])
def test_steps_without_a_law_are_refused(eps):
    with pytest.raises(ValueError, match="0 < eps <= 1"):
        first_arrival_coefficient(1, 2, eps)
    with pytest.raises(ValueError, match="order from 1 to 4"):
        cascade_coefficient(1, 2, 0.1, 5)
