"""Settling layer by layer, against forward passes and the general solver."""

import pytest
import torch
from learning_cases import states
from own_energies import OwnLayers, forward_pass, problem

import ctebm
from ctebm.learning.layer_sweeps import sweep_layers


def test_predictive_coding_is_at_its_forward_pass_after_a_sweep_for_each_layer():
    net, x, _ = problem()
    held = net.clamp({"x": x})
    s = torch.randn(7, 12, generator=torch.Generator().manual_seed(1)).double()
    residual, sweeps = sweep_layers(held, s, tol=1e-12, max_sweeps=9)
    assert sweeps <= 3 and float(residual.max()) <= 1e-12
    torch.testing.assert_close(s, forward_pass(net, x), rtol=0, atol=1e-14)
    again = net.clamp({"x": -x})  # without errors above, one sweep is enough
    _, sweeps = sweep_layers(again, s, tol=1e-12, max_sweeps=9)
    assert sweeps == 1


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
def test_eq_6_rests_where_the_general_solver_says(activation):
    net, x, _ = states((9, 8, 7, 5), activation)
    held = OwnLayers(net).clamp({"x": x})
    s = torch.zeros(len(x), 20, dtype=torch.float64)
    residual, _ = sweep_layers(held, s, tol=1e-12, max_sweeps=500)
    assert float(residual.max()) <= 1e-12
    expected = ctebm.settle(net.clamp({"x": x}), tol=1e-12).state
    torch.testing.assert_close(s, expected, rtol=0, atol=1e-10)


def test_what_is_left_is_said_when_the_sweeps_are_used_up():
    net, x, _ = problem()
    held = net.clamp({"x": x})
    s = torch.ones(7, 12, dtype=torch.float64)
    residual, sweeps = sweep_layers(held, s, tol=1e-12, max_sweeps=1)
    assert sweeps == 1
    torch.testing.assert_close(residual, held.force(s).abs().amax(-1))
    assert float(residual.max()) > 1e-3


def test_numbers_that_run_away_end_the_sweeps():
    net, x, _ = problem()
    net.W[0] = net.W[0] * float("inf")
    s = torch.zeros(7, 12, dtype=torch.float64)
    residual, sweeps = sweep_layers(net.clamp({"x": x}), s, tol=1e-12, max_sweeps=50)
    assert sweeps == 0 and not bool(torch.isfinite(residual).all())
