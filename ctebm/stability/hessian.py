r"""A network near an equilibrium of its energy: :math:`d\delta/dt = -H\delta` on unpinned units.

Everything a linear system knows about itself follows from the eigenpairs
:math:`H v = \lambda v`: time constants, limits of Euler's step, responses, fluctuations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.equilibria.inertia import DENSE_UNITS, classify, hessian_on, restricted
from ctebm.equilibria.kkt import margin, pinned_units, residual
from ctebm.equilibria.krylov import (
    Spectrum,
    dense_spectrum,
    extremal_spectrum,
    function_product,
    generic_vector,
    stacked,
)
from ctebm.networks.energy import Network
from ctebm.networks.memory import check_memory
from ctebm.stability import modes as mode
from ctebm.stability.modes import check_noise, check_stable, check_step, check_times

__all__ = ["Linearization", "linearize_hessian"]


@dataclass(frozen=True)
class Linearization:
    r"""Eigenpairs of the Hessian at equilibria, on the unpinned units.

    Attributes
    ----------
    state : Tensor
        ``(*batch, unit)``.
    eigenvalues : Tensor
        Ascending, ``(*batch, mode)``; one for each unpinned unit, with NaN behind for samples that
        have fewer of these than another. Only both ends if not `whole`.
    eigenvectors : Tensor
        Columns of unit length, ``(*batch, unit, mode)``; zero on pinned units.
    eigenvalue_residual : Tensor
        ``|H v - lambda v|``, ``(*batch, mode)``.
    pinned : Tensor
        Units held at a kink, which do not respond, ``(*batch, unit)``.
    margin : Tensor
        How far the nearest unit is from changing that, see
        :class:`~ctebm.equilibria.record.FixedPoints`, ``(*batch)``.
    residual : Tensor
        Largest force at the state, ``(*batch)``.
    index : int or Tensor
        Number of unstable directions; ``(*batch)`` if there is a batch.
    stability : str or list of str
        ``"stable"``, ``"saddle"`` or ``"degenerate"`` (an eigenvalue is zero within tolerance, or
        a unit has no margin); a list over the flattened batch if there is one.
    whole : bool
        Whether all eigenpairs are there.
    """

    state: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    eigenvalue_residual: Tensor
    pinned: Tensor
    margin: Tensor
    residual: Tensor
    index: int | Tensor
    stability: str | list[str]
    whole: bool
    network: Network = field(repr=False)

    @property
    def lambda_max(self) -> Tensor:
        """The largest eigenvalue, ``(*batch)``; 0 if every unit is pinned."""
        return _largest(self.eigenvalues)

    @property
    def lambda_min(self) -> Tensor:
        """The smallest eigenvalue, ``(*batch)``; infinite if every unit is pinned."""
        return -_largest(-self.eigenvalues, -torch.inf)

    @property
    def time_constants(self) -> Tensor:
        r""":math:`1/\lambda` of each mode, in membrane time constants; negative if it grows."""
        return 1 / self.eigenvalues

    @property
    def eps_max(self) -> Tensor:
        r"""Euler's step is stable below :math:`2/\lambda_{max}` (F4); 0 if no step is stable."""
        return torch.where(self.lambda_min < 0, 0.0, 2 / self.lambda_max)

    @property
    def eps_monotone(self) -> Tensor:
        r"""Euler's step does not overshoot below :math:`1/\lambda_{max}`."""
        return self.eps_max / 2

    @property
    def condition_number(self) -> Tensor:
        """Largest over smallest absolute eigenvalue, ``(*batch)``."""
        size = self.eigenvalues.abs()
        return _largest(size) / -_largest(-size, -torch.inf)

    @property
    def return_time(self) -> Tensor:
        r""":math:`1/\lambda_{min}`, the slowest decay; infinite where a perturbation stays."""
        return torch.where(self.lambda_min > 0, 1 / self.lambda_min, torch.inf)

    @property
    def reactivity(self) -> Tensor:
        r"""Fastest initial growth of a perturbation, :math:`-\lambda_{min}` for a symmetric H."""
        return -self.lambda_min

    def multipliers(self, eps: float) -> Tensor:
        r"""Return Euler's :math:`1 - \epsilon\lambda`, ``(*batch, mode)``."""
        return 1 - eps * self.eigenvalues

    def covariance(self, sigma: float, eps: float | None = None, synaptic: bool = False) -> Tensor:
        r"""Return the stationary covariance of small noise, ``(*batch, unit, unit)``.

        Mode variances: :math:`\sigma^2/(2\lambda)` in continuous time;
        :math:`\sigma^2/(\lambda(2 - \epsilon\lambda))` by Euler-Maruyama;
        :math:`\epsilon\sigma^2(1-\lambda)^2/(\lambda(2-\epsilon\lambda))` by the paper's map
        (eqs. 1-2) with noise of standard deviation `sigma` a step inside :math:`R`.

        Parameters
        ----------
        sigma : float
            Intensity of the Langevin noise, or standard deviation of the synaptic noise.
        eps : float, optional
            Euler's step; continuous time if None.
        synaptic : bool
            The paper's map; it needs `eps`. The noise of pinned units is left out.

        Raises
        ------
        ValueError
            If the point is no equilibrium, not stable, or `eps` not below :attr:`eps_max`.
        """
        if synaptic and eps is None:
            raise ValueError("the paper's map exists in discrete steps only; give eps.")
        check_noise("covariance", sigma, self.residual, self.stability)
        check_step(eps, float(self.eps_max.min()))
        return self._matrix("covariance", lambda lam: mode.variance(lam, sigma, eps, synaptic))

    def response(
        self,
        drive: ArrayLike | Tensor,
        eps: float | None = None,
        n_steps: int | None = None,
        time: float | None = None,
    ) -> Tensor:
        r"""Return the displacement after a constant small force was switched on.

        :math:`H^{-1}u` at rest, :math:`H^{-1}(1 - e^{-Ht})u` at a time,
        :math:`H^{-1}(1 - (1-\epsilon H)^n)u` after Euler's steps. A change of biases `db` is the
        force :math:`\rho'(s)\,db`.

        Parameters
        ----------
        drive : array, (*, *batch, unit)
            The force `u`; what falls on pinned units has no effect.
        eps, n_steps : float and int, optional
            Euler's step and how many of them.
        time : float, optional
            Time in continuous time. With none of these the response at rest, if there is one.

        Returns
        -------
        Tensor
            Of the shape of `drive`.
        """
        check_times(eps, n_steps, time)
        if eps is None and time is None:
            check_stable("a response at rest", self.stability)
        return self._apply(lambda lam: mode.gain(lam, eps, n_steps, time), drive)

    def frequency_response(self, drive: ArrayLike | Tensor, frequency: float) -> Tensor:
        r"""Return the complex amplitude :math:`(H + 2\pi i f)^{-1} u` of an oscillating force.

        Parameters
        ----------
        drive : array, (*, *batch, unit)
            Amplitude of the force :math:`u\,e^{2\pi i f t}`.
        frequency : float
            `f` in cycles per membrane time constant.
        """
        check_stable("a response at rest", self.stability)
        omega = 2 * math.pi * frequency
        real, imaginary = (
            self._apply(lambda lam, k=k: mode.transfer(lam, omega)[k], drive) for k in (0, 1)
        )
        return torch.complex(real, imaginary)

    def power_spectrum(self, sigma: float, frequency: ArrayLike | Tensor) -> Tensor:
        r"""Return each unit's power spectrum of Langevin noise, ``(*batch, frequency, unit)``.

        The diagonal of :math:`\sigma^2 (H^2 + 4\pi^2 f^2)^{-1}`, two-sided: its integral over all
        `f`, negative ones included, is the variance.

        Parameters
        ----------
        sigma : float
            Intensity of the noise.
        frequency : array, (frequency,)
            In cycles per membrane time constant.
        """
        check_noise("a power spectrum", sigma, self.residual, self.stability)
        self._check_whole("a power spectrum", self.state.shape[-1])
        f = torch.as_tensor(frequency, dtype=self.state.dtype, device=self.state.device)
        omega = 2 * math.pi * f.reshape(-1, 1)
        power = mode.power(self.eigenvalues.unsqueeze(-2), sigma, omega)
        power = torch.nan_to_num(power) @ self.eigenvectors.square().mT
        return power.reshape(*self.state.shape[:-1], *f.shape, self.state.shape[-1])

    def to_dataset(self) -> xr.Dataset:
        """Return the spectrum with dimensions ``sample``, ``unit`` and ``mode``."""
        n, modes = self.state.shape[-1], self.eigenvalues.shape[-1]
        samples = math.prod(self.state.shape[:-1])
        row, grid = ("sample",), ("sample", "unit")
        stability = [self.stability] if isinstance(self.stability, str) else self.stability
        time = "membrane time constant"

        def column(values: Tensor | int, long_name: str, units: str = "1") -> xr.Variable:
            return variable(row, torch.as_tensor(values).reshape(-1), long_name, units)

        def modal(values: Tensor, long_name: str, units: str = "1") -> xr.Variable:
            return variable(("sample", "mode"), values.reshape(samples, modes), long_name, units)

        vectors = self.eigenvectors.reshape(samples, n, modes)
        return xr.Dataset(
            {
                "state": variable(grid, self.state.reshape(-1, n), "state"),
                "pinned": variable(grid, self.pinned.reshape(-1, n), "held at a kink"),
                "eigenvalue": modal(self.eigenvalues, "eigenvalue of the Hessian"),
                "eigenvalue_residual": modal(self.eigenvalue_residual, "|Hv - lambda v|"),
                "eigenvector": variable(("sample", "unit", "mode"), vectors, "eigenvector"),
                "time_constant": modal(self.time_constants, "time constant of the mode", time),
                "eps_max": column(self.eps_max, "limit of Euler's step", time),
                "residual": column(self.residual, "largest force"),
                "margin": column(self.margin, "distance from losing or gaining a pinned unit"),
                "index": column(self.index, "number of unstable directions"),
                "stability": variable(row, stability, "stability"),
            },
            attrs={"whole_spectrum": int(self.whole)},
        )

    def _matrix(self, what: str, function: Callable[[Tensor], Tensor]) -> Tensor:
        self._check_whole(what, self.state.shape[-1])
        weights = torch.nan_to_num(function(self.eigenvalues)).unsqueeze(-2)
        return (self.eigenvectors * weights) @ self.eigenvectors.mT

    def _apply(self, function: Callable[[Tensor], Tensor], drive: ArrayLike | Tensor) -> Tensor:
        u = self.network.as_state(drive)
        if self.whole:
            weights = torch.nan_to_num(function(self.eigenvalues))
            parts = (self.eigenvectors.mT @ u.unsqueeze(-1)).squeeze(-1) * weights
            return (self.eigenvectors @ parts.unsqueeze(-1)).squeeze(-1)
        n, batch = u.shape[-1], self.state.shape[:-1]
        u = u.expand(torch.broadcast_shapes(u.shape, self.state.shape))
        moved = torch.zeros_like(u)
        by_sample = (t.reshape(-1, math.prod(batch), n).unbind(1) for t in (u, moved))
        flat, pinned = self.state.reshape(-1, n), self.pinned.reshape(-1, n)
        for i, (pushes, out) in enumerate(zip(*by_sample, strict=True)):
            where = torch.nonzero(~pinned[i]).squeeze(-1)
            one = self.network.samples(batch, torch.tensor(i))
            product = restricted(one, flat[i], where)
            for push, row in zip(pushes, out, strict=True):
                row[where] = function_product(product, push[where], function)
        return moved

    def _check_whole(self, what: str, n: int) -> None:
        if not self.whole:
            raise ValueError(
                f"{what} of {n} units would take {8 * n * n:,} bytes and all eigenpairs; use "
                "response(drive), which multiplies without the matrix, or linearize(dense=True)."
            )


def linearize_hessian(network: Network, s: Tensor, dense: bool | None, tol: float) -> Linearization:
    """Return the linearisation of states ``(*batch, unit)``; see :func:`ctebm.linearize`."""
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    n_free = int((~pinned).sum(-1).max())
    if dense is None:
        dense = n_free <= DENSE_UNITS
    if dense:
        # the matrix, its vectors and the solver's work space
        check_memory(
            f"all {n_free:,} eigenpairs",
            4 * 8 * n_free**2,
            "leave dense=None for both ends of the spectrum without the matrix",
        )
    batch = s.shape[:-1]
    flat, free = s.reshape(-1, s.shape[-1]), ~pinned.reshape(-1, s.shape[-1])
    spectra, kinds = [], []
    for i, (u, units) in enumerate(zip(flat, free, strict=True)):
        one = network.samples(batch, torch.tensor(i))
        where = torch.nonzero(units).squeeze(-1)
        found = _spectrum(one, u, where, dense, tol)
        spectra.append((where, found))
        enough = dense or bool((found.eigenvalues[:1] > found.residual[:1]).all())
        kinds.append(classify(one, u, found if enough else None))
    values, vectors, errors = stacked(spectra, s)
    index = torch.tensor([k for k, _ in kinds])
    return Linearization(
        state=s,
        eigenvalues=values.reshape(*batch, -1),
        eigenvectors=vectors.reshape(*batch, *vectors.shape[1:]),
        eigenvalue_residual=errors.reshape(*batch, -1),
        pinned=pinned,
        margin=margin(network, s, f),
        residual=residual(network, s, f),
        index=index.reshape(batch) if batch else int(index),
        stability=[kind for _, kind in kinds] if batch else kinds[0][1],
        whole=dense,
        network=network,
    )


def _spectrum(network: Network, s: Tensor, where: Tensor, dense: bool, tol: float) -> Spectrum:
    if dense or len(where) == 0:
        return dense_spectrum(hessian_on(network, s, where))
    return extremal_spectrum(restricted(network, s, where), generic_vector(len(where), s), tol)


def _largest(values: Tensor, without: float = 0.0) -> Tensor:
    """Return the largest of each row, NaN left out; `without` where there is none."""
    if values.shape[-1] == 0:
        return values.new_full(values.shape[:-1], without)
    found = torch.nan_to_num(values, nan=-torch.inf).amax(-1)
    return torch.where(values.isnan().all(-1), without, found)
