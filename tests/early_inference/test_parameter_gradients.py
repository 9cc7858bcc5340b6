"""Gradients of weights and biases against autograd through what each of them differentiates."""

import pytest
import torch
from cases import ACTIVATIONS, layered
from own_energies import OwnLayers, forward_pass, problem

import ctebm
from ctebm.early_inference.gradients import responsive_units


def whole_network(rho, gain=0.6, sizes=(5, 6, 4, 3), n=4):
    net = layered(ACTIVATIONS[rho], sizes, gain)
    draw = torch.Generator().manual_seed(5)
    x = 0.8 * torch.rand(n, sizes[0], generator=draw, dtype=torch.float64) - 0.4
    y = 0.6 * torch.rand(n, sizes[-1], generator=draw, dtype=torch.float64) - 0.3
    fixed = ctebm.settle(net.clamp({"x": x}), tol=1e-14)
    return net, x, fixed, y


def leaves(net):
    weights = [W.clone().requires_grad_() for W in net.weights]
    biases = [b.clone().requires_grad_() for b in net.biases]
    return ctebm.LayeredNetwork(weights, biases, net.activation), weights, biases


@pytest.mark.parametrize("rho", ["tanh", "logistic", "hard"])
def test_bptt_weights_are_autograd_through_the_steps(rho):
    """Every synapse: a symmetric weight acts in both directions, in every step."""
    net, x, fixed, y = whole_network(rho)
    found = ctebm.parameter_gradient(net, x, fixed.state, y, "bptt", eps=0.2, n_steps=6)
    held = torch.cat([torch.ones_like(x, dtype=torch.bool), fixed.pinned], -1)
    for row in range(len(x)):
        twin, weights, biases = leaves(net)
        s = torch.cat([x[row], fixed.state[row]])
        for _ in range(6):
            s = torch.where(held[row], s.detach(), s + 0.2 * twin.force(s))
        C = (s[twin.layers["y"]] - y[row]).square().sum() / 2
        for mine, theirs in zip(
            [*found.weights, *found.biases],
            torch.autograd.grad(C, [*weights, *biases], materialize_grads=True),
            strict=True,
        ):
            torch.testing.assert_close(mine[row], theirs, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("rho", ["tanh", "hard"])
def test_implicit_weights_are_the_slope_of_the_settled_error(rho):
    """By finite differences of the error after settling anew, synapse by synapse."""
    net, x, fixed, y = whole_network(rho, sizes=(3, 4, 3, 2))
    found = ctebm.parameter_gradient(net, x, fixed.state, y, "implicit")

    def error(weights):
        moved = ctebm.LayeredNetwork(weights, net.biases, net.activation).clamp({"x": x})
        end = ctebm.settle(moved, fixed.state, tol=1e-14)
        return (end.state[:, moved.layers["y"]] - y).square().sum(-1) / 2

    h = 1e-5
    for i, W in enumerate(net.weights):
        for place in [(0, 0), (1, 1), (2, 0)]:
            shift = torch.zeros_like(W)
            shift[place] = h
            up = [V + shift if j == i else V for j, V in enumerate(net.weights)]
            down = [V - shift if j == i else V for j, V in enumerate(net.weights)]
            slope = (error(up) - error(down)) / (2 * h)
            torch.testing.assert_close(
                found.weights[i][:, place[0], place[1]], slope, rtol=1e-6, atol=1e-9
            )


def test_chain_weights_are_back_propagation_from_layer_to_layer():
    net, x, fixed, y = whole_network("logistic")
    found = ctebm.parameter_gradient(net, x, fixed.state, y)
    clamped, rho = net.clamp({"x": x}), net.activation
    g = ctebm.chain_gradient(clamped, fixed.state, y)
    h2, h1, out = (fixed.state[:, where] for where in clamped.layers.values())
    states, adjoints = [x, h2, h1, out], [g[:, where] for where in clamped.layers.values()]
    for i in range(3):
        after = rho.derivative(states[i + 1]) * adjoints[i]
        expected = rho(states[i]).unsqueeze(-1) * after.unsqueeze(-2)
        torch.testing.assert_close(found.weights[i], expected)
        torch.testing.assert_close(found.biases[i + 1], after)
    assert (found.biases[0] == 0).all()


def test_a_drive_moves_synapses_down_the_chain_gradient():
    """Eq. 26 at first arrival: s_dot_i rho'(s_i) rho(s_j) is -eps^(k+1) dC/dW_ij."""
    net, x, fixed, y = whole_network("hard", gain=0.3)
    eps = 0.1
    record = ctebm.correspondence(net, x, y, [eps], n_steps=5, state=fixed.state)
    found = ctebm.parameter_gradient(net, x, fixed.state, y)
    before = [x, *(fixed.state[:, where] for where in fixed.network.layers.values())]
    for i, (k, where) in enumerate(zip(record.depth, fixed.network.layers.values(), strict=True)):
        moved = record.displacement[:, 0, k + 1, where]
        change = net.activation(before[i]).unsqueeze(-1) * moved.unsqueeze(-2)
        torch.testing.assert_close(change, -(eps ** (k + 1)) * found.weights[i], rtol=0, atol=3e-15)


def test_gradients_without_a_meaning_are_refused():
    net, x, fixed, y = whole_network("tanh")
    with pytest.raises(ValueError, match="eps and n_steps for 'bptt'"):
        ctebm.parameter_gradient(net, x, fixed.state, y, "bptt")
    with pytest.raises(
        ValueError, match="expected a gradient 'chain', 'chain_feedback', 'implicit' or 'bptt'"
    ):
        ctebm.parameter_gradient(net, x, fixed.state, y, "exact")
    with pytest.raises(ValueError, match=r"only then, got 0.1 and 3 for 'chain'"):
        ctebm.parameter_gradient(net, x, fixed.state, y, eps=0.1, n_steps=3)
    with pytest.raises(ValueError, match=r"only then, got 0.1 and None for 'bptt'"):
        ctebm.parameter_gradient(net, x, fixed.state, y, "bptt", eps=0.1)
    with pytest.raises(ValueError, match=r"whole number n_steps >= 0, got 2.5"):
        ctebm.parameter_gradient(net, x, fixed.state, y, "bptt", eps=0.1, n_steps=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected a whole network with named layers, got"):
        ctebm.parameter_gradient(net.clamp({"x": x}), x, fixed.state, y)


@pytest.mark.parametrize("which", ["chain", "implicit", "bptt"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_states_and_targets_that_are_not_finite_are_named(which, bad):
    net, x, fixed, y = whole_network("hard")
    steps = {"eps": 0.1, "n_steps": 3} if which == "bptt" else {}
    for unit in (0, -1):
        s = fixed.state.clone()
        s[2, unit] = bad
        with pytest.raises(ValueError, match=f"finite states, got {bad} in unit .* of sample 2"):
            ctebm.parameter_gradient(net, x, s, y, which, **steps)
    y = y.clone()
    y[3, 1] = bad
    with pytest.raises(ValueError, match=f"for layer 'y', got {bad} in unit 1 of sample 3"):
        ctebm.parameter_gradient(net, x, fixed.state, y, which, **steps)


def test_no_steps_have_no_gradient_in_any_batch():
    net, x, fixed, y = whole_network("tanh")
    found = ctebm.parameter_gradient(net, x[0], fixed.state[0], y, "bptt", eps=0.1, n_steps=0)
    assert found.weights[0].shape == (len(y), *net.weights[0].shape)
    assert not any(W.any() for W in found.weights)


def test_a_pinned_unit_passes_no_chain_gradient_to_its_weights():
    net, x, fixed, y = whole_network("hard", gain=2.0)
    clamped = net.clamp({"x": x})
    out = clamped.layers["y"]
    y = torch.where(fixed.pinned[:, out], 3 * fixed.state[:, out], y)  # pulled out of the box
    found = ctebm.parameter_gradient(net, x, fixed.state, y)
    carries = responsive_units(clamped, fixed.state, y)
    g = ctebm.chain_gradient(clamped, fixed.state, y)
    assert 0 < int((~carries).sum()) < carries.numel()
    assert bool((g[~carries] != 0).any())  # an error comes to it, and goes no further
    for name, where in clamped.layers.items():
        biases = found.biases[list(net.layers).index(name)]
        torch.testing.assert_close(biases, torch.where(carries, g, 0.0)[:, where])
    for i, where in enumerate(clamped.layers.values()):
        held = ~carries[:, where]
        assert not found.weights[i].mT[held].any()


@pytest.mark.parametrize("which", ["chain", "implicit", "bptt"])
@pytest.mark.parametrize("rho", ["tanh", "logistic", "hard"])
def test_a_users_eq_6_has_the_gradients_of_the_closed_form(rho, which):
    net, x, fixed, y = whole_network(rho, gain=0.3)
    assert not fixed.pinned.any()
    steps = {"eps": 0.1, "n_steps": 5} if which == "bptt" else {}
    closed = ctebm.parameter_gradient(net, x, fixed.state, y, which, **steps).by_name
    found = ctebm.parameter_gradient(OwnLayers(net), x, fixed.state, y, which, **steps).by_name
    for name, g in found.items():
        torch.testing.assert_close(g, closed[name], rtol=1e-9, atol=1e-13)


def test_chain_weights_of_a_users_predictive_network_are_back_propagation():
    net, x, target = problem()
    s = forward_pass(net, x)
    found = ctebm.parameter_gradient(net, x, s, target).by_name
    leaves = {f"W.{i}": W.clone().requires_grad_() for i, W in enumerate(net.W)}
    for row in range(len(x)):
        h = x[row]
        for i, b in enumerate(net.b):
            h = torch.tanh(h) @ leaves[f"W.{i}"] + b
        C = (h - target[row]).square().sum() / 2
        for name, g in zip(leaves, torch.autograd.grad(C, list(leaves.values())), strict=True):
            torch.testing.assert_close(found[name][row], g, rtol=0, atol=1e-14)


@pytest.mark.parametrize("which", ["chain", "implicit"])
def test_any_cost_of_a_predictive_network_is_that_of_its_forward_pass(which):
    net, x, _ = problem()
    label = torch.arange(len(x)) % 3
    target = torch.eye(3, dtype=torch.float64)[label]

    def cross_entropy(y, t):
        return -(t * y.log_softmax(-1)).sum(-1)

    s = forward_pass(net, x)
    found = ctebm.parameter_gradient(net, x, s, target, which, cost=cross_entropy).by_name
    W = [V.clone().requires_grad_() for V in net.W]
    h = x
    for V, b in zip(W, net.b, strict=True):
        h = torch.tanh(h) @ V + b
    torch.nn.functional.cross_entropy(h, label, reduction="sum").backward()
    for i, V in enumerate(W):
        torch.testing.assert_close(found[f"W.{i}"].sum(0), V.grad, rtol=0, atol=1e-9)


def test_a_cost_of_another_shape_is_refused():
    net, x, target = problem()
    with pytest.raises(ValueError, match=r"expected a cost of shape \(7,\), one for each sample"):
        ctebm.parameter_gradient(
            net, x, forward_pass(net, x), target, cost=lambda y, t: (y - t).square().sum()
        )


def test_chain_feedback_goes_down_by_the_feedback_weights():
    net, x, _, y = whole_network("tanh")
    turned = ctebm.FeedbackNetwork.at_angle(net, 60)
    s = ctebm.settle(turned.clamp({"x": x}), tol=1e-14).state
    found = ctebm.parameter_gradient(turned, x, s, y, "chain_feedback")
    mirrored = ctebm.FeedbackNetwork(turned.feedback, turned.feedback, net.biases, net.activation)
    g = ctebm.chain_gradient(mirrored.clamp({"x": x}), s, y)
    first = turned.clamp({"x": x}).layers["h2"]
    slope = net.activation.derivative(s)
    expected = net.activation(x).unsqueeze(-1) * (slope * g)[:, first].unsqueeze(-2)
    torch.testing.assert_close(found.weights[0], expected)
    chain = ctebm.parameter_gradient(turned, x, s, y)
    assert not torch.allclose(chain.weights[0], found.weights[0], rtol=0.3)
    assert not any(V.any() for V in chain.feedback)


def test_the_implicit_gradient_of_separate_directions_is_a_slope():
    net, x, _, y = whole_network("tanh", sizes=(3, 4, 3, 2))
    turned = ctebm.FeedbackNetwork.at_angle(net, 60)
    s = ctebm.settle(turned.clamp({"x": x}), tol=1e-14).state
    found = ctebm.parameter_gradient(turned, x, s, y, "implicit")

    def error(feedback):
        moved = ctebm.FeedbackNetwork(turned.weights, feedback, net.biases, net.activation)
        held = moved.clamp({"x": x})
        end = ctebm.settle(held, s, tol=1e-14).state[:, held.layers["y"]]
        return (end - y).square().sum(-1) / 2

    shift = torch.zeros_like(turned.feedback[1])
    shift[1, 2] = 1e-5
    V = turned.feedback
    up, down = (error([V[0], V[1] + sign * shift, V[2]]) for sign in (1, -1))
    slope = (up - down) / 2e-5
    torch.testing.assert_close(found.feedback[1][:, 1, 2], slope, rtol=1e-6, atol=1e-9)
