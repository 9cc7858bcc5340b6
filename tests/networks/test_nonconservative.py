"""Couplings that differ in the two directions."""

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, F64, every_motion_and_network, layered, states
from network_contract import check

import ctebm


def test_couplings_without_an_energy_may_have_a_diagonal():
    W = np.array([[0.5, -1.0], [1.0, 0.2]])
    net = ctebm.AsymmetricNetwork(W, [0.1, 0.2], ctebm.Tanh())
    s = torch.tensor([0.3, -0.4], dtype=F64)
    t = np.tanh(s.numpy())
    expected = (1 - t**2) / 2 * (np.array([0.1, 0.2]) + W @ ((1 + t) / 2)) - s.numpy()
    torch.testing.assert_close(net.force(s), torch.tensor(expected))


def test_equal_feedback_is_the_symmetric_network():
    net = layered(ACTIVATIONS["tanh"])
    s = states(net)
    for twin in (
        ctebm.FeedbackNetwork.of(net, net.weights),
        ctebm.FeedbackNetwork.scaled(net, 1.0),
        ctebm.FeedbackNetwork.at_angle(net, 0.0),
        ctebm.FeedbackNetwork(net.weights, net.weights, net.biases, net.activation),
    ):
        torch.testing.assert_close(twin.force(s), net.force(s))
        torch.testing.assert_close(twin.jacobian(s), -net.hessian(s))


@pytest.mark.parametrize("degrees", [10.0, 90.0, 180.0])
def test_feedback_has_the_angle_and_the_norm(degrees):
    net = layered(ACTIVATIONS["tanh"])
    turned = ctebm.FeedbackNetwork.at_angle(net, degrees, seed=4)
    for W, V in zip(net.weights, turned.feedback, strict=True):
        cosine = (W * V).sum() / W.norm() / V.norm()
        assert float(cosine) == pytest.approx(np.cos(np.radians(degrees)), abs=1e-12)
        assert float(V.norm()) == pytest.approx(float(W.norm()))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda net: ctebm.FeedbackNetwork.at_angle(_thin(1.0), 30.0), r"weights\[1\] of two or"),
        (lambda net: ctebm.FeedbackNetwork.at_angle(_thin(0.0), 30.0), r"weights\[0\].*not all 0"),
        (lambda net: ctebm.FeedbackNetwork.at_angle(net, np.nan), "a finite degrees"),
        (lambda net: ctebm.FeedbackNetwork.scaled(net, np.inf), "a finite gain"),
        (lambda net: ctebm.FeedbackNetwork.of(net, net.weights[:2]), "expected 3 blocks of feedb"),
        (lambda net: ctebm.FeedbackNetwork.of(net, [W.mT for W in net.weights]), r"shape \(5, 4\)"),
        (lambda net: ctebm.FeedbackNetwork.of(net, [None] * 3), "where there are weights and only"),
        (
            lambda net: ctebm.FeedbackNetwork(net.weights, [[[1.0]]] * 3, net.biases, ctebm.Tanh()),
            r"expected feedback\[0\] of shape \(5, 4\), got \(1, 1\)",
        ),
        (
            lambda net: ctebm.FeedbackNetwork(net.weights, net.weights[:1], net.biases, torch.tanh),
            "expected 3 blocks of feedback, got 1",
        ),
    ],
)
def test_feedback_that_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(layered(ACTIVATIONS["tanh"]))


def _thin(weight):
    """Layers of two, one and one unit."""
    blocks = [np.full((2, 1), weight), np.ones((1, 1))]
    return ctebm.LayeredNetwork(blocks, [[0, 0], [0], [0]], ctebm.Tanh())


def test_feedback_shares_no_memory_with_the_network_it_comes_from():
    net = layered(ACTIVATIONS["tanh"])
    other = ctebm.FeedbackNetwork.of(net, net.weights)
    s = states(net)
    before = other.force(s)
    for tensor in (*net.weights, net.bias):
        tensor.mul_(2)
    assert torch.equal(other.force(s), before)


def test_feedback_of_a_clamped_network_has_gaps_where_it_has():
    free = layered(ACTIVATIONS["tanh"]).clamp({"h1": [0.1, 0.2, 0.3]})
    weak = ctebm.FeedbackNetwork.scaled(free, 0.5)
    assert weak.weights[1] is None and weak.feedback[1] is None
    s = states(weak)
    assert weak.force(s).shape == s.shape


def test_a_phase_plane_shows_their_force_and_no_energy():
    pair = ctebm.AsymmetricNetwork([[0.2, 1.5], [-1.5, 0]], [0.0, 0.0], ctebm.Tanh())
    back = ctebm.FeedbackNetwork([[[1.5]]], [[[-0.5]]], [[0.1], [0.2]], ctebm.HardSigmoid())
    axis = torch.linspace(-1, 1, 5, dtype=F64)
    s = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    for net in (pair, back):
        plane = ctebm.phase_plane(net, n_grid=5, n_starts=5)
        torch.testing.assert_close(torch.tensor(plane.force.values), net.force(s).movedim(-1, 0))
        assert "energy" not in plane


@pytest.mark.parametrize(
    "name",
    [
        "asymmetric-hard",
        "feedback-tanh",
        "batch-feedback-tanh",
        "held-output-tanh",
        "tangent",
        "batch-tangent",
        "complex-nudge",
        "batch-complex-nudge",
        "batch-held-output",
    ],
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
