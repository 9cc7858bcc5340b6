"""Adjusted steps: detailed balance on a grid, and energies of nudged motions."""

import pytest
import torch
from analytic import HARD, TANH, pair

import ctebm
from ctebm import DenseNetwork, Dynamics, sample
from ctebm.sampling.mala import check_energy, energy_and_force


def test_the_energy_of_a_nudged_motion_is_that_of_its_force():
    net = pair(3.0, TANH)
    motion = Dynamics(net, nudge={"s": [0.3, -0.2]}, beta=0.7)
    s = torch.tensor([[0.4, -0.1], [1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    E, f = energy_and_force(motion, s)
    (gradient,) = torch.autograd.grad(E.sum(), s)
    assert torch.allclose(f, -gradient, atol=1e-14)
    assert torch.allclose(f, motion.f(0, s), atol=1e-14)


def test_acceptance_is_that_of_slow_obvious_steps():
    """One step from given states: proposals and their acceptance written out, the same noise."""
    net, eps, sigma = pair(3.0, TANH), 0.8, 0.5
    start = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).double()
    found = sample(Dynamics(net, sigma=sigma), start, n_steps=1, eps=eps, burn_in=0, every=1,
                   method="mala", seed=4)  # fmt: skip
    plain = ctebm.simulate(Dynamics(net, sigma=sigma), start, n_steps=1, eps=eps, seed=4).state[-1]
    moved = (found.state != start).any(-1)
    assert torch.allclose(found.state[moved], plain[moved], rtol=1e-13)

    def log_q(to, s):
        return -(to - s - eps * net.force(s)).square().sum(-1) / (2 * sigma**2 * eps)

    ratio = log_q(start, plain) - log_q(plain, start)
    ratio = ratio - 2 / sigma**2 * (net.energy(plain) - net.energy(start))
    assert moved[ratio >= 0].all()
    expected = ratio.clamp(max=0).exp()
    z = (moved.double() - expected).sum() / (expected * (1 - expected)).sum().sqrt()
    assert abs(float(z)) < 4 and int((~moved).sum()) > 20


def test_kinks_cost_nothing():
    unit = DenseNetwork([[0.0]], [1.0], HARD)
    found = sample(
        Dynamics(unit, sigma=0.1), torch.full((400, 1), 0.5), n_steps=1500, eps=0.01, burn_in=300,
        every=2, seed=1, method="mala", observe={"squares": lambda s: (s - 0.5) ** 2},
    )  # fmt: skip
    error = float(found.observed_error["squares"])
    assert abs(float(found.observed["squares"]) - 1.824986e-4) < 4 * error < 1.2e-5
    assert found.message == [""] and float(found.kink_number) == pytest.approx(0.25, rel=1e-6)


def test_a_sample_does_not_depend_on_its_batch():
    net, start = pair(3.0, TANH), torch.zeros(6, 2, dtype=torch.float64)
    options = {"n_steps": 30, "eps": 0.5, "burn_in": 0, "every": 1, "seed": 2, "method": "mala"}
    many = sample(Dynamics(net, sigma=0.5), start, **options)
    few = sample(Dynamics(net, sigma=0.5), start[:2], **options)
    assert torch.equal(many.state[:2], few.state)


@pytest.mark.parametrize("options", [{"drive": [0.0, 0.0]}, {"noise": "synaptic"}])
def test_a_motion_that_goes_down_no_energy_is_refused(options):
    with pytest.raises(ValueError, match="method='euler'"):
        check_energy(Dynamics(pair(1.0, TANH), sigma=0.1, **options))
