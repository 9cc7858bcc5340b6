r"""Associative memories whose energy has a valley for each stored pattern.

Modern Hopfield networks (Ramsauer et al. 2020) and dense memories of polynomial order (Krotov &
Hopfield 2016); the classical one is :meth:`ctebm.DenseNetwork.hebbian`. Settling is retrieval.

Letters: patterns ``X``, ``(pattern, unit)``, state ``s``, rate ``r``, overlap ``m``, weight ``p``
of each pattern.
"""

# Long because the two kinds of memory, and how layers of one are held, are read side by side.

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation, as_activation
from ctebm.networks.arrays import finite_tensor
from ctebm.networks.constants import Constants
from ctebm.networks.holding import HoldingNetwork
from ctebm.networks.layout import consecutive, rows_of, size_of
from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.named import named_tensors
from ctebm.networks.numbers import finite, whole
from ctebm.networks.rates import SignedTanh

__all__ = ["AssociativeMemory", "PolynomialMemory"]

_TOGETHER = 500  # patterns whose distances from all others are computed at a time


class _Memory(HoldingNetwork):
    """Patterns, of which some layers may be held: how well they fit these is computed once."""

    patterns: Tensor
    held: dict[str, Tensor]
    layers: Mapping[str, slice]
    n_units: int | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        patterns: ArrayLike | Tensor,
        layers: Mapping[str, slice] | None,
        dtype: torch.dtype,
    ) -> None:
        self.patterns = _patterns(patterns, dtype)
        n = self.patterns.shape[-1]
        super().__init__(n, {"s": slice(0, n)} if layers is None else layers)
        self._all = dict(self.layers)
        self.dtype, self.device = dtype, self.patterns.device
        self._hold({})

    @abstractmethod
    def _fitted(self, s: Tensor) -> Tensor:
        """Return what patterns fit: states, or their rates."""

    def recalled(self, s: Tensor) -> Tensor:
        """Return the number of the pattern that each state is nearest to, ``(*batch)``.

        By what patterns are of: states, or rates.
        """
        distance = self.patterns.square().sum(-1) / 2 - self._scores(self.as_state(s))
        return distance.argmin(-1)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = super().samples(batch, rows)
        if other is not self and self._still is not None:
            other._still = self._still[0], rows_of(self._still[1], batch, rows)
        return other

    def snapshot(self) -> Self:
        if not self.held or any(p.requires_grad for _, p in self.named_parameters()):
            return self
        other = self._holding(self.held)
        other._still = self._parts()
        return other

    def _hold(self, held: dict[str, Tensor]) -> None:
        """Hold layers, and keep how well patterns fit them, which no longer changes."""
        self.held = held
        free = {name: size_of(where) for name, where in self._all.items() if name not in held}
        self.layers, self.n_units = consecutive(free), sum(free.values())
        self._constants = Constants()
        self._still: tuple[Tensor, Tensor] | None = None  # what does not change, of a snapshot

    def _parts(self) -> tuple[Tensor, Tensor]:
        """Return the patterns in the free units, and how well they fit the states that are held.

        ``(pattern, unit)`` and ``(*batch, pattern)``.
        """
        if self._still is not None:
            return self._still
        X = self.patterns
        if not self.held:
            return X, X.new_zeros(())

        def chosen() -> Tensor:
            return torch.cat([X[:, :0], *(X[:, self._all[name]] for name in self.layers)], -1)

        def fit() -> Tensor:
            found = [self._fitted(x) @ X[:, self._all[name]].mT for name, x in self.held.items()]
            return torch.stack(torch.broadcast_tensors(*found)).sum(0)

        keep = self._constants.of
        return keep(chosen, X), keep(fit, *self.held.values(), *named_tensors(self).values())

    def _scores(self, s: Tensor) -> Tensor:
        """Return how well patterns fit states, the held ones too, ``(*batch, pattern)``."""
        X, held = self._parts()
        r = self._fitted(s)
        return r @ X.mT + held if self.held else r @ X.mT


class AssociativeMemory(_Memory):
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
    held: dict[str, Tensor]
    layers: Mapping[str, slice]
    n_units: int | None
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
        super().__init__(patterns, layers, dtype)
        self.beta = finite("beta", beta, above=0)

    def _fitted(self, s: Tensor) -> Tensor:
        return s

    def weights_of_patterns(self, s: Tensor) -> Tensor:
        r"""Return :math:`p = \mathrm{softmax}(\beta X s)`, ``(*batch, pattern)``."""
        return torch.softmax(self.beta * self._scores(self.as_state(s)), -1)

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        z = torch.logsumexp(self.beta * self._scores(s), -1)
        E = s.square().sum(-1) / 2 - z / self.beta
        for x in self.held.values():
            E = E + x.square().sum(-1) / 2
        return E

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return self.weights_of_patterns(s) @ self._parts()[0] - s

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        p, X = self.weights_of_patterns(s), self._parts()[0]

        def multiply(v: Tensor) -> Tensor:
            v = self.as_state(v)
            u = v @ X.mT
            spread = p * (u - (p * u).sum(-1, keepdim=True))
            return v - self.beta * spread @ X

        return multiply

    def hessian(self, s: Tensor) -> Tensor:
        p, X = self.weights_of_patterns(s), self._parts()[0]
        check_matrices(self.as_state(s))
        mean = p @ X
        second = torch.einsum("...m,mi,mj->...ij", p, X, X)
        covariance = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        return torch.eye(X.shape[-1], dtype=X.dtype, device=X.device) - self.beta * covariance

    @property
    def spread(self) -> float:
        """The largest distance between two patterns in the units that are free."""
        X = self._parts()[0]
        return max(float(torch.cdist(some, X).amax()) for some in X.split(_TOGETHER))


class PolynomialMemory(_Memory):
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


def _patterns(patterns: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    X = finite_tensor(patterns, "the patterns", dtype)
    if X.ndim != 2 or not math.prod(X.shape):
        raise ValueError(
            f"expected patterns as rows, (pattern, unit), got shape {tuple(X.shape)}; give one row "
            "for each pattern."
        )
    return X
