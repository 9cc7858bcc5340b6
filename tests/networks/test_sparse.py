"""Sparse couplings against the dense matrix, and what they take."""

import numpy as np
import pytest
import scipy.sparse
import torch
from cases import ACTIVATIONS, F64, every_motion_and_network, sparse, states
from network_contract import check

import ctebm
from ctebm import DenseNetwork, Logistic, SparseNetwork, Tanh

W, B = np.array([[0.0, 0.5], [0.5, 0.0]]), np.array([0.1, -0.2])


def pair(W, b=(0.0, 0.0), **options):
    matrix = scipy.sparse.csr_array(np.array(W, float))
    return ctebm.SparseNetwork(matrix, b, ctebm.Tanh(), **options)


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
        (lambda: ctebm.SparseNetwork(torch.zeros(2, 2), [0, 0], ctebm.Tanh()), "a sparse matrix"),
        (lambda: ctebm.SparseNetwork([[0, 0]], [0, 0], ctebm.Tanh()), "use DenseNetwork"),
        (lambda: ctebm.SparseNetwork.ring(2, 1.0, ctebm.Tanh()), "n_units >= 3, got 2; two units"),
        (lambda: ctebm.SparseNetwork.ring(5, np.nan, ctebm.Tanh()), "a finite weight, got nan"),
    ],
)
def test_bad_networks_are_refused_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_sparse_weights_are_copies():
    matrix = scipy.sparse.csr_array(W)
    net, s = ctebm.SparseNetwork(matrix, B, ctebm.Tanh()), torch.ones(2, dtype=F64)
    before = net.force(s)
    matrix.data *= 3
    assert torch.equal(net.force(s), before)
    given = torch.tensor(W).to_sparse()  # coordinates
    net = ctebm.SparseNetwork(given, B, ctebm.Tanh())
    given.values().mul_(3) if given.is_coalesced() else given.coalesce()
    assert torch.equal(net.force(s), before)


def test_sparse_weights_are_real_and_carry_no_gradients():
    with pytest.raises(ValueError, match=r"require no gradients.*use DenseNetwork, or weight.det"):
        ctebm.SparseNetwork(torch.tensor(W).to_sparse().requires_grad_(), B, ctebm.Tanh())
    with pytest.raises(ValueError, match="expected real numbers, got complex"):
        ctebm.SparseNetwork(scipy.sparse.csr_array(1j * W), B, ctebm.Tanh())
    with pytest.raises(ValueError, match="half precision"):
        ctebm.SparseNetwork(scipy.sparse.csr_array(W), B, ctebm.Tanh(), dtype=torch.float16)


def test_a_caller_s_sparse_matrix_is_left_as_it_was():
    """Entries that are given twice are added up in the network, not in the caller's matrix."""
    twice = scipy.sparse.csr_array(
        (np.array([0.25, 0.25, 0.5]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2)
    )
    net = ctebm.SparseNetwork(twice, B, ctebm.Tanh())
    assert twice.nnz == 3 and torch.equal(net.dense_weight(), torch.tensor(W))


def test_sparse_is_dense():
    net = sparse(ACTIVATIONS["tanh"])
    twin = ctebm.DenseNetwork(net.dense_weight(), net.bias, net.activation, layers=net.layers)
    s = states(net)
    torch.testing.assert_close(net.energy(s), twin.energy(s))
    torch.testing.assert_close(net.force(s), twin.force(s))


def test_a_ring_couples_neighbours():
    net = ctebm.SparseNetwork.ring(5, 0.3, ctebm.Tanh())
    expected = 0.3 * (np.eye(5, k=1) + np.eye(5, k=-1) + np.eye(5, k=4) + np.eye(5, k=-4))
    assert torch.equal(net.dense_weight(), torch.tensor(expected))
    assert net.force(torch.zeros(5)).abs().max() == 0
    assert ctebm.SparseNetwork.ring(5, 0.3, ctebm.Tanh(), bias=0.2).bias.tolist() == [0.2] * 5


def test_a_matrix_that_does_not_fit_is_refused():
    net = ctebm.SparseNetwork.ring(10**6, 0.3, ctebm.Tanh())
    with pytest.raises(ValueError, match=r"the matrix of 1,000,000 units.*use hessian_product"):
        net.dense_weight()


def test_a_sparse_ring_is_a_dense_one():
    ring = SparseNetwork.ring(12, 0.7, Logistic(), bias=-0.3)
    dense = DenseNetwork(ring.dense_weight(), ring.bias, Logistic())
    s = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 2, 12)))
    v = torch.ones_like(s)
    assert torch.allclose(ring.energy(s), dense.energy(s))
    assert torch.allclose(ring.force(s), dense.force(s))
    assert torch.allclose(ring.hessian_product(s, v), dense.hessian_product(s, v))


def test_sparse_clamps_as_dense():
    layers = {"x": slice(0, 5), "y": slice(5, 12)}
    ring = SparseNetwork.ring(12, 0.7, Tanh(), bias=-0.3)
    x = torch.rand(4, 5, dtype=torch.float64)
    sparse = SparseNetwork(ring.weight, ring.bias, Tanh(), layers=layers).clamp({"x": x})
    dense = DenseNetwork(ring.dense_weight(), ring.bias, Tanh(), layers=layers).clamp({"x": x})
    s = torch.rand(4, 7, dtype=torch.float64)
    assert torch.allclose(sparse.energy(s), dense.energy(s))
    assert torch.allclose(sparse.force(s), dense.force(s))


@pytest.mark.parametrize("name", ["sparse-hard", "batch-sparse-tanh"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
