"""Units slide on kinks without noise, and cross them with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_cases import F64, pair, slope
from scipy import integrate

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


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_quiet_row_of_a_noisy_batch_slides_as_it_does_alone(method):
    net, sigma = pair(w=2.0), torch.tensor([0.0, 0.2, 0.0], dtype=F64)
    start = torch.tensor([[0.1, 0.2], [0.1, 0.2], [-0.3, 0.05]], dtype=F64)
    options = {"n_steps": 300, "eps": 0.07, "method": method}
    batch = ctebm.simulate(ctebm.Dynamics(net, sigma), start, seed=1, **options)
    alone = ctebm.simulate(ctebm.Dynamics(net), start, **options)
    assert torch.equal(batch.state[:, [0, 2]], alone.state[:, [0, 2]])
    noisy = ctebm.simulate(ctebm.Dynamics(net, 0.2), start, seed=1, **options)
    assert torch.equal(batch.state[:, 1], noisy.state[:, 1])


def test_with_noise_a_held_unit_has_the_density_of_its_energy_on_both_sides_of_the_kink():
    # Bounds: |z| < 5 (p = 6e-7) with a fixed seed; the bias of the step is a fifth of that.
    net, sigma, n = ctebm.DenseNetwork([[0.0]], [0.8], ctebm.HardSigmoid()), 0.3, 40_000
    assert ctebm.simulate(ctebm.Dynamics(net), [0.5], n_steps=9, eps=0.1).state.unique() == 0.5

    def integral(function, low, high) -> float:
        def density(s: float) -> float:
            return np.exp(-2 * float(net.energy([s])) / sigma**2)

        return integrate.quad(lambda s: function(s) * density(s), low, high)[0]

    def mean(function) -> float:
        parts = [(-1.5, -0.5), (-0.5, 0.5), (0.5, 2.0)]
        whole, total = (sum(integral(g, *p) for p in parts) for g in (function, lambda s: 1.0))
        return whole / total

    run = ctebm.simulate(
        ctebm.Dynamics(net, sigma), torch.full((n, 1), 0.5), n_steps=400, eps=0.02, seed=1,
        save_every=400,
    )  # fmt: skip
    s = run.state[-1]
    assert abs(float(s.mean()) - mean(lambda s: s)) < 5 * float(s.std()) / n**0.5
    beyond, expected = float((s > 0.5).double().mean()), mean(lambda s: float(s > 0.5))
    assert expected == pytest.approx(0.41, abs=0.01)
    assert abs(beyond - expected) < 5 * (expected * (1 - expected) / n) ** 0.5
    assert not bool((s == 0.5).any())


@pytest.mark.parametrize("method", ["euler", "heun", pytest.param("srk", marks=pytest.mark.slow)])
def test_strong_order_where_noise_carries_units_over_a_kink(method):
    # both units are held at a kink, where the drift jumps: order 3/4, whatever the method
    net = ctebm.DenseNetwork([[0, 0.1], [0.1, 0]], [0.8, -0.7], ctebm.HardSigmoid())
    dynamics, n = ctebm.Dynamics(net, 0.5), 2**13
    options = {"seed": 3, "save_every": n}
    start = torch.tensor([0.5, -0.5], dtype=F64).expand(1000, 2)
    finest = ctebm.simulate(dynamics, start, n_steps=n, eps=1 / n, **options)
    grid, error = [16, 32, 64, 128], []
    for m in grid:
        run = ctebm.simulate(
            dynamics, start, n_steps=n // m, eps=m / n, noise_of=finest, method=method, save_every=n
        )
        error.append(float((run.state[-1] - finest.state[-1]).square().mean().sqrt()))
    assert slope(grid, error) == pytest.approx(0.75, abs=0.1)
