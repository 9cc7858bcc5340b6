r"""Unstable equilibria: how to tell them, and where the motion from beside them goes.

With an energy the Hessian on the unpinned units is tested by conjugate gradients on a generic
right-hand side, many rows at a time; only rows that fail are looked at one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctebm.equilibria.inertia import hessian_on, restricted, root_of_rounding, without_margin
from ctebm.equilibria.kkt import pinned_units, project
from ctebm.equilibria.krylov import extremal_spectrum, generic_vector
from ctebm.equilibria.linear_systems import positive_definite
from ctebm.equilibria.rows import Rows, has_energy
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["downhill_from", "is_unstable"]

# Up to so many unpinned units all eigenvalues of the Hessian are found, beyond it the lowest one.
DENSE_UNITS = 300
# Relative accuracy of the lowest eigenvalue, of which sign and direction are used.
LANCZOS_TOL = 1e-4
# The step away from a saddle, at first and at last, in its largest unit.
LONGEST, SHORTEST = 0.1, 1e-6
# Of sqrt(unit) times the share that a generic vector has in the directions of negative curvature:
# one in a thousand has less, in a single direction that hardly curves down.
GENERIC_SHARE = 1e-3
# Of the decrease that the curvature predicts, what a step must reach.
SUFFICIENT = 0.1


def is_unstable(rows: Rows[VectorField], s: Tensor) -> Tensor:
    """Return which equilibria ``(row, unit)`` have an unstable direction, ``(row,)``."""
    if has_energy(rows):
        found = torch.zeros(len(rows), dtype=torch.bool, device=s.device)
        for i in _suspects(rows, s):
            network = rows.one(i)
            free, weak = ~pinned_units(network, s[i]), without_margin(network, s[i])
            found[i] = _negative_direction(network, s[i], free) is not None or (
                bool(weak.any()) and _downhill(network, s[i], free | weak) is not None
            )
        return found
    net = rows.network
    pinned = pinned_units(net, s)
    if not len(s):
        return pinned.any(-1)
    J = net.jacobian(s).masked_fill(pinned.unsqueeze(-1) | pinned.unsqueeze(-2), 0.0)
    zero = root_of_rounding(s.dtype) * J.abs().amax((-1, -2)).clamp(min=1)
    return torch.linalg.eigvals(J).real.amax(-1) > zero


def downhill_from(rows: Rows[Network], s: Tensor, f: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Leave saddles along their steepest negative curvature.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Equilibria, ``(row, unit)``.
    f : Tensor, optional
        The force there, which is evaluated if not given.

    Returns
    -------
    tuple of Tensor
        The places of the rows that are saddles, ``(saddle,)``, and states beside them of a lower
        energy, ``(saddle, unit)``.
    """
    places, beside = [], []
    for i in _suspects(rows, s, f):
        network = rows.one(i)
        free, weak = ~pinned_units(network, s[i]), without_margin(network, s[i])
        lower = _downhill(network, s[i], free)
        if lower is None and bool(weak.any()):
            lower = _downhill(network, s[i], free | weak)
        if lower is not None:
            places.append(i)
            beside.append(lower)
    if not places:
        return torch.zeros(0, dtype=torch.long, device=s.device), s[:0]
    return torch.tensor(places, device=s.device), torch.stack(beside)


def _suspects(rows: Rows[Network], s: Tensor, f: Tensor | None = None) -> list[int]:
    """Return the rows whose Hessian is not positive on all units that no current holds."""
    share = GENERIC_SHARE / math.sqrt(s.shape[-1])
    if not len(s):
        return []
    network = rows.network
    f = network.force(s) if f is None else f
    held = pinned_units(network, s, f) & (f.abs() > root_of_rounding(s.dtype))
    free = (~held).to(s.dtype)
    H = network.hessian_operator_on(s, free)
    product = (lambda v: free * H(v)) if bool(held.any()) else H
    definite = positive_definite(product, free, share)
    return torch.nonzero(~definite).squeeze(-1).tolist()


def _downhill(network: Network, s: Tensor, free: Tensor) -> Tensor | None:
    """Return a state of a lower energy along the negative curvature of some units, or None."""
    direction = _negative_direction(network, s, free)
    return None if direction is None else _lower(network, s, *direction)


def _negative_direction(network: Network, s: Tensor, free: Tensor) -> tuple[Tensor, float] | None:
    """Return the direction of the lowest curvature and that curvature, None if not negative.

    Of the directions that share it, where some do, that of a generic vector in their space, so that
    it does not depend on which of them a library of linear algebra finds.
    """
    where = torch.nonzero(free).squeeze(-1)
    if len(where) == 0:
        return None
    if len(where) <= DENSE_UNITS:
        values, vectors = torch.linalg.eigh(hessian_on(network, s, where))
    else:
        product = restricted(network, s, where)
        found = extremal_spectrum(product, generic_vector(len(where), s), LANCZOS_TOL)
        values, vectors = found.eigenvalues, found.eigenvectors
    zero = root_of_rounding(s.dtype) * max(1.0, float(values.abs().max()))
    if not float(values[0]) < -zero:
        return None
    lowest = vectors[:, values <= values[0] + zero]
    generic = lowest @ (generic_vector(len(where), s) @ lowest)
    direction = torch.zeros_like(s).index_copy(0, where, generic)
    return direction / direction.abs().max(), float(values[0])


def _lower(network: Network, s: Tensor, direction: Tensor, curvature: float) -> Tensor | None:
    """Return a state of a lower energy along a direction, one way or the other; None if none is."""
    E, t = network.energy(s), LONGEST
    while t >= SHORTEST:
        trials = project(network, torch.stack([s + t * direction, s - t * direction]))
        lowest, k = network.energy(trials).min(0)
        predicted = -curvature / 2 * (trials[k] - s).square().sum()
        if bool(E - lowest >= SUFFICIENT * predicted) and bool(lowest < E):
            return trials[k]
        t /= 2
    return None
