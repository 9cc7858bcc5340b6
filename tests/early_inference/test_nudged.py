"""A nudged network is a network: equilibria, batches, kinks and first-order response."""

import pytest
import torch

import ctebm
from ctebm.early_inference.costs import OfRates, cross_entropy, squared_error
from ctebm.early_inference.nudged import NudgedField, NudgedHopfield, NudgedNetwork

X = torch.tensor([[0.1, 0.2, -0.3], [0.5, -0.4, 0.2]], dtype=torch.float64)
TARGET = torch.tensor([[0.4, -0.3], [0.1, 0.2]], dtype=torch.float64)
SMOOTH = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), gain=0.5, seed=2).clamp({"x": X})
KINKED = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), seed=2).clamp({"x": X})


@pytest.mark.parametrize("cost", [None, cross_entropy])
def test_energy_and_force_are_those_of_the_sum(cost):
    net = ctebm.nudged(SMOOTH, TARGET, 0.7, cost)
    s = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    C = (cost or squared_error)(s[:, SMOOTH.layer("y")], TARGET)
    torch.testing.assert_close(net.energy(s), SMOOTH.energy(s) + 0.7 * C)
    slope = torch.func.grad(lambda s: net.energy(s).sum())(s)
    torch.testing.assert_close(net.force(s), -slope)
    for i in range(2):
        one = torch.autograd.functional.hessian(
            lambda u, i=i: net.samples(net.batch, torch.tensor(i)).energy(u), s[i]
        )
        torch.testing.assert_close(net.hessian(s)[i], one)


@pytest.mark.parametrize("cost", [None, cross_entropy])
def test_a_weak_nudge_moves_down_the_implicit_gradient(cost):
    fixed = ctebm.settle(SMOOTH, tol=1e-13)
    moved = ctebm.settle(ctebm.nudged(SMOOTH, TARGET, 1e-5, cost), fixed.state, tol=1e-13)
    g = ctebm.implicit_gradient(SMOOTH, fixed, TARGET, cost)
    torch.testing.assert_close((fixed.state - moved.state) / 1e-5, g, rtol=1e-3, atol=1e-6)


def test_kinks_and_samples_are_kept():
    net = ctebm.nudged(KINKED, TARGET, 0.5)
    assert net.box == KINKED.box
    assert net.batch == (2,)
    fixed = ctebm.settle(net).raise_for_status()
    run = ctebm.simulate(
        ctebm.Dynamics(KINKED, nudge=TARGET, beta=0.5), fixed.state, n_steps=20, eps=0.1
    )
    torch.testing.assert_close(run.state[-1], fixed.state, rtol=0, atol=1e-8)
    assert ctebm.linearize(net.samples(net.batch, torch.tensor(0)), fixed.state[0]).stability


def test_a_motion_without_an_energy_stays_one():
    net = ctebm.FeedbackNetwork.at_angle(ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh()), 60)
    assert type(ctebm.nudged(net.clamp({"x": X}), TARGET, 0.1)) is NudgedField
    assert type(ctebm.nudged(SMOOTH, TARGET, 0.1)) is NudgedNetwork


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="beta"):
        ctebm.nudged(SMOOTH, TARGET, float("nan"))
    with pytest.raises(ValueError, match="shape"):
        ctebm.nudged(SMOOTH, [[0.1, 0.2, 0.3]], 0.1)


def test_a_predictive_network_stays_one():
    net = ctebm.PredictiveNetwork.random([3, 4, 2], ctebm.SignedTanh(), seed=1)
    moved = ctebm.nudged(net.clamp({"x": [0.1, 0.2, 0.3]}), [0.5, -0.5], 0.4)
    assert isinstance(moved, ctebm.PredictiveNetwork)
    own = net.clamp({"x": [0.1, 0.2, 0.3]}).nudged([0.5, -0.5], 0.4)
    s = torch.linspace(-1, 1, 6, dtype=torch.float64)
    assert torch.equal(moved.force(s), own.force(s))


@pytest.mark.parametrize("cost", [squared_error, cross_entropy])
def test_a_nudge_of_rates_adds_to_the_energy_of_1984(cost):
    """The motion is the gradient along the rates, and equilibria solve s = I - beta dC/dr."""
    rho = ctebm.Logistic()
    whole = ctebm.LayeredNetwork.random([3, 4, 2], rho, gain=0.5, seed=2)
    free, rates = ctebm.HopfieldNetwork(whole).clamp({"x": X}), TARGET.abs()
    net = ctebm.nudged(free, rates, 0.3, OfRates(rho, cost))
    assert isinstance(net, NudgedHopfield)
    s = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slope = torch.func.grad(lambda s: net.energy(s).sum())(s)
    torch.testing.assert_close(-rho.derivative(s) * net.force(s), slope)
    rest = ctebm.settle(net, tol=1e-13).state
    y = free.layer("y")
    C = torch.func.grad(lambda r: cost(r, rates).sum())(rho(rest[:, y]))
    expected = free.pairwise.current(rest)
    expected[:, y] -= 0.3 * C
    torch.testing.assert_close(rest, expected, rtol=0, atol=1e-11)
    one = net.samples(net.batch, torch.tensor(1))
    torch.testing.assert_close(one.force(s[1]), net.force(s)[1])


def test_propagation_of_a_nudge_of_rates_is_the_implicit_gradient_in_1984():
    rho = ctebm.Logistic()
    whole = ctebm.LayeredNetwork.random([3, 4, 2], rho, gain=0.5, seed=2)
    plastic = ctebm.PlasticField(ctebm.HopfieldNetwork(whole), cost=OfRates(rho))
    rest, rates = plastic.settle(X, tol=1e-13), TARGET.abs()
    found = ctebm.EquilibriumPropagation(1e-4, tol=1e-13).gradient(plastic, rest, rates).by_name
    exact = ctebm.Implicit().gradient(plastic, rest, rates).by_name
    for name, g in exact.items():
        torch.testing.assert_close(found[name], g, rtol=1e-6, atol=1e-9)
