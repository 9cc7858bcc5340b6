"""Patterns in which layers are held: those of the whole at the same states, multiplied once."""

import pytest
import torch

import ctebm
from ctebm.networks.energy import ClampedNetwork
from ctebm.networks.layer_states import states_of_layers


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
