"""Motions nudged by a cost, against their energies and the closed form of eq. 6."""

import pytest
import torch
from learning_cases import states
from own_energies import OwnLayers, forward_pass, problem

import ctebm
from ctebm.early_inference.nudged import NudgedField, NudgedNetwork


def cross_entropy(y, t):
    return -(t * y.log_softmax(-1)).sum(-1)


@pytest.mark.parametrize("cost", [None, cross_entropy])
def test_the_force_is_the_gradient_of_the_nudged_energy(cost):
    net, x, target = problem()
    moved = ctebm.nudged(net.clamp({"x": x}), target, 0.3, cost)
    assert isinstance(moved, NudgedNetwork)
    s = forward_pass(net, x) + 0.1
    expected = torch.func.grad(lambda s: moved.energy(s).sum())(s)
    torch.testing.assert_close(moved.force(s), -expected, rtol=0, atol=1e-12)
    added = moved.energy(s) - net.clamp({"x": x}).energy(s)
    y = s[:, -3:]
    C = (y - target).square().sum(-1) / 2 if cost is None else cost(y, target)
    torch.testing.assert_close(added, 0.3 * C)


def test_a_nudged_equilibrium_is_that_of_eq_6():
    net, x, target = states((9, 8, 7, 5), ctebm.Tanh())
    plastic = ctebm.PlasticNetwork(net)
    found = plastic.settle(x, tol=1e-13)
    expected = plastic.nudge(found, target, beta=0.4, tol=1e-13)
    moved = ctebm.nudged(OwnLayers(net).clamp({"x": x}), target, 0.4)
    s = ctebm.settle(moved, tol=1e-12).state
    torch.testing.assert_close(s, torch.cat(expected.states[1:], -1), rtol=0, atol=1e-10)


def test_a_motion_without_an_energy_stays_one():
    net, x, target = states((9, 8, 5), ctebm.Tanh())
    held = ctebm.FeedbackNetwork.at_angle(net, 60).clamp({"x": x})
    moved = ctebm.nudged(held, target, 0.2)
    assert isinstance(moved, NudgedField) and not isinstance(moved, NudgedNetwork)
    assert moved.samples(moved.batch, torch.tensor([1, 3])).batch == (2,)
    s = torch.zeros(len(x), 13, dtype=torch.float64)
    pull = moved.force(s) - held.force(s)
    assert not pull[:, :8].any()
    torch.testing.assert_close(pull[:, 8:], 0.2 * target)
