"""Weights and biases as labelled arrays, and back."""

import pytest
import torch
from cases import ACTIVATIONS, layered, states

import ctebm
from ctebm.networks.parameters import activation_attributes, network_dataset

SIGMOIDS = [name for name in ACTIVATIONS if name != "custom"]


@pytest.mark.parametrize("name", SIGMOIDS)
@pytest.mark.parametrize("apart", [False, True], ids=["layered", "feedback"])
def test_a_network_comes_back_to_the_bit(name, apart, tmp_path):
    net = layered(ACTIVATIONS[name])
    if apart:
        net = ctebm.FeedbackNetwork.at_angle(net, 30.0)
    dataset = network_dataset(net)
    ctebm.save(dataset, tmp_path / "net.nc")
    s = states(net)
    for source in (dataset, tmp_path / "net.nc", str(tmp_path / "net.nc")):
        again = ctebm.load_network(source)
        assert type(again) is type(net) and again.activation == net.activation
        assert torch.equal(again.force(s), net.force(s))
    assert ctebm.load_network(dataset, dtype=torch.float32).dtype == torch.float32


def test_arrays_say_which_layers_they_belong_to():
    dataset = network_dataset(ctebm.FeedbackNetwork.scaled(layered(ctebm.Tanh()), 0.5))
    assert dataset.weight_1.dims == dataset.feedback_1.dims == ("unit_h2", "unit_h1")
    assert dict(dataset.sizes) == {"unit_input": 5, "unit_h2": 4, "unit_h1": 3, "unit_y": 2}
    assert all("long_name" in array.attrs for array in dataset.values())


def test_an_activation_is_told_by_its_name_and_parameters():
    attributes = activation_attributes(ctebm.SmoothHardSigmoid(lower=-0.4, width=0.2))
    assert attributes == {
        "activation": "SmoothHardSigmoid",
        "activation_parameters": '{"lower": -0.4, "width": 0.2}',
    }


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d.drop_vars("weight_0"), "got no weight_0"),
        (lambda d: d.drop_vars("bias_2"), "got no bias_2; give the dataset of a training"),
        (lambda d: d.drop_vars([f"weight_{i}" for i in range(3)]), "got no weights"),
        (lambda d: d.assign_attrs(activation="Custom"), "an activation of ctebm.*got 'Custom'"),
        (lambda d: d.drop_attrs(), "an activation of ctebm.*got ''"),
    ],
)
def test_what_is_no_network_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ctebm.load_network(change(network_dataset(layered(ctebm.Tanh()))))


def test_what_clamping_took_away_is_left_out():
    free = layered(ctebm.Tanh()).clamp({"x": torch.zeros(3, 5)})
    dataset = network_dataset(free)
    assert set(dataset) == {"weight_0", "weight_1"}  # each sample has biases of its own
    with pytest.raises(ValueError, match="got no bias_0"):
        ctebm.load_network(dataset)


@pytest.mark.parametrize("text", ["{", '{"width": 1}', "3", "[" * 10**5])
def test_parameters_that_the_activation_does_not_have_are_refused(text):
    dataset = network_dataset(ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh()))
    dataset.attrs["activation_parameters"] = text
    with pytest.raises(ValueError, match="expected the parameters of Tanh"):
        ctebm.load_network(dataset)


def test_a_source_that_is_neither_dataset_nor_path_is_refused():
    with pytest.raises(TypeError, match="expected the path of a result, got int"):
        ctebm.load_network(42)
