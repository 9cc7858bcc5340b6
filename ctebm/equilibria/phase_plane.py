r"""A plane of two units through state space: energy, force, equilibria and paths in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.dynamics.integrate import simulate
from ctebm.dynamics.sde import Dynamics
from ctebm.equilibria.search import find_fixed_points
from ctebm.networks.base import LyapunovField, VectorField
from ctebm.networks.energy import Network

__all__ = ["phase_plane"]


def phase_plane(
    network: VectorField,
    units: tuple[int, int] = (0, 1),
    *,
    base: ArrayLike | Tensor | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
    n_grid: int = 81,
    starts: Sequence[tuple[float, float]] = (),
    t_end: float = 12.0,
    eps: float = 0.02,
    n_starts: int = 100,
) -> xr.Dataset:
    """Return what a phase portrait shows.

    Parameters
    ----------
    network : VectorField
        With one sample.
    units : tuple of int
        The two units that span the plane.
    base : array, (unit,), optional
        The state of the other units; 0 by default.
    limits : tuple of float
        Of both axes.
    n_grid : int
        Grid points along each axis.
    starts : sequence of pair
        Where paths start, projected on kinks; only in a network of two units, since paths of
        others leave the plane.
    t_end, eps : float
        How long the paths are, and their step.
    n_starts : int
        Of the search for equilibria, which is made in a network of two units only.

    Returns
    -------
    xarray.Dataset
        ``energy(y, x)``, ``force(component, y, x)``, ``equilibrium(fixed_point, component)`` with
        ``stability``, and ``path_state(path, step, component)``.

    Raises
    ------
    ValueError
        If the units are not two different ones of the network, or for paths of more than two units.
    """
    n = network.n_units or 2
    i, j = units
    if not (0 <= i < n and 0 <= j < n and i != j):
        raise ValueError(f"expected two different units below {n}, got {units}.")
    s0 = torch.zeros(n) if base is None else torch.as_tensor(base)
    axis = torch.linspace(*limits, n_grid, dtype=network.dtype, device=network.device)
    s = network.as_state(s0).expand(n_grid, n_grid, n).clone()
    s[..., i], s[..., j] = axis.expand(n_grid, n_grid), axis.unsqueeze(-1).expand(n_grid, n_grid)
    plane = network.force(s)[..., [i, j]]
    low, high = network.box or (-np.inf, np.inf)
    data = {"force": variable(("component", "y", "x"), plane.movedim(-1, 0), "force")}
    if isinstance(network, Network | LyapunovField):
        data["energy"] = variable(("y", "x"), network.energy(s), "energy")
    if n == 2:
        points = find_fixed_points(network, n_starts)
        where = points.state[:, [i, j]]
        data["equilibrium"] = variable(("fixed_point", "component"), where, "equilibrium")
        data["stability"] = variable(("fixed_point",), points.stability, "stability")
        if len(starts):
            first = torch.as_tensor(starts, dtype=network.dtype)
            first = first if i < j else first.flip(-1)
            run = simulate(Dynamics(network), first, n_steps=round(t_end / eps), eps=eps)
            paths = run.state[..., [i, j]].movedim(0, 1)
            data["path_state"] = variable(("path", "step", "component"), paths, "path")
    elif len(starts):
        raise ValueError(f"paths of {n} units leave the plane of two; leave out starts.")
    coords = {
        name: variable((name,), axis, f"state of unit {unit}")
        for name, unit in zip(("x", "y"), units, strict=True)
    }
    return xr.Dataset(data, coords, {"lower_kink": float(low), "upper_kink": float(high)})
