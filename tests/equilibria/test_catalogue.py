"""Which ends of a search are one equilibrium, and how often each was reached."""

import math

import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state
from zoo import zoo

from ctebm import AsymmetricNetwork, Network, SparseNetwork, find_fixed_points
from ctebm.equilibria import catalogue
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.newton import newton_from

NEAR = 1e-9  # of an equilibrium, within the tolerance of the tests


def ends(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_ends_near_a_point_are_one_and_their_hits_add_up():
    s = pitchfork_state(8.0)
    catalogue = Catalogue(pair(8.0, TANH), tol=1e-6)
    catalogue.count(ends([s, s], [s, s + NEAR], [-s, -s], [0.3, 0.1]))
    catalogue.count(ends([s - NEAR, s]))
    catalogue.add(ends([-s, -s], [0.0, NEAR], [0.3, 0.1]))
    points = catalogue.points()
    assert points.stability == ["stable", "stable", "saddle"]
    assert points.state[2].abs().max() < 1e-14  # polished
    right = points.state[:, 0] > 0.1
    assert points.hits[right].tolist() == [3]
    assert points.hits[~right].tolist() == [1, 0]
    assert points.failed == 1


def test_failures_alone_are_counted():
    catalogue = Catalogue(pair(8.0, TANH), tol=1e-6)
    assert len(catalogue.points()) == 0
    catalogue.count(ends([0.3, 0.1], [0.2, 0.2]))
    points = catalogue.points()
    assert (len(points), points.failed, points.index_sum) == (0, 2, 0)
    assert points.state.shape == (0, 2)


def test_minima_are_the_stable_points():
    s = pitchfork_state(8.0)
    catalogue = Catalogue(pair(8.0, TANH), tol=1e-6)
    catalogue.add(ends([s, s], [0.0, 0.0]))
    assert torch.allclose(catalogue.minima(), ends([s, s]), atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_a_degenerate_point_is_one(n):
    points = find_fixed_points(all_to_all(n, 4.0, TANH), n_starts=50)
    assert points.stability == ["degenerate"]
    assert points.isolated.tolist() == [True]
    assert points.state.abs().max() < 1e-4
    assert points.index_sum is None


@pytest.mark.parametrize("w", [1.0, -1.0])
def test_a_continuum_is_one_entry(w):
    points = find_fixed_points(pair(w, HARD), n_starts=50)
    assert len(points) == 1
    assert points.isolated.tolist() == [False]
    assert points.stability == ["degenerate"]


def test_without_an_energy_states_alone_tell_points_apart():
    network = AsymmetricNetwork([[0.0, 8.0], [8.0, 0.0]], [-4.0, -4.0], TANH)
    s = pitchfork_state(8.0)
    catalogue = Catalogue(network, tol=1e-6)
    catalogue.count(ends([s, s], [-s, -s], [s, s + NEAR], [0.0, 0.0]))
    points = catalogue.points()
    assert sorted(points.hits.tolist()) == [1, 1, 2]
    assert points.energy.isnan().all()


def test_a_continuum_without_an_energy_is_one_entry():
    """The pair with one coupling of 2 and one of 1/2 has the equilibria s1 = 2 s2."""
    network = AsymmetricNetwork([[0.0, 2.0], [0.5, 0.0]], [-1.0, -0.25], HARD)
    points = find_fixed_points(network)
    assert len(points) == 1
    assert points.isolated.tolist() == [False]
    assert points.state[0, 0] == pytest.approx(2 * float(points.state[0, 1]), abs=1e-9)


def test_a_degenerate_point_without_an_energy_is_isolated():
    network = AsymmetricNetwork([[0.0, 8.0], [2.0, 0.0]], [-4.0, -1.0], TANH)
    points = find_fixed_points(network, n_starts=50)
    assert points.stability == ["degenerate"]
    assert points.isolated.tolist() == [True]


def test_a_continuum_beside_a_pinned_unit_of_little_margin():
    """The third unit, pinned with margin 1e-3, is released further along the segment."""
    W = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.2, 0.0, 0.0]]
    network = AsymmetricNetwork(W, [-0.5, -0.5, 0.4], HARD)
    s = ends([0.005, 0.005, 0.5])
    catalogue = Catalogue(network, tol=1e-10)
    catalogue.add(s)
    assert catalogue.points().isolated.tolist() == [False]


def test_a_continuum_between_two_pinned_units_of_little_margin():
    """One is released further along the segment, the other further back."""
    W = torch.zeros(4, 4)
    W[0, 1] = W[1, 0] = 1
    W[2, 0], W[3, 0] = 0.2, -0.2
    network = AsymmetricNetwork(W, [-0.5, -0.5, 0.4, 0.602], HARD)
    catalogue = Catalogue(network, tol=1e-10)
    catalogue.add(ends([0.005, 0.005, 0.5, 0.5]))
    assert catalogue.points().isolated.tolist() == [False]


def test_a_wave_that_turns_freely_is_a_continuum():
    """On a ring of 100, waves of 18 periods are equilibria wherever they stand, to rounding.

    A search that meets one has no index sum, whose sign a curvature of 1e-15 would decide.
    """
    network = SparseNetwork.ring(100, 6.0, TANH).centred()
    place, turn = torch.arange(100).double(), torch.linspace(0, 1, 5).double().unsqueeze(-1)
    waves = newton_from(network, 0.5 * torch.cos(2 * math.pi * 18 / 100 * (place + turn)), 1e-10)
    assert torch.pdist(waves).min() > 0.1
    flattest = torch.linalg.eigvalsh(network.hessian(waves)).abs().amin(-1)
    assert flattest.max() < 1e-13
    catalogue = Catalogue(network, tol=1e-10)
    catalogue.add(waves)
    points = catalogue.points()
    assert (len(points), points.isolated.tolist(), points.index_sum) == (1, [False], None)


def test_ends_are_polished_up_to_the_size_that_newtons_method_takes(monkeypatch):
    """Where it neither goes elsewhere nor raises the residual."""
    net, s = pair(8.0, TANH), pitchfork_state(8.0)
    near = ends([s + 1e-6, s], [0.0, 1e-6], [0.3, 0.1])
    for most, polished in ((1, False), (2, True), (3, True)):
        monkeypatch.setattr(catalogue, "NEWTON_UNITS", most)
        found = catalogue._polished(net, near, 1e-9)
        if polished:
            torch.testing.assert_close(found[:2], ends([s, s], [0.0, 0.0]), rtol=0, atol=1e-12)
            assert torch.equal(found[2], near[2])  # an end elsewhere
        else:
            assert torch.equal(found, near)


class Shell(Network):
    """Units whose states rest on a sphere, or at its centre."""

    def __init__(self, n_units, radius):
        super().__init__(n_units)
        self.radius = radius

    def energy(self, s):
        return ((s / self.radius).square().sum(-1) - 1).square() / 4


@pytest.mark.parametrize("n, radius", [(2, 1.0), (3, 1.0), (2, 20.0)])
def test_a_continuum_of_several_directions_is_one_entry(n, radius):
    """However far apart its states lie."""
    far = 1.5 * radius
    points = find_fixed_points(Shell(n, radius), n_starts=4, bounds=(-far, far))
    assert int(points.continuum.sum()) == 1
    assert points.continuum.tolist() == [float(s.norm()) > radius / 2 for s in points.state]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("identical-pairs", 27), ("inhibition-3-5-logistic", 13), ("potts-tanh", 7),
        ("clones-5", 3), ("inhibition-5-5", 141),
    ],
)  # fmt: skip
def test_single_precision_tells_as_many_points_apart(name, count):
    found = find_fixed_points(zoo()[name].network.to(dtype=torch.float32))
    assert len(found) == count
    assert found.index_sum == 1
