r"""Couplings in one matrix, dense: eq. 6 for units that are all coupled to each other."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.arrays import finite_tensor
from ctebm.networks.layout import covering, drop_units, without_layer
from ctebm.networks.pairwise import PairwiseField, PairwiseNetwork, affine

__all__ = [
    "DenseField",
    "DenseNetwork",
    "MatrixField",
    "check_self_coupling",
    "check_square",
    "check_symmetry",
]

SYMMETRIC = 8  # roundings by which weights that were computed both ways may differ


class MatrixField(PairwiseField):
    """Couplings in one matrix; subclasses say how it is read, multiplied and cut.

    Attributes
    ----------
    weight : Tensor
        ``(unit, unit)``.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.SparseNetwork.ring(3, 0.5, ctebm.Tanh())
    >>> net.dense_weight()
    tensor([[0.0000, 0.5000, 0.5000],
            [0.5000, 0.0000, 0.5000],
            [0.5000, 0.5000, 0.0000]], dtype=torch.float64)
    """

    weight: Tensor

    def __init__(
        self,
        weight: Any,
        bias: ArrayLike | Tensor,
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        layers: Mapping[str, slice] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.weight = self._read(weight, dtype)
        n = self.weight.shape[0]
        b = finite_tensor(bias, "the biases", dtype).to(self.weight.device)
        if b.ndim == 0 or b.shape[-1] != n:
            raise ValueError(f"expected {n} biases, one for each unit, got {tuple(b.shape)}.")
        self._set(
            as_activation(activation),
            b,
            covering({"s": slice(0, n)} if layers is None else layers, n),
        )

    @abstractmethod
    def _read(self, weight: Any, dtype: torch.dtype) -> Tensor:
        """Return checked weights."""

    @abstractmethod
    def _without(self, where: slice) -> Tensor:
        """Return the weights between the units that are not in `where`."""

    def _restrict(self, clamped: str, bias: Tensor) -> Self:
        network = copy.copy(self)
        network.weight = self._without(self.layers[clamped])
        network._set(self.activation, bias, without_layer(self.layers, clamped))
        return network


class DenseField(MatrixField):
    """Couplings in a dense matrix.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.AsymmetricNetwork([[0, 1], [-1, 0]], [0, 0], ctebm.HardSigmoid())
    >>> net.coupling(torch.tensor([1.0, 0.5], dtype=torch.float64))
    tensor([ 0.5000, -1.0000], dtype=torch.float64)
    """

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight.mT

    def adjoint_coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight

    def dense_weight(self) -> Tensor:
        return self.weight

    def _without(self, where: slice) -> Tensor:
        return drop_units(drop_units(self.weight, where).mT, where).mT.contiguous()


class DenseNetwork(DenseField, PairwiseNetwork):
    r"""All-to-all couplings of eq. 6.

    Parameters
    ----------
    weight : array, (unit, unit)
        Symmetric, with zero diagonal.
    bias : array, (unit,)
        Biases, or one row a sample.
    activation : Activation or callable
        The firing rate.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, input first; by default one layer ``"s"``.
    dtype : torch.dtype
        Of the parameters, whatever that of the arrays: float32 weights become float64 unless this
        is ``torch.float32``.

    Raises
    ------
    ValueError
        If the weights are not square, finite and symmetric with a zero diagonal.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [-0.3, -0.1], ctebm.HardSigmoid())
    >>> ctebm.settle(net).state  # between the kinks s = b + W (s + 1/2)
    tensor([0.0333, 0.1667], dtype=torch.float64)
    """

    @classmethod
    def hebbian(
        cls,
        patterns: ArrayLike | Tensor,
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Return the classical memory (Hopfield 1982) of patterns of signs, by Hebb's rule.

        .. math:: W_{ij} = \tfrac{1}{N} \sum_\mu x_{\mu i}\, x_{\mu j} \quad (i \ne j)

        between signs; rates in [0, 1] are half as far apart, and take twice the weights. Biases are
        centred, so that a pattern and its opposite are stored alike.

        Parameters
        ----------
        patterns : array, (pattern, unit)
            Signs, -1 and 1.
        activation : Activation or callable
            The firing rate; its ``rates`` tell whether signs are meant, (-1, 1), or [0, 1].
        dtype : torch.dtype
            Of the parameters.

        Returns
        -------
        DenseNetwork
            Its state is near a pattern where it has the pattern's signs. The motion of 1984,
            :class:`~ctebm.HopfieldNetwork`, keeps them at any gain above 1.

        Raises
        ------
        ValueError
            For patterns that are not rows of signs.
        """
        X = finite_tensor(patterns, "the patterns", dtype)
        if X.ndim != 2 or not X.numel() or not bool((X.abs() == 1).all()):
            raise ValueError(
                f"expected patterns as rows of -1 and 1, (pattern, unit), got shape "
                f"{tuple(X.shape)}; take the signs of other numbers."
            )
        rho = as_activation(activation)
        far = 1.0 if rho.rates[0] < 0 else 2.0  # weights between rates, for those between signs
        W = far * X.mT @ X / X.shape[-1]
        return cls(W.fill_diagonal_(0), X.new_zeros(len(W)), rho, dtype=dtype).centred()

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight

    def _current(self, r: Tensor) -> Tensor:
        return affine(self.bias, r, self.weight)

    def _read(self, weight: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
        tensor = finite_tensor(weight, "the weights", dtype)
        check_self_coupling(tensor)
        check_symmetry(tensor)
        return tensor


def check_square(weight: Tensor) -> None:
    """Refuse weights that are not a square matrix.

    Raises
    ------
    ValueError
        With the shape.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.dense import check_square
    >>> check_square(torch.ones(2, 2))
    """
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"expected a square weight matrix, got shape {tuple(weight.shape)}.")


def check_self_coupling(weight: Tensor) -> None:
    """Refuse weights that are not a square matrix with a zero diagonal.

    Raises
    ------
    ValueError
        With what is wrong and the remedy.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.dense import check_self_coupling
    >>> check_self_coupling(torch.zeros(2, 2))
    """
    check_square(weight)
    if weight.diagonal().any():
        raise ValueError(
            "expected no self-coupling, got a non-zero diagonal; the energy sums over i != j only "
            "(eq. 6), so set the diagonal to 0."
        )


def check_symmetry(weight: Tensor) -> None:
    """Refuse weights that differ from their transpose by more than rounding.

    Raises
    ------
    ValueError
        With the largest difference and the remedy.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.dense import check_symmetry
    >>> check_symmetry(torch.ones(2, 2))
    """
    asymmetry = float((weight - weight.mT).detach().abs().max()) if weight.numel() else 0.0
    if asymmetry > SYMMETRIC * torch.finfo(weight.dtype).eps * float(weight.detach().abs().max()):
        raise ValueError(
            f"expected symmetric weights, got max |W - W'| = {asymmetry:.3g}; no energy has "
            "asymmetric couplings as its force: eq. 6 would see (W + W')/2; pass that, or use "
            "AsymmetricNetwork."
        )
