"""Steps are those of the textbook, row by row; they slide on kinks and fluctuate as theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from run_cases import F64, Free, layered, pair, slope, z_of_variance
from scipy import integrate

import ctebm
from ctebm.dynamics.flow import integrator
from ctebm.dynamics.methods import METHODS
from ctebm.dynamics.noise import BrownianSteps
from ctebm.networks.kinks import Kinks


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
def test_euler_maruyama_is_the_hand_written_loop_to_the_bit(dtype):
    net = layered(dtype=dtype)
    dynamics = ctebm.Dynamics(net, 0.3)
    run = ctebm.simulate(dynamics, torch.zeros(14, dtype=dtype), n_steps=200, eps=0.05, seed=5)
    s = torch.zeros(4, 14, dtype=dtype)
    eps = torch.tensor(0.05, dtype=dtype)
    with BrownianSteps(5, range(4), 14, dtype) as brownian:
        for n in range(200):
            assert torch.equal(run.state[n], s)
            xi = brownian.increment()
            s = s + eps * net.force(s) + torch.tensor(0.3, dtype=dtype) * eps.sqrt() * xi
    assert torch.equal(run.state[-1], s)


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
def test_a_row_does_not_depend_on_its_batch(dtype):
    net = layered(1, dtype=dtype)
    alone = ctebm.simulate(
        ctebm.Dynamics(net, 0.2), torch.zeros(1, 14), n_steps=60, eps=0.1, seed=3
    )
    # products of matrices of other sizes round differently
    tolerance = {"rtol": 0, "atol": 2e3 * torch.finfo(dtype).eps}
    for batch in (64, 1024):
        run = ctebm.simulate(
            ctebm.Dynamics(net, 0.2), torch.zeros(batch, 14), n_steps=60, eps=0.1, seed=3
        )
        torch.testing.assert_close(run.state[:, :1], alone.state, **tolerance)
        assert (run.state[-1, 1:] - run.state[-1, :1]).abs().min(0).values.max() > 0


def test_each_row_has_its_own_eps_sigma_beta_and_target():
    net = layered(1, ctebm.Logistic())
    eps = torch.tensor([0.05, 0.1, 0.2], dtype=F64)
    sigma, beta = torch.tensor([0.0, 0.1, 0.3]), torch.tensor([1.0, 0.5, 0.0])
    y = torch.rand(3, 3, dtype=F64)
    batch = ctebm.simulate(
        ctebm.Dynamics(net, sigma, nudge=y, beta=beta), torch.zeros(3, 14), n_steps=40, eps=eps,
        seed=4,
    )  # fmt: skip
    assert batch.time.shape == (41, 3)
    torch.testing.assert_close(batch.time[-1], 40 * eps)
    for i in range(3):
        one = ctebm.simulate(
            ctebm.Dynamics(net, float(sigma[i]), nudge=y[i : i + 1], beta=float(beta[i])),
            torch.zeros(1, 14), n_steps=40, eps=float(eps[i]), seed=4, samples=[i],
        )  # fmt: skip
        torch.testing.assert_close(batch.state[:, i], one.state[:, 0], rtol=0, atol=1e-12)


def test_a_batch_of_more_dimensions_is_its_flat_batch():
    start = torch.rand(2, 3, 2, dtype=F64)
    dynamics = ctebm.Dynamics(pair(), 0.2)
    for method in ("euler", "heun", "srk"):
        grid = ctebm.simulate(dynamics, start, n_steps=9, eps=0.1, seed=1, method=method)
        flat = ctebm.simulate(
            dynamics, start.reshape(6, 2), n_steps=9, eps=0.1, seed=1, method=method
        )
        torch.testing.assert_close(grid.state.reshape(-1, 6, 2), flat.state)


def test_a_stiff_row_does_not_touch_the_others():
    net = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [[0.0, 0.0], [900.0, -900.0]], ctebm.Tanh())
    run = ctebm.simulate(ctebm.Dynamics(net, 0.1), torch.zeros(2, 2), n_steps=99, eps=0.1, seed=1)
    soft = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [0.0, 0.0], ctebm.Tanh())
    alone = ctebm.simulate(
        ctebm.Dynamics(soft, 0.1), torch.zeros(1, 2), n_steps=99, eps=0.1, seed=1
    )
    torch.testing.assert_close(run.state[:, :1], alone.state, rtol=0, atol=1e-13)


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


def test_brownian_motion_has_the_variance_of_its_time():
    run = ctebm.simulate(
        ctebm.Dynamics(Free(50), 0.5), torch.zeros(400, 50), times=[0, 0.05, 0.3], eps=0.05, seed=1
    )
    for t, x in zip([0.05, 0.3], run.state[1:], strict=True):
        assert abs(z_of_variance(x, 0.25 * t, x.numel())) < 5
    apart = run.state[2] - run.state[1]
    assert abs(float((apart * run.state[1]).mean())) * 20_000**0.5 / (0.25 * 0.05 * 5) ** 0.5 < 5


@pytest.mark.parametrize(
    ("noise", "variance", "covariance"),
    [("langevin", 6.930007e-3, 3.326403e-3), ("synaptic", 1.732502e-4, 8.316008e-5)],
)
def test_a_pair_fluctuates_as_theory_says(noise, variance, covariance):
    # Covariance of the Euler-Maruyama chain and of the map of eqs. 1-5 (H has 0.5 and 1.5).
    net, n = pair(w=0.5), 40_000
    dynamics = ctebm.Dynamics(net, 0.1, noise=noise)
    run = ctebm.simulate(
        dynamics, torch.zeros(n, 2), n_steps=300, eps=0.1, seed=12, save_steps=[150, 290]
    )
    for s in run.state[1:]:  # stationary from step 150 on: (1 - 0.05)^300 = 2e-7
        a, b = s[:, 0], s[:, 1]
        assert abs(z_of_variance(torch.cat([a, b]), variance, n)) < 5
        spread = ((variance**2 + covariance**2) / n) ** 0.5
        assert abs(float((a * b).mean() - covariance)) / spread < 5
        assert abs(float(s.mean())) / (variance / n) ** 0.5 < 5
    if noise == "langevin":  # the modes forget at 0.95 and 0.85 a step
        lag = run.state[-1] - 0.0
        before = run.state[-2]

        def up(s):
            return (s[:, 0] + s[:, 1]) / 2**0.5

        expected = 0.95**10 * 0.01 / (0.5 * (2 - 0.05))
        product = up(lag) * up(before)
        z = (product.mean() - expected) / (product.std() / n**0.5)
        assert abs(float(z)) < 5


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["euler", "heun", "srk"])
def test_a_run_on_the_device_is_the_run_on_the_host(method):
    net = layered()
    options = {"n_steps": 50, "eps": 0.1, "seed": 1, "method": method}
    host = ctebm.simulate(ctebm.Dynamics(net, 0.1), torch.zeros(14), **options)
    there = ctebm.simulate(ctebm.Dynamics(net.to(device="cuda"), 0.1), torch.zeros(14), **options)
    assert there.state.is_cuda
    torch.testing.assert_close(there.state.cpu(), host.state, rtol=0, atol=1e-10)
    there.to_dataset()


@pytest.mark.parametrize(
    ("sigma", "noise", "method", "library"),
    [
        (0.0, "langevin", "heun", "torchdiffeq"),
        (0.1, "langevin", "heun", "torchsde"),
        (0.1, "synaptic", "heun", "torchdiffeq"),
        (0.1, "synaptic", "euler", "ctebm.dynamics.euler"),
        (0.1, "langevin", "euler", "ctebm.dynamics.euler"),
    ],
)
def test_what_takes_the_steps_is_named(sigma, noise, method, library):
    dynamics = ctebm.Dynamics(pair(), sigma, noise=noise)
    with torch.no_grad():
        assert integrator(dynamics, METHODS[method]) == library


@pytest.mark.parametrize("method", ["heun", "rk4"])
def test_stages_begin_where_the_state_is_outside_the_box_too(method):
    """There a unit leaks: s' = -s + slope I, with the slope 0 beyond its kinks."""
    start = torch.tensor([[2.0, 0.0], [0.1, -0.3]], dtype=F64)
    dynamics = ctebm.Dynamics(pair(w=0.25))
    run = ctebm.simulate(dynamics, start, n_steps=6, eps=0.1, method=method)
    order = METHODS[method].order
    leak = sum((-0.1) ** k / math.factorial(k) for k in range(order + 1))
    torch.testing.assert_close(run.state[:, 0, 0], 2 * leak ** torch.arange(7, dtype=F64))
    alone = ctebm.simulate(dynamics, start[1:], n_steps=6, eps=0.1, method=method)
    torch.testing.assert_close(run.state[:, 1], alone.state[:, 0], rtol=0, atol=1e-15)


class Held(ctebm.Network):
    """E = |s_0| + |s|^2 / 2 + s_0 s_1 - p s, with a kink at 0 of the first unit."""

    kinks = Kinks(torch.tensor([0.0, torch.inf], dtype=F64))

    def __init__(self, pull):
        super().__init__(2)
        self.pull = torch.tensor(pull, dtype=F64)

    def energy(self, s):
        smooth = s.square().sum(-1) / 2 + s.prod(-1) - s @ self.pull
        return smooth + s[..., 0].abs()


def heun(pull):
    """One step of 0.1 from 0."""
    run = ctebm.simulate(ctebm.Dynamics(Held(pull)), [0.0, 0.0], n_steps=1, eps=0.1, method="heun")
    return run.state[-1].tolist()


def test_a_unit_that_an_inner_kink_holds_stays_in_every_stage():
    """From both sides of 0 the force leads there, 0.5 -+ 1; the other unit moves as alone."""
    assert heun([0.5, 1.0]) == pytest.approx([0.0, 0.1 * (1.0 + 0.9) / 2], abs=1e-15)


def test_a_stage_that_leads_back_over_the_kink_that_a_unit_leaves_counts_as_rest():
    """Forces are 0.2 and 2.8, then 0.2 - 0.28 - 0.02, which leads back, and 2.8 - 0.28 - 0.02."""
    expected = [0.1 * (0.2 + 0.0) / 2, 0.1 * (2.8 + 2.5) / 2]
    assert heun([1.2, 2.8]) == pytest.approx(expected, abs=1e-15)
