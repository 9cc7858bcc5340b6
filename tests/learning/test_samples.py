"""Rates made states, and data that do not fit refused."""

import pytest
import torch
import xarray as xr
from learning_cases import PLAN, samples, small_network

import ctebm
from ctebm.learning.samples import input_states


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda x, y: (x[:, :5], y), "one unit a pixel"),
        (lambda x, y: (x, y[:-1]), "one label a sample"),
        (lambda x, y: (x[:0], y[:0]), "empty data set"),
        (lambda x, y: (x, y + 1), "one output unit a class"),
        (lambda x, y: (x, y - 1), "one output unit a class"),
        (lambda x, y: (x, y * 0), "class 0 alone"),
        (lambda x, y: (x, y * 0.5), "whole numbers"),
        (lambda x, y: (x, xr.Dataset({"y": ("sample", y)})), "whole numbers"),
        (lambda x, y: (x + 1, y), "takes rates in"),
        (lambda x, y: ((255 * x).astype(int), y), "takes rates in"),
        (lambda x, y: (x * float("nan"), y), "finite inputs, got NaN"),
    ],
)
def test_refuses_data_that_do_not_fit(spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        ctebm.train(small_network(), *spoil(*samples()), PLAN)


def test_states_have_the_rates_that_were_given():
    rates, _ = samples()
    net = small_network()
    states = input_states(net, rates)
    torch.testing.assert_close(net.activation(states), torch.as_tensor(rates))


class Bowl(ctebm.Network):
    """A user's energy of three inputs and an output, without rates."""

    def __init__(self):
        super().__init__(4, {"x": slice(0, 3), "y": slice(3, 4)})

    def energy(self, s):
        return s.square().sum(-1) / 2


def test_a_network_without_rates_takes_finite_states():
    states = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]
    assert input_states(Bowl(), states).tolist() == states
    for bad in (torch.nan, torch.inf):
        states[1][2] = states[2][0] = bad
        with pytest.raises(ValueError, match="in sample 1; leave it out"):
            input_states(Bowl(), states)


def test_the_first_target_that_is_not_finite_is_named():
    rates, _ = samples()
    targets = torch.zeros(len(rates), 3, dtype=torch.float64)
    for row, place in ((7, (7, 2)), (4, (4, 1))):
        targets[place] = torch.nan
        with pytest.raises(ValueError, match=f"finite targets, got NaN or inf in sample {row};"):
            ctebm.train(small_network(), rates, targets, PLAN)
    with pytest.raises(ValueError, match=r"shape \(240, 3\), .*, got \(240, 2\)"):
        ctebm.train(small_network(), rates, targets[:, :2], PLAN)
