"""One epoch after another, against plain code; gradients lie in memory as their parameters do."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_cases import PLAN, samples, small_network

import ctebm
from ctebm.learning.plastic import WeightGradient
from ctebm.learning.samples import labelled_states
from ctebm.learning.trainer import Trainer, predict


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
@pytest.mark.parametrize("rule", [ctebm.Early(), ctebm.Symmetric(), ctebm.EquilibriumPropagation()])
def test_fused_optimisers_take_the_same_steps(rule, optimizer):
    """They read parameter and gradient number by number, whatever the strides."""
    plan = dataclasses.replace(PLAN, rule=rule, optimizer=optimizer, tied=False, epochs=1)
    plain, fused = (
        ctebm.train(small_network(), *samples(), dataclasses.replace(plan, options={"fused": on}))
        for on in (False, True)
    )
    for a, b in zip(plain.network.feedback, fused.network.feedback, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert not np.allclose(plain.network.feedback[1], small_network().weights[1])


def _trainer(**change):
    return Trainer(small_network(), dataclasses.replace(PLAN, **change))


def _data(trainer, n=50):
    return labelled_states(small_network(), *samples(n))


def test_the_row_of_an_epoch_is_what_plain_code_counts():
    trainer = _trainer(rate=0.0, batch=20, tol=1e-3)
    x, label = data = _data(trainer)
    whole = trainer.plastic.settle(x, tol=1e-3)
    y, target = whole.states[-1], 0.8 * torch.eye(3).double()[label] - 0.4
    row = trainer.epoch(0, data, None)
    wrong = (y.argmax(-1) != label).double().mean()
    assert 0 < float(wrong) < 1
    assert row["train_error"] == pytest.approx(100 * float(wrong))
    assert row["cost"] == pytest.approx(float((y - target).square().sum()) / 2 / 50, rel=1e-2)
    assert row["residual"] == pytest.approx(float(whole.residual.max()), rel=1e-9)
    assert row["unsettled"] == 0
    assert trainer.test(data)["test_error"] == row["train_error"]
    batches = torch.as_tensor(np.random.default_rng([0, 0]).permutation(50)).split(20)
    sweeps = [float(whole.sweeps[chosen].double().mean()) for chosen in batches]
    assert row["sweeps"] == pytest.approx(np.mean(sweeps))


def test_every_sample_comes_once_in_an_order_of_the_epoch():
    seen, notes = [], []

    def watch(batches, label, note):
        seen.append((label, [chosen.tolist() for chosen in batches]))
        notes.append(note())
        for chosen in batches:
            yield chosen
            notes.append(note())

    trainer = _trainer(rate=0.0, batch=20)
    rows = [trainer.epoch(epoch, _data(trainer), watch) for epoch in (0, 1)]
    assert [label for label, _ in seen] == ["epoch 1", "epoch 2"]
    for _, batches in seen:
        assert [len(chosen) for chosen in batches] == [20, 20, 10]
        assert sorted(i for chosen in batches for i in chosen) == list(range(50))
    assert seen[0][1] != seen[1][1]
    assert notes[0] == ""
    said = f"error {rows[0]['train_error']:.2f} %, residual {rows[0]['residual']:.1e}"
    assert notes[3] == said


def test_learning_rates_decay_from_epoch_to_epoch():
    trainer = _trainer(rate=(0.1, 0.2), decay=0.5)
    assert trainer.epoch(0, _data(trainer), None)["rate"] == [0.1, 0.2]
    assert trainer.epoch(3, _data(trainer), None)["rate"] == [0.1 / 8, 0.2 / 8]


def test_warm_starts_are_the_equilibria_of_the_epoch_before():
    trainer = _trainer(rate=0.0, warm=True, tol=1e-10)
    x, _ = data = _data(trainer)
    cold, warm = (trainer.epoch(epoch, data, None) for epoch in (0, 1))
    assert warm["sweeps"] < cold["sweeps"] / 2
    expected = trainer.plastic.settle(x, tol=1e-10).states[1:]
    for kept, state in zip(trainer.kept, expected, strict=True):
        torch.testing.assert_close(kept, state, rtol=0, atol=1e-9)


class _Spoilt(ctebm.Rule):
    """Descends zeros but for one number."""

    def __init__(self, part, number):
        self.part, self.number = part, number

    def gradient(self, network, equilibrium, target):
        found = WeightGradient.of_layers(
            [torch.zeros_like(W) for W in network.weights],
            [torch.zeros_like(b) for b in network.biases[1:]], [],
        )  # fmt: skip
        getattr(found, self.part)[0].view(-1)[0] = self.number
        return found


def test_one_number_that_runs_away_ends_the_epoch():
    sgd = {"optimizer": "SGD", "batch": 50}
    spoilt = _trainer(rule=_Spoilt("weights", float("inf")), **sgd)
    assert spoilt.epoch(0, _data(spoilt), None) is None
    untouched = _trainer(rule=_Spoilt("biases", float("nan")), **sgd)
    assert untouched.epoch(0, _data(untouched), None) is None
    assert torch.equal(untouched.plastic.weights[0], small_network().weights[0])
    assert all(bool(torch.isfinite(b).all()) for b in untouched.plastic.biases)
    fine = _trainer(rule=_Spoilt("biases", 1.0), **sgd)
    assert fine.epoch(0, _data(fine), None) is not None


def test_what_is_saved_is_a_copy_and_brings_everything_back():
    trainer = _trainer(warm=True)
    data = _data(trainer)
    trainer.history.append(trainer.epoch(0, data, None))
    content = trainer.content()
    assert trainer.epoch(1, data, None) is not None
    assert not torch.equal(trainer.parameters[0], content["parameters"][0])
    other = _trainer(warm=True)
    other.restore(content)
    assert other.history == trainer.history
    again, once = other.epoch(1, data, None), trainer.content()["parameters"]
    assert again is not None
    assert all(torch.equal(p, q) for p, q in zip(other.parameters, once, strict=True))


def test_classes_are_those_of_the_largest_output_whatever_the_portions():
    x, _ = labelled_states(small_network(), *samples(1100))
    plastic = ctebm.PlasticNetwork(small_network())
    expected = plastic.settle(x, tol=PLAN.tol).states[-1].argmax(-1)
    assert torch.equal(predict(plastic, x, PLAN).argmax(-1), expected)
