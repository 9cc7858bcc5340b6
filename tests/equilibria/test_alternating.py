"""Alternating updates of even and odd layers, against the general solver."""

import pytest
import torch
from learning_cases import ACTIVATIONS, states

import ctebm
from ctebm.equilibria.alternating import settle_alternating, upward_pass
from ctebm.equilibria.kkt import residual

SIZES = [(6, 4), (9, 7, 5), (9, 8, 7, 5), (9, 8, 8, 7, 5)]


def _beside(states):
    return torch.cat(list(states), -1)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_settles_where_the_general_solver_does(sizes, activation):
    network, x, _ = states(sizes, activation)
    clamped = network.clamp({"x": x})
    found = settle_alternating(clamped.blocks, tol=1e-12)
    expected = ctebm.settle(clamped, tol=1e-12).state
    assert float(found.residual.max()) <= 1e-12
    torch.testing.assert_close(_beside(found.states), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_settles_where_the_general_solver_does_from_the_same_start(seed):
    """A network with one equilibrium, from anywhere; deep, at kinks, and with wide batches."""
    network, x, _ = states((9, 30, 30, 20, 5), ctebm.HardSigmoid(-0.2), gain=0.4, n=64)
    clamped = ctebm.weakly_coupled(network, 0.2).clamp({"x": 3 * x})
    draw = torch.Generator().manual_seed(seed)
    start = clamped.box.project(torch.randn(64, 85, generator=draw, dtype=torch.float64))
    parts = start.split([30, 30, 20, 5], -1)
    found = settle_alternating(clamped.blocks, parts, tol=1e-12, max_sweeps=2000)
    expected = ctebm.settle(clamped, start, tol=1e-12)
    assert bool(expected.pinned.any())
    torch.testing.assert_close(_beside(found.states), expected.state, rtol=0, atol=1e-10)


@pytest.mark.parametrize("start", [-0.4, 0.4])
def test_ends_in_the_basin_of_its_start_as_the_general_solver_does(start):
    """Two units that hold each other at either kink."""
    net = ctebm.LayeredNetwork([[[0.0]], [[3.0]]], [[0.0], [-1.5], [-1.5]], ctebm.HardSigmoid())
    clamped = net.clamp({"x": [[0.0]]})
    s = torch.full((1, 2), start, dtype=torch.float64)
    found = settle_alternating(clamped.blocks, s.split(1, -1), tol=1e-12)
    expected = ctebm.settle(clamped, s).state
    assert torch.equal(_beside(found.states), expected)
    assert float(expected[0, 0]) == (0.5 if start > 0 else -0.5)


@pytest.mark.parametrize("held", ["h2", "h1"])
def test_layers_that_clamping_has_separated_settle_too(held):
    network, x, _ = states((9, 8, 7, 6, 5), ctebm.HardSigmoid())
    middle = torch.full((network.layers[held].stop - network.layers[held].start,), 0.1)
    clamped = network.clamp({"x": x, held: middle.double()})
    assert None in clamped.weights
    found = settle_alternating(clamped.blocks, tol=1e-12)
    expected = ctebm.settle(clamped, tol=1e-12).state
    torch.testing.assert_close(_beside(found.states), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_feedback_weights_of_their_own_settle_too(activation):
    network, x, _ = states((9, 8, 7, 5), activation)
    clamped = ctebm.FeedbackNetwork.at_angle(network, 50).clamp({"x": x})
    found = settle_alternating(clamped.blocks, tol=1e-11)
    assert float(residual(clamped, _beside(found.states)).max()) <= 2e-11
    expected = ctebm.settle(clamped, tol=1e-11).state
    torch.testing.assert_close(_beside(found.states), expected, rtol=0, atol=1e-9)


def test_samples_settle_as_if_alone():
    network, x, target = states((9, 60, 60, 50, 5), ctebm.HardSigmoid(), gain=0.7, n=120)
    clamped = network.clamp({"x": x})
    together = settle_alternating(clamped.blocks, tol=1e-6, max_sweeps=2000)
    assert len(together.sweeps.unique()) > 2
    for i in range(len(x)):
        one = network.clamp({"x": x[i : i + 1]}).blocks
        alone = settle_alternating(one, tol=1e-6, max_sweeps=2000)
        assert int(alone.sweeps) <= int(together.sweeps[i])
        torch.testing.assert_close(alone.states[1][0], together.states[1][i], rtol=0, atol=1e-4)
    whole = residual(clamped, _beside(together.states))
    torch.testing.assert_close(whole, together.residual, rtol=1e-6, atol=1e-15)
    nudged = settle_alternating(
        clamped.blocks, together.states, tol=1e-9, max_sweeps=2000, nudge=(target, 0.3)
    )
    force = ctebm.Dynamics(clamped, nudge=target, beta=0.3).f(0, _beside(nudged.states))
    assert float(clamped.box.residual(_beside(nudged.states), force).abs().max()) <= 2e-9


def test_currents_are_those_at_the_returned_states():
    network, x, _ = states((9, 8, 8, 7, 5), ctebm.Logistic(), gain=0.5, n=30)
    clamped = network.clamp({"x": x})
    found = settle_alternating(clamped.blocks, tol=1e-5)
    expected = clamped.current(_beside(found.states))
    torch.testing.assert_close(_beside(found.currents), expected, rtol=1e-12, atol=1e-13)


def test_residual_is_that_of_the_returned_states():
    network, x, _ = states((9, 8, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    clamped = network.clamp({"x": x})
    for n in (1, 5, 6, 12):
        found = settle_alternating(clamped.blocks, tol=1e-30, max_sweeps=n)
        expected = residual(clamped, _beside(found.states))
        assert bool((found.sweeps == n).all())
        torch.testing.assert_close(found.residual, expected, rtol=1e-9, atol=1e-15)


def test_the_upward_pass_is_the_feed_forward_network_without_feedback():
    network, x, _ = states((9, 7, 5), ctebm.HardSigmoid())
    none = [torch.zeros_like(W) for W in network.weights]
    h, y = upward_pass(ctebm.FeedbackNetwork.of(network, none).clamp({"x": x}).blocks)
    rho, (W0, W1), (_, b1, b2) = network.activation, network.weights, network.biases
    torch.testing.assert_close(h, (b1 + rho(x) @ W0).clamp(-0.5, 0.5))
    torch.testing.assert_close(y, (b2 + rho(h) @ W1).clamp(-0.5, 0.5))


def test_says_which_samples_have_not_converged():
    network, x, _ = states((9, 8, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    x[0] = 0.0  # the network is centred there
    found = settle_alternating(network.clamp({"x": x}).blocks, tol=1e-12, max_sweeps=2)
    assert found.status.tolist() == [0] + 6 * [1]
    assert not found.message[0] and "after 2 sweeps" in found.message[1]
    with pytest.raises(RuntimeError, match="allow more sweeps"):
        found.raise_for_status()
    done = settle_alternating(network.clamp({"x": x}).blocks, tol=1e-12)
    assert done.raise_for_status() is done


def test_refuses_no_sweeps():
    network, x, _ = states((9, 7, 5), ctebm.HardSigmoid())
    with pytest.raises(ValueError, match="max_sweeps"):
        settle_alternating(network.clamp({"x": x}).blocks, tol=1e-9, max_sweeps=0)
