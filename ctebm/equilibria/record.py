r"""The record of equilibria: where they are, how sure that is, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.equilibria.inertia import classify_rows
from ctebm.equilibria.kkt import margin, pinned_units, residual
from ctebm.equilibria.rows import Rows
from ctebm.networks.base import VectorField
from ctebm.networks.energy import LyapunovField, Network
from ctebm.networks.record import SampledRecord, rows_at, with_origin

__all__ = ["FixedPoints", "known_energy", "points_at"]

STATUS = "0 converged, 1 residual above the tolerance"


@dataclass(frozen=True, eq=False, repr=False)
class FixedPoints(SampledRecord):
    r"""Equilibria of a network, :math:`\partial E/\partial s = 0` (eq. 9) or pinned at kinks.

    One for each sample from :func:`~ctebm.settle`; the distinct ones, in order of energy, from
    :func:`~ctebm.find_fixed_points`. A record can be given wherever its ``state`` is asked for.

    Attributes
    ----------
    state : Tensor
        ``(*batch, unit)``; from a search ``(fixed_point, unit)``.
    energy : Tensor
        ``(*batch)``; NaN where none is known: the force is not that of an energy, or the energy
        of a :class:`~ctebm.HopfieldNetwork` needs an integral that its rate does not have.
    residual : Tensor
        Largest force over the units, ``(*batch)``; for a network with kinks the largest
        ``|clip(s + force, beta1, beta2) - s|``. Evaluated at ``state``.
    status : Tensor
        0 where the residual is within the tolerance, 1 where it is not, ``(*batch)``, int8.
    message : list of str
        A sentence for each sample whose status is not 0, or that ended at an unstable equilibrium
        which was not its start, in the order of the flattened batch; else ``""``.
    pinned : Tensor
        Whether a unit is held at a kink by its current, ``(*batch, unit)``.
    margin : Tensor
        Smallest distance of a pinned unit's current from its kink (strict complementarity) or of
        an unpinned unit's state from a kink, ``(*batch)``; infinite without kinks.
    iterations : Tensor
        Steps taken by each sample, ``(*batch)``; 0 from a search.
    hits : Tensor
        How many of the random starts of a search settled at each point, ``(fixed_point,)``; 0 for
        points that were found in other ways, as most saddles are. 1 for each sample of
        :func:`~ctebm.settle`.
    continuum : Tensor or None
        Whether a point stands for a continuum of equilibria, ``(fixed_point,)``; None from
        :func:`~ctebm.settle`, which does not look for it.
    failed : int
        How many of the random starts of a search settled nowhere. With `hits` they add up to the
        starts.
    tol : float
        The tolerance of the residual.
    network : VectorField
        The network whose equilibria they are.
    settings : mapping
        What else was asked for, by name.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> points = ctebm.find_fixed_points(pair, n_starts=20)
    >>> points.stability, points.index_sum, int(points.hits.sum()) + points.failed
    (['stable', 'stable', 'saddle'], 1, 20)
    >>> points.to_dataset()["state"].sizes
    Frozen({'fixed_point': 3, 'unit': 2})
    """

    state: Tensor
    energy: Tensor
    residual: Tensor
    status: Tensor
    message: list[str]
    pinned: Tensor
    margin: Tensor
    iterations: Tensor
    hits: Tensor
    continuum: Tensor | None
    failed: int
    tol: float
    network: VectorField
    settings: Mapping[str, float | str] = field(default_factory=dict)

    _outcomes = ("converged", "with a residual above the tolerance")

    @property
    def converged(self) -> Tensor:
        """Whether the residual is within the tolerance, ``(*batch)``."""
        return self.status == 0

    @cached_property
    def _inertia(self) -> tuple[list[int], list[str]]:
        flat, batch = self.state.reshape(-1, self.state.shape[-1]), self.state.shape[:-1]
        converged = self.converged.reshape(-1)
        good = torch.nonzero(converged).squeeze(-1)
        kinds = iter(classify_rows(Rows.of(self.network.snapshot(), batch)[good], flat[good]))
        known = [next(kinds) if ok else (-1, "unconverged") for ok in converged.tolist()]
        return [k for k, _ in known], [kind for _, kind in known]

    @property
    def index(self) -> Tensor:
        """Number of unstable directions, ``(*batch)``; -1 where not converged."""
        index = torch.tensor(self._inertia[0], dtype=torch.long, device=self.state.device)
        return index.reshape(self.state.shape[:-1])

    @property
    def stability(self) -> list[str]:
        """``"stable"``, ``"saddle"``, ``"degenerate"`` or ``"unconverged"``, flattened batch."""
        return self._inertia[1]

    @property
    def isolated(self) -> Tensor:
        """Whether no other equilibria are arbitrarily near, ``(*batch)``.

        A continuum of equilibria is one entry of a search. From :func:`~ctebm.settle` it is
        whether the point is not degenerate, which is sufficient.
        """
        if self.continuum is not None:
            return ~self.continuum
        kinds = [kind in ("stable", "saddle") for kind in self.stability]
        return self.index.new_tensor(kinds, dtype=torch.bool).reshape(self.state.shape[:-1])

    @property
    def index_sum(self) -> int | None:
        r"""The sum of :math:`(-1)^{index}` over distinct points, 1 if they are complete.

        Where units are angles (``period``) it is 0 if they are complete.

        By the degree of :math:`s - R(s)`, or of :math:`s - \mathrm{clip}(I)` on the box with
        pinned units left out of the index. It can be 1 by chance when pairs are missing, and
        differs from 1 whenever a single one is. For a motion of the user's own the sum over all
        may be another number. None if a point is degenerate or has no margin, with kinks inside the
        range of units, where ridges count that a search leaves out, and where the search guessed
        how far to look (see :func:`~ctebm.equilibria.bounds.state_bounds`): give ``bounds`` to have
        it.
        """
        if self.settings.get("bounds") == "guessed" or self.network.kinks is not None:
            return None
        if any(kind not in ("stable", "saddle") for kind in self.stability):
            return None
        return sum((-1) ** k for k in self._inertia[0])

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        batch = self.state.shape[:-1]
        names = ("state", "energy", "residual", "status", "pinned", "margin", "iterations", "hits")
        found: dict[str, Any] = {name: rows_at(getattr(self, name), rows, batch) for name in names}
        if self.continuum is not None:
            found["continuum"] = rows_at(self.continuum, rows, batch)
        found["message"] = [self.message[i] for i in rows.reshape(-1).tolist()]
        return found | {"network": self.network.samples(batch, rows)}

    def _repr_html_(self) -> str:
        return self._points()._repr_html_()  # without the index, which may take minutes

    def to_dataset(self) -> xr.Dataset:
        """Return the points with dimensions ``fixed_point``, the flattened batch, and ``unit``.

        With the parameters of the network, see
        :func:`~ctebm.networks.parameters.network_dataset`, and the settings as coordinates.
        """
        dataset = self._points().assign(
            index=self._column(self.index, "number of unstable directions"),
            isolated=self._column(self.isolated, "no other equilibria arbitrarily near"),
            stability=variable("fixed_point", self.stability, "stability"),
        )
        return with_origin(
            dataset, self.network, "equilibria", {"tol": self.tol} | dict(self.settings),
            row="fixed_point", batch=self.state.shape[:-1],
        )  # fmt: skip

    def _column(self, values: Tensor, long_name: str) -> xr.Variable:
        return variable("fixed_point", values.reshape(-1), long_name)

    def _points(self) -> xr.Dataset:
        """Return what is known of the points without further computation."""
        n_units = self.state.shape[-1]
        grid = ("fixed_point", "unit")
        return xr.Dataset(
            {
                "state": variable(grid, self.state.reshape(-1, n_units), "state"),
                "pinned": variable(grid, self.pinned.reshape(-1, n_units), "held at a kink"),
                "energy": self._column(self.energy, "energy"),
                "residual": self._column(self.residual, "largest force"),
                "margin": self._column(self.margin, "distance from a change of pinning"),
                "status": self._column(self.status, STATUS),
                "converged": self._column(self.converged, "residual within tolerance"),
                "message": variable("fixed_point", self.message, "why a point has not converged"),
                "iterations": self._column(self.iterations, "steps taken"),
                "hits": self._column(self.hits, "random starts that settled at the point"),
                "failed": variable((), self.failed, "random starts that settled nowhere"),
            },
            layer_of_unit(self.network.layers, n_units),
        )


def points_at(
    network: VectorField,
    s: Tensor,
    tol: float,
    iterations: Tensor,
    *,
    now: VectorField | None = None,
    hits: Tensor | None = None,
    continuum: Tensor | None = None,
    failed: int = 0,
    known: tuple[Tensor, Tensor] | None = None,
    why: Mapping[int, str] = MappingProxyType({}),
    settings: Mapping[str, float | str] = MappingProxyType({}),
) -> FixedPoints:
    """Return the record of states, everything in it evaluated at these states.

    Parameters
    ----------
    network : VectorField
        Whose equilibria the states are, or are meant to be.
    s : Tensor
        ``(*batch, unit)``.
    tol : float
        Bound on the residual.
    iterations : Tensor
        Steps taken, ``(*batch)``.
    now : VectorField, optional
        Its ``snapshot()``, if it has been taken.
    hits, continuum, failed
        As in :class:`FixedPoints`; by default those of settling.
    known : tuple of Tensor, optional
        Energies ``(*batch)`` and forces ``(*batch, unit)`` if they have been evaluated there.
    why : mapping of int to str
        What is known of samples by their number in the flattened batch, for their message.
    settings : mapping
        As in :class:`FixedPoints`.
    """
    now = network.snapshot() if now is None else now
    if known is not None:
        energy, f = known
    elif isinstance(now, Network):
        energy, f = now.energy_and_force(s)
    else:
        energy, f = known_energy(now, s), now.force(s)
    res, pinned = residual(now, s, f), pinned_units(now, s, f)
    status = (~(res <= tol)).to(torch.int8)
    return FixedPoints(
        state=s,
        energy=torch.full_like(res, math.nan) if energy is None else energy,
        residual=res,
        status=status,
        message=_messages(status, res, tol, iterations, why),
        pinned=pinned,
        margin=margin(now, s, f, pinned),
        iterations=iterations,
        hits=torch.ones_like(iterations) if hits is None else hits,
        continuum=continuum,
        failed=failed,
        tol=tol,
        network=network,
        settings=dict(settings),  # which pickles
    )


def known_energy(network: VectorField, s: Tensor) -> Tensor | None:
    """Return the energy of states, ``(*batch)``; None if the motion has none or it is not known."""
    if not isinstance(network, Network | LyapunovField):
        return None
    try:
        return network.energy(s)
    except NotImplementedError:  # a rate whose integral has no closed form
        return None


def _messages(
    status: Tensor, res: Tensor, tol: float, iterations: Tensor, why: Mapping[int, str]
) -> list[str]:
    """Return a sentence for each sample, in the order of the flattened batch."""
    rows = torch.stack([t.flatten().to(res.device).double() for t in (status, res, iterations)], -1)
    return [
        f"sample {i}: {why[i]}"
        if i in why
        else f"sample {i} has residual {r:.3g} > {tol:g} after {n:.0f} steps; give another start, "
        "more iterations, or a smoother energy."
        if failed
        else ""
        for i, (failed, r, n) in enumerate(rows.tolist())  # which a GPU is asked for once
    ]
