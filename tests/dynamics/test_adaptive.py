"""Methods that choose their steps hold their tolerance."""

from __future__ import annotations

import pytest
import torch
from run_cases import Free, layered, slope, z_of_variance
from torch import Tensor

import ctebm


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3"])
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


@pytest.mark.parametrize("observe", [None, {"mean": lambda s: s.mean(-1)}])
def test_a_run_that_chatters_ends_and_says_so(observe):
    times = [0, 0.5, 1, 5, 9]
    run = ctebm.simulate(
        Clipped(1), [[0.5], [0.4]], times=times, method="dopri5", max_evaluations=1000,
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
    with pytest.raises(FloatingPointError, match="1,000 evaluations"):
        run.raise_for_status()


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
