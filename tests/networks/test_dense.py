"""Couplings in one dense matrix."""

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, F64, dense, every_motion_and_network, states
from network_contract import check

import ctebm


def pair(W, b=(0.0, 0.0), **options):
    return ctebm.DenseNetwork(W, b, ctebm.Tanh(), **options)


INFINITE = [[0, np.inf], [np.inf, 0]]
ONES = [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: pair([[0, 1], [0.5, 0]]), r"symmetric weights, got max \|W - W'\| = 0.5"),
        (lambda: pair([[1, 1], [1, 0]]), "no self-coupling.*set the diagonal to 0"),
        (lambda: pair([[0, 1, 2], [1, 0, 2]]), "square weight matrix"),
        (lambda: pair(INFINITE), "finite numbers in the weights"),
        (lambda: pair(ONES, [0.0]), "expected 2 biases"),
        (lambda: pair(ONES, [0.0, np.inf]), "finite numbers in the biases"),
        (lambda: pair(ONES, layers={"x": slice(0, 1)}), "cover the 2 units"),
        (lambda: pair(ONES).energy(torch.zeros(3)), r"\(\*batch, 2\), got \(3,\)"),
        (lambda: pair(ONES).clamp({"x": [0.0]}), "one of the layers s, got 'x'"),
        (lambda: pair(3.0), "square weight matrix"),
        (lambda: pair(ONES, 0.0), r"expected 2 biases, one for each unit, got \(\)"),
    ],
)
def test_bad_networks_are_refused_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_weights_that_are_symmetric_to_rounding_pass():
    W = np.array([[0.0, 0.1 + 0.2], [0.3, 0.0]])
    assert W[0, 1] != W[1, 0]
    assert pair(W).n_units == 2
    with pytest.raises(ValueError, match="symmetric"):
        pair(W + np.triu(np.full((2, 2), 1e-14), 1))


def test_biases_may_bring_one_row_a_sample():
    biases = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], dtype=F64)
    net = pair(ONES, biases)
    assert net.batch == (3,) and net.layers == {"s": slice(0, 2)}
    s = torch.zeros(3, 2, dtype=F64)
    for i, b in enumerate(biases):
        torch.testing.assert_close(net.force(s)[i], pair(ONES, b).force(s[i]))


def test_couplings_are_from_column_to_row():
    weight = torch.tensor([[0.5, 2.0], [-1.0, 0.0]], dtype=torch.float64)
    net = ctebm.AsymmetricNetwork(weight, [0, 0], ctebm.Tanh())
    r = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    assert torch.equal(net.coupling(r), torch.stack([weight @ row for row in r]))
    assert torch.equal(net.adjoint_coupling(r), torch.stack([weight.T @ row for row in r]))


def test_clamping_keeps_the_couplings_of_the_free_units():
    net = dense(ACTIVATIONS["tanh"])
    x = states(net, (4,))[:, :3]
    free = net.clamp({"x": x})
    assert torch.equal(free.dense_weight(), net.weight[3:, 3:])
    received = net.activation(x) @ net.weight[:3, 3:]
    torch.testing.assert_close(free.bias, net.bias[3:] + received)


@pytest.mark.parametrize(
    "name", ["dense-hard", "batch-dense-tanh", "batch-asymmetric-tanh", "clamped-dense"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
