"""States that are given for layers."""

import numpy as np
import pytest
import torch
from cases import CHAIN, F64, Chain, Relay, clipped

import ctebm
from ctebm.networks.layer_states import (
    finite_of_layer,
    first_not_finite,
    states_of_layer,
    states_of_layers,
)


def _chain():
    return ctebm.LayeredNetwork.random([1, 1, 1], ctebm.Tanh())


@pytest.mark.parametrize(
    "states, words",
    [
        ({"z": [0.0]}, "one of the layers x, h, y, got 'z'"),
        ({"x": [0.0, 1.0]}, r"\(\*batch, 1\) for layer 'x'"),
        ({"x": 0.0}, r"\(\*batch, 1\) for layer 'x'"),
        ({"x": [np.nan]}, "finite states for layer 'x'"),
        ({"x": np.array([1j])}, "expected real numbers, got complex"),
        ({"x": torch.tensor([1j])}, "expected real numbers, got complex"),
        ({"x": np.array([[0], [255]], dtype=np.uint8)}, r"got an array of uint8.*network.state\("),
        ({"x": np.array([1])}, "states of layer 'x' as floats, got an array of int64"),
        ({"x": np.array([True])}, "got an array of bool"),
        ({"x": torch.tensor([1])}, "got an array of torch.int64"),
    ],
    ids=str,
)
def test_bad_states_of_a_layer_are_refused(states, words):
    for motion in (Chain(3, CHAIN), clipped(), ctebm.HopfieldNetwork(_chain()), _chain()):
        names = {"x": "x", "z": "z"}
        if "h" not in motion.layers:
            words = words.replace("x, h, y", "x, h1, y")
        with pytest.raises(ValueError, match=words):
            motion.clamp({names[k]: v for k, v in states.items()})


def test_whole_numbers_in_a_list_are_states():
    assert ctebm.settle(Relay(3, CHAIN).clamp({"x": [2]})).state.tolist() == [2, 2]


def test_held_states_are_copies():
    x = np.array([2.0])
    free = Relay(3, CHAIN).clamp({"x": x})
    hopfield = ctebm.HopfieldNetwork(_chain()).clamp({"x": x})
    s = torch.zeros(2, dtype=F64)
    before = free.force(s), hopfield.energy(s)
    x *= 3
    assert torch.equal(free.force(s), before[0])
    assert torch.equal(hopfield.energy(s), before[1])


def test_states_to_clamp_come_by_the_names_of_layers():
    whole = ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh())
    for bare in ([0.1, 0.2], np.zeros(2), torch.zeros(5, 2)):
        with pytest.raises(ValueError, match=r"by their names, got .*; give \{'x': states\}"):
            whole.clamp(bare)
    with pytest.raises(ValueError, match=r"batches of layer 'x' \(3,\) and layer 'y' \(2,\)"):
        whole.clamp({"x": torch.zeros(3, 2), "y": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match=r"layer 'y' \(2,\) and network \(3,\)"):
        whole.clamp({"x": torch.zeros(3, 2)}).clamp({"y": torch.zeros(2, 1)})


def test_numbers_of_a_layer_are_said_to_be_what_they_are():
    net = _chain()
    assert finite_of_layer(net, "h1", 2 * np.ones((4, 1), np.float32), "rate").dtype == F64
    with pytest.raises(ValueError, match=r"expected a rate of shape \(\*batch, 1\) for layer 'h1'"):
        finite_of_layer(net, "h1", [1.0, 2.0], "rate")
    with pytest.raises(ValueError, match=r"finite targets for layer 'y', got nan in unit 0 of"):
        finite_of_layer(net, "y", [[0.0], [np.nan]], "target")


def test_numbers_of_a_layer_are_the_same_tensor_and_its_states_a_copy():
    net, x = _chain(), torch.zeros(1, dtype=F64)
    assert finite_of_layer(net, "x", x, "rate") is x
    assert states_of_layer(net, "x", x) is not x
    found = states_of_layers(net, {"y": x, "x": [0.5]})
    assert list(found) == ["y", "x"] and found["x"].tolist() == [0.5]


def test_what_is_not_finite_is_named_with_its_place():
    x = torch.zeros(2, 3, 4)
    x[1, 0, 2] = -torch.inf
    assert first_not_finite(x) == "-inf in unit 2 of sample 1, 0"
    assert first_not_finite(x[1, 0]) == "-inf in unit 2"
