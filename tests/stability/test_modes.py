"""One mode: closed forms against the recursion and the equation that they solve."""

import math

import numpy as np
import pytest
import torch

from ctebm.stability import modes

LAM = torch.tensor([-0.3, 0.0, 1e-9, 0.02, 0.5, 1.0, 1.7, 8.0], dtype=torch.float64)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 400])
def test_response_after_steps_is_the_recursion(n):
    eps, m = 0.1, torch.zeros_like(LAM)
    for _ in range(n):
        m = m + eps * (1 - LAM * m)
    torch.testing.assert_close(modes.response(LAM, eps, n), m, rtol=1e-12, atol=0)


def test_response_in_time_solves_its_equation_and_tends_to_equilibrium():
    t, h = 1.3, 1e-5
    slope = (modes.response(LAM, time=t + h) - modes.response(LAM, time=t - h)) / (2 * h)
    torch.testing.assert_close(slope, 1 - LAM * modes.response(LAM, time=t), rtol=1e-8, atol=1e-9)
    assert modes.response(LAM, time=t)[1] == t
    torch.testing.assert_close(modes.response(LAM[4:], time=100.0), modes.response(LAM[4:]))


def test_slow_modes_keep_their_digits():
    """Of 1 - (1 - x)^n by subtraction only the leading 7 digits would be left at x = 1e-9."""
    found = float(modes.response(LAM[2:3], 1.0, 3))
    assert found == pytest.approx(3 - 3e-9 + 1e-18, rel=1e-15)


def test_responses_have_gradients_at_every_mode():
    lam = LAM.clone().requires_grad_()
    for times in ((0.1, 7), (None, None, 1.3)):
        (slope,) = torch.autograd.grad(modes.response(lam, *times).sum(), lam)
        h = 1e-5
        ends = (modes.response(LAM + d, *times) for d in (h, -h))
        expected = torch.sub(*ends) / (2 * h)
        moving = LAM != 0  # where a limit is taken
        torch.testing.assert_close(slope[moving], expected[moving], rtol=1e-6, atol=1e-6)
        assert slope.isfinite().all()


@pytest.mark.parametrize("synaptic", [False, True])
def test_variance_in_steps_is_the_fixed_point_of_its_recursion(synaptic):
    lam, sigma, eps = LAM[3:], 0.3, 0.2
    v = modes.variance(lam, sigma, eps, synaptic)
    kick = (eps * (1 - lam) * sigma) ** 2 if synaptic else eps * sigma**2
    torch.testing.assert_close((1 - eps * lam) ** 2 * v + kick, v)


def test_variance_in_continuous_time_is_the_limit_and_the_power():
    lam, sigma = LAM[4:], 0.3
    v = modes.variance(lam, sigma)
    torch.testing.assert_close(modes.variance(lam, sigma, 1e-9), v, rtol=1e-8, atol=0)
    omega = torch.tan(torch.linspace(-1, 1, 20_003, dtype=torch.float64)[1:-1] * math.pi / 2)
    power = torch.stack([modes.power(x, sigma, omega) for x in lam])
    area = torch.trapezoid(power, omega / (2 * math.pi), dim=-1)
    torch.testing.assert_close(area, v, rtol=1e-3, atol=0)


def test_transfer_is_a_complex_quotient():
    real, imaginary = modes.transfer(LAM, 0.7)
    np.testing.assert_allclose((real + 1j * imaginary).numpy(), 1 / (LAM.numpy() + 0.7j))


@pytest.mark.parametrize("lam", [0.4, 3.0, 1 + 0.7j, 0.3 - 2j])
def test_eps_limit_is_where_the_multiplier_has_size_one(lam):
    lam = torch.tensor(lam, dtype=torch.complex128 if isinstance(lam, complex) else torch.float64)
    limit = modes.eps_limit(lam)
    assert not limit.is_complex()
    assert float((1 - limit * lam).abs()) == pytest.approx(1)
    assert float((1 - 0.9 * limit * lam).abs()) < 1 < float((1 - 1.1 * limit * lam).abs())


def test_eps_limit_of_modes_that_do_not_decay():
    for dtype in (torch.float64, torch.complex128):
        found = modes.eps_limit(torch.tensor([-0.2, 0.0], dtype=dtype))
        assert found.tolist() == [0, math.inf]
    assert modes.eps_limit(torch.tensor(2j)) == 0


def test_largest_and_smallest_leave_nan_out():
    values = torch.tensor([[1.0, 3.0, torch.nan], [torch.nan] * 3])
    assert modes.largest(values).tolist() == [3, 0]
    assert modes.smallest(values).tolist() == [1, math.inf]
    assert modes.smallest(torch.zeros(2, 0)).tolist() == [math.inf] * 2


def test_an_equilibrium_is_one_to_the_root_of_rounding():
    found = modes.is_equilibrium(torch.tensor([0.0, 1e-8, 1e-7, torch.nan], dtype=torch.float64))
    assert found.tolist() == [True, True, False, False]


def test_a_step_is_below_the_limit_and_above_zero():
    modes.check_eps(None, 1.0)
    modes.check_eps(0.99, 1.0)
    for eps in (0.0, -0.1, 1.0, 1.1):
        with pytest.raises(ValueError, match=f"expected 0 < eps < eps_max = 1, .* got {eps}"):
            modes.check_eps(eps, 1.0)


def test_noise_is_asked_for_at_stable_equilibria_alone():
    rest, moving = torch.tensor([0.0, 1e-12]), torch.tensor([0.0, 0.1])
    assert modes.check_noise("a variance", 0.3, rest, ["stable", "stable"]) == 0.3
    assert modes.check_noise("a variance", 0, rest, "stable") == 0
    with pytest.raises(ValueError, match=r"equilibrium for a variance, got a force of 0\.1;"):
        modes.check_noise("a variance", 0.3, moving, "stable")
    with pytest.raises(ValueError, match="stable point for a variance, got degenerate, saddle"):
        modes.check_noise("a variance", 0.3, rest, ["stable", "saddle", "degenerate"])
    with pytest.raises(ValueError, match="sigma"):
        modes.check_noise("a variance", -0.1, rest, "stable")


def test_times_of_a_response_are_one_kind():
    for times in ((None, None, None), (0.1, 3, None), (None, None, 0.5), (0.1, 0, None)):
        modes.check_times(*times)
    for times in ((0.1, None, None), (None, 3, None), (0.1, 3, 0.5), (None, 3, 0.5)):
        with pytest.raises(ValueError, match="expected eps and n_steps, or time, or none"):
            modes.check_times(*times)
    for times in ((0.0, 3, None), (0.1, -1, None), (None, None, -0.5)):
        with pytest.raises(ValueError, match="expected"):
            modes.check_times(*times)
