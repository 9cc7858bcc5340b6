"""Unstable directions against closed forms, with and without the matrix."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state, random_dense, symmetric_spectrum

from ctebm import AsymmetricNetwork, SparseNetwork
from ctebm.equilibria import inertia
from ctebm.equilibria.inertia import classify, hessian_on, restricted


def zeros(n):
    return torch.zeros(n, dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("w", [2.0, 5.0, 30.0])
def test_the_all_to_all_network(n, w):
    """At 0 one direction has curvature 1 - w/4, the others 1 + w / (4 (N - 1))."""
    network = all_to_all(n, w, TANH)
    common, other = symmetric_spectrum(0.0, w, n)
    index = int(common < 0) + (n - 1) * int(other < 0)
    assert classify(network, zeros(n)) == (index, "saddle" if index else "stable")
    if w > 4:
        s = torch.full((n,), pitchfork_state(w), dtype=torch.float64)
        assert classify(network, s) == (0, "stable")


def test_a_zero_eigenvalue_is_degenerate():
    assert classify(pair(4.0, TANH), zeros(2)) == (0, "degenerate")


def test_pinned_units_do_not_count():
    network = pair(2.0, HARD)
    assert classify(network, zeros(2)) == (1, "saddle")
    assert classify(network, torch.tensor([0.5, 0.5], dtype=torch.float64)) == (0, "stable")


def test_a_unit_without_margin_is_degenerate_where_it_matters():
    """Both units at the kink with current 0.5: released they have the curvature 1 - w."""
    s = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for w, kind in ((3.0, "degenerate"), (0.5, "stable")):
        assert classify(pair(w, HARD, bias=0.5 - w), s) == (0, kind)


@pytest.mark.parametrize(("w", "index"), [(1.0, 0), (10.0, 2)])
def test_without_an_energy_growth_rates_count(w, index):
    """A ring of three, each driving the next: rates w/4 times a cube root of 1, less 1."""
    W = torch.zeros(3, 3).index_put(
        (torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2])), torch.tensor(-w)
    )
    network = AsymmetricNetwork(W, zeros(3), TANH).centred()
    growth = [w / 4 * math.cos(math.pi * k / 3) - 1 for k in (1, 3, 5)]
    assert sum(rate > 0 for rate in growth) == index
    assert classify(network, zeros(3)) == (index, "saddle" if index else "stable")


@pytest.mark.parametrize("w", [0.4, 0.6])
def test_without_the_matrix(w, monkeypatch):
    """A ring of hard sigmoids has the eigenvalues 1 - 2 w cos(2 pi k / N)."""
    n = 50
    network = SparseNetwork.ring(n, w, HARD).centred()
    values = 1 - 2 * w * np.cos(2 * np.pi * np.arange(n) / n)
    expected = int((values < 0).sum())
    assert classify(network, zeros(n))[0] == expected
    monkeypatch.setattr(inertia, "DENSE_UNITS", 10)
    index, kind = classify(network, zeros(n))
    assert kind == ("saddle" if expected else "stable")
    # pairs of equal eigenvalues are found once
    distinct = len({round(v, 9) for v in values if v < 0})
    assert distinct <= index <= expected


@pytest.mark.parametrize("small", [False, True], ids=["dense", "by products"])
def test_the_hessian_on_some_units(small, monkeypatch):
    if small:
        monkeypatch.setattr(inertia, "DENSE_UNITS", 1)
    network, where = random_dense(7, 0, TANH), torch.tensor([0, 3, 4, 6])
    s = torch.linspace(-1, 1, 7, dtype=torch.float64)
    expected = network.hessian(s)[where][:, where]
    assert torch.allclose(hessian_on(network, s, where), expected, atol=1e-14)
    v = torch.arange(4, dtype=torch.float64)
    assert torch.allclose(restricted(network, s, where)(v), expected @ v, atol=1e-14)
    everything = torch.arange(7)
    product = restricted(network, s, everything)
    assert torch.allclose(product(s), network.hessian(s) @ s, atol=1e-14)
