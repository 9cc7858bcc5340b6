"""Searches among angles, of which states a period apart are one."""

import math

import pytest
import torch

import ctebm
from ctebm.equilibria.angles import SAME_FORCE, Angles
from ctebm.equilibria.candidates import edges
from ctebm.equilibria.kkt import residual

TURN = 2 * math.pi
F64 = torch.float64


class Phases(ctebm.Network):
    """Phases that pull each other together by k and, each, towards 0."""

    def __init__(self, n, k, pull=1.0):
        super().__init__(n)
        self.k, self.pull = k, pull

    def energy(self, s):
        apart = s.unsqueeze(-1) - s.unsqueeze(-2)
        return -self.pull * s.cos().sum(-1) - self.k / 2 * apart.cos().sum((-1, -2))


class Adler(ctebm.VectorField):
    """A phase that is driven round, beside a unit that decays to its sine."""

    def __init__(self, drive):
        super().__init__(2)
        self.drive = drive

    def force(self, s):
        phase, u = s.unbind(-1)
        return torch.stack([self.drive - phase.sin(), phase.sin() - u], -1)


def test_angles_are_shifted_and_bounded_by_their_periods_and_other_units_left():
    angles = Angles(torch.tensor([4.0, math.inf, 2.0], dtype=F64))
    s = torch.tensor([[5.0, 7.0, -1.5], [-2.5, -9.0, 0.75]], dtype=F64)
    assert angles.principal(s).tolist() == [[1.0, 7.0, 0.5], [1.5, -9.0, 0.75]]
    first, second = [4.0, 0.0, 0.0], [0.0, 0.0, 2.0]
    assert (angles.shifted(s) - s.repeat_interleave(2, 0)).tolist() == [first, second] * 2
    low, high = angles.bounds(-3.0, torch.tensor([1.0, 8.0, 1.0]))
    assert low.tolist() == [-2.0, -3.0, -1.0] and high.tolist() == [2.0, 8.0, 1.0]


def test_two_phases_have_six_equilibria():
    """0, three with a phase or both turned, and two where cos s = -1/(2 k)."""
    k = 0.8
    points = ctebm.find_fixed_points(Phases(2, k), 40, period=TURN)
    half, split = math.pi, math.acos(-1 / (2 * k))
    known = [(0, 0), (half, 0), (0, half), (half, half), (split, -split), (-split, split)]
    apart = points.state.unsqueeze(1) - torch.tensor(known, dtype=F64)
    nearest = (apart / TURN - (apart / TURN).round()).abs().amax(-1).amin(0) * TURN
    assert len(points) == 6 and float(nearest.max()) < 1e-9
    assert points.index_sum == 0
    # the energy of both turned is 2 - k, above that of the two that are split
    assert points.index.tolist() == [0, 1, 1, 1, 2, 2]
    assert bool((points.state.abs() <= half + 1e-12).all())
    assert points.settings["period"] == TURN and points.settings["bounds"] == "known"
    assert int(points.hits.sum()) + points.failed == 40


@pytest.mark.parametrize("centre", [0.0, math.pi, -math.pi, 17.0])
def test_a_pendulum_rests_below_and_above_wherever_its_seam_is(centre):
    """The minimum at the seam is found from both sides, as one."""

    class Pendulum(ctebm.Network):
        def energy(self, s):
            return -(s - centre).cos().sum(-1)

    points = ctebm.find_fixed_points(Pendulum(1), 30, period=TURN)
    assert points.index.tolist() == [0, 1] and points.index_sum == 0
    turns = (points.state[:, 0] - torch.tensor([centre, centre + math.pi], dtype=F64)) / TURN
    assert torch.allclose(turns, turns.round(), atol=1e-10)
    assert points.hits.tolist() == [30, 0]


def test_angles_beside_other_units():
    """Each by its period; how far to look for the others is still a guess."""
    period = [TURN, math.inf]
    points = ctebm.find_fixed_points(Adler(0.5), 30, period=period)
    assert points.index_sum is None and points.settings["period"] == "6.2831853071795862 inf"
    points = ctebm.find_fixed_points(Adler(0.5), 30, period=period, bounds=(-4.0, 4.0))
    expected = torch.tensor([[math.pi / 6, 0.5], [5 * math.pi / 6, 0.5]], dtype=F64)
    order = points.state[:, 0].argsort()
    torch.testing.assert_close(points.state[order], expected)
    assert points.index_sum == 0
    assert len(ctebm.find_fixed_points(Adler(1.5), 30, period=period)) == 0  # it goes round


def test_without_a_period_each_turn_is_another_point():
    points = ctebm.find_fixed_points(Phases(1, 0.0), 30, bounds=(-6.0, 6.0))
    assert len(points) > 2


def test_phases_that_turn_together_are_one_continuum():
    points = ctebm.find_fixed_points(Phases(3, 1.0, pull=0.0), 60, period=TURN)
    assert points.index_sum is None
    E, isolated = points.energy.tolist(), points.isolated.tolist()
    assert E[0] == pytest.approx(-4.5) and not isolated[0]  # all alike: one entry
    assert sum(abs(e + 4.5) < 1e-9 for e in E) == 1


def test_saddles_of_a_lattice_lie_between_a_minimum_and_itself_once_round():
    """With a single minimum on the torus there are no pairs of others."""
    angles = Angles.of(Phases(2, 0.1), TURN)
    halfway = edges(Phases(2, 0.1), torch.zeros(1, 2, dtype=F64), angles)[:2]
    torch.testing.assert_close(halfway, math.pi * torch.eye(2, dtype=F64))
    assert bool((residual(Phases(2, 0.1), halfway) < 1e-12).all())


@pytest.mark.parametrize(
    ("network", "period", "message"),
    [
        (Phases(2, 0.8), 6.28, r"period of 6.28 further in unit ., got a force .* 2 \* math.pi"),
        (Phases(2, 0.8), [TURN, 3.0], "further in unit 1, got a force"),
        (Phases(2, 0.8), -1.0, "a period > 0"),
        (Phases(2, 0.8), [TURN] * 3, "one for each of the 2"),
        (Phases(2, 0.8), math.nan, "a period > 0"),
        (Phases(2, 0.8), "round", "array of real numbers"),
        (ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.HardSigmoid()), 1.0, "unit 0; a unit"),
    ],
)
def test_periods_that_are_none_are_refused(network, period, message):
    with pytest.raises(ValueError, match=message):
        ctebm.find_fixed_points(network, 5, period=period)


def test_an_energy_that_falls_with_every_turn_is_refused():
    class Washboard(ctebm.Network):
        def energy(self, s):
            return -(0.3 * s + s.cos()).sum(-1)

    with pytest.raises(ValueError, match=r"got an energy that changes by .* as a VectorField"):
        ctebm.find_fixed_points(Washboard(1), 5, period=TURN)


def test_the_period_is_kept_in_the_file(tmp_path):
    points = ctebm.find_fixed_points(Phases(1, 0.0), 10, period=TURN)
    ctebm.save(points, tmp_path / "phases.nc")
    assert float(ctebm.open(tmp_path / "phases.nc").period) == TURN


def test_what_changes_is_judged_beside_the_size_of_the_force_and_by_the_worst_start():
    """By SAME_FORCE times one more than the size, from two starts, of the second of two angles."""
    angles = Angles(torch.tensor([TURN, math.inf, 3.0], dtype=F64))
    for size in (0.0, 3.0, 1e6):
        bound = SAME_FORCE * (1 + size)
        sizes = torch.full((2, 1), size, dtype=F64)
        angles._same("a force", torch.tensor([[0.0, 0.0], [0.0, 0.999 * bound]]).to(F64), sizes)
        with pytest.raises(ValueError, match=r"a period of 3 further in unit 2, got a force"):
            angles._same("a force", torch.tensor([[0.0, 0.0], [0.0, 1.001 * bound]]).to(F64), sizes)
