"""Steps are those of the textbook, row by row."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, layered, pair

import ctebm
from ctebm.dynamics.noise import BrownianSteps


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
