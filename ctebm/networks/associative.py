r"""Associative memories whose energy has a valley for each stored pattern.

Modern Hopfield networks (Ramsauer et al. 2020) and dense memories of polynomial order (Krotov &
Hopfield 2016); the classical one is :meth:`ctebm.DenseNetwork.hebbian`. Settling is retrieval.

Letters: patterns ``X``, ``(pattern, unit)``, state ``s``, rate ``r``, overlap ``m``, weight ``p``
of each pattern.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.arrays import finite_tensor
from ctebm.networks.energy import Network
from ctebm.networks.memory import check_matrices
from ctebm.networks.numbers import finite, whole
from ctebm.networks.rates import SignedTanh

__all__ = ["AssociativeMemory", "PolynomialMemory"]


class AssociativeMemory(Network):
    r"""The modern Hopfield network (Ramsauer et al. 2020), whose pressure is attention.

    .. math:: E(s) = \tfrac12 |s|^2 - \tfrac1\beta \log \sum_\mu e^{\beta\,x_\mu \cdot s}, \qquad
        R(s) = X' \mathrm{softmax}(\beta X s)

    One Picard step :math:`s \leftarrow R(s)` is attention with the state as the query and the
    patterns as keys and values. A small :math:`\beta` averages over patterns, a large one tells
    them apart.

    Parameters
    ----------
    patterns : array, (pattern, unit)
        What is stored, any real numbers.
    beta : float
        The inverse temperature :math:`\beta > 0`.
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, such as a key and what is to be recalled with it.
    dtype : torch.dtype
        Of the patterns.

    Attributes
    ----------
    patterns : Tensor
        ``(pattern, unit)``.
    beta : float
        The inverse temperature.

    Raises
    ------
    ValueError
        For patterns that are no finite matrix, or a beta that is not positive.

    Examples
    --------
    >>> import ctebm
    >>> memory = ctebm.AssociativeMemory([[1, 1, -1, -1], [1, -1, 1, -1]], beta=4.0)
    >>> points = ctebm.settle(memory, [1.0, 0.8, -0.1, -0.4])
    >>> points.state.round(decimals=2), memory.recalled(points.state)
    (tensor([ 1.,  1., -1., -1.], dtype=torch.float64), tensor(0))
    """

    patterns: Tensor
    beta: float
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        patterns: ArrayLike | Tensor,
        beta: float,
        *,
        layers: Mapping[str, slice] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.patterns = _patterns(patterns, dtype)
        self.beta = finite("beta", beta, above=0)
        n = self.patterns.shape[-1]
        super().__init__(n, {"s": slice(0, n)} if layers is None else layers)
        self.dtype, self.device = dtype, self.patterns.device

    def weights_of_patterns(self, s: Tensor) -> Tensor:
        r"""Return :math:`p = \mathrm{softmax}(\beta X s)`, ``(*batch, pattern)``."""
        return torch.softmax(self.beta * (self.as_state(s) @ self.patterns.mT), -1)

    def recalled(self, s: Tensor) -> Tensor:
        """Return the number of the pattern that each state is nearest to, ``(*batch)``."""
        return _nearest(self.patterns, self.as_state(s))

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        z = torch.logsumexp(self.beta * (s @ self.patterns.mT), -1)
        return s.square().sum(-1) / 2 - z / self.beta

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.weights_of_patterns(s) @ self.patterns - s

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        p = self.weights_of_patterns(s)

        def multiply(v: Tensor) -> Tensor:
            v = self.as_state(v)
            u = v @ self.patterns.mT
            spread = p * (u - (p * u).sum(-1, keepdim=True))
            return v - self.beta * spread @ self.patterns

        return multiply

    def hessian(self, s: Tensor) -> Tensor:
        p = self.weights_of_patterns(s)
        check_matrices(self.as_state(s))
        X, mean = self.patterns, p @ self.patterns
        second = torch.einsum("...m,mi,mj->...ij", p, X, X)
        covariance = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        return torch.eye(X.shape[-1], dtype=X.dtype, device=X.device) - self.beta * covariance


class PolynomialMemory(Network):
    r"""A dense associative memory of polynomial order (Krotov & Hopfield 2016), with rates.

    .. math:: E(s) = \tfrac12 |s|^2 - \tfrac{N}{n} \sum_\mu m_\mu^n, \qquad
        m_\mu = \tfrac1N\, x_\mu \cdot \rho(s)

    The paper's spins are the limit of a steep rate. Order 2 is the classical memory, with
    self-coupling. Odd orders store of the order of :math:`N^{n-1}` patterns. Of even orders from 4
    on each pattern adds a self-coupling, by which units hold wrong signs as well as right ones:
    they correct a share `f` of wrong signs for up to :math:`(1 - 2f)^{n-1} N^{n/2} / (n-1)!!`
    patterns.

    Parameters
    ----------
    patterns : array, (pattern, unit)
        What is stored, signs as a rule.
    order : int
        The power `n`, 2 or more.
    activation : Activation or callable
        The rate, by default :math:`\tanh 4s`.
    dtype : torch.dtype
        Of the patterns.

    Raises
    ------
    ValueError
        For patterns that are no finite matrix, or an order below 2.

    Examples
    --------
    >>> import ctebm
    >>> memory = ctebm.PolynomialMemory([[1, 1, -1, -1], [1, -1, 1, -1]], order=3)
    >>> memory.recalled(ctebm.settle(memory, [0.4, 0.5, -0.1, -0.4]).state)
    tensor(0)
    """

    patterns: Tensor
    order: int
    activation: Activation
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        patterns: ArrayLike | Tensor,
        order: int,
        activation: Activation | Callable[[Tensor], Tensor] = SignedTanh(4.0),  # noqa: B008
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.patterns = _patterns(patterns, dtype)
        self.order = whole("order", order, least=2)
        self.activation = as_activation(activation)
        n = self.patterns.shape[-1]
        super().__init__(n, {"s": slice(0, n)})
        self.dtype, self.device = dtype, self.patterns.device

    def overlaps(self, s: Tensor) -> Tensor:
        r"""Return :math:`m_\mu = x_\mu \cdot \rho(s) / N`, ``(*batch, pattern)``."""
        return self.activation(self.as_state(s)) @ self.patterns.mT / self.patterns.shape[-1]

    def recalled(self, s: Tensor) -> Tensor:
        """Return the number of the pattern that each state's rates are nearest to, ``(*batch)``."""
        return _nearest(self.patterns, self.activation(self.as_state(s)))

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        m = self.overlaps(s)
        return s.square().sum(-1) / 2 - s.shape[-1] / self.order * (m**self.order).sum(-1)

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.activation.derivative(s) * self._current(self.overlaps(s)) - s

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self.as_state(s)
        m, slope = self.overlaps(s), self.activation.derivative(s)
        own = 1 - self.activation.second_derivative(s) * self._current(m)
        stiff = (self.order - 1) / s.shape[-1] * m ** (self.order - 2)

        def multiply(v: Tensor) -> Tensor:
            v = self.as_state(v)
            return own * v - slope * ((stiff * ((slope * v) @ self.patterns.mT)) @ self.patterns)

        return multiply

    def _current(self, m: Tensor) -> Tensor:
        return m ** (self.order - 1) @ self.patterns


def _patterns(patterns: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    X = finite_tensor(patterns, "the patterns", dtype)
    if X.ndim != 2 or not math.prod(X.shape):
        raise ValueError(
            f"expected patterns as rows, (pattern, unit), got shape {tuple(X.shape)}; give one row "
            "for each pattern."
        )
    return X


def _nearest(patterns: Tensor, s: Tensor) -> Tensor:
    """Return which pattern is nearest to each state, ``(*batch)``."""
    distance = patterns.square().sum(-1) / 2 - s @ patterns.mT
    return distance.argmin(-1)
