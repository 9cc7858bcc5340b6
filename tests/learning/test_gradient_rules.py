"""Rules that descend a gradient, against derivatives of the error and each other."""

import numpy as np
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


@pytest.mark.parametrize(("centred", "order"), [(False, 1), (True, 2)])
def test_equilibrium_propagation_has_its_order_in_beta(centred, order):
    plastic, found, target = settled()
    implicit = _flat(ctebm.Implicit().gradient(plastic, found, target))
    beta = np.array([0.04, 0.02, 0.01])
    errors = []
    for b in beta:
        rule = ctebm.EquilibriumPropagation(beta=b, centred=centred, tol=1e-14)
        errors.append(float((_flat(rule.gradient(plastic, found, target)) - implicit).norm()))
    assert np.polyfit(np.log(beta), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("rule", [ctebm.Implicit(), ctebm.ThroughTime()], ids=repr)
def test_references_of_the_energy_ask_for_tied_weights(rule):
    plastic, found, target = settled(tied=False)
    with pytest.raises(ValueError, match="tied"):
        rule.gradient(plastic, found, target)
