"""Training: it learns, it resumes bit for bit, and it says what is wrong."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_cases import PLAN, SIZES, same_weights, samples, small_network
from own_energies import OwnLayers, problem
from torch.utils.data import DataLoader, TensorDataset

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


@pytest.mark.parametrize("change", [{}, {"warm": True}, {"tied": False}], ids=str)
def test_a_run_in_pieces_is_the_run_in_one(tmp_path, change):
    plan = dataclasses.replace(PLAN, **change)
    path = tmp_path / "c.ckpt"
    for epochs in (1, 3):
        ctebm.train(
            small_network(), *samples(), dataclasses.replace(plan, epochs=epochs), checkpoint=path
        )
    resumed = ctebm.train(small_network(), *samples(), plan, checkpoint=path)
    whole = ctebm.train(small_network(), *samples(), plan)
    assert same_weights(resumed, whole)
    np.testing.assert_array_equal(resumed.history["cost"], whole.history["cost"])


_SCRIPT = """
import dataclasses, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import ctebm, learning_cases as t
plan = dataclasses.replace(t.PLAN, epochs=2000)
ctebm.train(t.small_network(), *t.samples(), plan, checkpoint=sys.argv[1])
"""


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    path = tmp_path / "c.ckpt"
    command = [sys.executable, "-c", _SCRIPT, str(path), str(ROOT / "tests")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not path.with_name("c.ckpt.previous").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(BlockingIOError, match=f"in use by process {process.pid} on"):
            ctebm.train(small_network(), *samples(), PLAN, checkpoint=path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = len(ctebm.train(small_network(), *samples(), dataclasses.replace(PLAN, epochs=0),
                           checkpoint=path).history["cost"])  # fmt: skip
    assert done >= 1
    plan = dataclasses.replace(PLAN, epochs=done + 2)
    resumed = ctebm.train(small_network(), *samples(), plan, checkpoint=path)
    assert same_weights(resumed, ctebm.train(small_network(), *samples(), plan))
    assert {p.name for p in tmp_path.iterdir()} == {"c.ckpt", "c.ckpt.previous"}


def test_what_has_no_layers_is_refused():
    with pytest.raises(TypeError, match="expected a network to train, got int"):
        ctebm.train(42, *samples(), PLAN)


@pytest.mark.parametrize(
    ("network", "change", "name"),
    [
        (small_network((12, 9, 3)), {}, "sizes"),
        (small_network(), {"rate": 0.02}, "rate"),
        (small_network(), {"rule": ctebm.Chain()}, "rule"),
        (small_network(dtype=torch.float32), {}, "dtype"),
    ],
    ids=["architecture", "rate", "rule", "dtype"],
)
def test_another_runs_checkpoint_is_refused(tmp_path, network, change, name):
    path = tmp_path / "c.ckpt"
    ctebm.train(small_network(), *samples(), dataclasses.replace(PLAN, epochs=1), checkpoint=path)
    with pytest.raises(ValueError, match=f"made with {name}"):
        ctebm.train(network, *samples(), dataclasses.replace(PLAN, **change), checkpoint=path)


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


def test_a_users_own_energy_learns_as_back_propagation_does():
    """The same steps as plain gradient descent of the same multilayer perceptron."""
    net, _, _ = problem(sizes=(12, 10, 3))
    x, label = samples(60)
    plan = ctebm.Plan(epochs=2, batch=20, rate=0.1, optimizer="SGD", tol=1e-12)
    found = ctebm.train(net, x, label, plan, held_out=samples(40, seed=1))
    leaves = [p.clone().requires_grad_() for p in (*net.W, *net.b)]
    target = 0.1 + 0.8 * torch.eye(3).double()[label]
    for epoch in (0, 1):
        order = torch.as_tensor(np.random.default_rng([0, epoch]).permutation(60))
        for chosen in order.split(20):
            h = torch.as_tensor(x)[chosen]
            for W, b in zip(leaves[:2], leaves[2:], strict=True):
                h = torch.tanh(h) @ W + b
            cost = (h - target[chosen]).square().sum() / 40
            grads = torch.autograd.grad(cost, leaves)
            with torch.no_grad():
                for p, g in zip(leaves, grads, strict=True):
                    p -= 0.1 * g
    for p, q in zip((*found.network.W, *found.network.b), leaves, strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=1e-13)
    assert found.history["alignment"][:, 0].min() > 1 - 1e-12
    assert list(found.to_dataset().connection.values) == ["W.0", "W.1", "b.0", "b.1"]
    assert np.isfinite(found.history["test_error"]).all()


def test_a_users_eq_6_takes_the_steps_of_the_closed_form():
    net = small_network()
    plan = dataclasses.replace(PLAN, epochs=2, tol=1e-12)
    x, label = samples(80)
    closed = ctebm.train(net, x, label, plan)
    states = net.state(torch.as_tensor(x))
    target = (0.8 * torch.eye(3).double() - 0.4)[torch.as_tensor(label)]
    own = ctebm.train(OwnLayers(net), states, target, plan)
    for i, W in enumerate(closed.network.weights):
        torch.testing.assert_close(own.network.weights[i], W, rtol=0, atol=1e-7)


def test_real_targets_are_learned_and_predicted():
    net, x, target = problem(n=40)
    plan = ctebm.Plan(epochs=3, batch=10, rate=0.02, tol=1e-9, patience=5)
    found = ctebm.train(net, x, target, plan, held_out=(x, target))
    assert found.history["cost"][-1] < found.history["cost"][0]
    assert np.isnan(found.history["train_error"]).all()
    y = found.predict(x)
    cost = float((y - target).square().sum(-1).mean()) / 2
    assert found.history["test_cost"][-1] == pytest.approx(cost)
    classes = ctebm.train(net, x, target.argmax(-1), plan, held_out=(x, target.argmax(-1)))
    assert classes.predict(x).dtype == torch.int64


def test_any_cost_is_descended():
    def cross_entropy(y, t):
        return -(t * y.log_softmax(-1)).sum(-1)

    net, _, _ = problem(sizes=(12, 10, 3))
    x, label = samples()
    plan = ctebm.Plan(epochs=6, batch=20, rate=0.01, tol=1e-9, low=0, high=1, cost=cross_entropy)
    found = ctebm.train(net, x, label, plan, held_out=samples(seed=1))
    assert found.history["cost"][-1] < 0.3 * found.history["cost"][0]
    assert found.history["test_error"][-1] <= 2
    assert "cross_entropy" in found.to_dataset().attrs["plan"]


def test_a_data_loader_gives_its_own_batches():
    x, label = (torch.as_tensor(part) for part in samples(90))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x.float(), label), batch_size=16
    )
    steps, epochs = [], []
    found = ctebm.train(
        small_network(), loader, None, dataclasses.replace(PLAN, epochs=2),
        on_step=lambda step, numbers: steps.append((step, numbers)),
        on_epoch=lambda epoch, row: epochs.append((epoch, row["cost"])),
    )  # fmt: skip
    assert [step for step, _ in steps] == list(range(1, 13))
    assert steps[-1][1].keys() == {"error", "cost", "residual"}
    assert epochs == [(1, found.history["cost"][0]), (2, found.history["cost"][1])]
    seen = [numbers["cost"] * n for (_, numbers), n in zip(steps[:6], [16] * 5 + [10], strict=True)]
    assert sum(seen) / 90 == pytest.approx(found.history["cost"][0])
    assert found.to_dataset().attrs["data_digest"] == "DataLoader"
    assert found.predict(x).shape == (90,)


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ([], "an empty DataLoader"),
        ([(torch.rand(4, n), torch.tensor([0, 1, 2, 0])) for n in (12, 11)],
         r"batch 2: expected rates of shape \(sample, 12\), got \(4, 11\)"),
        ([(torch.rand(4, 12), torch.tensor([0, 1]))], "batch 1: expected one label a sample"),
        ([torch.rand(4, 12)], "expected batches of rates and labels, got Tensor as batch 1"),
        (iter([]), "gone through anew in each epoch"),
        (torch.rand(4, 12), "expected labels or targets of the samples, got None"),
    ],
    ids=["nothing", "another shape", "labels", "no pairs", "an iterator", "no labels"],
)  # fmt: skip
def test_batches_that_do_not_fit_are_refused(batches, match):
    with pytest.raises(ValueError, match=match):
        ctebm.train(small_network(), batches, None, PLAN)


class Drying:
    """Batches for a first look and two epochs, each gone through twice; afterwards others."""

    def __init__(self, after):
        x, label = samples(40)
        self.good, self.after, self.passes = [(x[:20], label[:20]), (x[20:], label[20:])], after, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.good if self.passes <= 5 else self.after)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ([], "expected one or more batches of samples, got an empty DataLoader"),
        ([(torch.rand(4, 11), torch.tensor([0, 1, 2, 0]))], "batch 1: expected rates of shape"),
        ([(torch.rand(4, 12), torch.rand(4, 3))], "batch 1: expected labels, as"),
        ([torch.rand(4, 12)], "expected batches of rates and labels, got Tensor as batch 1"),
    ],
    ids=["nothing", "another shape", "another kind", "no pairs"],
)
def test_a_loader_that_dries_up_stops_the_run_and_keeps_the_last_good_epoch(tmp_path, after, words):
    plan, path = dataclasses.replace(PLAN, epochs=5), tmp_path / "c.ckpt"
    found = ctebm.train(small_network(), Drying(after), None, plan, checkpoint=path)
    assert found.status == "out of samples" and len(found.history["cost"]) == 2
    assert found.message.startswith(f"in epoch 3: {words}")
    assert "; the weights of the epoch before are kept: mend the data" in found.message
    whole = ctebm.train(small_network(), Drying([]).good, None, dataclasses.replace(plan, epochs=2))
    for name, theirs in whole.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], theirs)
    with pytest.raises(FloatingPointError, match="in epoch 3"):
        found.raise_for_status()
    assert found.to_dataset().status == "out of samples"
    resumed = ctebm.train(small_network(), Drying([]), None, plan, checkpoint=path)
    assert len(resumed.history["cost"]) == 4  # two more until it dries up again
    np.testing.assert_array_equal(resumed.history["cost"][:2], whole.history["cost"])


def test_a_loader_that_can_be_gone_through_once_is_refused():
    once = Drying([])
    once.passes = 3
    with pytest.raises(ValueError, match="got an empty DataLoader"):
        ctebm.train(small_network(), once, None, PLAN)


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


def test_weights_of_a_users_energy_that_blow_up_stop_the_run(tmp_path):
    net, x, target = problem()
    plan = ctebm.Plan(epochs=3, batch=7, rate=1e200, optimizer="SGD", tol=1e-9)
    path = tmp_path / "c.ckpt"
    ctebm.train(net, x, target, dataclasses.replace(plan, epochs=0), checkpoint=path)
    found = ctebm.train(net, x, target, plan, checkpoint=path)
    assert found.status == "diverged" and "left the finite numbers in epoch" in found.message
    assert all(bool(torch.isfinite(W).all()) for W in found.network.W)


def test_a_users_training_resumes_bit_for_bit(tmp_path):
    net, x, target = problem(n=30)
    plan = ctebm.Plan(epochs=3, batch=10, rate=0.01, tol=1e-9)
    path = tmp_path / "c.ckpt"
    ctebm.train(net, x, target, dataclasses.replace(plan, epochs=1), checkpoint=path)
    pieces = ctebm.train(net, x, target, plan, checkpoint=path)
    whole = ctebm.train(net, x, target, plan)
    assert all(torch.equal(a, b) for a, b in zip(pieces.network.W, whole.network.W, strict=True))


@pytest.mark.parametrize("held_out", [[1, 2, 3], (1,), "ab", 3, {"a": 1, "b": 2}])
def test_held_out_samples_are_a_pair(held_out):
    with pytest.raises(ValueError, match=r"expected held_out as \(rates, labels\), got"):
        ctebm.train(small_network(), *samples(12), PLAN, held_out=held_out)


def _pairs(n_batches=2, n=20):
    rates, labels = samples(n * n_batches)
    return [(rates[i : i + n], labels[i : i + n]) for i in range(0, n * n_batches, n)]


def test_batches_do_not_change_from_labels_to_targets():
    pairs = _pairs()
    targets = np.full((20, 3), 0.1)
    with pytest.raises(ValueError, match="batch 2: expected labels, as the other"):
        ctebm.train(small_network(), [pairs[0], (pairs[1][0], targets)], None, PLAN)
    rates, labels = samples(40)
    with pytest.raises(ValueError, match=r"held_out: expected labels, .*, got targets"):
        ctebm.train(small_network(), rates, labels, PLAN, held_out=(rates[:20], targets))


def test_a_data_loader_has_its_own_labels():
    rates, labels = (torch.as_tensor(part) for part in samples(20))
    loader = DataLoader(TensorDataset(rates, labels), 10)
    with pytest.raises(ValueError, match="labels=None with a DataLoader"):
        ctebm.train(small_network(), loader, labels, PLAN)


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


class _Idle(ctebm.Network):
    """A parameter that moves the energy and nothing else."""

    layers = {"x": slice(0, 12), "y": slice(12, 15)}  # noqa: RUF012  # as a user writes it

    def __init__(self):
        super().__init__()
        self.W = torch.full((12, 3), 0.1, dtype=torch.float64)
        self.offset = torch.ones(2, dtype=torch.float64)

    def energy(self, s):
        e = s[..., 12:] - s[..., :12] @ self.W
        return e.square().sum(-1) / 2 + self.offset.sum()


def test_a_parameter_without_effect_is_named():
    rates, labels = samples(20)
    with pytest.warns(UserWarning, match=r"'offset' had no effect on the force of _Idle"):
        found = ctebm.train(_Idle(), rates, labels, PLAN)
    assert torch.equal(found.network.offset, _Idle().offset)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        plan = dataclasses.replace(PLAN, parameters=("W",))
        ctebm.train(_Idle(), rates, labels, plan)


@pytest.mark.parametrize(
    "rule", [ctebm.EquilibriumPropagation(beta=0.001, tol=1e-10), ctebm.Implicit()]
)
def test_a_rule_that_needs_no_drives_trains_what_touches_many_layers(rule):
    class Scaled(ctebm.Network):
        """One number scales the leak of every layer, and which of them it drives is not said."""

        layers = {"x": slice(0, 2), "h": slice(2, 5), "g": slice(5, 8), "y": slice(8, 10)}  # noqa: RUF012

        def energy(self, s):
            x, h, g, y = (s[..., where].tanh() for where in self.layers.values())
            coupled = ((x @ self.U) * h).sum(-1) + ((h @ self.V) * g).sum(-1)
            return self.k * s.square().sum(-1) / 2 - coupled - ((g @ self.W) * y).sum(-1)

    net, draw = Scaled(), torch.Generator().manual_seed(0)
    net.k = torch.tensor(1.0, dtype=torch.float64)
    net.U, net.V, net.W = (
        torch.randn(*n, generator=draw, dtype=torch.float64) / 4 for n in ((2, 3), (3, 3), (3, 2))
    )
    x, label = np.random.default_rng(0).uniform(-1, 1, (40, 2)), np.arange(40) % 2
    plan = ctebm.Plan(rule=rule, epochs=1, batch=10, rate=0.01)
    found = ctebm.train(net, x, label, plan).raise_for_status()
    assert float(found.network.k) != 1
    alignment = found.to_dataset().alignment.isel(epoch=0)
    assert np.isnan(alignment.sel(reference=["chain", "chain_feedback"])).all()
    assert float(alignment.sel(reference="implicit").min()) > 0.999
    with pytest.raises(ValueError, match=r"drives = \{'k': 'y'\}"):
        ctebm.train(net, x, label, dataclasses.replace(plan, rule=ctebm.Early()))


def test_directions_learn_separately_with_a_cost_or_are_refused():
    def cost(y, target):
        return (y - target).square().sum(-1)

    plan = dataclasses.replace(PLAN, tied=False, epochs=1, cost=cost)
    found = ctebm.train(small_network(), *samples(), plan).raise_for_status()
    assert isinstance(found.network, ctebm.FeedbackNetwork)
    assert not torch.equal(found.network.weights[1], found.network.feedback[1])
    assert len(found.predict(samples()[0])) == len(samples()[0])
    start = ctebm.FeedbackNetwork.at_angle(small_network(), 60)
    with pytest.raises(ValueError, match="train with tied=False"):
        ctebm.train(start, *samples(), dataclasses.replace(plan, tied=True))
    net = ctebm.PredictiveNetwork.random(SIZES, ctebm.SignedTanh())
    with pytest.raises(ValueError, match="got PredictiveNetwork; leave it True"):
        ctebm.train(net, *samples(), dataclasses.replace(PLAN, tied=False))


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
