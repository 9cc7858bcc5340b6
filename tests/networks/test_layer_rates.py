"""A rate for each layer: against one network a layer, and against eq. 6 written down anew."""

import math

import pytest
import torch
from cases import every_motion_and_network
from network_contract import check

import ctebm
from ctebm.networks.layer_rates import LayerRates, rate_of_layer, rates_without
from ctebm.networks.parameters import network_dataset

F64 = torch.float64
EACH = (ctebm.Identity(), ctebm.HardSigmoid(lower=0), ctebm.Tanh(), ctebm.Softplus())
SIZES = (2, 3, 1, 2)


def regression(gain=0.6):
    """Raw inputs, hidden units clipped to [0, 1], a linear output."""
    rates = [ctebm.Identity(), ctebm.HardSigmoid(lower=0), ctebm.Identity()]
    return ctebm.LayeredNetwork.random([4, 6, 2], rates, gain=gain, seed=3, centred=False)


def test_each_layer_has_its_own_rate_and_derivatives():
    rho = LayerRates(EACH, SIZES)
    s = torch.randn(5, 8, dtype=F64, generator=torch.Generator().manual_seed(0))
    for name in ("__call__", "derivative", "second_derivative"):
        parts = zip(EACH, s.split(SIZES, -1), strict=True)
        expected = torch.cat([getattr(one, name)(part) for one, part in parts], -1)
        assert torch.equal(getattr(rho, name)(s), expected)
    assert rho.kinks == (0.0, 1.0) and rho.max_curvature == EACH[2].max_curvature
    assert rho.rates == (-math.inf, math.inf)
    assert rate_of_layer(rho, 2) == ctebm.Tanh() and rates_without(rho, 1).sizes == (2, 1, 2)


def test_the_box_is_infinite_where_a_layer_has_no_kinks():
    box = LayerRates(EACH, SIZES).box
    assert box is not None
    inf = math.inf
    assert box.low.tolist() == [-inf, -inf, 0, 0, 0, -inf, -inf, -inf]
    assert box.high.tolist() == [inf, inf, 1, 1, 1, inf, inf, inf]
    assert LayerRates((ctebm.Tanh(), ctebm.Identity()), (1, 1)).box is None


def test_the_energy_is_eq_6_with_a_rate_a_layer():
    net = regression()
    s = torch.randn(3, 12, dtype=F64, generator=torch.Generator().manual_seed(1))
    x, h, y = s.split([4, 6, 2], -1)
    r = h.clamp(0, 1)
    W, V = net.weights
    expected = s.square().sum(-1) / 2 - ((x @ W) * r).sum(-1) - ((r @ V) * y).sum(-1)
    torch.testing.assert_close(net.energy(s), expected, rtol=1e-13, atol=1e-13)


def test_raw_inputs_go_in_as_they_are_and_a_linear_output_is_not_clipped():
    net = regression(1.5)
    x = 3 * torch.randn(8, 4, dtype=F64, generator=torch.Generator().manual_seed(2))
    free = net.clamp({"x": x})
    points = ctebm.settle(free).raise_for_status()
    h, y = points.state[:, :6], points.state[:, 6:]
    W, V = net.weights
    torch.testing.assert_close(h, (x @ W + y @ V.mT).clamp(0, 1), rtol=0, atol=1e-9)
    torch.testing.assert_close(y, h @ V, rtol=0, atol=1e-9)
    assert float(y.abs().max()) > 1 and bool(points.pinned[:, :6].any())
    assert not points.pinned[:, 6:].any()


def test_one_rate_for_all_is_a_list_of_it():
    hard = ctebm.HardSigmoid()
    one, each = (ctebm.LayeredNetwork.random([3, 4, 2], rho, seed=1) for rho in (hard, [hard] * 3))
    s = torch.randn(6, 9, dtype=F64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(each.energy(s), one.energy(s))
    torch.testing.assert_close(each.force(s), one.force(s))
    x = {"x": [0.1, 0.2, 0.3]}
    torch.testing.assert_close(ctebm.settle(each.clamp(x)).state, ctebm.settle(one.clamp(x)).state)


def test_first_arrival_is_exact_through_clipped_units_and_a_linear_output():
    net = regression(0.3)
    x, target = torch.full((1, 4), 0.7, dtype=F64), torch.tensor([[2.0, -1.0]], dtype=F64)
    record = ctebm.correspondence(net, x, target, eps=0.1, n_steps=4)
    data = record.to_dataset()
    free = record.fixed.network
    responds = ~record.fixed.pinned[0, :6]
    assert bool(responds.any()) and not bool(responds.all())
    moved = record.displacement[0, 0, 2, free.layers["h1"]]
    torch.testing.assert_close(moved, -0.01 * record.chain[0, free.layers["h1"]])
    assert data.leak.sel(layer="y").item() == pytest.approx(1)


def test_a_dataset_brings_every_rate_back():
    net = regression()
    twin = ctebm.load_network(network_dataset(net))
    s = torch.randn(3, 12, dtype=F64, generator=torch.Generator().manual_seed(5))
    assert twin.activation == net.activation
    assert torch.equal(twin.energy(s), net.energy(s))
    relu = ctebm.LayeredNetwork.random([2, 3], ctebm.ReLU())
    assert ctebm.load_network(network_dataset(relu)).activation == ctebm.ReLU()
    broken = network_dataset(net).assign_attrs(activation_parameters="[[]]")
    with pytest.raises(ValueError, match="build the network yourself"):
        ctebm.load_network(broken)


def test_float32_stays_float32():
    rates = [ctebm.Identity(), ctebm.HardSigmoid(), ctebm.Identity()]
    net = ctebm.LayeredNetwork.random([2, 3, 1], rates, dtype=torch.float32)
    points = ctebm.settle(net.clamp({"x": [0.5, -2.0]}))
    assert points.state.dtype == torch.float32 and net.to(F64).box.low.dtype == F64


def test_rates_of_some_units_have_to_say_whose_they_are():
    net = regression()
    with pytest.raises(ValueError, match="name the layer"):
        net.state([0.1, 0.2])
    assert net.state([5.0] * 4, layer="x").tolist() == [5.0] * 4
    with pytest.raises(ValueError, match="rates in \\[0, 1\\]"):
        net.state([5.0] * 6, layer="h1")
    with pytest.raises(ValueError, match="one for each of the 3 layers"):
        ctebm.LayeredNetwork.random([2, 2, 2], [ctebm.Tanh()] * 2)


@pytest.mark.parametrize(
    "name", ["batch-layered-mixed-kinks", "layered-mixed", "clamped-layered-mixed"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
