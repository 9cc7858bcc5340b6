"""When a change arrives in each layer of a chain, and what rounding leaves of it."""

import numpy as np
import pytest
import torch

import ctebm
from ctebm.early_inference.arrivals import along_paths, first_steps, rounding_floor


@pytest.fixture(scope="module")
def record():
    net = ctebm.LayeredNetwork.random([3, 4, 4, 2], ctebm.HardSigmoid(), gain=0.2, seed=1)
    return ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=[0.5, 0.1], n_steps=5)


def test_layers_move_one_after_another(record):
    assert first_steps(record) == [3, 2, 1]
    for i, n in enumerate(first_steps(record)):
        where = list(record.fixed.network.layers.values())[i]
        moved = record.displacement[..., where].abs().amax(-1)[0, 0]
        assert moved[n] > 1e-6
        assert bool((moved[:n] < 1e-15).all())


def test_a_law_gets_hops_and_steps(record):
    found = along_paths(record, lambda k, n, eps: k + 10 * n + 100 * eps)
    assert found.shape == (2, 6, 3)
    torch.testing.assert_close(found[1, 2], torch.tensor([2.0, 1, 0]).double() + 30)


def test_rounding_leaves_more_of_what_is_smaller(record):
    floor = rounding_floor(record)
    assert floor.shape == (1, 2, 3)
    assert bool((floor[:, :, 0] > floor[:, :, 2]).all())
    assert bool((floor[:, 1] > floor[:, 0]).all())
    rest = abs(record.coefficient[0, 0, 3, 0] / 0.5**3 - 1)
    assert rest <= max(float(floor[0, 0, 0]), np.finfo(float).eps * 8)
