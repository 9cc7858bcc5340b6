"""Where a search sets out from: along the motion, and between basins."""

import pytest
import torch
from analytic import TANH, pair

from ctebm import VectorField, find_fixed_points, settle
from ctebm.equilibria import candidates
from ctebm.equilibria.angles import Angles
from ctebm.equilibria.candidates import along, edges


def test_steps_along_the_motion_are_as_long_as_its_slope_allows():
    """Each row by its own, for stiff motions too, and as many as its turn."""

    class Stiff(VectorField):
        rate = torch.tensor([1.0, 50.0], dtype=torch.float64)

        def force(self, s):
            return -self.rate * s

    starts = torch.ones(6, 2, dtype=torch.float64)
    moved = along(Stiff(2), starts)
    slow, fast = moved[:3].T.tolist()
    assert torch.equal(moved[3:], moved[:3]) and moved[0].tolist() == [1.0, 1.0]
    # one step of 1/50 ends the fast unit; then steps of 1/2 of the slow one
    assert slow[1] == pytest.approx(0.98 / 8, rel=1e-5)
    assert fast[1] == pytest.approx(0, abs=1e-5)
    assert slow[2] < 0.05 and abs(fast[2]) < 0.05


def test_an_edge_lies_between_the_basins_of_two_minima():
    """On either side of it, along the way from one minimum to the other, states settle apart."""
    network = pair(8.0, TANH, -4.1)
    found = find_fixed_points(network, 20)
    minima = found.state[[kind == "stable" for kind in found.stability]]
    halfway, edge = edges(network, minima, Angles.of(network, None))
    torch.testing.assert_close(halfway, minima.mean(0))
    way = minima[1] - minima[0]
    assert (edge - halfway).abs().max() > 0.01  # the basins are not of one size
    for step, end in ((-1e-3, minima[0]), (1e-3, minima[1])):
        torch.testing.assert_close(settle(network, edge + step * way).state, end)


def test_where_only_some_pairs_are_bisected_they_are_the_nearest(monkeypatch):
    """By the unit that differs most, whatever the others do."""
    monkeypatch.setattr(candidates, "EDGE_PAIRS", 1)
    ends = torch.tensor([[0.0, 0.0], [0.0, 3.0], [1.0, 1.0], [3.0, 0.0]], dtype=torch.float64)
    halfway, _ = edges(pair(8.0, TANH), ends, Angles.of(pair(8.0, TANH), None))
    assert halfway.tolist() == [0.5, 0.5]
