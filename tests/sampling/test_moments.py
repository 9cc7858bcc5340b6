"""Sums in constant memory against all draws at once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctebm.sampling.moments import MOST_BLOCKS, BlockMeans, Moments


def autoregressive(n, chains, a, seed=0):
    """Stationary series x' = a x + noise, of variance 1, ``(draw, chain, 1)``."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(chains)
    series = []
    for _ in range(n):
        x = a * x + np.sqrt(1 - a * a) * rng.standard_normal(chains)
        series.append(x)
    return torch.as_tensor(np.array(series)).unsqueeze(-1)


@given(parts=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_blocks_are_means_of_equal_stretches_however_draws_come(parts):
    draws = torch.randn(sum(parts), 3, generator=torch.Generator().manual_seed(0)).double()
    series = BlockMeans()
    for part in draws.split(parts):
        series.add(part)
    length = 1
    while len(draws) > MOST_BLOCKS * length:
        length *= 2
    whole = len(draws) // length
    slow = draws[: whole * length].reshape(whole, length, 3).mean(1)
    assert torch.allclose(series.blocks, slow)
    assert torch.allclose(series.mean, draws.mean((0, 1)))
    assert torch.allclose(series.chain_mean, draws.mean(0))


@pytest.mark.parametrize("chains, n", [(1, 6000), (64, 500)])
def test_the_error_is_that_of_a_correlated_series(chains, n):
    """The mean of an AR(1) series has the variance (1 + a)/(1 - a)/n: ratio 0.7 to 1.4."""
    a = 0.8
    exact = np.sqrt((1 + a) / (1 - a) / (n * chains))
    errors = []
    for seed in range(8):
        series = BlockMeans()
        series.add(autoregressive(n, chains, a, seed))
        errors.append(float(series.error()[0]))
    assert 0.7 * exact < np.mean(errors) < 1.4 * exact


def test_rhat_tells_chains_that_disagree():
    draws = autoregressive(512, 8, 0.3)
    same, other = BlockMeans(), BlockMeans()
    same.add(draws)
    other.add(draws + torch.tensor([0.0, 1.0]).repeat(4).reshape(1, 8, 1))
    assert same.rhat()[0] < 1.05 < 1.3 < other.rhat()[0]


@pytest.mark.parametrize("chains", [1, 4, 16])
def test_chains_that_agree_stay_below_the_bound(chains):
    for seed in range(100):
        series = BlockMeans()
        series.add(autoregressive(512, chains, 0.0, seed))
        assert series.rhat()[0] <= series.rhat_bound


def test_one_chain_is_compared_with_itself():
    drifting = BlockMeans()
    drifting.add(autoregressive(512, 1, 0.3) + torch.linspace(0, 3, 512).reshape(-1, 1, 1))
    assert drifting.rhat()[0] > 1.5


@pytest.mark.parametrize("part", [slice(0, 170), slice(342, 512)], ids=["first", "last"])
def test_a_third_of_a_chain_that_is_elsewhere_is_told(part):
    draws = autoregressive(512, 1, 0.3)
    draws[part] += 3
    series = BlockMeans()
    series.add(draws)
    assert series.rhat()[0] > 1.5


def test_what_never_changes_has_no_error_and_no_rhat():
    series = BlockMeans()
    series.add(torch.full((100, 4, 2), 0.5))
    assert (series.error() == 0).all() and np.isnan(series.rhat()).all()


def test_what_is_not_finite_has_no_error():
    series = BlockMeans()
    series.add(torch.tensor([0.5, torch.nan]).expand(100, 4, 2))
    assert series.error()[0] == 0 and np.isnan(series.error()[1])


def test_a_draw_that_is_not_finite_leaves_no_error():
    draws = torch.zeros(8, 2, 1).double()
    draws[3, 1] = torch.nan
    series = BlockMeans()
    series.add(draws)
    assert np.isnan(series.error()).all()


@pytest.mark.parametrize("chains", [0, 1, 5])
def test_the_bound_is_that_of_the_means_of_halves(chains):
    """1 + (q - 1) / n with the quantile q of chi-squared over its degrees of freedom."""
    from scipy.stats import chi2

    series = BlockMeans()
    if chains:
        series.add(torch.randn(40, chains, 1, generator=torch.Generator().manual_seed(0)).double())
    m, n = 2 * max(chains, 1), 20 if chains else 1
    quantile = chi2.ppf(1 - 1e-4, m - 1) / (m - 1)
    assert series.rhat_bound == pytest.approx(max(1.05, (1 + (quantile - 1) / n) ** 0.5), rel=1e-9)


def test_a_single_draw_has_no_error():
    series = BlockMeans()
    series.add(torch.zeros(1, 1, 2))
    assert np.isnan(series.error()).all()


@pytest.mark.parametrize("steps", [range(21), [0, 7, 10, 14, 20]])
def test_draws_are_multiples_of_every_after_the_burn_in(steps):
    states = torch.arange(21.0).reshape(21, 1, 1).double()
    moments = Moments(states[0], 7, 5, None)
    moments.save(list(steps), states[list(steps)], 0)
    assert moments.state.n_draws == 3 - (15 not in steps)
    assert float(moments.mean) == pytest.approx(15.0)


def test_complex_numbers_are_not_made_real():
    moments = Moments(torch.zeros(3, 1), 0, 1, {"a": lambda s: s[..., 0] * 1j})
    with pytest.raises(ValueError, match=r"expected observe\['a'\] to return real"):
        moments.save([1], torch.zeros(1, 3, 1), 0)


def test_no_draws_have_no_mean():
    with pytest.raises(ValueError, match="take more steps"):
        _ = BlockMeans().mean


def test_moments_are_those_of_all_draws():
    states = torch.randn(90, 5, 2, 3, generator=torch.Generator().manual_seed(1)).double() + 100
    moments = Moments(states[0], 1, 1, {"size": lambda s: s.square().sum(-1)})
    moments.save([0, 1], states[:2] + 50, 0)  # burn-in
    for i, part in enumerate(states.split(31)):
        moments.save(range(31 * i + 2, 31 * i + 2 + len(part)), part, 1)
    flat = states.movedim(2, 0).reshape(2, -1, 3)
    assert torch.allclose(moments.mean, flat.mean(1), rtol=1e-14)
    assert torch.allclose(moments.chain_mean, states.mean(0), rtol=1e-14)
    slow = torch.stack([torch.cov(x.T, correction=0) for x in flat])
    assert torch.allclose(moments.covariance, slow, rtol=1e-10, atol=1e-12)
    assert torch.allclose(moments.observed["size"].mean, states.square().sum(-1).mean((0, 1)))
