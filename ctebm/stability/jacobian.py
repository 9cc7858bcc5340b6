r"""A network without an energy near an equilibrium: :math:`d\delta/dt = J\delta`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import scipy.linalg
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.equilibria.inertia import classify
from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.networks.base import VectorField
from ctebm.stability.modes import check_noise, check_stable, check_step, check_times

__all__ = ["JacobianLinearization", "linearize_jacobian"]


@dataclass(frozen=True)
class JacobianLinearization:
    r"""Eigenpairs of the Jacobian of a force that is not a gradient, at one equilibrium.

    Attributes
    ----------
    state : Tensor
        ``(unit,)``.
    jacobian : Tensor
        :math:`J = \partial f/\partial s` on the unpinned units, ``(free, free)``.
    eigenvalues : Tensor
        Complex :math:`\mu`, the fastest growing first, ``(mode,)``. The sign is that of growth:
        with symmetric couplings :math:`\mu = -\lambda`.
    eigenvectors : Tensor
        Complex columns of unit length, ``(unit, mode)``; zero on pinned units.
    eigenvalue_residual : Tensor
        :math:`|J v - \mu v|`, ``(mode,)``.
    pinned : Tensor
        Units held at a kink, ``(unit,)``.
    residual : Tensor
        Largest force at the state.
    index : int
        Number of growing directions.
    stability : str
        ``"stable"``, ``"saddle"`` or ``"degenerate"``.
    """

    state: Tensor
    jacobian: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    eigenvalue_residual: Tensor
    pinned: Tensor
    residual: Tensor
    index: int
    stability: str
    network: VectorField = field(repr=False)

    @property
    def time_constants(self) -> Tensor:
        r""":math:`-1/\mathrm{Re}\,\mu`, in membrane time constants; negative if the mode grows."""
        return -1 / self.eigenvalues.real

    @property
    def eps_max(self) -> float:
        r"""Euler's step is stable below it: :math:`|1 + \epsilon\mu| < 1` for all modes (F4).

        It is the smallest :math:`-2\,\mathrm{Re}\,\mu/|\mu|^2`; 0 if no step is stable.
        """
        mu = self.eigenvalues
        if len(mu) == 0:
            return math.inf
        return max(0.0, float((-2 * mu.real / mu.abs().square()).min()))

    @property
    def symmetry(self) -> float:
        r""":math:`|S|/(|S| + |A|)` of the Jacobian's symmetric and antisymmetric part, 1 to 0."""
        S, A = (self.jacobian + self.jacobian.mT) / 2, (self.jacobian - self.jacobian.mT) / 2
        return float(S.norm() / (S.norm() + A.norm()).clamp(min=1e-300))

    @property
    def reactivity(self) -> float:
        """Fastest initial growth of a perturbation: the largest eigenvalue of (J + J')/2."""
        if len(self.jacobian) == 0:
            return -math.inf
        return float(torch.linalg.eigvalsh((self.jacobian + self.jacobian.mT) / 2)[-1])

    @property
    def return_time(self) -> float:
        r""":math:`-1/\max\mathrm{Re}\,\mu`, the slowest decay; infinite if a perturbation stays."""
        if len(self.eigenvalues) == 0:
            return 0.0
        slowest = float(self.eigenvalues.real.max())
        return -1 / slowest if slowest < 0 else math.inf

    def multipliers(self, eps: float) -> Tensor:
        r"""Return Euler's :math:`1 + \epsilon\mu`, complex, ``(mode,)``."""
        return 1 + eps * self.eigenvalues

    def covariance(self, sigma: float, eps: float | None = None) -> Tensor:
        r"""Return the stationary covariance of Langevin noise, ``(unit, unit)``.

        From :math:`J\Sigma + \Sigma J' + \sigma^2 = 0`, or by Euler-Maruyama
        :math:`\Sigma = M\Sigma M' + \epsilon\sigma^2` with :math:`M = 1 + \epsilon J`.
        """
        check_noise("covariance", sigma, self.residual, self.stability)
        check_step(eps, self.eps_max)
        J = self.jacobian.cpu().numpy()
        Q = sigma**2 * torch.eye(len(J), dtype=self.state.dtype).numpy()
        if eps is None:
            found = scipy.linalg.solve_continuous_lyapunov(J, -Q)
        else:
            M = torch.eye(len(J), dtype=self.state.dtype).numpy() + eps * J
            found = scipy.linalg.solve_discrete_lyapunov(M, eps * Q)
        n, where = self.state.shape[-1], torch.nonzero(~self.pinned).squeeze(-1)
        whole = self.state.new_zeros(n, n)
        whole[where.unsqueeze(-1), where] = torch.as_tensor(found).to(whole)
        return whole

    def response(
        self,
        drive: ArrayLike | Tensor,
        eps: float | None = None,
        n_steps: int | None = None,
        time: float | None = None,
    ) -> Tensor:
        """Return the displacement after a constant small force was switched on.

        As :meth:`ctebm.Linearization.response`, by the matrix itself since eigenvectors of an
        asymmetric Jacobian may be nearly parallel.

        Parameters
        ----------
        drive : array, (*, unit)
            The force; what falls on pinned units has no effect.
        eps, n_steps, time
            As in :meth:`ctebm.Linearization.response`.

        Raises
        ------
        ValueError
            At two kinds of time at once, or for a response at rest of a point that is not stable.
        """
        check_times(eps, n_steps, time)
        n = len(self.jacobian)
        # the last column of the powers of [[M, u], [0, 1]] sums up the drive, singular J or not
        eye = torch.eye(n, dtype=self.state.dtype, device=self.state.device)
        if time is not None:
            step = self._augmented(
                lambda A: torch.linalg.matrix_exp(time * A), torch.zeros_like(eye), self.jacobian
            )
        elif eps is not None and n_steps is not None:
            step = self._augmented(
                lambda A: torch.linalg.matrix_power(A, n_steps), eye, eps * self.jacobian, eps
            )
        else:
            check_stable("a response at rest", self.stability)
            step = torch.linalg.inv(-self.jacobian)
        u = self.network.as_state(drive)
        moved, free = torch.zeros_like(u), ~self.pinned
        moved[..., free] = u[..., free] @ step.mT
        return moved

    def _augmented(
        self, grow: Callable[[Tensor], Tensor], base: Tensor, J: Tensor, weight: float = 1.0
    ) -> Tensor:
        """Return the upper right block of ``grow([[base + J, weight], [0, base]])``."""
        n = len(J)
        eye = torch.eye(n, dtype=J.dtype, device=J.device)
        A = torch.cat(
            [torch.cat([base + J, weight * eye], 1), torch.cat([torch.zeros_like(J), base], 1)]
        )
        return grow(A)[:n, n:]

    def to_dataset(self) -> xr.Dataset:
        """Return the spectrum with dimensions ``unit`` and ``mode``."""
        time = "membrane time constant"
        return xr.Dataset(
            {
                "state": variable(("unit",), self.state, "state"),
                "pinned": variable(("unit",), self.pinned, "held at a kink"),
                "eigenvalue": variable(("mode",), self.eigenvalues, "eigenvalue of the Jacobian"),
                "eigenvalue_residual": variable(("mode",), self.eigenvalue_residual, "|Jv - mu v|"),
                "eigenvector": variable(("unit", "mode"), self.eigenvectors, "eigenvector"),
                "time_constant": variable(("mode",), self.time_constants, "time constant", time),
                "eps_max": variable((), self.eps_max, "limit of Euler's step", time),
                "symmetry": variable((), self.symmetry, "|S|/(|S| + |A|) of the Jacobian"),
                "residual": variable((), self.residual, "largest force"),
            },
            attrs={"index": self.index, "stability": self.stability},
        )


def linearize_jacobian(network: VectorField, s: Tensor) -> JacobianLinearization:
    """Return the linearisation of one state ``(unit,)``; see :func:`ctebm.linearize`."""
    if s.ndim != 1:
        raise ValueError(
            f"expected one state (unit,) of a network without an energy, got {tuple(s.shape)}; "
            "linearise its samples one by one."
        )
    pinned = pinned_units(network, s)
    free = ~pinned
    J = network.jacobian(s)[free][:, free]
    mu, vectors = torch.linalg.eig(J)
    order = sorted(range(len(mu)), key=lambda i: (-mu[i].real.item(), -mu[i].imag.item()))
    mu, vectors = mu[order], vectors[:, order]
    error = (J.to(mu.dtype) @ vectors - vectors * mu).norm(dim=0)
    whole = vectors.new_zeros(len(s), len(mu))
    whole[free] = vectors
    index, stability = classify(network, s)
    return JacobianLinearization(
        state=s,
        jacobian=J,
        eigenvalues=mu,
        eigenvectors=whole,
        eigenvalue_residual=error,
        pinned=pinned,
        residual=residual(network, s),
        index=index,
        stability=stability,
        network=network,
    )
