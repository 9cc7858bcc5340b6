r"""What small forces and small noise do near an equilibrium.

A displacement moves as :math:`d\delta/dt = J\delta + u` on the unpinned units; with an energy
:math:`J = -H` and the eigenpairs of H tell all, else the matrix itself does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor
from ctebm.networks.base import VectorField
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, finite_array
from ctebm.stability import modes
from ctebm.stability.hessian import HessianMotion
from ctebm.stability.jacobian import JacobianMotion

__all__ = ["LinearResponse"]

_POWER_COPIES = 4  # of a power spectrum while it is computed, about


class LinearResponse(ABC):
    """Responses and fluctuations of a linearised network, see :class:`ctebm.Linearization`."""

    state: Tensor
    residual: Tensor
    stability: str | list[str]
    whole: bool
    network: VectorField

    @property
    @abstractmethod
    def eps_max(self) -> Tensor:
        """The step below which Euler's method is stable, ``(*batch)``."""

    @property
    @abstractmethod
    def _motion(self) -> HessianMotion | JacobianMotion:
        """The linear motion, by eigenpairs of the Hessian or by the Jacobian itself."""

    def covariance(self, sigma: float, eps: float | None = None, synaptic: bool = False) -> Tensor:
        r"""Return the stationary covariance of small noise, ``(*batch, unit, unit)``.

        The solution of :math:`J\Sigma + \Sigma J' + \sigma^2 = 0` in continuous time, and of
        :math:`\Sigma = M\Sigma M' + Q`, :math:`M = 1 + \epsilon J`, in steps:
        :math:`Q = \epsilon\sigma^2` by Euler-Maruyama,
        :math:`Q = (\epsilon\sigma)^2 (1 + J)(1 + J)'` by the paper's map (eqs. 1-2) with noise of
        standard deviation `sigma` a step inside :math:`R`. With an energy the variances of modes
        are :math:`\sigma^2/(2\lambda)`, :math:`\sigma^2/(\lambda(2 - \epsilon\lambda))` and
        :math:`\epsilon\sigma^2(1-\lambda)^2/(\lambda(2-\epsilon\lambda))` (N1 to N3).

        Parameters
        ----------
        sigma : float
            Intensity of the Langevin noise, or standard deviation of the synaptic noise.
        eps : float, optional
            Euler's step; continuous time if None.
        synaptic : bool
            The paper's map; it needs `eps`. The noise of pinned units is left out, and so are
            kinks and saturation: `sigma` has to stay far below the distance to them (N3).

        Raises
        ------
        ValueError
            If the point is no equilibrium, not stable, or `eps` not below :attr:`eps_max`.
        """
        if synaptic and eps is None:
            raise ValueError("the paper's map exists in discrete steps only; give eps.")
        sigma = modes.check_noise("covariance", sigma, self.residual, self.stability)
        modes.check_eps(eps, float(self.eps_max.min()))
        self._check_whole("covariance")
        return self._motion.covariance(sigma, eps, synaptic)

    def response(
        self,
        force: ArrayLike | Tensor,
        eps: float | None = None,
        n_steps: int | None = None,
        time: float | None = None,
    ) -> Tensor:
        r"""Return the displacement after a constant small force was switched on.

        With :math:`H = -J`, :math:`H^{-1}u` at equilibrium, :math:`H^{-1}(1 - e^{-Ht})u` at a time,
        :math:`H^{-1}(1 - (1-\epsilon H)^n)u` after Euler's steps. A change of biases `db` is the
        force :math:`\rho'(s)\,db`.

        Parameters
        ----------
        force : array, (*, *batch, unit)
            The force `u`; what falls on pinned units has no effect.
        eps, n_steps : float and int, optional
            Euler's step and how many of them.
        time : float, optional
            Time in continuous time. With none of these the response at equilibrium.

        Returns
        -------
        Tensor
            Of the shape of `force`, broadcast to the batch.

        Raises
        ------
        ValueError
            At two kinds of time at once, or at equilibrium for a point that is not stable.
        """
        modes.check_times(eps, n_steps, time)
        if eps is None and time is None:
            modes.check_stable("a response at equilibrium", self.stability)
        return self._motion.response(self.network.finite_state(force), eps, n_steps, time)

    def frequency_response(self, force: ArrayLike | Tensor, frequency: float) -> Tensor:
        r"""Return the complex amplitude :math:`(2\pi i f - J)^{-1} u` under an oscillating force.

        Parameters
        ----------
        force : array, (*, *batch, unit)
            Amplitude of the force :math:`u\,e^{2\pi i f t}`.
        frequency : float
            `f` in cycles per membrane time constant.

        Raises
        ------
        ValueError
            If the point is not stable.
        """
        modes.check_stable("a frequency response", self.stability)
        u = self.network.finite_state(force)
        return self._motion.frequency_response(
            u, 2 * math.pi * finite("frequency", frequency, -1e100, 1e100)
        )

    def power_spectrum(self, sigma: float, frequency: ArrayLike | Tensor) -> Tensor:
        r"""Return each unit's power spectrum of Langevin noise, ``(*batch, frequency, unit)``.

        The diagonal of :math:`\sigma^2 G G^\dagger` with :math:`G = (2\pi i f - J)^{-1}`.
        Two-sided: its integral over all `f`, negative ones included, is the variance. A one-sided
        estimate, which ``scipy.signal.welch`` and ``periodogram`` return by default, is twice this
        at `f > 0`; ``return_onesided=False`` gives them two sides.

        Parameters
        ----------
        sigma : float
            Intensity of the noise.
        frequency : array, (frequency,)
            In cycles per membrane time constant.

        Raises
        ------
        ValueError
            If the point is no equilibrium or not stable, or the spectrum does not fit the free
            memory.
        """
        sigma = modes.check_noise("a power spectrum", sigma, self.residual, self.stability)
        self._check_whole("a power spectrum")
        finite_array("frequency", frequency, -1e100, 1e100)
        f = real_tensor(frequency, self.state.dtype, self.state.device)
        numbers = _POWER_COPIES * self.state.numel() * f.numel()
        what = f"the power of every unit at {f.numel():,} frequencies"
        n_bytes = numbers * self.state.element_size()
        check_memory(what, n_bytes, "ask for fewer at a time", self.state.device)
        power = self._motion.power_spectrum(sigma, 2 * math.pi * f.reshape(-1))
        return power.reshape(*self.state.shape[:-1], *f.shape, self.state.shape[-1])

    def _check_whole(self, what: str) -> None:
        if not self.whole:
            n = self.state.shape[-1]
            raise ValueError(
                f"{what} of {n} units would take {8 * n * n:,} bytes and all eigenpairs; use "
                "response(force), which multiplies without the matrix, or linearize(dense=True)."
            )
