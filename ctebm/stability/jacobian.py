r"""Linear motion without an energy: :math:`d\delta/dt = J\delta` on unpinned units.

:math:`J = \partial f/\partial s` is not symmetric: its eigenvalues come in complex pairs (modes
that rotate), and its eigenvectors may be nearly parallel. Responses and fluctuations therefore come
from the matrix itself and not from its eigenvectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import scipy.linalg
import torch
from torch import Tensor

from ctebm.equilibria.krylov import Spectrum
from ctebm.networks.base import VectorField

__all__ = ["JacobianMotion", "jacobian_spectrum"]


def jacobian_spectrum(network: VectorField, s: Tensor, where: Tensor) -> Spectrum:
    r"""Return the eigenpairs of :math:`-J` on some units at one state ``(unit,)``.

    Complex, in ascending order of the real parts and then of the imaginary parts; vectors of unit
    length.

    Parameters
    ----------
    network : VectorField
        With a single sample.
    s : Tensor
        ``(unit,)``.
    where : Tensor
        Numbers of the unpinned units.
    """
    J = network.jacobian(s)[where][:, where]
    mu, vectors = torch.linalg.eig(J)
    order = sorted(range(len(mu)), key=lambda i: (-mu[i].real.item(), -mu[i].imag.item()))
    mu, vectors = mu[order], vectors[:, order]
    return Spectrum(-mu, vectors, (J.to(mu.dtype) @ vectors - vectors * mu).norm(dim=0))


@dataclass(frozen=True, eq=False)
class JacobianMotion:
    r"""Responses and fluctuations from the Jacobian itself.

    Attributes
    ----------
    jacobian : Tensor
        :math:`J`, with zeros in rows and columns of pinned units, ``(*batch, unit, unit)``.
    pinned : Tensor
        ``(*batch, unit)``.
    """

    jacobian: Tensor
    pinned: Tensor

    def covariance(self, sigma: float, eps: float | None, synaptic: bool) -> Tensor:
        """Return the stationary covariance, ``(*batch, unit, unit)``."""
        return self._on_free_units(lambda J: _covariance(J, sigma, eps, synaptic))

    def response(
        self, u: Tensor, eps: float | None, n_steps: int | None, time: float | None
    ) -> Tensor:
        """Return the displacement after a constant force was switched on."""
        J, u = self._relaxing, self._force_on_free_units(u)
        if time is not None:
            A = _augmented(torch.zeros_like(J), J, 1.0)
            summed = _upper_right(torch.linalg.matrix_exp(time * A))
        elif eps is not None and n_steps is not None:
            A = _augmented(_eye_like(J).expand_as(J), eps * J, eps)
            summed = _upper_right(torch.linalg.matrix_power(A, n_steps))
        else:
            return torch.linalg.solve(-J, u.unsqueeze(-1)).squeeze(-1)
        return (summed @ u.unsqueeze(-1)).squeeze(-1)

    def frequency_response(self, u: Tensor, omega: float) -> Tensor:
        r"""Return :math:`(i\omega - J)^{-1} u`."""
        A = 1j * omega * _eye_like(self.jacobian) - self._relaxing
        u = self._force_on_free_units(u).to(A.dtype)
        return torch.linalg.solve(A, u.unsqueeze(-1)).squeeze(-1)

    def power_spectrum(self, sigma: float, omega: Tensor) -> Tensor:
        r"""Return each unit's power at the frequencies `omega`, ``(*batch, frequency, unit)``.

        The diagonal of :math:`\sigma^2 G G^\dagger` with :math:`G = (i\omega - J)^{-1}`.
        """
        one, noise = _eye_like(self.jacobian), (~self.pinned).to(self.jacobian).unsqueeze(-1)
        rows = [
            torch.linalg.inv(1j * w * one - self._relaxing).abs().square() @ noise
            for w in omega.tolist()
        ]
        return sigma**2 * torch.stack(rows, -3).squeeze(-1)

    def symmetry(self) -> Tensor:
        r"""Return :math:`|S|/(|S| + |A|)` of the symmetric and antisymmetric part, ``(*batch)``."""
        return self._of_each(_symmetry)

    def reactivity(self) -> Tensor:
        """Return the largest eigenvalue of ``(J + J')/2``, ``(*batch)``; -infinity if none."""
        return self._of_each(
            lambda J: float(torch.linalg.eigvalsh((J + J.mT) / 2)[-1]) if len(J) else -math.inf
        )

    @property
    def _relaxing(self) -> Tensor:
        """J with a pinned unit as one that decays by itself, so that it can be inverted."""
        return self.jacobian - torch.diag_embed(self.pinned.to(self.jacobian))

    def _force_on_free_units(self, u: Tensor) -> Tensor:
        return torch.where(self.pinned, 0.0, u)

    def _blocks(self) -> list[tuple[Tensor, Tensor]]:
        """Return J on the unpinned units of each sample, and the numbers of these units."""
        n = self.jacobian.shape[-1]
        units = [torch.nonzero(~row).squeeze(-1) for row in self.pinned.reshape(-1, n)]
        flat = self.jacobian.reshape(-1, n, n)
        return [(J[where][:, where], where) for J, where in zip(flat, units, strict=True)]

    def _of_each(self, function: Callable[[Tensor], float]) -> Tensor:
        """Return a number for each sample's J on unpinned units, ``(*batch)``."""
        found = [function(J) for J, _ in self._blocks()]
        return self.jacobian.new_tensor(found).reshape(self.pinned.shape[:-1])

    def _on_free_units(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a function of each sample's J on unpinned units, with zeros on the others."""
        n = self.jacobian.shape[-1]
        found = self.jacobian.new_zeros(self.jacobian.shape)
        for out, (J, where) in zip(found.reshape(-1, n, n), self._blocks(), strict=True):
            out[where.unsqueeze(-1), where] = function(J)
        return found


def _covariance(J: Tensor, sigma: float, eps: float | None, synaptic: bool) -> Tensor:
    r"""Solve Lyapunov's equation, in continuous time :math:`J\Sigma + \Sigma J' + \sigma^2 = 0`.

    In steps :math:`\Sigma = M\Sigma M' + Q` with :math:`M = 1 + \epsilon J`, and
    :math:`Q = \epsilon\sigma^2` by Euler-Maruyama, :math:`(\epsilon\sigma)^2 (1+J)(1+J)'` by the
    paper's map.
    """
    if len(J) == 0:
        return J
    one = _eye_like(J)
    if eps is None:
        found = scipy.linalg.solve_continuous_lyapunov(
            J.cpu().numpy(), -(sigma**2) * one.cpu().numpy()
        )
    else:
        G = eps * (one + J)
        Q = sigma**2 * G @ G.mT if synaptic else eps * sigma**2 * one
        found = scipy.linalg.solve_discrete_lyapunov((one + eps * J).cpu().numpy(), Q.cpu().numpy())
    return torch.as_tensor(found, device=J.device).to(J)


def _symmetry(J: Tensor) -> float:
    S, A = float(((J + J.mT) / 2).norm()), float(((J - J.mT) / 2).norm())
    return S / (S + A) if S + A > 0 else 1.0


def _augmented(base: Tensor, J: Tensor, weight: float) -> Tensor:
    """Return ``[[base + J, weight], [0, base]]``.

    The upper right block of its powers and of its exponential adds up the response to a constant
    force, whether J can be inverted or not.
    """
    above = torch.cat([base + J, (weight * _eye_like(J)).expand_as(J)], -1)
    return torch.cat([above, torch.cat([torch.zeros_like(J), base], -1)], -2)


def _upper_right(A: Tensor) -> Tensor:
    n = A.shape[-1] // 2
    return A[..., :n, n:]


def _eye_like(J: Tensor) -> Tensor:
    return torch.eye(J.shape[-1], dtype=J.dtype, device=J.device)
