r"""The inertia of an equilibrium: its unstable directions, on the units that are not pinned.

With an energy the number of negative eigenvalues of the Hessian (the index, F4), without one the
number of eigenvalues of the Jacobian with a positive real part.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.equilibria.krylov import Spectrum, extremal_spectrum, generic_vector
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network

__all__ = ["DENSE_UNITS", "classify", "hessian_on", "restricted"]

# Up to so many unpinned units the matrix is built and all eigenvalues are found.
DENSE_UNITS = 4000
# Relative accuracy of Lanczos' ends, of which the signs are asked for.
LANCZOS_TOL = 1e-5
# The lowest eigenvalues that are counted without the matrix.
MOST_NEGATIVE = 64


def hessian_on(network: Network, s: Tensor, where: Tensor) -> Tensor:
    """Return the Hessian's rows and columns of some units at one state ``(unit,)``."""
    if len(where) == 0:
        return s.new_zeros(0, 0)
    if len(s) <= 2 * DENSE_UNITS:
        return network.hessian(s)[where][:, where]
    product = restricted(network, s, where)
    basis = torch.eye(len(where), dtype=s.dtype, device=s.device)
    return torch.stack([product(e) for e in basis], -1)


def restricted(network: Network, s: Tensor, where: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the Hessian's products on some units at one state ``(unit,)``."""
    product = network.hessian_operator(s)
    if len(where) == len(s):
        return product
    return lambda v: product(torch.zeros_like(s).index_copy(0, where, v))[where]


def classify(network: VectorField, s: Tensor, spectrum: Spectrum | None = None) -> tuple[int, str]:
    r"""Return the number of unstable directions and the stability of one equilibrium.

    An eigenvalue counts as zero within the square root of rounding or of the residual `r`: a point
    that is known to :math:`r/\lambda` has an eigenvalue known to about that. A point is degenerate
    if an eigenvalue is zero, or if a unit without margin at its kink would change the count.

    Parameters
    ----------
    network : VectorField
        With a single sample.
    s : Tensor
        ``(unit,)``.
    spectrum : Spectrum, optional
        All eigenpairs on the unpinned units, or enough of the lowest to tell, if known already.

    Returns
    -------
    tuple of int and str
        The number, and ``"stable"``, ``"saddle"`` or ``"degenerate"``.
    """
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    if not isinstance(network, Network):
        growth = torch.linalg.eigvals(network.jacobian(s)[~pinned][:, ~pinned]).real
        counts = [_count_signs(network, s, -growth)]
    else:
        values = (
            _lowest_eigenvalues(network, s, ~pinned) if spectrum is None else spectrum.eigenvalues
        )
        counts = [_count_signs(network, s, values)]
        weak = pinned & (f.abs() <= root_of_rounding(s.dtype))
        if bool(weak.any()):
            counts.append(_count_signs(network, s, _lowest_eigenvalues(network, s, ~pinned | weak)))
    negative, zero = counts[0]
    if zero or counts[-1] != counts[0]:
        return negative, "degenerate"
    return negative, "saddle" if negative else "stable"


def root_of_rounding(dtype: torch.dtype) -> float:
    """Return the root of the rounding unit, to which a curvature or a margin is known to be 0."""
    return math.sqrt(torch.finfo(dtype).eps)


def _count_signs(network: VectorField, s: Tensor, values: Tensor) -> tuple[int, int]:
    """Return the numbers of negative and of zero eigenvalues."""
    largest = float(values.abs().max()) if len(values) else 0.0
    zero = root_of_rounding(s.dtype) * max(1.0, largest)
    if network.box is None:  # between kinks the curvature is the same at every point
        zero = max(zero, 2 * math.sqrt(float(residual(network, s))))
    return int((values < -zero).sum()), int((values.abs() <= zero).sum())


def _lowest_eigenvalues(network: Network, s: Tensor, free: Tensor) -> Tensor:
    """Return all eigenvalues on some units, or enough of the lowest to have a positive one."""
    where = torch.nonzero(free).squeeze(-1)
    if len(where) <= DENSE_UNITS:
        return torch.linalg.eigvalsh(hessian_on(network, s, where))
    start = generic_vector(len(where), s)
    n_low = 1
    while True:
        found = extremal_spectrum(restricted(network, s, where), start, LANCZOS_TOL, n_low=n_low)
        values = found.eigenvalues
        if bool((values[:-1] > found.residual[:-1]).any()) or n_low >= MOST_NEGATIVE:
            return values
        n_low *= 4
