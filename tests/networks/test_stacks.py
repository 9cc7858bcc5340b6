"""Stacks of layers: arrays that fit, a rate a layer, weights that depend on the seed alone."""

import numpy as np
import pytest
import torch

import ctebm
from ctebm.networks.stacks import check_stack, glorot_weights, layer_sizes, one_each

ONE = [torch.ones(2, 3, dtype=torch.float64)]


def test_none_stands_for_zeros_at_either_end():
    rows = check_stack(ONE, [None, None], torch.float64)
    assert [row.tolist() for row in rows] == [[0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "biases, message",
    [
        ([[0, 0]], "one more array"),
        ([[0, 0], 0.0], "one row of biases"),
        ([[0, 0], [0, 0]], "of shape"),
        (None, "biases as a list of arrays, input first, got NoneType"),
    ],
)
def test_biases_that_do_not_fit_are_refused(biases, message):
    with pytest.raises(ValueError, match=message):
        check_stack(ONE, biases, torch.float64)


def test_no_weights_are_no_stack():
    with pytest.raises(ValueError, match="one array of weights or more, got none"):
        check_stack([], [[0.0]], torch.float64)


def test_one_rate_serves_all_layers_or_each_has_its_own():
    mixed = one_each([ctebm.Tanh(), torch.sin], 2)
    assert mixed[0] == ctebm.Tanh() and isinstance(mixed[1], ctebm.Custom)
    assert one_each(ctebm.Tanh(), 3) == [ctebm.Tanh()] * 3
    with pytest.raises(ValueError, match="one for each of the 3 layers"):
        one_each([ctebm.Tanh()], 3)
    with pytest.raises(TypeError, match="expected an activation"):
        one_each([1.0, 2.0], 2)


def test_weights_depend_on_the_seed_and_their_place_and_are_in_bounds():
    short, long = glorot_weights([4, 3, 2], 0.5, 7), glorot_weights([4, 3, 2, 5], 0.5, 7)
    for W, V in zip(short, long, strict=False):
        np.testing.assert_array_equal(W, V)
        assert np.abs(W).max() <= 0.5 * np.sqrt(6 / sum(W.shape))


@pytest.mark.parametrize("sizes", [[3], 3, [3, 0], [3, 2.5]])
def test_sizes_that_make_no_layers_are_refused(sizes):
    with pytest.raises(ValueError):
        layer_sizes(sizes)
