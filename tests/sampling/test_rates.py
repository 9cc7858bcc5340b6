"""Rates against quadrature in one unit, smooth, pinned and both."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import DenseNetwork, Network
from ctebm.sampling.rates import log_weight, mean_passage_time


def test_weights_are_integrals_of_the_density():
    """Z of a smooth well against quadrature, as the noise gets small."""
    unit = DenseNetwork([[0.0]], [0.4], TANH)
    s = torch.linspace(-3, 3, 20001, dtype=torch.float64)
    E = unit.energy(s.unsqueeze(-1))
    at = s[E.argmin()].reshape(1)
    for D, tol in ((0.01, 5e-3), (0.001, 5e-4)):
        Z = float(((E.min() - E) / D).exp().sum() * (s[1] - s[0]))
        assert math.exp(log_weight(unit, at, D)[0]) == pytest.approx(Z, rel=tol)


def test_the_weight_of_a_pinned_unit():
    """D (1/a_in + 1/a_out) with a_in = 0.3, a_out = 0.5, against quadrature."""
    unit = DenseNetwork([[0.0]], [0.8], HARD)
    D = 1e-3
    s = torch.linspace(0.3, 0.7, 40001, dtype=torch.float64)
    E = unit.energy(s.unsqueeze(-1))
    Z = float(((E.min() - E) / D).exp().sum() * (s[1] - s[0]))
    log_Z, unstable = log_weight(unit, torch.tensor([0.5], dtype=torch.float64), D)
    assert math.exp(log_Z) == pytest.approx(D * (1 / 0.3 + 1 / 0.5), rel=1e-9)
    assert math.exp(log_Z) == pytest.approx(Z, rel=0.02) and unstable == 0


def test_the_prefactor_of_the_smooth_pair():
    at = 0.756232151111
    wells = torch.tensor([[-at, -at], [at, at]], dtype=torch.float64)
    D = 0.244377350 / 4
    tau = mean_passage_time(
        pair(8.0, TANH), wells, torch.zeros(1, 2, dtype=torch.float64), math.sqrt(2 * D)
    )
    assert tau == pytest.approx(323.42, rel=1e-4)


def test_noise_far_too_small_never_leaves():
    at = 0.756232151111
    wells = torch.tensor([[-at, -at], [at, at]], dtype=torch.float64)
    saddle = torch.zeros(1, 2, dtype=torch.float64)
    assert mean_passage_time(pair(8.0, TANH), wells, saddle, 1e-3) == math.inf


def test_degenerate_points_have_no_law():
    zero = torch.zeros(2, dtype=torch.float64)
    assert math.isnan(log_weight(pair(1.0, HARD), zero, 0.1)[0])  # a continuum
    repelling = DenseNetwork(-5 * (1 - torch.eye(3)), [5.0, 5.0, 5.0], TANH)
    assert math.isnan(log_weight(repelling, torch.zeros(3).double(), 0.1)[0])  # index 2
    touching = DenseNetwork([[0.0]], [0.5], HARD)  # current exactly at the kink
    assert math.isnan(log_weight(touching, torch.tensor([0.5], dtype=torch.float64), 0.1)[0])


class Pendulum(Network):
    """E = -cos s: equal wells at every turn, a saddle of height 2 halfway."""

    def energy(self, s):
        return -s.cos().sum(-1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_over_several_equal_saddles_time_grows_as_the_wells_before_each(n):
    """All wells before a saddle are filled alike: 1 + 2 + ... + n times that over one."""
    turns = 2 * math.pi * torch.arange(n + 1, dtype=torch.float64).unsqueeze(-1)
    D = 0.1
    tau = mean_passage_time(Pendulum(1), turns, turns[:-1] + math.pi, math.sqrt(2 * D))
    assert tau == pytest.approx(n * (n + 1) / 2 * 2 * math.pi * math.exp(2 / D), rel=1e-9)
