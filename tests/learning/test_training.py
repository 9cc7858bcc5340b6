"""Training: it learns, it stops where it must, and it says what is wrong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_cases import PLAN, SIZES, samples, small_network
from own_energies import problem

import ctebm

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"rule": ctebm.Chain()},
        {"rule": ctebm.EquilibriumPropagation()},
        {"rule": ctebm.Early(slope=True, eps=0.3, n_steps=3)},
        {"tied": False},
        {"warm": True},
        {"optimizer": "SGD", "rate": (1.0, 0.3), "options": {"momentum": 0.5}},
    ],
    ids=str,
)
def test_learns_separable_classes(change):
    plan = dataclasses.replace(PLAN, epochs=8, **change)
    found = ctebm.train(small_network(), *samples(), plan, held_out=samples(seed=1))
    assert found.status == "done"
    assert found.history["test_error"][-1] <= 2
    assert found.history["cost"][-1] < 0.5 * found.history["cost"][0]
    assert found.history["residual"].max() <= plan.tol


@pytest.mark.parametrize("activation", [ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid()])
def test_smooth_networks_settle_and_learn(activation):
    network = ctebm.LayeredNetwork.random(SIZES, activation, gain=0.5, seed=1)
    network = network.centred({"x": np.full(SIZES[0], 0.5)})
    rule = ctebm.Early(slope=True)
    (x, label), plan = samples(96), dataclasses.replace(PLAN, epochs=10, rate=0.1, rule=rule)
    found = ctebm.train(network, x.clip(0.01, 0.99), label, plan)
    assert found.history["unsettled"].max() == 0
    assert found.history["train_error"][-1] <= 2
    assert found.history["alignment"][-1, 0].min() > 0.99


def test_does_not_change_the_network_it_is_given():
    network = small_network()
    before = [W.clone() for W in network.weights]
    ctebm.train(network, *samples(), dataclasses.replace(PLAN, epochs=1))
    assert all(torch.equal(a, b) for a, b in zip(before, network.weights, strict=True))


def test_separate_weights_are_recorded_with_their_symmetry():
    plan = dataclasses.replace(PLAN, tied=False)
    dataset = ctebm.train(small_network(), *samples(), plan).to_dataset()
    symmetry = dataset.symmetry.values
    assert symmetry.shape == (4, 2)
    assert np.isnan(symmetry[:, 0]).all()
    assert (symmetry[:, 1] < 1).all()
    loaded = ctebm.load_network(dataset)
    assert isinstance(loaded, ctebm.FeedbackNetwork)
    assert _cosine(loaded) == pytest.approx(symmetry[-1, 1], abs=1e-12)


def test_directions_may_begin_at_an_angle():
    plan = dataclasses.replace(PLAN, tied=False, epochs=1, rate=0.0)
    start = ctebm.FeedbackNetwork.at_angle(small_network(), 60)
    found = ctebm.train(start, *samples(), plan)
    assert found.history["symmetry"][0, 1] == pytest.approx(0.5, abs=1e-9)
    assert isinstance(found.network, ctebm.FeedbackNetwork)
    assert _cosine(found.network) == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(ValueError, match="tied=False"):
        ctebm.train(start, *samples(), PLAN)


def test_the_alignment_says_which_way_the_reference_goes_down():
    """With feedback at a right angle the early rule follows the feedback, not the gradient."""
    plan = dataclasses.replace(PLAN, tied=False, epochs=1, rate=0.0)
    start = ctebm.FeedbackNetwork.at_angle(small_network(), 90)
    alignment = ctebm.train(start, *samples(), plan).to_dataset().alignment.isel(epoch=0)
    first = alignment.sel(connection="x-h1")
    assert float(first.sel(reference="chain_feedback")) > 0.999
    assert float(first.sel(reference="chain")) < 0.5
    assert float(alignment.sel(reference="chain", connection="h1-y")) > 0.999


def _cosine(network):
    W, V = network.weights[1], network.feedback[1]
    return float((W * V).sum() / (W.norm() * V.norm()))


def test_a_collapsed_layer_stops_the_run_and_keeps_the_last_good_epoch(tmp_path):
    plan = dataclasses.replace(PLAN, optimizer="SGD", rate=1e6, epochs=5)
    path = tmp_path / "c.ckpt"
    network = small_network()
    found = ctebm.train(network, *samples(), plan, checkpoint=path)
    assert found.status == "collapsed"
    assert "lower the learning rate" in found.message
    assert all(
        torch.equal(a, b) for a, b in zip(found.network.weights, network.weights, strict=True)
    )
    assert not path.exists()
    with pytest.raises(FloatingPointError, match="held at a kink"):
        found.raise_for_status()


def test_numbers_that_run_away_stop_the_run():
    network = ctebm.LayeredNetwork.random(SIZES, ctebm.Logistic(), gain=0.5, seed=1)
    plan = dataclasses.replace(PLAN, optimizer="SGD", rate=1e308)
    x, label = samples()
    found = ctebm.train(network, x.clip(0.01, 0.99), label, plan)
    assert found.status == "diverged"
    assert "left the finite numbers" in found.message
    assert all(bool(torch.isfinite(W).all()) for W in found.network.weights)


def test_stops_early_when_the_held_out_error_stays():
    plan = dataclasses.replace(PLAN, epochs=30, rate=0.0, patience=2)
    found = ctebm.train(small_network(), *samples(), plan, held_out=samples(seed=1))
    assert found.status == "stopped early"
    assert len(found.history["test_error"]) == 3


def test_what_has_no_layers_is_refused():
    with pytest.raises(TypeError, match="expected a network to train, got int"):
        ctebm.train(42, *samples(), PLAN)


def test_an_epoch_is_reported_in_one_sentence():
    said = []
    plan = dataclasses.replace(PLAN, epochs=2)
    found = ctebm.train(
        small_network(), *samples(), plan, held_out=samples(seed=1), report=said.append
    )
    assert len(said) == 2
    for i, sentence in enumerate(said):
        row = {name: values[i] for name, values in found.history.items()}
        assert sentence.startswith(
            f"epoch {i + 1}: training error {row['train_error']:.2f} %, held-out "
            f"{row['test_error']:.2f} %, {row['sweeps']:.1f} sweeps to a residual of "
            f"{row['residual']:.1e}, pinned {100 * row['pinned'][0]:.0f} %, "
        )


def test_early_stopping_asks_for_held_out_samples():
    with pytest.raises(ValueError, match="give held_out"):
        ctebm.train(small_network(), *samples(), dataclasses.replace(PLAN, patience=2))


def test_targets_that_are_not_finite_or_do_not_fit_are_refused():
    net, x, target = problem()
    bad = target.clone()
    bad[3, 1] = float("nan")
    with pytest.raises(ValueError, match="expected finite targets, got NaN or inf in sample 3"):
        ctebm.train(net, x, bad, PLAN)
    with pytest.raises(ValueError, match=r"expected targets of shape \(7, 3\)"):
        ctebm.train(net, x, target[:, :2], PLAN)
    bad = x.clone()
    bad[2, 0] = float("inf")
    with pytest.raises(ValueError, match="expected finite inputs, got NaN or inf in sample 2"):
        ctebm.train(net, bad, target, PLAN)


@pytest.mark.parametrize("held_out", [[1, 2, 3], (1,), "ab", 3, {"a": 1, "b": 2}])
def test_held_out_samples_are_a_pair(held_out):
    with pytest.raises(ValueError, match=r"expected held_out as \(rates, labels\), got"):
        ctebm.train(small_network(), *samples(12), PLAN, held_out=held_out)


def test_rates_that_are_nan_are_named():
    rates, labels = samples(20)
    rates[3, 1] = np.nan
    with pytest.raises(ValueError, match="finite inputs, got NaN or inf in sample 3"):
        ctebm.train(small_network(), rates, labels, PLAN)


def test_weights_that_grow_without_bound_are_not_kept(tmp_path):
    """They would stay finite for many epochs more: the output is linear in its weights."""
    rates, labels = samples(40)
    net = ctebm.PredictiveNetwork.random([12, 8, 3], ctebm.SignedTanh())
    steep = dataclasses.replace(PLAN, rate=1e4, optimizer="SGD")
    path = tmp_path / "checkpoint"
    found = ctebm.train(net, rates, labels, steep, checkpoint=path)
    assert found.status == "diverged" and "grew a billion-fold" in found.message
    assert all(torch.equal(a, b) for a, b in zip(found.network.weights, net.weights, strict=True))
    assert not path.exists()  # nothing good to keep


@pytest.mark.parametrize("centred", [False, True])
def test_nudges_that_blow_weights_up_stop_the_run(centred):
    """A nudge stiffer than the energy, to which its gradient falls without bound."""

    class Soft(ctebm.Network):
        layers = {"x": slice(0, 2), "y": slice(2, 4)}  # noqa: RUF012

        def energy(self, s):
            return self.k * (s[..., 2:] - s[..., :2] @ self.W).square().sum(-1) / 2

    net = Soft()
    net.k, net.W = torch.tensor(0.01, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    x, label = np.random.default_rng(0).uniform(0, 1, (20, 2)), np.arange(20) % 2
    rule = ctebm.EquilibriumPropagation(beta=0.1, centred=centred)
    plan = ctebm.Plan(rule=rule, epochs=3, batch=5, rate=0.01, optimizer="SGD")
    found = ctebm.train(net, x, label, plan)
    assert found.status == "diverged" and "weights of the epoch before" in found.message
    assert torch.equal(found.network.W, net.W)


def test_a_rule_that_meets_weights_that_ran_away_stops_the_run():
    net = ctebm.PredictiveNetwork.random([12, 5, 3], ctebm.SignedTanh())
    plan = ctebm.Plan(rule=ctebm.CoupledLearning(), batch=10, rate=1e200, optimizer="SGD")
    found = ctebm.train(net, *samples(), plan)
    assert found.status == "diverged" and torch.equal(found.network.weights[0], net.weights[0])
