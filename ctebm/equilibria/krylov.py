r"""Krylov methods for symmetric matrices known by their products.

Both ends of the spectrum, functions of the matrix, and linear systems. A spectrum carries the
residual :math:`|Hv - \lambda v|` of each pair, computed after the fact: some eigenvalue lies that
close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

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
    "iterations_between_looks",
    "stacked",
]

Product = Callable[[Tensor], Tensor]

# Bytes that Lanczos may fill with its basis; beyond, the basis is made a second time instead.
BASIS_BYTES = 3 * 10**8
# A next vector this short, relative to the matrix, is rounding: the Krylov space is complete.
EXHAUSTED = 1e-14
# Keeps divisions by numbers that have underflowed finite.
TINY = 1e-300
# The ends are judged after so many products, then after so many more or this share more.
FIRST_CHECK, NEXT_CHECK, CHECK_SHARE = 32, 16, 4
# A GPU has to stop for the host to look at a number; so the host looks after so many iterations.
LOOK = 16
# Of vectors of unit length that are copies of each other, the overlaps have eigenvalues this small.
COPY = 1e-6


@dataclass(frozen=True, eq=False)
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

    Without reorthogonalisation the ends of the spectrum stay exact to rounding (Paige 1980); only
    copies of converged values appear, which are told apart here by their vectors. Of a multiple
    eigenvalue one copy is found.

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
    lanczos = _Lanczos(product, start)
    lanczos.extend(tol, max_products, n_low)
    return _distinct(product, lanczos.vectors(n_low))


def generic_vector(n: int, like: Tensor) -> Tensor:
    """Return a fixed vector ``(n,)`` without a preferred direction, for Lanczos to begin with.

    It is kept, and not to be changed.
    """
    return _generic(n, like.dtype, like.device)


@lru_cache(maxsize=4)
def _generic(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(n)).to(device, dtype)


def iterations_between_looks(like: Tensor) -> int:
    """Return after how many iterations to see whether an iteration on such tensors has ended.

    Examples
    --------
    >>> import torch
    >>> from ctebm.equilibria.krylov import iterations_between_looks
    >>> iterations_between_looks(torch.zeros(3))
    1
    """
    return LOOK if like.is_cuda else 1


class _Lanczos:
    r"""Lanczos' recurrence :math:`H q_k = \beta_{k-1} q_{k-1} + \alpha_k q_k + \beta_k q_{k+1}`.

    The vectors are kept only while they fit the memory set aside for them.
    """

    def __init__(self, product: Product, start: Tensor) -> None:
        self.product, self.start = product, start
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self.basis: list[Tensor] = []
        self.keep = max(2, BASIS_BYTES // (start.numel() * start.element_size()))

    def extend(self, tol: float, max_products: int, n_low: int) -> None:
        """Go on until the residuals of both ends are within `tol` of the spectrum's width."""
        q, previous = self.start / self.start.norm(), torch.zeros_like(self.start)
        b, check, look = q.new_zeros(()), FIRST_CHECK, iterations_between_looks(q)
        unread: list[Tensor] = []
        for k in range(1, max_products + 1):
            self._remember(q, k)
            w = self.product(q)
            a = w @ q
            w = w.clone() if w is q else w  # the product of the identity
            w = w.addcmul_(q, a, value=-1).addcmul_(previous, b, value=-1)
            b = w.norm()
            unread += [a, b]
            if k % look == 0 or k == max_products:
                complete = self._read(unread)
                done = complete or k == max_products
                if k >= check or done:
                    check += max(NEXT_CHECK, check // CHECK_SHARE)
                    values, ritz = self.ends(n_low)
                    width = max(values[-1] - values[0], abs(values[-1]))
                    if done or (self.beta[-1] * np.abs(ritz[-1]) <= tol * width).all():
                        return
            previous, q = q, w / b

    def _read(self, unread: list[Tensor]) -> bool:
        """Note the coefficients up to where the Krylov space is complete; return whether it is."""
        numbers = iter(torch.stack(unread).tolist())
        unread.clear()
        for a, b in zip(numbers, numbers, strict=True):
            self.alpha.append(a)
            self.beta.append(b)
            if b <= EXHAUSTED * max(map(abs, (*self.alpha[-8:], TINY))):
                return True
        return False

    def ends(self, n_low: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest `n_low` pairs and the highest pair of the tridiagonal matrix."""
        n, beta = len(self.alpha), self.beta[:-1]
        if n == 1:
            return np.array(self.alpha), np.ones((1, 1))
        ends = [(0, min(n_low, n - 1) - 1), (n - 1, n - 1)]
        pairs = [scipy.linalg.eigh_tridiagonal(self.alpha, beta, select="i", select_range=e)
                 for e in ends]  # fmt: skip
        values, vectors = zip(*pairs, strict=True)
        return np.concatenate(values), np.concatenate(vectors, axis=1)

    def vectors(self, n_low: int) -> Tensor:
        """Return the Ritz vectors of the ends, ``(unit, pair)``."""
        weights = torch.as_tensor(self.ends(n_low)[1], device=self.start.device).to(self.start)
        if len(self.basis) < len(self.alpha):
            return self._again(weights)
        basis = self.basis[: len(self.alpha)]
        return torch.stack([_combined(basis, w) for w in weights.mT.tolist()], -1)

    def _remember(self, q: Tensor, k: int) -> None:
        if k <= self.keep:
            self.basis.append(q)
        else:
            self.basis.clear()

    def _again(self, weights: Tensor) -> Tensor:
        """Run the recurrence again, now adding up the Ritz vectors."""
        q, previous, b = self.start / self.start.norm(), torch.zeros_like(self.start), 0.0
        vectors = [torch.zeros_like(q) for _ in range(weights.shape[1])]
        for a, b_next, row in zip(self.alpha, self.beta, weights.tolist(), strict=True):
            for vector, weight in zip(vectors, row, strict=True):
                vector.add_(q, alpha=weight)
            w = self.product(q) - a * q - b * previous
            previous, q, b = q, w / b_next, b_next
        return torch.stack(vectors, -1)


def _combined(basis: list[Tensor], weights: list[float]) -> Tensor:
    """Return the sum of vectors with weights."""
    total = torch.zeros_like(basis[0])
    for q, weight in zip(basis, weights, strict=True):
        total.add_(q, alpha=weight)
    return total


def _distinct(product: Product, vectors: Tensor) -> Spectrum:
    """Return Rayleigh-Ritz pairs on the span of the vectors, copies removed."""
    overlap = vectors.mT @ vectors
    size, rotation = torch.linalg.eigh(overlap)
    distinct = size > COPY * size[-1]
    basis = vectors @ (rotation[:, distinct] / size[distinct].sqrt())
    image = torch.stack([product(v) for v in basis.unbind(-1)], -1)
    values, rotation = torch.linalg.eigh(basis.mT @ image)
    vectors = basis @ rotation
    return Spectrum(values, vectors, (image @ rotation - vectors * values).norm(dim=0))


def stacked(spectra: list[tuple[Tensor, Spectrum]], s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return spectra, real or complex, on some units of states ``(sample, unit)`` as three tensors.

    Eigenvalues and residuals ``(sample, mode)``, with NaN behind where there are fewer; vectors
    ``(sample, unit, mode)``, zero on the other units and behind.
    """
    modes, first = max(len(found.eigenvalues) for _, found in spectra), spectra[0][1]
    values = first.eigenvalues.new_full((len(spectra), modes), torch.nan)
    errors = first.residual.new_full((len(spectra), modes), torch.nan)
    vectors = first.eigenvectors.new_zeros(len(spectra), s.shape[-1], modes)
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
        values, rotation = scipy.linalg.eigh_tridiagonal(alpha, beta[:-1])
        g = function(torch.as_tensor(values, dtype=u.dtype, device=u.device))
        rotation = torch.as_tensor(rotation, dtype=u.dtype, device=u.device)
        y = rotation @ (g * rotation[0])
        exhausted = beta[-1] < EXHAUSTED * abs(alpha[-1])
        change = y - torch.nn.functional.pad(previous, (0, len(y) - len(previous)))
        if float(change.norm()) <= tol * float(y.norm()) or exhausted:
            return size * (y @ V)
        if len(alpha) == max_products:
            raise RuntimeError(
                f"the response has not converged to {tol:g} after {max_products} products; "
                "the point is nearly degenerate."
            )
        previous = y
        basis.append(w / beta[-1])
