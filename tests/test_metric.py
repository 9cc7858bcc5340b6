"""Metrics on vectors whose values are known, and intervals on draws whose law is known."""

import math

import numpy as np
import pytest
import torch

from ctebm import metric
from ctebm.law import noise_variance, predicted_cosine, replicates_needed

G = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)


def turned(degrees, a=0.5):
    across = torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64)
    angle = math.radians(degrees)
    return -a * (math.cos(angle) * G + math.sin(angle) * across)


@pytest.mark.parametrize("degrees", [0, 30, 60, 89, 120, 180])
def test_metrics_of_a_turned_vector(degrees):
    d, c = turned(degrees), math.cos(math.radians(degrees))
    assert metric.cosine(d, G) == pytest.approx(c)
    assert metric.projection(d, G) == pytest.approx(0.5 * c)
    assert metric.angle(d, G) == pytest.approx(math.radians(degrees), abs=1e-15)
    assert metric.relative_error(d, -0.5 * G) == pytest.approx(
        2 * math.sin(math.radians(degrees) / 2), abs=1e-15
    )


def test_small_angles_keep_their_digits():
    assert metric.tangent(turned(math.degrees(1e-11)), G) == pytest.approx(1e-11, rel=1e-4)
    assert 1 - metric.cosine(turned(math.degrees(1e-11)), G) == pytest.approx(0, abs=1e-15)


def test_sign_agreement_counts_where_the_gradient_is_not_zero():
    d = torch.tensor([[-1.0, 9.0, 2.0], [-1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    found = metric.sign_agreement(d, G.float())
    assert found[:2].tolist() == [0.5, 1.0] and found[2].isnan()


def test_a_zero_gradient_has_no_metrics():
    zero = torch.zeros(3, dtype=torch.float64)
    for of in (metric.projection, metric.cosine, metric.tangent):
        assert of(turned(0), zero).isnan()


def test_curve_rmse_is_that_of_the_larger_curve():
    a = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    assert metric.curve_rmse(a, b).tolist() == pytest.approx([math.sqrt(4 / 17), 0.0])
    torch.testing.assert_close(metric.curve_rmse(a, b), metric.curve_rmse(b, a))


def test_exponents_and_their_intervals():
    x = np.geomspace(0.01, 1, 8)
    exact = metric.fit_exponent(x, 3 * x**2.5)
    assert exact.slope == pytest.approx(2.5) and exact.high - exact.low < 1e-10
    draw, held = np.random.default_rng(0), 0
    for _ in range(400):
        fit = metric.fit_exponent(x, 3 * x**2.5 * np.exp(draw.normal(0, 0.3, 8)))
        held += fit.low <= 2.5 <= fit.high
    assert 0.91 < held / 400 < 0.98  # 95 %, four standard errors
    with pytest.raises(ValueError, match="two or more different x > 0"):
        metric.fit_exponent([1.0, 1.0], [2.0, 3.0])
    with pytest.raises(ValueError, match="y > 0"):
        metric.fit_exponent([1.0, 2.0], [2.0, 0.0])


def test_bootstrap_by_dot_products_is_the_bootstrap_by_vectors():
    draw = torch.Generator().manual_seed(0)
    d = torch.randn(7, 3, generator=draw, dtype=torch.float64) - G
    dots, gram = (d * G).sum(-1), d @ d.T
    coefficient, cosine = metric.bootstrap_interval(dots, gram, G.norm(), seed=3)
    rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(7, 200)))
    weights = torch.as_tensor(rng.multinomial(7, np.full(7, 1 / 7), size=200) / 7)
    means = weights @ d
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    torch.testing.assert_close(coefficient, metric.projection(means, G).quantile(ends))
    torch.testing.assert_close(cosine, metric.cosine(means, G).quantile(ends))


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
