"""The bottom of the energy, also where it is flat to rounding."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, pitchfork_state, quadratic, random_dense

from ctebm import Network, SparseNetwork
from ctebm.equilibria import descent
from ctebm.equilibria.descent import above_start, descend_to_bottom
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import Descended, descend, energy_rounding

TOL = 1e-10


def test_an_isolated_minimum_is_that_of_the_descent():
    rows, s = Rows.repeated(pair(8.0, TANH), 2), torch.tensor([[0.3, 0.2], [-0.1, 0.0]]).double()
    state, steps, *_ = descend_to_bottom(rows, s, TOL, 100)
    plain, plain_steps, *_ = descend(rows, s, TOL, 100)
    assert torch.equal(state, plain)
    assert torch.equal(steps, plain_steps)
    up = pitchfork_state(8.0)
    assert torch.allclose(state, torch.tensor([[up, up], [-up, -up]]).double(), atol=1e-9)


def test_walls_that_hardly_hold_come_to_rest():
    """Between walls of a weakly coupled ring the energy changes by some 1e-13."""
    ring = SparseNetwork.ring(100, 2.4, TANH).centred()
    starts = torch.as_tensor(np.random.default_rng(0).uniform(-0.7, 0.7, (6, 100)))
    rows = Rows.repeated(ring, len(starts))
    plain, *_ = descend(rows, starts, TOL, 300)
    state, *_ = descend_to_bottom(rows, starts, TOL, 300)
    assert (residual(ring, plain) > TOL).any()
    assert (residual(ring, state) <= TOL).all()
    assert (ring.energy(state) < ring.energy(starts)).all()


@pytest.mark.parametrize("max_iterations", [1, 3])
def test_steps_are_bounded(max_iterations):
    rows, s = Rows.repeated(pair(8.0, TANH), 1), torch.tensor([[0.3, -0.2]]).double()
    assert descend_to_bottom(rows, s, TOL, max_iterations)[1].tolist() == [max_iterations]


class Wells(Network):
    """Minima wherever every unit is 1 or -1."""

    def energy(self, s):
        return (s.square() - 1).square().sum(-1)


@pytest.mark.parametrize(
    ("end", "taken"), [([1.0, 1.0], True), ([1.0, -1.0], False), ([-1.0, -1.0], False)]
)
def test_newtons_solution_is_taken_beside_the_descent_and_nowhere_else(monkeypatch, end, taken):
    """Not a minimum of the same energy in which one unit or both are elsewhere."""
    asked = []

    def interrupted(rows, s, *options, **known):
        asked.append(options)
        if len(asked) > 1:
            return descend(rows, s, *options, **known)
        return Descended(s, torch.ones(1, dtype=torch.long), *rows.network.energy_and_force(s))

    monkeypatch.setattr(descent, "descend", interrupted)
    found = torch.tensor([end], dtype=torch.float64), torch.tensor([3])
    monkeypatch.setattr(descent, "newton", lambda *_: found)
    start = torch.tensor([[0.98, 0.97]], dtype=torch.float64)
    state, steps, *_ = descend_to_bottom(Rows.repeated(Wells(2), 1), start, TOL, 100)
    torch.testing.assert_close(state, torch.ones_like(state), rtol=0, atol=1e-10)
    assert (len(asked) == 1) == taken and (int(steps) == 4 or not taken)
    assert taken or asked[1] == (TOL, 99)


@pytest.mark.parametrize(("reach", "taken"), [(0.0999, False), (0.1001, True)])
def test_a_solution_is_beside_a_small_state_within_a_share_of_one(reach, taken, monkeypatch):
    """Of the state or of 1, whichever is more: 0.1 of 1 here; of 30 for the second row."""
    well = quadratic([1.0, 2.0])
    rest = torch.linalg.solve(well.A, well.b)
    rows = Rows.repeated(well, 2)
    monkeypatch.setattr(descent, "REACH", reach)
    start = torch.stack([rest, rest]) + torch.tensor([0.1, 0.0], dtype=torch.float64)
    assert float(start.abs().max()) < 1
    calls = []

    def stopped(rows, s, tol, most, patience=None, known=None):
        calls.append(patience)
        there = rows.network.energy_and_force(s)
        return Descended(s.clone(), torch.full((len(s),), 3), *there)

    monkeypatch.setattr(descent, "descend", stopped)
    state, steps, *_ = descend_to_bottom(rows, start, 1e-9, 50)
    near = torch.allclose(state, torch.stack([rest, rest]), atol=1e-9)
    assert near == taken and (len(calls) == 1) == taken
    assert (steps > 3).all()


@pytest.mark.parametrize(("reach", "taken"), [(0.0999, False), (0.1001, True)])
def test_a_solution_is_beside_a_large_state_within_a_share_of_its_largest_unit(
    reach, taken, monkeypatch
):
    """Of 30, the size of the other unit, whatever its sign: the solution is 3 away."""
    rest = torch.tensor([-30.0, 5.0], dtype=torch.float64)

    class Well(Network):
        def energy(self, s):
            return (s - rest).square().sum(-1)

    calls = []

    def stopped(rows, s, tol, most, patience=None, known=None):
        calls.append(patience)
        return Descended(s.clone(), torch.ones(1, dtype=int), *rows.network.energy_and_force(s))

    monkeypatch.setattr(descent, "REACH", reach)
    monkeypatch.setattr(descent, "descend", stopped)
    start = (rest + torch.tensor([0.0, 3.0], dtype=torch.float64)).unsqueeze(0)
    state, *_ = descend_to_bottom(Rows.repeated(Well(2), 1), start, 1e-9, 50)
    assert torch.allclose(state[0], rest) == taken == (len(calls) == 1)


def test_what_ends_above_its_start_is_told_to_rounding():
    well = quadratic([1.0, 2.0])
    start = torch.tensor([[0.3, 0.1]] * 4, dtype=torch.float64)
    E = well.energy(start)
    slack = energy_rounding(well, start, E)
    ends = E + torch.tensor([-1.0, 0.9, 1.1, torch.nan]).double() * slack
    rows = Rows.repeated(well, 4)
    assert above_start(rows, ends, start, torch.arange(4)).tolist() == [2, 3]
    assert above_start(rows, ends, start, torch.tensor([3, 1])).tolist() == [3]
    assert above_start(rows, ends, start, torch.tensor([0])).tolist() == []


def test_the_energy_and_force_at_the_end_are_told():
    network = random_dense(8, 0, HARD, gain=4.0)
    start = torch.as_tensor(np.random.default_rng(3).uniform(-0.5, 0.5, (9, 8)))
    known = network.energy_and_force(start)
    for given in (None, known):
        found = descend_to_bottom(Rows.repeated(network, 9), start, TOL, 3, given)
        torch.testing.assert_close(found.energy, network.energy(found.state))
        torch.testing.assert_close(found.force, network.force(found.state))
        assert len(set(found.steps.tolist())) > 1
