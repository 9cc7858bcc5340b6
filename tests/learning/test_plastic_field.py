"""Any network that learns, against the closed form of eq. 6 and back-propagation."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from learning_cases import states
from own_energies import OwnLayers, OwnPredictive, forward_pass, problem

import ctebm
from ctebm.learning.plastic_field import PlasticField, plastic

RULES = [
    ctebm.Early(eps=0.1, slope=True), ctebm.Early(eps=0.3, n_steps=4, slope=True), ctebm.Chain(),
    ctebm.ChainFeedback(), ctebm.Implicit(), ctebm.ThroughTime(eps=0.2, n_steps=15),
    ctebm.EquilibriumPropagation(beta=0.1, tol=1e-12),
    ctebm.EquilibriumPropagation(beta=0.2, centred=False, tol=1e-12),
]  # fmt: skip


ACTIVATIONS = [
    ctebm.HardSigmoid(), ctebm.Tanh(),
    [ctebm.Identity(), ctebm.HardSigmoid(), ctebm.Tanh(), ctebm.Identity()],
    [ctebm.Tanh(), ctebm.Softplus(2.0), ctebm.HardSigmoid(-0.1), ctebm.HardSigmoid()],
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule_of_a_users_eq_6_is_that_of_the_closed_form(rule, activation):
    net, x, target = states((9, 8, 7, 5), activation, gain=0.3)
    fast, general = ctebm.PlasticNetwork(net), ctebm.PlasticField(OwnLayers(net))
    ends = [one.settle(x, tol=1e-14, max_sweeps=5000) for one in (fast, general)]
    torch.testing.assert_close(ends[0].states, ends[1].states, rtol=0, atol=1e-12)
    closed, found = (
        rule.gradient(one, end, target).by_name
        for one, end in zip((fast, general), ends, strict=True)
    )
    for name, g in closed.items():
        torch.testing.assert_close(found[name], g, rtol=1e-7, atol=2e-11)


def test_directions_that_differ_have_the_gradients_of_the_closed_form():
    net, x, target = states((9, 8, 7, 5), ctebm.Tanh())
    turned = ctebm.FeedbackNetwork.at_angle(net, 60)
    fast = ctebm.PlasticNetwork(turned, tied=False)
    general = ctebm.PlasticField(turned)
    ends = [one.settle(x, tol=1e-14, max_sweeps=5000) for one in (fast, general)]
    for rule in (ctebm.Early(slope=True), ctebm.Chain(), ctebm.Implicit()):
        closed, found = (
            rule.gradient(one, end, target).by_name
            for one, end in zip((fast, general), ends, strict=True)
        )
        whole = torch.cat([torch.zeros(9).double(), *(closed[f"biases.{i}"] for i in (1, 2, 3))])
        torch.testing.assert_close(found["bias"], whole, rtol=1e-7, atol=2e-11)
        for name in ("weights.0", "weights.1", "weights.2", "feedback.2"):
            if name in closed:
                torch.testing.assert_close(found[name], closed[name], rtol=1e-7, atol=2e-11)


@pytest.mark.parametrize("eps", [1.0, 0.5, 0.1])
def test_the_early_rule_of_predictive_coding_is_back_propagation(eps):
    net, x, target = problem()
    own = ctebm.PlasticField(net)
    rest = own.settle(x, tol=1e-12)
    torch.testing.assert_close(rest.state, forward_pass(net, x), rtol=0, atol=1e-14)
    found = ctebm.Early(eps=eps).gradient(own, rest, target).by_name
    leaves = {name: p.clone().requires_grad_() for name, p in own.parameters.items()}
    h = x
    for i in range(3):
        h = torch.tanh(h) @ leaves[f"W.{i}"] + leaves[f"b.{i}"]
    ((h - target).square().sum() / (2 * len(x))).backward()
    for name, p in leaves.items():
        torch.testing.assert_close(found[name], p.grad, rtol=0, atol=1e-15 / eps**3)


def test_a_cost_of_ones_own_drives_nudges_and_is_counted():
    net, x, _ = problem()
    target = torch.eye(3, dtype=torch.float64)[torch.arange(len(x)) % 3]

    def cross_entropy(y, t):
        return -(t * y.log_softmax(-1)).sum(-1)

    own = ctebm.PlasticField(net, cost=cross_entropy)
    rest = own.settle(x, tol=1e-13)
    y = rest.states[-1]
    torch.testing.assert_close(own.error(rest, target), y.softmax(-1) - target)
    torch.testing.assert_close(own.cost(rest, target), cross_entropy(y, target))
    chain = ctebm.Chain().gradient(own, rest, target).by_name
    rules = [ctebm.Early(eps=0.2), ctebm.EquilibriumPropagation(beta=1e-3, tol=1e-13)]
    for rule, tol in zip(rules, (1e-12, 1e-4), strict=True):
        found = rule.gradient(own, rest, target).by_name
        for name, g in chain.items():
            torch.testing.assert_close(found[name], g, rtol=0, atol=tol)


def test_the_networks_own_word_says_what_learns_and_how_deep_layers_lie():
    net, _, _ = problem()
    assert list(ctebm.PlasticField(net, parameters=["W"]).parameters) == ["W.0", "W.1", "W.2"]
    assert list(ctebm.PlasticField(net, parameters=["b.1"]).parameters) == ["b.1"]
    net.learned = ("b",)
    assert list(ctebm.PlasticField(net).parameters) == ["b.0", "b.1", "b.2"]
    assert ctebm.PlasticField(net).depths == [3, 2, 1, 0]
    net.depth = {"x": 2, "h2": 1, "h1": 1, "y": 0}
    assert ctebm.PlasticField(net).depths == [2, 1, 1, 0]
    with pytest.raises(ValueError, match=r"among W\.0, .*, got 'V'"):
        ctebm.PlasticField(net, parameters=["V"])


def test_the_network_given_is_left_alone():
    net, x, target = problem()
    before = copy.deepcopy(net.W)
    own = ctebm.PlasticField(net)
    with torch.no_grad():
        own.parameters["W.0"].add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, net.W, strict=True))
    assert torch.equal(own.to_network().W[0], before[0] + 1)
    single = own.to(dtype=torch.float32)
    rest = single.settle(x.float(), tol=1e-5)
    found = ctebm.Early(eps=0.5).gradient(single, rest, target.float()).by_name
    assert found["W.0"].dtype == torch.float32


def test_kinks_are_those_of_the_box():
    net, x, _ = states((9, 8, 5), ctebm.HardSigmoid(), gain=3.0)
    own, fast = ctebm.PlasticField(OwnLayers(net)), ctebm.PlasticNetwork(net)
    rest = fast.settle(x, tol=1e-12)
    for mine, theirs in zip(own.at_kink(rest.states), fast.at_kink(rest.states), strict=True):
        assert torch.equal(mine, theirs) and np.any(theirs.numpy())
    assert not any(k.any() for k in ctebm.PlasticField(problem()[0]).at_kink(rest.states[:0] or [
        torch.zeros(2, n) for n in (6, 5, 4, 3)]))  # fmt: skip


def test_the_closed_form_is_taken_where_there_is_one():
    net, _, _ = states((9, 8, 5), ctebm.Tanh())
    assert isinstance(plastic(net), ctebm.PlasticNetwork)
    assert isinstance(plastic(net, cost=lambda y, t: y.sum(-1)), ctebm.PlasticField)


@pytest.mark.parametrize("rule", [ctebm.XieSeung(), ctebm.Presynaptic(), ctebm.Symmetric()])
def test_rules_of_rates_are_refused_where_there_are_none(rule):
    net, x, target = problem()
    own = ctebm.PlasticField(net)
    rest = own.settle(x, tol=1e-9)
    with pytest.raises(ValueError, match=f"{type(rule).__name__} reads the rates before and after"):
        rule.gradient(own, rest, target)


@pytest.mark.parametrize("given", [42, "held", "no layers", "no parameters", "one matrix"])
def test_what_can_not_learn_is_refused(given):
    net, x, _ = problem()
    if given == "held":
        given = net.clamp({"x": x})
    elif given == "no layers":
        given = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    elif given == "one matrix":
        two = {"x": slice(0, 1), "y": slice(1, 2)}
        given = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh(), layers=two)
    elif given == "no parameters":
        net.W = net.b = None
        given = net
    with pytest.raises(
        ValueError, match=r"expected (a whole network|a network with|couplings in layers)"
    ):
        ctebm.PlasticField(given)


def test_layers_with_a_rate_each_are_trained_by_their_closed_form():
    rho = [ctebm.Identity(), ctebm.HardSigmoid(lower=0), ctebm.Identity()]
    net = ctebm.LayeredNetwork.random([3, 4, 2], rho, gain=0.5, seed=1)
    assert isinstance(plastic(net), ctebm.PlasticNetwork)
    plan = ctebm.Plan(rule=ctebm.Implicit(), epochs=2, batch=2, rate=0.1)
    found = ctebm.train(net, [[0.2, 1.8, 0.5], [1.8, 0.2, 0.5]], [0, 1], plan).raise_for_status()
    assert found.history["cost"][-1] < found.history["cost"][0]
    assert list(found.to_dataset().connection.values) == ["x-h1", "h1-y"]


def test_a_copy_knows_what_the_original_saw_before_its_rates_saturated():
    net, _, _ = problem()
    own = ctebm.PlasticField(net)
    depths, drives = own.depths, own.drives
    for W in own.network.W:
        W *= 1e12  # tanh is flat: no force depends on the layer below any more
    other = own.to(dtype=torch.float64)
    assert other.depths == depths and other.drives == drives


@pytest.mark.parametrize("n_steps", [None, 1, 3])
def test_what_is_left_of_a_loose_rest_is_no_part_of_a_change(n_steps):
    """A change is that of the driven motion, less the force that was there before."""
    net, x, target = states((9, 8, 7, 5), ctebm.Tanh(), gain=0.3)
    own = ctebm.PlasticField(OwnLayers(net))
    end = own.settle(x, tol=1e-12)
    off = 0.05 * torch.sin(torch.arange(end.state.numel()).double()).reshape(end.state.shape)
    held = end.held
    loose = dataclasses.replace(end, state=end.state + off)
    y = held.layers["y"]
    found = own.drive(loose, target, eps=0.2, n_steps=n_steps)
    s, d, left = loose.state, torch.zeros_like(end.state), held.force(loose.state)
    assert float(left.abs().max()) > 0.01
    moved = [d]
    for _ in range(4):
        v = held.force(s + d) - left
        v[..., y] = target - (s + d)[..., y]
        d = d + 0.2 * v
        moved.append(d)
    for change, (name, where), depth in zip(found[1:], held.layers.items(), (2, 1, 0), strict=True):
        step = depth + 1 if n_steps is None else n_steps
        torch.testing.assert_close(change, moved[step][..., where], msg=name, rtol=1e-9, atol=1e-12)
    assert float(found[1].abs().max()) < float(found[3].abs().max())


def test_an_energy_from_which_sweeps_run_away_learns():
    """A sweep overshoots where s^4 curves the energy, ever more; settling does not."""

    class Steep(OwnPredictive):
        def energy(self, s):
            return super().energy(s) + (s**4).sum(-1)

    net, x, target = problem(Steep)
    plastic = PlasticField(net)
    rest = plastic.settle(2 * x, tol=1e-9)
    expected = ctebm.settle(net.clamp({"x": 2 * x}), tol=1e-9).raise_for_status()
    assert float(rest.residual.max()) <= 1e-9
    torch.testing.assert_close(torch.cat(rest.states[1:], -1), expected.state, rtol=0, atol=1e-8)
    found = ctebm.Early(eps=0.01).gradient(plastic, rest, target).by_name
    assert all(bool(torch.isfinite(g).all()) for g in found.values())
