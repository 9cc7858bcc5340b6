"""The bottom of the energy, also where it is flat to rounding."""

import numpy as np
import pytest
import torch
from analytic import TANH, pair, pitchfork_state

from ctebm import SparseNetwork
from ctebm.equilibria.descent import descend_to_bottom
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import descend

TOL = 1e-10


def test_an_isolated_minimum_is_that_of_the_descent():
    rows, s = Rows.repeated(pair(8.0, TANH), 2), torch.tensor([[0.3, 0.2], [-0.1, 0.0]]).double()
    state, steps = descend_to_bottom(rows, s, TOL, 100)
    plain, plain_steps = descend(rows, s, TOL, 100)
    assert torch.equal(state, plain)
    assert torch.equal(steps, plain_steps)
    up = pitchfork_state(8.0)
    assert torch.allclose(state, torch.tensor([[up, up], [-up, -up]]).double(), atol=1e-9)


def test_walls_that_hardly_hold_come_to_rest():
    """Between walls of a weakly coupled ring the energy changes by some 1e-13."""
    ring = SparseNetwork.ring(100, 2.4, TANH).centred()
    starts = torch.as_tensor(np.random.default_rng(0).uniform(-0.7, 0.7, (6, 100)))
    rows = Rows.repeated(ring, len(starts))
    plain, _ = descend(rows, starts, TOL, 300)
    state, _ = descend_to_bottom(rows, starts, TOL, 300)
    assert (residual(ring, plain) > TOL).any()
    assert (residual(ring, state) <= TOL).all()
    assert (ring.energy(state) < ring.energy(starts)).all()


@pytest.mark.parametrize("max_iterations", [1, 3])
def test_steps_are_bounded(max_iterations):
    rows, s = Rows.repeated(pair(8.0, TANH), 1), torch.tensor([[0.3, -0.2]]).double()
    assert descend_to_bottom(rows, s, TOL, max_iterations)[1].tolist() == [max_iterations]
