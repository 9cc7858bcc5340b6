"""Couplings in one matrix: products, what clamping leaves of it, refusals."""

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, dense, states

import ctebm

W = [[0.0, 0.5], [0.5, 0.0]]
INFINITE = [[0, np.inf], [np.inf, 0]]


def pair(weight=W, bias=(0.0, 0.0), **options):
    return ctebm.DenseNetwork(weight, bias, ctebm.Tanh(), **options)


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
    "make, words",
    [
        (lambda: pair([[0, 1], [0.5, 0]]), r"symmetric weights, got max \|W - W'\| = 0.5"),
        (lambda: pair([[1, 1], [1, 0]]), "no self-coupling.*set the diagonal to 0"),
        (lambda: pair([[0, 1, 2], [1, 0, 2]]), "square weight matrix"),
        (lambda: pair(INFINITE), "finite numbers in the weights"),
        (lambda: pair([[0, 1], [1, 0]], [0.0]), "expected 2 biases"),
        (lambda: pair([[0, 1], [1, 0]], [0.0, np.inf]), "finite numbers in the biases"),
        (lambda: pair(W, layers={"x": slice(0, 1)}), "cover the 2 units"),
        (lambda: pair(W).energy(torch.zeros(3)), r"\(\*batch, 2\), got \(3,\)"),
        (lambda: pair(W).clamp({"x": [0.0]}), "one of the layers s, got 'x'"),
    ],
)
def test_bad_networks_are_refused_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
