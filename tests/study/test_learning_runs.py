"""Networks before they learn, and after."""

from __future__ import annotations

import dataclasses

import pytest

import ctebm
from ctebm.study import learning_runs
from ctebm.study.images import load_images
from ctebm.study.learning_runs import (
    AFTER,
    BEFORE,
    after_learning,
    before_learning,
    last_push,
    split,
)


@pytest.fixture(scope="module")
def data():
    return split(load_images(n_samples=200))


@pytest.fixture
def net(data) -> ctebm.LayeredNetwork:
    net = ctebm.LayeredNetwork.random((64, 12, 11, 10), ctebm.HardSigmoid(), gain=0.3, seed=0)
    return net.centred({"x": data.train[0].mean(0)})


def test_what_is_returned_is_what_is_described(data, net) -> None:
    before = before_learning(net, data, 16, eps=0.1)
    assert before.keys() == BEFORE.keys()
    assert before["hessian"] > 0 and before["pinned"] == before["dead"] == 0
    plan = ctebm.Plan(epochs=2, rate=(0.02, 0.01, 0.005), optimizer="SGD")
    after = after_learning(net, data, 16, 0.1, plan)
    assert after.keys() == AFTER.keys()
    assert after["error_before"] == before["error"]
    assert after["push"] == last_push(net, data, [0.02, 0.01, 0.005])


def test_the_push_is_that_of_the_optimiser(data, net) -> None:
    plan = ctebm.Plan(epochs=1, rate=1e-3, optimizer="Adam")
    after = after_learning(net, data, 16, 0.1, plan)
    assert after["push"] == last_push(net, data, [1e-3] * 3, adam=True)
    assert after["push"] != last_push(net, data, [1e-3] * 3)


def test_shares_are_means_over_hidden_layers(data, net, monkeypatch) -> None:
    look = learning_runs._look

    def with_shares(*of):
        return dataclasses.replace(look(*of), pinned=[0.25, 0.75], dead=[0.125, 0.625])

    monkeypatch.setattr(learning_runs, "_look", with_shares)
    before = before_learning(net, data, 16, eps=0.1)
    assert (before["pinned"], before["dead"]) == (0.5, 0.375)
