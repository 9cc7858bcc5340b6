r"""The stationary density of Langevin dynamics, :math:`p \propto e^{-2E/\sigma^2}`, on a grid.

For one or two units, where quadrature is exact to many digits: what chains and steps are held
against.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ctebm.dataset import variable
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, finite_array, whole

__all__ = [
    "density_of",
    "grid_axes",
    "marginal_distance",
    "states_of",
    "stationary_density",
    "total_variation",
]

# A density at the border of its grid above this share of its maximum is cut off there.
_CUT = 1e-4
# A grid with more of the density than this at one point is too coarse for its trapezoids.
_COARSE = 0.25
# Parts of a cell of the grid between which a marginal density is taken along a straight line.
_PARTS = 32
_BYTES_OF_A_POINT = 100  # its state, rate, energy and density at once


def stationary_density(
    network: Network,
    sigma: float,
    grid: ArrayLike | Tensor | Sequence[ArrayLike],
) -> xr.DataArray:
    r"""Return the stationary density of one or two units on a grid.

    .. math:: p(s) = e^{-2E(s)/\sigma^2} / \int e^{-2E/\sigma^2}\,ds,

    the law of :math:`ds = -\partial E/\partial s\,dt + \sigma\,dW` (section 2.2), with the integral
    by the trapezoidal rule on the grid.

    Parameters
    ----------
    network : Network
        With one or two units and an energy.
    sigma : float
        Intensity of the Langevin noise.
    grid : array or two arrays
        Increasing states at which the density is wanted, for both units or one array for each.
        Put a grid point on each kink.

    Returns
    -------
    xarray.DataArray
        With dimension ``s``, or ``s1`` and ``s2``; its integral by the trapezoidal rule is 1.

    Raises
    ------
    ValueError
        For a network without an energy, of more units or samples, `sigma` = 0, or a grid that does
        not increase.

    Warns
    -----
    UserWarning
        If the density is not small at the border of the grid, so that some of it lies beyond, or
        if the grid is too coarse for it.

    Examples
    --------
    >>> import numpy as np, ctebm
    >>> net = ctebm.DenseNetwork([[0, 3], [3, 0]], [-1.5, -1.5], ctebm.Tanh())
    >>> p = ctebm.stationary_density(net, 0.5, np.linspace(-3, 3, 301))
    >>> variance = (p * p.s1**2).integrate(["s1", "s2"])
    >>> round(float(variance), 9)
    0.168608867
    """
    if not isinstance(network, Network):
        raise ValueError(
            "expected a network whose force is that of an energy, got "
            f"{type(network).__name__}, whose motion has no "
            "density of this form; sample it with ctebm.sample."
        )
    sigma = finite("sigma", sigma, above=0.0, remedy="without noise there is no density")
    axes = grid_axes(grid, network)
    s = states_of(axes)
    with torch.no_grad():
        E = network.energy(torch.as_tensor(s, dtype=network.dtype, device=network.device))
    return density_of(-2 / (sigma * sigma) * E.double().cpu().numpy(), axes)


def density_of(
    log_density: NDArray[np.float64], axes: Sequence[NDArray[np.float64]]
) -> xr.DataArray:
    """Return the normalised density of a logarithm known up to a constant, on a grid.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.sampling.density import density_of
    >>> x = np.linspace(-8, 8, 201)
    >>> p = density_of(-(x**2) / 2, [x])
    >>> round(float(p.max() * np.sqrt(2 * np.pi)), 12)
    1.0
    """
    if np.isnan(log_density).any():
        raise ValueError("expected an energy at every point of the grid, got nan; narrow the grid.")
    names = ["s"] if len(axes) == 1 else ["s1", "s2"]
    p = np.exp(log_density - log_density.max())
    borders = [np.take(p, i, axis).max() for axis in range(p.ndim) for i in (0, -1)]
    if max(borders) > _CUT:
        warnings.warn(
            f"the density is {max(borders):.2g} of its maximum at the border of the grid, so that "
            "some of it lies beyond; widen the grid.",
            stacklevel=3,
        )
    if p.max() > _COARSE * p.sum():
        warnings.warn(
            f"one point of the grid holds {p.max() / p.sum():.0%} of it; take a finer one.",
            stacklevel=3,
        )
    coords = {
        name: variable(name, axis, f"state{name[1:] and ' of unit ' + name[1:]}")
        for name, axis in zip(names, axes, strict=True)
    }
    array = xr.DataArray(
        p, coords, names, "density", {"long_name": "stationary density", "units": "1"}
    )
    return array / array.integrate(names)


def total_variation(p: xr.DataArray, q: xr.DataArray) -> float:
    r"""Return the total variation distance of two densities on one grid, :math:`\int|p - q|/2`.

    It is the largest difference of the probabilities of any event: 0 for equal densities, 1 for
    densities that do not overlap.

    Raises
    ------
    ValueError
        For densities on different grids, or what is no density on a grid.

    Examples
    --------
    >>> import numpy as np, ctebm
    >>> from ctebm.sampling.density import total_variation
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.HardSigmoid())
    >>> grid = np.linspace(-4, 4, 801)
    >>> narrow, wide = (ctebm.stationary_density(unit, sigma, grid) for sigma in (0.5, 1.0))
    >>> total_variation(narrow, wide)
    0.32...
    """
    for density in (p, q):
        if not isinstance(density, xr.DataArray):
            raise ValueError(
                "expected densities such as stationary_density returns, got "
                f"{type(density).__name__}."
            )
    if p.dims != q.dims or any(not np.array_equal(p[d], q[d]) for d in p.dims):
        raise ValueError("expected densities on one grid, got different ones; use the same grid.")
    return float(abs(p - q).integrate(list(p.dims)) / 2)


def marginal_distance(states: ArrayLike | Tensor, density: xr.DataArray, unit: int = 0) -> float:
    r"""Return the Wasserstein-1 distance of a unit's states from its marginal density.

    How far probability has to be moved, in units of the state: the integral of the difference of
    the distribution functions, by :func:`scipy.stats.wasserstein_distance`. The density between
    grid points is taken along straight lines, cut into 32 parts.

    Parameters
    ----------
    states : array, (draw, unit)
        States that were visited.
    density : DataArray
        From :func:`stationary_density`.
    unit : int
        Which of its units.

    Raises
    ------
    ValueError
        For states that are not finite or of other units than the density, or no states.

    Examples
    --------
    >>> import numpy as np, ctebm
    >>> from ctebm.sampling.density import marginal_distance
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.HardSigmoid())
    >>> p = ctebm.stationary_density(unit, 0.5, np.linspace(-4, 4, 801))
    >>> round(marginal_distance([[1.0]], p), 3)
    1.0
    """
    from scipy.stats import wasserstein_distance

    unit = whole("unit", unit, 0, density.ndim - 1)
    x = finite_array("states", states.detach().cpu() if isinstance(states, Tensor) else states)
    if x.shape[-1:] != (density.ndim,) or not x.size:
        raise ValueError(
            f"expected states (draw, {density.ndim}), one column for each unit of the density, got "
            f"{x.shape}."
        )
    others = [d for i, d in enumerate(density.dims) if i != unit]
    marginal = density.integrate(others) if others else density
    grid = np.asarray(marginal[marginal.dims[0]], float)
    share = (np.arange(_PARTS) + 0.5) / _PARTS
    at = (grid[:-1, None] + np.diff(grid)[:, None] * share).ravel()
    weights = np.interp(at, grid, np.maximum(np.asarray(marginal, float), 0))
    weights = weights * np.repeat(np.diff(grid), _PARTS)
    return float(wasserstein_distance(x[..., unit].reshape(-1), at, None, weights))


def grid_axes(
    grid: ArrayLike | Tensor | Sequence[ArrayLike], network: VectorField
) -> list[NDArray[np.float64]]:
    """Return the grid of each unit, for one sample of one or two units.

    Raises
    ------
    ValueError
        For more units or samples, a grid that does not increase, or one too large for the memory.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.sampling.density import grid_axes
    >>> pair = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    >>> len(grid_axes([0.0, 0.5, 1.0], pair))
    2
    """
    n_units = network.n_units
    if network.batch:
        raise ValueError(
            f"expected one sample, got a network of {tuple(network.batch)} samples; clamp one "
            "input, and go through them one by one."
        )
    parts: list[Any] = [grid]
    if isinstance(grid, list | tuple) and len(grid) == 2 and np.ndim(grid[0]) == 1:
        parts = [*grid]
    axes = [finite_array("grid", axis) for axis in parts]
    for axis in axes:
        if axis.ndim != 1 or len(axis) < 3 or not (np.diff(axis) > 0).all():
            raise ValueError(
                "expected a grid of three or more increasing states, got one of shape "
                f"{axis.shape}; give numpy.linspace(low, high, n)."
            )
    if len(axes) == 1 and n_units == 2:
        axes = [axes[0], axes[0]]
    if n_units not in (None, len(axes)) or len(axes) > 2:
        raise ValueError(
            f"expected one or two units and a grid for each, got {n_units} units and "
            f"{len(axes)} grids; sample larger networks with ctebm.sample."
        )
    n = math.prod(len(axis) for axis in axes)
    check_memory(f"a grid of {n:,} points", _BYTES_OF_A_POINT * n, "take fewer points")
    return axes


def states_of(axes: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the states at the points of a grid, ``(*grid, unit)``.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.sampling.density import states_of
    >>> states_of([np.array([0.0, 1.0]), np.array([2.0, 3.0, 4.0])]).shape
    (2, 3, 2)
    """
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)
