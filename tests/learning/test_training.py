"""Training: it learns, it resumes bit for bit, and it says what is wrong."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import ctebm
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.trainer import kink_shares
from ctebm.learning.training import smallest_curvature

SIZES = (12, 10, 3)
ROOT = Path(__file__).parents[2]


def _data(n=240, seed=0):
    """Return noisy copies of three patterns."""
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(7).uniform(0.2, 0.8, (3, SIZES[0]))
    label = rng.integers(0, 3, n)
    return np.clip(pattern[label] + 0.1 * rng.standard_normal((n, SIZES[0])), 0, 1), label


def _network(sizes=SIZES, dtype=torch.float64):
    network = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=0.5, seed=1, dtype=dtype)
    return network.centred({"x": np.full(sizes[0], 0.5)})


PLAN = ctebm.Plan(epochs=4, batch=16, rate=0.01, decay=0.9)


def _same(a, b):
    return all(
        torch.equal(p, q)
        for p, q in zip([*a.network.weights, a.network.bias], [*b.network.weights, b.network.bias],
                        strict=True)
    )  # fmt: skip


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
    found = ctebm.train(_network(), *_data(), plan, held_out=_data(seed=1))
    assert found.status == "done"
    assert found.history["test_error"][-1] <= 2
    assert found.history["cost"][-1] < 0.5 * found.history["cost"][0]
    assert found.history["residual"].max() <= plan.tol


@pytest.mark.parametrize("activation", [ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid()])
def test_smooth_networks_settle_and_learn(activation):
    network = ctebm.LayeredNetwork.random(SIZES, activation, gain=0.5, seed=1)
    network = network.centred({"x": np.full(SIZES[0], 0.5)})
    rule = ctebm.Early(slope=True)
    (x, label), plan = _data(), dataclasses.replace(PLAN, epochs=12, rate=0.03, rule=rule)
    found = ctebm.train(network, x.clip(0.01, 0.99), label, plan)
    assert found.history["unsettled"].max() == 0
    assert found.history["train_error"][-1] <= 2
    assert found.history["alignment"][-1, 0].min() > 0.99


def test_does_not_change_the_network_it_is_given():
    network = _network()
    before = [W.clone() for W in network.weights]
    ctebm.train(network, *_data(), dataclasses.replace(PLAN, epochs=1))
    assert all(torch.equal(a, b) for a, b in zip(before, network.weights, strict=True))


def test_history_is_labelled_and_weights_load_again(tmp_path):
    found = ctebm.train(_network(), *_data(), PLAN, held_out=_data(seed=1))
    dataset = found.to_dataset()
    assert dataset.alignment.dims == ("epoch", "reference", "connection")
    assert dict(dataset.sizes)["epoch"] == PLAN.epochs
    assert all({"units", "long_name"} <= set(v.attrs) for v in dataset.variables.values())
    # the early rule at first arrival is the chain gradient, unless a unit meets a kink
    assert float(dataset.alignment.sel(reference="chain").min()) > 0.99
    ctebm.save(dataset, tmp_path / "trained.nc")
    loaded = ctebm.load_network(tmp_path / "trained.nc")
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.weights, found.network.weights, strict=True)
    )
    assert torch.equal(loaded.bias, found.network.bias)
    assert loaded.activation == found.network.activation


def test_separate_weights_are_recorded_with_their_symmetry():
    plan = dataclasses.replace(PLAN, tied=False)
    dataset = ctebm.train(_network(), *_data(), plan).to_dataset()
    symmetry = dataset.symmetry.values
    assert symmetry.shape == (4, 2)
    assert np.isnan(symmetry[:, 0]).all()
    assert (symmetry[:, 1] < 1).all()
    loaded = ctebm.load_network(dataset)
    assert isinstance(loaded, ctebm.FeedbackNetwork)
    assert _cosine(loaded) == pytest.approx(symmetry[-1, 1], abs=1e-12)


def test_directions_may_begin_at_an_angle():
    plan = dataclasses.replace(PLAN, tied=False, epochs=1, rate=0.0)
    start = ctebm.FeedbackNetwork.at_angle(_network(), 60)
    found = ctebm.train(start, *_data(), plan)
    assert found.history["symmetry"][0, 1] == pytest.approx(0.5, abs=1e-9)
    assert isinstance(found.network, ctebm.FeedbackNetwork)
    assert _cosine(found.network) == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(ValueError, match="tied=False"):
        ctebm.train(start, *_data(), PLAN)


def _cosine(network):
    W, V = network.weights[1], network.feedback[1]
    return float((W * V).sum() / (W.norm() * V.norm()))


def test_a_collapsed_layer_stops_the_run_and_keeps_the_last_good_epoch(tmp_path):
    plan = dataclasses.replace(PLAN, optimizer="SGD", rate=1e6, epochs=5)
    path = tmp_path / "c.ckpt"
    network = _network()
    found = ctebm.train(network, *_data(), plan, checkpoint=path)
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
    x, label = _data()
    found = ctebm.train(network, x.clip(0.01, 0.99), label, plan)
    assert found.status == "diverged"
    assert "left the finite numbers" in found.message
    assert all(bool(torch.isfinite(W).all()) for W in found.network.weights)


def test_stops_early_when_the_held_out_error_stays():
    plan = dataclasses.replace(PLAN, epochs=30, rate=0.0, patience=2)
    found = ctebm.train(_network(), *_data(), plan, held_out=_data(seed=1))
    assert found.status == "stopped early"
    assert len(found.history["test_error"]) == 3


@pytest.mark.parametrize("change", [{}, {"warm": True}, {"tied": False}], ids=str)
def test_a_run_in_pieces_is_the_run_in_one(tmp_path, change):
    plan = dataclasses.replace(PLAN, **change)
    path = tmp_path / "c.ckpt"
    for epochs in (1, 3):
        ctebm.train(_network(), *_data(), dataclasses.replace(plan, epochs=epochs), checkpoint=path)
    resumed = ctebm.train(_network(), *_data(), plan, checkpoint=path)
    whole = ctebm.train(_network(), *_data(), plan)
    assert _same(resumed, whole)
    np.testing.assert_array_equal(resumed.history["cost"], whole.history["cost"])


_SCRIPT = """
import dataclasses, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import ctebm, test_training as t
plan = dataclasses.replace(t.PLAN, epochs=2000)
ctebm.train(t._network(), *t._data(), plan, checkpoint=sys.argv[1])
"""


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    path = tmp_path / "c.ckpt"
    command = [sys.executable, "-c", _SCRIPT, str(path), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not path.with_name("c.ckpt.previous").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = len(ctebm.train(_network(), *_data(), dataclasses.replace(PLAN, epochs=0),
                           checkpoint=path).history["cost"])  # fmt: skip
    assert done >= 1
    plan = dataclasses.replace(PLAN, epochs=done + 2)
    resumed = ctebm.train(_network(), *_data(), plan, checkpoint=path)
    assert _same(resumed, ctebm.train(_network(), *_data(), plan))


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    path = tmp_path / "c.ckpt"
    ctebm.train(_network(), *_data(), dataclasses.replace(PLAN, epochs=2), checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:500], "other": b"hello"}.get(damage, bytes(content)))
    with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
        resumed = ctebm.train(_network(), *_data(), PLAN, checkpoint=path)
    assert _same(resumed, ctebm.train(_network(), *_data(), PLAN))


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    (tmp_path / "c.ckpt").write_bytes(b"hello")
    with pytest.raises(ValueError, match="delete it to begin anew"):
        load_checkpoint(tmp_path / "c.ckpt", {})
    assert load_checkpoint(tmp_path / "none.ckpt", {}) is None


def test_a_checkpoint_holds_what_it_was_given(tmp_path):
    save_checkpoint(
        tmp_path / "a" / "c.ckpt", {"t": torch.arange(3), "n": [1, None]}, {"k": (1, 2)}
    )
    content = load_checkpoint(tmp_path / "a" / "c.ckpt", {"k": (1, 2)})
    assert content is not None
    assert content["t"].tolist() == [0, 1, 2]
    assert content["n"] == [1, None]


@pytest.mark.parametrize(
    ("network", "change", "name"),
    [
        (_network((12, 9, 3)), {}, "sizes"),
        (_network(), {"rate": 0.02}, "rate"),
        (_network(), {"rule": ctebm.Chain()}, "rule"),
        (_network(dtype=torch.float32), {}, "dtype"),
    ],
    ids=["architecture", "rate", "rule", "dtype"],
)
def test_another_runs_checkpoint_is_refused(tmp_path, network, change, name):
    path = tmp_path / "c.ckpt"
    ctebm.train(_network(), *_data(), dataclasses.replace(PLAN, epochs=1), checkpoint=path)
    with pytest.raises(ValueError, match=f"made with {name}"):
        ctebm.train(network, *_data(), dataclasses.replace(PLAN, **change), checkpoint=path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda x, y: (x[:, :5], y), "one unit a pixel"),
        (lambda x, y: (x, y[:-1]), "one label a sample"),
        (lambda x, y: (x[:0], y[:0]), "empty data set"),
        (lambda x, y: (x, y + 1), "one output unit a class"),
        (lambda x, y: (x, y - 1), "one output unit a class"),
        (lambda x, y: (x, y * 0), "class 0 alone"),
        (lambda x, y: (x, y * 0.5), "whole numbers"),
        (lambda x, y: (x + 1, y), "takes rates"),
    ],
)
def test_refuses_data_that_do_not_fit(spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        ctebm.train(_network(), *spoil(*_data()), PLAN)


@pytest.mark.parametrize(
    "change",
    [
        {"rate": -1.0}, {"rate": float("nan")}, {"batch": 0}, {"decay": 0.0}, {"tol": 0.0},
        {"low": 0.9, "high": 0.1}, {"optimizer": "Adum"},
        {"optimizer": "Rprop", "options": {"weight_decay": 0.1}}, {"options": {"lr": 0.1}},
    ],
    ids=str,
)  # fmt: skip
def test_refuses_plans_without_meaning(change):
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(PLAN, **change)


def test_shares_at_kinks_count_units_and_samples():
    network = _network((12, 4, 3))
    plastic = PlasticNetwork(network)
    rest = plastic.settle(torch.zeros(2, 12, dtype=torch.float64), tol=1e-9)
    low, high = 0.5 * torch.eye(2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    low[:, 3] = -0.5
    rest.states[1].copy_(low)  # one unit each at the upper kink, another at the lower in both
    still = [torch.zeros_like(s) for s in rest.states]
    shares = kink_shares(plastic, rest, still)
    assert shares == {"pinned": [0.5], "dead": [0.25], "crossed": 0.0}
    high[1, 2] = 0.5
    assert kink_shares(plastic, rest, [still[0], high, still[2]])["crossed"] == 0.5


@pytest.mark.parametrize("sizes", [(12, 10, 3), (12, 20, 20, 3), (12, 20, 20, 20, 3)], ids=str)
def test_weak_coupling_sets_the_smallest_eigenvalue_of_the_hessian(sizes):
    network = ctebm.weakly_coupled(_network(sizes), 0.4).centred()
    clamped = network.clamp({"x": np.zeros((1, 12))})
    hessian = clamped.hessian(torch.zeros(1, sum(sizes[1:]), dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(hessian).min()) == pytest.approx(0.4, abs=1e-12)
    assert smallest_curvature(network) == pytest.approx(0.4, abs=1e-12)
