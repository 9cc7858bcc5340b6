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
    driven_coefficient,
    first_arrival_coefficient,
    half_time,
    paper_coefficient,
)
from ctebm.early_inference.noise_laws import (
    noise_variance,
    predicted_cosine,
    replicates_needed,
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


def test_the_driven_law_is_that_of_its_order():
    """0 stands for continuous time, 1 for Euler, depth -1 for what drives the output."""
    n = np.array([0, 1, 2, 5, 9])
    for k in range(3):
        flow, steps = driven_coefficient(k, n, 0.2, 0), driven_coefficient(k, n, 0.2, 1)
        np.testing.assert_array_equal(flow, continuous_coefficient(k, 0.2 * n))
        np.testing.assert_array_equal(steps, first_arrival_coefficient(k, n, 0.2))
        for p in (2, 3, 4):
            cascade = cascade_coefficient(k, n, 0.2, p)
            np.testing.assert_array_equal(driven_coefficient(k, n, 0.2, p), cascade)
            assert np.abs(cascade - flow).max() < 0.2**p
    for p in range(5):
        np.testing.assert_array_equal(driven_coefficient(-1, n, 0.2, p), np.ones(5))
        assert driven_coefficient(0, 0, 0.2, p) == 0  # the output itself has not moved yet


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, np.nan, np.inf, None])
def test_step_sizes_without_a_law_are_refused(eps):
    for law in (
        lambda: first_arrival_coefficient(1, 2, eps),
        lambda: discretisation_error(1, 2.0, eps),
        lambda: paper_coefficient(1, eps),
        lambda: noise_variance(1, eps, 0.1),
        lambda: cascade_coefficient(1, 2, eps, 2),
        *(lambda k=k, p=p: driven_coefficient(k, 2, eps, p) for p in range(3) for k in (-1, 1)),
    ):
        with pytest.raises(ValueError, match=r"0 < eps <= 1, got|real numbers for eps, got None"):
            law()


@pytest.mark.parametrize("n", [-1, 2.7, np.nan, np.inf, 1j])
def test_numbers_of_steps_without_a_law_are_refused(n):
    for law in (
        lambda: first_arrival_coefficient(1, n, 0.1),
        lambda: noise_variance(n, 0.1, 0.1),
        lambda: cascade_coefficient(1, [2, n], 0.1, 2),
        *(lambda k=k, p=p: driven_coefficient(k, n, 0.1, p) for p in range(3) for k in (-1, 1)),
    ):
        with pytest.raises(
            ValueError, match=r"n_steps [<>]= \S+, got|real numbers for n_steps, got"
        ):
            law()


@pytest.mark.parametrize("depth", [-2, -0.5, 1.5, np.nan, np.inf, "deep"])
def test_depths_without_a_law_are_refused(depth):
    words = r"whole number depth >= (0|-1), got|real numbers for depth, got"
    for law in (
        lambda: first_arrival_coefficient(depth, 2, 0.1),
        lambda: continuous_coefficient(depth, 2.0),
        lambda: discretisation_error(depth, 2.0, 0.1),
        lambda: paper_coefficient(depth, 0.1),
        lambda: half_time(depth),
        lambda: cascade_coefficient(depth, 2, 0.1, 2),
        lambda: driven_coefficient(depth, 2, 0.1, 1),
    ):
        with pytest.raises(ValueError, match=words):
            law()


@pytest.mark.parametrize("order", [0, 5, 1.5, np.nan, None])
def test_orders_without_a_law_are_refused(order):
    with pytest.raises(ValueError, match=r"1 <= order <= 4, got .*; other orders need more stages"):
        cascade_coefficient(1, 2, 0.1, order)
    if order != 0:
        with pytest.raises(ValueError, match="whole number 0 <= order <= 4, got"):
            driven_coefficient(1, 2, 0.1, order)


@pytest.mark.parametrize("bad", [-1.0, np.inf, -np.inf])
def test_measured_numbers_out_of_range_are_refused(bad):
    for law in (
        lambda: continuous_coefficient(1, [0.5, bad]),
        lambda: discretisation_error(1, bad, 0.1),
        lambda: noise_variance(1, 0.1, bad),
        lambda: replicates_needed(bad, 1, 1.0, 1.0),
        lambda: replicates_needed(1.0, bad, 1.0, 1.0),
        lambda: replicates_needed(1.0, 1, bad, 1.0),
        lambda: replicates_needed(1.0, 1, 1.0, bad),
        lambda: predicted_cosine(2 * bad, 1.0, 1, 1.0, 1),
        lambda: predicted_cosine(1.0, 1.0, 1, 1.0, bad),
    ):
        with pytest.raises(ValueError, match=r"expected .*, got"):
            law()


def test_settings_are_never_unknown():
    for law in (
        lambda: noise_variance(1, 0.1, np.nan),
        lambda: replicates_needed(1.0, np.nan, 1.0, 1.0),
        lambda: replicates_needed(1.0, 1, 1.0, [1.0, np.nan]),
        lambda: predicted_cosine(1.0, 1.0, 1, 1.0, np.nan),
    ):
        with pytest.raises(ValueError, match="got nan"):
            law()


def test_times_that_are_not_known_have_no_coefficient():
    """As where a record has saved nothing: NaN in, NaN out, and nothing else is touched."""
    t = np.array([0.0, np.nan, 2.0])
    for found in (continuous_coefficient(1, t), discretisation_error(1, t, 0.1)):
        assert np.isnan(found).tolist() == [False, True, False]
    assert continuous_coefficient(1, t)[2] == continuous_coefficient(1, 2.0)


@pytest.mark.parametrize("depth, n", [(2, 10**10), (10**10, 2), (10**9, [0, 10**9])])
def test_a_cascade_estimates_its_memory_first(depth, n):
    with pytest.raises(ValueError, match=f"down to depth {depth} takes about .* ask for fewer"):
        cascade_coefficient(depth, n, 0.1, 2)
