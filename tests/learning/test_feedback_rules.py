"""Directions that come to fit each other, against the closed forms of how fast."""

import numpy as np
import pytest
import torch
from learning_cases import samples, settled, small_network

import ctebm
from ctebm.learning.feedback_rules import _asymmetry_gradient
from ctebm.networks.named import named_tensors, with_leaves


def _turned(activation=None, gain=0.25):
    plastic, found, target = settled(activation, gain=gain)
    turned = ctebm.FeedbackNetwork.at_angle(plastic.to_network(), 90)
    plastic = ctebm.PlasticNetwork(turned, tied=False)
    return plastic, plastic.settle(found.states[0], tol=1e-13, max_sweeps=2000), target


def _asymmetry(plastic, rest):
    """Return the mean over the batch of ``|J - J'|^2 / 2`` on the free units."""
    held = plastic.to_network().clamp({"x": rest.states[0]})
    s = torch.cat(rest.states[1:], -1)
    J = held.jacobian(s)
    if held.box is not None:
        free = held.box.inside(s).to(J)
        J = free.unsqueeze(-1) * J * free.unsqueeze(-2)
    return float((J - J.mT).square().sum((-1, -2)).mean()) / 2


@pytest.mark.parametrize(
    ("optimizer", "options", "decay"), [("SGD", {}, 0.5), ("AdamW", {"weight_decay": 0.5}, 0.0)]
)
def test_directions_meet_at_the_rate_of_the_decay(optimizer, options, decay):
    """Kolen & Pollack 1994: W - V falls by 1 - eta lambda a step, whatever is learned."""
    rates, labels = samples(60)
    start = ctebm.FeedbackNetwork.at_angle(small_network((12, 10, 8, 3)), 90)
    plan = ctebm.Plan(
        rule=ctebm.KolenPollack(decay=decay), epochs=2, batch=20, rate=0.02, tied=False,
        optimizer=optimizer, options=options,
    )  # fmt: skip
    found = ctebm.train(start, rates, labels, plan).raise_for_status()
    left = (1 - 0.02 * 0.5) ** 6
    for i in (1, 2):
        before = start.weights[i] - start.feedback[i]
        after = found.network.weights[i] - found.network.feedback[i]
        torch.testing.assert_close(after, left * before, rtol=0, atol=1e-12)
        assert not torch.allclose(found.network.weights[i], start.weights[i])
    assert torch.equal(found.network.feedback[0], start.feedback[0])  # leads to the input


def test_kolen_and_pollack_leave_what_the_rule_asks_of_the_forward_weights():
    plastic, rest, target = _turned()
    early = ctebm.Early().gradient(plastic, rest, target)
    found = ctebm.KolenPollack(decay=0).gradient(plastic, rest, target)
    assert all(torch.equal(a, b) for a, b in zip(found.weights, early.weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found.feedback, found.weights[1:], strict=True))


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Logistic(2.0)], ids=repr)
def test_the_noise_tells_the_asymmetry_without_knowing_the_way_back(activation):
    """With a whole orthogonal basis for noise the estimate is exact, and so is its slope."""
    plastic, rest, _ = _turned(activation)
    x, s = rest.states[0], torch.cat(rest.states[1:], -1)
    n = s.shape[-1]
    basis = n**0.5 * torch.eye(n, dtype=s.dtype).unsqueeze(1).expand(n, *s.shape)
    motion = with_leaves(plastic.to_network())
    parameters = named_tensors(motion)
    g = _asymmetry_gradient(motion, parameters, x, s, basis)
    for name in ("weights.1", "feedback.2"):
        p, h = plastic.parameters[name], 1e-5
        where = (0,) * p.ndim
        value, slopes = p[where].clone(), []
        for sign in (1, -1):
            p[where] = value + sign * h
            slopes.append(sign * _asymmetry(plastic, rest) / (2 * h))
        p[where] = value
        assert float(g[name][where]) == pytest.approx(sum(slopes), rel=1e-6, abs=1e-9)


def test_between_kinks_the_slope_is_twice_the_difference_of_the_weights():
    plastic, rest, _ = _turned(gain=0.1)
    assert not any(bool(k.any()) for k in plastic.at_kink(rest.states)[1:])
    x, s = rest.states[0], torch.cat(rest.states[1:], -1)
    n = s.shape[-1]
    basis = n**0.5 * torch.eye(n, dtype=s.dtype).unsqueeze(1).expand(n, *s.shape)
    motion = with_leaves(plastic.to_network())
    g = _asymmetry_gradient(motion, named_tensors(motion), x, s, basis)
    for i in (1, 2):
        apart = plastic.weights[i] - plastic.feedback[i]
        torch.testing.assert_close(g[f"weights.{i}"], 2 * apart, rtol=0, atol=1e-12)
        torch.testing.assert_close(g[f"feedback.{i}"], -2 * apart, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
def test_homeostasis_takes_the_asymmetry_away(activation):
    plastic, rest, target = _turned(activation)
    early = ctebm.Early().gradient(plastic, rest, target).by_name
    asymmetry = [_asymmetry(plastic, rest)]
    for seed in range(60):
        rule = ctebm.JacobianHomeostasis(strength=1.0, seed=seed)
        found = rule.gradient(plastic, rest, target).by_name
        for name, p in plastic.parameters.items():
            p -= 0.15 * (found[name] - early[name]) if name in found else 0
        asymmetry.append(_asymmetry(plastic, rest))
    assert asymmetry[-1] < 0.05 * asymmetry[0]


def test_the_noise_depends_on_states_and_seed_alone():
    plastic, rest, target = _turned()
    rules = [ctebm.JacobianHomeostasis(seed=seed) for seed in (0, 0, 1)]
    a, b, c = (rule.gradient(plastic, rest, target).weights[1] for rule in rules)
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(
    ("rule", "words"),
    [(ctebm.KolenPollack(), "one weight for both"), (ctebm.JacobianHomeostasis(), "an energy is")],
    ids=["kolen-pollack", "homeostasis"],
)
def test_without_directions_of_their_own_they_have_no_meaning(rule, words):
    plastic, rest, target = settled()
    with pytest.raises(ValueError, match=words):
        rule.gradient(plastic, rest, target)
    net = ctebm.PredictiveNetwork.random([4, 3, 2], ctebm.SignedTanh())
    own = ctebm.PlasticField(net)
    at = own.settle(torch.full((2, 4), 0.2, dtype=torch.float64), tol=1e-9)
    with pytest.raises(ValueError, match=words):
        rule.gradient(own, at, torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ctebm.KolenPollack(decay=-1), "decay"),
        (lambda: ctebm.KolenPollack("early"), r"a rule such as Early\(\), got 'early'"),
        (lambda: ctebm.JacobianHomeostasis(rule=None), "a rule such as"),
        (lambda: ctebm.JacobianHomeostasis(strength=np.nan), "strength"),
        (lambda: ctebm.JacobianHomeostasis(n_draws=0), "n_draws"),
        (lambda: ctebm.JacobianHomeostasis(seed=-1), "seed"),
    ],
)
def test_options_without_a_meaning_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
