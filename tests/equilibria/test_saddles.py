"""Telling saddles from minima, and the way down from them."""

import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state
from zoo import cyclic, identical_pairs, inhibition, lattice, winners

from ctebm import settle
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
