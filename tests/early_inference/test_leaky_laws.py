"""Laws of layers that leak at their own rates: polynomials, a recursion, eigenvalues."""

import itertools
import math

import numpy as np
import pytest
import torch

import ctebm
from ctebm.early_inference.leaky_laws import (
    leaky_coefficient,
    orthogonal_coefficient,
    orthogonal_eigenvalues,
)


def complete_homogeneous(degree, values):
    """Return the sum of all monomials of a degree, one by one."""
    if degree < 0:
        return 0.0
    return sum(map(math.prod, itertools.combinations_with_replacement(values, degree)))


@pytest.mark.parametrize("leaks", [[1.0], [1.0, 3.0], [1.0, 0.4, 2.5], [2.0, 2.0, 1.0, 0.1]])
@pytest.mark.parametrize("eps", [0.5, 0.1])
def test_it_is_the_complete_homogeneous_polynomial(leaks, eps):
    k = len(leaks) - 1
    values = [1.0, *(1 - eps * c for c in leaks)]
    n = np.arange(9)
    expected = [eps ** (k + 1) * complete_homogeneous(int(m) - k - 1, values) for m in n]
    np.testing.assert_allclose(leaky_coefficient(n, eps, leaks), expected, rtol=1e-13, atol=1e-16)


def test_with_rates_of_1_it_is_the_binomial_law():
    n = np.arange(40)
    for k in range(4):
        np.testing.assert_allclose(
            leaky_coefficient(n, 0.2, np.ones(k + 1)),
            ctebm.first_arrival_coefficient(k, n, 0.2), rtol=1e-12, atol=1e-16,
        )  # fmt: skip


def test_rows_of_leaks_and_steps_of_any_shape():
    leaks = np.array([[1.0, 2.0], [1.0, 3.0], [0.5, 1.0]])
    found = leaky_coefficient([[2, 3], [4, 5]], 0.1, leaks)
    assert found.shape == (3, 2, 2)
    np.testing.assert_allclose(found[1], leaky_coefficient([[2, 3], [4, 5]], 0.1, leaks[1]))


def orthogonal(n_layers, size=4, seed=0):
    """A linear network of square orthogonal weights, at rest, and a target."""
    r = np.random.default_rng(seed)
    weights = [np.linalg.qr(r.standard_normal((size, size)))[0] for _ in range(n_layers)]
    net = ctebm.PredictiveNetwork(weights, [np.zeros(size)] * (n_layers + 1), ctebm.Identity())
    return net, r.standard_normal((1, size)), r.standard_normal((1, size))


def test_orthogonal_layers_keep_the_direction_and_follow_their_own_law():
    known = {4: (0.3439, 0.0488, 0.0035), 8: (0.56953279, 0.1573015, 0.02959377),
             12: (0.7175704635, 0.2677115973, 0.0732861510)}  # fmt: skip
    net, x, target = orthogonal(3)
    record = ctebm.correspondence(net, x, target, eps=0.1, n_steps=12, save_all=True)
    cosine = record.cosine(record.chain)[0, 0]
    for n, expected in known.items():
        np.testing.assert_allclose(orthogonal_coefficient(3, n, 0.1), expected, atol=5e-11)
        np.testing.assert_allclose(record.coefficient[0, 0, n].flip(0), expected, atol=5e-11)
        torch.testing.assert_close(cosine[n], torch.ones(3).double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 7])
def test_eigenvalues_of_the_orthogonal_chain(n_layers):
    net, x, _ = orthogonal(n_layers, size=3)
    free = net.clamp({"x": x})
    found = torch.linalg.eigvalsh(free.hessian(ctebm.settle(free).state))[0]
    expected = np.repeat(orthogonal_eigenvalues(n_layers), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_stiffness_grows_with_the_square_of_the_depth():
    smallest = [orthogonal_eigenvalues(K)[0] for K in (50, 100)]
    assert smallest[0] == pytest.approx((math.pi / 100) ** 2, rel=0.03)
    assert smallest[0] / smallest[1] == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize(
    "call", [lambda: leaky_coefficient(1, 0.1, 1.0), lambda: leaky_coefficient(1, 0.1, []),
             lambda: leaky_coefficient(-1, 0.1, [1.0]), lambda: leaky_coefficient(1, 2.0, [1.0]),
             lambda: orthogonal_coefficient(0, 1, 0.1), lambda: orthogonal_eigenvalues(0)]
)  # fmt: skip
def test_numbers_out_of_range_are_refused(call):
    with pytest.raises(ValueError):
        call()
