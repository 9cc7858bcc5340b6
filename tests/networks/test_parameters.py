"""Weights and biases as labelled arrays, and back."""

import numpy as np
import pytest
import torch
from cases import every_motion, every_network, layered, rows, states

import ctebm
from ctebm.networks.copies import mapped
from ctebm.networks.layer_rates import LayerRates
from ctebm.networks.parameters import activation_attributes, network_dataset, rows_by_name

# Complex networks live within one call and are never written.
EVERY = {n: net for n, net in {**every_network(), **every_motion()}.items() if "complex" not in n}


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


def test_of_a_clamped_network_the_whole_is_written_once_and_the_states_of_held_layers():
    net, x, h = layered(ctebm.Tanh()), rows(3, 5), rows(1, 3)[0]
    for free in (net.clamp({"x": x, "h1": h}), net.clamp({"h1": h}).clamp({"x": x})):
        dataset = network_dataset(free)
        assert dataset.input.dims == ("sample", "unit_input") and dataset.clamped_h1.ndim == 1
        again = ctebm.load_network(dataset)
        assert torch.equal(again.force(states(net)), net.force(states(net)))
        held = {name: torch.tensor(dataset[name].values) for name in ("input", "clamped_h1")}
        same = again.clamp({"x": held["input"], "h1": held["clamped_h1"]})
        assert torch.equal(same.bias, free.bias)


@pytest.mark.parametrize("name", EVERY)
def test_every_network_is_written_down_and_comes_back_from_a_file(name, tmp_path):
    net = EVERY[name]
    dataset = network_dataset(net)
    assert dataset.network and "parameter_layers" not in dataset
    ctebm.save(dataset, tmp_path / "net.nc")
    with ctebm.open(tmp_path / "net.nc") as back:
        assert set(back.variables) == set(dataset.variables)
    whole, held = net.origin
    again = whole.clamp(held) if held else whole
    s = states(net, net.batch or (9,))
    assert torch.equal(again.force(s), net.force(s))
    numbers = sum(t.numel() for t in tensors_of(whole))
    written = sum(v.size for n, v in dataset.data_vars.items() if not n.startswith("weight_"))
    written += sum(v.size for n, v in dataset.data_vars.items() if n[7:].isdigit())
    assert written >= numbers  # nothing is left out, a scalar constant apart


def tensors_of(net):
    """Return the tensors that make a network, without what follows from them."""
    net = getattr(net, "pairwise", net)
    follows = {"constant", "_kept", "_origin"}
    if isinstance(getattr(net, "activation", None), LayerRates):  # which is written by name
        follows |= {"activation", "box"}
    own = {k: v for k, v in vars(net).items() if k not in follows}
    found = []
    mapped(own, lambda t: found.append(t.values() if t.layout != torch.strided else t) or t)
    return found


def test_rows_of_samples_keep_their_inputs():
    free = layered(ctebm.Tanh()).clamp({"x": rows(4, 5)})
    some = free.samples(free.batch, torch.tensor([2, 0]))
    assert torch.equal(some.origin[1]["x"], rows(4, 5)[[2, 0]])


def test_other_parameters_are_no_longer_those_of_the_whole():
    free = layered(ctebm.Tanh()).clamp({"x": rows(3, 5)})
    assert network_dataset(free.centred()).bias_1.dims == ("sample", "unit_h1")
    back = ctebm.FeedbackNetwork.of(free, free.weights)
    for other in (back, back.of_blocks(back.feedback, back.weights)):
        assert "input" not in network_dataset(other)


def test_a_row_for_each_of_a_grid_of_samples():
    x = rows(3, 2)[:, None]
    found = rows_by_name(x, ("sample", "unit"), torch.Size((3, 4)), "target")
    assert found.dims == ("sample", "unit")
    np.testing.assert_array_equal(found.values, x.expand(3, 4, 2).reshape(12, 2))
