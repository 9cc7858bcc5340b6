"""Laws of memories of signs: against every draw, against many draws, against closed forms."""

import itertools
import math

import numpy as np
import pytest

from ctebm.study.sign_memories import (
    graded_capacity,
    graded_overlap,
    hebbian_error,
    polynomial_capacity,
    polynomial_error,
)


def patterns_of(n, P):
    """Yield every set of P patterns of n signs, the first of which is all 1."""
    for signs in itertools.product((-1, 1), repeat=n * (P - 1)):
        yield np.vstack([np.ones(n), np.reshape(signs, (P - 1, n))])


def half_wrong(toward):
    return float((toward < -1e-9).mean() + (abs(toward) < 1e-9).mean() / 2)


@pytest.mark.parametrize("flipped", [0, 1])
def test_first_currents_of_hebbian_weights_in_all_sets_of_patterns(flipped):
    n, found = 5, []
    cue = np.ones(n)
    cue[:flipped] = -1
    for X in patterns_of(n, 3):
        W = X.T @ X / n
        np.fill_diagonal(W, 0)
        found.append(half_wrong(W @ cue))
    assert hebbian_error(n, 3, flipped) == pytest.approx(np.mean(found), rel=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_first_currents_of_polynomial_memories_in_all_sets_of_patterns(order):
    n = 5
    found = [half_wrong((X.sum(-1) / n) ** (order - 1) @ X) for X in patterns_of(n, 3)]
    assert polynomial_error(order, n, 3) == pytest.approx(np.mean(found), rel=1e-9, abs=1e-15)


def test_the_capacity_has_the_error_that_was_asked_for():
    n = polynomial_capacity(3, 20, 0.01)
    low, high = (polynomial_error(3, 20, k) for k in (math.floor(n), math.ceil(n)))
    assert low < 0.01 <= high
    assert polynomial_capacity(3, 64, 0.01) == pytest.approx(64**2 / 3 / 2.3263**2, rel=0.02)


def test_even_orders_and_large_tables_are_refused():
    for order in (4, 6):
        with pytest.raises(ValueError, match=f"got {order}, whose units hold themselves"):
            polynomial_capacity(order, 16, 0.01)
    assert polynomial_capacity(2, 16, 0.01) < polynomial_capacity(3, 16, 0.01)
    with pytest.raises(ValueError, match="fit a table"):
        polynomial_error(7, 60, 4000)


def test_signs_have_the_capacity_of_amit_gutfreund_and_sompolinsky():
    """Its closed form is by Stojnic (2024): the largest of a function of the overlap."""
    from scipy.special import erfinv

    m = np.linspace(0.9, 0.99, 90_001)
    x = erfinv(m)
    closed = ((m / (math.sqrt(2) * x) - 2 / math.sqrt(2 * math.pi) * np.exp(-x * x)).max()) ** 2
    assert closed == pytest.approx(0.137906, abs=1e-6)
    assert graded_capacity(1000.0) == pytest.approx(closed, abs=2e-4)


def test_overlaps_of_signs_solve_the_equation_of_the_error_function():
    alpha, m, C = 0.1, 1.0, 0.0
    for _ in range(1000):  # m = erf(x), x = m / sqrt(2 alpha r), r = 1 / (1 - C)^2
        x = m * (1 - C) / math.sqrt(2 * alpha)
        m, C = math.erf(x), math.sqrt(2 / (math.pi * alpha)) * (1 - C) * math.exp(-x * x)
    assert graded_overlap(alpha, 1e4) == pytest.approx(m, abs=1e-5)


def test_a_smaller_gain_stores_less():
    assert graded_capacity(2.0) < graded_capacity(4.0) < graded_capacity(20.0)
    assert graded_overlap(0.05, 1.01) == 0
