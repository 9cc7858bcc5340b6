"""Units slide on kinks without noise, and cross them with it."""

from __future__ import annotations

import warnings

import pytest
import torch
from run_cases import F64, pair

import ctebm


def test_units_slide_on_kinks_without_chatter():
    net = pair(w=2.0)
    start = torch.tensor([[0.1, 0.2], [-0.3, 0.05], [0.49, -0.2]], dtype=F64)
    for method in ("euler", "heun", "midpoint", "rk4"):
        run = ctebm.simulate(ctebm.Dynamics(net), start, n_steps=400, eps=0.07, method=method)
        assert torch.equal(run.state[-1].abs(), torch.full((3, 2), 0.5, dtype=F64))
        assert torch.equal(run.state[-1], run.state[-2])
        assert run.state.abs().max() <= 0.5
    plain = ctebm.simulate(ctebm.Dynamics(net), start, n_steps=400, eps=0.07, projected=False)
    assert not torch.equal(plain.state[-1], plain.state[-2])  # which is why steps are projected


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
@pytest.mark.parametrize("lower", [-0.5, -0.3, -0.7, -0.05, -0.9, -0.123])
@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_unit_that_is_held_lies_on_its_kink_to_the_bit(method, lower, dtype):
    # currents far beyond the kinks hold every unit, whichever way it came
    rho = ctebm.HardSigmoid(lower)
    net = pair(w=0.1, rho=rho, dtype=dtype, bias=[3.0, -3.0])
    low, high = (torch.tensor(kink, dtype=dtype) for kink in rho.kinks)
    start = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    start = low + start * (high - low)
    inside = ctebm.simulate(ctebm.Dynamics(net), start, n_steps=40, eps=0.2, method=method).state
    outside = torch.cat([start, torch.tensor([[2.0, -2.0]], dtype=dtype)])
    outside = ctebm.simulate(ctebm.Dynamics(net), outside, n_steps=40, eps=0.2, method=method).state
    for run in (inside, outside[:, :-1]):
        assert run[..., 0].max() == high
        assert run[..., 1].min() == low
        held = torch.stack([run[..., 0] == high, run[..., 1] == low], -1)
        assert held[-1].all()
        assert not (held[:-1] & ~held[1:]).any()  # once held, held for good
    assert outside[-1, -1].tolist() == [high, low]


def test_between_the_kinks_a_projected_step_is_the_plain_one():
    dynamics = ctebm.Dynamics(pair(w=0.25))
    start = torch.tensor([0.3, -0.2], dtype=F64)
    for method in ("euler", "heun", "rk4"):
        options = {"n_steps": 50, "eps": 0.1, "method": method}
        a = ctebm.simulate(dynamics, start, **options)
        b = ctebm.simulate(dynamics, start, projected=False, **options)
        torch.testing.assert_close(a.state, b.state, rtol=0, atol=1e-15)


def test_a_unit_outside_the_box_comes_back_by_its_leak():
    dynamics = ctebm.Dynamics(pair(w=0.25))
    run = ctebm.simulate(dynamics, [2.0, 0.0], n_steps=10, eps=0.1)
    torch.testing.assert_close(run.state[:, 0], 2 * 0.9 ** torch.arange(11, dtype=F64))


def test_driven_units_have_no_kinks():
    dynamics = ctebm.Dynamics(pair(), drive=[0.9, -0.8])
    run = ctebm.simulate(dynamics, torch.zeros(2), n_steps=400, eps=0.1)
    torch.testing.assert_close(run.state[-1], torch.tensor([0.9, -0.8], dtype=F64))


def test_the_limit_of_euler_is_announced_and_kept():
    # acceptance: eps_max = 4/3 for w = 1/2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = ctebm.simulate(
            ctebm.Dynamics(pair(w=0.5)), [0.1, -0.1], n_steps=3000, eps=1.32, save_every=3000
        )
    assert run.state[-1].abs().max() < 1e-10
    with pytest.warns(UserWarning, match=r"2/lambda_max = 1\.33333"):
        run = ctebm.simulate(
            ctebm.Dynamics(pair(w=0.5)), [0.1, -0.1], n_steps=3000, eps=1.4, save_every=3000
        )
    assert run.state[-1].abs().max() == 0.5
