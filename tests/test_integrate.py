"""Runs: exact on the clock, of the order declared, and honest about what goes wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

import ctebm
import ctebm.run
from ctebm.integrate import METHODS
from ctebm.noise import BrownianSteps

F64 = torch.float64


def pair(w=0.5, rho=None, dtype=F64, bias=None) -> ctebm.DenseNetwork:
    weight = torch.tensor([[0.0, w], [w, 0.0]], dtype=dtype)
    bias = [-w / 2, -w / 2] if bias is None else bias
    return ctebm.DenseNetwork(weight, bias, rho or ctebm.HardSigmoid(), dtype=dtype)


def layered(batch=4, rho=None, dtype=F64) -> ctebm.LayeredNetwork:
    net = ctebm.LayeredNetwork.random(
        [8, 6, 5, 3], rho or ctebm.Tanh(), gain=2, seed=1, dtype=dtype
    )
    x = torch.rand(batch, 8, dtype=dtype, generator=torch.Generator().manual_seed(2))
    return net.clamp({"x": x})


class Free(ctebm.Network):
    """No energy at all: the state is the noise."""

    def energy(self, s: Tensor) -> Tensor:
        return 0 * s.sum(-1)

    def force(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)


class Upwards(ctebm.Network):
    """Runs away in finite time where it is large."""

    def energy(self, s: Tensor) -> Tensor:
        return -s.pow(4).sum(-1) / 4


# the clock


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


def test_every_horizon_is_a_whole_number_of_steps():
    quiet = ctebm.Dynamics(pair(), 0.1)
    start = torch.zeros(2)
    for horizon, eps, n in [(10, 0.01, 1000), (1, 0.1, 10), (0.3, 0.1, 3), (210, 0.01, 21_000)]:
        run = ctebm.simulate(quiet, start, times=[0, horizon], eps=eps, seed=1)
        assert run.step.tolist() == [0, n]
        by_steps = ctebm.simulate(quiet, start, n_steps=n, eps=eps, seed=1, save_every=n)
        assert torch.equal(run.state, by_steps.state)


@pytest.mark.slow
def test_a_hundred_thousand_steps():
    run = ctebm.simulate(ctebm.Dynamics(pair(), 0.1), torch.zeros(2), times=[0, 1000], eps=0.01)
    assert run.step.tolist() == [0, 100_000]
    assert run.time.tolist() == [0, 1000]
    run.raise_for_status()


def test_a_late_start_in_float32_loses_no_step():
    net = pair(dtype=torch.float32)
    start = torch.tensor([0.2, -0.1], dtype=torch.float32)
    late = ctebm.simulate(ctebm.Dynamics(net), start, times=[32768, 32768.5, 32769], eps=0.01)
    early = ctebm.simulate(ctebm.Dynamics(net), start, times=[0, 0.5, 1], eps=0.01)
    assert late.state.dtype == torch.float32
    assert late.step.tolist() == [0, 50, 100]
    assert late.time.tolist() == [32768, 32768.5, 32769]
    assert torch.equal(late.state, early.state)


def test_whole_numbers_are_times():
    run = ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), times=[0, 1, 3], eps=0.5)
    assert run.step.tolist() == [0, 2, 6]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"times": [0, 0.05, 0.1], "eps": 0.1}, "whole multiples"),
        ({"times": [0, 1], "eps": 0.3}, "whole multiples"),
        ({"times": [0, 1], "eps": 2.0}, "whole multiples"),
        ({"times": [0, 1], "eps": [0.1, 0.2]}, "one eps with times"),
        ({"times": [0, 1]}, "give eps"),
        ({"times": 1.0, "eps": 0.1}, "two or more"),
        ({"times": [1.0], "eps": 0.1}, "two or more"),
        ({"times": [0, 1, 1], "eps": 0.1}, "increasing"),
        ({"times": [1, 0], "eps": 0.1}, "increasing"),
        ({"times": [0, float("inf")], "eps": 0.1}, "finite"),
        ({"times": [0, 1], "eps": 0.1, "save_every": 5}, "n_steps only"),
        ({"n_steps": 5, "times": [0, 1], "eps": 0.1}, "got both"),
        ({"eps": 0.1}, "neither"),
        ({"n_steps": 5}, "give eps"),
        ({"n_steps": 5, "eps": 0.0}, "eps > 0"),
        ({"n_steps": 5, "eps": -0.1}, "eps > 0"),
        ({"n_steps": 5, "eps": float("nan")}, "eps > 0"),
        ({"n_steps": 5, "eps": float("inf")}, "eps > 0"),
        ({"n_steps": 0, "eps": 0.1}, "n_steps"),
        ({"n_steps": 2.5, "eps": 0.1}, "n_steps"),
        ({"n_steps": 5, "eps": 0.1, "save_every": 0}, "save_every"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [7]}, "save_steps up to"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [2], "save_every": 2}, "got both"),
        ({"n_steps": 5, "eps": 0.1, "method": "eular"}, "did you mean 'euler'"),
        ({"n_steps": 5, "eps": 0.1, "method": "srk"}, "is for noise"),
        ({"n_steps": 5, "eps": 0.1, "samples": [0, 1]}, "one a row"),
        ({"n_steps": 5, "eps": 0.1, "threads": 0}, "threads"),
        ({"n_steps": 5, "eps": 0.1, "first_step": -1}, "first_step"),
        ({"n_steps": 5, "eps": 0.1, "steady": 0.0}, "steady"),
        ({"n_steps": 10**12, "eps": 0.1, "save_steps": range(10**12)}, "GiB"),
        ({"n_steps": 5, "eps": 0.1, "method": "dopri5"}, "chooses its own steps"),
        ({"times": [0, 1], "method": "dopri5"}, "SmoothHardSigmoid"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused(options, sentence):
    if options.get("n_steps") == 10**12:
        options = {"n_steps": 2**22, "eps": 0.1}
        start = torch.zeros(2**18, 2)
    else:
        start = torch.zeros(2)
    with pytest.raises(ValueError, match=sentence):
        ctebm.simulate(ctebm.Dynamics(pair()), start, **options)


def test_a_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="n_step"):
        ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_step=5, eps=0.1)


def test_a_start_that_is_not_finite_names_its_row():
    start = torch.zeros(3, 2)
    start[1, 0] = torch.nan
    with pytest.raises(ValueError, match="sample 1"):
        ctebm.simulate(ctebm.Dynamics(pair()), start, n_steps=5, eps=0.1)


def test_a_start_that_is_not_contiguous():
    start = torch.rand(2, 4, dtype=F64).mT
    for sigma in (0.0, 0.1):
        dynamics = ctebm.Dynamics(pair(), sigma)
        a = ctebm.simulate(dynamics, start, n_steps=9, eps=0.1, seed=1)
        b = ctebm.simulate(dynamics, start.contiguous(), n_steps=9, eps=0.1, seed=1)
        assert torch.equal(a.state, b.state)


@pytest.mark.parametrize("every", [1, 3, 7, 10, 100])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_what_is_saved_does_not_change_the_run(every, sigma, monkeypatch):
    dynamics = ctebm.Dynamics(layered(), sigma)
    whole = ctebm.simulate(dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1)
    monkeypatch.setattr(ctebm.run, "_SPAN", 8)  # stretches that end between saves
    part = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1, save_every=every
    )
    saved = [*range(0, 100, every), 100]
    assert part.step.tolist() == saved
    assert torch.equal(part.state, whole.state[saved])
    torch.testing.assert_close(part.time, torch.tensor(saved) * torch.tensor(0.05, dtype=F64))
    picked = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=100, eps=0.05, seed=1, save_steps=[3, 41]
    )
    assert torch.equal(picked.state, whole.state[[0, 3, 41, 100]])


# rows of a batch


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


def test_a_tile_has_the_noise_it_has_in_the_whole():
    rows = [5, 2, 60]
    sigma = torch.linspace(0.1, 0.5, 64, dtype=F64)
    eps = torch.linspace(0.01, 0.2, 64, dtype=F64)
    start = torch.zeros(64, 2)
    whole = ctebm.simulate(ctebm.Dynamics(pair(), sigma), start, n_steps=50, eps=eps, seed=8)
    tile = ctebm.simulate(
        ctebm.Dynamics(pair(), sigma[rows]), start[rows], n_steps=50, eps=eps[rows], seed=8,
        samples=rows,
    )  # fmt: skip
    torch.testing.assert_close(tile.state, whole.state[:, rows], rtol=0, atol=1e-13)
    assert tile.samples == (5, 2, 60)


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


def test_a_row_that_runs_away_is_named_and_the_others_go_on():
    start = torch.tensor([[0.1, 0.1], [0.2, 3.0], [0.1, 0.0]], dtype=F64)
    dynamics = ctebm.Dynamics(Upwards(2), 0.01)
    run = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1)
    calm = ctebm.simulate(dynamics, start[[0, 2]], n_steps=15, eps=0.5, seed=1, samples=[0, 2])
    assert torch.equal(run.state[:, [0, 2]], calm.state)
    assert run.status.tolist() == [0, 1, 0]
    step = int(run.failed_step[1])
    assert run.failed_step.tolist() == [-1, step, -1]
    assert torch.isfinite(run.state[:step]).all()
    assert not torch.isfinite(run.state[step:, 1]).all(-1).any()
    unit = int((~torch.isfinite(run.state[step, 1])).int().argmax())
    assert run.message[0] == run.message[2] == ""
    assert run.message[1].startswith(
        f"sample 1 left the finite numbers at step {step} in unit {unit}"
    )
    with pytest.raises(FloatingPointError, match="sample 1"):
        run.raise_for_status()
    last = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1, save_every=15)
    assert last.message == run.message


def test_a_run_with_nobody_left_ends():
    run = ctebm.simulate(
        ctebm.Dynamics(Upwards(2)), [[3.0, 1.0]], n_steps=10**7, eps=0.5, save_every=10**6
    )
    assert run.status.tolist() == [1]
    assert run.step[-1] < 10**5


def test_a_stiff_row_does_not_touch_the_others():
    net = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [[0.0, 0.0], [900.0, -900.0]], ctebm.Tanh())
    run = ctebm.simulate(ctebm.Dynamics(net, 0.1), torch.zeros(2, 2), n_steps=99, eps=0.1, seed=1)
    soft = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [0.0, 0.0], ctebm.Tanh())
    alone = ctebm.simulate(
        ctebm.Dynamics(soft, 0.1), torch.zeros(1, 2), n_steps=99, eps=0.1, seed=1
    )
    torch.testing.assert_close(run.state[:, :1], alone.state, rtol=0, atol=1e-13)


# noise


def test_no_noise_is_drawn_without_sigma(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("noise was drawn")

    monkeypatch.setattr(ctebm.run, "BrownianSteps", refuse)
    run = ctebm.simulate(ctebm.Dynamics(layered()), torch.zeros(14), n_steps=9, eps=0.1, seed=3)
    assert run.seed is None


def test_a_fresh_seed_is_recorded_and_repeats_the_run():
    dynamics = ctebm.Dynamics(pair(), 0.1)
    a, b = (ctebm.simulate(dynamics, torch.zeros(3, 2), n_steps=9, eps=0.1) for _ in range(2))
    assert a.seed != b.seed
    again = ctebm.simulate(dynamics, torch.zeros(3, 2), n_steps=9, eps=0.1, seed=a.seed)
    assert torch.equal(again.state, a.state)


def test_global_generators_are_neither_used_nor_moved():
    dynamics = ctebm.Dynamics(pair(), 0.1)
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(9)
    b = ctebm.simulate(dynamics, torch.zeros(2), n_steps=9, eps=0.1, seed=1)
    assert torch.equal(a.state, b.state)


@pytest.mark.parametrize("noise", ["langevin", "synaptic"])
@pytest.mark.parametrize("method", ["euler", "heun", "srk"])
def test_a_run_goes_on_from_a_saved_step(method, noise):
    if noise == "synaptic" and method != "euler":
        pytest.skip("the map has one method")
    dynamics = ctebm.Dynamics(layered(), 0.2, noise=noise)
    options = {"eps": 0.05, "seed": 6, "method": method}
    whole = ctebm.simulate(dynamics, torch.zeros(14), n_steps=1500, **options)
    rest = ctebm.simulate(dynamics, whole.state[1100], n_steps=400, first_step=1100, **options)
    assert torch.equal(rest.state, whole.state[1100:])
    assert torch.equal(rest.step, whole.step[1100:])
    torch.testing.assert_close(rest.time, whole.time[1100:])


def test_two_dynamics_share_a_path_and_noise_cancels():
    # N5: additive noise on a linear network cancels from the difference of two runs.
    net = pair(w=0.25)
    options = {"n_steps": 20, "eps": 0.1}
    start = torch.zeros(5, 2)
    noisy = ctebm.simulate(ctebm.Dynamics(net, 0.02), start, seed=2, **options)
    moved = ctebm.simulate(ctebm.Dynamics(net, 0.02), start + 0.1, noise_of=noisy, **options)
    quiet = [ctebm.simulate(ctebm.Dynamics(net), start + d, **options).state for d in (0, 0.1)]
    torch.testing.assert_close(moved.state - noisy.state, quiet[1] - quiet[0], rtol=0, atol=1e-13)
    assert moved.seed == noisy.seed


def test_the_same_path_at_a_coarser_step():
    dynamics = ctebm.Dynamics(Free(3), 0.7)
    start = torch.zeros(4, 3)
    fine = ctebm.simulate(dynamics, start, n_steps=60, eps=0.01, seed=2)
    coarse = ctebm.simulate(dynamics, start, n_steps=20, eps=0.03, noise_of=fine)
    coarser = ctebm.simulate(dynamics, start, n_steps=10, eps=0.06, noise_of=coarse)
    torch.testing.assert_close(coarse.state, fine.state[::3], rtol=0, atol=1e-14)
    torch.testing.assert_close(coarser.state, fine.state[::6], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"eps": 0.005}, "run the finer one first"),
        ({"eps": 0.025}, "whole multiple"),
        ({"seed": 1}, "got both"),
    ],
)
def test_paths_that_can_not_be_shared(change, sentence):
    dynamics = ctebm.Dynamics(Free(3), 0.7)
    fine = ctebm.simulate(dynamics, torch.zeros(4, 3), n_steps=6, eps=0.01, seed=2)
    with pytest.raises(ValueError, match=sentence):
        ctebm.simulate(
            dynamics, torch.zeros(4, 3), n_steps=6, noise_of=fine, **{"eps": 0.01, **change}
        )
    quiet = ctebm.simulate(ctebm.Dynamics(Free(3)), torch.zeros(4, 3), n_steps=6, eps=0.01)
    with pytest.raises(ValueError, match="without"):
        ctebm.simulate(dynamics, torch.zeros(4, 3), n_steps=6, eps=0.01, noise_of=quiet)
    with pytest.raises(ValueError, match="dtype"):
        net = Free(3)
        net.dtype = torch.float32
        ctebm.simulate(
            ctebm.Dynamics(net, 0.1), torch.zeros(4, 3), n_steps=6, eps=0.01, noise_of=fine
        )


# statistics, each at |z| < 5 with its fixed seed (p = 6e-7)


def z_of_variance(x: Tensor, expected: float, n_independent: int) -> float:
    return float((x.square().mean() / expected - 1) * (n_independent / 2) ** 0.5)


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
        up = lambda s: (s[:, 0] + s[:, 1]) / 2**0.5  # noqa: E731
        expected = 0.95**10 * 0.01 / (0.5 * (2 - 0.05))
        product = up(lag) * up(before)
        z = (product.mean() - expected) / (product.std() / n**0.5)
        assert abs(float(z)) < 5


def test_ten_steps_apart_is_what_is_saved():
    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=300, eps=0.1, save_steps=[290], seed=1
    )
    assert run.step.tolist() == [0, 290, 300]


# orders, by slopes


def slope(eps: list[float], error: list[float]) -> float:
    return float(np.polyfit(np.log(eps), np.log(error), 1)[0])


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.ode and not x.adaptive])
def test_deterministic_order(method):
    net = layered(2)
    dynamics = ctebm.Dynamics(net)
    exact = ctebm.simulate(
        dynamics, torch.full((14,), 0.9), times=[0, 1], method="dopri8", rtol=1e-13, atol=1e-14
    ).state[-1]
    grid = [0.5, 0.25, 0.125, 0.0625]
    error = []
    for eps in grid:
        run = ctebm.simulate(dynamics, torch.full((14,), 0.9), times=[0, 1], eps=eps, method=method)
        error.append(float((run.state[-1] - exact).abs().max()))
    assert slope(grid[1:], error[1:]) == pytest.approx(METHODS[method].order, abs=0.25)


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


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.sde and not x.adaptive])
def test_strong_order(method):
    dynamics = ctebm.Dynamics(layered(1), 0.5)
    start = torch.zeros(400, 14)
    finest = ctebm.simulate(
        dynamics, start, n_steps=256, eps=1 / 256, seed=3, method="srk", save_every=256
    )
    grid, error = [2, 4, 8, 16], []
    for m in grid:
        run = ctebm.simulate(
            dynamics, start, n_steps=128 // m, eps=m / 128, noise_of=finest, method=method,
            save_every=256,
        )  # fmt: skip
        difference = run.state[-1] - finest.state[-1]
        error.append(float(difference.square().mean().sqrt()))
    measured, strong = slope(grid, error), METHODS[method].strong
    if method == "srk":  # the terms that keep it from order 2 are small here
        assert strong - 0.15 < measured
    else:
        assert measured == pytest.approx(strong, abs=0.15)


class Leak(ctebm.Network):
    """One linear mode with time constant 1."""

    def energy(self, s: Tensor) -> Tensor:
        return s.square().sum(-1) / 2


def stationary_variance(method: str, eps: float, n: int = 4000) -> float:
    """Return the variance at which a method's step s <- P s + a W + b U keeps a linear mode."""
    options = {"n_steps": 1, "eps": eps, "seed": 1, "method": method}
    noisy = ctebm.Dynamics(Leak(1), 1.0)
    kick = ctebm.simulate(noisy, torch.zeros(n, 1), **options).state[-1]
    P = (ctebm.simulate(noisy, torch.ones(n, 1), **options).state[-1] - kick).mean()
    with BrownianSteps(1, range(n), 1, area=True) as brownian:
        WU = torch.cat(brownian(0, 1, return_U=True), 1)
    weight = torch.linalg.lstsq(WU, kick).solution[:, 0]
    torch.testing.assert_close((WU @ weight)[:, None], kick, rtol=0, atol=1e-11)
    covariance = torch.tensor([[1, 1 / 2], [1 / 2, 1 / 3]], dtype=F64)
    return float(weight @ covariance @ weight / (1 - P**2))


@pytest.mark.parametrize("method", [m for m, x in METHODS.items() if x.sde and not x.adaptive])
def test_weak_order(method):
    grid = [0.2, 0.1, 0.05]
    bias = [abs(stationary_variance(method, eps) - 1 / 2) for eps in grid]
    assert slope(grid, bias) == pytest.approx(METHODS[method].weak, abs=0.15)
    if method == "euler":  # N2
        assert bias[0] == pytest.approx(1 / (2 - 0.2) - 1 / 2, abs=1e-11)


def test_adaptive_steps_with_noise_end_at_the_times_that_are_saved():
    run = ctebm.simulate(
        ctebm.Dynamics(Free(20), 0.5), torch.zeros(400, 20), times=[0, 0.05, 0.3],
        method="adaptive_srk", seed=1, rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    for t, x in zip([0.05, 0.3], run.state[1:], strict=True):
        assert abs(z_of_variance(x, 0.25 * t, x.numel())) < 5
    dynamics = ctebm.Dynamics(layered(1), 0.05)
    options = {"times": [0, 0.5, 1], "seed": 3, "method": "adaptive_srk"}
    loose, tight, again = (
        ctebm.simulate(dynamics, torch.zeros(50, 14), rtol=tol, atol=tol, **options).state
        for tol in (1e-2, 1e-4, 1e-4)
    )
    assert torch.equal(tight, again)
    assert (loose - tight).abs().max() < 1e-2
    with pytest.raises(ValueError, match="one path"):
        ctebm.simulate(dynamics, torch.zeros(1, 14), samples=[0], **options)


# kinks


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


# what else a run can do


def test_phases_are_runs_one_after_another():
    net, y = layered(), torch.rand(4, 3, dtype=F64)
    phases = [
        ctebm.Phase("settle", ctebm.Dynamics(net, 0.1), 30),
        ctebm.Phase("drive", ctebm.Dynamics(net, 0.3, drive=y), 20),
        ctebm.Phase("release", ctebm.Dynamics(net), 10),
    ]
    run = ctebm.simulate(phases, torch.zeros(14), eps=0.1, seed=1, save_every=7)
    assert run.step.tolist() == [0, 7, 14, 21, 28, 30, 35, 42, 49, 50, 56, 60]
    names = [run.phases[i] for i in run.phase]
    assert names == ["settle"] * 6 + ["drive"] * 4 + ["release"] * 2
    s, first = torch.zeros(14), 0
    for phase in phases:
        part = ctebm.simulate(
            phase.dynamics, s, n_steps=phase.n_steps, eps=0.1, seed=1, first_step=first,
            save_every=phase.n_steps,
        )  # fmt: skip
        s, first = part.state[-1], first + phase.n_steps
        assert torch.equal(run.state[run.step.tolist().index(first)], s)
    assert run.to_dataset()["phase"].values.tolist() == names
    with pytest.raises(ValueError, match="different names"):
        ctebm.simulate([phases[0], phases[0]], torch.zeros(14), eps=0.1)
    with pytest.raises(ValueError, match="no n_steps"):
        ctebm.simulate(phases, torch.zeros(14), eps=0.1, n_steps=10)


def test_observables_instead_of_states():
    net = layered()
    dynamics = ctebm.Dynamics(net, 0.1)
    options = {"n_steps": 40, "eps": 0.1, "seed": 1, "save_every": 4}
    states = ctebm.simulate(dynamics, torch.zeros(14), **options)
    observe = {"energy": net.energy, "output": lambda s: s[..., net.layers["y"]]}
    run = ctebm.simulate(dynamics, torch.zeros(14), observe=observe, **options)
    assert torch.equal(run.observed["energy"], torch.stack([net.energy(s) for s in states.state]))
    assert torch.equal(run.observed["output"], states.state[..., net.layers["y"]])
    assert torch.equal(run.state, states.state[-1:])
    dataset = run.to_dataset()
    assert dataset["energy"].dims == ("step", "sample")
    assert dataset["output"].shape == (11, 4, 3)
    assert "state" not in dataset


def test_a_run_ends_where_the_force_is_small():
    dynamics = ctebm.Dynamics(layered())
    run = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=10**6, eps=0.2, steady=1e-9, save_every=10**6
    )
    assert run.step[-1] < 1000
    assert run.status.tolist() == [0] * 4
    assert dynamics.f(0, run.state[-1]).abs().max() <= 1e-9
    short = ctebm.simulate(dynamics, torch.zeros(14), n_steps=3, eps=0.2, steady=1e-9)
    assert short.status.tolist() == [2] * 4
    assert "take more steps" in short.message[0]
    pinned = ctebm.simulate(
        ctebm.Dynamics(pair(w=2.0)), [0.1, 0.2], n_steps=10**6, eps=0.1, steady=1e-12,
        save_every=10**6,
    )  # fmt: skip
    assert pinned.state[-1].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no noise"):
        ctebm.simulate(ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=9, eps=0.1, steady=1e-9)


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_gradients_agree_with_finite_differences(method, sigma):
    weight = torch.rand(3, 3, dtype=F64)
    start = torch.rand(2, 3, dtype=F64)

    def last(w: Tensor, b: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        W = (w + w.T) * (1 - torch.eye(3))
        net = ctebm.DenseNetwork(W, b, ctebm.Tanh())
        dynamics = ctebm.Dynamics(net, noise)
        return ctebm.simulate(
            dynamics, s, n_steps=7, eps=0.2, seed=1, method=method, differentiable=True,
            save_every=3,
        ).state[1:]  # fmt: skip

    inputs = [weight, torch.rand(3, dtype=F64), start]
    inputs = [x.requires_grad_() for x in inputs]
    noise = torch.tensor(sigma, dtype=F64, requires_grad=sigma > 0)
    assert torch.autograd.gradcheck(last, (*inputs, noise))


def test_no_graph_is_kept_unasked():
    start = torch.rand(2, dtype=F64, requires_grad=True)
    run = ctebm.simulate(ctebm.Dynamics(pair()), start, n_steps=5, eps=0.1)
    assert not run.state.requires_grad


def test_layered_weights_have_gradients_run_after_run():
    net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh(), seed=1)
    weights = [W.requires_grad_() for W in net.weights]
    net = ctebm.LayeredNetwork(weights, net.biases, ctebm.Tanh())
    found = []
    for _ in range(2):
        run = ctebm.simulate(
            ctebm.Dynamics(net), torch.ones(9) / 3, n_steps=5, eps=0.1, differentiable=True
        )
        found.append(torch.autograd.grad(run.state[-1].sum(), weights))
    assert all(torch.equal(a, b) and bool(a.any()) for a, b in zip(*found, strict=True))


def test_a_callback_sees_every_save_and_can_end_the_run(capsys):
    seen = []

    def callback(step: int, s: Tensor) -> bool:
        seen.append((step, s.clone()))
        return step >= 12

    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=40, eps=0.1, save_every=4, seed=1,
        callback=callback, progress=True,
    )  # fmt: skip
    assert [step for step, _ in seen] == [4, 8, 12]
    assert run.step.tolist() == [0, 4, 8, 12]
    for (_, s), kept in zip(seen, run.state[1:], strict=True):
        assert torch.equal(s, kept)
    assert "step" in capsys.readouterr().err


def test_threads_are_set_recorded_and_given_back():
    before = torch.get_num_threads()
    run = ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1, threads=3)
    assert run.threads == 3
    assert torch.get_num_threads() == before
    assert ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1).threads == 1


def test_a_run_is_saved_with_its_labels(tmp_path):
    eps = torch.tensor([0.1, 0.2, 0.1, 0.3], dtype=F64)
    run = ctebm.simulate(
        ctebm.Dynamics(layered(), 0.1), torch.zeros(14), n_steps=6, eps=eps, samples=[3, 4, 5, 9]
    )
    ctebm.save(run.to_dataset(), tmp_path / "run.nc")
    with ctebm.open(tmp_path / "run.nc") as dataset:
        assert dataset["state"].dims == ("step", "sample", "unit")
        assert int(dataset.attrs["seed"]) == run.seed
        np.testing.assert_array_equal(dataset["state"].values, run.state.numpy())
        np.testing.assert_array_equal(dataset["eps"].values, eps.numpy())
        np.testing.assert_array_equal(dataset["sample_number"].values, [3, 4, 5, 9])
        assert dataset["layer_of_unit"].values.tolist() == ["h2"] * 6 + ["h1"] * 5 + ["y"] * 3
        assert all({"long_name", "units"} <= set(v.attrs) for v in dataset.variables.values())


@pytest.mark.slow
def test_a_long_run_needs_no_more_memory_than_a_short_one():
    import resource

    dynamics = ctebm.Dynamics(layered(1), 0.1)

    def run(n: int) -> None:
        ctebm.simulate(dynamics, torch.zeros(1, 14), n_steps=n, eps=0.01, save_every=n)

    run(5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(100_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


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
