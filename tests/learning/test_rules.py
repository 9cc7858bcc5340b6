"""Weight rules against closed forms, gradients and each other."""

import dataclasses

import numpy as np
import pytest
import torch

import ctebm
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.rules import RULES


def _case(activation=None, sizes=(9, 8, 7, 5), gain=0.25, n=6, tied=True):
    activation = activation or ctebm.HardSigmoid()
    generator = torch.Generator().manual_seed(5)
    network = ctebm.LayeredNetwork.random(sizes, activation, gain=gain, seed=2)
    x = 0.8 * torch.rand(n, sizes[0], generator=generator, dtype=torch.float64) - 0.4
    target = 0.8 * torch.rand(n, sizes[-1], generator=generator, dtype=torch.float64) - 0.4
    plastic = PlasticNetwork(network, tied=tied)
    return plastic, plastic.settle(x, tol=1e-14, max_sweeps=2000), target


def _flat(gradient):
    return torch.cat([g.flatten() for g in [*gradient.weights, *gradient.biases]])


def _error(plastic, x, target):
    y = plastic.settle(x, tol=1e-14, max_sweeps=5000).states[-1]
    return float((y - target).square().sum()) / (2 * len(x))


@pytest.mark.parametrize("eps", [0.05, 0.3, 1.0])
def test_the_early_rule_is_the_chain_gradient_at_first_arrival(eps):
    plastic, rest, target = _case()
    early = ctebm.Early(eps=eps).gradient(plastic, rest, target)
    chain = ctebm.Chain().gradient(plastic, rest, target)
    for mine, theirs in zip(early.weights, chain.weights, strict=True):
        floor = 1e-15 / eps**3
        torch.testing.assert_close(mine, theirs, rtol=0, atol=floor)
        assert float(theirs.abs().max()) > 1e4 * floor


@pytest.mark.parametrize("n_steps", [2, 3])
def test_one_hidden_layer_is_exact_at_two_and_three_steps(n_steps):
    plastic, rest, target = _case(sizes=(9, 8, 5))
    early = ctebm.Early(eps=0.1, n_steps=n_steps).gradient(plastic, rest, target)
    chain = ctebm.Chain().gradient(plastic, rest, target)
    torch.testing.assert_close(early.weights[0], chain.weights[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(early.weights[1], chain.weights[1], rtol=0, atol=1e-13)


def test_float32_keeps_the_direction_of_deep_first_arrivals():
    sizes = (9, 8, 8, 8, 8, 8, 7, 5)
    plastic, rest, target = _case(sizes=sizes)
    single = plastic.to(dtype=torch.float32)
    rest_single = single.settle(rest.states[0].float(), tol=1e-6)
    rule = ctebm.Early(eps=0.05)  # the first hidden layer moves by 1e-9 of its gradient
    exact = rule.gradient(plastic, rest, target)
    rough = rule.gradient(single, rest_single, target.float())
    for a, b in zip(exact.weights, rough.weights, strict=True):
        torch.testing.assert_close(b.double(), a, rtol=0, atol=1e-4 * float(a.abs().max()))


def test_layers_are_as_small_as_the_paper_says_without_compensation():
    plastic, rest, target = _case()
    with_it, without = (
        ctebm.Early(eps=0.1, compensated=c).gradient(plastic, rest, target) for c in (True, False)
    )
    ratio = [
        float(a.norm() / b.norm()) for a, b in zip(without.weights, with_it.weights, strict=True)
    ]
    np.testing.assert_allclose(ratio, [1e-3, 1e-2, 1e-1], rtol=1e-10)


@pytest.mark.parametrize("activation", [ctebm.Logistic(2.0), ctebm.Tanh()], ids=repr)
def test_with_the_slope_the_rule_tends_to_the_chain_gradient_of_smooth_rates(activation):
    plastic, rest, target = _case(activation, gain=0.5)
    chain = ctebm.Chain().gradient(plastic, rest, target)
    eps = np.array([0.02, 0.01, 0.005])
    errors = [
        float((_flat(ctebm.Early(eps=e, slope=True).gradient(plastic, rest, target))
               - _flat(chain)).norm() / _flat(chain).norm())
        for e in eps
    ]  # fmt: skip
    # rho'' is small near the middle of the range, so that the next order shows too
    assert 0.95 < np.polyfit(np.log(eps), np.log(errors), 1)[0] < 2.05
    assert errors[-1] < 0.001


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Logistic(2.0)], ids=repr)
def test_chain_rows_are_those_of_the_reference(activation):
    plastic, rest, target = _case(activation, gain=1.2)
    clamped = plastic.to_network().clamp({"x": rest.states[0]})
    g = ctebm.chain_gradient(clamped, torch.cat(rest.states[1:], -1), target)
    slope = activation.derivative(torch.cat(rest.states[1:], -1))
    delta = (slope * g).split(plastic.sizes[1:], -1)
    mine = ctebm.Chain().gradient(plastic, rest, target)
    for i, d in enumerate(delta):
        expected = torch.einsum("bj,bi->ji", activation(rest.states[i]), d) / len(d)
        torch.testing.assert_close(mine.weights[i], expected, rtol=1e-9, atol=1e-14)


def test_the_implicit_rule_is_the_derivative_of_the_error():
    plastic, rest, target = _case()
    gradient = ctebm.Implicit().gradient(plastic, rest, target)
    for tensors, found in ((plastic.weights, gradient.weights),
                           (plastic.biases[1:], gradient.biases)):  # fmt: skip
        for p, g in zip(tensors, found, strict=True):
            where, h = (0,) * p.ndim, 1e-5
            value, slopes = p[where].clone(), []
            for sign in (1, -1):
                p[where] = value + sign * h
                slopes.append(sign * _error(plastic, rest.states[0], target) / (2 * h))
            p[where] = value
            assert float(g[where]) == pytest.approx(sum(slopes), rel=1e-5)


def test_back_propagation_through_time_tends_to_the_implicit_gradient():
    plastic, rest, target = _case()
    implicit = _flat(ctebm.Implicit().gradient(plastic, rest, target))
    errors = [
        float(
            (_flat(ctebm.ThroughTime(n_steps=n).gradient(plastic, rest, target)) - implicit).norm()
        )
        for n in (5, 20, 80)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9 * float(implicit.norm())


@pytest.mark.parametrize(("centred", "order"), [(False, 1), (True, 2)])
def test_equilibrium_propagation_has_its_order_in_beta(centred, order):
    plastic, rest, target = _case()
    implicit = _flat(ctebm.Implicit().gradient(plastic, rest, target))
    beta = np.array([0.04, 0.02, 0.01])
    errors = []
    for b in beta:
        rule = ctebm.EquilibriumPropagation(beta=b, centred=centred, tol=1e-14)
        errors.append(float((_flat(rule.gradient(plastic, rest, target)) - implicit).norm()))
    assert np.polyfit(np.log(beta), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


def test_the_symmetric_rule_is_eq_26_in_both_directions_to_second_order():
    plastic, rest, target = _case()
    remainder = []
    for eps in (0.1, 0.05):
        options = {"eps": eps, "n_steps": 4}
        symmetric = ctebm.Symmetric(**options).gradient(plastic, rest, target)
        early = ctebm.Early(**options, compensated=False).gradient(plastic, rest, target)
        mirror = ctebm.XieSeung(**options, compensated=False).gradient(plastic, rest, target)
        moved = plastic.drive(rest, target, **options)
        for i, total in enumerate(symmetric.weights):
            both = moved[i].mT @ moved[i + 1] / len(target)
            expected = early.weights[i] + mirror.weights[i] - both
            torch.testing.assert_close(total, expected, rtol=0, atol=1e-14)
        remainder.append(float(both.norm()))
    assert remainder[1] < 0.3 * remainder[0]


def test_separate_weights_get_both_directions():
    plastic, rest, target = _case(tied=False)
    gradient = ctebm.Early(eps=0.2).gradient(plastic, rest, target)
    tied, rest_tied, _ = _case()
    assert len(gradient.feedback) == 3
    assert not gradient.feedback[0].any()  # the clamped input does not move
    moved = tied.drive(rest_tied, target, eps=0.2)
    change = -moved[1] / 0.2**3
    expected = tied.activation(rest_tied.states[2]).mT @ change / len(target)
    torch.testing.assert_close(gradient.feedback[1], expected, rtol=0, atol=1e-11)


def test_pinned_units_change_no_weights():
    plastic, rest, target = _case(gain=3.0)
    low, high = plastic.activation.box
    held = [((s == low) | (s == high)).all(0) for s in rest.states[1:-1]]
    assert any(h.any() for h in held)
    gradient = ctebm.Early(eps=0.05).gradient(plastic, rest, target)
    for h, W in zip(held, gradient.weights, strict=False):
        assert not W[:, h].any()


@pytest.mark.parametrize("name", RULES)
def test_rules_give_one_gradient_a_parameter(name):
    plastic, rest, target = _case()
    gradient = RULES[name]().gradient(plastic, rest, target)
    shapes = [g.shape for g in [*gradient.weights, *gradient.biases]]
    assert shapes == [p.shape for p in [*plastic.weights, *plastic.biases[1:]]]
    assert all(bool(torch.isfinite(g).all()) for g in [*gradient.weights, *gradient.biases])
    assert dataclasses.is_dataclass(RULES[name]())


@pytest.mark.parametrize("options", [{"eps": 0.0}, {"eps": 1.5}, {"n_steps": 0}])
def test_refuses_early_phases_without_meaning(options):
    with pytest.raises(ValueError, match="step"):
        ctebm.Early(**options)


@pytest.mark.parametrize("rule", [ctebm.Implicit(), ctebm.ThroughTime()], ids=repr)
def test_references_of_the_energy_ask_for_tied_weights(rule):
    plastic, rest, target = _case(tied=False)
    with pytest.raises(ValueError, match="tied"):
        rule.gradient(plastic, rest, target)
