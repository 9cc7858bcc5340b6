r"""The record of a linearisation: the spectrum of minus the Jacobian, and what it says.

A small displacement moves as :math:`d\delta/dt = J\delta` with :math:`J = \partial f/\partial s`,
and :math:`J = -H` where there is an energy. A unit that is pinned at a kink does not respond to
small perturbations: it is left out (F3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite
from ctebm.networks.record import SampledRecord, rows_at, with_origin
from ctebm.stability import modes
from ctebm.stability.hessian import HessianMotion
from ctebm.stability.jacobian import JacobianMotion
from ctebm.stability.response import LinearResponse

__all__ = ["JacobianLinearization", "Linearization"]

STATUS = "0 at an equilibrium, 1 not at an equilibrium"


@dataclass(frozen=True, eq=False, repr=False)
class Linearization(LinearResponse, SampledRecord):
    r"""Eigenpairs of :math:`-J` at equilibria, on the unpinned units.

    With an energy :math:`-J` is the Hessian and everything is real; without one the eigenvalues
    and eigenvectors are complex. A mode decays as :math:`e^{-\lambda t}` in both. What forces and
    noise do is in :class:`~ctebm.stability.response.LinearResponse`.

    Attributes
    ----------
    state : Tensor
        ``(*batch, unit)``.
    eigenvalues : Tensor
        :math:`\lambda` in ascending order (of the real part, then of the imaginary part),
        ``(*batch, mode)``; one for each unpinned unit, with NaN behind for samples that have fewer
        of these than another. Only both ends if not `whole`.
    eigenvectors : Tensor
        Columns of unit length, ``(*batch, unit, mode)``; zero on pinned units.
    eigenvalue_residual : Tensor
        :math:`|Jv + \lambda v|`, ``(*batch, mode)``.
    pinned : Tensor
        Units held at a kink, which do not respond, ``(*batch, unit)``.
    margin : Tensor
        How far the nearest unit is from changing that, see
        :class:`~ctebm.equilibria.record.FixedPoints`, ``(*batch)``.
    residual : Tensor
        Largest force at the state, ``(*batch)``.
    index : int or Tensor
        Number of unstable directions; an int for one state, ``(*batch)`` for a batch.
    stability : str or list of str
        ``"stable"``, ``"saddle"`` or ``"degenerate"`` (an eigenvalue is zero within tolerance, or
        a unit has no margin); one word for one state, a list over the flattened batch for a batch.
    whole : bool
        Whether all eigenpairs are there.
    network : VectorField
        What was linearised.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.AsymmetricNetwork([[0, 0.5], [-0.5, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> linear = ctebm.linearize(net, [0.0, 0.0])
    >>> linear.eigenvalues
    tensor([1.-0.5000j, 1.+0.5000j], dtype=torch.complex128)
    >>> linear.eps_max, linear.index, linear.stability
    (tensor(1.6000, dtype=torch.float64), 0, 'stable')
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
    network: VectorField

    _outcomes = ("at an equilibrium", "at no equilibrium")
    _shown = ("state", "eigenvalues")

    @property
    # an attribute of records, computed here
    def status(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """0 at an equilibrium, 1 where the state is none, ``(*batch)``."""
        return (~modes.is_equilibrium(self.residual)).to(torch.int8)

    @property
    # likewise
    def message(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A sentence for each sample that is at no equilibrium, else ``""``; flattened batch."""
        rows = zip(self.status.flatten().tolist(), self.residual.flatten().tolist(), strict=True)
        return [
            f"sample {i} is not an equilibrium: largest force {r:.3g}; settle the state first."
            if wrong
            else ""
            for i, (wrong, r) in enumerate(rows)
        ]

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        batch = self.state.shape[:-1]
        names = ("state", "eigenvalues", "eigenvectors", "eigenvalue_residual", "pinned", "margin",
                 "residual")  # fmt: skip
        found: dict[str, Any] = {name: rows_at(getattr(self, name), rows, batch) for name in names}
        index = rows_at(torch.as_tensor(self.index, device="cpu"), rows, batch)
        kinds = [self._kinds[i] for i in rows.reshape(-1).tolist()]
        found |= {"index": index, "stability": kinds}
        if rows.ndim == 0:
            found |= {"index": int(index), "stability": kinds[0]}
        return found | {"network": self.network.samples(batch, rows)}

    @property
    def _kinds(self) -> list[str]:
        return [self.stability] if isinstance(self.stability, str) else self.stability

    @cached_property
    def jacobian(self) -> Tensor:
        r""":math:`J`, zero in rows and columns of pinned units, ``(*batch, unit, unit)``."""
        n, samples = self.state.shape[-1], math.prod(self.state.shape[:-1])
        check_memory(
            f"the Jacobian of {n:,} units",
            self.state.element_size() * samples * n**2,
            "use response(force), which multiplies without the matrix",
            self.state.device,
        )
        J, free = self.network.jacobian(self.state), ~self.pinned
        return torch.where(free.unsqueeze(-1) & free.unsqueeze(-2), J, 0.0)

    @property
    def lambda_max(self) -> Tensor:
        """The largest real part of an eigenvalue, ``(*batch)``; 0 if every unit is pinned."""
        return modes.largest(self.eigenvalues.real)

    @property
    def lambda_min(self) -> Tensor:
        """The smallest real part of an eigenvalue, ``(*batch)``; infinite if all are pinned."""
        return modes.smallest(self.eigenvalues.real)

    @property
    def time_constants(self) -> Tensor:
        r""":math:`1/\mathrm{Re}\,\lambda` of each mode, ``(*batch, mode)``; negative if it grows.

        In membrane time constants.
        """
        return 1 / self.eigenvalues.real

    @property
    def eps_max(self) -> Tensor:
        r"""Euler's step is stable below it: :math:`|1 - \epsilon\lambda| < 1` for all modes (F4).

        The smallest :math:`2\,\mathrm{Re}\,\lambda/|\lambda|^2`, with an energy
        :math:`2/\lambda_{max}`, ``(*batch)``; 0 if no step is stable.
        """
        return modes.smallest(modes.eps_limit(self.eigenvalues))

    @property
    def eps_monotone(self) -> Tensor:
        r"""Half of :attr:`eps_max`, ``(*batch)``: below it multipliers have positive real parts.

        With an energy :math:`1/\lambda_{max}`, below which no mode overshoots.
        """
        return self.eps_max / 2

    @property
    def condition_number(self) -> Tensor:
        """Largest over smallest absolute eigenvalue, ``(*batch)``."""
        size = self.eigenvalues.abs()
        return modes.largest(size) / modes.smallest(size)

    @property
    def return_time(self) -> Tensor:
        r""":math:`1/\min\mathrm{Re}\,\lambda`, the slowest decay; infinite if one does not decay.

        ``(*batch)``, in membrane time constants.
        """
        return torch.where(self.lambda_min > 0, 1 / self.lambda_min, torch.inf)

    @property
    def reactivity(self) -> Tensor:
        r"""Fastest initial growth of a perturbation, ``(*batch)``.

        The largest eigenvalue of :math:`(J + J')/2`, which is :math:`-\lambda_{min}` with an
        energy; minus infinity if every unit is pinned.
        """
        if isinstance(self._motion, JacobianMotion):
            return self._motion.reactivity()
        return -self.lambda_min

    @property
    def symmetry(self) -> Tensor:
        r""":math:`|S|/(|S| + |A|)` of J's symmetric and antisymmetric part, 1 to 0, ``(*batch)``.

        1 with an energy.
        """
        if isinstance(self._motion, JacobianMotion):
            return self._motion.symmetry()
        return torch.ones_like(self.residual)

    @property
    def _motion(self) -> HessianMotion | JacobianMotion:
        if not isinstance(self.network, Network):
            return JacobianMotion(self.jacobian, self.pinned)
        pairs = self.eigenvalues, self.eigenvectors
        return HessianMotion(self.network, self.state, self.pinned, *pairs, self.whole)

    def multipliers(self, eps: float) -> Tensor:
        r"""Return Euler's :math:`1 - \epsilon\lambda`, ``(*batch, mode)``."""
        return 1 - finite("eps", eps) * self.eigenvalues

    def to_dataset(self) -> xr.Dataset:
        """Return the spectrum with dimensions ``sample``, ``unit`` (by ``layer``) and ``mode``.

        With the parameters of the network, see
        :func:`~ctebm.networks.parameters.network_dataset`.
        """
        n, n_modes = self.state.shape[-1], self.eigenvalues.shape[-1]
        samples = math.prod(self.state.shape[:-1])
        row, grid = ("sample",), ("sample", "unit")
        time = "membrane time constant"
        eigenvalue, pair = "eigenvalue of minus the Jacobian", "|Jv + lambda v|"
        if isinstance(self.network, Network):
            eigenvalue, pair = "eigenvalue of the Hessian", "|Hv - lambda v|"

        def column(values: Tensor | int, long_name: str, units: str = "1") -> xr.Variable:
            return variable(
                row, torch.as_tensor(values, device="cpu").reshape(-1), long_name, units
            )

        def modal(values: Tensor, long_name: str, units: str = "1") -> xr.Variable:
            return variable(("sample", "mode"), values.reshape(samples, n_modes), long_name, units)

        vectors = self.eigenvectors.reshape(samples, n, n_modes)
        dataset = xr.Dataset(
            {
                "state": variable(grid, self.state.reshape(-1, n), "state"),
                "pinned": variable(grid, self.pinned.reshape(-1, n), "held at a kink"),
                "eigenvalue": modal(self.eigenvalues, eigenvalue),
                "eigenvalue_residual": modal(self.eigenvalue_residual, pair),
                "eigenvector": variable(("sample", "unit", "mode"), vectors, "eigenvector"),
                "time_constant": modal(self.time_constants, "time constant of the mode", time),
                "eps_max": column(self.eps_max, "limit of Euler's step", time),
                "symmetry": column(self.symmetry, "|S|/(|S| + |A|) of the Jacobian"),
                "status": column(self.status, STATUS),
                "residual": column(self.residual, "largest force"),
                "margin": column(self.margin, "distance from losing or gaining a pinned unit"),
                "index": column(self.index, "number of unstable directions"),
                "stability": variable(row, self._kinds, "stability"),
                "message": variable(row, self.message, "why a sample is at no equilibrium"),
                "whole": variable((), self.whole, "whether all eigenpairs are there"),
            },
            layer_of_unit(self.network.layers, n),
        )
        batch = self.state.shape[:-1]
        return with_origin(dataset, self.network, "linearisation", {}, batch=batch)


# The former name of the record of a network without an energy.
JacobianLinearization = Linearization
