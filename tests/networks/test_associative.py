"""Attention as a memory, retrieval from corruption, and what is stored by Hebb's rule."""

import numpy as np
import pytest
import torch
from cases import corrupted, every_motion_and_network, signs
from network_contract import check

import ctebm

F64 = torch.float64


@pytest.mark.parametrize("beta", [0.1, 1.0, 20.0])
def test_the_pressure_is_attention(beta):
    X = torch.randn(6, 8, dtype=F64, generator=torch.Generator().manual_seed(0))
    query = torch.randn(3, 8, dtype=F64, generator=torch.Generator().manual_seed(1))
    memory = ctebm.AssociativeMemory(X, beta)
    expected = torch.nn.functional.scaled_dot_product_attention(query, X, X, scale=beta)
    torch.testing.assert_close(memory.pressure(query), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(memory.weights_of_patterns(query).sum(-1), torch.ones(3).double())


def test_one_pattern_is_the_only_equilibrium():
    memory = ctebm.AssociativeMemory([[0.5, -2.0, 1.0]], 3.0)
    torch.testing.assert_close(ctebm.settle(memory).state, memory.patterns[0])
    eigenvalues = torch.linalg.eigvalsh(memory.hessian(memory.patterns[0]))
    torch.testing.assert_close(eigenvalues, torch.ones(3).double())


def test_two_opposite_patterns_are_a_mean_field_ferromagnet():
    """s = x tanh(beta |x|^2 m) along x: a pitchfork at beta |x|^2 = 1."""
    x = torch.tensor([[0.6, 0.8]], dtype=F64)
    pair = torch.cat([x, -x])
    cold, hot = (ctebm.AssociativeMemory(pair, beta) for beta in (2.0, 0.9))
    m = 0.9575040240772688  # of m = tanh(2 m)
    torch.testing.assert_close(ctebm.settle(cold, 0.3 * x[0]).state, m * x[0], rtol=1e-9, atol=0)
    assert float(ctebm.settle(hot, 0.3 * x[0]).state.norm()) < 1e-8


def test_corrupted_patterns_are_retrieved():
    X = signs(30, 60)
    memory = ctebm.AssociativeMemory(X, 1.0)
    points = ctebm.settle(memory, corrupted(X, 0.1)).raise_for_status()
    assert points.stability == ["stable"] * 30
    assert memory.recalled(points.state).tolist() == list(range(30))
    torch.testing.assert_close(points.state, X, rtol=0, atol=1e-3)


def test_a_small_beta_averages_all_patterns():
    X = signs(5, 12)
    points = ctebm.settle(ctebm.AssociativeMemory(X, 1e-3), X[0])
    torch.testing.assert_close(points.state, X.mean(0), rtol=0, atol=0.02)


def test_a_held_key_recalls_what_belongs_to_it():
    X = signs(8, 24)
    memory = ctebm.AssociativeMemory(X, 2.0, layers={"x": slice(0, 16), "y": slice(16, 24)})
    points = ctebm.settle(memory.clamp({"x": X[:, :16]}))
    torch.testing.assert_close(points.state, X[:, 16:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("rho", [ctebm.Logistic(20.0), ctebm.SignedTanh(10.0)])
def test_hebbian_weights_hold_few_patterns_and_their_opposites(rho):
    X = signs(3, 100)
    net = ctebm.HopfieldNetwork(ctebm.DenseNetwork.hebbian(X, rho))
    starts = torch.cat([corrupted(X, 0.1), -corrupted(X, 0.1)])
    points = ctebm.settle(net, starts).raise_for_status()
    overlap = (points.state.sign() * torch.cat([X, -X])).mean(-1)
    assert float(overlap.min()) > 0.98


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ctebm.AssociativeMemory([1.0, 2.0], 1.0), "patterns as rows"),
        (lambda: ctebm.AssociativeMemory([[1.0]], 0.0), "beta"),
        (lambda: ctebm.AssociativeMemory([[np.nan]], 1.0), "finite"),
        (lambda: ctebm.DenseNetwork.hebbian([[0.5, 1.0]], ctebm.Tanh()), "rows of -1 and 1"),
    ],
)
def test_what_makes_no_memory_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_force_and_hessian_are_derivatives_of_the_energy():
    X = torch.randn(4, 6, dtype=F64, generator=torch.Generator().manual_seed(3))
    memory = ctebm.AssociativeMemory(X, 0.7)
    s = torch.randn(6, dtype=F64, generator=torch.Generator().manual_seed(4))
    slope = torch.autograd.functional.jacobian(memory.energy, s)
    torch.testing.assert_close(memory.force(s), -slope)
    exact = torch.autograd.functional.hessian(memory.energy, s)
    torch.testing.assert_close(memory.hessian(s), exact)
    torch.testing.assert_close(memory.hessian_product(s, s.flip(0)), exact @ s.flip(0))


@pytest.mark.parametrize("name", ["attention", "clamped-attention"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])


def test_uniqueness_is_judged_in_the_units_that_are_free():
    """The patterns are far apart in the key, near in the value."""
    layers = {"key": slice(0, 1), "value": slice(1, 2)}
    memory = ctebm.AssociativeMemory([[9.0, 0.5], [-9.0, -0.5]], 2.0, layers=layers)
    assert not ctebm.certify_unique(memory)
    assert ctebm.certify_unique(memory.clamp({"key": [0.0]}))
