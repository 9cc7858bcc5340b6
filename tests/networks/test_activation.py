"""The contract of every rate: derivatives, inverse, bounds."""

import pytest
import torch
from cases import ACTIVATIONS

import ctebm
from ctebm.networks.activation import Activation, as_activation

GRID = torch.linspace(-3.013, 3.017, 401, dtype=torch.float64)


@pytest.fixture(params=ACTIVATIONS, ids=list(ACTIVATIONS))
def rho(request) -> Activation:
    return ACTIVATIONS[request.param]


def test_derivatives_are_those_of_autograd(rho):
    s = GRID.clone().requires_grad_()
    (first,) = torch.autograd.grad(rho(s).sum(), s, create_graph=True)
    torch.testing.assert_close(rho.derivative(GRID), first.detach(), rtol=1e-12, atol=1e-14)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), s)
        torch.testing.assert_close(rho.second_derivative(GRID), second, rtol=1e-11, atol=1e-12)


def test_derivatives_are_finite_differences(rho):
    h = 1e-5
    slope = (rho(GRID + h) - rho(GRID - h)) / (2 * h)
    off = torch.stack([(GRID - kink).abs() > 2 * h for kink in rho.kinks] or [GRID > -9]).all(0)
    torch.testing.assert_close(rho.derivative(GRID)[off], slope[off], rtol=1e-7, atol=1e-8)


def test_rates_and_slopes_stay_in_their_declared_bounds(rho):
    low, high = rho.rates
    assert low <= rho(GRID).min() and rho(GRID).max() <= high * (1 + 1e-15)
    assert rho.derivative(GRID).abs().max() <= rho.max_slope * (1 + 1e-12)


@pytest.mark.parametrize("name", ["hard", "hard-skewed", "logistic", "tanh", "smooth-hard"])
def test_inverse_returns_the_state_of_a_rate(name):
    rho = ACTIVATIONS[name]
    rate = torch.linspace(1e-6, 1 - 1e-6, 101, dtype=torch.float64)
    torch.testing.assert_close(rho(rho.inverse(rate)), rate, rtol=1e-12, atol=1e-12)


def test_activations_are_values():
    assert ctebm.HardSigmoid(-0.3) == ctebm.HardSigmoid(-0.3) != ctebm.HardSigmoid()
    assert hash(ctebm.Tanh()) == hash(ctebm.Tanh())


def test_only_activations_and_callables_pass():
    assert as_activation(torch.tanh)(torch.tensor(0.0)) == 0
    with pytest.raises(TypeError, match="call it first"):
        as_activation(ctebm.Tanh)
    with pytest.raises(TypeError, match="got str"):
        as_activation("tanh")
    with pytest.raises(NotImplementedError, match="no inverse"):
        as_activation(torch.sin).inverse(torch.tensor(0.0))


@pytest.mark.parametrize("rho", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_rate_and_slope_are_the_two_functions(rho):
    s = torch.linspace(-2, 2, 41, dtype=torch.float64)
    r, slope = rho.rate_and_slope(s)
    torch.testing.assert_close(r, rho(s))
    torch.testing.assert_close(slope, rho.derivative(s))
