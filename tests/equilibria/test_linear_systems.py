"""Conjugate gradients against dense solves, and the sign of curvatures against eigenvalues."""

import numpy as np
import pytest
import torch

from ctebm.equilibria.krylov import generic_vector
from ctebm.equilibria.linear_systems import conjugate_gradients, positive_definite, power_of_two


def with_eigenvalues(values, seed=0, dtype=torch.float64):
    """A symmetric matrix in general position with these eigenvalues."""
    values = torch.as_tensor(values, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(len(values), len(values), generator=draw, dtype=torch.float64)
    Q = torch.linalg.qr(A)[0]
    H = Q * values @ Q.mT
    return ((H + H.mT) / 2).to(dtype)


def products(H):
    return lambda v: (H @ v.unsqueeze(-1)).squeeze(-1)


def test_conjugate_gradients_row_by_row():
    stack = [with_eigenvalues(np.linspace(0.1, 3, 20), seed) for seed in range(3)]
    H = torch.stack([*stack, -stack[0], stack[1]])
    right = torch.stack([generic_vector(20, H)] * 4 + [torch.zeros(20, dtype=torch.float64)])
    x = conjugate_gradients(products(H), right)
    exact = torch.linalg.solve(H[:3], right[:3])
    assert torch.allclose(x[:3], exact, rtol=1e-11, atol=1e-12)
    assert x[3].isnan().all()
    assert torch.equal(x[4], right[4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_size_of_a_right_hand_side_changes_no_digit(dtype):
    """Squares of 2^-100 underflow in single precision, those of 2^-600 in double."""
    H = with_eigenvalues(np.linspace(0.1, 3, 20), dtype=dtype)
    right = generic_vector(20, H)
    x = conjugate_gradients(products(H), right)
    far = 100 if dtype == torch.float32 else 900
    for size in (2.0**-far, 2.0**far):
        assert torch.equal(conjugate_gradients(products(H), size * right), size * x)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_right_hand_side_that_is_not_finite_has_no_solution(bad):
    H = with_eigenvalues([1.0, 2.0, 3.0])
    right = torch.ones(2, 3, dtype=torch.float64)
    right[0, 1] = bad
    x = conjugate_gradients(products(H), right)
    assert x[0].isnan().all()
    torch.testing.assert_close(x[1], torch.linalg.solve(H, right[1]))


def test_a_tolerance_ends_earlier():
    H, calls = with_eigenvalues(np.geomspace(1e-3, 1, 60)), []

    def counted(v):
        calls.append(v)
        return products(H)(v)

    right, spent = generic_vector(60, H), []
    for tol in (1e-2, 1e-6, 0.0):
        calls.clear()
        x = conjugate_gradients(counted, right, tol)
        assert (right - H @ x).norm() <= max(tol, 1e-11) * right.norm()
        spent.append(len(calls))
    assert spent[0] < spent[1] < spent[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 30, 200])
def test_positive_curvature_in_every_direction_is_that_of_all_eigenvalues(n, dtype):
    rest, seeds = np.linspace(0.5, 4, n)[1:], range(8)
    for lowest, expected in [(1e-2, True), (-1e-2, False), (-1.0, False), (0.0, False)]:
        H = torch.stack([with_eigenvalues([lowest, *rest], i, dtype) for i in seeds])
        found = positive_definite(products(H), torch.ones(8, n, dtype=dtype))
        assert found.tolist() == [expected] * 8


def test_curvature_counts_on_the_chosen_units_only():
    H = torch.diag(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    where = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = positive_definite(lambda v: where * products(H)(where * v), where)
    assert found.tolist() == [False, True, True]


def test_a_negative_direction_of_many_equal_or_clustered_ones_is_found():
    """A hundred copies of each eigenvalue look like one to a Krylov space."""
    values = torch.tensor([2.0, 1.0, -1e-3], dtype=torch.float64).repeat_interleave(100)
    assert not positive_definite(lambda v: values * v, torch.ones_like(values))
    assert positive_definite(lambda v: values.abs() * v, torch.ones_like(values))
    badly = torch.logspace(-6, 0, 300, dtype=torch.float64)
    assert positive_definite(lambda v: badly * v, torch.ones_like(badly))
    badly[0] = -1e-6
    assert not positive_definite(lambda v: badly * v, torch.ones_like(badly))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_power_of_two_divides_exactly(dtype):
    tiny, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    rows = torch.tensor([[1.0, -3.0], [0.0, 0.0], [tiny, 0.0], [largest, 1.0]], dtype=dtype)
    size = power_of_two(rows)
    assert size.shape == (4, 1) and size[1] == 1
    assert (torch.frexp(size).mantissa == 0.5).all() and torch.isfinite(1 / size).all()
    assert torch.equal(rows / size * size, rows)
    assert ((rows / size).abs().amax(-1)[[0, 3]] >= 0.5).all()
    assert ((rows / size).abs() <= 8).all()
