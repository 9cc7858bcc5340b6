"""Why a network stops to learn, against slow obvious ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ctebm
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.study.diagnostics import TOL, linear_share, pushes, settled_kinks


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(0)
    target = torch.as_tensor(np.where(np.eye(3)[np.arange(40) % 3], 0.4, -0.4))
    return torch.as_tensor(draw.random((40, 6))), target


def network(gain: float) -> ctebm.LayeredNetwork:
    net = ctebm.LayeredNetwork.random((6, 9, 8, 3), ctebm.HardSigmoid(), gain=gain, seed=2)
    return net.centred({"x": [0.5] * 6})


def settled(net: ctebm.LayeredNetwork, rates: torch.Tensor) -> torch.Tensor:
    clamped = net.clamp({"x": net.activation.inverse(rates)})
    return ctebm.settle(clamped, tol=1e-11).raise_for_status().state


@pytest.mark.parametrize("adam", [False, True])
def test_a_push_is_what_a_step_does_to_all_samples(samples, adam) -> None:
    """Change weights and biases by hand, and look how far the mean current moves."""
    net, (rates, target) = network(0.5), samples
    eta = [0.02, 0.03, 0.05]
    found = pushes(net, rates, target, eta, adam)
    s = settled(net, rates)
    rho = net.activation
    r = [rates, rho(s[:, :9]), rho(s[:, 9:17])]
    g = ctebm.chain_gradient(net.clamp({"x": rho.inverse(rates)}), s, target)
    slopes = [g[:, :9].mean(0), g[:, 9:17].mean(0)]
    for i, slope in enumerate(slopes):
        step = torch.ones_like(slope) if adam else slope
        size = r[i].sum(-1).mean() if adam else r[i].square().sum(-1).mean()
        moved = eta[i] * step * (1 + size)
        assert found[i] == pytest.approx(float(moved.square().mean().sqrt()), rel=1e-3)


def test_rates_between_the_kinks_are_linear(samples) -> None:
    assert linear_share(network(0.2), samples[0]) == pytest.approx(1, abs=1e-9)
    rates = samples[0]
    net = network(3.0)
    rest = PlasticNetwork(net).settle(net.activation.inverse(rates), tol=TOL).states
    assert [len(layer[0]) for layer in rest[1:3]] == [9, 8]
    r = net.activation(rest[2]).numpy()
    X = np.column_stack([rates.numpy(), np.ones(40)])
    left = r - X @ np.linalg.lstsq(X, r, rcond=None)[0]
    expected = 1 - (left**2).sum() / ((r - r.mean(0)) ** 2).sum()
    assert expected < 0.95
    assert linear_share(net, rates) == pytest.approx(expected, abs=1e-9)


def test_kinks_are_counted_layer_by_layer(samples) -> None:
    net, (rates, target) = network(3.0), samples
    found = settled_kinks(PlasticNetwork(net), rates, target, eps=0.1)
    state = found.state[:, 6:]
    clamped = net.clamp({"x": found.state[:, :6]})
    torch.testing.assert_close(ctebm.settle(clamped, state, tol=1e-8).state, state)
    at_kink = (state.abs() >= 0.5).double()
    hidden = [at_kink[:, :9], at_kink[:, 9:17]]
    assert found.pinned == pytest.approx([float(k.mean()) for k in hidden])
    assert found.dead == pytest.approx([float(k.all(0).double().mean()) for k in hidden])
    assert found.state.shape == (40, 26)
    quiet = settled_kinks(PlasticNetwork(network(0.2)), rates, target, eps=0.1)
    assert (quiet.pinned, quiet.dead, quiet.crossed) == ([0, 0], [0, 0], 0)
    assert quiet.cosine > 0.99
