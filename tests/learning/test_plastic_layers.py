"""Couplings that learn: equilibria and early motion of batches, against the general solvers."""

import dataclasses

import pytest
import torch
from learning_cases import ACTIVATIONS, free, samples, states

import ctebm
from ctebm import PlasticNetwork
from ctebm.equilibria.kkt import residual
from ctebm.learning import plastic_layers
from ctebm.learning.initial_weights import smallest_curvature


@pytest.mark.parametrize("tied", [True, False])
def test_settles_where_the_general_solver_does(tied):
    network, x, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    if not tied:
        network = ctebm.FeedbackNetwork.at_angle(network, 40)
    found = PlasticNetwork(network, tied=tied).settle(x, tol=1e-12)
    expected = ctebm.settle(network.clamp({"x": x}), tol=1e-12).state
    assert torch.equal(found.states[0], x)
    torch.testing.assert_close(free(found.states), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_driven_motion_is_that_of_the_general_integrator(activation):
    network, x, target = states((9, 8, 7, 5), activation, gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), drive=target), free(found.states),
        n_steps=9, eps=0.2,
    )  # fmt: skip
    for n in range(1, 10):
        moved = plastic.drive(found, target, eps=0.2, n_steps=n)
        torch.testing.assert_close(
            free(found.states) + free(moved), run.state[n], rtol=0, atol=1e-11
        )


def test_driven_motion_with_feedback_weights_of_their_own():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    network = ctebm.FeedbackNetwork.at_angle(network, 40)
    plastic = PlasticNetwork(network, tied=False)
    found = plastic.settle(x, tol=1e-13)
    dynamics = ctebm.Dynamics(network.clamp({"x": x}), drive=target)
    run = ctebm.simulate(dynamics, free(found.states), n_steps=6, eps=0.2)
    moved = plastic.drive(found, target, eps=0.2, n_steps=6)
    torch.testing.assert_close(free(found.states) + free(moved), run.state[6], rtol=0, atol=1e-11)


def test_first_arrivals_are_those_of_the_full_motion():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    arrived = plastic.drive(found, target, eps=0.3)
    for depth in range(3):
        full = plastic.drive(found, target, eps=0.3, n_steps=depth + 1)
        torch.testing.assert_close(arrived[-1 - depth], full[-1 - depth], rtol=0, atol=1e-14)


def test_a_loose_equilibrium_does_not_hide_the_change():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.3)
    plastic = PlasticNetwork(network)
    exact, loose = plastic.settle(x, tol=1e-13), plastic.settle(x, tol=1e-3)
    change = [plastic.drive(found, target, eps=0.1)[1] for found in (exact, loose)]
    assert float(loose.residual.max()) > 10 * float(change[0].abs().max())
    torch.testing.assert_close(change[1], change[0], rtol=0.01, atol=1e-6)


def test_a_nudge_moves_the_equilibrium_as_the_dynamics_says():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid())
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    nudged = plastic.nudge(found, target, beta=0.4, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), nudge=target, beta=0.4),
        free(found.states), n_steps=400, eps=0.5, save_every=400,
    )  # fmt: skip
    torch.testing.assert_close(free(nudged.states), run.state[-1], rtol=0, atol=1e-10)


def test_feedback_has_one_orientation():
    network, x, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    network = ctebm.FeedbackNetwork.at_angle(network, 40)
    plastic = PlasticNetwork(network, tied=False)
    again = plastic.to_network()
    for V, mine, back in zip(network.feedback, plastic.feedback, again.feedback, strict=True):
        assert torch.equal(mine, V) and torch.equal(back, V)
    found = plastic.settle(x, tol=1e-11)
    assert float(residual(again.clamp({"x": x}), free(found.states)).max()) <= 1e-11


def test_another_dtype_is_a_copy():
    plastic = PlasticNetwork(states((9, 7, 5), ctebm.HardSigmoid())[0])
    single = plastic.to(dtype=torch.float32)
    assert single.feedback is single.weights
    before = plastic.weights[0].clone()
    single.weights[0].zero_()
    assert torch.equal(plastic.weights[0], before)


def test_refuses_a_clamped_network():
    network, x, _ = states((9, 7, 5), ctebm.HardSigmoid())
    with pytest.raises(ValueError, match="nothing clamped"):
        PlasticNetwork(network.clamp({"x": x}))


def test_refuses_two_directions_as_one():
    network = ctebm.FeedbackNetwork.at_angle(states((9, 7, 5), ctebm.HardSigmoid())[0], 40)
    with pytest.raises(ValueError, match="tied=False"):
        PlasticNetwork(network)


@pytest.mark.parametrize("tied", [True, False])
def test_what_learns_stands_by_pairs_of_layers(tied):
    network, _, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    plastic = PlasticNetwork(network, tied=tied)
    groups = [[plastic.parameters[name] for name in names] for names in plastic.groups.values()]
    assert list(plastic.groups) == ["x-h2", "h2-h1", "h1-y"]
    assert plastic.sizes == [9, 8, 7, 5]
    for i, group in enumerate(groups):
        own = [plastic.weights[i], plastic.biases[i + 1]]
        expected = own if tied else [*own, plastic.feedback[i]]
        assert len(group) == len(expected)
        assert all(p is q for p, q in zip(group, expected, strict=True))
    assert (plastic.feedback[0] is plastic.weights[0]) == tied
    assert (plastic.to(dtype=torch.float32).feedback[0].dtype) == torch.float32


def test_gradients_through_time_are_slopes_of_the_error_after_the_steps():
    """By central differences along a direction in each matrix, from states that stay the same."""
    network, x, target = states((9, 8, 7, 5), ctebm.Logistic(), gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-12)
    gradient = plastic.through_time(found, target, eps=0.2, n_steps=4).by_name

    def error(weights):
        changed = ctebm.LayeredNetwork(weights, network.biases, network.activation)
        run = ctebm.simulate(changed.clamp({"x": x}), free(found.states), n_steps=4, eps=0.2)
        return float((run.state[-1][:, -5:] - target).square().sum()) / (2 * len(x))

    draw, h = torch.Generator().manual_seed(0), 1e-5
    for i, W in enumerate(network.weights):
        along = torch.randn(W.shape, generator=draw, dtype=W.dtype)
        ends = (
            error([*network.weights[:i], W + side * h * along, *network.weights[i + 1 :]])
            for side in (1, -1)
        )
        slope = (next(ends) - next(ends)) / (2 * h)
        assert float((gradient[f"weights.{i}"] * along).sum()) == pytest.approx(slope, rel=1e-5)


def forces(plastic, states, weights, feedback, biases):
    """Return the force on each layer above the input by eq. 8, as plain products."""
    rho, top = plastic.activation, len(states) - 1
    found = []
    for i in range(1, top + 1):
        I = biases[i] + rho(states[i - 1]) @ weights[i - 1]
        if i < top:
            I = I + rho(states[i + 1]) @ feedback[i].mT
        slope = 1.0 if rho.box is not None else rho.derivative(states[i])
        found.append(slope * I - states[i])
    return found


def random_like(states, seed=0):
    """Return vectors of any size above the input, and none on it."""
    draw = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(s.shape, generator=draw, dtype=s.dtype) for s in states[1:]]
    return [torch.zeros_like(states[0]), *drawn]


def directions(tied, activation, gain=0.4):
    """Return a network of one or two weights a pair, a batch at equilibrium and its targets."""
    network, x, target = states((9, 8, 7, 5), activation, gain=gain)
    if not tied:
        network = ctebm.FeedbackNetwork.at_angle(network, 40)
    plastic = PlasticNetwork(network, tied=tied)
    return plastic, plastic.settle(x, tol=1e-12, max_sweeps=2000), target


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
@pytest.mark.parametrize("tied", [True, False])
def test_products_with_forces_are_their_gradients(tied, activation):
    """`whole` by autograd through all forces, `driven` through those above a weight alone."""
    plastic, found, _ = directions(tied, activation)
    v = random_like(found.states)
    leaves = {name: p.clone().requires_grad_() for name, p in plastic.parameters.items()}
    W = [leaves[f"weights.{i}"] for i in range(3)]
    V = W if tied else [leaves[f"feedback.{i}"] for i in range(3)]
    b = [plastic.biases[0], *(leaves[f"biases.{i}"] for i in (1, 2, 3))]
    for method, back in ((plastic.whole, V), (plastic.driven, [W_i.detach() for W_i in V])):
        f = forces(plastic, found.states, W, back if tied else V, b)
        total = sum((f_i * v_i).sum() for f_i, v_i in zip(f, v[1:], strict=True)) / len(v[0])
        slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        gradient = method(found, v).by_name
        assert gradient.keys() == leaves.keys()
        for (name, leaf), e in zip(leaves.items(), slopes, strict=True):
            torch.testing.assert_close(gradient[name], torch.zeros_like(leaf) if e is None else e)
    if activation.box is None:  # eq. 26
        bare, rho = plastic.driven(found, v, slope=False), plastic.activation
        for i in range(3):
            expected = torch.einsum("ni,nj->ij", rho(found.states[i]), v[i + 1]) / len(v[0])
            torch.testing.assert_close(bare.weights[i], expected)
            torch.testing.assert_close(bare.biases[i], v[i + 1].mean(0))


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
@pytest.mark.parametrize("tied", [True, False])
def test_adjoints_are_products_with_the_jacobian(tied, activation):
    """Of the chain alone, of units that carry a change, and of the whole network."""
    plastic, found, target = directions(tied, activation, gain=1.2 if activation.box else 0.5)
    s, rho = found.states, plastic.activation
    slope = [torch.ones_like(a) if rho.box else rho.derivative(a) for a in s]
    carries = [torch.ones_like(a) for a in s]
    if rho.box is not None:
        carries[1:3] = [(a.abs() < 0.5).double() for a in s[1:3]]
        outward = (s[3].abs() == 0.5) & (s[3].sign() == (target - s[3]).sign())
        carries[3] = (~outward).double()
        assert 0 < float(carries[1].mean()) < 1 and 0 < float(carries[2].mean()) < 1
    for which, back in (("chain", plastic.weights), ("chain_feedback", plastic.feedback)):
        g = plastic.adjoint(found, target, which)
        expected = [torch.zeros_like(s[0]), None, None, carries[3] * (s[3] - target)]
        for i in (2, 1):
            expected[i] = carries[i] * slope[i] * ((slope[i + 1] * expected[i + 1]) @ back[i].mT)
        torch.testing.assert_close(g, expected)
    implicit = plastic.adjoint(found, target, "implicit")
    held = plastic.to_network().clamp({"x": s[0]})
    whole = free(s)
    exact = ctebm.implicit_gradient(held, whole, target)
    torch.testing.assert_close(free(implicit), exact)
    assert torch.equal(implicit[0], torch.zeros_like(s[0])) and len(implicit) == 4


@pytest.mark.parametrize("tied", [True, False])
def test_contrasts_are_differences_of_products_of_rates(tied):
    plastic, found, _ = directions(tied, ctebm.Tanh())
    before, after = (
        dataclasses.replace(found, states=random_like(found.states, seed)) for seed in (1, 2)
    )
    gradient = plastic.contrast(found, before, after, 0.25)
    r, q = ([ctebm.Tanh()(s) for s in e.states] for e in (before, after))
    for i in range(3):
        pairs = sum(torch.outer(r[i][n], r[i + 1][n]) - torch.outer(q[i][n], q[i + 1][n])
                    for n in range(7)) / 7  # fmt: skip
        torch.testing.assert_close(gradient.weights[i], 4 * pairs)
        torch.testing.assert_close(gradient.biases[i], 4 * (r[i + 1] - q[i + 1]).mean(0))
    assert len(gradient.feedback) == (0 if tied else 3)
    for V, W in zip(gradient.feedback, gradient.weights, strict=not tied):
        assert torch.equal(V, W)


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_through_time_is_that_of_plain_steps(tied, activation):
    plastic, found, target = directions(tied, activation)
    leaves = {name: p.clone().requires_grad_() for name, p in plastic.parameters.items()}
    W = [leaves[f"weights.{i}"] for i in range(3)]
    V = W if tied else [leaves[f"feedback.{i}"] for i in range(3)]
    b = [plastic.biases[0], *(leaves[f"biases.{i}"] for i in (1, 2, 3))]
    s = [a + 0.05 for a in found.states]
    begun = dataclasses.replace(found, states=s)
    for _ in range(3):
        moved = [a + 0.2 * f for a, f in zip(s[1:], forces(plastic, s, W, V, b), strict=True)]
        s = [s[0], *(a if activation.box is None else a.clamp(-0.5, 0.5) for a in moved)]
    ((s[-1] - target).square().sum() / 14).backward()
    gradient = plastic.through_time(begun, target, eps=0.2, n_steps=3).by_name
    for name, leaf in leaves.items():
        expected = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        torch.testing.assert_close(gradient[name], expected)


def test_a_graph_that_does_not_fit_is_refused_with_its_bytes(monkeypatch):
    plastic, found, target = directions(True, ctebm.Tanh())
    asked = []
    monkeypatch.setattr(plastic_layers, "check_memory", lambda *about: asked.append(about) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plastic.through_time(found, target, eps=0.1, n_steps=2000)
    (what, n_bytes, remedy, _), = asked  # fmt: skip
    assert what == "the graph of 2,000 steps of 7 samples" and "fewer steps" in remedy
    assert n_bytes == 5 * 2000 * 7 * (9 + 8 + 7 + 5) * 8


def test_cost_error_and_kinks_are_those_of_eq_11():
    plastic, found, target = directions(True, ctebm.HardSigmoid(), gain=3.0)
    y = found.states[-1]
    assert torch.equal(plastic.error(found, target), y - target)
    expected = [sum(float(e) ** 2 for e in row) / 2 for row in y - target]
    assert plastic.cost(found, target).tolist() == pytest.approx(expected)
    for kinks, s in zip(plastic.at_kink(found.states), found.states, strict=True):
        assert torch.equal(kinks, s.abs() >= 0.5)
    assert any(k.any() for k in plastic.at_kink(found.states))
    smooth = PlasticNetwork(states((9, 8, 5), ctebm.Tanh())[0])
    assert not any(k.any() for k in smooth.at_kink(found.states[:3]))
    s, d = found.states[1], 0.1 * found.states[1]
    assert torch.equal(plastic.rate_change(1, s, d), d)
    rho = ctebm.Tanh()
    assert torch.equal(smooth.rate_change(1, s, d), rho(s + d) - rho(s))
    assert plastic.depths == [3, 2, 1, 0]


MIXED = [ctebm.Identity(), ctebm.HardSigmoid(), ctebm.Tanh(), ctebm.Identity()]


def test_layers_with_rates_of_their_own_settle_as_settle_does():
    """Units pinned, a nudge on the unbounded output, and the network back with its rates."""
    net, x, target = states((9, 8, 7, 5), MIXED, gain=1.5)
    plastic = ctebm.PlasticNetwork(net)
    rest = plastic.settle(3 * x, tol=1e-13, max_sweeps=5000)
    points = ctebm.settle(net.clamp({"x": 3 * x}), torch.cat(rest.states[1:], -1), tol=1e-12)
    torch.testing.assert_close(torch.cat(rest.states[1:], -1), points.state, rtol=0, atol=1e-11)
    assert bool(points.pinned.any())
    kinks = plastic.at_kink(rest.states)
    assert [bool(k.any()) for k in kinks] == [False, True, False, False]
    pulled = plastic.nudge(rest, target, beta=0.5, tol=1e-13)
    free = ctebm.nudged(net.clamp({"x": 3 * x}), target, 0.5)
    residual = (free.force(torch.cat(pulled.states[1:], -1)))[:, 8:]  # of layers without kinks
    assert float(residual.abs().max()) < 1e-11
    back = plastic.to_network()
    assert back.rate_of("h1") == ctebm.Tanh() and back.rate_of("y") == ctebm.Identity()


@pytest.mark.parametrize("rule", [ctebm.Presynaptic(eps=0.2), ctebm.Symmetric(eps=0.2, n_steps=4)])
def test_rules_of_rates_read_those_of_each_layer(rule):
    """Against the same read from the motion of the network with kinks and without, in words."""
    net, x, target = states((6, 5, 4, 3), MIXED)
    plastic = ctebm.PlasticNetwork(net)
    rest = plastic.settle(x, tol=1e-14, max_sweeps=5000)
    free = ctebm.Dynamics(net.clamp({"x": x}), drive=target)
    n_steps = 3 if isinstance(rule, ctebm.Presynaptic) else 4
    path = ctebm.simulate(free, torch.cat(rest.states[1:], -1), n_steps=n_steps, eps=0.2).state
    after = torch.cat([x, path[-1]], -1)
    r, q = net.rate(torch.cat(rest.states, -1)), net.rate(after)
    found = rule.gradient(plastic, rest, target).weights
    parts = list(net.layers.values())
    if isinstance(rule, ctebm.Symmetric):
        for W, i, j in zip(found, parts[:-1], parts[1:], strict=True):
            products = r[:, i].mT @ r[:, j] - q[:, i].mT @ q[:, j]
            torch.testing.assert_close(W, products / len(x), rtol=1e-9, atol=1e-13)
        return
    # at first arrival of h1, two steps: -(rho(s + d) - rho(s)) / a with the rates of the output
    path = ctebm.simulate(free, path[0], n_steps=2, eps=0.2).state
    h1 = net.clamp({"x": x}).layers["h1"]
    moved = torch.tanh(path[2, :, h1]) - torch.tanh(path[0, :, h1])
    expected = (-moved / 0.04 / 2).mT @ r[:, parts[-1]] / len(x)
    torch.testing.assert_close(found[2], expected, rtol=1e-7, atol=1e-13)


def test_training_layers_with_rates_of_their_own():
    """The output is linear; hidden units are clipped. It learns, and predicts in its own rates."""
    x, label = samples()
    rho = [ctebm.HardSigmoid(), ctebm.HardSigmoid(), ctebm.Identity()]
    net = ctebm.LayeredNetwork.random((12, 10, 3), rho, gain=0.5, seed=1)
    trained = ctebm.train(net, x, label, ctebm.Plan(epochs=4, batch=16, rate=0.02, decay=0.9))
    trained.raise_for_status()
    assert isinstance(trained.network.activation, type(net.activation))
    error = trained.history["train_error"]
    assert error[-1] < error[0] / 2
    curvature = smallest_curvature(ctebm.weakly_coupled(net, 0.4))
    assert curvature == pytest.approx(0.4)
