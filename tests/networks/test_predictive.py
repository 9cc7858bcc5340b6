"""Predictive coding: against a plain perceptron, autograd, and numbers known to ten digits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import every_motion_and_network
from network_contract import check

import ctebm
from ctebm.networks.predictive import PredictiveNetwork

F64 = torch.float64
RATES = {
    "tanh": (torch.tanh, torch.tanh),
    "signed": (ctebm.SignedTanh(), torch.tanh),
    "softplus": (ctebm.Softplus(), torch.nn.functional.softplus),
    "sine": (torch.sin, torch.sin),
    "linear": (ctebm.Identity(), lambda s: s),
}


def drawn(sizes, seed):
    """Return normal weights over sqrt(m), and biases a tenth of normal, the input's 0."""
    r = np.random.default_rng(seed)
    weights = [r.standard_normal((m, n)) / np.sqrt(m) for m, n in pairwise(sizes)]
    return weights, [np.zeros(sizes[0]), *(0.1 * r.standard_normal(n) for n in sizes[1:])]


def known(rho=torch.tanh, **options):
    """Return the network 6-5-4-3 of the known numbers, its input and its target."""
    weights, biases = drawn([6, 5, 4, 3], 3)
    x = np.random.default_rng(4).standard_normal((1, 6))
    target = np.random.default_rng(5).standard_normal((1, 3))
    return PredictiveNetwork(weights, biases, rho, **options), x, target


def perceptron(net, x, phi):
    """Return the layers of a plain multilayer perceptron, none of them ctebm's."""
    layers = [torch.as_tensor(x, dtype=F64)]
    for W, b in zip(net.weights, net.biases[1:], strict=True):
        layers.append(phi(layers[-1]) @ W + b)
    return layers


def back_propagated(net, x, target, phi):
    """Return autograd's gradient of C for each layer above the input, and for each weight."""
    weights = [W.clone().requires_grad_() for W in net.weights]
    h, layers = torch.as_tensor(x, dtype=F64), []
    for W, b in zip(weights, net.biases[1:], strict=True):
        h = phi(h) @ W + b
        layers.append(h)
    C = (h - torch.as_tensor(target)).square().sum() / 2
    grads = torch.autograd.grad(C, [*layers, *weights])
    return grads[: len(layers)], grads[len(layers) :]


@pytest.mark.parametrize("name", RATES)
def test_it_rests_at_the_forward_pass_without_error(name):
    rho, phi = RATES[name]
    net, x, _ = known(rho)
    expected = torch.cat(perceptron(net, x, phi)[1:], -1)
    free = net.clamp({"x": x})
    torch.testing.assert_close(free.first_guess(), expected, rtol=1e-14, atol=1e-14)
    assert int(ctebm.settle(free).iterations) == 0  # one forward pass
    far = ctebm.settle(free, torch.ones(12), tol=1e-13)
    torch.testing.assert_close(far.state, expected, rtol=1e-12, atol=1e-12)
    assert float(far.energy) < 1e-24


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("eps", [0.5, 0.1])
def test_first_arrival_is_back_propagation_for_every_rate_and_step(name, eps):
    rho, phi = RATES[name]
    net, x, target = known(rho)
    gradients, _ = back_propagated(net, x, target, phi)
    free = net.clamp({"x": x})
    fixed = ctebm.settle(free)
    chain = ctebm.chain_gradient(free, fixed, target)
    torch.testing.assert_close(chain, torch.cat(gradients, -1), rtol=1e-13, atol=1e-14)
    record = ctebm.correspondence(net, x, target, eps=eps, n_steps=4)
    for depth, (where, g) in enumerate(zip(reversed(free.layers.values()), reversed(gradients),
                                           strict=True)):  # fmt: skip
        moved = record.displacement[0, 0, :, where]
        assert not moved[: depth + 1].any()
        arrived = -(eps ** (depth + 1)) * g[0]
        error = (moved[depth + 1] - arrived).norm() / arrived.norm()
        assert float(error) < 1e-12


def test_the_numbers_known_to_ten_digits():
    net, x, target = known()
    free = net.clamp({"x": x})
    fixed = ctebm.settle(free)
    y = free.layers["y"]
    same = {"rtol": 0, "atol": 6e-11}
    np.testing.assert_allclose(fixed.state[0, y], [-0.2210086643, 1.0256806043, -0.2747953516],
                               **same)  # fmt: skip
    g = ctebm.chain_gradient(free, fixed, target)[0]
    sizes = [float(g[w].norm()) for w in free.layers.values()]
    np.testing.assert_allclose(sizes, [2.2651326474, 2.7450803895, 2.4209205104], **same)
    eigenvalues = torch.linalg.eigvalsh(free.hessian(fixed.state))[0]
    np.testing.assert_allclose(eigenvalues[[0, -1]], [0.1755141308, 3.8790296261], **same)
    assert float(eigenvalues.prod()) == pytest.approx(1, abs=1e-13)
    clamped = ctebm.settle(free.clamp({"y": target})).raise_for_status()
    assert float(clamped.energy) == pytest.approx(0.9759559798, abs=6e-11)


def test_the_driven_rule_is_the_weight_gradient_of_back_propagation():
    """G4: the vector-Jacobian product of the driven layer's force with its own chain gradient."""
    net, x, target = known()
    _, expected = back_propagated(net, x, target, torch.tanh)
    np.testing.assert_allclose(
        [float(g.norm()) for g in expected], [3.5228292654, 2.5731375152, 1.7425786859], atol=6e-11
    )
    free = net.clamp({"x": x})
    fixed = ctebm.settle(free)
    g = ctebm.chain_gradient(free, fixed, target)
    weights = [W.clone().requires_grad_() for W in net.weights]
    force = PredictiveNetwork(weights, net.biases, torch.tanh).clamp({"x": x}).force(fixed.state)
    for i, W in enumerate(weights):
        where = free.layers[net.drives[f"weights.{i}"]]
        found = torch.autograd.grad((force * g)[..., where].sum(), W, retain_graph=True)[0]
        torch.testing.assert_close(found, expected[i], rtol=1e-13, atol=1e-14)


def test_precisions_divide_the_chain_gradient_and_multiply_the_determinant():
    v = [0.5, 2.0, 4.0]  # of h2, h1, y
    net, x, target = known(precisions=[1 / value for value in v])
    gradients, _ = back_propagated(net, x, target, torch.tanh)
    free = net.clamp({"x": x})
    fixed = ctebm.settle(free)
    chain = ctebm.chain_gradient(free, fixed, target)
    for (name, where), g in zip(free.layers.items(), gradients, strict=True):
        passed = math.prod(v[len(v) - free.depth[name] :])  # of the layers nearer to the output
        torch.testing.assert_close(chain[..., where], g / passed, rtol=1e-12, atol=1e-13)
    determinant = float(torch.linalg.det(free.hessian(fixed.state)))
    sizes = [5, 4, 3]
    expected = math.prod(value**-n for value, n in zip(v, sizes, strict=True))
    assert determinant == pytest.approx(expected, rel=1e-12)


def test_a_nudge_adds_the_cost_and_is_a_predictive_network_again():
    net, x, target = known()
    free = net.clamp({"x": x})
    nudged = free.nudged(target, 0.3)
    assert isinstance(nudged, PredictiveNetwork) and list(nudged.layers) == ["h2", "h1", "y"]
    s = torch.randn(4, 1, 12, dtype=F64, generator=torch.Generator().manual_seed(1))
    C = (s[..., free.layers["y"]] - torch.as_tensor(target)).square().sum(-1) / 2
    torch.testing.assert_close(nudged.energy(s), free.energy(s) + 0.3 * C)
    with pytest.raises(ValueError, match="not nudged yet"):
        nudged.nudged(target, 0.1)
    with pytest.raises(ValueError, match="free output"):
        free.clamp({"y": target}).nudged(target, 0.1)


def test_a_nudge_of_an_output_that_nothing_predicts_leaves_out_its_bias():
    """In the generative direction the output's bias is not used, and the target predicts it."""
    (weights, biases), rho = drawn([4, 3, 2], 3), ctebm.SignedTanh()
    x, target = torch.full((1, 4), 0.3, dtype=F64), torch.tensor([[0.5, -0.2]], dtype=F64)
    free = [
        PredictiveNetwork(weights, [*biases[:-1], b], rho, direction="generative").clamp({"x": x})
        for b in (None, [5.0, -3.0])
    ]
    s = torch.full((1, 5), 0.4, dtype=F64)
    for net in free:
        nudged = net.nudged(target, 0.3)
        C = (s[..., 3:] - target).square().sum(-1) / 2
        torch.testing.assert_close(nudged.energy(s), net.energy(s) + 0.3 * C)
        loaded = ctebm.load_network(ctebm.settle(nudged, s).to_dataset())
        held = loaded.clamp({"x": x, "target": target})
        assert torch.equal(held.force(s), nudged.force(s))
    ends = [ctebm.settle(net.nudged(target, 0.3), tol=1e-13).state for net in free]
    assert torch.equal(*ends)


def test_a_generative_network_predicts_its_input_from_its_output():
    weights, biases = drawn([4, 3, 2], 0)
    biases[0] = np.ones(4) / 3
    net = PredictiveNetwork(weights, biases, torch.tanh, direction="generative")
    x, h, y = (torch.randn(n, dtype=F64) for n in (4, 3, 2))
    errors = (
        x - (torch.tanh(h) @ net.weights[0].mT + net.biases[0]),
        h - (torch.tanh(y) @ net.weights[1].mT + net.biases[1]),
    )
    expected = sum(e.square().sum() for e in errors) / 2
    torch.testing.assert_close(net.energy(torch.cat([x, h, y])), expected)
    assert net.drives["weights.0"] == "x" and net.drives["biases.1"] == "h1"
    dreamt = net.clamp({"y": y})
    down = torch.tanh(y) @ net.weights[1].mT + net.biases[1]
    torch.testing.assert_close(ctebm.settle(dreamt).state[dreamt.layers["h1"]], down)


def test_weights_lead_from_the_input_and_an_unused_bias_may_be_left_out():
    net = PredictiveNetwork([[[2.0], [1.0]]], [None, [0.5]], ctebm.Identity())
    assert net.biases[0].tolist() == [0, 0]
    torch.testing.assert_close(net.energy([1.0, 2.0, 5.0]), torch.tensor(0.125, dtype=F64))


def test_random_weights_are_those_of_layered_networks():
    net = PredictiveNetwork.random([4, 3, 2], ctebm.SignedTanh(), gain=0.7, seed=5)
    other = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh(), gain=0.7, seed=5)
    for W, V in zip(net.weights, other.weights, strict=True):
        assert torch.equal(W, V)
    assert net.depth == other.depth == {"x": 2, "h1": 1, "y": 0}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([[[1.0]]], [[0], [0], [0]], torch.tanh), "one more array of biases"),
        (([[[1.0]]], [[0], [0, 0]], torch.tanh), "weights\\[0\\] of shape"),
        (([[[1.0]]], [[0], [0]], [torch.tanh] * 3), "one for each of the 2 layers"),
        (([[[1.0]]], [[0], [0]], torch.tanh, [1, 1]), "one for each of the 1 predictions"),
        (([[[1.0]]], [[0], [0]], torch.tanh, 0.0), "precision"),
        (([[[np.nan]]], [[0], [0]], torch.tanh), "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PredictiveNetwork(*arguments)


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="direction"):
        PredictiveNetwork([[[1.0]]], [[0], [0]], torch.tanh, direction="up")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("direction", ["discriminative", "generative"])
@pytest.mark.parametrize("held", ["x", "h1", "y"])
def test_parameters_may_change_after_clamping(direction, held):
    net = ctebm.PredictiveNetwork.random([3, 4, 2], ctebm.SignedTanh(), direction=direction, seed=0)
    states = {held: torch.ones(2, net._all[held], dtype=torch.float64) / 3}
    free = net.clamp(states)
    s = torch.ones(2, free.n_units, dtype=torch.float64) / 5
    before = free.force(s)
    for p in net.state_dict().values():
        p.data.mul_(1.5)  # past its version
    after = net.clamp(states)
    assert not torch.allclose(before, after.force(s))
    assert torch.equal(free.force(s), after.force(s))
    assert torch.equal(free.energy(s), after.energy(s))
    net.weights[0].requires_grad_()  # its gradient reaches it twice
    for _ in range(2):
        slope = torch.autograd.grad(free.energy(s).sum(), net.weights[0])
        torch.testing.assert_close(
            slope, torch.autograd.grad(after.energy(s).sum(), net.weights[0])
        )


@pytest.mark.parametrize(
    "name",
    [
        "predictive-mixed",
        "batch-predictive-generative",
        "nudged-predictive",
        "batch-nudged-predictive",
    ],
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
