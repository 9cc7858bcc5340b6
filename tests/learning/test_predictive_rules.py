"""Predictive coding learns as back-propagation does."""

import numpy as np
import pytest
import torch
from learning_cases import PLAN, samples, settled

import ctebm


@pytest.fixture
def rest():
    net = ctebm.PredictiveNetwork.random([6, 5, 4, 3], ctebm.SignedTanh(), seed=1)
    own = ctebm.PlasticField(net)
    draw = torch.Generator().manual_seed(2)
    x, target = (torch.randn(7, n, generator=draw, dtype=torch.float64) for n in (6, 3))
    return own, own.settle(x, tol=1e-12), target


def test_zero_divergence_is_the_chain_gradient(rest):
    own, found, target = rest
    a, b = (r.gradient(own, found, target) for r in (ctebm.ZeroDivergence(), ctebm.Chain()))
    for name, g in a.by_name.items():
        torch.testing.assert_close(g, b.by_name[name], rtol=0, atol=1e-14)


def test_fixed_predictions_arrive_as_the_binomial_law_says_and_end_at_the_chain_gradient(rest):
    own, found, target = rest
    chain = ctebm.Chain().gradient(own, found, target).weights
    early = ctebm.FixedPrediction(eps=0.3, n_steps=5).gradient(own, found, target).weights
    # the output holds its error from the first moment on: one hop fewer than under the drive
    share = [float(ctebm.first_arrival_coefficient(k - 1, 5, 0.3)) for k in (2, 1)]
    for W, V, a in zip(early[:2], chain[:2], share, strict=True):
        torch.testing.assert_close(W, a * V, rtol=1e-10, atol=1e-14)
    late = ctebm.FixedPrediction(eps=0.5, n_steps=80).gradient(own, found, target).weights
    for W, V in zip(late, chain, strict=True):
        torch.testing.assert_close(W, V, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", [ctebm.ZeroDivergence(), ctebm.FixedPrediction()], ids=repr)
def test_other_energies_are_refused(rule):
    plastic, found, target = settled()
    with pytest.raises(ValueError, match=f"{type(rule).__name__} needs predictive coding"):
        rule.gradient(plastic, found, target)


@pytest.mark.parametrize("eps", [1.0, 0.5, 0.1])
def test_five_epochs_of_the_early_rule_are_those_of_back_propagation(eps):
    net = ctebm.PredictiveNetwork.random([12, 9, 3], ctebm.SignedTanh(), seed=3)
    x, label = samples(100)
    plan = ctebm.Plan(rule=ctebm.Early(eps=eps), epochs=5, batch=20, rate=0.01, tol=1e-10)
    found = ctebm.train(net, x, label, plan)
    W, b = ([p.clone().requires_grad_() for p in ps] for ps in (net.weights, net.biases[1:]))
    adam = torch.optim.Adam([W[0], b[0], W[1], b[1]], lr=0.01)
    target = 0.1 + 0.8 * torch.eye(3).double()[label]
    for epoch in range(5):
        order = torch.as_tensor(np.random.default_rng([0, epoch]).permutation(100))
        for chosen in order.split(20):
            h = torch.tanh(torch.as_tensor(x)[chosen]) @ W[0] + b[0]
            y = torch.tanh(h) @ W[1] + b[1]
            adam.zero_grad()
            ((y - target[chosen]).square().sum() / 40).backward()
            adam.step()
    mine = [*found.network.weights, *found.network.biases[1:]]
    for p, q in zip(mine, (*W, *b), strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=1e-12)
    assert torch.equal(found.network.precisions[0], net.precisions[0])


def test_precisions_do_not_learn_unless_they_are_asked_to():
    net = ctebm.PredictiveNetwork.random([6, 5, 3], ctebm.SignedTanh())
    names = set(ctebm.PlasticField(net).parameters)
    assert names == {"weights.0", "weights.1", "biases.0", "biases.1", "biases.2"}
    assert PLAN.parameters is None
    assert "precisions.0" in ctebm.PlasticField(net, parameters=["precisions"]).parameters
