"""Spectra of Hessians: closed forms, and products against the matrix."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, random_dense

from ctebm import LayeredNetwork, SparseNetwork, linearize, settle
from ctebm.stability.hessian import HessianMotion, hessian_spectrum


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_both_ways_find_the_same_ends():
    network = random_dense(80, 4, TANH, gain=3.0)
    s, where = torch.full((80,), 0.1, dtype=torch.float64), torch.arange(5, 70)
    dense, ends = (hessian_spectrum(network, s, where, dense, 1e-9) for dense in (True, False))
    H = network.hessian(s)[5:70, 5:70]
    torch.testing.assert_close(dense.eigenvalues, torch.linalg.eigvalsh(H))
    torch.testing.assert_close(ends.eigenvalues[[0, -1]], dense.eigenvalues[[0, -1]])
    assert dense.residual.max() < 1e-13 and ends.residual.max() < 1e-7


def test_reduced_spectrum():
    network = random_dense(9, 5, HARD, gain=1.0)
    linear = linearize(network, settle(network, torch.full((9,), 0.1), tol=1e-13))
    free = ~linear.pinned
    assert 0 < free.sum() < 9
    H = network.hessian(linear.state)[free][:, free]
    assert torch.allclose(linear.eigenvalues, torch.linalg.eigvalsh(H))
    assert linear.eigenvectors[linear.pinned].abs().max() == 0
    assert linear.eigenvalue_residual.max() < 1e-13


@pytest.mark.parametrize("n_units", [99, 100])
@pytest.mark.parametrize("w", [0.4, -0.3])
def test_ring_dense(n_units, w):
    linear = linearize(SparseNetwork.ring(n_units, w, HARD), torch.zeros(n_units))
    k = np.arange(n_units)
    expected = np.sort(1 - 2 * w * np.cos(2 * np.pi * k / n_units))
    assert np.abs(linear.eigenvalues.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize(("n_units", "whole"), [(1000, True), (1001, False)])
def test_all_modes_of_more_than_1000_units_are_found_when_asked_for(n_units, whole):
    network, s = SparseNetwork.ring(n_units, 0.3, HARD), torch.zeros(n_units)
    assert linearize(network, s).whole == whole
    assert linearize(network, s, dense=not whole).whole != whole


@pytest.mark.parametrize(("n_units", "w"), [(20_000, 0.4), (20_001, 0.3)])
def test_ring_matrix_free(n_units, w):
    linear = linearize(SparseNetwork.ring(n_units, w, HARD), torch.zeros(n_units))
    highest = 1 + 2 * w * math.cos(math.pi / n_units if n_units % 2 else 0)
    error = (linear.eigenvalues - tensor(1 - 2 * w, highest)).abs()
    assert (error <= linear.eigenvalue_residual).all()
    assert linear.eigenvalue_residual.max() < 1e-4
    assert (linear.index, linear.stability, linear.whole) == (0, "stable", False)
    u = torch.as_tensor(np.random.default_rng(0).standard_normal(n_units))
    back = linear.network.hessian_product(linear.state, linear.response(u))
    assert (back - u).abs().max() < 1e-7
    with pytest.raises(ValueError, match="bytes"):
        linear.covariance(0.1)
    with pytest.raises(ValueError, match="GiB"):
        linearize(SparseNetwork.ring(300_000, w, HARD), torch.zeros(300_000), dense=True)


def test_matrix_free_index_counts_saddles():
    # 2 units of strong coupling beside a weak ring: one negative eigenvalue
    n = 4500
    ring = SparseNetwork.ring(n, 0.1, HARD).weight
    indices, values = ring.to_sparse_coo().coalesce().indices(), ring.values()
    extra = torch.tensor([[0, 2, 5, 9], [2, 0, 9, 5]])
    W = torch.sparse_coo_tensor(
        torch.cat([indices, extra], 1), torch.cat([values, tensor(2, 2, 3, 3)]), (n, n)
    )
    network = SparseNetwork(W, torch.zeros(n), HARD).centred()
    linear = linearize(network, torch.zeros(n))
    assert (linear.index, linear.stability) == (2, "saddle")


def test_responses_of_a_batch_without_the_matrix():
    """Each sample by the products of its own Hessian on its own unpinned units."""
    whole = LayeredNetwork.random([4, 6, 3], HARD, gain=1.5, seed=2)
    x = torch.as_tensor(np.random.default_rng(1).random((5, 4)))
    network = whole.clamp({"x": x})
    state = settle(network, tol=1e-13).state
    with_matrix, without = (linearize(network, state, dense=dense) for dense in (True, False))
    assert len(set(with_matrix.pinned.sum(-1).tolist())) > 1 and not without.whole
    push = torch.as_tensor(np.random.default_rng(2).standard_normal((3, 5, 9)))
    for how in ({}, {"time": 0.7}, {"eps": 0.2, "n_steps": 6}):
        expected = with_matrix.response(push, **how)
        assert torch.allclose(without.response(push, **how), expected, atol=1e-12)
        assert torch.allclose(without.response(push[0, 0], **how),
                              with_matrix.response(push[0, 0].expand(5, 9), **how))  # fmt: skip


def test_motion_is_that_of_the_matrix():
    """By functions of a matrix of two coupled modes and one that is pinned."""
    H = torch.block_diag(tensor([1.0, -0.4], [-0.4, 1.5]), torch.zeros(1, 1, dtype=torch.float64))
    lam, V = torch.linalg.eigh(H[:2, :2])
    vectors = torch.cat([V, torch.zeros(1, 2, dtype=torch.float64)])
    pinned = torch.tensor([False, False, True])
    network = random_dense(3, 0, TANH)
    motion = HessianMotion(network, torch.zeros(3), pinned, lam, vectors, True)
    u, A = tensor(0.3, -0.2, 0.0), H[:2, :2]
    found = motion.response(u, None, None, 0.8)[:2]
    one = torch.eye(2, dtype=torch.float64)
    expected = torch.linalg.solve(A, (one - torch.linalg.matrix_exp(-0.8 * A)) @ u[:2])
    torch.testing.assert_close(found, expected)
    S = motion.covariance(0.3, None, False)[:2, :2]
    torch.testing.assert_close(A @ S + S @ A, 0.09 * one)
