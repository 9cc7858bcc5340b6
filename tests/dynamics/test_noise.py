"""Brownian increments over unit steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_cases import path

from ctebm.dynamics.noise import BrownianSteps

DTYPES = [torch.float64, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("m", [2, 3, 8])
def test_coarse_path_is_the_sum_of_the_fine_one(dtype, m):
    fine = path(40 * m, dtype=dtype)
    coarse = path(40, dtype=dtype, substeps=m, block=16)
    expected = fine.reshape(40, m, 3, 5).sum(1) / m**0.5
    torch.testing.assert_close(coarse, expected)
    later = path(10, dtype=dtype, substeps=m, first=30)
    assert torch.equal(later, coarse[30:])


def test_integrals_add_up_and_leave_the_increments_alone():
    n, m = 4000, 4
    with BrownianSteps(3, [0], 10, area=True) as brownian:
        W, U = (torch.stack(x) for x in zip(*(brownian(k, k + 1, return_U=True) for k in range(n)),
                                           strict=True))  # fmt: skip
    assert torch.equal(W, path(n, [0], 10, seed=3))
    # W and its integral over a unit step have covariance [[1, 1/2], [1/2, 1/3]]
    both = torch.stack([W.flatten(), U.flatten()])
    expected = np.array([[1, 1 / 2], [1 / 2, 1 / 3]])
    np.testing.assert_allclose(np.cov(both), expected, atol=5 * (2 / both.shape[1]) ** 0.5)
    with BrownianSteps(3, [0], 10, area=True, substeps=m) as brownian:
        Wc, Uc = brownian(0, 1, return_U=True)
    before = torch.cumsum(W[:m], 0) - W[:m]
    torch.testing.assert_close(Wc, W[:m].sum(0) / m**0.5)
    torch.testing.assert_close(Uc, (U[:m] + before).sum(0) / m**1.5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("intensity", [torch.tensor(0.3), torch.rand(64, 1)], ids=["one", "each"])
def test_intensity_multiplies_the_path_and_has_a_gradient(dtype, intensity):
    # wide enough that a thread draws
    options = {"samples": range(64), "n_units": 64, "n_steps": 40, "dtype": dtype}
    intensity = intensity.to(dtype).requires_grad_()
    plain = path(40, **options)
    scaled = path(40, **options, intensity=intensity)
    assert torch.equal(scaled, plain * intensity)
    found = torch.autograd.grad(scaled.sum(), intensity)[0]
    torch.testing.assert_close(found, plain.sum(0).sum_to_size(intensity.shape))
    with torch.no_grad():
        assert not path(40, **options, intensity=intensity).requires_grad
    both = {"samples": [0], "n_units": 2, "area": True}
    with (
        BrownianSteps(1, **both) as one,
        BrownianSteps(1, **both, intensity=torch.tensor(2.0)) as two,
    ):
        for x, y in zip(one(0, 1, return_U=True), two(0, 1, return_U=True), strict=True):
            torch.testing.assert_close(y, 2 * x)


def test_refuses_what_is_not_the_next_unit_step():
    brownian = BrownianSteps(1, [0], 2, n_steps=3)
    brownian(0.0, 1.0)
    for ta, tb in [(0, 1), (2, 3), (1, 1.5), (1, 3), (1.25, 2.25), (1, None)]:
        with pytest.raises(ValueError, match="expected"):
            brownian(ta, tb)
    with pytest.raises(ValueError, match="expected one unit step"):
        brownian(1, 2, return_U=True)
    brownian(1, 2)
    brownian(torch.tensor(2.0), torch.tensor(3.0))
    with pytest.raises(ValueError, match="no step after 3"):
        brownian(3, 4)


def test_what_torchsde_asks_of_it():
    with BrownianSteps(3, [0, 4], 5, torch.float32) as brownian:
        assert (brownian.dtype, brownian.device.type) == (torch.float32, "cpu")
        assert brownian.shape == (2, 5) and brownian.levy_area_approximation == "none"
        assert repr(brownian) == "BrownianSteps(samples=2, n_units=5)"
    with BrownianSteps(3, [0], 5, area=True) as brownian:
        assert brownian.levy_area_approximation == "space-time"
