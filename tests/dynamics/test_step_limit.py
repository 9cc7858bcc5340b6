"""The limit of Euler's step."""

from __future__ import annotations

import warnings

import pytest
import torch
from run_cases import pair

import ctebm
from ctebm.dynamics import step_limit
from ctebm.dynamics.step_limit import exceeded_limit


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


class Rotation(ctebm.VectorField):
    """Eigenvalues -1 +- 2i: each step multiplies by |1 + eps mu|, which is 1 at eps = 2/5."""

    def force(self, s: torch.Tensor) -> torch.Tensor:
        return torch.stack([-s[..., 0] - 2 * s[..., 1], 2 * s[..., 0] - s[..., 1]], -1)


@pytest.mark.parametrize("eps", [0.1, 0.39, 0.41])
def test_the_limit_of_a_motion_that_rotates(eps):
    limit = exceeded_limit(Rotation(2), torch.zeros(2, dtype=torch.float64), eps)
    assert limit == (None if eps < 0.4 else pytest.approx(0.4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = ctebm.simulate(Rotation(2), [1.0, 0.0], n_steps=400, eps=eps, save_every=400)
    assert (run.state[-1].norm() > 1) == (eps > 0.4)


class ByNumpy(ctebm.VectorField):
    """A force that torch can not differentiate."""

    def force(self, s: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(-s.numpy())


def test_a_force_without_a_derivative_has_its_runs():
    run = ctebm.simulate(ByNumpy(2), [1.0, -1.0], n_steps=2, eps=0.5)
    assert run.state[-1].tolist() == [0.25, -0.25]


def test_a_force_without_numbers_has_no_limit():
    class Nowhere(ctebm.Network):
        def energy(self, s):
            return s.square().sum(-1) * torch.nan

    assert exceeded_limit(Nowhere(3), torch.zeros(3, dtype=torch.float64), eps=0.1) is None


def test_a_row_bounds_eigenvalues():
    matrix = torch.tensor([[[1.0, -2.0], [0.5, 0.25]], [[0.0, 0.0], [3.0, -4.0]]])
    assert step_limit._largest_row(matrix) == 7.0
    assert step_limit._largest_row(torch.tensor([[1.0, -2.0], [0.5, 0.25]])) == 3.0


RATES = [ctebm.HardSigmoid(), ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid(),
         ctebm.ReLU(), ctebm.Custom(torch.sin)]  # fmt: skip


@pytest.mark.parametrize("rho", RATES, ids=lambda rho: type(rho).__name__)
def test_no_row_is_steeper_than_the_bound(rho):
    net = ctebm.LayeredNetwork.random([5, 6, 4], rho, gain=2, seed=1)
    net.bias += torch.randn(15, dtype=net.dtype, generator=torch.Generator().manual_seed(2))
    most = step_limit._steepest_row(net)
    for scale in (0.1, 1.0, 10.0):
        s = scale * torch.randn(200, 15, dtype=net.dtype,
                                generator=torch.Generator().manual_seed(3))  # fmt: skip
        assert float(net.jacobian(s).abs().sum(-1).max()) <= most
    unknown = rho.max_slope * rho.max_curvature == torch.inf
    assert (most == torch.inf) == unknown


def test_the_bound_is_that_of_its_formula():
    net = ctebm.DenseNetwork([[0, 2.0], [2.0, 0]], [0.5, -3.0], ctebm.Logistic())
    curvature = 16 / 108**0.5  # of the logistic rate with gain 4, whose largest slope is 1
    expected = 1 + 2 + curvature * (3 + 2)
    assert step_limit._steepest_row(net) == pytest.approx(expected, rel=1e-14)
    limit = 2 / expected
    assert exceeded_limit(net, torch.zeros(2, dtype=net.dtype), 0.99 * limit) is None
