"""Layers coupled in any graph: against one dense matrix, finite differences, and loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from cases import graph, rows

import ctebm

F64 = torch.float64
SKIPS = [("x", "k"), ("k", "h"), ("h", "y"), ("k", "y")]


def dense(net):
    """Return the same couplings as one matrix, made unit by unit from the definition."""
    n = net.n_units
    W = torch.zeros(n, n, dtype=F64)
    for (a, b), block in net.weights.items():
        for i, p in enumerate(range(n)[net.layers[a]]):
            for j, q in enumerate(range(n)[net.layers[b]]):
                if a != b or i < j:
                    W[p, q] = W[q, p] = block[i, j]
    return ctebm.DenseNetwork(W, net.bias, net.activation, layers=dict(net.layers))


def settled(net, n=4):
    x = rows(n, net.biases["x"].shape[-1], seed=11)
    target = rows(n, net.biases["y"].shape[-1], seed=12)
    free = net.clamp({"x": x})
    return x, target, free, ctebm.settle(free, tol=1e-14)


def test_it_is_the_dense_network_of_its_blocks():
    net = graph(ctebm.Tanh())
    whole, s, v = dense(net), rows(5, net.n_units), rows(5, net.n_units, seed=6)
    assert torch.equal(net.dense_weight(), whole.weight)
    for call in ("energy", "force", "hessian"):
        torch.testing.assert_close(getattr(net, call)(s), getattr(whole, call)(s))
    torch.testing.assert_close(net.hessian_product(s, v), whole.hessian_product(s, v))
    held = {"x": rows(5, 3), "k": rows(5, 3, seed=8)}
    mine, other = net.clamp(held), whole.clamp(held)
    torch.testing.assert_close(mine.energy(s[:, 6:]), other.energy(s[:, 6:]))
    torch.testing.assert_close(mine.force(s[:, 6:]), other.force(s[:, 6:]))


def test_no_matrix_of_all_units_is_made(monkeypatch):
    net = graph(ctebm.Tanh())
    monkeypatch.setattr(ctebm.LayerGraph, "dense_weight", lambda self: 1 / 0)
    free = net.clamp({"x": rows(4, 3)})
    s = rows(4, free.n_units)
    free.force(s), free.hessian_product(s, s), free.energy(s)
    assert ctebm.settle(free).raise_for_status().state.shape == s.shape


def test_a_chain_is_the_layered_network():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=3)
    names = list(net.layers)
    same = ctebm.LayerGraph(
        dict(zip(itertools.pairwise(names), net.weights, strict=True)),
        dict(zip(names, net.biases, strict=True)),
        ctebm.Tanh(),
    )
    s = rows(4, 9)
    torch.testing.assert_close(same.force(s), net.force(s))
    torch.testing.assert_close(same.energy(s), net.energy(s))
    assert same.depth == net.depth


def test_pairs_in_the_other_order_are_turned():
    W, b = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], {"x": [0.0, 0.0], "y": [0.0, 0.0, 0.0]}
    one = ctebm.LayerGraph({("x", "y"): W}, b, ctebm.Tanh())
    other = ctebm.LayerGraph({("y", "x"): np.transpose(W)}, b, ctebm.Tanh())
    assert list(other.weights) == [("x", "y")]
    assert torch.equal(one.dense_weight(), other.dense_weight())


@pytest.mark.parametrize(
    "couplings, depth",
    [
        ([("x", "k"), ("k", "h"), ("h", "y")], {"x": 3, "k": 2, "h": 1, "y": 0}),
        ([("x", "k"), ("k", "h"), ("h", "y"), ("k", "y")], {"x": 2, "k": 1, "h": 1, "y": 0}),
        ([("x", "y"), ("h", "x"), ("y", "k")], {"x": 1, "k": 1, "h": math.inf, "y": 0}),
        ([("h", "h"), ("h", "y")], {"x": math.inf, "k": math.inf, "h": 1, "y": 0}),
    ],
)
def test_depth_counts_hops_that_do_not_pass_the_input(couplings, depth):
    sizes = {"x": 2, "k": 2, "h": 2, "y": 2}
    net = ctebm.LayerGraph.random(sizes, couplings, ctebm.Tanh())
    assert net.depth == depth
    free = {k: v for k, v in depth.items() if k != "x"}
    held = net.clamp({"x": [0.1, 0.2]})
    assert held.depth == free
    assert ctebm.networks.couplings.Couplings.of(held).depth == free


def test_a_layer_without_a_path_is_named():
    net = ctebm.LayerGraph.random({"x": 2, "h": 2, "y": 2}, [("x", "y"), ("x", "h")], ctebm.Tanh())
    with pytest.warns(UserWarning, match="no path of couplings leads from the output to h"):
        ctebm.correspondence(net, rows(2, 2), rows(2, 2), eps=0.1, n_steps=2)
    with pytest.raises(ValueError, match="got none to h"):
        _ = ctebm.PlasticField(net).depths


def parameters_moved(net, name, index, h):
    """Return the network with one number of a parameter moved."""
    weights, biases = dict(net.weights), {k: b.clone() for k, b in net.biases.items()}
    word, *layers = name.split(".")
    if word == "weights":
        pair = tuple(layers)
        W = weights[pair].clone()
        W[index] += h
        weights[pair] = W + W.mT if pair[0] == pair[1] else W
    for a, b in weights:
        if a == b and (a, b) != tuple(layers):
            weights[a, b] = weights[a, b] + weights[a, b].mT
    if word == "bias":
        for k, where in net.layers.items():
            if where.start <= index[0] < where.stop:
                biases[k][index[0] - where.start] += h
    return ctebm.LayerGraph(weights, biases, net.activation)


def test_implicit_gradient_of_every_parameter_is_the_finite_difference():
    net = graph(ctebm.Tanh())
    x, target, _, rest = settled(net, n=1)
    found = ctebm.parameter_gradient(net, x, rest, target, "implicit").by_name
    assert list(found) == [*(f"weights.{a}.{b}" for a, b in net.weights), "bias"]

    def cost(other):
        y = ctebm.settle(other.clamp({"x": x}), rest.state, tol=2e-15).state[:, -2:]
        return float((y - target).square().sum() / 2)

    h = 1e-5
    for name, g in found.items():
        index = (0, 1) if g.ndim == 3 else (4,)
        ends = [cost(parameters_moved(net, name, index, k)) for k in (h, -h)]
        assert math.isclose((ends[0] - ends[1]) / (2 * h), float(g[(0, *index)]), rel_tol=1e-5)
        if name == "weights.h.h":  # each pair of units once
            assert not g[0].tril().any() and g[0].triu(1).any()


def test_the_chain_gradient_sums_over_later_layers_and_arrives_first():
    """Skips, none within a layer: hidden layers hear of the error by every later one."""
    net = graph(ctebm.HardSigmoid(), SKIPS, gain=0.2)
    x, target, free, rest = settled(net)
    s, rho = rest.state, net.activation
    assert not rest.pinned.any()
    error = s[:, free.layers["y"]] - target
    slope = {k: rho.derivative(s[:, w]) for k, w in free.layers.items()}
    h = slope["h"] * (error @ net.weights["h", "y"].mT)
    k = slope["k"] * (h @ net.weights["k", "h"].mT + error @ net.weights["k", "y"].mT)
    g = ctebm.chain_gradient(free, rest, target)
    torch.testing.assert_close(g, torch.cat([k, h, error], -1))
    record = ctebm.correspondence(net, x, target, eps=0.1, n_steps=3)
    assert record.first_arrival == [2, 2, 1]


def test_couplings_within_a_layer_of_a_skip_are_refused_to_the_chain():
    net = graph(ctebm.Tanh())
    _, target, free, rest = settled(net)
    with pytest.raises(ValueError, match="use implicit_gradient"):
        ctebm.chain_gradient(free, rest, target)


@pytest.mark.parametrize("rule", [ctebm.EquilibriumPropagation(1e-4, tol=1e-13), ctebm.Implicit()])
def test_rules_read_the_implicit_gradient(rule):
    net = graph(ctebm.Tanh())
    x, target, _, rest = settled(net)
    plastic = ctebm.PlasticField(net)
    equilibrium = plastic.settle(x, tol=1e-14)
    found = rule.gradient(plastic, equilibrium, target).by_name
    exact = ctebm.parameter_gradient(net, x, rest, target, "implicit").by_name
    for name, g in exact.items():
        torch.testing.assert_close(found[name], g.mean(0), rtol=1e-5, atol=1e-8)


def test_early_inference_reads_what_comes_by_the_shortest_path():
    """The part of the chain gradient that comes past other layers; the rest arrives later."""
    net = graph(ctebm.HardSigmoid(), SKIPS, gain=0.2)
    x, target, free, rest = settled(net)
    assert not rest.pinned.any()
    plastic = ctebm.PlasticField(net)
    assert plastic.depths == [2, 1, 1, 0]
    found = ctebm.Early(eps=0.1).gradient(plastic, plastic.settle(x, tol=1e-14), target).by_name
    error = rest.state[:, free.layers["y"]] - target
    r = {"x": net.rate_of("x")(x), **{k: rest.state[:, w] + 0.5 for k, w in free.layers.items()}}
    g = {"y": error, "h": error @ net.weights["h", "y"].mT, "k": error @ net.weights["k", "y"].mT}
    for a, b in SKIPS:
        torch.testing.assert_close(found[f"weights.{a}.{b}"], r[a].mT @ g[b] / 4)


def test_training_lowers_the_error_and_keeps_pairs_once():
    net = graph(ctebm.Tanh())
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 40)
    rates = np.clip(0.2 + 0.6 * labels[:, None] + 0.1 * draw.standard_normal((40, 3)), 0.05, 0.95)
    plan = ctebm.Plan(rule=ctebm.EquilibriumPropagation(), epochs=4, batch=8, rate=0.1)
    found = ctebm.train(net, rates, labels, plan).raise_for_status()
    alignment = found.to_dataset().alignment
    assert alignment.sel(reference="chain").isnull().all()  # within and past layers: not known
    costs = found.history["cost"]
    assert costs[-1] < 0.8 * costs[0]
    after = found.network
    assert isinstance(after, ctebm.LayerGraph)
    assert not torch.equal(after.weights["h", "h"], net.weights["h", "h"])
    assert not after.weights["h", "h"].tril().any()
    again = ctebm.load_network(found.to_dataset())
    s = rows(3, net.n_units)
    assert torch.equal(again.force(s), after.force(s))


def test_an_activation_by_name_is_one_by_place():
    net = graph(ctebm.Tanh())
    by_name = {"y": ctebm.Identity(), "x": ctebm.Identity(), "h": ctebm.Tanh(), "k": ctebm.ReLU()}
    weights = {p: W + W.mT if p[0] == p[1] else W for p, W in net.weights.items()}
    named = ctebm.LayerGraph(weights, net.biases, by_name)
    placed = ctebm.LayerGraph(weights, net.biases, [by_name[k] for k in net.layers])
    assert named.activation == placed.activation
    assert named.rate_of("k") == ctebm.ReLU()


B = {"x": [0.0, 0.0], "y": [0.0, 0.0]}
EYE = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "weights, biases, words",
    [
        ({}, B, "expected weights by pairs of layers"),
        ([EYE], B, "expected weights by pairs of layers"),
        ({("x", "z"): EYE}, B, "two of the layers x, y"),
        ({"xy": EYE}, B, "two of the layers x, y"),
        ({("x", "y"): EYE, ("y", "x"): EYE}, B, "serves both directions, got two"),
        ({("x", "y"): [[1.0, 2.0]]}, B, r"shape \(2, 2\) between 'x' and 'y', got \(1, 2\)"),
        ({("y", "y"): EYE}, B, "no self-coupling"),
        ({("y", "y"): [[0.0, 1.0], [2.0, 0.0]]}, B, "expected symmetric weights"),
        ({("x", "y"): [[1.0, math.nan], [0, 0]]}, B, "finite numbers in the weights of 'x'"),
        ({("x", "y"): EYE}, [[0.0]], "expected biases by layer"),
        ({("x", "y"): EYE}, {"x": 0.0, "y": [0.0]}, "expected a row of biases for layer 'x'"),
    ],
)
def test_what_is_no_graph_is_refused(weights, biases, words):
    with pytest.raises(ValueError, match=words):
        ctebm.LayerGraph(weights, biases, ctebm.Tanh())


def test_activations_for_other_layers_are_refused():
    with pytest.raises(ValueError, match="an activation for each of the layers x, y, got x"):
        ctebm.LayerGraph({("x", "y"): EYE}, B, {"x": ctebm.Tanh()})


@pytest.mark.parametrize("sizes", [[2, 3], {"x": 0, "y": 2}])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match="size"):
        ctebm.LayerGraph.random(sizes, [("x", "y")], ctebm.Tanh())


@pytest.mark.parametrize("couplings", [None, 3, torch.tensor(1.0), ctebm.Tanh()])
def test_couplings_that_are_no_pairs_are_refused(couplings):
    with pytest.raises(ValueError, match="couplings as a list of pairs"):
        ctebm.LayerGraph.random({"x": 2, "y": 2}, couplings, ctebm.Tanh())


def test_random_weights_are_glorots_and_centred():
    sizes = {"x": 30, "h": 40, "y": 20}
    pairs = [("x", "h"), ("h", "y"), ("h", "h")]
    net = ctebm.LayerGraph.random(sizes, pairs, ctebm.Tanh(), gain=0.5, seed=7)
    for (a, b), W in net.weights.items():
        limit = 0.5 * math.sqrt(6 / (sizes[a] + sizes[b]))
        assert 0.9 * limit < float(W.abs().max()) <= limit
    assert not net.force(torch.zeros(90)).abs().max() > 1e-15
    again = ctebm.LayerGraph.random(sizes, pairs, ctebm.Tanh(), gain=0.5, seed=7)
    assert all(torch.equal(again.weights[p], net.weights[p]) for p in pairs)
