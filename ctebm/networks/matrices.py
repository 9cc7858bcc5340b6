"""Jacobians and Hessians from their products with vectors, many unit vectors at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.networks.memory_limits import check_matrices

__all__ = ["columns"]

# Numbers in the vectors that are multiplied together; an energy holds some tens of times as many
# on the way.
_PORTION = 2**20


def columns(product: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    """Return a matrix ``(*batch, unit, unit)`` from its products with unit vectors.

    The product is mapped over them (:func:`torch.func.vmap`), as many at a time as fit little
    memory; operations that can't be mapped are called once for each.

    Parameters
    ----------
    product : callable
        Takes a vector ``(*batch, unit)``, returns its product with the matrix.
    s : Tensor, (*batch, unit)
        The states, one for each matrix.

    Raises
    ------
    ValueError
        If the matrices do not fit the free memory.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.matrices import columns
    >>> M = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> columns(lambda v: v @ M.mT, torch.zeros(2))
    tensor([[1., 2.],
            [3., 4.]])
    """
    if s.numel() == 0:
        return s.new_zeros(*s.shape, s.shape[-1])
    check_matrices(s)
    basis = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)

    def column(e: Tensor) -> Tensor:
        return product(e.expand_as(s))

    portion = max(1, _PORTION // s.numel())
    try:
        with warnings.catch_warnings():  # that an operation is mapped one vector at a time
            warnings.simplefilter("ignore")
            matrix = torch.func.vmap(column, out_dims=-1, chunk_size=portion)(basis)
    except (RuntimeError, ValueError):  # some operations, and decisions on values, can't be mapped
        matrix = torch.stack([column(e) for e in basis], dim=-1)
    return matrix
