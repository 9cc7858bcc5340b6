"""Back-propagation against itself, written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ctebm
from ctebm.study.back_propagation import FeedForward, back_propagation


@pytest.fixture
def network() -> ctebm.LayeredNetwork:
    return ctebm.LayeredNetwork.random((5, 7, 4, 3), ctebm.HardSigmoid(), gain=2.0, seed=0)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(1).random((12, 5)), np.arange(12) % 3


def test_one_step_is_the_chain_rule(network, data) -> None:
    """Steepest descent on |y - target|^2 / 2, with the slope of a clipped output counted as 1."""
    x, label = torch.as_tensor(data[0]), torch.as_tensor(data[1])
    plan = ctebm.Plan(epochs=1, batch=12, rate=0.1, optimizer="SGD")
    model = FeedForward(network, plan, x)
    W, b = ([p.detach().clone() for p in of] for of in (model.weights, model.biases))
    for i, r in enumerate((x.mean(0), torch.full((7,), 0.5), torch.full((4,), 0.5))):
        torch.testing.assert_close(b[i], -(r.to(W[i]) @ W[i]))
    current = [x @ W[0] + b[0]]
    rates = [x]
    for i in (1, 2):
        rates.append((current[-1] + 0.5).clamp(0, 1))
        current.append(rates[-1] @ W[i] + b[i])
    assert (current[0].abs() > 0.5).any(), "this test wants units at a kink"
    delta = [current[2].clamp(-0.5, 0.5) - model.targets[label]]
    for i in (1, 0):
        delta.insert(0, (delta[0] @ W[i + 1].T) * (current[i].abs() < 0.5))
    wrong = model.epoch(0, x, label)
    assert wrong == int((current[2].argmax(1) != label).sum())
    for i in range(3):
        torch.testing.assert_close(
            model.weights[i].detach(), W[i] - 0.1 * rates[i].T @ delta[i] / 12
        )
        torch.testing.assert_close(model.biases[i].detach(), b[i] - 0.1 * delta[i].mean(0))


def test_errors_are_per_cent_and_reported(network, data) -> None:
    said: list[str] = []
    plan = ctebm.Plan(epochs=3, batch=4, rate=0.02)
    found = back_propagation(
        network, plan, data, (data[0][:4], data[1][:4]), torch.float64, said.append
    )
    assert [len(values) for values in found.values()] == [3, 3, 3]
    assert set(found["bp_test_error"]) <= {0.0, 25.0, 50.0, 75.0, 100.0}
    assert said[-1].startswith("back-propagation, epoch 3: held-out")
