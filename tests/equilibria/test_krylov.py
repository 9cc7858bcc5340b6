"""Krylov methods against dense linear algebra."""

import math

import numpy as np
import pytest
import torch

from ctebm.equilibria import krylov
from ctebm.equilibria.krylov import (
    dense_spectrum,
    extremal_spectrum,
    function_product,
    generic_vector,
    stacked,
)


def with_eigenvalues(values, seed=0):
    """A symmetric matrix in general position with these eigenvalues."""
    values = torch.as_tensor(values, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(len(values), len(values), generator=draw, dtype=torch.float64)
    Q = torch.linalg.qr(A)[0]
    return Q * values @ Q.mT


@pytest.mark.parametrize("memory", [10**8, 10], ids=["basis kept", "basis made again"])
def test_the_ends_are_those_of_the_matrix(memory, monkeypatch):
    monkeypatch.setattr(krylov, "BASIS_BYTES", memory)
    values = np.linspace(-2, 5, 200) ** 3
    H = with_eigenvalues(values)
    found = extremal_spectrum(lambda v: H @ v, generic_vector(200, H), 1e-10, n_low=3)
    assert found.eigenvalues[[0, -1]].tolist() == pytest.approx(values[[0, -1]], abs=1e-9)
    nearest = (found.eigenvalues[:, None] - torch.as_tensor(values)).abs().amin(1)
    assert (nearest <= found.residual + 1e-12).all()
    V = found.eigenvectors
    assert torch.allclose(V.mT @ V, torch.eye(V.shape[1], dtype=torch.float64), atol=1e-10)
    assert torch.allclose((H @ V - V * found.eigenvalues).norm(dim=0), found.residual, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_small_matrix_is_exhausted(n):
    H = with_eigenvalues(range(1, n + 1))
    found = extremal_spectrum(lambda v: H @ v, generic_vector(n, H), 1e-12)
    assert found.eigenvalues[0].item() == pytest.approx(1, abs=1e-12)
    assert found.eigenvalues[-1].item() == pytest.approx(n, abs=1e-12)


def test_the_identity():
    found = extremal_spectrum(lambda v: v, generic_vector(9, torch.zeros(0).double()), 1e-12)
    assert found.eigenvalues.tolist() == pytest.approx([1.0], abs=1e-14)


def test_copies_of_a_converged_value_are_one():
    """An isolated end comes again and again in Lanczos' recurrence without reorthogonalisation."""
    H = with_eigenvalues([-100.0, *np.linspace(0, 1, 300)])
    found = extremal_spectrum(lambda v: H @ v, generic_vector(301, H), 1e-9, n_low=3)
    low = found.eigenvalues[:-1]
    assert low[0].item() == pytest.approx(-100, abs=1e-9)
    assert (low[1:] > -1e-6).all()


def test_dense_spectrum_knows_its_residual():
    H = with_eigenvalues([-1.0, 2.0, 3.0])
    found = dense_spectrum(H)
    assert found.eigenvalues.tolist() == pytest.approx([-1, 2, 3], abs=1e-13)
    assert found.residual.max() < 1e-13


@pytest.mark.parametrize("function", [lambda x: torch.exp(-x), lambda x: 1 / x], ids=["exp", "1/x"])
def test_functions_of_a_matrix(function):
    H = with_eigenvalues(np.linspace(0.5, 4, 60))
    u = generic_vector(60, H)
    values, V = torch.linalg.eigh(H)
    found = function_product(lambda v: H @ v, u, function)
    assert torch.allclose(found, V @ (function(values) * (V.mT @ u)), atol=1e-9)


def test_a_function_of_nothing_and_of_an_eigenvector():
    H = with_eigenvalues([1.0, 2.0, 3.0])
    v = torch.linalg.eigh(H)[1][:, 1]
    assert torch.equal(function_product(lambda u: H @ u, 0 * v, torch.exp), 0 * v)
    found = function_product(lambda u: H @ u, v, torch.exp)
    assert torch.allclose(found, math.exp(2) * v, atol=1e-12)


def test_a_function_that_takes_too_many_products_is_refused():
    H = with_eigenvalues(np.geomspace(1e-6, 1, 80))
    with pytest.raises(RuntimeError, match="after 5 products"):
        function_product(lambda v: H @ v, generic_vector(80, H), lambda x: 1 / x, max_products=5)


def test_spectra_on_different_units_are_stacked():
    s = torch.zeros(2, 4, dtype=torch.float64)
    wheres = [torch.tensor([0, 2, 3]), torch.tensor([1])]
    spectra = [dense_spectrum(with_eigenvalues(range(1, len(w) + 1))) for w in wheres]
    values, vectors, errors = stacked(list(zip(wheres, spectra, strict=True)), s)
    assert values.shape == errors.shape == (2, 3)
    assert values[1].isnan().tolist() == [False, True, True]
    assert (vectors[0, 1] == 0).all()
    assert torch.equal(vectors[1, :, 0].abs(), torch.tensor([0, 1, 0, 0], dtype=torch.float64))


def test_the_ends_of_a_recurrence_are_the_lowest_pairs_and_the_highest():
    H = with_eigenvalues(np.linspace(-1, 3, 40) ** 3)
    for n_products, n_low, n_found in [(1, 3, 1), (2, 3, 2), (3, 3, 3), (12, 3, 4), (12, 1, 2)]:
        lanczos = krylov._Lanczos(lambda v: H @ v, generic_vector(40, H))
        lanczos.extend(0.0, n_products, n_low)
        T = np.diag(lanczos.alpha) + np.diag(lanczos.beta[:-1], 1) + np.diag(lanczos.beta[:-1], -1)
        values, vectors = lanczos.ends(n_low)
        expected = np.linalg.eigvalsh(T)[[*range(n_found - 1), -1]]
        assert values == pytest.approx(expected, abs=1e-12)
        assert np.allclose(T @ vectors, vectors * values, atol=1e-12)


def by_growing_spaces(H, u, function, tol):
    """g(H) u on the first Krylov spaces, by plain Gram-Schmidt; the products until it is still."""
    basis, before = [], None
    for n in range(1, len(u) + 1):
        v = u if n == 1 else H @ basis[-1]
        for q in basis + basis:
            v = v - q * (q @ v)
        basis.append(v / v.norm())
        Q = torch.stack(basis, -1)
        values, vectors = torch.linalg.eigh(Q.mT @ H @ Q)
        found = Q @ (vectors @ (function(values) * (vectors.mT @ (Q.mT @ u))))
        if before is not None and (found - before).norm() <= tol * found.norm():
            return found, n
        before = found
    return found, len(u)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_functions_are_taken_in_the_first_space_that_changes_nothing(tol, scale):
    H, u = (
        with_eigenvalues(np.linspace(0.5, 4, 40)),
        scale * generic_vector(40, torch.zeros(1).double()),
    )
    asked = []
    found = function_product(
        lambda v: asked.append(1) or H @ v, u, lambda x: torch.exp(-x), tol=tol
    )  # fmt: skip
    expected, n = by_growing_spaces(H, u, lambda x: torch.exp(-x), tol)
    assert len(asked) == n and 3 < n < 30
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * scale)


def test_a_space_that_is_complete_ends_the_recurrence():
    """Three eigenvalues, however many units: three products, and a result without error."""
    H = with_eigenvalues([1.0] * 4 + [2.0] * 4 + [5.0] * 4)
    u, asked = generic_vector(12, H), []
    found = function_product(lambda v: asked.append(1) or H @ v, u, lambda x: 1 / x, tol=0.0)
    assert torch.allclose(found, torch.linalg.solve(H, u), atol=1e-13) and len(asked) <= 4
    asked.clear()
    ends = extremal_spectrum(lambda v: asked.append(1) or H @ v, u, 0.0)
    assert ends.eigenvalues[[0, -1]].tolist() == pytest.approx([1, 5]) and len(asked) < 12


@pytest.mark.parametrize(("n_products", "asked"), [(7, 7), (200, 32), (40, 32)])
def test_the_ends_are_judged_after_so_many_products(n_products, asked):
    """At 32, 48, 64, 80, 100, ... where no tolerance is reached before; two more for the pairs."""
    H = with_eigenvalues(np.linspace(-1, 1, 300))
    calls = []
    lanczos = krylov._Lanczos(lambda v: calls.append(1) or H @ v, generic_vector(300, H))
    lanczos.extend(1e3, n_products, 1)
    assert len(calls) == len(lanczos.alpha) == len(lanczos.beta) == min(asked, n_products)
    checked = []
    lanczos = krylov._Lanczos(lambda v: H @ v, generic_vector(300, H))
    ends = lanczos.ends
    lanczos.ends = lambda n: checked.append(len(lanczos.alpha)) or ends(n)
    lanczos.extend(0.0, 170, 2)
    assert checked == [32, 48, 64, 80, 100, 125, 156, 170]


@pytest.mark.parametrize(("n_products", "reads"), [(10, [10]), (20, [16, 20]), (32, [16, 32])])
def test_coefficients_are_read_in_portions_and_at_the_end(n_products, reads, monkeypatch):
    monkeypatch.setattr(krylov, "iterations_between_looks", lambda q: 16)
    H = with_eigenvalues(np.linspace(-1, 1, 60))
    lanczos, seen = krylov._Lanczos(lambda v: H @ v, generic_vector(60, H)), []
    read = lanczos._read
    lanczos._read = lambda unread: (read(unread), seen.append(len(lanczos.alpha)))[0]
    lanczos.extend(0.0, n_products, 1)
    assert seen == reads


def test_residuals_within_the_tolerance_of_the_width_end_the_recurrence():
    H = with_eigenvalues(np.linspace(-1, 3, 300) ** 3)
    lanczos = krylov._Lanczos(lambda v: H @ v, generic_vector(300, H))
    lanczos.extend(1e-5, 1000, 2)
    n = len(lanczos.alpha)
    width = 27 + 1

    def residuals(one):
        pairs = [v / v.norm() for v in one.vectors(2).unbind(-1)]
        return [float((H @ v - v * (v @ H @ v)).norm()) for v in pairs]

    residual = residuals(lanczos)
    assert n < 300 and max(residual) <= 1.1e-5 * width
    early = krylov._Lanczos(lambda v: H @ v, generic_vector(300, H))
    early.extend(1e-5, [k for k in (32, 48, 64, 80, 100, 125, 156, 195, 243) if k < n][-1], 2)
    assert max(residuals(early)) > 1e-5 * width


def test_a_basis_is_kept_while_it_fits(monkeypatch):
    H = with_eigenvalues(range(1, 41))
    for n_bytes, kept in [(40 * 8 * 12, 12), (40 * 8 * 11, 0), (1, 0)]:
        monkeypatch.setattr(krylov, "BASIS_BYTES", n_bytes)
        lanczos = krylov._Lanczos(lambda v: H @ v, generic_vector(40, H))
        assert lanczos.keep == max(2, n_bytes // 320)
        lanczos.extend(0.0, 12, 1)
        assert len(lanczos.basis) == kept
        again = lanczos._again(torch.as_tensor(lanczos.ends(1)[1]))
        torch.testing.assert_close(lanczos.vectors(1), again, rtol=0, atol=1e-12)


def test_copies_are_told_by_their_vectors():
    H = with_eigenvalues([1.0, 2.0, 3.0, 4.0])
    _, v = torch.linalg.eigh(H)
    near = v[:, 0] + 1e-4 * v[:, 2]
    twice = torch.stack([v[:, 0], near / near.norm(), v[:, 3]], -1)
    found = krylov._distinct(lambda u: H @ u, twice)
    assert found.eigenvalues.tolist() == pytest.approx([1, 4], abs=1e-7)
    apart = v[:, 0] + 0.1 * v[:, 2]
    three = torch.stack([v[:, 0], apart / apart.norm(), v[:, 3]], -1)
    assert krylov._distinct(lambda u: H @ u, three).eigenvalues.tolist() == pytest.approx([1, 3, 4])


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("seed", range(5))
def test_the_ends_are_within_the_tolerance_that_is_asked_for(seed, tol):
    """Whatever the spectrum: the recurrence goes on until both ends are."""
    draw = np.random.default_rng(seed)
    H = with_eigenvalues(np.sort(draw.standard_normal(150)) ** (1 + 2 * (seed % 3)), seed)
    found = extremal_spectrum(lambda v: H @ v, generic_vector(150, H), tol)
    width = float(found.eigenvalues[-1] - found.eigenvalues[0])
    assert float(found.residual[[0, -1]].max()) <= tol * width * (1 + 1e-6)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("n_low", [1, 3])
def test_the_recurrence_ends_with_the_first_space_that_holds_the_ends(tol, n_low, monkeypatch):
    """Residuals are the next coefficient times the last entries of the vectors (Paige 1971)."""
    for name, value in (("FIRST_CHECK", 1), ("NEXT_CHECK", 1), ("CHECK_SHARE", 10**6)):
        monkeypatch.setattr(krylov, name, value)
    n = 60
    alpha = np.random.default_rng(0).uniform(-1, 1, n)
    beta = np.where(np.arange(n - 1) % 3 == 0, 0.03, 0.4) * 0.97 ** np.arange(n - 1)
    H = torch.as_tensor(np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1))
    start = torch.eye(n, dtype=torch.float64)[0]  # from there the coefficients are those of H
    found = krylov._Lanczos(lambda v: H @ v, start)
    found.extend(tol, n, n_low)

    def held(k):
        values, vectors = np.linalg.eigh(H[:k, :k].numpy())
        ends = [*range(min(n_low, k - 1)), k - 1]
        width = max(values[-1] - values[0], abs(values[-1]))
        return (beta[k - 1] * np.abs(vectors[-1, ends]) <= tol * width).all()

    assert len(found.alpha) == next(k for k in range(1, n) if held(k))
