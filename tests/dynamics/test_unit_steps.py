"""Motions in the form that torchsde asks for."""

from __future__ import annotations

import torch
from run_cases import F64, pair

import ctebm
from ctebm.dynamics.unit_steps import Motion, Ticks, UnitSteps


def test_ticks_are_python_numbers():
    ticks = Ticks.of(torch.tensor([0.0, 1.0, 5.0], dtype=F64))
    assert len(ticks) == 3 and [type(t) for t in ticks] == [float] * 3
    assert ticks[-1] == 5.0 and type(ticks[0]) is float
    later = ticks[1:]
    assert isinstance(later, Ticks) and later[0] == 1.0
    assert torch.equal(torch.as_tensor(later).as_subclass(torch.Tensor), torch.tensor([1.0, 5.0]))


def test_a_step_is_the_motion_times_eps_on_the_flattened_batch():
    s = torch.rand(2, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    eps = torch.tensor([[0.1], [0.2], [0.3]], dtype=F64)
    dynamics = ctebm.Dynamics(pair(), torch.tensor([0.5, 0.6, 0.7]))
    motion, steps = Motion(dynamics, "ito", s.shape), UnitSteps(dynamics, "ito", s.shape, eps)
    flat, f = s.reshape(6, 2), dynamics.f(0, s)
    assert torch.equal(motion.f(0, flat), f.reshape(6, 2))
    assert torch.equal(motion.g(0, flat), dynamics.sigma.expand_as(s).reshape(6, 2))
    drift, noise = steps.f_and_g_prod(0, flat, 2 * flat)
    assert torch.equal(drift, (eps * f).reshape(6, 2))
    assert torch.equal(noise, 2 * flat)  # the increments have their intensity already
    assert torch.equal(steps.g(0, flat), torch.ones(6, 2))
