"""The graph of layers, and what is refused where it is no chain."""

import math

import pytest
import torch
from cases import F64

import ctebm
from ctebm.networks.couplings import Couplings, check_chain
from ctebm.networks.layout import consecutive

SIZES = {"x": 3, "h2": 4, "h1": 3, "y": 2}
LAYERS = consecutive(SIZES)


class Graph(ctebm.Network):
    """Eq. 6 with tanh and couplings between any two layers."""

    def __init__(self, pairs, gain=0.4):
        super().__init__(12, LAYERS)
        draw = torch.Generator().manual_seed(3)
        self.weights = {
            f"{a}-{b}": gain * torch.randn(SIZES[a], SIZES[b], generator=draw, dtype=F64)
            for a, b in pairs
        }

    def energy(self, s):
        s = self.as_state(s)
        r = {name: torch.tanh(s[..., where]) for name, where in self.layers.items()}
        E = s.square().sum(-1) / 2
        for pair, W in self.weights.items():
            a, b = pair.split("-")
            E = E - ((r[a] @ W) * r[b]).sum(-1)
        return E


class Predictive(Graph):
    """Prediction errors, each layer predicted by all that are coupled to it from below."""

    def energy(self, s):
        s = self.as_state(s)
        r = {name: torch.tanh(s[..., where]) for name, where in self.layers.items()}
        error = {name: s[..., where] for name, where in self.layers.items()}
        for pair, W in self.weights.items():
            a, b = pair.split("-")
            error[b] = error[b] - r[a] @ W
        return torch.stack([e.square().sum(-1) for e in error.values()]).sum(0) / 2


CHAIN = [("x", "h2"), ("h2", "h1"), ("h1", "y")]
SKIP = [*CHAIN, ("h2", "y")]
X = torch.tensor([[0.5, -0.3, 0.2]], dtype=F64)
TARGET = torch.tensor([[0.4, -0.1]], dtype=F64)


@pytest.mark.parametrize("kind", [Graph, Predictive])
def test_a_chain_is_seen(kind):
    graph = Couplings.of(kind(CHAIN).clamp({"x": X}))
    assert graph.depth == {"h2": 2, "h1": 1, "y": 0}
    assert graph.skips == []
    assert graph.within == (frozenset() if kind is Graph else {"h1", "h2"})
    check_chain(kind(CHAIN))


def test_depth_is_the_distance_along_the_shortest_path():
    graph = Couplings.of(Graph(SKIP).clamp({"x": X}))
    assert graph.depth == {"h2": 1, "h1": 1, "y": 0}
    assert graph.lengths == {"h2": {1, 2}, "h1": {1}, "y": {0}}
    assert graph.skips == [("h2", "y")]


def test_a_layer_without_a_path_is_infinitely_deep():
    net = Graph([("x", "h2"), ("h1", "y")]).clamp({"x": X})
    assert Couplings.of(net).depth == {"h2": math.inf, "h1": 1, "y": 0}
    with pytest.warns(UserWarning, match="no path of couplings leads from the output to h2"):
        record = ctebm.correspondence(net, None, TARGET, eps=0.1, n_steps=3)
    assert record.first_arrival == [math.inf, 2, 1]
    assert bool((record.displacement[..., :4] == 0).all())
    assert bool((record.law[..., 0] == 0).all())
    assert record.to_dataset().depth.values.tolist() == [math.inf, 1, 0]


def test_layers_of_eq_6_are_a_chain_without_trying():
    net = ctebm.LayeredNetwork.random([2, 3, 3, 1], ctebm.Tanh())
    assert Couplings.of(net).depth == {"x": 3, "h2": 2, "h1": 1, "y": 0}
    assert Couplings.of(net.clamp({"h2": [0.1, 0.2, 0.3]})).depth == {
        "x": math.inf,
        "h1": 1,
        "y": 0,
    }


def test_one_way_couplings_lead_one_way():
    class Relay(ctebm.VectorField):
        def force(self, s):
            x, h, y = s.unbind(-1)
            return torch.stack([-x, x - h, h - y], -1)

    net = Relay(3, {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)})
    assert Couplings.of(net).acts == {("x", "h"), ("h", "y")}
    assert Couplings.of(net).depth == {"x": math.inf, "h": math.inf, "y": 0}


def test_the_chain_gradient_sums_over_all_later_layers():
    net = Graph(SKIP)
    held = net.clamp({"x": X})
    fixed = ctebm.settle(held, tol=1e-13)
    s, g = fixed.state, ctebm.chain_gradient(held, fixed, TARGET)
    H, part = held.hessian(s)[0], held.layers
    g_y = s[0, part["y"]] - TARGET[0]
    g_1 = -H[part["h1"], part["y"]] @ g_y
    g_2 = -H[part["h2"], part["h1"]] @ g_1 - H[part["h2"], part["y"]] @ g_y
    torch.testing.assert_close(g[0], torch.cat([g_2, g_1, g_y]))


def test_first_arrival_with_skips_comes_along_the_shortest_path():
    net = Graph(SKIP)
    record = ctebm.correspondence(net, X, TARGET, eps=1e-3, n_steps=4)
    assert record.first_arrival == [2, 2, 1]
    moved = record.displacement[0, 0]
    assert bool((moved[1, :4] == 0).all())
    H, part = record.fixed.network.hessian(record.fixed.state)[0], record.fixed.network.layers
    g_y = record.fixed.state[0, part["y"]] - TARGET[0]
    direct = -H[part["h2"], part["y"]] @ g_y
    torch.testing.assert_close(moved[2, part["h2"]], -(1e-6) * direct, rtol=5e-3, atol=0)
    assert bool(record.law[0, :, 0].isnan().all())  # h2 has paths of two lengths
    assert not bool(record.law[0, :, 1:].isnan().any())


@pytest.mark.parametrize("function", [ctebm.chain_gradient, ctebm.correspondence])
def test_errors_that_layers_share_are_refused(function):
    net = Predictive(SKIP).clamp({"x": X})
    with pytest.raises(ValueError, match=r"h2 and y coupled past other layers.*implicit_gradient"):
        if function is ctebm.correspondence:
            function(net, None, TARGET, eps=0.1)
        else:
            function(net, ctebm.settle(net), TARGET)
    ctebm.implicit_gradient(net, ctebm.settle(net), TARGET)
