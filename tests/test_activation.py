import math

import pytest
import torch
from cases import ACTIVATIONS
from hypothesis import given
from hypothesis import strategies as st

import ctebm
from ctebm.activation import Activation, as_activation

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


@given(st.floats(-0.99, -0.01), st.floats(-2, 2))
def test_hard_sigmoid_is_eq_7(lower, s):
    rho = ctebm.HardSigmoid(lower)
    expected = 0.0 if s < lower else 1.0 if s > lower + 1 else s - lower
    assert float(rho(torch.tensor(s, dtype=torch.float64))) == pytest.approx(expected, abs=1e-15)


def test_hard_sigmoid_has_slope_one_on_the_closed_box():
    rho = ctebm.HardSigmoid()
    s = torch.tensor([-0.5 - 1e-9, -0.5, 0.0, 0.5, 0.5 + 1e-9], dtype=torch.float64)
    assert rho.derivative(s).tolist() == [0, 1, 1, 1, 0]
    assert rho.box == rho.kinks == (-0.5, 0.5)


@pytest.mark.parametrize("width", [0.1, 0.01, 0.001])
def test_smooth_hard_sigmoid_tends_to_the_hard_one(width):
    smooth = ctebm.SmoothHardSigmoid(width=width)
    gap = (smooth(GRID) - ctebm.HardSigmoid()(GRID)).abs().max()
    assert gap <= width * math.log(2) * (1 + 1e-9)  # reached at the corners


def test_activations_are_values():
    assert ctebm.HardSigmoid(-0.3) == ctebm.HardSigmoid(-0.3) != ctebm.HardSigmoid()
    assert hash(ctebm.Tanh()) == hash(ctebm.Tanh())


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ctebm.HardSigmoid(0.5), "kinks around 0"),
        (lambda: ctebm.HardSigmoid(math.nan), "kinks around 0"),
        (lambda: ctebm.Logistic(0.0), "gain > 0"),
        (lambda: ctebm.Logistic(math.inf), "gain > 0"),
        (lambda: ctebm.SmoothHardSigmoid(width=-1.0), "width > 0"),
        (lambda: ctebm.Logistic().inverse(torch.tensor([0.5, 1.0])), r"rates in \(0, 1\)"),
        (lambda: ctebm.HardSigmoid().inverse(torch.tensor([1.5])), r"rates in \[0, 1\]"),
    ],
)
def test_bad_parameters_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_only_activations_and_callables_pass():
    assert as_activation(torch.tanh)(torch.tensor(0.0)) == 0
    with pytest.raises(TypeError, match="call it first"):
        as_activation(ctebm.Tanh)
    with pytest.raises(TypeError, match="got str"):
        as_activation("tanh")
    with pytest.raises(NotImplementedError, match="no inverse"):
        as_activation(torch.sin).inverse(torch.tensor(0.0))
