r"""A plane of two units through state space: energy, force, equilibria and paths in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from ctebm.dataset import variable
from ctebm.dynamics.integrate import simulate
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.record import known_energy
from ctebm.equilibria.search import find_fixed_points
from ctebm.networks.arrays import real_tensor
from ctebm.networks.base import StateLike, VectorField, single
from ctebm.networks.kinks import Box
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole
from ctebm.networks.record import with_origin

__all__ = ["phase_plane"]

_STATES = 12  # of each point, about, while force and energy are computed


@small_on_one_thread()
def phase_plane(
    network: VectorField,
    units: tuple[int, int] = (0, 1),
    *,
    base: StateLike | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
    n_grid: int = 81,
    starts: Sequence[tuple[float, float]] = (),
    t_end: float = 12.0,
    eps: float = 0.02,
    n_starts: int = 100,
) -> xr.Dataset:
    """Return what a phase portrait shows: energy, force, equilibria and paths of two units.

    Parameters
    ----------
    network : VectorField
        With one sample, with or without an energy.
    units : tuple of int
        The two units that span the plane.
    base : array, (unit,), or a record with such a ``state``, optional
        The state of the other units; 0 by default.
    limits : tuple of float
        Of both axes.
    n_grid : int
        Grid points along each axis.
    starts : sequence of pair
        Where paths start, projected on kinks; only in a network of two units, since paths of
        others leave the plane.
    t_end, eps : float
        How long the paths are, and their step, in membrane time constants.
    n_starts : int
        Of the search for equilibria, which is made in a network of two units only.

    Returns
    -------
    xarray.Dataset
        ``force(component, y, x)``; ``energy(y, x)`` if one is known; for two units
        ``equilibrium(fixed_point, component)`` with ``stability``, and
        ``path_state(path, step, component)``. Attributes ``lower_kink`` and ``upper_kink``, one
        for each axis where these differ, are infinite without kinks. With the parameters of the
        network, see :func:`~ctebm.networks.parameters.network_dataset`, and the settings.

    Raises
    ------
    ValueError
        If the units are not two different ones of the network, for paths of more than two units,
        a network of several samples, limits that are not finite, or less than two grid points
        or more than fit the free memory.

    Examples
    --------
    >>> import ctebm
    >>> spiral = ctebm.AsymmetricNetwork([[0, 2], [-2, 0]], [0, 0], ctebm.Tanh()).centred()
    >>> plane = ctebm.phase_plane(spiral, n_grid=5, starts=[(0.5, 0.5)], n_starts=10)
    >>> plane.sizes["path"], plane.stability.values.tolist(), "energy" in plane
    (1, ['stable'], False)
    """
    network = single(network)
    n_grid = whole("n_grid", n_grid, least=2)
    first, last = _pair("limits", limits)
    limits = finite("the lower limit", first), finite("the upper limit", last)
    eps, t_end = finite("eps", eps, above=0), finite("t_end", t_end, above=0)
    n = network.n_units or 2
    i, j = (whole("unit", unit, least=0) for unit in _pair("units", units))
    if not (i < n and j < n and i != j):
        raise ValueError(f"expected two different units below {n}, got {units}.")
    first_states = real_tensor(starts, network.dtype, network.device)
    if first_states.numel() and first_states.shape[1:] != (2,):
        raise ValueError(f"expected starts of shape (path, 2), got {tuple(first_states.shape)}.")
    if n > 2 and first_states.numel():
        raise ValueError(f"paths of {n} units leave the plane of two; leave out starts.")
    check_memory(
        f"a plane of {n_grid:,} by {n_grid:,} points",
        _STATES * n_grid**2 * n * network.dtype.itemsize,
        "use a smaller n_grid",
    )
    axis = torch.linspace(*limits, n_grid, dtype=network.dtype, device=network.device)
    rest = network.finite_state(torch.zeros(n, device="cpu") if base is None else base)
    if rest.ndim != 1:
        raise ValueError(f"expected one base state of shape ({n},), got {tuple(rest.shape)}.")
    check_memory("the plane", 8 * n_grid**2 * (n + 4), "use a coarser grid", network.device)
    s = rest.expand(n_grid, n_grid, n).clone()
    s[..., i], s[..., j] = axis.expand(n_grid, n_grid), axis.unsqueeze(-1).expand(n_grid, n_grid)
    plane = network.force(s)[..., [i, j]]
    data = {"force": variable(("component", "y", "x"), plane.movedim(-1, 0), "force")}
    energy = known_energy(network, s)
    if energy is not None:
        data["energy"] = variable(("y", "x"), energy, "energy")
    if n == 2:
        data |= _equilibria(network, [i, j], n_starts)
    if first_states.numel():
        data["path_state"] = _paths(network, [i, j], first_states, t_end, eps)
    coords = {
        name: variable((name,), axis, f"state of unit {unit}")
        for name, unit in zip(("x", "y"), units, strict=True)
    }
    dataset = xr.Dataset(data, coords, _kinks(network, n, [i, j]))
    settings = {"eps": eps, "t_end": t_end, "n_starts": n_starts}
    dataset = with_origin(dataset, network, "phase plane", settings, batch=torch.Size())
    return dataset.assign(base=variable("unit", rest, "state of the units off the plane"))


def _pair(name: str, values: Any) -> tuple[Any, Any]:
    listed = isinstance(values, tuple | list) or getattr(values, "ndim", 0) == 1
    if not listed or len(values) != 2:
        raise ValueError(f"expected two {name}, got {values!r}.")
    return values[0], values[1]


def _equilibria(network: VectorField, units: list[int], n_starts: int) -> dict[str, xr.Variable]:
    """Return all equilibria of two units, and their stability."""
    points = find_fixed_points(network, n_starts)
    where = ("fixed_point", "component")
    return {
        "equilibrium": variable(where, points.state[:, units], "equilibrium"),
        "stability": variable(("fixed_point",), np.array(points.stability, str), "stability"),
    }


def _paths(
    network: VectorField,
    units: list[int],
    starts: torch.Tensor,
    t_end: float,
    eps: float,
) -> xr.Variable:
    """Return the motion of two units from pairs of states."""
    first = starts if units[0] < units[1] else starts.flip(-1)
    n_steps = max(round(finite("t_end / eps", t_end / eps)), 1)
    run = simulate(network, first, n_steps=n_steps, eps=eps)
    paths = run.state[..., units].movedim(0, 1)
    return variable(("path", "step", "component"), paths, "path")


def _kinks(network: VectorField, n: int, units: list[int]) -> dict[str, float | list[float]]:
    """Return the kinks of two of `n` units, one number where they are the same."""
    box = network.box or Box(-np.inf, np.inf)
    pairs = [
        kinks[units].tolist()
        for kinks in box.each(torch.zeros(n, dtype=torch.float64, device="cpu"))
    ]
    low, high = (x if x == y else [x, y] for x, y in pairs)
    return {"lower_kink": low, "upper_kink": high}
