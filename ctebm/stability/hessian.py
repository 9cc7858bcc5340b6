r"""Linear motion down an energy: :math:`d\delta/dt = -H\delta` on unpinned units.

:math:`H` is symmetric (eq. 22), so that its eigenpairs :math:`H v = \lambda v` are real and
orthogonal, and each mode moves by itself. Large networks never build the matrix: both ends of the
spectrum and responses come from products alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.equilibria.inertia import hessian_on, restricted
from ctebm.equilibria.krylov import (
    Spectrum,
    dense_spectrum,
    extremal_spectrum,
    function_product,
    generic_vector,
)
from ctebm.networks.energy import Network
from ctebm.networks.layout import broadcast_shapes
from ctebm.stability import modes

__all__ = ["HessianMotion", "hessian_spectrum"]


def hessian_spectrum(
    network: Network, s: Tensor, where: Tensor, dense: bool, tol: float
) -> Spectrum:
    """Return eigenpairs of the Hessian on some units at one state ``(unit,)``, ascending.

    Parameters
    ----------
    network : Network
        With a single sample.
    s : Tensor
        ``(unit,)``.
    where : Tensor
        Numbers of the unpinned units.
    dense : bool
        All pairs from the matrix; else both ends of the spectrum by Lanczos' recurrence.
    tol : float
        Of the ends, relative to the width of the spectrum.
    """
    if dense or len(where) == 0:
        return dense_spectrum(hessian_on(network, s, where))
    return extremal_spectrum(restricted(network, s, where), generic_vector(len(where), s), tol)


@dataclass(frozen=True, eq=False)
class HessianMotion:
    r"""Responses and fluctuations from the eigenpairs of the Hessian.

    Attributes
    ----------
    network : Network
        Whose Hessian.
    state : Tensor
        ``(*batch, unit)``.
    pinned : Tensor
        ``(*batch, unit)``.
    eigenvalues : Tensor
        ``(*batch, mode)``, NaN behind.
    eigenvectors : Tensor
        ``(*batch, unit, mode)``.
    whole : bool
        Whether all pairs are there; if not, responses come from products with H.
    """

    network: Network
    state: Tensor
    pinned: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    whole: bool

    def covariance(self, sigma: float, eps: float | None, synaptic: bool) -> Tensor:
        """Return the stationary covariance, ``(*batch, unit, unit)``."""
        v = modes.variance(self.eigenvalues, sigma, eps, synaptic)
        return (self.eigenvectors * torch.nan_to_num(v).unsqueeze(-2)) @ self.eigenvectors.mT

    def response(
        self, u: Tensor, eps: float | None, n_steps: int | None, time: float | None
    ) -> Tensor:
        """Return the displacement after a constant force was switched on."""
        return self._function(lambda lam: modes.response(lam, eps, n_steps, time), u)

    def frequency_response(self, u: Tensor, omega: float) -> Tensor:
        r"""Return :math:`(H + i\omega)^{-1} u`."""
        real, imaginary = (
            self._function(lambda lam, k=k: modes.transfer(lam, omega)[k], u) for k in (0, 1)
        )
        return torch.complex(real, imaginary)

    def power_spectrum(self, sigma: float, omega: Tensor) -> Tensor:
        """Return each unit's power at the frequencies `omega`, ``(*batch, frequency, unit)``."""
        power = modes.power(self.eigenvalues.unsqueeze(-2), sigma, omega.unsqueeze(-1))
        return torch.nan_to_num(power) @ self.eigenvectors.square().mT

    def _function(self, function: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
        """Return ``g(H) u`` of a function of the eigenvalues."""
        if not self.whole:
            return self._function_by_products(function, u)
        weights = torch.nan_to_num(function(self.eigenvalues))
        parts = (self.eigenvectors.mT @ u.unsqueeze(-1)).squeeze(-1) * weights
        return (self.eigenvectors @ parts.unsqueeze(-1)).squeeze(-1)

    def _function_by_products(self, function: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
        n, batch = u.shape[-1], self.state.shape[:-1]
        u = u.expand(broadcast_shapes(u.shape, self.state.shape))
        moved = torch.zeros_like(u)
        by_sample = (t.reshape(-1, math.prod(batch), n).unbind(1) for t in (u, moved))
        flat, pinned = self.state.reshape(-1, n), self.pinned.reshape(-1, n)
        for i, (forces, out) in enumerate(zip(*by_sample, strict=True)):
            where = torch.nonzero(~pinned[i]).squeeze(-1)
            one = self.network.samples(batch, torch.tensor(i, device="cpu"))
            product = restricted(one, flat[i], where)
            for force, row in zip(forces, out, strict=True):
                row[where] = function_product(product, force[where], function)
        return moved
