"""Telling saddles from minima, and the way down from them."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state, quadratic, random_dense
from zoo import cyclic, identical_pairs, inhibition, lattice, winners, zoo

from ctebm import AsymmetricNetwork, settle
from ctebm.equilibria import saddles
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.saddles import downhill_from, is_unstable


def at(network, *states):
    s = torch.as_tensor(states, dtype=torch.float64)
    return Rows.repeated(network, len(s)), s


def test_each_row_is_judged_for_itself():
    up = pitchfork_state(8.0)
    rows, s = at(pair(8.0, TANH), [0.0, 0.0], [up, up], [-up, -up])
    assert is_unstable(rows, s).tolist() == [True, False, False]
    rows, s = at(cyclic(6.0), [0.0] * 3, [pitchfork_state(6.0)] * 3)
    assert is_unstable(rows, s).tolist() == [True, False]


def test_pinned_units_cannot_move():
    net = inhibition(3, -5.0)
    saddle = [0.5, -5 / 12, -5 / 12]  # s = -5 (0.5 + s)
    rows, s = at(net, saddle, *winners(3).tolist())
    assert is_unstable(rows, s).tolist() == [True] + [False] * 6


def test_a_flat_direction_is_not_unstable():
    rows, s = at(pair(4.0, TANH), [0.0, 0.0])
    assert not is_unstable(rows, s).any()
    places, _ = downhill_from(rows, s)
    assert len(places) == 0


@pytest.mark.parametrize("n", [4, 200])
def test_the_way_down_is_the_lowest_mode(n):
    network = identical_pairs(n, 8.0)
    rows, s = at(network, [0.0] * network.n_units)
    places, beside = downhill_from(rows, s)
    assert places.tolist() == [0]
    # H = 1 - W / 4: the lowest eigenvalue is -1, for equal units
    rise = network.hessian_product(s[0], beside[0]) + beside[0]
    assert rise.abs().max() < 1e-3 * beside.abs().max()
    assert network.energy(beside[0]) < network.energy(s[0])
    assert beside.abs().max() <= 0.1 + 1e-15


@pytest.mark.parametrize("name", ["inhibition-3-5", "inhibition-5-2", "inhibited-layer"])
def test_the_way_down_is_that_of_any_library_of_linear_algebra(name, monkeypatch):
    member = zoo()[name]
    expected = settle(member.network, member.starts(12)).state
    eigh, draw = torch.linalg.eigh, np.random.default_rng(0)

    def turned(H):  # another choice of eigenvectors where some have one eigenvalue, and of signs
        lam, V = eigh(H)
        for one in lam.unique():
            same = (lam - one).abs() < 1e-9
            n = int(same.sum())
            V[:, same] = V[:, same] @ torch.linalg.qr(torch.as_tensor(draw.normal(size=(n, n))))[0]
        return lam, V

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    torch.testing.assert_close(settle(member.network, member.starts(12)).state, expected)


@pytest.mark.parametrize("network", [all_to_all(4, 2.0, HARD), lattice(5, 1.5)], ids=repr)
def test_down_from_the_middle_of_a_box_or_none(network):
    rows, s = at(network, [0.0] * network.n_units, [1e-3] * network.n_units)
    places, beside = downhill_from(rows, s)
    assert places.tolist() == [0, 1]
    assert (network.energy(beside) < network.energy(s)).all()


def test_no_rows():
    for network in (pair(8.0, TANH), cyclic()):
        rows, s = Rows.repeated(network, 0), torch.zeros(0, network.n_units, dtype=torch.float64)
        assert is_unstable(rows, s).shape == (0,)
    assert len(downhill_from(Rows.repeated(pair(8.0, TANH), 0), torch.zeros(0, 2))[0]) == 0


@pytest.mark.parametrize("w", [0.6, 2.0])
def test_many_rows_are_judged_as_few(w):
    """Up to w = 1 the couplings alone say that none is a saddle, in one product for all rows."""
    network = all_to_all(4, w, HARD)
    end = settle(network, torch.full((4,), 0.3)).state.tolist()
    rows, s = at(network, *([[0.0] * 4, end] * 10))
    assert is_unstable(rows, s).tolist() == [w > 1, False] * 10


def slow_lower(network, s, direction, curvature):
    """The first of both ways, half as far each time, that falls by a tenth of what is predicted."""
    t = 0.1
    while t >= 1e-6:
        trials = [s + t * direction, s - t * direction]
        if network.box is not None:
            trials = [trial.clamp(-0.5, 0.5) for trial in trials]
        best = min(trials, key=lambda trial: float(network.energy(trial)))
        fall = float(network.energy(s) - network.energy(best))
        if fall > 0 and fall >= 0.1 * -curvature / 2 * float((best - s).square().sum()):
            return best
        t /= 2
    return None


@pytest.mark.parametrize("curvature", [-0.01, -1.0, -3.0, -30.0, -500.0])
@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
def test_beside_a_saddle_the_step_is_the_longest_that_falls_enough(activation, curvature):
    network = random_dense(5, 0, activation, gain=6.0)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(12):
        s = torch.as_tensor(rng.uniform(-0.5, 0.5, 5))
        direction = torch.as_tensor(rng.uniform(-1, 1, 5))
        expected = slow_lower(network, s, direction, curvature)
        lower = saddles._lower(network, s, direction, curvature)
        found.append(lower is not None)
        assert (lower is None) == (expected is None)
        assert lower is None or torch.equal(lower, expected)
    assert any(found) or curvature < -10


def test_where_no_step_falls_there_is_none():
    well = quadratic([1.0, 2.0])
    rest = torch.linalg.solve(well.A, well.b)
    assert saddles._lower(well, rest, torch.ones(2).double(), -1.0) is None
    flat = quadratic([0.0, 0.0])
    flat.b.zero_()
    assert saddles._lower(flat, rest, torch.ones(2).double(), 0.0) is None  # no energy is lower


@pytest.mark.parametrize("most", [300, 2], ids=["all eigenvalues", "the lowest"])
def test_the_direction_is_that_of_the_lowest_curvature(most, monkeypatch):
    monkeypatch.setattr(saddles, "DENSE_UNITS", most)
    network = quadratic([-0.7, -0.2, 1.0, 3.0, 4.0])
    s, free = torch.zeros(5).double(), torch.tensor([True, True, False, True, True])
    H = network.A[free][:, free]
    values, vectors = torch.linalg.eigh(H)
    direction, curvature = saddles._negative_direction(network, s, free)
    assert curvature == pytest.approx(float(values[0]), rel=1e-4)
    v = vectors[:, 0] / vectors[:, 0].abs().max()
    assert direction[2] == 0 and float(direction.abs().max()) == pytest.approx(1, abs=1e-15)
    torch.testing.assert_close(direction[free].abs(), v.abs(), rtol=1e-3, atol=1e-3)
    assert saddles._negative_direction(network, s, torch.zeros(5, dtype=torch.bool)) is None
    one = torch.arange(5) == 2
    negative = float(network.A[2, 2]) < 0
    assert (saddles._negative_direction(network, s, one) is None) != negative


@pytest.mark.parametrize(("lowest", "is_saddle"), [(-1e-6, True), (-3e-8, False), (0.0, False)])
def test_curvature_below_the_root_of_rounding_is_none(lowest, is_saddle):
    """Of the largest eigenvalue, 4 here: 1.5e-8 * 4."""
    network = quadratic([lowest, 1.0, 4.0])
    s = torch.zeros(3).double()
    found = saddles._negative_direction(network, s, torch.ones(3, dtype=torch.bool))
    assert (found is not None) == is_saddle


def test_motions_without_an_energy_are_judged_by_the_real_parts_of_units_that_move():
    """s_1 and s_2 turn outward together; s_0 is held by its current, whatever its slope."""
    W = [[2.0, 0.0, 0.0], [0.0, 1.5, -2.0], [0.0, 2.0, 1.5]]
    net = AsymmetricNetwork(W, [3.0, 0.0, 0.0], HARD).centred()
    net = AsymmetricNetwork(W, net.bias + torch.tensor([3.0, 0.0, 0.0]).double(), HARD)
    rows, s = at(net, [0.5, 0.0, 0.0])
    assert torch.equal(residual(net, s), torch.zeros(1).double())
    assert is_unstable(rows, s).tolist() == [True]
    calm = AsymmetricNetwork([[2.0, 0, 0], [0, 0.5, -2], [0, 2, 0.5]], [0.0] * 3, HARD).centred()
    calm = AsymmetricNetwork(calm.weight, calm.bias + torch.tensor([3.0, 0, 0]).double(), HARD)
    rows, s = at(calm, [0.5, 0.0, 0.0], [0.5, 0.0, 0.0])
    assert is_unstable(rows, s).tolist() == [False, False]


def test_rows_are_looked_at_one_by_one_where_couplings_do_not_decide():
    """A matrix with one negative curvature, that of units which are pinned in some rows."""
    net = inhibition(3, -5.0)
    saddle, ends = [0.5, -5 / 12, -5 / 12], winners(3).tolist()
    for n in (8, 9, 20):
        states = [saddle if k % 4 == 1 else ends[k % len(ends)] for k in range(n)]
        rows, s = at(net, *states)
        expected = [k for k in range(n) if k % 4 == 1]
        assert torch.nonzero(is_unstable(rows, s)).squeeze(-1).tolist() == expected
        places, beside = downhill_from(rows, s)
        assert places.tolist() == expected and beside.shape == (len(expected), 3)
        again = downhill_from(rows, s, net.force(s))
        assert torch.equal(again[0], places) and torch.equal(again[1], beside)
