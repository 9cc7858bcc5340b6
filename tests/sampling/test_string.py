"""Strings: equal distances, known paths, kinks."""

import torch
from analytic import HARD, TANH, pair

from ctebm import Network
from ctebm.sampling.string import AT_REST, _steepest, length_along, slid, spread


def test_states_are_spread_evenly():
    along = torch.linspace(0, 1, 9, dtype=torch.float64) ** 2
    string = torch.stack([along, 2 * along], -1)
    even = spread(string)
    assert torch.allclose(length_along(even).diff(), length_along(even)[1].expand(8), rtol=1e-12)
    assert torch.equal(even[0], string[0]) and torch.allclose(even[-1], string[-1])


class Bend(Network):
    """Two minima at (+-1, 0) and a valley between them along y = 1 - x^2, E = (x^2-1)^2 + 5 d^2."""

    def energy(self, s):
        x, y = s.unbind(-1)
        return (x.square() - 1).square() + 5 * (y - 1 + x.square()).square()


def force_across(n_images):
    """The largest force across a string that has come to rest in the bent valley."""
    ends = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    string, moved, _ = slid(Bend(2), ends[0], ends[1], n_images, 9000, 0)
    assert moved <= AT_REST
    force = Bend(2).force(string)[1:-1]
    along = string[2:] - string[:-2]
    along = along / along.norm(dim=-1, keepdim=True)
    across = force - (force * along).sum(-1, keepdim=True) * along
    return float(across.norm(dim=-1).max())


def test_a_string_follows_a_bent_valley():
    """What is left across it is what chords cut off, and falls with their length."""
    coarse, fine = force_across(31), force_across(61)
    assert fine < 0.03 and coarse / fine > 2


def test_a_string_stays_between_kinks():
    ends = torch.tensor([[-0.5, -0.5], [0.5, 0.5]], dtype=torch.float64)
    string, moved, _ = slid(pair(2.0, HARD), ends[0], ends[1], 21, 2000, 0)
    assert moved <= AT_REST and float(string.abs().max()) <= 0.5


def test_the_steepest_curvature_is_looked_for_at_eight_states_and_more():
    """Of which the ends are steep here, and one state between them."""
    asked = []

    class Counted(Bend):
        def hessian_product(self, s, v):
            asked.append(s)
            return super().hessian_product(s, v)

    for n, looked in [(5, 5), (9, 9), (16, 8), (41, 9)]:
        string = torch.linspace(-1, 1, 2 * n, dtype=torch.float64).reshape(2, n).mT
        exact = max(float(torch.linalg.eigvalsh(H)[-1]) for H in Bend(2).hessian(string))
        found = _steepest(Counted(2), string)
        assert len(asked[-1]) == looked and len(asked) == 12
        assert found <= 1.1 * exact * (1 + 1e-9) and found > 0.9 * exact
        asked.clear()


def test_a_string_on_a_ridge_leaves_it():
    """From (a, -a) to (-a, a) of two exclusive units the straight line crosses the maximum."""
    net = pair(-8.0, TANH)
    ends = torch.tensor([[0.7, -0.7], [-0.7, 0.7]], dtype=torch.float64)
    string, _, _ = slid(net, ends[0], ends[1], 21, 5000, 0)
    energy = net.energy(string)
    assert float(energy.max()) <= float(net.energy(torch.zeros(2, dtype=torch.float64))) + 1e-9
