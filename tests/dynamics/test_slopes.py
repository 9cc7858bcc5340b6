"""The slope of a cost against its closed form."""

import pytest
import torch

from ctebm.dynamics.slopes import checked_cost, cost_name, slope_of_cost


def quartic(y, t):
    return (y - t).pow(4).sum(-1) / 4


def test_the_slope_is_the_derivative_of_each_sample():
    y, t = torch.randn(3, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(slope_of_cost(quartic, y, t), (y - t) ** 3)


def test_a_cost_is_a_function_of_one_number_a_sample():
    y = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"cost of shape \(3,\), one for each sample, got \(\)"):
        slope_of_cost(lambda y, t: y.sum(), y, y)
    with pytest.raises(ValueError, match=r"expected a cost .* got str"):
        checked_cost("mse")
    assert cost_name(quartic) == "quartic" and cost_name(torch.nn.MSELoss()) == "MSELoss"
