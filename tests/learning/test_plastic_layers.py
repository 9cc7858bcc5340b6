"""Couplings that learn: equilibria and early motion of batches, against the general solvers."""

import pytest
import torch
from learning_cases import ACTIVATIONS, free, states

import ctebm
from ctebm import PlasticNetwork
from ctebm.equilibria.kkt import residual


@pytest.mark.parametrize("tied", [True, False])
def test_settles_where_the_general_solver_does(tied):
    network, x, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    if not tied:
        network = ctebm.FeedbackNetwork.at_angle(network, 40)
    found = PlasticNetwork(network, tied=tied).settle(x, tol=1e-12)
    expected = ctebm.settle(network.clamp({"x": x}), tol=1e-12).state
    assert torch.equal(found.states[0], x)
    torch.testing.assert_close(free(found.states), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_driven_motion_is_that_of_the_general_integrator(activation):
    network, x, target = states((9, 8, 7, 5), activation, gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), drive=target), free(found.states),
        n_steps=9, eps=0.2,
    )  # fmt: skip
    for n in range(1, 10):
        moved = plastic.drive(found, target, eps=0.2, n_steps=n)
        torch.testing.assert_close(
            free(found.states) + free(moved), run.state[n], rtol=0, atol=1e-11
        )


def test_driven_motion_with_feedback_weights_of_their_own():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    network = ctebm.FeedbackNetwork.at_angle(network, 40)
    plastic = PlasticNetwork(network, tied=False)
    found = plastic.settle(x, tol=1e-13)
    dynamics = ctebm.Dynamics(network.clamp({"x": x}), drive=target)
    run = ctebm.simulate(dynamics, free(found.states), n_steps=6, eps=0.2)
    moved = plastic.drive(found, target, eps=0.2, n_steps=6)
    torch.testing.assert_close(free(found.states) + free(moved), run.state[6], rtol=0, atol=1e-11)


def test_first_arrivals_are_those_of_the_full_motion():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    arrived = plastic.drive(found, target, eps=0.3)
    for depth in range(3):
        full = plastic.drive(found, target, eps=0.3, n_steps=depth + 1)
        torch.testing.assert_close(arrived[-1 - depth], full[-1 - depth], rtol=0, atol=1e-14)


def test_a_loose_equilibrium_does_not_hide_the_change():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.3)
    plastic = PlasticNetwork(network)
    exact, loose = plastic.settle(x, tol=1e-13), plastic.settle(x, tol=1e-3)
    change = [plastic.drive(found, target, eps=0.1)[1] for found in (exact, loose)]
    assert float(loose.residual.max()) > 10 * float(change[0].abs().max())
    torch.testing.assert_close(change[1], change[0], rtol=0.01, atol=1e-6)


def test_a_nudge_moves_the_equilibrium_as_the_dynamics_says():
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid())
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-13)
    nudged = plastic.nudge(found, target, beta=0.4, tol=1e-13)
    run = ctebm.simulate(
        ctebm.Dynamics(network.clamp({"x": x}), nudge=target, beta=0.4),
        free(found.states), n_steps=400, eps=0.5, save_every=400,
    )  # fmt: skip
    torch.testing.assert_close(free(nudged.states), run.state[-1], rtol=0, atol=1e-10)


def test_feedback_has_one_orientation():
    network, x, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    network = ctebm.FeedbackNetwork.at_angle(network, 40)
    plastic = PlasticNetwork(network, tied=False)
    again = plastic.to_network()
    for V, mine, back in zip(network.feedback, plastic.feedback, again.feedback, strict=True):
        assert torch.equal(mine, V) and torch.equal(back, V)
    found = plastic.settle(x, tol=1e-11)
    assert float(residual(again.clamp({"x": x}), free(found.states)).max()) <= 1e-11


def test_another_dtype_is_a_copy():
    plastic = PlasticNetwork(states((9, 7, 5), ctebm.HardSigmoid())[0])
    single = plastic.to(dtype=torch.float32)
    assert single.feedback is single.weights
    before = plastic.weights[0].clone()
    single.weights[0].zero_()
    assert torch.equal(plastic.weights[0], before)


def test_refuses_a_clamped_network():
    network, x, _ = states((9, 7, 5), ctebm.HardSigmoid())
    with pytest.raises(ValueError, match="nothing clamped"):
        PlasticNetwork(network.clamp({"x": x}))


def test_refuses_two_directions_as_one():
    network = ctebm.FeedbackNetwork.at_angle(states((9, 7, 5), ctebm.HardSigmoid())[0], 40)
    with pytest.raises(ValueError, match="tied=False"):
        PlasticNetwork(network)


@pytest.mark.parametrize("tied", [True, False])
def test_what_learns_stands_by_pairs_of_layers(tied):
    network, _, _ = states((9, 8, 7, 5), ctebm.HardSigmoid())
    plastic = PlasticNetwork(network, tied=tied)
    groups = [[plastic.parameters[name] for name in names] for names in plastic.groups.values()]
    assert list(plastic.groups) == ["x-h2", "h2-h1", "h1-y"]
    assert plastic.sizes == [9, 8, 7, 5]
    for i, group in enumerate(groups):
        own = [plastic.weights[i], plastic.biases[i + 1]]
        expected = own if tied else [*own, plastic.feedback[i]]
        assert len(group) == len(expected)
        assert all(p is q for p, q in zip(group, expected, strict=True))
    assert (plastic.feedback[0] is plastic.weights[0]) == tied
    assert (plastic.to(dtype=torch.float32).feedback[0].dtype) == torch.float32


def test_gradients_through_time_are_slopes_of_the_error_after_the_steps():
    """By central differences along a direction in each matrix, from states that stay the same."""
    network, x, target = states((9, 8, 7, 5), ctebm.Logistic(), gain=0.5)
    plastic = PlasticNetwork(network)
    found = plastic.settle(x, tol=1e-12)
    gradient = plastic.through_time(found, target, eps=0.2, n_steps=4).by_name

    def error(weights):
        changed = ctebm.LayeredNetwork(weights, network.biases, network.activation)
        run = ctebm.simulate(changed.clamp({"x": x}), free(found.states), n_steps=4, eps=0.2)
        return float((run.state[-1][:, -5:] - target).square().sum()) / (2 * len(x))

    draw, h = torch.Generator().manual_seed(0), 1e-5
    for i, W in enumerate(network.weights):
        along = torch.randn(W.shape, generator=draw, dtype=W.dtype)
        ends = (
            error([*network.weights[:i], W + side * h * along, *network.weights[i + 1 :]])
            for side in (1, -1)
        )
        slope = (next(ends) - next(ends)) / (2 * h)
        assert float((gradient[f"weights.{i}"] * along).sum()) == pytest.approx(slope, rel=1e-5)
