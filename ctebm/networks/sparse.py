r"""Networks with few couplings a unit: rings, lattices, random graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import check_float
from ctebm.networks.dense import SYMMETRIC, MatrixField
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["SparseNetwork"]

_RING_BYTES = 256  # a unit, while its weights are laid out


class SparseNetwork(MatrixField, PairwiseNetwork):
    r"""Sparse couplings of eq. 6, up to some 10^5 units and more.

    Forces and Hessian products are closed forms; ``torch.func`` cannot trace torch's sparse
    products, ``torch.autograd`` can.

    Parameters
    ----------
    weight : torch sparse tensor or scipy.sparse array, (unit, unit)
        Symmetric, with zero diagonal. It is kept as ``torch.sparse_csr``.
    bias, activation, layers, dtype
        As in :class:`~ctebm.DenseNetwork`.

    Raises
    ------
    ValueError
        If the weights are not square, real, finite and symmetric with a zero diagonal, or require
        gradients, which do not reach sparse weights.

    Examples
    --------
    >>> import scipy.sparse, ctebm
    >>> W = scipy.sparse.diags_array([[0.3] * 99_999] * 2, offsets=[-1, 1])
    >>> chain = ctebm.SparseNetwork(W, [0.0] * 100_000, ctebm.Tanh()).centred()
    >>> ctebm.settle(chain).state.abs().max()
    tensor(0., dtype=torch.float64)
    """

    @classmethod
    def ring(
        cls,
        n_units: int,
        weight: float,
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        bias: float | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Return units on a ring, coupled to their two neighbours.

        Parameters
        ----------
        n_units : int
            Three or more.
        weight : float
            Of each coupling.
        activation : Activation or callable
            The firing rate.
        bias : float, optional
            Of each unit; by default centred, so that the state 0 is a fixed point.
        dtype : torch.dtype
            Of the parameters.

        Returns
        -------
        SparseNetwork
            In one layer ``"s"``.

        Raises
        ------
        ValueError
            For less than three units, a weight that is not finite, or units that do not fit the
            free memory.
        """
        n_units = whole("n_units", n_units, least=3, remedy="two units are a pair, no ring")
        what = f"a ring of {n_units:,} units"
        check_memory(what, _RING_BYTES * n_units, "use fewer units, or give few weights yourself")
        i = np.arange(n_units)
        rows, columns = np.r_[i, i], np.r_[(i + 1) % n_units, (i - 1) % n_units]
        weights = np.full(2 * n_units, finite("weight", weight))
        W = scipy.sparse.csr_array((weights, (rows, columns)), shape=(n_units, n_units))
        b = finite("bias", 0.0 if bias is None else bias)
        network = cls(W, np.full(n_units, b), activation, dtype=dtype)
        return network.centred() if bias is None else network

    def coupling(self, r: Tensor) -> Tensor:
        if r.ndim == 1:
            return self.weight @ r
        return (self.weight @ r.flatten(end_dim=-2).mT).mT.reshape(r.shape)

    def dense_weight(self) -> Tensor:
        n = self.weight.shape[0]
        n_bytes = self.dtype.itemsize * n * n
        remedy = "use hessian_product, or linearize(network, s)"
        check_memory(f"the matrix of {n:,} units", n_bytes, remedy)
        return self.weight.to_dense()

    def sparse_hessian(self, s: Tensor) -> Any:
        """Return the Hessian at one state ``(unit,)`` as a scipy sparse array."""
        slope, diagonal = (x.detach().cpu().numpy() for x in self._slope_and_diagonal(s))
        around = scipy.sparse.diags_array(slope)
        return scipy.sparse.diags_array(diagonal) - around @ _scipy(self.weight) @ around

    def _read(self, weight: Any, dtype: torch.dtype) -> Tensor:
        matrix = _scipy(weight)
        _check_couplings(matrix, check_float(dtype))
        return _torch(matrix, dtype, getattr(weight, "device", None))

    def _without(self, where: slice) -> Tensor:
        kept = np.delete(np.arange(self.weight.shape[0]), where)
        return _torch(_scipy(self.weight)[kept][:, kept], self.dtype, self.device)


def _scipy(weight: Any) -> Any:
    """Return a copy of a torch or scipy sparse matrix as a scipy CSR array."""
    if isinstance(weight, Tensor):
        if weight.layout == torch.strided:
            raise ValueError(
                "expected a sparse matrix of weights, got a dense one; use DenseNetwork."
            )
        if weight.requires_grad:
            raise ValueError(
                "expected weights that require no gradients, which do not reach sparse weights; "
                "use DenseNetwork, or weight.detach()."
            )
        with warnings.catch_warnings():  # torch calls its CSR layout a beta
            warnings.simplefilter("ignore")
            weight = weight.to_sparse_csr().cpu()
        parts = (weight.values(), weight.col_indices(), weight.crow_indices())
        return scipy.sparse.csr_array(
            tuple(p.numpy() for p in parts), shape=tuple(weight.shape), copy=True
        )
    if not scipy.sparse.issparse(weight):
        raise ValueError(
            f"expected a torch or scipy sparse matrix, got {type(weight).__name__}; "
            "for a dense matrix use DenseNetwork."
        )
    return scipy.sparse.csr_array(weight, copy=True)


def _torch(matrix: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    matrix.sum_duplicates()
    index = torch.int64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            torch.as_tensor(matrix.indptr, dtype=index),
            torch.as_tensor(matrix.indices, dtype=index),
            torch.as_tensor(matrix.data, dtype=dtype),
            size=matrix.shape,
            device=device,
        )


def _check_couplings(W: Any, dtype: torch.dtype) -> None:
    if W.shape[0] != W.shape[1]:
        raise ValueError(f"expected a square weight matrix, got shape {W.shape}.")
    if np.iscomplexobj(W.data):
        raise ValueError("expected real numbers, got complex ones; give their real part.")
    if not np.isfinite(W.data).all():
        raise ValueError("expected finite numbers in the weights, got NaN or infinity.")
    if W.diagonal().any():
        raise ValueError(
            "expected no self-coupling, got a non-zero diagonal; the energy sums over i != j only "
            "(eq. 6), so set the diagonal to 0."
        )
    asymmetry = abs(W - W.T).max() if W.nnz else 0.0
    if asymmetry > SYMMETRIC * torch.finfo(dtype).eps * abs(W).max():
        raise ValueError(
            f"expected symmetric weights, got max |W - W'| = {asymmetry:.3g}; eq. 6 would see "
            "(W + W')/2, pass that if meant."
        )
