"""A correspondence as labelled arrays, in memory and in a file."""

import numpy as np
import torch
from cases import ACTIVATIONS, measured

import ctebm


def test_dataset_holds_everything_by_name(tmp_path):
    record = measured()
    data = record.to_dataset()
    assert set(data.dims) >= {"sample", "eps", "save", "layer", "unit"}
    for name, item in data.variables.items():
        assert item.attrs["long_name"], name
        assert item.attrs["units"], name
    path = tmp_path / "correspondence.nc"
    ctebm.save(data, path)
    with ctebm.open(path) as back:
        for name in data.variables:
            np.testing.assert_array_equal(back[name].values, data[name].values)
        assert back.attrs["activation"] == "HardSigmoid"
    run = data.isel(eps=2)
    np.testing.assert_allclose(run.time, run.step.where(run.step >= 0) * 0.02)


def test_layers_are_picked_by_name_before_and_after_a_file(tmp_path):
    record = measured(eps=[0.5, 0.1])
    ctebm.save(record.to_dataset(), tmp_path / "correspondence.nc")
    with ctebm.open(tmp_path / "correspondence.nc") as opened:
        for data in (record.to_dataset(), opened):
            assert data.layer.values.tolist() == ["h2", "h1", "y"]
            for layer, name in enumerate(record.layers):
                units = data.sel(layer_of_unit=name)
                d, g = units.displacement, units.chain_gradient
                coefficient = -(d * g).sum("unit", skipna=False) / (g**2).sum("unit")
                found = data.coefficient.sel(layer=name)
                np.testing.assert_allclose(found, coefficient, rtol=1e-9)
                assert float(data.depth.sel(layer=name)) == record.depth[layer]


def test_the_parameters_of_a_layered_network_are_kept_once():
    rho = ctebm.Logistic(gain=2.0)
    net = ctebm.LayeredNetwork.random((3, 4, 2), rho, gain=0.3)
    net = ctebm.FeedbackNetwork.at_angle(net, 30.0)
    data = ctebm.correspondence(net, torch.zeros(1, 3), torch.zeros(1, 2), 0.1).to_dataset()
    assert data.feedback_1.attrs["long_name"] == "weights from 2 to 1"
    again = ctebm.load_network(data)
    assert again.activation == rho
    for mine, theirs in zip(again.feedback, net.feedback, strict=True):
        assert torch.equal(mine, theirs)


def test_a_dataset_says_how_the_target_arrived_and_what_failed():
    data = measured(eps=[0.1], n_steps=3).to_dataset()
    assert data.drive == "replace" and data.n_failed == 0 and not any(data.message.values)
    assert data.attrs["kinks"] == [-0.5, 0.5] and np.isnan(data.beta)
    nudged = measured(ACTIVATIONS["tanh"], eps=[0.1], n_steps=3, drive="nudge", beta=0.2, points=2)
    data = nudged.to_dataset()
    assert (data.drive, data.beta, data.points) == ("nudge", 0.2, 2)
    assert data.attrs["kinks"] == ""


def test_inputs_are_kept_where_there_are_any():
    net = ctebm.LayeredNetwork.random((3, 4, 2), ctebm.Tanh(), gain=0.3)
    x, y = torch.full((2, 3), 0.1), torch.zeros(2, 2)
    data = ctebm.correspondence(net, x, y, 0.1, n_steps=2).to_dataset()
    assert data.input.dims == ("sample", "unit_input")
    np.testing.assert_allclose(data.input, x)
    clamped = ctebm.correspondence(net.clamp({"x": x}), None, y, 0.1, n_steps=2).to_dataset()
    np.testing.assert_allclose(clamped.input, x)
    np.testing.assert_allclose(clamped.displacement, data.displacement, atol=1e-12)


def test_a_seed_is_kept_where_there_was_noise():
    quiet, noisy = (
        measured(eps=[0.1], n_steps=2, sigma=sigma, seed=7).to_dataset() for sigma in (0.0, 0.1)
    )
    assert quiet.seed == "" and noisy.seed == "7"
