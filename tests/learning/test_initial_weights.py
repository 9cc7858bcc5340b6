"""Weights to begin from, against the Hessian of the network itself."""

import numpy as np
import pytest
import torch
from learning_cases import small_network

import ctebm
from ctebm.learning.initial_weights import smallest_curvature


@pytest.mark.parametrize("sizes", [(12, 10, 3), (12, 20, 20, 3), (12, 20, 20, 20, 3)], ids=str)
def test_weak_coupling_sets_the_smallest_eigenvalue_of_the_hessian(sizes):
    network = ctebm.weakly_coupled(small_network(sizes), 0.4).centred()
    clamped = network.clamp({"x": np.zeros((1, 12))})
    hessian = clamped.hessian(torch.zeros(1, sum(sizes[1:]), dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(hessian).min()) == pytest.approx(0.4, abs=1e-12)
    assert smallest_curvature(network) == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize("stability", [0.0, -0.1, 1.1, float("nan")])
def test_refuses_a_margin_that_no_weights_have(stability):
    with pytest.raises(ValueError, match="0 < stability <= 1"):
        ctebm.weakly_coupled(small_network(), stability)


def test_without_hidden_units_nothing_couples_and_the_leak_is_the_curvature():
    assert smallest_curvature(small_network((12, 3))) == 1
