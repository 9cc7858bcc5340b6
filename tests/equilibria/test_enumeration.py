"""Enumeration against patterns solved one at a time, and against settling from a grid."""

import math

import pytest
import torch
import zoo
from analytic import HARD, TANH, pair, random_dense, solved_patterns

from ctebm import enumerate_fixed_points, settle
from ctebm.equilibria import enumeration


def distance(a, b):
    return torch.cdist(a, b, p=math.inf)


def test_enumeration_one_at_a_time():
    for network in (random_dense(4, 1, HARD, gain=3.0), zoo.hard_asymmetric(1, 4)):
        one, together = solved_patterns(network), enumerate_fixed_points(network)
        assert len(one) == len(together)
        assert distance(one.state, together.state).amin(1).max() < 1e-12


def test_enumeration_against_brute_force():
    network = random_dense(3, 4, HARD, gain=3.0)
    exact = enumerate_fixed_points(network)
    grid = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64)
    starts = torch.cartesian_prod(grid, grid, grid)
    settled = settle(network, starts)
    assert settled.converged.all()
    assert distance(settled.state, exact.state).amin(1).max() < 1e-9


def test_what_is_enumerated_has_no_hits():
    assert enumerate_fixed_points(pair(2.0, HARD)).hits.tolist() == [0, 0, 0]


def test_what_can_not_be_enumerated():
    with pytest.raises(ValueError, match="12 units"):
        enumerate_fixed_points(random_dense(13, 0, HARD))
    with pytest.raises(ValueError, match="12 units"):
        enumerate_fixed_points(pair(1, TANH))


@pytest.mark.parametrize("portion", [1, 60, 400])
def test_patterns_go_in_portions_that_bound_the_memory(monkeypatch, portion):
    """Of the choices of free units as many at a time as states that fit; one at least."""
    network, n, solve, largest = random_dense(5, 1, HARD, gain=3.0), 5, torch.linalg.pinv, {}
    whole = enumerate_fixed_points(network).state

    def noted(J, **options):
        free, n_free = J.shape[0], J.shape[-1]
        largest[n_free] = max(free, largest.get(n_free, 0))
        return solve(J, **options)

    monkeypatch.setattr(torch.linalg, "pinv", noted)
    monkeypatch.setattr(enumeration, "PORTION", portion)
    assert torch.equal(enumerate_fixed_points(network).state, whole)
    for n_free, free in largest.items():
        most = max(1, portion // (n * 2 ** (n - n_free)))
        assert free == min(most, math.comb(n, n_free))
