"""Metrics on vectors whose values are known, and intervals on draws whose law is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ctebm.early_inference import metrics as metric

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
    if degrees != 180:
        assert metric.tangent(d, G) == pytest.approx(math.tan(math.radians(degrees)), rel=1e-12)
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


@pytest.mark.parametrize("size", [1e-250, 1e250])
@pytest.mark.parametrize("sides", [(1, -1), (-1, 1), (-1, -1)])
def test_curve_rmse_does_not_depend_on_units(size, sides):
    a = sides[0] * torch.tensor([1.0, 0.5], dtype=torch.float64)
    b = sides[1] * torch.tensor([3.0, 4.0], dtype=torch.float64)
    for one, other in ((a, b), (b, a)):
        expected = float((a - b).square().sum()) ** 0.5 / 5
        found = float(metric.curve_rmse(size * one, size * other))
        assert found == pytest.approx(expected, rel=1e-14)


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


def replicates(degrees, noise, n, n_trials, n_units=20, seed=0):
    """Draw displacements ``(trial, replicate, unit)`` whose mean has a known cosine with `g`."""
    g = torch.zeros(n_units, dtype=torch.float64)
    g[0] = 2.0
    mean = torch.zeros_like(g)
    mean[:2] = torch.tensor([-math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    draw = torch.Generator().manual_seed(seed)
    d = mean + noise * torch.randn(n_trials, n, n_units, generator=draw, dtype=torch.float64)
    return d @ g, d @ d.mT, g.norm().expand(n_trials)


def share_held(interval, value):
    low, high = interval
    return float(((low <= value + 1e-12) & (value - 1e-12 <= high)).double().mean())


@pytest.mark.parametrize("n", [4, 16])
@pytest.mark.parametrize("degrees", [0, 20, 70])
def test_intervals_hold_the_truth_as_often_as_they_say(n, degrees):
    """4000 trials; 4 standard errors of a share of 95 % are 1.4 %.

    The coefficient's is exact for normal noise. The cosine's is to first order: it may hold the
    truth more often, near 1 where it is bounded it does, and at most 1.5 % less often.
    """
    c = math.cos(math.radians(degrees))
    coefficient, cosine = metric.replicate_intervals(*replicates(degrees, 0.2, n, 4000))
    assert abs(share_held(coefficient, c / 2) - 0.95) < 0.014
    assert share_held(cosine, c) > 0.95 - 0.014 - 0.015
    if degrees == 70 and n == 16:  # where noise is small beside the angle both ways
        assert abs(share_held(cosine, c) - 0.95) < 0.014
    # and they say something: they narrow with replicates
    assert float((cosine[1] - cosine[0]).median()) < (0.7 if n == 4 else 0.25)


def test_the_interval_of_a_cosine_is_not_that_of_the_noisy_mean():
    """The mean of few replicates has a smaller cosine than what it estimates."""
    dots, gram, norm = replicates(0, 1.0, 16, 2000)
    of_mean = -dots.mean(-1) / (norm * gram.mean((-2, -1)).sqrt())
    assert of_mean.mean() < 0.75
    assert share_held(metric.replicate_intervals(dots, gram, norm)[1], 1.0) > 0.95 - 0.02


def test_intervals_written_out():
    dots, gram, norm = replicates(40, 0.3, 5, 1)
    d = torch.linalg.cholesky(gram[0])  # vectors of the same dot products
    coefficient, cosine = metric.replicate_intervals(dots, gram, norm)
    expected = stats.t.interval(0.95, 4, (-dots[0] / 4).mean(), stats.sem(-dots[0] / 4))
    assert coefficient[:, 0].tolist() == pytest.approx(list(expected))
    g = torch.linalg.solve(d, dots[0])

    def cosine_of(weights):  # each pair of different replicates weighs w_r w_p
        w = weights / weights.sum()
        q = (w @ gram[0] @ w - (w**2 * gram[0].diagonal()).sum()) / (1 - (w**2).sum())
        return -(w @ d @ g) / (2.0 * q.sqrt())

    weights = torch.ones(5, dtype=torch.float64, requires_grad=True)
    c = cosine_of(weights)
    (slope,) = torch.autograd.grad(c, weights)
    half = stats.t.ppf(0.975, 4) * float((5 * slope).std()) / 5**0.5
    middle = float(c.detach())
    ends = [max(middle - half, -1), min(middle + half, 1)]
    assert cosine[:, 0].tolist() == pytest.approx(ends, rel=1e-9)


def test_intervals_where_there_is_nothing_to_see():
    zero, one = torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    coefficient, cosine = metric.replicate_intervals(zero, zero.unsqueeze(-1) * zero[0], one)
    assert (coefficient == 0).all() and cosine.isnan().all()  # nothing has moved
    opposite = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    gram = opposite.unsqueeze(-1) * opposite.unsqueeze(-2)
    assert metric.replicate_intervals(opposite, gram, one)[1].flatten().tolist() == [-1, 1]
    found = metric.replicate_intervals(opposite, gram, 0 * one)
    assert all(interval.isnan().all() for interval in found)  # no gradient


@pytest.mark.parametrize("size", [1e-150, 1e-200, 1e-300, 1e150, 1e300])
def test_metrics_do_not_depend_on_the_size_of_what_they_compare(size):
    """A layer ten hops deep moves by eps^11 of its gradient: no square may underflow."""
    draw = torch.Generator().manual_seed(0)
    d, g = torch.randn(2, 4, 6, generator=draw, dtype=torch.float64)
    names = ["cosine", "tangent", "sign_agreement", "relative_error", "curve_rmse", "projection"]
    for function in (getattr(metric, name) for name in names):
        torch.testing.assert_close(function(size * d, size * g), function(d, g), rtol=1e-12, atol=0)
    for function in (metric.cosine, metric.tangent):
        torch.testing.assert_close(function(size * d, g), function(d, g), rtol=1e-12, atol=0)
    torch.testing.assert_close(metric.length(size * d) / size, d.norm(dim=-1), rtol=1e-12, atol=0)
    share = metric.projection(size * d, g) / size
    torch.testing.assert_close(share, metric.projection(d, g), rtol=1e-12, atol=0)


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan, "high"])
def test_levels_out_of_range_are_refused(level):
    with pytest.raises(ValueError, match="expected 0 < confidence < 1, got"):
        metric.fit_exponent([1, 2, 3], [1, 2, 3], level)
    ones = torch.ones(3), torch.ones(3, 3), torch.ones(())
    with pytest.raises(ValueError, match="expected 0 < level < 1, got"):
        metric.replicate_intervals(*ones, level=level)


def test_one_replicate_has_no_interval():
    with pytest.raises(ValueError, match="replicates >= 2, got 1; one run has no spread"):
        metric.replicate_intervals(torch.ones(1), torch.ones(1, 1), torch.ones(()))


@pytest.mark.parametrize(
    "x, y, words",
    [
        ([1, 2, np.inf], [1, 2, 3], "finite x, got inf"),
        ([1, 2, 3], [1, 2, -np.inf], "finite y, got -inf"),
        ([1, 2, 3], [1, 2], r"as many x as y, got shapes \(3,\) and \(2,\)"),
        ([1, 2, 3], [1j, 2, 3], "real numbers for y"),
        ([[1], [2, 3]], [1, 2], "real numbers for x"),
    ],
)
def test_powers_of_what_are_no_numbers_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        metric.fit_exponent(x, y)


def test_metrics_of_batches_are_those_of_their_vectors():
    draw = torch.Generator().manual_seed(0)
    d = torch.randn(2, 3, 5, 4, generator=draw, dtype=torch.float64)
    g = torch.randn(2, 1, 1, 4, generator=draw, dtype=torch.float64)
    g[1, ..., 2] = 0
    for of in (metric.projection, metric.cosine, metric.tangent, metric.sign_agreement,
               metric.relative_error):  # fmt: skip
        found = of(d, g)
        assert found.shape == (2, 3, 5)
        for i, j, k in [(0, 1, 2), (1, 2, 4), (1, 0, 0)]:
            torch.testing.assert_close(found[i, j, k], of(d[i, j, k], g[i, 0, 0]))


def test_no_interval_of_a_cosine_goes_beyond_one():
    """Two replicates that differ tell little, also where their dot product shows a length."""
    gram = torch.tensor([[4.0, 1.0], [1.0, 4.0]], dtype=torch.float64)
    for sign in (1, -1):
        dots = sign * torch.tensor([1.0, 0.5], dtype=torch.float64)
        cosine = metric.replicate_intervals(dots, gram, torch.ones(()).double())[1]
        assert cosine.tolist() == [-1, 1]


def test_curves_of_far_apart_sizes_are_as_far_apart_as_can_be():
    large, small = torch.tensor([[1e250] * 3, [1e-250] * 3], dtype=torch.float64)
    for a, b in ((large, small), (small, large), (large, 0 * small), (0 * small, small)):
        assert float(metric.curve_rmse(a, b)) == pytest.approx(1.0)
    assert float(metric.curve_rmse(0 * small, 0 * small)) == 0


@pytest.mark.parametrize("n", [3, 4, 9])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_interval_of_an_exponent_is_students(n, confidence):
    draw = np.random.default_rng(n)
    x = np.geomspace(0.1, 10, n)
    y = 2 * x**1.5 * np.exp(draw.normal(0, 0.2, n))
    line = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf((1 + confidence) / 2, n - 2) * line.stderr
    fit = metric.fit_exponent(x, y, confidence)
    found, expected = (fit.slope, fit.low, fit.high), line.slope + np.array([0, -half, half])
    assert found == pytest.approx(tuple(expected), rel=1e-9) and fit.n == n
