"""Rates of machine learning: derivatives, inverses and integrals against autograd and torch."""

import math

import pytest
import torch

import ctebm

F64 = torch.float64
S = torch.linspace(-4, 4, 81, dtype=F64) + 1e-3  # off the kink at 0
RATES = {
    "identity": (ctebm.Identity(), lambda s: s),
    "relu": (ctebm.ReLU(), torch.relu),
    "leaky": (ctebm.LeakyReLU(0.1), lambda s: torch.nn.functional.leaky_relu(s, 0.1)),
    "softplus": (ctebm.Softplus(3.0), lambda s: torch.nn.functional.softplus(s, beta=3.0)),
    "tanh": (ctebm.SignedTanh(), torch.tanh),
    "steep": (ctebm.SignedTanh(2.0), lambda s: torch.tanh(2 * s)),
}


@pytest.fixture(params=RATES)
def pair(request):
    return RATES[request.param]


def slope(function, s):
    return torch.func.vmap(torch.func.grad(function))(s)


def test_a_rate_is_that_of_torch_with_its_derivatives(pair):
    rho, expected = pair
    torch.testing.assert_close(rho(S), expected(S), rtol=1e-13, atol=1e-15)
    first, second = slope(expected, S), slope(slope_of(expected), S)
    torch.testing.assert_close(rho.derivative(S), first, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(rho.second_derivative(S), second, rtol=1e-11, atol=1e-12)
    rate, derivative = rho.rate_and_slope(S)
    assert torch.equal(rate, rho(S))
    torch.testing.assert_close(derivative, rho.derivative(S), rtol=1e-15, atol=1e-15)


def slope_of(function):
    return torch.func.grad(function)


def test_bounds_hold(pair):
    rho, _ = pair
    low, high = rho.rates
    assert bool(((rho(S) >= low) & (rho(S) <= high)).all())
    assert float(rho.derivative(S).abs().max()) <= rho.max_slope * (1 + 1e-12)
    assert float(rho.second_derivative(S).abs().max()) <= rho.max_curvature * (1 + 1e-12)


def test_the_inverse_leads_back(pair):
    rho, _ = pair
    s = S[S > 0] if rho.kinks and rho.rates[0] == 0 else S
    torch.testing.assert_close(rho.inverse(rho(s)), s, rtol=1e-7, atol=1e-12)


def test_the_integral_has_the_rate_as_its_slope(pair):
    rho, _ = pair
    if isinstance(rho, ctebm.Softplus):
        with pytest.raises(NotImplementedError):
            rho.integral(S)
        return
    h = 1e-5
    found = (rho.integral(S + h) - rho.integral(S - h)) / (2 * h)
    torch.testing.assert_close(found, rho(S), rtol=1e-8, atol=1e-9)
    assert float(rho.integral(torch.zeros(1, dtype=F64))) == pytest.approx(0, abs=1e-15)


def test_relu_rests_where_its_current_is_positive_and_at_its_kink_elsewhere():
    net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [1.0, -2.0], ctebm.ReLU())
    points = ctebm.settle(net).raise_for_status()
    assert points.state.tolist() == [1.0, 0.0] and points.pinned.tolist() == [False, True]


@pytest.mark.parametrize("rho", [ctebm.ReLU(), ctebm.Softplus()])
def test_an_energy_without_a_bound_is_said(rho):
    net = ctebm.DenseNetwork([[0, 2.0], [2.0, 0]], [1.0, 1.0], rho)
    points = ctebm.settle(net, max_iterations=200)
    assert not bool(points.converged) and "without bound" in str(points.message)


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_a_slope_out_of_range_is_refused(slope):
    with pytest.raises(ValueError, match="slope"):
        ctebm.LeakyReLU(slope)


@pytest.mark.parametrize("kind", [ctebm.Softplus, ctebm.SignedTanh])
def test_a_gain_that_is_not_positive_is_refused(kind):
    with pytest.raises(ValueError, match="gain"):
        kind(0.0)


@pytest.mark.parametrize("rho", [
    ctebm.Tanh(), ctebm.SignedTanh(), ctebm.SignedTanh(3.0), ctebm.Logistic(), ctebm.Logistic(2.5),
    ctebm.Logistic(3.0, centre=0.5), ctebm.Softplus(2.0), ctebm.SmoothHardSigmoid(width=0.1),
    ctebm.SmoothHardSigmoid(-0.2, 0.3),
], ids=repr)  # fmt: skip
def test_the_strip_ends_at_the_nearest_singularity(rho):
    """The slope is finite within it, and without bound at its edge."""
    strip, x = rho.analytic_strip, torch.linspace(-1, 1, 2001, dtype=torch.float64)
    sizes = [
        float(rho.derivative(torch.complex(x, torch.full_like(x, share * strip))).abs().max())
        for share in (0.5, 1 - 1e-3, 1 - 1e-6)
    ]
    assert sizes[0] < 10 * rho.max_slope < 100 * rho.max_slope < sizes[2]
    assert sizes[1] < sizes[2]
