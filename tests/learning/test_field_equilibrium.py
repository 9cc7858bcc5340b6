"""Where a batch of any network rests, against the force there and the closed form of eq. 6."""

import pytest
import torch
from own_energies import OwnLayers, OwnPredictive, problem

import ctebm
from ctebm.learning.field_equilibrium import _settled, held_at, moved_to, of_field, rest_of


def test_what_does_not_settle_layer_by_layer_is_settled_all_the_same():
    class Stiff(OwnPredictive):
        def energy(self, s):
            return super().energy(s) + 3 * s[..., 6:11].square().sum(-1)

    net, x, _ = problem(Stiff)
    own = ctebm.PlasticField(net)
    rest = own.settle(x, tol=1e-9)
    assert not rest.status.any()
    assert float(own.network.clamp({"x": x}).force(rest.state).abs().max()) < 1e-8


def test_where_one_sample_has_no_finite_force_none_is_settled():
    class Broken(OwnPredictive):
        def energy(self, s):
            return super().energy(s) / (s[..., 0] - 7.0).abs()

    net, x, _ = problem(Broken)
    own = ctebm.PlasticField(net)
    s = torch.zeros(len(x), 12, dtype=torch.float64)
    fine = _settled(own.network.clamp({"x": x}), x, s, 1e-9, 3)
    assert not fine.status.any()
    x = x.clone()
    x[2, 0] = 7.0
    rest = _settled(own.network.clamp({"x": x}), x, s, 1e-9, 3)
    assert torch.isinf(rest.residual).all() and rest.sweeps.tolist() == [3] * len(x)
    assert torch.equal(rest.state, s)


def test_states_lie_side_by_side_and_layer_by_layer():
    net, x, _ = problem()
    rest = rest_of(net, x, tol=1e-9, max_sweeps=500)
    assert [*map(len, rest.states)] == [len(x)] * len(net.layers)
    assert torch.equal(rest.states[0], x)
    assert torch.equal(torch.cat(rest.states[1:], -1), rest.state)
    assert float(rest.held.force(rest.state).abs().max()) <= 1e-9


def test_a_start_is_where_it_begins():
    net, x, _ = problem()
    rest = rest_of(net, x, tol=1e-12, max_sweeps=500)
    again = rest_of(net, x, rest.states[1:], tol=1e-9, max_sweeps=500)
    assert int(again.sweeps.max()) <= 1 < int(rest.sweeps.max())


def test_the_motion_that_rests_is_that_of_the_closed_form():
    net = ctebm.LayeredNetwork.random([5, 4, 3], ctebm.Tanh(), gain=0.4, seed=2)
    x = torch.rand(6, 5, dtype=torch.float64)
    ends = []
    for plastic in (ctebm.PlasticNetwork(net), ctebm.PlasticField(OwnLayers(net))):
        held, s = held_at(plastic, plastic.settle(x, tol=1e-12, max_sweeps=2000))
        assert float(held.force(s).abs().max()) < 1e-10
        ends.append(s)
    torch.testing.assert_close(*ends, rtol=0, atol=1e-10)


def test_states_that_are_moved_stay_those_of_their_layers():
    net = ctebm.LayeredNetwork.random([5, 4, 3], ctebm.Tanh(), gain=0.4, seed=2)
    x = torch.rand(6, 5, dtype=torch.float64)
    for plastic in (ctebm.PlasticNetwork(net), ctebm.PlasticField(OwnLayers(net))):
        rest = plastic.settle(x, tol=1e-12)
        s = torch.cat(rest.states[1:], -1) + 0.5
        moved = moved_to(rest, s)
        assert torch.equal(moved.states[0], x)
        assert torch.equal(torch.cat(moved.states[1:], -1), s)
        assert torch.equal(held_at(plastic, moved)[1], s)


def test_an_equilibrium_of_the_closed_form_is_refused():
    net = ctebm.LayeredNetwork.random([5, 4, 3], ctebm.Tanh(), gain=0.4, seed=2)
    rest = ctebm.PlasticNetwork(net).settle(torch.rand(2, 5).double(), tol=1e-9)
    with pytest.raises(TypeError, match="expected an equilibrium of this network's settle"):
        of_field(rest)
    with pytest.raises(TypeError, match="got Equilibrium"):
        ctebm.PlasticField(net).cost_function or ctebm.PlasticField(net).error(
            rest, rest.states[-1]
        )
