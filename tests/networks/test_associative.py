"""Associative memories: attention, retrieval from corruption, and what is stored by Hebb's rule."""

import numpy as np
import pytest
import torch
from cases import every_motion_and_network
from network_contract import check

import ctebm
from ctebm.networks.energy import ClampedNetwork
from ctebm.networks.layer_states import states_of_layers

F64 = torch.float64


def signs(n_patterns, n_units, seed=0):
    draw = np.random.default_rng(seed)
    return torch.tensor(draw.choice([-1.0, 1.0], (n_patterns, n_units)))


def corrupted(patterns, share, seed=1):
    """Return patterns with a share of their signs turned."""
    turned = np.random.default_rng(seed).random(patterns.shape) < share
    return torch.where(torch.tensor(turned), -patterns, patterns)


@pytest.mark.parametrize("beta", [0.1, 1.0, 20.0])
def test_the_pressure_is_attention(beta):
    X = torch.randn(6, 8, dtype=F64, generator=torch.Generator().manual_seed(0))
    query = torch.randn(3, 8, dtype=F64, generator=torch.Generator().manual_seed(1))
    memory = ctebm.AssociativeMemory(X, beta)
    expected = torch.nn.functional.scaled_dot_product_attention(query, X, X, scale=beta)
    torch.testing.assert_close(memory.pressure(query), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(memory.weights_of_patterns(query).sum(-1), torch.ones(3).double())


def test_one_pattern_is_the_only_equilibrium():
    memory = ctebm.AssociativeMemory([[0.5, -2.0, 1.0]], 3.0)
    torch.testing.assert_close(ctebm.settle(memory).state, memory.patterns[0])
    eigenvalues = torch.linalg.eigvalsh(memory.hessian(memory.patterns[0]))
    torch.testing.assert_close(eigenvalues, torch.ones(3).double())


def test_two_opposite_patterns_are_a_mean_field_ferromagnet():
    """s = x tanh(beta |x|^2 m) along x: a pitchfork at beta |x|^2 = 1."""
    x = torch.tensor([[0.6, 0.8]], dtype=F64)
    pair = torch.cat([x, -x])
    cold, hot = (ctebm.AssociativeMemory(pair, beta) for beta in (2.0, 0.9))
    m = 0.9575040240772688  # of m = tanh(2 m)
    torch.testing.assert_close(ctebm.settle(cold, 0.3 * x[0]).state, m * x[0], rtol=1e-9, atol=0)
    assert float(ctebm.settle(hot, 0.3 * x[0]).state.norm()) < 1e-8


def test_corrupted_patterns_are_retrieved():
    X = signs(30, 60)
    memory = ctebm.AssociativeMemory(X, 1.0)
    points = ctebm.settle(memory, corrupted(X, 0.1)).raise_for_status()
    assert points.stability == ["stable"] * 30
    assert memory.recalled(points.state).tolist() == list(range(30))
    torch.testing.assert_close(points.state, X, rtol=0, atol=1e-3)


def test_a_small_beta_averages_all_patterns():
    X = signs(5, 12)
    points = ctebm.settle(ctebm.AssociativeMemory(X, 1e-3), X[0])
    torch.testing.assert_close(points.state, X.mean(0), rtol=0, atol=0.02)


def test_a_held_key_recalls_what_belongs_to_it():
    X = signs(8, 24)
    memory = ctebm.AssociativeMemory(X, 2.0, layers={"x": slice(0, 16), "y": slice(16, 24)})
    points = ctebm.settle(memory.clamp({"x": X[:, :16]}))
    torch.testing.assert_close(points.state, X[:, 16:], rtol=0, atol=1e-3)


def test_a_higher_order_stores_what_order_2_loses():
    X = signs(40, 50)
    kept = {}
    for order in (2, 4):
        memory = ctebm.PolynomialMemory(X, order)
        points = ctebm.settle(memory, 0.4 * corrupted(X, 0.05))
        kept[order] = float((memory.overlaps(points.state).diagonal() > 0.8).double().mean())
    assert kept[2] < 0.5 and kept[4] > 0.95


def test_order_2_is_the_hebbian_network_with_self_coupling():
    X, rho = signs(3, 10), ctebm.SignedTanh(4.0)
    memory, net = ctebm.PolynomialMemory(X, 2), ctebm.DenseNetwork.hebbian(X, rho)
    s = torch.randn(4, 10, dtype=F64, generator=torch.Generator().manual_seed(2))
    own = rho(s).square().sum(-1) * 3 / 10 / 2
    torch.testing.assert_close(memory.energy(s), net.energy(s) - own)


@pytest.mark.parametrize("rho", [ctebm.Logistic(20.0), ctebm.SignedTanh(10.0)])
def test_hebbian_weights_hold_few_patterns_and_their_opposites(rho):
    X = signs(3, 100)
    net = ctebm.HopfieldNetwork(ctebm.DenseNetwork.hebbian(X, rho))
    starts = torch.cat([corrupted(X, 0.1), -corrupted(X, 0.1)])
    points = ctebm.settle(net, starts).raise_for_status()
    overlap = (points.state.sign() * torch.cat([X, -X])).mean(-1)
    assert float(overlap.min()) > 0.98


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ctebm.AssociativeMemory([1.0, 2.0], 1.0), "patterns as rows"),
        (lambda: ctebm.AssociativeMemory([[1.0]], 0.0), "beta"),
        (lambda: ctebm.AssociativeMemory([[np.nan]], 1.0), "finite"),
        (lambda: ctebm.PolynomialMemory([[1.0]], 1), "order"),
        (lambda: ctebm.DenseNetwork.hebbian([[0.5, 1.0]], ctebm.Tanh()), "rows of -1 and 1"),
    ],
)
def test_what_makes_no_memory_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["attention", 2, 3, 5])
def test_force_and_hessian_are_derivatives_of_the_energy(kind):
    X = torch.randn(4, 6, dtype=F64, generator=torch.Generator().manual_seed(3))
    if kind == "attention":
        memory = ctebm.AssociativeMemory(X, 0.7)
    else:
        memory = ctebm.PolynomialMemory(X, kind, ctebm.Logistic())
    s = torch.randn(6, dtype=F64, generator=torch.Generator().manual_seed(4))
    slope = torch.autograd.functional.jacobian(memory.energy, s)
    torch.testing.assert_close(memory.force(s), -slope)
    exact = torch.autograd.functional.hessian(memory.energy, s)
    torch.testing.assert_close(memory.hessian(s), exact)
    torch.testing.assert_close(memory.hessian_product(s, s.flip(0)), exact @ s.flip(0))


@pytest.mark.parametrize(
    "name", ["attention", "polynomial", "clamped-attention", "clamped-polynomial"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])


def slow(memory, states):
    """The same memory with layers held, by substitution into its energy and force."""
    return ClampedNetwork(memory, states_of_layers(memory, states))


def attention(X, layers):
    return ctebm.AssociativeMemory(X, 1.5, layers=layers)


def of_order_3(X, layers):
    return ctebm.PolynomialMemory(X, 3, ctebm.Logistic(), layers=layers)


@pytest.mark.parametrize("make", [attention, of_order_3])
@pytest.mark.parametrize("held", [["key"], ["value"], ["key", "mid"], ["key", "mid", "value"]])
def test_held_layers_are_those_of_the_whole_at_the_same_states(held, make):
    layers = {"key": slice(0, 4), "mid": slice(4, 6), "value": slice(6, 9)}
    draw = torch.Generator().manual_seed(3)
    X = torch.randn(7, 9, generator=draw, dtype=torch.float64)
    memory = make(X, layers)
    s = torch.randn(5, 9, generator=draw, dtype=torch.float64)
    states = {name: s[:, layers[name]] for name in held}
    fast, by_substitution = memory.clamp(states), slow(memory, states)
    assert isinstance(fast, type(memory)) and fast.batch == (5,)
    free = torch.cat([s[:, :0], *(s[:, w] for k, w in layers.items() if k not in held)], -1)
    v = torch.randn(free.shape, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(fast.energy(free), memory.energy(s))
    torch.testing.assert_close(fast.force(free), by_substitution.force(free))
    if make is attention:
        torch.testing.assert_close(fast.weights_of_patterns(free), memory.weights_of_patterns(s))
    else:
        torch.testing.assert_close(fast.overlaps(free), memory.overlaps(s))
    assert torch.equal(fast.recalled(free), memory.recalled(s))
    if free.shape[-1]:
        product = by_substitution.hessian_product(free, v)
        torch.testing.assert_close(fast.hessian_product(free, v), product)
        torch.testing.assert_close(fast.hessian(free), by_substitution.hessian(free))
    again = memory.clamp({held[0]: states[held[0]]})
    again = again.clamp({name: states[name] for name in held[1:]})
    assert torch.equal(again.force(free), fast.force(free))
    whole, known = fast.origin
    assert torch.equal(whole.force(s), memory.force(s)) and list(known) == held


def test_a_rate_that_is_learned_may_change_after_clamping():
    """The fit of what is held depends on the rate too, and is computed anew."""
    layers = {"key": slice(0, 4), "value": slice(4, 6)}

    class Steep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

        def forward(self, s):
            return torch.tanh(self.gain * s)

    rate = Steep()
    memory = ctebm.PolynomialMemory(torch.eye(6), 3, ctebm.Custom(rate), layers=layers)
    key, s = {"key": -torch.ones(4, dtype=torch.float64)}, torch.full((2,), -0.3).double()
    free = memory.clamp(key)
    before = free.overlaps(s)
    rate.gain.data.fill_(2.0)
    assert torch.equal(free.overlaps(s), memory.clamp(key).overlaps(s))
    assert not torch.equal(free.overlaps(s), before)


def test_patterns_may_change_after_clamping_and_are_multiplied_once():
    layers = {"key": slice(0, 4), "value": slice(4, 6)}
    memory = ctebm.AssociativeMemory(torch.eye(6), 2.0, layers=layers)
    free = memory.clamp({"key": torch.ones(3, 4) / 2})
    s = torch.full((3, 2), 0.1, dtype=torch.float64)
    free.force(s)
    kept = len(free._constants.results)
    free.force(s + 1)
    assert len(free._constants.results) == kept == 2
    still, before = free.snapshot(), free.force(s)
    rows = torch.tensor([2, 0])
    memory.patterns.data[0, 0] = 3.0  # past its version
    assert torch.equal(still.force(s), before) and memory.snapshot() is memory
    torch.testing.assert_close(still.samples(still.batch, rows).force(s[rows]), before[rows])
    assert torch.equal(free.force(s), memory.clamp({"key": torch.ones(3, 4) / 2}).force(s))
    leaf = memory.patterns.clone().requires_grad_()
    memory.patterns = leaf
    grown = memory.clamp({"key": torch.ones(3, 4) / 2})
    (g,) = torch.autograd.grad(grown.energy(s).sum(), leaf)
    whole = torch.cat([torch.full((3, 4), 0.5, dtype=torch.float64), s], -1)
    (expected,) = torch.autograd.grad(memory.energy(whole).sum(), leaf)
    torch.testing.assert_close(g, expected)


def test_uniqueness_is_judged_in_the_units_that_are_free():
    """The patterns are far apart in the key, near in the value."""
    layers = {"key": slice(0, 1), "value": slice(1, 2)}
    memory = ctebm.AssociativeMemory([[9.0, 0.5], [-9.0, -0.5]], 2.0, layers=layers)
    assert not ctebm.certify_unique(memory)
    assert ctebm.certify_unique(memory.clamp({"key": [0.0]}))
