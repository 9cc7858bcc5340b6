"""Equilibria of a chosen index, against landscapes of which all are known."""

import math

import torch

from ctebm import Network
from ctebm.equilibria import mode_following
from ctebm.equilibria.mode_following import beside, of_index


class Wells(Network):
    """A double well in each unit, of depths that differ: 3^n equilibria at -1, 0 and 1."""

    def __init__(self, *depth):
        super().__init__(len(depth))
        self.depth = torch.tensor(depth, dtype=torch.float64)

    def energy(self, s):
        return (self.depth * (s.square() - 1).square()).sum(-1)


def test_a_start_leads_to_an_equilibrium_of_the_index_that_is_asked_for():
    """Curvatures at the start are -0.2, -0.876 and -0.148: uphill first is the second unit."""
    start = torch.tensor([[0.5, 0.3, 0.55]], dtype=torch.float64)
    index = torch.tensor([0, 1, 2, 3])
    ends = of_index(Wells(0.2, 0.3, 0.4), start.expand(4, 3), 1e-12, 1.0, index)
    expected = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(torch.sort(ends.sum(-1), descending=True)[0], expected.sum(-1))
    assert torch.cdist(expected, ends).amin(1).max() < 1e-12
    default = of_index(Wells(0.2, 0.3, 0.4), start, 1e-12, 1.0)  # all three are curved downwards
    torch.testing.assert_close(default, expected[3:], atol=1e-12, rtol=0)


def test_a_start_that_comes_near_no_equilibrium_is_left_out():
    class Slope(Network):
        def energy(self, s):
            return s.sum(-1)

    assert of_index(Slope(2), torch.zeros(3, 2, dtype=torch.float64), 1e-10, 1.0).shape == (0, 2)
    assert of_index(Slope(2), torch.zeros(0, 2, dtype=torch.float64), 1e-10, 1.0).shape == (0, 2)


def test_rows_have_the_ends_that_they_have_alone(monkeypatch):
    net = Wells(0.2, 0.3, 0.4)
    starts = torch.randn(9, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    together = of_index(net, starts, 1e-12, 1.0)
    assert 4 < len(together) < 9  # some wander
    one_by_one = torch.cat([of_index(net, s.unsqueeze(0), 1e-12, 1.0) for s in starts])
    monkeypatch.setattr(mode_following, "PORTION", 18)  # two rows at a time
    in_portions = of_index(net, starts, 1e-12, 1.0)
    for ends in (one_by_one, in_portions):
        assert torch.cdist(together, ends, p=math.inf).amin(1).max() < 1e-12


def test_beside_an_equilibrium_are_both_sides_of_its_lowest_modes():
    """Each unstable mode with an index less, the two lowest stable ones with one more."""
    s = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    starts, index = beside(Wells(0.5, 0.2, 0.3, 0.4), s, 0.7)
    # of the saddle unit 0 (down), then 1 and 2 (up); of the minimum 1 and 2, which bend least
    moved = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]
    shift = torch.zeros(5, 4, dtype=torch.float64)
    for row, (_, unit) in enumerate(moved):
        shift[row, unit] = 0.7
    point = s[[p for p, _ in moved]]
    both = torch.stack([starts[:5] - point, starts[5:] - point])
    assert torch.equal(both.abs(), shift.expand(2, 5, 4)) and torch.equal(both[0], -both[1])
    assert index.tolist() == [0, 2, 2, 1, 1] * 2


def test_from_the_minima_alone_all_equilibria_are_reached_one_index_after_the_other():
    net, s = Wells(0.2, 0.3, 0.4), torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    for _ in range(8):
        starts, index = beside(net, s, 1.0)
        s = torch.cat([s, of_index(net, starts, 1e-12, 1.0, index)]).round().unique(dim=0)
    assert len(s) == 27
