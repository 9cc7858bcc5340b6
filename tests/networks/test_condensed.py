"""Every other layer alone: its energy is the lowest that the layers between allow."""

import pytest
import torch
from network_contract import check, same

import ctebm
from ctebm.networks import condensed
from ctebm.networks.condensed import Condensed, condenses
from ctebm.networks.free_blocks import FreeRows

F64 = torch.float64
HARD = ctebm.HardSigmoid()


def chain(sizes, gain=2.0, rho=HARD, **options):
    return ctebm.LayeredNetwork.random(sizes, rho, gain=gain, seed=1, **options)


def draws(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64) - 0.5


CHAINS = {
    "whole": chain([3, 4, 5, 3]),
    "two layers": chain([6, 2]),
    "clamped": chain([3, 4, 5, 3, 2]).clamp({"x": draws(3, 3)}),
    "parted": chain([3, 4, 5, 3, 2]).clamp({"h2": draws(3, 5)}),
    "each its own": chain([3, 4, 2], rho=[HARD, ctebm.HardSigmoid(lower=-0.2), HARD]),
}
every_chain = pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)


@every_chain
def test_the_contract_holds(network):
    check(Condensed(network))


@every_chain
def test_the_layers_between_are_at_their_minimum(network):
    half = Condensed(network)
    o = half.box.project(draws(4, *network.batch, half.n_units))
    s = half.states(o)
    same(half.kept(s), o)
    same(half.energy(o), network.energy(s))
    same(half.force(o), half.kept(network.force(s)))
    R = network.box.residual(s, network.force(s))
    assert half.kept(R).abs().max() > 0.1
    same(R.abs().sum(-1), half.kept(R).abs().sum(-1))  # nothing is left between
    for seed in range(20):  # no other state of the layers between is lower
        other = draws(*s.shape, seed=seed + 1)
        for i, where in enumerate(network.layers.values()):
            if i in half._o:
                other[..., where] = s[..., where]
        assert bool((network.energy(network.box.project(other)) >= network.energy(s)).all())


@every_chain
def test_layers_one_by_one_are_those_of_the_whole(network):
    half = Condensed(network)
    o = half.box.project(draws(4, *network.batch, half.n_units))
    now, s = half.layers_at(o), half.states(o)
    assert torch.equal(torch.cat(now.states, -1), s)
    same(torch.cat(now.rates, -1), network.activation(s))
    same(torch.cat(now.currents, -1), s + network.force(s))
    same(half.force_at(o, now), half.force(o))
    assert torch.equal(half.of_kept(now.states), o)
    assert half.n_weights == sum(W.numel() for W in network.weights if W is not None)


def test_the_smaller_half_is_kept():
    assert Condensed(chain([9, 2, 9])).n_units == 2
    assert Condensed(chain([2, 9, 2])).n_units == 4


def test_states_are_those_of_the_whole_layer_by_layer():
    network = chain([2, 5, 3, 4])  # keeps x and h1
    half, o = Condensed(network), torch.arange(5, dtype=F64) / 10
    s = half.states(o)
    assert torch.equal(s[network.layers["x"]], o[:2])
    assert torch.equal(s[network.layers["h1"]], o[2:])
    assert torch.equal(half.kept(s), o)


@pytest.mark.parametrize("call", [0, 10_000], ids=["gathered", "masked"])
@every_chain
def test_products_on_free_units_are_those_of_the_matrix(network, call, monkeypatch):
    monkeypatch.setattr(condensed, "CALL", call)
    half = Condensed(network)
    o = draws(*(network.batch or (2,)), half.n_units)
    free = (draws(*o.shape, seed=3) > 0).to(F64)
    v = free * draws(*o.shape, seed=4)
    if call == 0:  # or the weights are not worth it
        monkeypatch.setattr(condensed, "_n_weights", lambda weights: 10**6)
    few = half._few(o, free)
    assert (few is None) == (call > 0)
    matrix = half.hessian(o) * free.unsqueeze(-1) * free.unsqueeze(-2)
    expected = (matrix @ v.unsqueeze(-1)).squeeze(-1)
    same(half.hessian_operator_on(o, free)(v), expected)
    if isinstance(few, FreeRows):
        chosen = torch.tensor([i for i in range(len(o)) if i != 1])
        same(few.rows(chosen)(v[chosen]), expected[chosen])


def test_one_state_multiplies_many_vectors(monkeypatch):
    monkeypatch.setattr(condensed, "CALL", 0)
    monkeypatch.setattr(condensed, "_n_weights", lambda weights: 10**6)
    half = Condensed(CHAINS["whole"])
    o, free = draws(half.n_units), torch.ones(half.n_units, dtype=F64)
    assert half._few(o, free) is not None
    same(half.hessian_operator_on(o, free)(torch.eye(half.n_units, dtype=F64)), half.hessian(o))


def test_weights_are_gathered_where_they_and_the_calls_are_less_than_all(monkeypatch):
    half = Condensed(chain([40, 20]))
    o, free = draws(20), torch.zeros(20, dtype=F64)
    free[:3] = 1
    between = int(sum(m.sum() for m in half._free_between(o).values()))
    assert between > 0
    most = 800 * (1 + 1 / 8)  # one row, one pair of layers, two calls
    for call, gathered in (((most - 3 * between) / 2, True), ((most + 1 - 3 * between) / 2, False)):
        monkeypatch.setattr(condensed, "CALL", call)
        assert (half._few(o, free) is not None) == gathered


def test_units_between_that_only_a_rounding_holds_are_free():
    network = ctebm.LayeredNetwork([[[1.0, 1.0, 1.0]]], [[0.0], [0.0, 1e-9, 1e-6]], HARD)
    free = Condensed(network)._free_between(torch.zeros(1, dtype=F64))[1]
    assert free.tolist() == [True, True, False]  # currents .5, .5 + 1e-9, .5 + 1e-6


def test_single_precision_is_close():
    half = Condensed(CHAINS["clamped"])
    o = draws(3, half.n_units)
    single = half.single()
    assert single.dtype == single.force(o.float()).dtype == torch.float32
    torch.testing.assert_close(single.force(o.float()), half.force(o).float())
    torch.testing.assert_close(single.energy(o.float()), half.energy(o).float())


def test_only_large_chains_with_two_kinks_a_layer_are_condensed(monkeypatch):
    assert condenses(chain([256, 256])) and not condenses(chain([256, 255]))
    monkeypatch.setattr(condensed, "LEAST_WEIGHTS", 0)
    assert all(condenses(network) for network in CHAINS.values())
    for rho in (ctebm.Tanh(), [HARD, ctebm.Tanh()], [HARD, ctebm.ReLU()], [HARD, ctebm.Identity()]):
        assert not condenses(chain([3, 2], rho=rho))
    assert not condenses(ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], HARD))
