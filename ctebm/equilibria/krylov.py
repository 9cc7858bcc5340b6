r"""Eigenvalues of symmetric curvatures: all of them, or both ends without the matrix.

A spectrum carries the residual :math:`|Hv - \lambda v|` of each pair, computed after the fact: some
eigenvalue lies that close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

__all__ = [
    "Spectrum",
    "dense_spectrum",
    "extremal_spectrum",
    "function_product",
    "generic_vector",
    "stacked",
]

Product = Callable[[Tensor], Tensor]

# Bytes that Lanczos may fill with its basis; beyond, the basis is made a second time instead.
_BASIS_BYTES = 3 * 10**8


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs in ascending order.

    Attributes
    ----------
    eigenvalues : Tensor
        ``(mode,)``.
    eigenvectors : Tensor
        Columns, ``(unit, mode)``.
    residual : Tensor
        ``|H v - lambda v|`` of each pair, ``(mode,)``.
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    residual: Tensor


def dense_spectrum(H: Tensor) -> Spectrum:
    """Return all eigenpairs of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(H)
    return Spectrum(values, vectors, (H @ vectors - vectors * values).norm(dim=0))


def extremal_spectrum(
    product: Product, start: Tensor, tol: float, max_products: int = 20_000, n_low: int = 1
) -> Spectrum:
    r"""Return the lowest pairs and the highest pair by Lanczos' recurrence.

    Three vectors are kept; without reorthogonalisation the ends of the spectrum stay exact to
    rounding (Paige 1980), only copies of converged values appear, which are told apart here by
    their vectors. Of a multiple eigenvalue one copy is found.

    Parameters
    ----------
    product : callable
        ``v -> H v`` for ``v`` of shape ``(unit,)``.
    start : Tensor
        A generic first vector, ``(unit,)``.
    tol : float
        Bound on the residuals, relative to the width of the spectrum.
    max_products : int
        Where to stop if `tol` is not reached; the residuals say how far it came.
    n_low : int
        How many of the lowest to look for.
    """
    keep = max(2, _BASIS_BYTES // (start.numel() * start.element_size()))
    alpha, beta, basis = _recurrence(product, start, tol, max_products, n_low, keep)
    _, ritz = _ends(alpha, beta[:-1], n_low)
    weights = torch.as_tensor(ritz, dtype=start.dtype, device=start.device)
    if len(basis) == len(alpha):
        vectors = torch.stack([_combined(basis, w) for w in weights.mT.tolist()], -1)
    else:
        vectors = _repeat(product, start, alpha, beta, weights)
    return _distinct(product, vectors)


def generic_vector(n: int, like: Tensor) -> Tensor:
    """Return a fixed vector ``(n,)`` without a preferred direction, for Lanczos to begin with."""
    return torch.as_tensor(
        np.random.default_rng(0).standard_normal(n), dtype=like.dtype, device=like.device
    )


def _recurrence(
    product: Product, start: Tensor, tol: float, max_products: int, n_low: int, keep: int
) -> tuple[list[float], list[float], list[Tensor]]:
    """Return the tridiagonal matrix, and the basis while it has at most `keep` vectors."""
    q, previous, b = start / start.norm(), torch.zeros_like(start), 0.0
    alpha: list[float] = []
    beta: list[float] = []
    basis: list[Tensor] = []
    check = 32
    while True:
        if len(alpha) < keep:
            basis.append(q)
        else:
            basis.clear()
        w = product(q)
        a = float(w @ q)
        w = w.sub_(q, alpha=a).sub_(previous, alpha=b) if w is not q else w - a * q - b * previous
        b = float(w.norm())
        alpha.append(a)
        beta.append(b)
        scale = max(map(abs, (*alpha[-8:], 1e-300)))
        done = b <= 1e-14 * scale or len(alpha) == max_products
        if len(alpha) == check or done:
            check += max(16, check // 4)
            values, ritz = _ends(alpha, beta[:-1], n_low)
            width = max(values[-1] - values[0], abs(values[-1]))
            if done or (b * np.abs(ritz[-1]) <= tol * width).all():
                return alpha, beta, basis
        previous, q = q, w / b


def _ends(alpha: list[float], beta: list[float], n_low: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest `n_low` pairs and the highest pair of the tridiagonal matrix."""
    n = len(alpha)
    if n == 1:
        return np.array(alpha), np.ones((1, 1))
    ends = [(0, min(n_low, n - 1) - 1), (n - 1, n - 1)]
    pairs = [scipy.linalg.eigh_tridiagonal(alpha, beta, select="i", select_range=e) for e in ends]
    values, vectors = zip(*pairs, strict=True)
    return np.concatenate(values), np.concatenate(vectors, axis=1)


def _combined(basis: list[Tensor], weights: list[float]) -> Tensor:
    total = torch.zeros_like(basis[0])
    for q, weight in zip(basis, weights, strict=True):
        total.add_(q, alpha=weight)
    return total


def _repeat(
    product: Product, start: Tensor, alpha: list[float], beta: list[float], weights: Tensor
) -> Tensor:
    """Run the recurrence again, now adding up the Ritz vectors."""
    q, previous, b = start / start.norm(), torch.zeros_like(start), 0.0
    vectors = [torch.zeros_like(start) for _ in range(weights.shape[1])]
    for a, b_next, row in zip(alpha, beta, weights.tolist(), strict=True):
        for vector, weight in zip(vectors, row, strict=True):
            vector.add_(q, alpha=weight)
        w = product(q) - a * q - b * previous
        previous, q, b = q, w / b_next, b_next
    return torch.stack(vectors, -1)


def _distinct(product: Product, vectors: Tensor) -> Spectrum:
    """Return Rayleigh-Ritz pairs on the span of the vectors, copies removed."""
    overlap = vectors.mT @ vectors
    size, turn = torch.linalg.eigh(overlap)
    lasting = size > 1e-6 * size[-1]
    basis = vectors @ (turn[:, lasting] / size[lasting].sqrt())
    image = torch.stack([product(v) for v in basis.unbind(-1)], -1)
    values, turn = torch.linalg.eigh(basis.mT @ image)
    vectors = basis @ turn
    return Spectrum(values, vectors, (image @ turn - vectors * values).norm(dim=0))


def stacked(spectra: list[tuple[Tensor, Spectrum]], s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return spectra on some units of states ``(sample, unit)`` as three tensors.

    Eigenvalues and residuals ``(sample, mode)``, with NaN behind where there are fewer; vectors
    ``(sample, unit, mode)``, zero on the other units and behind.
    """
    modes = max((len(found.eigenvalues) for _, found in spectra), default=0)
    values = s.new_full((len(spectra), modes), torch.nan)
    errors = values.clone()
    vectors = s.new_zeros(len(spectra), s.shape[-1], modes)
    for i, (where, found) in enumerate(spectra):
        m = len(found.eigenvalues)
        values[i, :m], errors[i, :m] = found.eigenvalues, found.residual
        vectors[i, where, :m] = found.eigenvectors
    return values, vectors, errors


def function_product(
    product: Product,
    u: Tensor,
    function: Callable[[Tensor], Tensor],
    tol: float = 1e-10,
    max_products: int = 400,
) -> Tensor:
    r"""Return :math:`g(H)\,u` of a function of a symmetric matrix, by Lanczos.

    :math:`|u|\, V g(T) e_1` on the Krylov space, grown until its change is below `tol` relative
    to the result.

    Raises
    ------
    RuntimeError
        If `tol` is not reached within `max_products`.
    """
    size = float(u.norm())
    if size == 0:
        return torch.zeros_like(u)
    basis, alpha, beta = [u / size], [], []
    previous = u.new_zeros(0)
    while True:
        w = product(basis[-1])
        alpha.append(float(w @ basis[-1]))
        V = torch.stack(basis)
        for _ in range(2):  # full reorthogonalisation, twice is enough
            w = w - V.mT @ (V @ w)
        beta.append(float(w.norm()))
        values, turn = scipy.linalg.eigh_tridiagonal(alpha, beta[:-1])
        g = function(torch.as_tensor(values, dtype=u.dtype, device=u.device))
        turn = torch.as_tensor(turn, dtype=u.dtype, device=u.device)
        y = turn @ (g * turn[0])
        change = y - torch.nn.functional.pad(previous, (0, len(y) - len(previous)))
        if float(change.norm()) <= tol * float(y.norm()) or beta[-1] < 1e-14 * abs(alpha[-1]):
            return size * (y @ V)
        if len(alpha) == max_products:
            raise RuntimeError(
                f"the response has not settled to {tol:g} after {max_products} products; "
                "the point is nearly degenerate."
            )
        previous = y
        basis.append(w / beta[-1])


def conjugate_gradients(product: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Solve ``product(x) = right`` row by row to rounding; NaN in rows with curvature <= 0."""
    tiny = torch.finfo(right.dtype)
    x, r, p = torch.zeros_like(right), right.clone(), right.clone()
    rr = r.square().sum(-1, keepdim=True)
    goal = rr * (4 * tiny.eps) ** 2
    definite = torch.ones_like(rr, dtype=torch.bool)
    running = rr > 0
    for _ in range(10 * right.shape[-1]):
        if not bool(running.any()):
            break
        q = product(p)
        curvature = (p * q).sum(-1, keepdim=True)
        definite &= ~running | (curvature > 0)
        running &= curvature > 0
        alpha = torch.where(running, rr / curvature, 0.0)
        x, r = x + alpha * p, r - alpha * q
        rr_new = r.square().sum(-1, keepdim=True)
        p = torch.where(running, r + rr_new / rr * p, p)
        rr = torch.where(running, rr_new, rr)
        running = running & (rr > goal)
    return torch.where(definite, x, torch.nan)
