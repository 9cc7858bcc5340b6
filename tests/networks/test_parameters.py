"""Weights and biases go into a dataset and come back."""

import pytest
import torch
from cases import ACTIVATIONS, layered

import ctebm
from ctebm.networks.parameters import activation_attributes, network_dataset

NAMED = [name for name in ACTIVATIONS if name != "custom"]


@pytest.mark.parametrize("name", NAMED)
def test_a_layered_network_comes_back_from_its_dataset(name):
    net = layered(ACTIVATIONS[name])
    again = ctebm.load_network(network_dataset(net))
    assert isinstance(again, ctebm.LayeredNetwork)
    assert again.activation == net.activation
    assert torch.equal(again.dense_weight(), net.dense_weight())
    assert torch.equal(again.bias, net.bias)


def test_the_two_directions_come_back_as_they_were():
    net = ctebm.FeedbackNetwork.at_angle(layered(ctebm.Tanh()), 60.0, seed=2)
    again = ctebm.load_network(network_dataset(net))
    assert isinstance(again, ctebm.FeedbackNetwork)
    assert torch.equal(again.dense_weight(), net.dense_weight())


def test_from_a_file_and_in_single_precision(tmp_path):
    net = layered(ctebm.HardSigmoid())
    ctebm.save(network_dataset(net), tmp_path / "net.nc")
    again = ctebm.load_network(tmp_path / "net.nc", dtype=torch.float32)
    assert again.dtype == torch.float32
    assert torch.equal(again.bias, net.bias.float())


def test_dimensions_are_the_layers():
    found = network_dataset(layered(ctebm.HardSigmoid()))
    assert found.weight_0.dims == ("unit_input", "unit_h2")
    assert dict(found.sizes) == {"unit_input": 5, "unit_h2": 4, "unit_h1": 3, "unit_y": 2}


def test_what_clamping_took_away_is_left_out():
    x = torch.zeros(7, 5, dtype=torch.float64)
    found = network_dataset(layered(ctebm.HardSigmoid()).clamp({"x": x}))
    assert set(found) == {"weight_0", "weight_1"}  # biases now have a row a sample


def test_attributes_name_the_activation():
    assert activation_attributes(ctebm.Logistic(2.0)) == {
        "activation": "Logistic",
        "activation_parameters": '{"gain": 2.0}',
    }


def test_what_is_missing_is_said():
    whole = network_dataset(layered(ctebm.Tanh()))
    with pytest.raises(ValueError, match="got no bias_3"):
        ctebm.load_network(whole.drop_vars("bias_3"))
    with pytest.raises(ValueError, match="got no weights"):
        ctebm.load_network(whole[["bias_0"]])
    with pytest.raises(ValueError, match="got 'Custom'; build the network yourself"):
        ctebm.load_network(network_dataset(layered(ctebm.Custom(torch.sin))))
