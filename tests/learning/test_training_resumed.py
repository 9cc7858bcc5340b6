"""A training that is stopped and called again takes the very same steps."""

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
from learning_cases import PLAN, same_weights, samples, small_network
from own_energies import problem

import ctebm

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import dataclasses, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import ctebm, learning_cases as t
plan = dataclasses.replace(t.PLAN, epochs=2000)
ctebm.train(t.small_network(), *t.samples(), plan, checkpoint=sys.argv[1])
"""


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


def test_a_users_training_resumes_bit_for_bit(tmp_path):
    net, x, target = problem(n=30)
    plan = ctebm.Plan(epochs=3, batch=10, rate=0.01, tol=1e-9)
    path = tmp_path / "c.ckpt"
    ctebm.train(net, x, target, dataclasses.replace(plan, epochs=1), checkpoint=path)
    pieces = ctebm.train(net, x, target, plan, checkpoint=path)
    whole = ctebm.train(net, x, target, plan)
    assert all(torch.equal(a, b) for a, b in zip(pieces.network.W, whole.network.W, strict=True))
