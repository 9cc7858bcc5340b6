"""Rules that descend a gradient, against derivatives of the error and each other."""

import pytest
import torch
from learning_cases import settled

import ctebm


def _flat(gradient):
    return torch.cat([g.flatten() for g in [*gradient.weights, *gradient.biases]])


def _error(plastic, x, target):
    y = plastic.settle(x, tol=1e-14, max_sweeps=5000).states[-1]
    return float((y - target).square().sum()) / (2 * len(x))


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Logistic(2.0)], ids=repr)
def test_chain_rows_are_those_of_the_reference(activation):
    plastic, found, target = settled(activation, gain=1.2)
    clamped = plastic.to_network().clamp({"x": found.states[0]})
    g = ctebm.chain_gradient(clamped, torch.cat(found.states[1:], -1), target)
    slope = activation.derivative(torch.cat(found.states[1:], -1))
    delta = (slope * g).split(plastic.sizes[1:], -1)
    mine = ctebm.Chain().gradient(plastic, found, target)
    for i, d in enumerate(delta):
        expected = torch.einsum("bj,bi->ji", activation(found.states[i]), d) / len(d)
        torch.testing.assert_close(mine.weights[i], expected, rtol=1e-9, atol=1e-14)


def test_the_implicit_rule_is_the_derivative_of_the_error():
    plastic, found, target = settled()
    gradient = ctebm.Implicit().gradient(plastic, found, target)
    for tensors, slopes_found in ((plastic.weights, gradient.weights),
                                  (plastic.biases[1:], gradient.biases)):  # fmt: skip
        for p, g in zip(tensors, slopes_found, strict=True):
            where, h = (0,) * p.ndim, 1e-5
            value, slopes = p[where].clone(), []
            for sign in (1, -1):
                p[where] = value + sign * h
                slopes.append(sign * _error(plastic, found.states[0], target) / (2 * h))
            p[where] = value
            assert float(g[where]) == pytest.approx(sum(slopes), rel=1e-5)


def test_back_propagation_through_time_tends_to_the_implicit_gradient():
    plastic, found, target = settled()
    implicit = _flat(ctebm.Implicit().gradient(plastic, found, target))
    errors = [
        float(
            (_flat(ctebm.ThroughTime(n_steps=n).gradient(plastic, found, target)) - implicit).norm()
        )
        for n in (5, 20, 80)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9 * float(implicit.norm())


def _turned(activation=None, degrees=70):
    """Return a plastic network with feedback at an angle, a batch at equilibrium, and targets."""
    plastic, found, target = settled(activation)
    turned = ctebm.FeedbackNetwork.at_angle(plastic.to_network(), degrees)
    plastic = ctebm.PlasticNetwork(turned, tied=False)
    return plastic, plastic.settle(found.states[0], tol=1e-14, max_sweeps=2000), target


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
def test_the_chain_goes_down_by_forward_weights_and_chain_feedback_by_the_others(activation):
    plastic, found, target = _turned(activation)
    clamped = plastic.to_network().clamp({"x": found.states[0]})
    g = ctebm.chain_gradient(clamped, torch.cat(found.states[1:], -1), target)
    slope = activation.derivative(torch.cat(found.states[1:], -1))
    delta = (slope * g).split(plastic.sizes[1:], -1)
    chain = ctebm.Chain().gradient(plastic, found, target)
    for i, d in enumerate(delta):
        expected = torch.einsum("bj,bi->ji", activation(found.states[i]), d) / len(d)
        torch.testing.assert_close(chain.weights[i], expected, rtol=1e-9, atol=1e-14)
    back = ctebm.ChainFeedback().gradient(plastic, found, target)
    slope = [activation.derivative(s) for s in found.states]
    if activation.box is not None:  # a unit at a kink passes nothing on
        slope = [c * activation.box.inside(s) for c, s in zip(slope, found.states, strict=True)]
    g = found.states[-1] - target
    for i in (2, 1):  # by hand from the layer above
        g = slope[i] * ((slope[i + 1] * g) @ plastic.feedback[i].T)
        expected = activation(found.states[i - 1]).T @ (slope[i] * g) / len(target)
        torch.testing.assert_close(back.weights[i - 1], expected, rtol=1e-9, atol=1e-14)
    assert not torch.allclose(chain.weights[0], back.weights[0], rtol=0.3)


def test_the_implicit_rule_of_separate_directions_is_the_derivative_of_the_error():
    plastic, found, target = _turned()
    gradient = ctebm.Implicit().gradient(plastic, found, target)
    assert not gradient.feedback[0].any()  # nothing comes back to a clamped layer
    parts = [(plastic.weights, gradient.weights), (plastic.biases[1:], gradient.biases),
             (plastic.feedback[1:], gradient.feedback[1:])]  # fmt: skip
    for tensors, slopes_found in parts:
        for p, g in zip(tensors, slopes_found, strict=True):
            where, h = (0,) * p.ndim, 1e-5
            value, slopes = p[where].clone(), []
            for sign in (1, -1):
                p[where] = value + sign * h
                slopes.append(sign * _error(plastic, found.states[0], target) / (2 * h))
            p[where] = value
            assert float(g[where]) == pytest.approx(sum(slopes), rel=1e-5)


def test_through_time_tends_to_the_implicit_gradient_of_separate_directions():
    plastic, found, target = _turned()
    implicit = ctebm.Implicit().gradient(plastic, found, target)
    long = ctebm.ThroughTime(n_steps=120).gradient(plastic, found, target)
    for name in ("weights", "biases", "feedback"):
        for a, b in zip(getattr(implicit, name), getattr(long, name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
