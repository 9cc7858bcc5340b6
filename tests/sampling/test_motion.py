"""The motion of chains by name: what each chain, each sample, or all of them share."""

import numpy as np
import pytest
import torch
import xarray as xr
from analytic import TANH

import ctebm
from ctebm.sampling.motion import by_chain, motion_of, with_motion

LEAD = torch.Size((3, 2))  # chains, samples
NET = ctebm.LayeredNetwork.random([2, 3, 1], TANH, gain=1.0, seed=0)


@pytest.mark.parametrize(
    "shape, lead, dims",
    [
        ((4,), LEAD, ("unit",)),
        ((2, 4), LEAD, ("sample", "unit")),
        ((1, 4), LEAD, ("sample", "unit")),
        ((3, 1, 4), LEAD, ("chain", "sample", "unit")),
        ((3, 2, 5, 4), torch.Size((3, 2, 5)), ("chain", "sample", "unit")),
        ((3, 4), LEAD[:1], ("chain", "unit")),
        ((4,), LEAD[:1], ("unit",)),
    ],
)
def test_values_are_named_by_what_they_belong_to(shape, lead, dims):
    x = torch.rand(shape, dtype=torch.float64)
    found = by_chain(x, lead, "state", "unit")
    assert found.dims == dims
    whole = x.expand(*lead, 4).reshape(lead[0], -1, 4)
    named = xr.Variable(("chain", "sample", "unit"), whole)
    if not lead[1:]:
        named = named.isel(sample=0)
    np.testing.assert_array_equal(0 * named + found, named)


def described(dynamics, lead=LEAD):
    return with_motion(xr.Dataset(), dynamics, "nothing", {}, lead, 1)


def test_noise_targets_and_inputs_are_recorded():
    net = NET.clamp({"x": [[0.5, -0.5], [0.1, 0.2]]})
    sigma = torch.tensor([[0.1], [0.2], [0.3]], dtype=torch.float64)
    found = described(ctebm.Dynamics(net, sigma=sigma, nudge=[[0.1], [0.2]], beta=0.5))
    assert found.sigma.dims == ("chain", "sample") and float(found.beta) == 0.5
    np.testing.assert_array_equal(found.sigma, [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])
    np.testing.assert_array_equal(found.nudge_y, [[0.1], [0.2]])
    np.testing.assert_array_equal(found.input, [[0.5, -0.5], [0.1, 0.2]])
    assert found.input.dims[0] == "sample" and str(found.noise.values) == "langevin"


def test_inputs_of_each_chain_are_not_taken_for_those_of_samples():
    x = torch.rand(3, 2, dtype=torch.float64)
    found = described(ctebm.Dynamics(NET.clamp({"x": x}), sigma=0.1), torch.Size((3,)))
    assert found.input.dims == ("chain", "unit_input")
    x = torch.rand(3, 2, 2, dtype=torch.float64)
    found = described(ctebm.Dynamics(NET.clamp({"x": x}), sigma=0.1))
    assert found.input.dims == ("run", "unit_input")
    np.testing.assert_array_equal(found.input, x.reshape(6, 2))


@pytest.mark.parametrize("sigma", [[0.1, 0.2], [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]])
@pytest.mark.parametrize("rows", [1, [1], [1, 0]])
def test_the_motion_of_some_samples_is_that_of_all_there(sigma, rows):
    motion = ctebm.Dynamics(NET.clamp({"x": [[0.5, -0.5], [0.1, 0.2]]}), sigma=torch.tensor(sigma))
    some = motion_of(motion, LEAD, torch.tensor(rows))
    s = torch.rand(3, 2, 4, dtype=torch.float64)
    # a product of matrices rounds by the number of its rows
    assert torch.allclose(some.f(0, s[:, rows]), motion.f(0, s)[:, rows], rtol=1e-13, atol=1e-15)
    expected = motion.sigma.expand(3, 2, 1)[:, rows]
    assert torch.equal(some.sigma.expand_as(expected), expected)
