"""Laws of memories of attention: against integrals, drawn patterns and printed numbers."""

import math

import numpy as np
import pytest
import torch

import ctebm
from ctebm.study.attention_memories import (
    attention_capacity,
    attention_overlap,
    guaranteed_patterns,
    half_weight_cosine,
    needed_separation,
    retrieval_bound,
    separation,
)


def sphere(n, d, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return x * math.sqrt(d) / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("d, K, number", [(20, 3.0, 3.1546), (75, 1.0, 1.3718)])
def test_the_guarantee_is_that_of_the_printed_examples(d, K, number):
    """Ramsauer et al. (2021): c is 3.1546 and 1.3718 there, for p = 0.001."""
    found = guaranteed_patterns(d, K * math.sqrt(d - 1), 1.0, 0.001)
    assert found == pytest.approx(math.sqrt(0.001) * number ** ((d - 1) / 4), rel=2e-3)
    assert math.isnan(guaranteed_patterns(20, 1.0, 1.0, 0.001))


def test_the_separation_is_what_loops_find():
    X = torch.as_tensor(sphere(6, 4))
    found = [min(float(x @ x - x @ y) for j, y in enumerate(X) if j != i) for i, x in enumerate(X)]
    torch.testing.assert_close(separation(X), torch.tensor(found, dtype=X.dtype))


def test_pressures_near_a_pattern_keep_their_bound():
    X = torch.as_tensor(sphere(8, 6))
    memory = ctebm.AssociativeMemory(X, 1.5)
    for size in (0.0, 0.1, 1.0):
        s = X + size * torch.as_tensor(sphere(8, 6, seed=1)) / math.sqrt(6)
        off = (memory.pressure(s) - X).norm(dim=-1)
        bound = retrieval_bound(memory, (s - X).norm(dim=-1))
        assert bool((off <= bound).all())
        assert size or bool((off > 0.05 * bound).any())


def test_what_is_needed_maps_the_ball_into_itself():
    """With just that separation the bound at the edge of the ball is its radius, or less."""
    P, beta, M = 7, 2.0, 3.0
    memory = ctebm.AssociativeMemory(M * torch.eye(P, dtype=torch.float64), beta)
    ball = 1 / (beta * P * M)
    need = needed_separation(memory)
    assert 2 * (P - 1) * M * math.exp(-beta * (need - 2 * M * ball)) == pytest.approx(ball)


def test_the_mean_field_is_that_of_an_integral_over_directions():
    d, kappa, P = 9, 7.0, 40
    q = np.linspace(-1, 1, 200_001)
    chance = (1 - q * q) ** ((d - 3) / 2)
    chance /= chance.sum()
    G = float((chance * np.exp(kappa * q)).sum())
    assert half_weight_cosine(kappa, d, P) == pytest.approx(math.log((P - 1) * G) / kappa)
    a = attention_overlap(kappa, d, P)
    weight = chance * np.exp(kappa * a * q)
    p = math.exp(kappa * a) / (math.exp(kappa * a) + (P - 1) * weight.sum())
    assert a == pytest.approx(p + (1 - p) * float((weight * q).sum() / weight.sum()), abs=1e-6)


def test_the_capacity_grows_exponentially_with_the_dimension():
    """For many dimensions by d (b (1 - q) - ln(1 - q^2) / 2), less what the overlap takes."""
    lower, upper = attention_capacity(20.0, 20), attention_capacity(40.0, 40)
    b = 1.0
    q = (math.sqrt(1 + 4 * b * b) - 1) / (2 * b)
    limit = b * (1 - q) - math.log(1 - q * q) / 2
    assert 0.8 * limit < (upper - lower) / 20 < limit
    kept, lost = (attention_overlap(20.0, 20, math.exp(lower + x)) for x in (-0.05, 0.05))
    assert kept > 0.7 > lost
