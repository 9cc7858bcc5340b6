"""Which layer a parameter drives, said or found."""

import pytest
import torch
from cases import F64
from own_energies import OwnPredictive, problem

from ctebm.early_inference.drives import drives_of
from ctebm.networks.drives import named_tensors, with_leaves


def test_a_parameter_drives_the_latest_layer_that_it_touches():
    net, _, _ = problem()
    expected = {"W.0": "h2", "W.1": "h1", "W.2": "y", "b.0": "h2", "b.1": "h1", "b.2": "y"}
    assert drives_of(net, named_tensors(net)) == expected


def test_what_a_network_says_of_its_parameters_holds():
    net, _, _ = problem()
    net.declared_drives = {"W.2": "h1", "b.0": "x"}
    found = drives_of(net, named_tensors(net))
    assert found["W.2"] == "h1" and "b.0" not in found and found["W.1"] == "h1"
    net.declared_drives = {"W.2": "h7"}
    with pytest.raises(ValueError, match=r"drives\['W.2'\] to be one of the layers x, h2, h1, y"):
        drives_of(net, named_tensors(net))


def test_of_a_parameter_of_many_layers_it_must_be_said():
    class Shared(OwnPredictive):
        def energy(self, s):
            return super().energy(s) * self.scale

    net, _, _ = problem(Shared)
    net.scale = torch.ones((), dtype=F64)
    with pytest.raises(ValueError, match=r"drives = \{'scale': 'y'\}"):
        drives_of(net, named_tensors(net))
    net.declared_drives = {"scale": "y"}
    assert drives_of(net, named_tensors(net))["scale"] == "y"


def test_biases_in_one_row_drive_each_their_own_layer():
    class Row(OwnPredictive):
        def energy(self, s):
            return super().energy(s) - s[..., 6:] @ self.bias

    net, _, _ = problem(Row)
    net.bias = torch.ones(12, dtype=F64)
    net = with_leaves(net)
    said = drives_of(net, named_tensors(net))["bias"]
    assert not isinstance(said, str)
    for layer, where in list(net.layers.items())[1:]:
        assert torch.equal(torch.nonzero(said[layer])[:, 0], torch.arange(-6, 12)[where])
    assert set(said) == {"h2", "h1", "y"}


def test_what_touches_nothing_drives_nothing():
    net, _, _ = problem()
    net.unused = torch.ones(3, dtype=F64)
    assert "unused" not in drives_of(net, named_tensors(net))
