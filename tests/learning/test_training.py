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
from learning_cases import PLAN, SIZES, same_weights, samples, small_network

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
    with pytest.raises(TypeError, match="expected a layered network to train, got int"):
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
