"""Training of networks of one's own, with targets and costs of one's own."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from learning_cases import PLAN, SIZES, samples, small_network
from own_energies import OwnLayers, problem

import ctebm


def test_a_users_own_energy_learns_as_back_propagation_does():
    """The same steps as plain gradient descent of the same multilayer perceptron."""
    net, _, _ = problem(sizes=(12, 10, 3))
    x, label = samples(60)
    plan = ctebm.Plan(epochs=2, batch=20, rate=0.1, optimizer="SGD", tol=1e-12)
    found = ctebm.train(net, x, label, plan, held_out=samples(40, seed=1))
    leaves = [p.clone().requires_grad_() for p in (*net.W, *net.b)]
    target = 0.1 + 0.8 * torch.eye(3).double()[label]
    for epoch in (0, 1):
        order = torch.as_tensor(np.random.default_rng([0, epoch]).permutation(60))
        for chosen in order.split(20):
            h = torch.as_tensor(x)[chosen]
            for W, b in zip(leaves[:2], leaves[2:], strict=True):
                h = torch.tanh(h) @ W + b
            cost = (h - target[chosen]).square().sum() / 40
            grads = torch.autograd.grad(cost, leaves)
            with torch.no_grad():
                for p, g in zip(leaves, grads, strict=True):
                    p -= 0.1 * g
    for p, q in zip((*found.network.W, *found.network.b), leaves, strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=1e-13)
    assert found.history["alignment"][:, 0].min() > 1 - 1e-12
    assert list(found.to_dataset().connection.values) == ["W.0", "W.1", "b.0", "b.1"]
    assert np.isfinite(found.history["test_error"]).all()


def test_a_users_eq_6_takes_the_steps_of_the_closed_form():
    net = small_network()
    plan = dataclasses.replace(PLAN, epochs=2, tol=1e-12)
    x, label = samples(80)
    closed = ctebm.train(net, x, label, plan)
    states = net.state(torch.as_tensor(x))
    target = (0.8 * torch.eye(3).double() - 0.4)[torch.as_tensor(label)]
    own = ctebm.train(OwnLayers(net), states, target, plan)
    for i, W in enumerate(closed.network.weights):
        torch.testing.assert_close(own.network.weights[i], W, rtol=0, atol=1e-7)


def test_real_targets_are_learned_and_predicted():
    net, x, target = problem(n=40)
    plan = ctebm.Plan(epochs=3, batch=10, rate=0.02, tol=1e-9, patience=5)
    found = ctebm.train(net, x, target, plan, held_out=(x, target))
    assert found.history["cost"][-1] < found.history["cost"][0]
    assert np.isnan(found.history["train_error"]).all()
    y = found.predict(x)
    cost = float((y - target).square().sum(-1).mean()) / 2
    assert found.history["test_cost"][-1] == pytest.approx(cost)
    classes = ctebm.train(net, x, target.argmax(-1), plan, held_out=(x, target.argmax(-1)))
    assert classes.predict(x).dtype == torch.int64


def test_any_cost_is_descended():
    def cross_entropy(y, t):
        return -(t * y.log_softmax(-1)).sum(-1)

    net, _, _ = problem(sizes=(12, 10, 3))
    x, label = samples()
    plan = ctebm.Plan(epochs=6, batch=20, rate=0.01, tol=1e-9, low=0, high=1, cost=cross_entropy)
    found = ctebm.train(net, x, label, plan, held_out=samples(seed=1))
    assert found.history["cost"][-1] < 0.3 * found.history["cost"][0]
    assert found.history["test_error"][-1] <= 2
    assert "cross_entropy" in found.to_dataset().attrs["plan"]


class _Idle(ctebm.Network):
    """A parameter that moves the energy and nothing else."""

    layers = {"x": slice(0, 12), "y": slice(12, 15)}  # noqa: RUF012  # as a user writes it

    def __init__(self):
        super().__init__()
        self.W = torch.full((12, 3), 0.1, dtype=torch.float64)
        self.offset = torch.ones(2, dtype=torch.float64)

    def energy(self, s):
        e = s[..., 12:] - s[..., :12] @ self.W
        return e.square().sum(-1) / 2 + self.offset.sum()


def test_a_parameter_without_effect_is_named():
    rates, labels = samples(20)
    with pytest.warns(UserWarning, match=r"'offset' had no effect on the force of _Idle"):
        found = ctebm.train(_Idle(), rates, labels, PLAN)
    assert torch.equal(found.network.offset, _Idle().offset)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        plan = dataclasses.replace(PLAN, parameters=("W",))
        ctebm.train(_Idle(), rates, labels, plan)


@pytest.mark.parametrize(
    "rule", [ctebm.EquilibriumPropagation(beta=0.001, tol=1e-10), ctebm.Implicit()]
)
def test_a_rule_that_needs_no_drives_trains_what_touches_many_layers(rule):
    class Scaled(ctebm.Network):
        """One number scales the leak of every layer, and which of them it drives is not said."""

        layers = {"x": slice(0, 2), "h": slice(2, 5), "g": slice(5, 8), "y": slice(8, 10)}  # noqa: RUF012

        def energy(self, s):
            x, h, g, y = (s[..., where].tanh() for where in self.layers.values())
            coupled = ((x @ self.U) * h).sum(-1) + ((h @ self.V) * g).sum(-1)
            return self.k * s.square().sum(-1) / 2 - coupled - ((g @ self.W) * y).sum(-1)

    net, draw = Scaled(), torch.Generator().manual_seed(0)
    net.k = torch.tensor(1.0, dtype=torch.float64)
    net.U, net.V, net.W = (
        torch.randn(*n, generator=draw, dtype=torch.float64) / 4 for n in ((2, 3), (3, 3), (3, 2))
    )
    x, label = np.random.default_rng(0).uniform(-1, 1, (40, 2)), np.arange(40) % 2
    plan = ctebm.Plan(rule=rule, epochs=1, batch=10, rate=0.01)
    found = ctebm.train(net, x, label, plan).raise_for_status()
    assert float(found.network.k) != 1
    alignment = found.to_dataset().alignment.isel(epoch=0)
    assert np.isnan(alignment.sel(reference=["chain", "chain_feedback"])).all()
    assert float(alignment.sel(reference="implicit").min()) > 0.999
    with pytest.raises(ValueError, match=r"drives = \{'k': 'y'\}"):
        ctebm.train(net, x, label, dataclasses.replace(plan, rule=ctebm.Early()))


def test_directions_learn_separately_with_a_cost_or_are_refused():
    def cost(y, target):
        return (y - target).square().sum(-1)

    plan = dataclasses.replace(PLAN, tied=False, epochs=1, cost=cost)
    found = ctebm.train(small_network(), *samples(), plan).raise_for_status()
    assert isinstance(found.network, ctebm.FeedbackNetwork)
    assert not torch.equal(found.network.weights[1], found.network.feedback[1])
    assert len(found.predict(samples()[0])) == len(samples()[0])
    start = ctebm.FeedbackNetwork.at_angle(small_network(), 60)
    with pytest.raises(ValueError, match="train with tied=False"):
        ctebm.train(start, *samples(), dataclasses.replace(plan, tied=True))
    net = ctebm.PredictiveNetwork.random(SIZES, ctebm.SignedTanh())
    with pytest.raises(ValueError, match="got PredictiveNetwork; leave it True"):
        ctebm.train(net, *samples(), dataclasses.replace(PLAN, tied=False))


def test_weights_of_a_users_energy_that_blow_up_stop_the_run(tmp_path):
    net, x, target = problem()
    plan = ctebm.Plan(epochs=3, batch=7, rate=1e200, optimizer="SGD", tol=1e-9)
    path = tmp_path / "c.ckpt"
    ctebm.train(net, x, target, dataclasses.replace(plan, epochs=0), checkpoint=path)
    found = ctebm.train(net, x, target, plan, checkpoint=path)
    assert found.status == "diverged" and "left the finite numbers in epoch" in found.message
    assert all(bool(torch.isfinite(W).all()) for W in found.network.W)
