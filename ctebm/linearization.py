r"""A network near an equilibrium: :math:`d\delta/dt = -H\delta` on the units that are not pinned.

Everything a linear system knows about itself follows from the eigenpairs
:math:`H v = \lambda v`: time constants, limits of Euler's step, responses, fluctuations.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.fixed_points import DENSE_UNITS, classify, hessian_on, pinned_units, residual, restricted
from ctebm.jacobian import JacobianLinearization, linearize_jacobian
from ctebm.network import Network, check_memory
from ctebm.spectrum import Spectrum, dense_spectrum, extremal_spectrum, function_product

__all__ = ["Linearization", "linearize"]


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
        :class:`~ctebm.fixed_points.FixedPoints`, ``(*batch)``.
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
        self._check_noise("covariance", sigma)
        self._check_step(eps)

        def variance(x: Tensor) -> Tensor:
            v = sigma**2 / (x * (2 - (0.0 if eps is None else eps) * x))
            return v * eps * (1 - x) ** 2 if synaptic and eps is not None else v

        return self._matrix("covariance", variance)

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
        if (eps is None) != (n_steps is None) or (time is not None and eps is not None):
            raise ValueError(
                "expected eps and n_steps, or time, or none of these for the response at rest, "
                f"got eps={eps}, n_steps={n_steps}, time={time}."
            )
        if eps is None and time is None:
            self._check_stable("a response at rest")

        def gain(x: Tensor) -> Tensor:
            if eps is not None and n_steps is not None:
                # expm1(n log1p(-eps x)) keeps the digits of slow modes
                grown = torch.where(
                    (eps * x).abs() < 0.5,
                    -torch.expm1(n_steps * torch.log1p(-(eps * x).clamp(max=0.5))),
                    1 - (1 - eps * x) ** n_steps,
                )
                still = eps * n_steps
            elif time is not None:
                grown, still = -torch.expm1(-x * time), time
            else:
                return 1 / x
            return torch.where(x == 0, still, grown / torch.where(x == 0, 1.0, x))

        return self._apply(gain, drive)

    def frequency_response(self, drive: ArrayLike | Tensor, frequency: float) -> Tensor:
        r"""Return the complex amplitude :math:`(H + 2\pi i f)^{-1} u` of an oscillating force.

        Parameters
        ----------
        drive : array, (*, *batch, unit)
            Amplitude of the force :math:`u\,e^{2\pi i f t}`.
        frequency : float
            `f` in cycles per membrane time constant.
        """
        self._check_stable("a response at rest")
        omega = 2 * math.pi * frequency
        real = self._apply(lambda x: x / (x.square() + omega**2), drive)
        return torch.complex(real, self._apply(lambda x: -omega / (x.square() + omega**2), drive))

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
        self._check_noise("a power spectrum", sigma)
        self._check_whole("a power spectrum", self.state.shape[-1])
        f = torch.as_tensor(frequency, dtype=self.state.dtype, device=self.state.device)
        omega = 2 * math.pi * f.reshape(-1, 1)
        power = sigma**2 / (self.eigenvalues.unsqueeze(-2).square() + omega.square())
        power = torch.nan_to_num(power) @ self.eigenvectors.square().mT
        return power.reshape(*self.state.shape[:-1], *f.shape, self.state.shape[-1])

    def to_dataset(self) -> xr.Dataset:
        """Return the spectrum with dimensions ``sample``, ``unit`` and ``mode``."""
        n, modes = self.state.shape[-1], self.eigenvalues.shape[-1]
        row, mode = ("sample",), ("sample", "mode")
        stability = [self.stability] if isinstance(self.stability, str) else self.stability
        time = "membrane time constant"

        def column(values: Tensor | int, long_name: str, units: str = "1") -> xr.Variable:
            return variable(row, torch.as_tensor(values).reshape(-1), long_name, units)

        def modal(values: Tensor, long_name: str, units: str = "1") -> xr.Variable:
            return variable(mode, values.reshape(-1, modes), long_name, units)

        grid, vectors = ("sample", "unit"), self.eigenvectors.reshape(-1, n, modes)
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
        where = torch.nonzero(~self.pinned).squeeze(-1)
        product = restricted(self.network, self.state, where)
        rows = u.reshape(-1, u.shape[-1])
        moved = torch.zeros_like(rows)
        for row, out in zip(rows, moved, strict=True):
            out[where] = function_product(product, row[where], function)
        return moved.reshape(u.shape)

    def _check_stable(self, what: str) -> None:
        kinds = [self.stability] if isinstance(self.stability, str) else self.stability
        if any(kind != "stable" for kind in kinds):
            raise ValueError(
                f"expected a stable point for {what}, got {', '.join(sorted(set(kinds)))}; "
                "linearised motion does not stay near such a point."
            )

    def _check_noise(self, what: str, sigma: float) -> None:
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"expected a finite sigma >= 0, got {sigma}.")
        if not _at_rest(self.residual):
            raise ValueError(
                f"expected an equilibrium for {what}, got a force of "
                f"{float(self.residual.max()):.3g}; settle the state first."
            )
        self._check_stable(what)

    def _check_step(self, eps: float | None) -> None:
        limit = float(self.eps_max.min())
        if eps is not None and not 0 < eps < limit:
            raise ValueError(
                f"expected 0 < eps < eps_max = {limit:.6g}, where Euler's step is stable, got "
                f"{eps}."
            )

    def _check_whole(self, what: str, n: int) -> None:
        if not self.whole:
            raise ValueError(
                f"{what} of {n} units would take {8 * n * n:,} bytes and all eigenpairs; use "
                "response(drive), which multiplies without the matrix, or linearize(dense=True)."
            )


def linearize(
    network: Network,
    state: ArrayLike | Tensor,
    *,
    dense: bool | None = None,
    tol: float = 1e-5,
) -> Linearization | JacobianLinearization:
    r"""Linearise a network at equilibria (F3, F4).

    Parameters
    ----------
    network : Network
        Its Hessian is that of the energy; with an asymmetric coupling its Jacobian is taken.
    state : array, (*batch, unit)
        Equilibria, such as ``settle(network).state``. A state that is none is linearised with a
        warning.
    dense : bool, optional
        Whether to make the matrix and all eigenpairs; by default up to 4,000 unpinned units. Else
        both ends of the spectrum come from products alone.
    tol : float
        Without the matrix, the residual to reach, relative to the width of the spectrum.

    Returns
    -------
    Linearization
        Or :class:`~ctebm.jacobian.JacobianLinearization` where the force is not a gradient.

    Raises
    ------
    ValueError
        If the state is not finite or has the wrong shape, or the matrix does not fit memory.
    """
    s = network.as_state(state)
    if not bool(torch.isfinite(s).all()):
        raise ValueError("expected a finite state, got NaN or infinity; settle first.")
    batch = torch.broadcast_shapes(s.shape[:-1], network.batch)
    s = s.expand(*batch, -1)
    f = network.force(s)
    res = residual(network, s, f)
    if not _at_rest(res):
        warnings.warn(
            f"linearising where the largest force is {float(res.max()):.3g}: not an equilibrium.",
            stacklevel=2,
        )
    pinned = pinned_units(network, s, f)
    if not network.is_gradient:
        return linearize_jacobian(network, s, pinned, res)
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
    flat, free = s.reshape(-1, s.shape[-1]), ~pinned.reshape(-1, s.shape[-1])
    spectra, kinds = [], []
    for i, (u, units) in enumerate(zip(flat, free, strict=True)):
        one = network.samples(batch, torch.tensor(i))
        where = torch.nonzero(units).squeeze(-1)
        found = _spectrum(one, u, where, dense, tol)
        spectra.append((where, found))
        enough = dense or float(found.eigenvalues[0]) > float(found.residual[0])
        kinds.append(classify(one, u, found if enough else None))
    values, vectors, errors = _stack(spectra, s)
    index = torch.tensor([k for k, _ in kinds])
    low, high = network.box or (-math.inf, math.inf)
    gap = torch.minimum(s - low, high - s)
    return Linearization(
        s,
        values.reshape(*batch, -1),
        vectors.reshape(*batch, *vectors.shape[1:]),
        errors.reshape(*batch, -1),
        pinned,
        torch.where(pinned, f.abs(), gap).amin(-1),
        res,
        index.reshape(batch) if batch else int(index),
        [kind for _, kind in kinds] if batch else kinds[0][1],
        dense,
        network,
    )


def _spectrum(network: Network, s: Tensor, where: Tensor, dense: bool, tol: float) -> Spectrum:
    if dense:
        return dense_spectrum(hessian_on(network, s, where))
    stream = np.random.default_rng(0).standard_normal(len(where))
    start = torch.as_tensor(stream, dtype=s.dtype, device=s.device)
    return extremal_spectrum(restricted(network, s, where), start, tol)


def _stack(spectra: list[tuple[Tensor, Spectrum]], s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues, eigenvectors and residuals with NaN, 0 and NaN behind."""
    modes = max((len(found.eigenvalues) for _, found in spectra), default=0)
    values = s.new_full((len(spectra), modes), torch.nan)
    errors = values.clone()
    vectors = s.new_zeros(len(spectra), s.shape[-1], modes)
    for i, (where, found) in enumerate(spectra):
        m = len(found.eigenvalues)
        values[i, :m], errors[i, :m] = found.eigenvalues, found.residual
        vectors[i, where, :m] = found.eigenvectors
    return values, vectors, errors


def _largest(values: Tensor, without: float = 0.0) -> Tensor:
    """Return the largest of each row, NaN left out; `without` where there is none."""
    if values.shape[-1] == 0:
        return values.new_full(values.shape[:-1], without)
    found = torch.nan_to_num(values, nan=-torch.inf).amax(-1)
    return torch.where(values.isnan().all(-1), without, found)


def _at_rest(residual: Tensor) -> bool:
    return bool((residual <= math.sqrt(torch.finfo(residual.dtype).eps)).all())
