r"""The stationary density of Euler-Maruyama steps, as exactly as a grid allows.

What steps of a finite size visit, without sampling: the eigenvector of their transfer operator

.. math:: p(s') = \int \mathcal N\left(s';\; s + \epsilon f(s),\; \sigma^2\epsilon\right) p(s)\,ds

for one or two units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite
from ctebm.sampling.density import density_of, grid_axes, states_of

__all__ = ["step_density"]

# The trapezoidal rule gets a normal density right to 1e-8 while points are no further apart.
_RESOLVED = 1.0  # standard deviations of a step


def step_density(
    network: VectorField,
    sigma: float,
    eps: float,
    grid: ArrayLike | Tensor | Sequence[ArrayLike],
) -> xr.DataArray:
    r"""Return the stationary density of Euler-Maruyama steps of one or two units on a grid.

    Its distance from :func:`~ctebm.stationary_density` is the bias of the step size, without the
    error of a sample. A motion without an energy has it too.

    Parameters
    ----------
    network : VectorField
        With one or two units.
    sigma : float
        Intensity of the Langevin noise.
    eps : float
        Step size, below the limit at which Euler's method is stable.
    grid : array or two arrays
        As in :func:`~ctebm.stationary_density`, but no coarser than the noise of one step,
        :math:`\sigma\sqrt\epsilon`. Put each kink half-way between two points: the drift jumps
        there.

    Returns
    -------
    xarray.DataArray
        As from :func:`~ctebm.stationary_density`.

    Raises
    ------
    ValueError
        For more units or samples, `sigma` or `eps` that are not positive, or a grid that is too
        coarse.

    Warns
    -----
    UserWarning
        If the density is not small at the border of the grid; widen it. Steps that are too large
        have no stationary law, and reach any border.

    Examples
    --------
    >>> import numpy as np, ctebm
    >>> from ctebm.sampling.transfer import step_density
    >>> net = ctebm.DenseNetwork([[0, 3], [3, 0]], [-1.5, -1.5], ctebm.Tanh())
    >>> p = step_density(net, 0.5, 0.4, np.linspace(-3, 3, 81))
    >>> round(float((p * p.s1**2).integrate(["s1", "s2"])), 5)  # 0.16861 as eps -> 0
    0.19828
    """
    from scipy.sparse.linalg import LinearOperator, eigs

    sigma, eps = finite("sigma", sigma, above=0.0), finite("eps", eps, above=0.0)
    axes = grid_axes(grid, network)
    width = sigma * np.sqrt(eps)
    coarsest = max(np.diff(axis).max() for axis in axes)
    if coarsest > _RESOLVED * width:
        raise ValueError(
            f"expected grid points at most sigma sqrt(eps) = {width:.3g} apart, got "
            f"{coarsest:.3g}; the noise of one step must be seen: take more points."
        )
    n = int(np.prod([len(axis) for axis in axes]))
    check_memory("the steps between grid points", 16 * n * sum(map(len, axes)), "take fewer points")
    s = torch.as_tensor(states_of(axes).reshape(n, -1))
    with torch.no_grad():
        ahead = s + eps * network.force(s.to(network.device, network.dtype)).cpu().double()
    kernels = [_kernel(x, m, width) for x, m in zip(axes, ahead.T.numpy(), strict=True)]

    def step(mass: NDArray[np.float64]) -> NDArray[np.float64]:
        """Carry the mass at each grid point one step on."""
        first, last = kernels[0] * mass.reshape(1, -1), kernels[-1]
        return (first.sum(1) if len(kernels) == 1 else first @ last.T).reshape(-1)

    # scipy says too little of what it takes
    operator = LinearOperator((n, n), matvec=step, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    found = eigs(operator, k=1, v0=np.full(n, 1 / n), tol=1e-12)  # pyright: ignore[reportArgumentType]
    weights = _product([np.gradient(axis) for axis in axes])
    p = np.abs(np.real(found[1][:, 0])).reshape(weights.shape) / weights
    return density_of(np.log(np.maximum(p / p.max(), np.finfo(float).tiny)), axes)


def _kernel(x: NDArray[np.float64], mean: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return the share of each start's mass that a step takes to each point, ``(point, start)``."""
    density = np.exp(-np.square((x[:, None] - mean) / width) / 2)
    share = density * np.gradient(x)[:, None]
    # what would leave the grid is kept on it; without mass in reach the nearest point takes all
    total = share.sum(0)
    lost = total < np.finfo(float).tiny
    share[np.abs(x[:, None] - mean[lost]).argmin(0), np.flatnonzero(lost)] = 1.0
    return share / np.where(lost, 1.0, total)


def _product(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the outer product of one or two vectors."""
    return parts[0] if len(parts) == 1 else np.outer(parts[0], parts[1])
