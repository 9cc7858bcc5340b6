"""The predicted error of responses against repeated measurements, and against a sum written out."""

import pytest
import torch
from analytic import HARD, pair

from ctebm import fluctuation_response, linearize
from ctebm.sampling.errors import error_rate


def test_the_predicted_error_is_the_spread_of_repeated_estimates():
    """64 estimates: their standard deviation is known to 9 %."""
    net, u = pair(0.5, HARD), torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = fluctuation_response(
        net, [0.0, 0.0], u, eps=0.25, n_steps=4, sigma=0.01, chains=64, time=100.0, seed=3
    )
    spread = found.blocks.mean(0).std(0) * 64**-0.5
    assert torch.allclose(spread, found.predicted_error, rtol=0.35)


@pytest.mark.parametrize("n", [1, 3, 120])
def test_error_rate_of_one_unit_against_a_sum_written_out(n):
    eps = 0.3
    linear = linearize(pair(0.0, HARD), [0.0, 0.0])
    m, var = 1 - eps, 1 / (2 - eps)

    def c(k):
        return var * m ** abs(k)

    past = {0: 1.0, 1: 1.0, n: 0.0, n + 1: -1.0} if n > 1 else {0: 1.0, 1: 0.0, 2: -1.0}
    past[n] -= n > 1
    total = 0.0
    for k in range(-400, 401):
        ww = sum(a * b * c(k + i - j) for i, a in past.items() for j, b in past.items())
        total += c(k) * ww + sum(b * c(k - j) for j, b in past.items()) * sum(
            a * c(k + i) for i, a in past.items()
        )
    u = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(error_rate(linear, u, eps, n)[0]) == pytest.approx(eps * total, rel=1e-9)
