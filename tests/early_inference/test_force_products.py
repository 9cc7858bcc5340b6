"""What parameters do to a force, against back-propagation and finite differences."""

import pytest
import torch
from cases import ACTIVATIONS, F64, layered
from own_energies import forward_pass, problem

import ctebm
from ctebm.early_inference.force_products import (
    driven_products,
    whole_products,
)
from ctebm.networks.drives import driven_layers
from ctebm.networks.named import named_tensors, with_leaves


def test_tensors_are_named_by_where_they_are():
    class Own(ctebm.Network):
        def __init__(self):
            super().__init__(2)
            self.W, self.more, self.unit = torch.ones(2), {"a": [torch.zeros(1)]}, torch.tensor(1)
            self.net, self._cache = torch.nn.Linear(2, 1, dtype=F64), torch.ones(3)
            self.inner = layered(ACTIVATIONS["tanh"], (2, 1))

        def energy(self, s):
            return s.square().sum(-1)

    assert list(named_tensors(Own())) == [
        "W", "more.a.0", "net.weight", "net.bias", "inner.weights.0", "inner.bias",
    ]  # fmt: skip


def test_driven_products_of_the_chain_gradient_are_back_propagation():
    net, x, target = problem()
    s = forward_pass(net, x)
    g = ctebm.chain_gradient(net.clamp({"x": x}), s, target)
    own = with_leaves(net)
    p = named_tensors(own)
    found = driven_products(own, p, driven_layers(own, p), x, s, g)
    leaves = {name: t.clone().requires_grad_() for name, t in p.items()}
    h = x
    for i in range(3):
        h = torch.tanh(h) @ leaves[f"W.{i}"] + leaves[f"b.{i}"]
    ((h - target).square().sum() / (2 * len(x))).backward()
    for name, t in leaves.items():
        torch.testing.assert_close(found[name], t.grad, rtol=0, atol=1e-15)


def test_whole_products_count_the_feedback_side_too():
    """Right with the implicit gradient, off by much with the chain's (the theory page, G4)."""
    net, x, target = problem()
    own, s = with_leaves(net), forward_pass(net, x)
    p = named_tensors(own)
    drives = driven_layers(own, p)
    chain = ctebm.chain_gradient(net.clamp({"x": x}), s, target)
    implicit = ctebm.implicit_gradient(net.clamp({"x": x}), s, target)
    right = driven_products(own, p, drives, x, s, chain)
    found = whole_products(own, p, x, s, implicit)
    wrong = whole_products(own, p, x, s, chain)
    for name in p:
        torch.testing.assert_close(found[name], right[name], rtol=0, atol=1e-9)
    assert float((wrong["W.1"] - right["W.1"]).norm()) > 0.1 * float(right["W.1"].norm())


@pytest.mark.parametrize("rho", ["tanh", "logistic"])
def test_whole_products_are_slopes_of_the_force(rho):
    net = layered(ACTIVATIONS[rho])
    own = with_leaves(net)
    draw = torch.Generator().manual_seed(1)
    x, s, v = (torch.randn(3, n, generator=draw, dtype=F64) / 3 for n in (5, 9, 9))
    p = named_tensors(own)
    found = whole_products(own, p, x, s, v)
    h = 1e-6
    for name, place in (("weights.0", (1, 2)), ("weights.1", (0, 1)), ("bias", (7,))):
        pushes = []
        for sign in (1, -1):
            p[name][place] += sign * h
            pushes.append(sign * float((own.clamp({"x": x}).force(s) * v).sum()) / 3)
            p[name][place] -= sign * h
        assert float(found[name][place]) == pytest.approx(sum(pushes) / (2 * h), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("products", ["driven", "whole"])
def test_products_of_each_sample_have_the_mean(products):
    net, x, target = problem()
    own, s = with_leaves(net), forward_pass(net, x)
    p = named_tensors(own)
    g = ctebm.chain_gradient(net.clamp({"x": x}), s, target)

    def found(rows, each):
        if products == "whole":
            return whole_products(own, p, x[rows], s[rows], g[rows], each=each)
        return driven_products(own, p, driven_layers(own, p), x[rows], s[rows], g[rows], each=each)

    every = found(slice(None), True)
    for name, mean in found(slice(None), False).items():
        torch.testing.assert_close(every[name].mean(0), mean, rtol=0, atol=1e-15)
        one = found(slice(2, 3), False)[name]
        torch.testing.assert_close(every[name][2], one, rtol=0, atol=1e-15)


def test_the_network_is_left_as_it_was():
    net, x, _ = problem()
    net.W[0].requires_grad_()
    own = with_leaves(net)
    p, s = named_tensors(own), forward_pass(own, x)
    whole_products(own, p, x, s, s)
    assert not any(t.requires_grad for t in p.values())
    assert net.W[0].requires_grad and p["W.0"] is not net.W[0]
