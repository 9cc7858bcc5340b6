"""Couplings in a sparse matrix against the same matrix, dense."""

import numpy as np
import torch

from ctebm import DenseNetwork, Logistic, SparseNetwork, Tanh


def test_sparse_is_dense():
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
