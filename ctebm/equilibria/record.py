r"""Equilibria of a network, smooth and kinked, and what is known at them.

Smooth activations: :math:`\partial E/\partial s = 0` (eq. 9). With a hard sigmoid units end at its
kinks, where the drift points to the kink from both sides and :math:`R(s) = s` has no solution; the
equilibrium is then

.. math:: \hat s = \mathrm{clip}(b + W\rho(\hat s),\, b_1,\, b_2),

the Karush-Kuhn-Tucker point of ``min E`` over the box between the kinks. A unit is *pinned* at a
kink that its current passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.equilibria.inertia import classify
from ctebm.equilibria.kkt import margin, pinned_units, residual
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["FixedPoints"]


@dataclass(frozen=True)
class FixedPoints:
    """Points at which a network rests.

    One for each sample from :func:`~ctebm.settle`; the distinct ones, in order of energy, from
    :func:`~ctebm.find_fixed_points`.

    Attributes
    ----------
    state : Tensor
        ``(*batch, unit)``.
    energy : Tensor
        ``(*batch)``; NaN for a network whose force is not a gradient.
    residual : Tensor
        Largest force over the units, ``(*batch)``; for a network with kinks the largest
        ``|clip(s + force, b1, b2) - s|``. Evaluated at ``state``.
    converged : Tensor
        Whether the residual is within the tolerance, ``(*batch)``.
    message : list of str
        A sentence for each sample that did not converge, in the order of the flattened batch,
        else ``""``.
    pinned : Tensor
        Whether a unit is held at a kink by its current, ``(*batch, unit)``.
    margin : Tensor
        Smallest distance of a pinned unit's current from its kink (strict complementarity) or of
        an unpinned unit's state from a kink, ``(*batch)``; infinite without kinks.
    iterations : Tensor
        Steps taken by each sample, ``(*batch)``.
    hits : Tensor
        From how many starts each point was reached, ``(*batch)``.
    continuum : Tensor or None
        Whether a point stands for a continuum of equilibria, ``(*batch)``; None if not looked for.
    failed : int
        Starts of a search that reached no equilibrium.
    """

    state: Tensor
    energy: Tensor
    residual: Tensor
    converged: Tensor
    message: list[str]
    pinned: Tensor
    margin: Tensor
    iterations: Tensor
    tol: float
    network: VectorField = field(repr=False)
    hits: Tensor = field(default_factory=lambda: torch.ones(()))
    continuum: Tensor | None = None
    failed: int = 0

    @cached_property
    def _inertia(self) -> tuple[list[int], list[str]]:
        n = self.state.shape[-1]
        flat, batch = self.state.reshape(-1, n), self.state.shape[:-1]
        index, stability = [], []
        for i, (s, ok) in enumerate(zip(flat, self.converged.reshape(-1).tolist(), strict=True)):
            if ok:
                k, kind = classify(self.network.samples(batch, torch.tensor(i)), s)
            else:
                k, kind = -1, "unconverged"
            index.append(k)
            stability.append(kind)
        return index, stability

    @property
    def index(self) -> Tensor:
        """Number of unstable directions, ``(*batch)``; -1 where not converged."""
        return torch.tensor(self._inertia[0]).reshape(self.state.shape[:-1])

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
        return torch.tensor(kinds).reshape(self.state.shape[:-1])

    @property
    def index_sum(self) -> int | None:
        r"""The sum of :math:`(-1)^{index}` over distinct points, 1 if they are complete.

        By the degree of :math:`s - R(s)`, or of :math:`s - \mathrm{clip}(I)` on the box with
        pinned units left out of the index. It can be 1 by chance when pairs are missing, and
        differs from 1 whenever a single one is. None if a point is degenerate or has no margin.
        """
        if any(kind not in ("stable", "saddle") for kind in self.stability):
            return None
        return sum((-1) ** k for k in self._inertia[0])

    def __len__(self) -> int:
        return len(self.message)

    def raise_for_status(self) -> FixedPoints:
        """Return the points themselves, or raise RuntimeError for the first that failed."""
        for sentence in self.message:
            if sentence:
                raise RuntimeError(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return the points with named dimensions ``fixed_point`` and ``unit``."""
        n_units = self.state.shape[-1]
        names = np.full(n_units, "s", dtype=object)
        for name, where in self.network.layers.items():
            names[where] = name
        row, grid = ("sample",), ("sample", "unit")

        def column(values: Tensor, long_name: str) -> xr.Variable:
            return variable(row, values.expand(self.state.shape[:-1]).reshape(-1), long_name)

        return xr.Dataset(
            {
                "state": variable(grid, self.state.reshape(-1, n_units), "state"),
                "pinned": variable(grid, self.pinned.reshape(-1, n_units), "held at a kink"),
                "energy": column(self.energy, "energy"),
                "residual": column(self.residual, "largest force"),
                "margin": column(self.margin, "distance from losing or gaining a pinned unit"),
                "converged": column(self.converged, "residual within tolerance"),
                "iterations": column(self.iterations, "steps taken"),
                "hits": column(self.hits, "starts that reached the point"),
                "index": column(self.index, "number of unstable directions"),
                "isolated": column(self.isolated, "no other equilibria arbitrarily near"),
                "stability": variable(row, self.stability, "stability"),
            },
            {"layer_of_unit": variable(("unit",), names.astype(str), "layer of the unit")},
            {"tolerance": self.tol},
        )


def points_at(
    network: VectorField,
    s: Tensor,
    tol: float,
    iterations: Tensor,
    *,
    hits: Tensor | None = None,
    continuum: Tensor | None = None,
    failed: int = 0,
) -> FixedPoints:
    """Return the record of states, everything in it evaluated at these states."""
    if isinstance(network, Network):
        energy, f = network.energy_and_force(s)
    else:
        f = network.force(s)
        energy = torch.full_like(f[..., 0], math.nan)
    res = residual(network, s, f)
    converged = res <= tol
    rows = zip(*(t.flatten().tolist() for t in (converged, res, iterations)), strict=True)
    message = [
        ""
        if ok
        else f"sample {i} has residual {r:.3g} > {tol:g} after {n} steps; "
        "give another start, more iterations, or a smoother energy."
        for i, (ok, r, n) in enumerate(rows)
    ]
    return FixedPoints(
        state=s,
        energy=energy,
        residual=res,
        converged=converged,
        message=message,
        pinned=pinned_units(network, s, f),
        margin=margin(network, s, f),
        iterations=iterations,
        tol=tol,
        network=network,
        hits=torch.ones_like(iterations) if hits is None else hits,
        continuum=continuum,
        failed=failed,
    )
