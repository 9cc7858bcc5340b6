r"""Dense associative memories of polynomial order (Krotov & Hopfield 2016).

Letters: patterns ``X``, ``(pattern, unit)``, state ``s``, overlap ``m`` of each pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.numbers import whole
from ctebm.networks.rates import SignedTanh
from ctebm.networks.stored_patterns import StoredPatterns

__all__ = ["PolynomialMemory"]


class PolynomialMemory(StoredPatterns):
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
    layers : mapping of str to slice, optional
        Names for consecutive groups of units, such as a key and what is to be recalled with it.
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
        # frozen, so that one serves all memories
        activation: Activation | Callable[[Tensor], Tensor] = SignedTanh(4.0),  # noqa: B008
        *,
        layers: Mapping[str, slice] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(patterns, layers, dtype)
        self.order = whole("order", order, least=2)
        self.activation = as_activation(activation)

    def _fitted(self, s: Tensor) -> Tensor:
        return self.activation(s)

    def overlaps(self, s: Tensor) -> Tensor:
        r"""Return :math:`m_\mu = x_\mu \cdot \rho(s) / N`, ``(*batch, pattern)``."""
        return self._scores(self.as_state(s)) / self.patterns.shape[-1]

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        N = self.patterns.shape[-1]
        E = s.square().sum(-1) / 2 - N / self.order * (self.overlaps(s) ** self.order).sum(-1)
        for x in self.held.values():
            E = E + x.square().sum(-1) / 2
        return E

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.activation.derivative(s) * self._current(self.overlaps(s)) - s

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self.as_state(s)
        m, slope, X = self.overlaps(s), self.activation.derivative(s), self._parts()[0]
        own, stiff = self._own(s, m), self._stiff(m)

        def multiply(v: Tensor) -> Tensor:
            v = self.as_state(v)
            return own * v - slope * ((stiff * ((slope * v) @ X.mT)) @ X)

        return multiply

    def hessian(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        check_matrices(s)
        m, slope, X = self.overlaps(s), self.activation.derivative(s), self._parts()[0]
        coupled = torch.einsum("...m,mi,mj->...ij", self._stiff(m), X, X)
        H = -slope.unsqueeze(-1) * slope.unsqueeze(-2) * coupled
        return H + torch.diag_embed(self._own(s, m))

    def _current(self, m: Tensor) -> Tensor:
        return m ** (self.order - 1) @ self._parts()[0]

    def _own(self, s: Tensor, m: Tensor) -> Tensor:
        """Return the curvature that units have by themselves, ``(*batch, unit)``."""
        return 1 - self.activation.second_derivative(s) * self._current(m)

    def _stiff(self, m: Tensor) -> Tensor:
        """Return the curvature of each pattern's term in its overlap, ``(*batch, pattern)``."""
        return (self.order - 1) / self.patterns.shape[-1] * m ** (self.order - 2)
