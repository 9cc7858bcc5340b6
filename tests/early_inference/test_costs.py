"""Costs and their slopes at the output."""

import pytest
import torch

import ctebm
from ctebm.early_inference.costs import cross_entropy, squared_error, target_of_cost

NET = ctebm.LayeredNetwork.random([3, 4, 3], ctebm.Tanh(), gain=0.5, seed=2)
FREE = NET.clamp({"x": [[0.1, 0.2, -0.3], [0.5, -0.4, 0.2]]})
TARGET = torch.eye(3, dtype=torch.float64)[:2]


def test_the_slope_of_cross_entropy_is_softmax_minus_target():
    y = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    slope = torch.func.grad(lambda y: cross_entropy(y, TARGET).sum())(y)
    torch.testing.assert_close(slope, torch.softmax(y, -1) - TARGET)


def test_gradients_of_a_users_cost_begin_with_its_slope():
    fixed = ctebm.settle(FREE, tol=1e-13)
    y = fixed.state[:, FREE.layer("y")]
    chain = ctebm.chain_gradient(FREE, fixed, TARGET, cost=cross_entropy)
    torch.testing.assert_close(chain[:, FREE.layer("y")], torch.softmax(y, -1) - TARGET)
    same = ctebm.chain_gradient(FREE, fixed, TARGET, cost=squared_error)
    torch.testing.assert_close(same, ctebm.chain_gradient(FREE, fixed, TARGET))
    implicit = ctebm.implicit_gradient(FREE, fixed, TARGET, cost=cross_entropy)
    slope = torch.zeros_like(chain)
    slope[:, FREE.layer("y")] = torch.softmax(y, -1) - TARGET
    H = FREE.hessian(fixed.state)
    torch.testing.assert_close(implicit, torch.linalg.solve(H, slope), rtol=1e-8, atol=1e-10)


def test_a_cost_is_one_number_a_sample():
    s = torch.zeros(2, 7, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cost of shape \(2,\), one for each sample, got \(\)"):
        target_of_cost(FREE, s, TARGET, lambda y, t: (y - t).square().sum())
    with pytest.raises(ValueError, match="got float"):
        ctebm.chain_gradient(FREE, s, TARGET, cost=lambda y, t: 1.0)
