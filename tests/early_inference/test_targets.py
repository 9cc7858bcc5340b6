"""The door of states and targets: what gradients and measurements refuse, and in which words."""

import numpy as np
import pytest
import torch
from cases import Quartic

import ctebm
from ctebm.early_inference.gradients import responsive_units
from ctebm.early_inference.targets import (
    one_state_each,
    one_target_each,
    state_and_target,
)

NET = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.HardSigmoid(), gain=0.5, seed=1)
X = torch.linspace(-0.3, 0.3, 12, dtype=torch.float64).reshape(3, 4)
GRADIENTS = {
    "chain": ctebm.chain_gradient,
    "implicit": ctebm.implicit_gradient,
    "bptt": lambda net, s, target: ctebm.bptt_gradient(net, s, target, eps=0.1, n_steps=2),
    "responsive": responsive_units,
}


@pytest.fixture(params=GRADIENTS)
def gradient(request):
    return GRADIENTS[request.param]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("unit", [1, 4])
def test_a_state_that_is_not_finite_is_named(gradient, unit, bad):
    """In a hidden unit it used to give plausible numbers, in the output zeros."""
    net = NET.clamp({"x": X})
    s = ctebm.settle(net).state
    s[2, unit] = bad
    with pytest.raises(ValueError, match=f"got {bad} in unit {unit} of sample 2; settle first"):
        gradient(net, s, [0.2, -0.2])
    with pytest.raises(ValueError, match=f"got {bad} in unit {unit};"):
        gradient(net, s[2], [0.2, -0.2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_named(gradient, bad):
    net = NET.clamp({"x": X})
    target = np.full((3, 2), 0.2)
    target[1, 1] = bad
    with pytest.raises(ValueError, match=f"layer 'y', got {bad} in unit 1 of sample 1; clean"):
        gradient(net, ctebm.settle(net), target)


def test_batches_that_do_not_fit_are_refused_with_both(gradient):
    net = NET.clamp({"x": X})
    fixed = ctebm.settle(net)
    with pytest.raises(ValueError, match=r"got batches of samples \(3,\) and targets \(4,\)"):
        gradient(net, fixed, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"got batches of inputs \(3,\) and states \(2,\)"):
        gradient(net, fixed.state[:2], np.zeros(2))
    with pytest.raises(ValueError, match=r"\(\*batch, 2\) for layer 'y', got \(3,\)"):
        gradient(net, fixed, np.zeros(3))


def test_one_state_serves_many_targets_and_one_target_many_states(gradient):
    net, targets = NET.clamp({"x": X[0]}), torch.tensor([[0.1, 0.2], [0.1, 0.2]])
    s = ctebm.settle(net).state
    one = gradient(net, s, targets[0])
    for many in (gradient(net, s, targets), gradient(net, s.expand(2, -1), targets[0])):
        assert torch.equal(many, one.expand(2, -1))


def test_an_empty_batch_has_empty_gradients(gradient):
    net = NET.clamp({"x": X[:0]})
    assert gradient(net, torch.zeros(0, 5), torch.zeros(0, 2)).shape == (0, 5)


def test_a_network_without_a_free_output_is_refused(gradient):
    states = {"x": X[0], "h1": [0.0] * 3, "y": [0.0] * 2}
    with pytest.raises(ValueError, match="got one with every layer clamped; leave the output out"):
        gradient(NET.clamp(states), torch.zeros(0), torch.zeros(2))
    with pytest.raises(ValueError, match="no named layers"):
        gradient(Quartic(2), [0, 0], [0, 0])
    with pytest.raises(ValueError, match="expected a network, got list"):
        gradient([1], [0, 0], [0, 0])


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], np.array([2, 0, 1]), torch.tensor([0, 0, 1])], ids=type
)
def test_labels_are_no_targets(gradient, labels):
    """Three labels for three samples and three classes: one state for all is not what is meant."""
    net = ctebm.LayeredNetwork.random([4, 3, 3], ctebm.HardSigmoid(), gain=0.5, seed=1)
    clamped = net.clamp({"x": X})
    words = r"3 integers for 3 samples.* one-hot states of shape \(3, 3\), or floats"
    with pytest.raises(ValueError, match=words):
        gradient(clamped, ctebm.settle(clamped), labels)
    with pytest.raises(ValueError, match=words):
        ctebm.correspondence(net, X, labels, 0.1)


def test_one_target_in_floats_or_for_another_number_of_samples_is_no_label(gradient):
    net = ctebm.LayeredNetwork.random([4, 3, 3], ctebm.HardSigmoid(), gain=0.5, seed=1)
    clamped = net.clamp({"x": X})
    fixed = ctebm.settle(clamped)
    # another batch is summed in another order
    shared = gradient(clamped, fixed, [0.0, 1.0, 0.0])
    torch.testing.assert_close(gradient(clamped, fixed, [[0, 1, 0]] * 3), shared)
    two = net.clamp({"x": X[:2]})
    torch.testing.assert_close(gradient(two, fixed.state[:2], [0, 1, 0]), shared[:2])
    one = net.clamp({"x": X[0]})
    torch.testing.assert_close(gradient(one, fixed.state[0], [0, 1, 0]), shared[0])


def test_what_passes_is_a_tensor_of_the_network():
    net = NET.to(dtype=torch.float32).clamp({"x": X})
    s, target = state_and_target(net, np.zeros((3, 5)), [0.1, 0.2])
    assert (s.dtype, s.shape) == (torch.float32, (3, 5))
    assert (target.dtype, target.shape) == (torch.float32, (2,))


def test_each_input_has_one_target():
    for x, target in [(X, [0.1, 0.2]), (X[:1], [[0.1, 0.2]] * 3), (X, [[0.1, 0.2]] * 3)]:
        found = one_target_each(NET.clamp({"x": x}), target)
        assert found.tolist() == [[0.1, 0.2]] * 3
    assert one_target_each(NET.clamp({"x": X[0]}), [0.1, 0.2]).tolist() == [[0.1, 0.2]]
    with pytest.raises(
        ValueError, match=r"shape \(sample, unit\), got a batch \(1, 3\); flatten it"
    ):
        one_target_each(NET.clamp({"x": X[None]}), [0.1, 0.2])
    with pytest.raises(ValueError, match="one or more samples, got none"):
        one_target_each(NET.clamp({"x": X}), np.zeros((0, 3, 2)))
    with pytest.raises(ValueError, match="one or more samples, got none"):
        one_target_each(NET.clamp({"x": X[:0]}), [0.1, 0.2])


def test_each_sample_has_one_state():
    net, s = NET.clamp({"x": X}), torch.arange(5.0).double()
    for states in (s, s[None], s.expand(3, -1)):
        assert torch.equal(one_state_each(net, states, "start", 3), s.expand(3, -1))
    for states in (s.expand(2, -1), s.expand(1, 3, -1)):
        with pytest.raises(ValueError, match=r"one start, or one for each of 3 samples.* \(3, 5\)"):
            one_state_each(net, states, "start", 3)
