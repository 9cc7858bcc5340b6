"""Methods that choose their steps hold their tolerance."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from run_cases import Free, layered, slope, z_of_variance
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import Tensor

import ctebm


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "dop853", "bosh3"])
def test_adaptive_methods_hold_their_tolerance(method):
    dynamics = ctebm.Dynamics(layered(2))
    times = [0, 0.5, 2]
    fine = ctebm.simulate(dynamics, torch.zeros(14), times=times, eps=0.005, method="rk4")
    rtol = 1e-6 if method == "bosh3" else 1e-10
    run = ctebm.simulate(
        dynamics, torch.zeros(14), times=times, method=method, rtol=rtol, atol=rtol / 100
    )
    assert (run.state - fine.state).abs().max() < 100 * rtol
    assert torch.isnan(run.step).all()


def test_adaptive_steps_with_noise_end_at_the_times_that_are_saved():
    run = ctebm.simulate(
        ctebm.Dynamics(Free(20), 0.5), torch.zeros(400, 20), times=[0, 0.05, 0.3],
        method="adaptive_srk", seed=1, rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    for t, x in zip([0.05, 0.3], run.state[1:], strict=True):
        assert abs(z_of_variance(x, 0.25 * t, x.numel())) < 5


def test_adaptive_steps_with_noise_hold_their_tolerance_on_one_path():
    # A step's error is of order 2 and is held at the tolerance, the whole run's of order 3/2.
    dynamics = ctebm.Dynamics(layered(1), 0.5)

    def last(tol: float, times: list[float], seed: int = 3) -> Tensor:
        return ctebm.simulate(
            dynamics, torch.zeros(20, 14), times=times, seed=seed, method="adaptive_srk", rtol=tol,
            atol=tol,
        ).state[-1]  # fmt: skip

    exact = last(1e-6, [0, 1])
    grid = [1e-3, 1e-4, 1e-5]
    error = [float((last(tol, [0, 1]) - exact).square().mean().sqrt()) for tol in grid]
    assert slope(grid, error) == pytest.approx(3 / 4, abs=0.15)
    assert error[0] < 1e-3
    assert (last(1e-4, [0, 0.25, 1]) - exact).abs().max() < 1e-3  # no other path
    assert torch.equal(last(1e-3, [0, 1]), last(1e-3, [0, 1]))
    assert (last(1e-3, [0, 1], seed=4) - exact).abs().min(0).values.min() > 1e-3
    with pytest.raises(ValueError, match="one path"):
        ctebm.simulate(
            dynamics, torch.zeros(1, 14), times=[0, 1], method="adaptive_srk", samples=[0]
        )


class Clipped(ctebm.Network):
    """Eq. 6 with one unit, its rate clipped without a word: its force jumps at 0 and at 1."""

    def energy(self, s):
        return s.square().sum(-1) / 2 - 1.2 * s.clamp(0, 1).sum(-1)


@pytest.mark.parametrize("method", ["dopri5", "dop853"])
@pytest.mark.parametrize("observe", [None, {"mean": lambda s: s.mean(-1)}])
def test_a_run_that_chatters_ends_and_says_so(method, observe):
    times = [0, 0.5, 1, 5, 9]
    run = ctebm.simulate(
        Clipped(1), [[0.5], [0.4]], times=times, method=method, max_evaluations=1000,
        observe=observe,
    )  # fmt: skip
    exact = 1.2 - (1.2 - torch.tensor([0.5, 0.4], dtype=torch.float64)) * torch.tensor(-0.5).exp()
    assert run.time.tolist() == times[:3] and run.status.tolist() == [3, 3]
    assert "sample 1 was at time 1.2" in run.message[1] and "declare kinks" in run.message[1]
    if observe is None:
        torch.testing.assert_close(run.state[1, :, 0], exact, rtol=1e-6, atol=0)
    else:
        torch.testing.assert_close(run.observed["mean"][1], exact, rtol=1e-6, atol=0)
    assert run.to_dataset().status.values.tolist() == [3, 3]
    assert run.settings["integrator"] == {"dopri5": "torchdiffeq", "dop853": "scipy"}[method]
    with pytest.raises(FloatingPointError, match="1,000 evaluations"):
        run.raise_for_status()


def test_steps_of_scipy_are_scipys():
    network, times = layered(2), [0.5, 2, 2.1, 20]
    start = torch.linspace(-1, 1, 28, dtype=torch.float64).reshape(2, 14)
    run = ctebm.simulate(network, start, times=times, method="dop853", rtol=1e-6, atol=1e-8)

    def force(t, y):
        return network.force(torch.from_numpy(y).reshape(2, 14)).reshape(-1).numpy()

    exact = solve_ivp(
        force, (0.5, 20), start.reshape(-1).numpy(), "DOP853", t_eval=times, rtol=1e-6, atol=1e-8
    )
    assert np.abs(run.state.reshape(4, 28).numpy() - exact.y.T).max() < 1e-14
    single = ctebm.simulate(
        network.to(torch.float32), start.float(), times=times, method="dop853", rtol=1e-6, atol=1e-6
    )
    assert single.state.dtype == torch.float32
    assert (single.state - run.state).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"differentiable": True}, "no graph for gradients; use method='dopri8'"),
        ({"rtol": 2e-14}, "rtol of at least 2.2e-14"),
        ({"rtol": 0}, "rtol of at least 2.2e-14"),
    ],
    ids=str,
)
def test_what_scipy_would_not_do_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ctebm.simulate(layered(1), torch.zeros(14), times=[0, 1], method="dop853", **options)


@pytest.mark.parametrize("method", ["dopri8", "dop853"])
def test_a_force_without_numbers_ends_the_run(method):
    class Undefined(ctebm.Network):
        def energy(self, s):
            return (s - 0.5).sqrt().sum(-1)  # NaN below 1/2

    with pytest.raises(FloatingPointError, match="the force is not finite"):
        ctebm.simulate(Undefined(1), [0.6], times=[0, 9], method=method)


def test_an_adaptive_run_with_noise_ends_with_its_evaluations():
    run = ctebm.simulate(
        ctebm.Dynamics(layered(1), 0.5), torch.zeros(1, 14), times=[0, 0.1, 50], seed=1,
        method="adaptive_srk", rtol=1e-3, atol=1e-3, max_evaluations=2000,
    )  # fmt: skip
    assert run.time.tolist() == [0, 0.1] and run.status.tolist() == [3]


@pytest.mark.parametrize(
    "options",
    [
        {"rtol": float("inf")}, {"rtol": float("nan")}, {"rtol": -1}, {"atol": "small"},
        {"rtol": 0, "atol": 0}, {"max_evaluations": 0}, {"max_evaluations": float("inf")},
        {"times": [0, float("nan")]}, {"start": torch.zeros(0, 14)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_tolerance_is_refused(options):
    request = {"start": torch.zeros(14), "times": [0, 1], "method": "dopri5"} | options
    with pytest.raises(ValueError, match="expected"):
        ctebm.simulate(layered(1), **request)


@pytest.mark.parametrize("method", ["dopri5", "dop853", "adaptive_srk"])
def test_a_drift_of_one_s_own_is_followed(method):
    """Of ds = (1 - s) dt, with noise too small to be seen where there must be some."""

    class Pushed(ctebm.Dynamics):
        def f(self, t, s):
            return super().f(t, s) + 1.0

    net = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    dynamics = Pushed(net, 1e-9 if method == "adaptive_srk" else 0.0)
    options = {"seed": 1, "rtol": 1e-6, "atol": 1e-6} if method == "adaptive_srk" else {}
    run = ctebm.simulate(dynamics, [0.0], times=[0.0, 1.0], method=method, **options)
    assert abs(float(run.state[-1]) - (1 - math.exp(-1))) < 1e-5


def test_seeds_of_any_size_name_paths_of_their_own():
    net = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    ends = {
        float(
            ctebm.simulate(
                ctebm.Dynamics(net, 0.1), [0.0], times=[0.0, 0.1], method="adaptive_srk", seed=seed,
                rtol=1e-2, atol=1e-2,
            ).state[-1]
        )
        for seed in (0, 2**63, 2**64, 2**127)
    }  # fmt: skip
    assert len(ends) == 4


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "dopri8", "dop853"])
def test_states_that_are_saved_within_a_long_run_hold_the_tolerance_too(method):
    """Of s' = (W - 1) s + b, whose solution is known; steps grow as it comes to rest."""
    W = np.array([[0, 0.7, -0.4], [0.7, 0, 0.2], [-0.4, 0.2, 0]])
    b, start = np.array([0.3, -0.2, 0.1]), np.array([1.0, -1.0, 0.5])
    net = ctebm.DenseNetwork(W, b, ctebm.Identity())
    times, tol = [0, 0.3, 1.0, 2.2, 5.0], 1e-7
    run = ctebm.simulate(net, start, times=times, method=method, rtol=tol, atol=tol / 100)
    rest = np.linalg.solve(np.eye(3) - W, b)
    exact = [rest + expm((W - np.eye(3)) * t) @ (start - rest) for t in times]
    assert np.abs(run.state.numpy() - exact).max() < 10 * tol


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("method", ["bosh3", "dopri5", "dopri8", "dop853"])
def test_when_a_run_begins_does_not_matter(method, dtype):
    """In single precision the times of the first would be 1,000,000 and 1,000,000.3125."""
    net = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh(), dtype=dtype)  # ds = -s dt
    start, tol = torch.ones(1, dtype=dtype), {"rtol": 1e-5, "atol": 1e-6, "method": method}
    late = ctebm.simulate(net, start, times=[1e6, 1e6 + 0.3], **tol)
    assert late.time.tolist() == [1e6, 1e6 + 0.3]
    assert abs(float(late.state[-1]) - math.exp(-0.3)) < 1e-4
    near = ctebm.simulate(net, start, times=[0, 1, 1 + 1e-9], **tol).state
    assert abs(float(near[2]) - math.exp(-1)) < 1e-4
    ended = ctebm.simulate(net, start, times=[1e6, 1e6 + 50], max_evaluations=30, **tol)
    assert re.match(r"sample 0 was at time 1e\+06 after 30", ended.message[0])
