"""Drifts on both sides of a kink, and the step that they allow."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import DenseNetwork, Dynamics
from ctebm.sampling.kinks import kink_number, margins


def test_margins_of_a_pinned_pair():
    """Current 1 and kink 1/2: the drift is 1/2 inside and 1/2 outside (acceptance 5)."""
    s = torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    pinned, a_in, a_out = margins(pair(2.0, HARD).force, pair(2.0, HARD).box, s)
    assert pinned.tolist() == [[True, True], [False, False]]
    half = torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(a_in, half, atol=1e-12) and torch.allclose(a_out, half, atol=1e-12)


def test_the_lower_kink_has_its_own_drifts():
    unit = DenseNetwork([[0.0]], [-0.8], HARD)
    _, a_in, a_out = margins(unit.force, unit.box, torch.tensor([-0.5], dtype=torch.float64))
    assert float(a_in) == pytest.approx(0.3, abs=1e-12)
    assert float(a_out) == pytest.approx(0.5, abs=1e-12)


def test_smooth_rates_have_none():
    start = torch.zeros(2, 2, dtype=torch.float64)
    number = kink_number(Dynamics(pair(2.0, TANH), sigma=0.1), start, torch.tensor(0.1))
    assert float(number) == 0
    assert not margins(pair(2.0, TANH).force, None, start)[0].any()


@pytest.mark.parametrize("b, a", [(1.0, 0.5), (2.0, 1.5), (0.2, 0.0)])
def test_the_larger_drift_counts(b, a):
    unit = DenseNetwork([[0.0]], [b], HARD)
    found = kink_number(
        Dynamics(unit, sigma=0.2), torch.zeros(3, 1, dtype=torch.float64), torch.tensor(0.1)
    )
    assert float(found) == pytest.approx(0.1 * a**2 / 0.04, rel=1e-4, abs=1e-12)


def test_sigma_and_eps_of_each_chain():
    unit = DenseNetwork([[0.0]], [1.0], HARD)
    sigma = torch.tensor([0.2, 0.1], dtype=torch.float64)
    start = torch.zeros(2, 1, dtype=torch.float64)
    found = kink_number(Dynamics(unit, sigma=sigma), start, torch.tensor(0.1))
    assert float(found) == pytest.approx(0.1 * 0.25 / 0.01, rel=1e-4)


def test_targets_of_each_chain_are_kept():
    unit = DenseNetwork([[0.0]], [0.0], HARD)
    targets = torch.linspace(-1, 1, 20, dtype=torch.float64).unsqueeze(-1)
    motion = Dynamics(unit, sigma=0.1, nudge={"s": targets}, beta=math.e)
    number = kink_number(motion, torch.zeros(20, 1, dtype=torch.float64), torch.tensor(0.1))
    # at the kink 1/2 a target of 1 pulls by e/2, against the leak of 1/2
    assert float(number) == pytest.approx(0.1 * (math.e / 2 - 0.5) ** 2 / 0.01, rel=1e-3)


@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
def test_the_first_sixteen_chains_are_looked_at(batch):
    """Valleys with the drifts 1.2 and 1.8: chains of the second are seen among the first only."""
    net, n = pair(4.0, HARD, -1.7), math.prod(batch)
    target = torch.zeros(*batch, 2, dtype=torch.float64)
    motion = Dynamics(net, sigma=0.1, nudge={"s": target}, beta=1e-9)
    start = torch.full((20, n, 2), -0.4, dtype=torch.float64)
    for place, drift in ((16, 1.2), (15, 1.8)):
        start[place] = 0.4
        number = kink_number(motion, start, torch.tensor(0.1))
        expected = torch.full((n,), 0.1 * drift**2 / 0.01, dtype=torch.float64)
        torch.testing.assert_close(number, expected, rtol=1e-4, atol=0)
