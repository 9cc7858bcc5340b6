"""One update after another: the energy never rises, and saturated units find their state."""

import pytest
import torch
from learning_cases import ACTIVATIONS, states

import ctebm
from ctebm.equilibria.alternating import settle_alternating
from ctebm.equilibria.kkt import residual


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ctebm.SmoothHardSigmoid()], ids=repr)
@pytest.mark.parametrize("gain", [0.3, 1.0, 2.0])
def test_the_energy_never_rises(activation, gain):
    network, x, _ = states((9, 8, 8, 7, 5), activation, gain)
    clamped = network.clamp({"x": x})
    s, heights = None, []
    for _ in range(24):
        s = settle_alternating(clamped.blocks, s, tol=1e-30, max_sweeps=1).states
        heights.append(clamped.energy(torch.cat(s, -1)))
    heights = torch.stack(heights)
    assert float(heights.diff(dim=0).max()) <= 1e-12
    assert float((heights[0] - heights[-1]).max()) > 1e-9


@pytest.mark.parametrize("activation", [ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid()])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_saturated_smooth_units_converge(activation, beta):
    """Currents of many times the width of the rate, where s <- R(s) jumps to and fro."""
    network, x, target = states((9, 8, 7, 5), activation, gain=0.3)
    biases = [b + 6 * (-1) ** torch.arange(len(b)) for b in network.biases]
    clamped = ctebm.LayeredNetwork(network.weights, biases, activation).clamp({"x": x})
    found = settle_alternating(clamped.blocks, tol=1e-12, max_sweeps=60)
    assert float(found.residual.max()) <= 1e-12
    assert float(residual(clamped, torch.cat(found.states, -1)).max()) <= 2e-12
    nudged = settle_alternating(
        clamped.blocks, found.states, tol=1e-12, max_sweeps=60, nudge=(target, beta)
    )
    force = ctebm.Dynamics(clamped, nudge=target, beta=beta)
    assert float(force.f(0, torch.cat(nudged.states, -1)).abs().max()) <= 1e-11
