"""Layers coupled to their neighbours: draws, blocks, the dense weights of small networks."""

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, F64, every_motion_and_network, layered, states
from network_contract import check

import ctebm
import ctebm.networks.layered
from ctebm.networks.layout import size_of


def test_layered_is_dense_with_its_own_matrix():
    net = layered(ACTIVATIONS["smooth-hard"])
    twin = ctebm.DenseNetwork(net.dense_weight(), net.bias, net.activation)
    s = states(net)
    torch.testing.assert_close(net.energy(s), twin.energy(s))
    torch.testing.assert_close(net.force(s), twin.force(s))
    assert list(net.layers) == ["x", "h2", "h1", "y"]
    assert dict(net.depth) == {"x": 3, "h2": 2, "h1": 1, "y": 0}


def test_random_weights_are_glorot_and_repeatable():
    net = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=5)
    same = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=5)
    other = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=6)
    assert torch.equal(net.weights[0], same.weights[0])
    assert not torch.equal(net.weights[0], other.weights[0])
    bound = 2 * (6 / 500) ** 0.5
    assert net.weights[0].abs().max() <= bound
    # uniform: variance bound^2 / 3; 60,000 weights, four standard errors
    assert float(net.weights[0].var()) == pytest.approx(bound**2 / 3, rel=4 * (0.8 / 60_000) ** 0.5)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: layered(ctebm.Tanh()).clamp({"x": [0.0]}), r"\(\*batch, 5\) for layer 'x'"),
        (lambda: layered(ctebm.Tanh()).clamp({"x": [np.nan] * 5}), "finite states for layer 'x'"),
        (lambda: _net([np.ones((2, 3))], [[0] * 2]), "one more array"),
        (lambda: _net([np.ones((3, 2))], [[0] * 2, [0] * 3]), r"weights\[0\] of shape \(2, 3\)"),
        (lambda: _net([np.ones((1, 1))], [0.0, 0.0]), "an array of biases for each layer"),
        (lambda: _net([np.ones((0, 1))], [[], [0.0]]), "at least one unit in each layer"),
        (lambda: _net([[[np.nan]]], [[0.0], [0.0]]), r"finite numbers in weights\[0\]"),
        (lambda: _net([[[1.0]]], [[0.0], [np.inf]]), r"finite numbers in biases\[1\]"),
        (lambda: ctebm.LayeredNetwork.random([4], ctebm.Tanh()), "two or more layers"),
        (
            lambda: ctebm.LayeredNetwork.random([4, 0], ctebm.Tanh()),
            "size >= 1, got 0; a layer has",
        ),
        (lambda: ctebm.LayeredNetwork.random([4, 2], ctebm.Tanh(), gain=np.nan), "finite gain"),
    ],
)
def test_bad_layers_are_refused_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def _net(weights, biases):
    return ctebm.LayeredNetwork(weights, biases, ctebm.Tanh())


@pytest.mark.parametrize("dense_units", [1, 1000])
@pytest.mark.parametrize(
    "clamped",
    [
        {},
        {"x": ()},
        {"x": (5,)},
        {"h2": (5,)},
        {"x": (), "h1": (5,)},
        {"x": (5,), "h2": (), "h1": ()},
    ],
    ids=str,
)
def test_blocks_are_the_dense_matrix(dense_units, clamped, monkeypatch):
    monkeypatch.setattr(ctebm.networks.layered, "_DENSE_UNITS", dense_units)
    net = ctebm.LayeredNetwork.random([60, 50, 40, 12], ctebm.Logistic(), seed=1)
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=F64, generator=draw)

    matrix = ctebm.DenseNetwork(net.dense_weight(), net.bias, net.activation, layers=net.layers)
    values = {k: normal(*batch, size_of(net.layers[k])) for k, batch in clamped.items()}
    net, matrix = net.clamp(values), matrix.clamp(values)
    for batch in ((), (5,), (3, 5)):
        s = normal(*batch, net.n_units)
        torch.testing.assert_close(net.force(s), matrix.force(s), rtol=0, atol=1e-13)


def test_a_network_keeps_no_weights_of_what_it_was_made_from():
    """Small networks keep their dense weights; clamping or another dtype must not take them on."""
    whole = layered(ACTIVATIONS["tanh"])
    parted = whole.clamp({"h1": torch.zeros(3, dtype=F64)})
    for net in (whole, parted):
        net.force(torch.zeros(net.n_units))  # fills what is kept
    ends = {"x": torch.zeros(5, dtype=F64), "y": torch.zeros(2, dtype=F64)}
    alone = parted.clamp(ends)
    twin = whole.clamp({"h1": torch.zeros(3, dtype=F64), **ends})
    s = states(alone, (3,))
    torch.testing.assert_close(alone.force(s), twin.force(s))
    assert alone.to(torch.float32).force(s.float()).dtype == torch.float32
    assert parted.clamp({"y": ends["y"]}).force(torch.zeros(9)).shape == (9,)


def write_through_data(net):
    net.weights[0].data.mul_(2)


def write_in_place(net):
    net.weights[0].mul_(2)


def write_an_element(net):
    net.weights[0].data[1, 2] += 1e-9


def replace(net):
    net.weights[0] = 2 * net.weights[0]


def replace_and_write(net):
    net.weights[0] = net.weights[0].clone()
    net.weights[0].data.mul_(2)


CHANGES = [write_through_data, write_in_place, write_an_element, replace, replace_and_write]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("held", [{}, {"h1": [0.1, 0.2, 0.3]}], ids=["whole", "parted"])
def test_the_force_sees_every_change_of_the_weights(change, held):
    net = layered(ACTIVATIONS["tanh"]).clamp(held)
    s = states(net, (3,))
    net.force(s)  # fills what is kept
    change(net)
    W = net.dense_weight()
    expected = net.activation.derivative(s) * (net.bias + net.activation(s) @ W) - s
    torch.testing.assert_close(net.force(s), expected, rtol=1e-13, atol=1e-14)


def test_samples_keep_the_dense_weights():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=1)
    free = net.clamp({"x": torch.rand(5, 3, dtype=net.dtype)}).snapshot()
    two = free.samples(free.batch, torch.tensor([1, 3]))
    assert two._matrix() is free._matrix() and torch.equal(two._matrix(), free.dense_weight())
    net.weights[1].data[0, 0] = 7.0  # two is a network of its own, which looks whether they change
    assert torch.equal(net._matrix(), net.dense_weight())


def test_weights_that_learn_are_never_kept():
    W = torch.ones(2, 1, dtype=F64, requires_grad=True)
    net = ctebm.LayeredNetwork([W], [[0.0, 0.0], [0.0]], ctebm.Tanh())
    s = torch.zeros(3, dtype=F64)
    for _ in range(2):
        (slope,) = torch.autograd.grad(net.force(s).sum(), W)
        torch.testing.assert_close(slope, torch.full((2, 1), 0.5, dtype=F64))


def test_weights_may_begin_to_learn_later():
    net = layered(ACTIVATIONS["tanh"])
    s = states(net, (3,))
    net.force(s)
    W = net.weights[0].requires_grad_()
    assert torch.autograd.grad(net.force(s).sum(), W)[0].any()


def test_inference_mode_is_a_mode_and_no_trap():
    net = layered(ACTIVATIONS["tanh"])
    s = states(net, (3,))
    before = layered(ACTIVATIONS["tanh"]).force(s)
    with torch.inference_mode():
        assert torch.equal(net.force(s), before)
        made_inside = layered(ACTIVATIONS["tanh"])
        assert torch.equal(made_inside.force(s), before)
        made_inside.weights[0].mul_(2)
        assert not torch.equal(made_inside.force(s), before)
    u = s.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.force(u).sum(), u)  # what was kept inside serves outside
    torch.testing.assert_close(slope, net.jacobian(s).sum(-2))


def test_force_may_be_mapped_over_weights():
    """torch.func sees the weights that it traces, not those kept."""
    net = layered(ACTIVATIONS["tanh"])
    s, W = states(net, ()), net.weights[0].clone()
    net.force(s)

    def force(W):
        net.weights[0] = W
        return net.force(s)

    batch = torch.stack([W, 2 * W])
    mapped = torch.func.vmap(force)(batch)
    slope = torch.func.jacrev(lambda W: force(W).sum())(W)
    each = torch.stack([force(one) for one in batch])
    torch.testing.assert_close(mapped, each)
    u = W.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(force(u).sum(), u)[0])


def test_a_network_that_is_held_whole_has_no_weights_left():
    net = layered(ACTIVATIONS["tanh"])
    held = net.clamp({name: torch.zeros(size_of(where)) for name, where in net.layers.items()})
    assert held.dense_weight().shape == (0, 0)


def test_a_random_network_is_estimated_by_its_weights(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ctebm.networks.stacks.check_memory", lambda what, n_bytes, *_: asked.append(n_bytes)
    )
    ctebm.LayeredNetwork.random([3, 5, 2], ctebm.Tanh())
    # drawn and copied, and while the largest block is scaled two more of it
    assert asked[0] == 8 * (2 * (15 + 10) + 2 * 15)


@pytest.mark.parametrize(
    "name", ["layered-smooth-hard", "batch-layered-hard", "parted", "feedback-hard"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
