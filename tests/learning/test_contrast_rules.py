"""Rules of two rests, against gradients of the equilibrium and their own definitions."""

import numpy as np
import pytest
import torch
from learning_cases import settled, states
from own_energies import problem

import ctebm
from ctebm.early_inference.nudged import NudgedField
from ctebm.learning.corrected_nudge import CorrectedNudge


def _turned(degrees):
    net, x, target = states((9, 8, 7, 5), ctebm.Tanh(), gain=0.8)
    turned = ctebm.FeedbackNetwork.at_angle(net, degrees)
    plastic = ctebm.PlasticNetwork(turned, tied=False)
    return plastic, plastic.settle(x, tol=1e-14, max_sweeps=5000), target


def _off(a, b):
    a, b = (torch.cat([g.flatten() for g in (*c.weights, *c.biases)]) for c in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("centred", "order"), [(False, 1), (True, 2)])
def test_equilibrium_propagation_has_its_order_in_beta(centred, order):
    plastic, found, target = settled()
    implicit = ctebm.Implicit().gradient(plastic, found, target)
    beta = np.array([0.04, 0.02, 0.01])
    errors = []
    for b in beta:
        rule = ctebm.EquilibriumPropagation(beta=b, centred=centred, tol=1e-14)
        errors.append(_off(rule.gradient(plastic, found, target), implicit))
    assert np.polyfit(np.log(beta), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("degrees", [45, 90, 135])
def test_asymmetric_equilibrium_propagation_is_exact_where_the_plain_one_is_not(degrees):
    plastic, rest, target = _turned(degrees)
    exact = ctebm.Implicit().gradient(plastic, rest, target)
    errors = []
    for beta in (0.004, 0.002):
        rule = ctebm.AsymmetricEquilibriumPropagation(beta, tol=1e-13)
        errors.append(_off(rule.gradient(plastic, rest, target), exact))
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # of second order in beta
    field = ctebm.PlasticField(plastic.to_network())
    end = field.settle(rest.states[0], tol=1e-13)
    plain = ctebm.EquilibriumPropagation(0.01, tol=1e-13).gradient(field, end, target)
    whole = ctebm.Implicit().gradient(field, end, target)
    a, b = (torch.cat([W.flatten() for W in g.weights]) for g in (plain, whole))
    assert float((a - b).norm() / b.norm()) > 0.02


@pytest.mark.parametrize("degrees", [45, 90, 135])
def test_corrected_nudged_steps_are_the_gradients_through_time(degrees):
    """As P4 says where there is an energy; without the correction they are off by a fifth."""
    plastic, rest, target = _turned(degrees)
    whole = plastic.to_network().clamp({"x": rest.states[0]})
    s, eps, beta, n = torch.cat(rest.states[1:], -1), 0.2, 1e-6, 12
    through_time = ctebm.bptt_gradient(whole, s, target, eps=eps, n_steps=n, every_step=True)
    off = []
    for motion in (
        CorrectedNudge(whole, target, beta, None, s),
        NudgedField(whole, target, beta),
    ):
        u, moves = s.clone(), []
        for _ in range(n + 1):
            after = u + eps * motion.force(u)
            moves.append((u - after) / (eps * beta))
            u = after
        moved = torch.stack(moves)
        off.append(float((moved - through_time).norm() / through_time.norm()))
    assert off[0] < 1e-5
    assert off[1] > 0.05


def test_with_an_energy_the_correction_is_nothing():
    plastic, rest, target = settled(ctebm.Tanh())
    rule = ctebm.AsymmetricEquilibriumPropagation(0.02, tol=1e-13)
    plain = ctebm.EquilibriumPropagation(0.02, tol=1e-13)
    one, other = (r.gradient(plastic, rest, target) for r in (rule, plain))
    assert _off(one, other) < 1e-3  # products with the force at rest, and differences of products
    implicit = ctebm.Implicit().gradient(plastic, rest, target)
    assert _off(one, implicit) < 1e-3 and _off(other, implicit) < 1e-3


@pytest.mark.parametrize("centred", [False, True])
def test_coupled_learning_contrasts_the_energy_with_the_output_held(centred):
    plastic, rest, target = settled(ctebm.Tanh())
    rule = ctebm.CoupledLearning(0.2, centred=centred, tol=1e-12)
    found = rule.gradient(plastic, rest, target)
    net, x, y = plastic.to_network(), rest.states[0], rest.states[-1]

    def slope(sign):
        goal = y + sign * 0.2 * (target - y)
        hidden = ctebm.settle(net.clamp({"x": x, "y": goal}), torch.cat(rest.states[1:-1], -1),
                              tol=1e-12).state  # fmt: skip
        r = [plastic.activation(s) for s in (x, *hidden.split(plastic.sizes[1:-1], -1), goal)]
        return [-(r[i].T @ r[i + 1]) / len(x) for i in range(3)]

    r = [plastic.activation(s) for s in rest.states]
    before = slope(-1) if centred else [-(r[i].T @ r[i + 1]) / len(x) for i in range(3)]
    scale = 0.4 if centred else 0.2
    for W, a, b in zip(found.weights, slope(1), before, strict=True):
        torch.testing.assert_close(W, (a - b) / scale, rtol=0, atol=1e-9)


def test_contrastive_learning_holds_the_output_at_its_target():
    plastic, rest, target = settled(ctebm.Tanh())
    one = ctebm.ContrastiveLearning(tol=1e-11).gradient(plastic, rest, target)
    other = ctebm.CoupledLearning(1.0, tol=1e-11).gradient(plastic, rest, target)
    assert all(torch.equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


def test_any_network_takes_them():
    net, x, target = problem()
    own = ctebm.PlasticField(net)
    rest = own.settle(x, tol=1e-12)
    implicit = ctebm.Implicit().gradient(own, rest, target).by_name
    rule = ctebm.AsymmetricEquilibriumPropagation(1e-3, tol=1e-12)
    for name, g in rule.gradient(own, rest, target).by_name.items():
        torch.testing.assert_close(g, implicit[name], rtol=0, atol=1e-4)
    for rule in (ctebm.ContrastiveLearning(), ctebm.CoupledLearning(0.1)):
        found = rule.gradient(own, rest, target).by_name
        a, b = (torch.cat([g[name].flatten() for name in implicit]) for g in (found, implicit))
        assert float(a @ b / a.norm() / b.norm()) > 0.5


def test_a_motion_without_an_energy_can_not_be_contrasted():
    plastic, rest, target = _turned(60)
    with pytest.raises(ValueError, match="ContrastiveLearning contrasts energies"):
        ctebm.ContrastiveLearning().gradient(plastic, rest, target)


@pytest.mark.parametrize("beta", [0, 1.5, float("nan")])
def test_strengths_without_a_meaning_are_refused(beta):
    for rule in (ctebm.CoupledLearning, ctebm.AsymmetricEquilibriumPropagation):
        with pytest.raises(ValueError, match="beta"):
            rule(beta)


@pytest.mark.parametrize("tol", [0, -1e-6, float("inf"), float("nan")])
def test_tolerances_without_a_meaning_are_refused(tol):
    with pytest.raises(ValueError, match="finite tol > 0"):
        ctebm.AsymmetricEquilibriumPropagation(tol=tol)


@pytest.mark.parametrize(
    ("rule", "centred"),
    [(ctebm.EquilibriumPropagation, True), (ctebm.CoupledLearning, False)],
)
def test_one_side_or_both_unless_asked(rule, centred):
    assert rule(beta=0.1) == rule(beta=0.1, centred=centred) != rule(beta=0.1, centred=not centred)
