"""The units that may move: which these are, and that they move alone as among all."""

import pytest
import torch

import ctebm
from ctebm.equilibria.kkt import project
from ctebm.equilibria.working_set import WorkingSet, held, share_among
from ctebm.networks.blocks import LayersAt
from ctebm.networks.condensed import Condensed

F64 = torch.float64
HARD, OTHER = ctebm.HardSigmoid(), ctebm.HardSigmoid(lower=-0.2)


def half(gain=1.5, rho=HARD):
    x = torch.linspace(-0.5, 0.5, 90, dtype=F64).reshape(3, 30)
    network = ctebm.LayeredNetwork.random([30, 40, 25, 20, 5], rho, gain=gain, seed=2)
    return Condensed(network.clamp({"x": x}))


def somewhere(network, steps=20):
    o = torch.zeros(3, network.n_units, dtype=F64)
    for _ in range(steps):
        o = project(network, o + network.force(o))
    return o


def test_units_are_held_at_a_kink_that_their_current_passes_by_more_than_the_reach():
    network = Condensed(ctebm.LayeredNetwork.random([2, 3], [HARD, OTHER], gain=1.0))
    states = [torch.tensor([[0.5, -0.5]]), torch.tensor([[-0.2, 0.8, 0.3]])]
    currents = [torch.tensor([[0.7, -0.55]]), torch.tensor([[-0.4, 0.85, 2.0]])]
    now = LayersAt(states, states, currents)
    assert held(network, now, 0.1).tolist() == [[True, False, True, False, False]]
    assert held(network, now, 0.04).tolist() == [[True, True, True, True, False]]
    inwards = LayersAt(states, states, [-I for I in currents])
    assert not held(network, inwards, 0.0).any()


@pytest.mark.parametrize("rho", [HARD, [OTHER, HARD, OTHER, HARD, OTHER]], ids=["one", "several"])
@pytest.mark.parametrize("row", [0, 2])
def test_forces_are_those_among_all_while_the_others_stay(row, rho):
    network = half(rho=rho)
    o = somewhere(network)
    now = network.layers_at(o)
    roomy = held(network, now, 0.1)
    assert 10 < int(roomy[row].sum()) < roomy.shape[1] - 10
    some = WorkingSet.of(network, row, ~roomy[row], now)
    assert torch.equal(some.moving, ~roomy[row])
    u, others = o[row : row + 1].clone(), torch.ones(network.n_units, dtype=torch.bool)
    others[some.where] = False
    assert bool(network.box.side(o)[row, others].all())
    draw = torch.rand(1, len(some.where), generator=torch.Generator().manual_seed(0), dtype=F64)
    u[:, some.where] = project(some.network, u[:, some.where] + 0.02 * (draw - 0.5))
    one = network.samples(network.batch, torch.tensor([row]))
    still = held(one, one.layers_at(u), 0.0)
    assert bool(still[0, roomy[row]].all())  # else nothing would follow
    expected = one.force(u)[:, some.where]
    torch.testing.assert_close(some.network.force(u[:, some.where]), expected)
    before = one.energy(o[row : row + 1]) - one.energy(u)
    apart = some.network.energy(o[row : row + 1, some.where]) - some.network.energy(
        u[:, some.where]
    )
    torch.testing.assert_close(apart, before)
    if isinstance(rho, list):
        assert some.network.box.low.tolist() == network.box.low[some.where].tolist()


def test_no_unit_may_move():
    network = half()
    o = somewhere(network)
    none = torch.zeros(90, dtype=torch.bool)
    some = WorkingSet.of(network, 0, none, network.layers_at(o))
    assert some.network.n_units == 0 and some.network.force(o[:1, :0]).shape == (1, 0)


def test_the_share_of_the_weights_among_some_units_is_that_of_the_pairs():
    network = half()  # clamped: 40 x 25, 25 x 20, 20 x 5
    moving = torch.zeros(2, 90, dtype=torch.bool)
    moving[0, :10] = moving[0, 40:45] = moving[0, 85:] = True  # 10 of the first, 5 of the second
    moving[1] = True
    assert share_among(network, moving).tolist() == pytest.approx([50 / 1600, 1.0])
