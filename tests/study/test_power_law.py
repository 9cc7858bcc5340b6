"""Limits, and exponents with corrections."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctebm.study.power_law import at_zero, corrected_order

X = np.array([0.4, 0.2, 0.1, 0.05, 0.025])


@pytest.mark.parametrize("order", [-1, 0.5, 1, 3])
def test_corrections_are_told_from_the_exponent(order: float) -> None:
    y = 7 * X**order * np.exp(2 * X - 3 * X**2)
    assert corrected_order(X, y) == pytest.approx(order, abs=1e-9)
    plain = np.polyfit(np.log(X), np.log(y), 1)[0]
    assert abs(plain - order) > 0.05


def test_without_enough_points_there_is_no_order() -> None:
    assert math.isnan(corrected_order(X[:3], X[:3]))
    assert math.isnan(corrected_order(X, np.where(X > 0.3, np.nan, X)))


def test_a_limit_is_that_of_the_polynomial() -> None:
    assert at_zero(X[1:], 2 - 7 * X[1:] + X[1:] ** 3) == pytest.approx(2, abs=1e-12)
    assert math.isnan(at_zero(X, np.where(X > 0.3, np.nan, X)))
