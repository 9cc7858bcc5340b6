"""The contract of every firing rate, one's own included."""

import math
import re

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, F64

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


@pytest.mark.parametrize("rho", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_rate_and_slope_are_the_two_functions(rho):
    s = torch.linspace(-2, 2, 41, dtype=torch.float64)
    r, slope = rho.rate_and_slope(s)
    torch.testing.assert_close(r, rho(s))
    torch.testing.assert_close(slope, rho.derivative(s))


class Softplus(ctebm.Activation):
    """A rate of one's own, with a parameter for each unit."""

    rates = (0.0, torch.inf)

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, s):
        return torch.log1p(torch.exp(self.gain * s)) / self.gain

    def inverse(self, rate):
        return torch.log(torch.expm1(self.gain * self.check_rates(rate, closed=False))) / self.gain


def test_a_rate_of_one_s_own_needs_the_function_alone():
    gain = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    rho, s = Softplus(gain), GRID[:399].reshape(133, 3)
    torch.testing.assert_close(rho.derivative(s), torch.sigmoid(gain * s))
    slope = torch.sigmoid(gain * s)
    torch.testing.assert_close(rho.second_derivative(s), gain * slope * (1 - slope))
    r, first = rho.rate_and_slope(s)
    assert torch.equal(r, rho(s)) and torch.equal(first, rho.derivative(s))
    torch.testing.assert_close(rho.inverse(rho(s)), s)
    with pytest.raises(ValueError, match=r"Softplus takes rates in \(0, inf\), got -1 to 1"):
        rho.inverse(torch.tensor([-1.0, 0.0, 1.0]))
    with pytest.raises(NotImplementedError, match="Softplus has no integral"):
        rho.integral(s)


def test_its_parameters_go_along_with_a_network():
    W = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1.0, 0]])
    net = ctebm.DenseNetwork(W, [0.1, 0.2, 0.3], Softplus(torch.tensor([1.0, 2, 3], dtype=F64)))
    small = net.to(torch.float32)
    assert small.activation.gain.dtype == torch.float32 and net.activation.gain.dtype == F64
    assert small.force(torch.zeros(2, 3)).dtype == torch.float32


@pytest.mark.parametrize("order", ["derivative", "second_derivative"])
def test_derivatives_of_one_s_own_rate_take_states_that_are_broadcast(order):
    rho, s = ctebm.Custom(torch.sin), torch.tensor([0.3, -0.4], dtype=F64)
    found = getattr(rho, order)(s.expand(5, 2))
    torch.testing.assert_close(found, getattr(rho, order)(s).expand(5, 2))


def test_rates_out_of_range_are_refused_with_their_range():
    rho = ctebm.Custom(torch.sin, rates=(-1.0, 1.0))
    good = torch.tensor([-1.0, 1.0])
    assert rho.check_rates(good) is good
    for bad, options in (([1.5], {}), ([torch.nan], {}), ([1.0], {"closed": False})):
        with pytest.raises(ValueError, match=r"Custom takes rates in [\[(]-1, 1[\])].*rescale"):
            rho.check_rates(torch.tensor(bad), **options)


def test_only_activations_and_callables_pass():
    assert as_activation(torch.tanh)(torch.tensor(0.0)) == 0
    with pytest.raises(TypeError, match="call it first"):
        as_activation(ctebm.Tanh)
    with pytest.raises(TypeError, match="got str"):
        as_activation("tanh")
    with pytest.raises(NotImplementedError, match="no inverse"):
        as_activation(torch.sin).inverse(torch.tensor(0.0))


@pytest.mark.parametrize(
    "function, places",
    [
        (lambda s: s.clamp(0, 1), (0.0, 1.0)),
        (torch.relu, (0.0,)),
        (torch.nn.functional.relu6, (0.0, 6.0)),
        (lambda s: (s + 0.3).abs(), (-0.3,)),
    ],
)
def test_kinks_that_are_not_declared_are_named(function, places):
    for make in (ctebm.Custom, as_activation):
        with pytest.raises(ValueError, match=re.escape(f"jumps at {places}; give")):
            make(function)
    assert ctebm.Custom(function, kinks=places).kinks == places
    with pytest.raises(ValueError, match=re.escape(str(places))):  # all of them, not some
        ctebm.Custom(function, kinks=places[1:])


def test_smooth_rates_have_no_kinks_however_steep():
    F = torch.nn.functional
    for function in (
        torch.tanh,
        torch.sin,
        F.silu,
        F.gelu,
        F.elu,
        F.softplus,
        torch.exp,
        torch.log,
    ):
        assert ctebm.Custom(function).kinks == ()
    assert ctebm.Custom(lambda s: torch.sigmoid(1e4 * s)).kinks == ()


def test_a_clip_of_slope_1_has_the_box_of_a_hard_sigmoid():
    clip = ctebm.Custom(lambda s: (s + 0.5).clamp(0, 1), kinks=(-0.5, 0.5))
    net, twin = (
        ctebm.DenseNetwork([[0, 0.7], [0.7, 0]], [-0.9, 0.3], rho)
        for rho in (clip, ctebm.HardSigmoid())
    )
    assert torch.equal(ctebm.settle(net).state, ctebm.settle(twin).state)
    for other in (lambda s: 2 * s.clamp(0, 0.5), lambda s: s.clamp(0, 0.5) + 0.1):
        assert ctebm.Custom(other, kinks=(0.0, 0.5)).box is None


@pytest.mark.parametrize(
    "function, words",
    [
        (np.tanh, "made of torch functions"),
        (math.tanh, "made of torch functions"),
        (lambda s: None, "made of torch functions"),
        (lambda s: s.sum(), "one rate for each state"),
        (lambda s: (s > 0).double(), "a continuous rate"),
    ],
)
def test_what_is_no_rate_is_refused_at_the_door(function, words):
    with pytest.raises(ValueError, match=words):
        ctebm.DenseNetwork([[0.0]], [0.0], function)


def test_a_rate_may_have_parameters_of_float32():
    layer = torch.nn.Linear(1, 1)
    rho = ctebm.Custom(lambda s: layer(s.unsqueeze(-1)).squeeze(-1))
    assert rho(torch.zeros(2)).shape == (2,)


@pytest.mark.parametrize("function", [lambda s: -torch.tanh(s), lambda s: 1 - torch.sigmoid(s)])
def test_smooth_rates_may_fall(function):
    assert ctebm.Custom(function).kinks == ()


def test_a_rate_whose_tensors_are_elsewhere_is_taken_as_it_is():
    def elsewhere(s):
        raise RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu")

    rho = ctebm.Custom(elsewhere, kinks=(0.0, 1.0))
    assert rho.kinks == (0.0, 1.0) and rho.box is None
