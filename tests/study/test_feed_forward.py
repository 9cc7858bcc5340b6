"""Feed-forward passes beside closed forms, and networks that rest where they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ctebm
from ctebm.study import feed_forward
from ctebm.study.feed_forward import ENERGIES, energy_model, feedback_at, pass_gradients
from ctebm.study.images import Images, load_images
from ctebm.study.problem import reachable


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images(n_samples=4)


@pytest.mark.parametrize("name", ENERGIES)
def test_layers_rest_where_the_current_with_feedback_takes_them(name: str, images: Images) -> None:
    model = energy_model(name, images, width=6, gain=0.5, seed=1)
    s = ctebm.settle(model.network, tol=1e-12).raise_for_status().state
    layers = [s[..., w] for w in model.network.layers.values()]
    predictive = isinstance(model.network, ctebm.PredictiveNetwork)
    down = [0.0] * len(layers) if predictive else feedback_at(model, s)
    below = model.x
    for i, h in enumerate(layers):
        current = model.up(i, model.rate(below)) + model.biases[i + 1] + down[i]
        torch.testing.assert_close(model.state(current), h, rtol=0, atol=1e-9)
        below = h


def test_the_gradients_of_a_pass_are_the_chain_rule(images: Images) -> None:
    """By hand, for layers whose state is their current: both gradients."""
    model = energy_model("Hopfield 1984", images, width=5, gain=0.5)
    rho = ctebm.Logistic()
    assert isinstance(model.network, ctebm.HopfieldNetwork)
    whole = model.network.origin[0]
    assert isinstance(whole, ctebm.HopfieldNetwork)
    assert isinstance(whole.pairwise, ctebm.LayeredNetwork)
    weights = [W for W in whole.pairwise.weights if W is not None]
    states, r = [], rho(model.x)
    for W, b in zip(weights, model.biases[1:], strict=True):
        states.append(r @ W + b)
        r = rho(states[-1])
    by_state = [states[-1] - model.target]
    by_rate = by_state[:]
    for W, h, above in zip(weights[:0:-1], states[-2::-1], states[:0:-1], strict=True):
        by_state.insert(0, rho.derivative(h) * (by_state[0] @ W.T))
        by_rate.insert(0, (rho.derivative(above) * by_rate[0]) @ W.T)
    found = pass_gradients(model)
    torch.testing.assert_close(found[0], torch.cat(by_state, -1))
    torch.testing.assert_close(found[1], torch.cat(by_rate, -1))


def test_feedback_is_what_the_next_layer_sends_back(images: Images) -> None:
    model = energy_model("eq. 6, hard sigmoid", images, width=5, gain=0.5)
    whole = model.network.origin[0]
    assert isinstance(whole, ctebm.LayeredNetwork)
    s = torch.linspace(-0.3, 0.3, 4 * 25, dtype=torch.float64).reshape(4, 25)
    rates = [model.rate(s[..., w]) for w in model.network.layers.values()]
    *found, of_output = feedback_at(model, s)
    assert not of_output.any()
    for down, W, r in zip(found, whole.weights[1:], rates[1:], strict=True):
        assert W is not None
        torch.testing.assert_close(down, r @ W.T)


def test_the_curved_networks_are_off_the_middle_and_the_others_on_it(images: Images) -> None:
    at_mean = {
        name: ctebm.settle(energy_model(name, images, width=6, gain=0.5).network).state.mean(0)
        for name in ENERGIES
    }
    assert at_mean["eq. 6, hard sigmoid"].abs().max() < 1e-9
    assert at_mean["convolutions"].abs().max() < 1e-9
    assert at_mean["eq. 6, logistic"].abs().max() > 0.1


def test_another_energy_is_refused(images: Images) -> None:
    with pytest.raises(ValueError, match="Hopfield 1984"):
        energy_model("Hopfield 1982", images, width=6, gain=0.5)


def test_biases_of_logistic_units_are_drawn_around_the_middle(images: Images) -> None:
    """Within half a unit of those that centre the network, and over all of it."""
    net, _ = feed_forward._logistic(images, 200, 0.5, 3).network.origin
    draw = np.random.default_rng(3)
    centred = net.centred({"x": reachable(images.input, net.activation)[0].mean(0)})
    assert 200 in [len(b) for b in net.biases]
    for b, c in zip(net.biases, centred.biases, strict=True):
        expected = draw.uniform(-0.5, 0.5, len(b))
        np.testing.assert_allclose(b - c, expected, atol=1e-12)
