"""Weights that move with the states, against a loop by hand and gradients through time."""

import pytest
import torch
from cases import F64
from learning_cases import settled, states
from own_energies import problem

import ctebm


def _off(found, expected):
    names = [name for name, g in expected.by_name.items() if bool(g.any())]
    a, b = (torch.cat([g.by_name[name].flatten() for name in names]) for g in (found, expected))
    return float((a - b).norm() / b.norm())


def _layers():
    return settled(ctebm.Tanh())


def _any():
    net, x, target = problem()
    own = ctebm.PlasticField(net)
    return own, own.settle(x, tol=1e-13), target


@pytest.mark.parametrize("case", [_layers, _any])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_small_changes_sum_up_to_the_gradient_through_time(case, n):
    """Ernoult et al. 2020, theorem 1: at each number of steps, so of each step by itself too."""
    plastic, rest, target = case()
    through_time = ctebm.ThroughTime(eps=0.3, n_steps=n).gradient(plastic, rest, target)
    off = {}
    for beta, rate in ((1e-4, 1e-11), (2e-3, 1e-9), (1e-3, 1e-9), (1e-3, 2e-4), (1e-3, 1e-4)):
        rule = ctebm.ContinualEquilibriumPropagation(beta, eps=0.3, n_steps=n, rate=rate)
        off[beta, rate] = _off(rule.gradient(plastic, rest, target), through_time)
    assert off[1e-4, 1e-11] < 1e-3
    if n > 1:  # the first step is exact but for the bend of a rate: no weight has moved
        assert off[2e-3, 1e-9] / off[1e-3, 1e-9] == pytest.approx(2, rel=0.05)  # of order beta
        assert off[1e-3, 2e-4] > 1.5 * off[1e-3, 1e-4] > 20 * off[1e-3, 1e-9]


def test_a_unit_and_its_weight_step_as_the_equations_say():
    """E = (y - w x)^2 / 2 - b y: y and w by hand."""
    net = ctebm.PredictiveNetwork([[[2.0]]], [[0], [1]], ctebm.Identity())
    plastic = ctebm.PlasticField(net)
    rest = plastic.settle(torch.full((1, 1), 0.5, dtype=F64), tol=1e-12)
    beta, eps, eta = 0.3, 0.2, 0.05
    x, w, b, y = 0.5, 2.0, 1.0, 2.0
    for _ in range(6):
        after = y + eps * (w * x + b - y + beta * (0.25 - y))
        w, b, y = w + eta / beta * (after - y) * x, b + eta / beta * (after - y), after
    rule = ctebm.ContinualEquilibriumPropagation(beta, eps=eps, n_steps=6, rate=eta)
    found = rule.gradient(plastic, rest, torch.full((1, 1), 0.25, dtype=F64)).by_name
    assert float(found["weights.0"]) == pytest.approx((2 - w) / eta, rel=1e-12)
    assert float(found["biases.1"]) == pytest.approx((1 - b) / eta, rel=1e-12)
    assert float(plastic.parameters["weights.0"]) == 2.0  # the optimiser's to change


def test_plain_descent_with_the_same_rate_ends_where_the_phase_ended():
    plastic, rest, target = _layers()
    rule = ctebm.ContinualEquilibriumPropagation(beta=0.1, n_steps=5, rate=0.01)
    closed = rule.gradient(plastic, rest, target)
    own = ctebm.PlasticField(plastic.to_network())
    any_network = rule.gradient(own, own.settle(rest.states[0], tol=1e-14), target)
    for W, V in zip(closed.weights, any_network.weights, strict=True):
        torch.testing.assert_close(W, V, rtol=0, atol=1e-10)


def test_without_an_energy_products_with_the_force_take_its_place():
    """Then one step is that of the whole product with the first move of the output."""
    net, x, target = states((6, 5, 3), ctebm.Tanh(), gain=0.8)
    turned = ctebm.PlasticField(ctebm.FeedbackNetwork.at_angle(net, 90))
    rest = turned.settle(x, tol=1e-14)
    rule = ctebm.ContinualEquilibriumPropagation(beta=0.01, eps=0.2, n_steps=1, rate=1e-3)
    through_time = ctebm.ThroughTime(eps=0.2, n_steps=1).gradient(turned, rest, target)
    assert _off(rule.gradient(turned, rest, target), through_time) < 1e-9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 0}, r"0 < \|beta\| < 1"),
        ({"beta": 1}, "beta"),
        ({"eps": 0}, "eps"),
        ({"n_steps": 0}, "n_steps"),
        ({"rate": 0}, "rate"),
        ({"rate": float("nan")}, "rate"),
    ],
)
def test_numbers_without_a_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ctebm.ContinualEquilibriumPropagation(**options)
