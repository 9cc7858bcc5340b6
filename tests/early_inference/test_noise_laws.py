"""Laws of signal against noise, written out and against simulated units."""

import numpy as np
import pytest

from ctebm.early_inference.noise_laws import (
    noise_variance,
    predicted_cosine,
    replicates_needed,
)


@pytest.mark.parametrize("eps", [1.0, 0.3, 0.01])
def test_noise_variance_is_the_sum_over_steps(eps):
    sigma, v = 0.7, 0.0
    for n in range(6):
        assert noise_variance(n, eps, sigma) == pytest.approx(v, rel=1e-12)
        v = (1 - eps) ** 2 * v + sigma**2 * eps
    stationary = sigma**2 / (2 - eps)  # N2 with lambda = 1
    assert noise_variance(10**6, eps, sigma) == pytest.approx(stationary, rel=1e-12)
    found = noise_variance([[1], [2]], [eps, eps / 2], sigma)
    assert found.shape == (2, 2)
    assert found[0] == pytest.approx(sigma**2 * np.array([eps, eps / 2]))


def test_replicates_needed_grow_with_units_and_variance_and_fall_with_signal_and_error():
    """M = n v / (r signal)^2: each factor by itself."""
    assert replicates_needed(2.0, 5, 0.3, 0.1) == pytest.approx(5 * 0.3 / (0.1 * 2.0) ** 2)
    base = replicates_needed(1.0, 1, 1.0, 1.0)
    assert base == 1
    assert replicates_needed(1.0, 3, 1.0, 1.0) == 3
    assert replicates_needed(1.0, 1, 3.0, 1.0) == 3
    assert replicates_needed(3.0, 1, 1.0, 1.0) == pytest.approx(1 / 9)
    assert replicates_needed(1.0, 1, 1.0, 3.0) == pytest.approx(1 / 9)
    assert replicates_needed(0.0, 1, 1.0, 1.0) == np.inf
    assert np.isnan(replicates_needed(0.0, 1, 0.0, 1.0))
    assert np.isnan(replicates_needed([np.nan, 1.0], 1, 1.0, 1.0)).tolist() == [True, False]


def test_predicted_cosine_is_the_share_of_the_signal_in_the_length():
    """c / sqrt(1 + n v / (M |d|^2)): a right triangle of signal and noise."""
    assert predicted_cosine(0.8, 2.0, 12, 1.0, 1) == pytest.approx(0.8 * 2 / 4)  # |d| = 2, noise 12
    assert predicted_cosine(0.8, 2.0, 12, 1.0, 3) == pytest.approx(0.8 * 2 / np.sqrt(4 + 4))
    assert predicted_cosine(-0.8, 1.0, 3, 1.0, 1) == pytest.approx(-0.4)
    assert predicted_cosine(0.8, 2.0, 12, 0.0, 1) == 0.8
    assert predicted_cosine(0.8, 0.0, 12, 1.0, 1) == 0
    assert predicted_cosine(1 + 1e-7, 1.0, 1, 0.0, 1) == 1 + 1e-7  # as measured, with rounding
    assert np.isnan(predicted_cosine([np.nan, 1.0], 1.0, 1, 1.0, 1)).tolist() == [True, False]


def test_noise_laws_are_those_of_simulated_leaky_units():
    eps, sigma, n, n_units, M = 0.2, 0.5, 7, 40, 4
    draw = np.random.default_rng(1)
    s = np.zeros((3000, M, n_units))
    for _ in range(n):
        s += -eps * s + sigma * np.sqrt(eps) * draw.standard_normal(s.shape)
    v = noise_variance(n, eps, sigma)
    assert s.var() == pytest.approx(v, rel=0.01)
    assert noise_variance(1, 1e-3, sigma) == pytest.approx(sigma**2 * 1e-3)
    signal = np.zeros(n_units)
    signal[0] = 2.0
    mean = s.mean(1) + signal
    error = ((mean - signal) ** 2).sum(-1).mean() / 4
    assert replicates_needed(2.0, n_units, v, np.sqrt(error)) == pytest.approx(M, rel=0.03)
    cosine = (mean[:, 0] / np.linalg.norm(mean, axis=-1)).mean()
    assert predicted_cosine(1.0, 2.0, n_units, v, M) == pytest.approx(cosine, abs=0.01)
