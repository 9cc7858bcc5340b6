r"""Modern Hopfield networks, whose pressure is attention (Ramsauer et al. 2021).

The energy has a valley for each stored pattern, and settling is retrieval. Others of the kind:
:class:`ctebm.PolynomialMemory`, and the classical memory, :meth:`ctebm.DenseNetwork.hebbian`.

Letters: patterns ``X``, ``(pattern, unit)``, state ``s``, weight ``p`` of each pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.numbers import finite
from ctebm.networks.stored_patterns import StoredPatterns

__all__ = ["AssociativeMemory"]

_TOGETHER = 500  # patterns whose distances from all others are computed at a time


class AssociativeMemory(StoredPatterns):
    r"""The modern Hopfield network (Ramsauer et al. 2021), whose pressure is attention.

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
