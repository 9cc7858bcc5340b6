"""The toy of Ernoult et al. (2019): its network, and the curves by a slow obvious way."""

from __future__ import annotations

import math

import numpy as np
import torch

from ctebm.study.ernoult import SYNAPSES, ToyPhase, toy_curves, toy_network

SIZES = (6, 7, 4)


def test_every_group_is_connected_to_the_two_others() -> None:
    net, x, target = toy_network(SIZES, seed=3)
    W, layers = net.weight, net.layers
    assert torch.equal(W, W.T)
    assert not any(W[w, w].any() for w in layers.values())
    for a, b in SYNAPSES:
        block = W[layers[a], layers[b]]
        assert 0.5 < float(block.abs().max()) * math.sqrt(block.shape[1]) <= 1
    assert x.shape == (1, 6) and target.shape == (1, 4)
    other, _, _ = toy_network(SIZES, seed=4)
    assert not torch.equal(other.weight, W)


def test_curves_are_those_of_a_loop() -> None:
    """Euler steps, and the gradients of the last error by differentiating through them."""
    phase = ToyPhase(eps=0.1, beta=1e-5, n_settle=3000, n_nudge=12)
    found = toy_curves(SIZES, 3, phase)
    net, x, target = toy_network(SIZES, 3)
    W, inputs = net.weight, torch.tanh(x[0])

    def step(s: torch.Tensor, pull: float = 0.0) -> torch.Tensor:
        r = torch.cat([inputs, torch.tanh(s)])
        field = (1 - torch.tanh(s) ** 2) * (r @ W)[6:] - s
        nudge = torch.cat([torch.zeros(7, dtype=s.dtype), target[0] - s[7:]])
        return s + phase.eps * (field + pull * nudge)

    s = torch.zeros(11, dtype=torch.float64)
    for _ in range(phase.n_settle):
        s = step(s)
    nudged = [s]
    for _ in range(phase.n_nudge):
        nudged.append(step(nudged[-1], phase.beta))
    change = torch.stack(nudged).diff(dim=0) / phase.beta
    np.testing.assert_allclose(found["toy_nudged"][:, :6], change[:, [0, 1, 2, 7, 8, 9]], atol=1e-8)

    states = [s.clone().requires_grad_()]
    for _ in range(phase.n_nudge - 1):
        states.append(step(states[-1]))
        states[-1].retain_grad()
    ((states[-1][7:] - target[0]) ** 2).sum().div(2).backward()
    bptt = torch.stack([-phase.eps * state.grad for state in states[::-1]])
    np.testing.assert_allclose(found["toy_bptt"][:, :6], bptt[:, [0, 1, 2, 7, 8, 9]], atol=1e-9)
    assert found["toy_state_rmse"].max() < 1e-3
    assert found["toy_synapse_rmse"].max() < 1e-3
