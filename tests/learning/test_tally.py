"""What an epoch counts, against plain code."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_cases import PLAN, samples, small_network

import ctebm
from ctebm.learning.plastic import WeightGradient
from ctebm.learning.samples import labelled_states
from ctebm.learning.tally import Tally
from ctebm.learning.trainer import Trainer


def test_batches_count_by_their_samples():
    """Three samples, then one: a share of errors is of samples, a share unsettled of batches."""
    layers, tally = ctebm.PlasticNetwork(small_network()), Tally(tol=1e-3)
    x = torch.zeros(4, layers.sizes[0]).double()
    ends = [layers.settle(part, tol=1e-9) for part in x.split(3)]
    y = int(ends[0].states[-1][0].argmax())
    ends[1] = dataclasses.replace(ends[1], residual=torch.tensor([0.5]))
    labels = torch.tensor([y, y, y + 1 - 2 * (y > 0), y]).split(3)
    assert tally.note() == ""
    costs = torch.tensor([1.0, 2.0, 3.0, 6.0]).split(3)
    for end, label, cost in zip(ends, labels, costs, strict=True):
        tally.add(end, label, cost)
    for residual, settled in ((1e-7, True), (1e-2, False), (float("nan"), True)):
        tally.add_nudged(WeightGradient({}, residual, settled))
    assert tally.last() == {"error": 0.0, "cost": 6.0, "residual": 0.5}
    row = tally.row()
    assert (row["train_error"], row["cost"], row["residual"]) == (25.0, 3.0, 0.5)
    assert (row["unsettled"], row["nudged_unsettled"], row["nudged_residual"]) == (0.5, 0.5, 1e-2)
    assert tally.note() == "error 25.00 %, residual 5.0e-01"
    assert row["sweeps"] == np.mean([float(end.sweeps.double().mean()) for end in ends])


def test_batches_that_did_not_settle_are_counted():
    plan = dataclasses.replace(PLAN, rate=0.0, batch=25, tol=1e-12, max_sweeps=2)
    trainer = Trainer(small_network(), plan)
    row = trainer.epoch(0, labelled_states(small_network(), *samples(50)), None)
    assert row is not None and row["unsettled"] == 1
    assert row["residual"] > 1e-12


def _nudged(rule, precisions=None):
    """Train predictive layers, whose output a nudge beyond -precision pushes away for ever."""
    net = ctebm.PredictiveNetwork.random([4, 5, 3], ctebm.SignedTanh(), precisions=precisions)
    rates, labels = np.random.default_rng(0).normal(0, 0.3, (20, 4)), np.arange(20) % 3
    return ctebm.train(net, rates, labels, ctebm.Plan(epochs=2, batch=10, rate=1e-3, rule=rule))


def test_nudged_rests_that_are_none_are_counted_and_said():
    rule = ctebm.EquilibriumPropagation(beta=0.5)
    with pytest.warns(UserWarning, match=r"no rest of the nudged network in 100 % .* lower its"):
        found = _nudged(rule, precisions=[1.0, 0.25])  # the output's curvature is .25 - .5
    assert found.history["nudged_unsettled"].tolist() == [1, 1]
    assert (found.history["unsettled"] == 0).all() and (found.history["residual"] < 1e-4).all()


@pytest.mark.parametrize(
    "rule",
    [
        ctebm.EquilibriumPropagation(), ctebm.CoupledLearning(), ctebm.ContrastiveLearning(),
        ctebm.AsymmetricEquilibriumPropagation(),
    ],
)  # fmt: skip
def test_nudged_rests_are_counted(rule):
    history = _nudged(rule).history
    assert (history["nudged_unsettled"] == 0).all()
    assert (history["nudged_residual"] <= rule.tol).all()
    assert not (history["nudged_residual"] == history["residual"]).all()


def test_rules_around_another_keep_what_it_says_of_its_rests():
    rule = ctebm.JacobianHomeostasis(ctebm.AsymmetricEquilibriumPropagation(tol=1e-9))
    layers = ctebm.PlasticNetwork(small_network(), tied=False)
    kolen = ctebm.KolenPollack(ctebm.EquilibriumPropagation(tol=1e-9))
    rest = layers.settle(torch.full((2, layers.sizes[0]), 0.1).double(), tol=1e-9)
    target = torch.zeros(2, layers.sizes[-1]).double()
    for each in (rule, kolen):
        found, own = (r.gradient(layers, rest, target) for r in (each, each.rule))
        assert found.settled and 0 <= found.residual == own.residual <= 1e-9


@pytest.mark.parametrize("rule", [ctebm.Early(), ctebm.Implicit()])
def test_rules_without_a_nudged_rest_have_none_to_count(rule):
    history = _nudged(rule).history
    assert (
        np.isnan(history["nudged_residual"]).all() and np.isnan(history["nudged_unsettled"]).all()
    )
