"""Fast layered equilibria and early motion, against the general solvers."""

import pytest
import torch

import ctebm
from ctebm.learning.plastic import PlasticNetwork

ACTIVATIONS = [ctebm.HardSigmoid(), ctebm.HardSigmoid(-0.1), ctebm.Logistic(), ctebm.Tanh()]
SIZES = [(6, 4), (9, 7, 5), (9, 8, 7, 5), (9, 8, 8, 7, 5)]


def _case(sizes, activation, gain=0.3, n=7):
    generator = torch.Generator().manual_seed(3)
    network = ctebm.LayeredNetwork.random(sizes, activation, gain=gain, seed=1)
    x = torch.rand(n, sizes[0], generator=generator, dtype=torch.float64) - 0.4
    target = 0.6 * torch.rand(n, sizes[-1], generator=generator, dtype=torch.float64) - 0.1
    return network, x, target


def _free(states):
    return torch.cat(states[1:], -1)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_settles_where_the_general_solver_does(sizes, activation):
    network, x, _ = _case(sizes, activation)
    rest = PlasticNetwork(network).settle(x, tol=1e-12)
    expected = ctebm.settle(network.clamp({"x": x}), tol=1e-12).state
    assert float(rest.residual.max()) <= 1e-12
    torch.testing.assert_close(_free(rest.states), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ctebm.SmoothHardSigmoid()], ids=repr)
@pytest.mark.parametrize("gain", [0.3, 1.0, 2.0])
def test_never_goes_uphill(activation, gain):
    network, x, _ = _case((9, 8, 8, 7, 5), activation, gain)
    plastic, energy = PlasticNetwork(network), network.clamp({"x": x})
    heights = torch.stack([
        energy.energy(_free(plastic.settle(x, tol=1e-30, max_sweeps=n).states))
        for n in range(1, 25)
    ])  # fmt: skip
    assert float(heights.diff(dim=0).max()) <= 1e-12
    assert float((heights[0] - heights[-1]).max()) > 1e-9


@pytest.mark.parametrize("activation", [ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid()])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_saturated_smooth_units_come_to_rest(activation, beta):
    """Currents of many times the width of the rate, where s <- R(s) jumps to and fro."""
    network, x, target = _case((9, 8, 7, 5), activation, gain=0.3)
    biases = [b + 6 * (-1) ** torch.arange(len(b)) for b in network.biases]
    network = ctebm.LayeredNetwork(network.weights, biases, activation)
    plastic = PlasticNetwork(network)
    rest = plastic.settle(x, tol=1e-12, max_sweeps=60)
    assert float(rest.residual.max()) <= 1e-12
    assert float(plastic.residual(rest.states).max()) <= 1e-12
    nudged = plastic.nudge(rest, target, beta=beta, tol=1e-12, max_sweeps=60)
    force = ctebm.Dynamics(network.clamp({"x": x}), nudge=target, beta=beta)
    assert float(force.f(0, _free(nudged.states)).abs().max()) <= 1e-11


def test_samples_settle_as_if_alone():
    network, x, target = _case((9, 60, 60, 50, 5), ctebm.HardSigmoid(), gain=0.7, n=120)
    plastic = PlasticNetwork(network)
    together = plastic.settle(x, tol=1e-6, max_sweeps=2000)
    assert len(together.sweeps.unique()) > 2
    for i in range(len(x)):
        alone = plastic.settle(x[i : i + 1], tol=1e-6, max_sweeps=2000)
        assert int(alone.sweeps) <= int(together.sweeps[i])
        torch.testing.assert_close(alone.states[2][0], together.states[2][i], rtol=0, atol=1e-4)
    whole = plastic.residual(together.states)
    torch.testing.assert_close(whole, together.residual, rtol=1e-6, atol=1e-15)
    nudged = plastic.nudge(together, target, beta=0.3, tol=1e-9, max_sweeps=2000)
    assert float(nudged.residual.max()) <= 1e-9


def test_currents_are_those_at_the_returned_states():
    network, x, _ = _case((9, 8, 8, 7, 5), ctebm.Logistic(), gain=0.5, n=30)
    rest = PlasticNetwork(network).settle(x, tol=1e-5)
    r = network.activation(torch.cat(rest.states, -1))
    expected = network.coupling(r) + network.bias
    torch.testing.assert_close(
        torch.cat(rest.currents, -1), expected[:, 9:], rtol=1e-12, atol=1e-13
    )


def test_residual_is_that_of_the_returned_states():
    network, x, _ = _case((9, 8, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    plastic = PlasticNetwork(network)
    for n in (1, 5, 6, 12):
        rest = plastic.settle(x, tol=1e-30, max_sweeps=n)
        expected = plastic.residual(rest.states)
        assert bool((rest.sweeps == n).all())
        torch.testing.assert_close(rest.residual, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_driven_motion_is_that_of_the_general_integrator(activation):
    network, x, target = _case((9, 8, 7, 5), activation, gain=0.5)
    rest = PlasticNetwork(network).settle(x, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), drive=target),
        _free(rest.states),
        n_steps=9,
        eps=0.2,
    )
    for n in range(1, 10):
        moved = PlasticNetwork(network).drive(rest, target, eps=0.2, n_steps=n)
        torch.testing.assert_close(
            _free(rest.states) + _free(moved), run.state[n], rtol=0, atol=1e-11
        )


def test_first_arrivals_are_those_of_the_full_motion():
    network, x, target = _case((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    plastic = PlasticNetwork(network)
    rest = plastic.settle(x, tol=1e-13)
    arrived = plastic.drive(rest, target, eps=0.3)
    for depth in range(3):
        full = plastic.drive(rest, target, eps=0.3, n_steps=depth + 1)
        torch.testing.assert_close(arrived[-1 - depth], full[-1 - depth], rtol=0, atol=1e-14)


def test_a_loose_equilibrium_does_not_hide_the_change():
    network, x, target = _case((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.3)
    plastic = PlasticNetwork(network)
    exact, loose = plastic.settle(x, tol=1e-13), plastic.settle(x, tol=1e-3)
    change = [plastic.drive(r, target, eps=0.1)[1] for r in (exact, loose)]
    assert float(loose.residual.max()) > 10 * float(change[0].abs().max())
    torch.testing.assert_close(change[1], change[0], rtol=0.01, atol=1e-6)


def test_a_nudge_moves_the_equilibrium_as_the_dynamics_says():
    network, x, target = _case((9, 8, 7, 5), ctebm.HardSigmoid())
    plastic = PlasticNetwork(network)
    rest = plastic.settle(x, tol=1e-13)
    nudged = plastic.nudge(rest, target, beta=0.4, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), nudge=target, beta=0.4),
        _free(rest.states), n_steps=400, eps=0.5, save_every=400,
    )  # fmt: skip
    torch.testing.assert_close(_free(nudged.states), run.state[-1], rtol=0, atol=1e-10)


def test_refuses_a_clamped_network():
    network, x, _ = _case((9, 7, 5), ctebm.HardSigmoid())
    with pytest.raises(ValueError, match="nothing clamped"):
        PlasticNetwork(network.clamp({"x": x}))
