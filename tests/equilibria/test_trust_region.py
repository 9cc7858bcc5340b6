"""Descent in a trust region: where it ends."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, quadratic, random_dense

from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import descend


def test_a_quadratic_well_takes_one_newton_step():
    network = quadratic([0.5, 1.0, 2.0, 4.0])
    start = torch.zeros(1, 4, dtype=torch.float64)
    s, steps = descend(Rows.repeated(network, 1), start, 1e-12, 50)
    assert torch.allclose(s[0], torch.linalg.solve(network.A, network.b), atol=1e-11)
    assert steps.item() <= 6


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
@pytest.mark.parametrize("gain", [2.0, 6.0])
def test_every_row_ends_below_its_start_and_stable(activation, gain):
    network = random_dense(30, 0, activation, gain=gain)
    start = torch.as_tensor(np.random.default_rng(1).standard_normal((20, 30)))
    if network.box is not None:
        start = network.box.project(start)
    s, steps = descend(Rows.repeated(network, 20), start, 1e-10, 500)
    assert residual(network, s).max() <= 1e-10
    assert (network.energy(s) <= network.energy(start)).all()
    assert steps.max() < 500
    for u in s:
        free = ~pinned_units(network, u)
        assert (torch.linalg.eigvalsh(network.hessian(u)[free][:, free]) > 0).all()


def test_rows_are_independent():
    network = random_dense(10, 0, HARD, gain=4.0)
    start = torch.as_tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (6, 10)))
    together, _ = descend(Rows.repeated(network, 6), start, 1e-12, 500)
    for row, first in zip(together, start, strict=True):
        alone, _ = descend(Rows.repeated(network, 1), first.unsqueeze(0), 1e-12, 500)
        assert torch.allclose(alone[0], row, atol=1e-11)


def test_the_bound_on_the_steps_holds():
    start = torch.tensor([[0.01, 0.02]], dtype=torch.float64)
    s, steps = descend(Rows.repeated(pair(8.0, TANH), 1), start, 1e-12, 2)
    assert steps.item() == 2
    assert residual(pair(8.0, TANH), s).item() > 1e-12
