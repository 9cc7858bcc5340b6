r"""The inertia of an equilibrium: its unstable directions, on the units that are not pinned.

With an energy the number of negative eigenvalues of the Hessian (the index, F4), without one the
number of eigenvalues of the Jacobian with a positive real part. Large sparse matrices are counted
exactly by the signs of the pivots of a factorisation (Sylvester), other large ones by Lanczos'
recurrence, which finds a multiple eigenvalue once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import splu
from torch import Tensor

from ctebm.equilibria.kkt import holding_force, pinned_units, residual
from ctebm.equilibria.krylov import Spectrum, extremal_spectrum, generic_vector
from ctebm.equilibria.rows import Rows
from ctebm.networks.base import VectorField
from ctebm.networks.condensed import Condensed
from ctebm.networks.energy import Network
from ctebm.networks.memory_limits import free_memory
from ctebm.networks.pairwise import PairwiseField
from ctebm.networks.sparse import SparseNetwork

__all__ = [
    "DENSE_UNITS",
    "classify",
    "classify_rows",
    "count_below",
    "hessian_on",
    "restricted",
    "root_of_rounding",
    "without_margin",
]

# Up to so many unpinned units the matrix is built and all eigenvalues are found.
DENSE_UNITS = 4000
# Matrices of so few units are found for many rows together, so many entries at a time.
FEW_UNITS, PORTION = 64, 10**6
# Relative accuracy of Lanczos' ends, of which the signs are asked for.
LANCZOS_TOL = 1e-5
# The lowest eigenvalues that are counted without the matrix.
MOST_NEGATIVE = 64
# Multiplications of a factorisation without pivoting that takes about a minute, and bytes of each
# entry of both factors.
MOST_WORK, BYTES_OF_ENTRY = 10**12, 24
# Entries may grow so much on the way until rounding could change the sign of an eigenvalue that
# does not count as zero.
GROWTH = 1e6


def hessian_on(network: Network, s: Tensor, where: Tensor) -> Tensor:
    """Return the Hessian's rows and columns of some units at one state ``(unit,)``."""
    if len(where) == 0:
        return s.new_zeros(0, 0)
    if len(s) <= 2 * DENSE_UNITS and not isinstance(network, Condensed):
        return network.hessian(s)[where][:, where]
    product = restricted(network, s, where)
    basis = torch.eye(len(where), dtype=s.dtype, device=s.device)
    return torch.stack([product(e) for e in basis], -1)


def restricted(network: Network, s: Tensor, where: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the Hessian's products on some units at one state ``(unit,)``."""
    product = network.hessian_operator_on(s, torch.zeros_like(s).index_fill(0, where, 1.0))
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
        All eigenpairs of the Hessian on the unpinned units, or enough of the lowest to tell, if
        known already.

    Returns
    -------
    tuple of int and str
        The number, and ``"stable"``, ``"saddle"`` or ``"degenerate"``.
    """
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    counts = [
        _inertia(network, s, ~pinned)
        if spectrum is None
        else _count_signs(network, s, spectrum.eigenvalues)
    ]
    weak = without_margin(network, s, f)
    if bool(weak.any()):
        counts.append(_inertia(network, s, ~pinned | weak))
    return _kind(counts[0], counts[-1])


def classify_rows(rows: Rows[VectorField], s: Tensor) -> list[tuple[int, str]]:
    """Return :func:`classify` of equilibria ``(row, unit)``, of few units many rows together."""
    n = s.shape[-1]
    if n > FEW_UNITS:
        return [classify(rows.one(i), u) for i, u in enumerate(s)]
    kinds = []
    for some in torch.arange(len(s), device=s.device).split(max(1, PORTION // n**2)):
        network, states = rows[some].network, s[some]
        f = network.force(states)
        pinned = pinned_units(network, states, f)
        weak = without_margin(network, states, f)
        counts = _count_together(network, states, pinned)
        released = _count_together(network, states, pinned & ~weak) if weak.any() else counts
        kinds += map(_kind, counts, released)
    return kinds


def without_margin(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return which units are pinned at a kink by no force, ``(*batch, unit)``.

    Nothing holds them there if another unit moves. The force `f` there is evaluated if not given.
    """
    small, none = root_of_rounding(s.dtype), torch.zeros_like(s, dtype=torch.bool)
    if network.kinks is None:
        if network.box is None or not s.numel():
            return none
        far = network.box.distance(s)
        # the sum is small where both are: most often nowhere, which one look tells
        if not bool((far if f is None else far + f.abs()).amin() <= small):
            return none
    f = network.force(s) if f is None else f
    weak = holding_force(network, s, f) <= small
    return pinned_units(network, s, f) & weak


def _kind(inertia: tuple[int, int], released: tuple[int, int]) -> tuple[int, str]:
    """Return index and stability from the inertia, and that with units without margin free."""
    negative, zero = inertia
    if zero or released != inertia:
        return negative, "degenerate"
    return negative, "saddle" if negative else "stable"


def _count_together(network: VectorField, s: Tensor, held: Tensor) -> list[tuple[int, int]]:
    """Return the inertia of states ``(row, unit)``, those of whose units are held stay."""
    J = network.jacobian(s).masked_fill(held.unsqueeze(-1) | held.unsqueeze(-2), 0.0)
    J.diagonal(dim1=-2, dim2=-1).sub_(held.to(J.dtype))  # a curvature of 1, which is no zero
    if isinstance(network, Network):
        values = -torch.linalg.eigvalsh(J)
    else:
        values = -torch.linalg.eigvals(J).real
    size = values.abs().amax(-1, keepdim=True)
    zero = _zeros(network, residual(network, s).unsqueeze(-1), size)
    negative, flat = (values < -zero).sum(-1), (values.abs() <= zero).sum(-1)
    return list(zip(negative.tolist(), flat.tolist(), strict=True))


def root_of_rounding(dtype: torch.dtype) -> float:
    """Return the root of the rounding unit, to which a curvature or a margin is known to be 0."""
    return math.sqrt(torch.finfo(dtype).eps)


def count_below(H: Any, level: float) -> int | None:
    """Return the number of eigenvalues of a sparse symmetric matrix below a level.

    That of the negative pivots of ``H - level`` (Sylvester's law of inertia).

    Parameters
    ----------
    H : scipy sparse array
        ``(unit, unit)``.
    level : float
        Not an eigenvalue.

    Returns
    -------
    int or None
        None if the factors are too large, or do not exist without pivoting.

    Examples
    --------
    >>> import scipy.sparse
    >>> from ctebm.equilibria.inertia import count_below
    >>> count_below(scipy.sparse.diags_array([1.0, 1.0, 3.0]), 2.0)
    2
    """
    if not _affordable(H):
        return None
    shifted = scipy.sparse.csc_array(H - level * scipy.sparse.eye_array(H.shape[0]))
    try:  # the order of the columns also for the rows, so that the pivots are those of LDL'
        factors = splu(
            shifted,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except (RuntimeError, MemoryError):  # a pivot is 0
        return None
    symmetric = bool((factors.perm_r == factors.perm_c).all())
    if not symmetric or abs(factors.U).max() > GROWTH * abs(shifted).max():
        return None
    return int((factors.U.diagonal() < 0).sum())


def _affordable(H: Any) -> bool:
    """Return whether the band of the matrix, best ordered, is narrow enough to be factorised."""
    order = reverse_cuthill_mckee(scipy.sparse.csr_array(H), symmetric_mode=True)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    entries = scipy.sparse.coo_array(H)
    band = np.zeros(len(order))  # from the first entry of each row to the diagonal
    np.maximum.at(band, place[entries.row], place[entries.row] - place[entries.col])
    fits = BYTES_OF_ENTRY * band.sum() < free_memory()
    return bool(fits and np.square(band).sum() < MOST_WORK)


def _inertia(network: VectorField, s: Tensor, free: Tensor) -> tuple[int, int]:
    """Return the numbers of unstable directions and of zero eigenvalues on some units."""
    if not isinstance(network, Network):
        growth = torch.linalg.eigvals(network.jacobian(s)[free][:, free]).real
        return _count_signs(network, s, -growth)
    where = torch.nonzero(free).squeeze(-1)
    if len(where) > DENSE_UNITS and isinstance(network, SparseNetwork):
        units = where.cpu().numpy()
        H = network.sparse_hessian(s)[units][:, units]
        zero = _zero(network, s, float(abs(H).sum(axis=1).max()))
        below, above = count_below(H, -zero), count_below(H, zero)
        if below is not None and above is not None:
            return below, above - below
    values = _lowest_eigenvalues(network, s, where)
    negative, n_zero = _count_signs(network, s, values)
    if negative and len(where) > DENSE_UNITS:
        warnings.warn(
            f"the index is at least {negative}: without a sparse Hessian that can be factorised, "
            f"equal eigenvalues of more than {DENSE_UNITS} units are counted once; use "
            "linearize(network, s, dense=True) if the matrix fits.",
            stacklevel=2,
        )
    return negative, n_zero


def _count_signs(network: VectorField, s: Tensor, values: Tensor) -> tuple[int, int]:
    """Return the numbers of negative and of zero eigenvalues."""
    zero = _zero(network, s, float(values.detach().abs().max()) if len(values) else 0.0)
    return int((values < -zero).sum()), int((values.abs() <= zero).sum())


def _zero(network: VectorField, s: Tensor, largest: float) -> float:
    """Return the absolute value below which an eigenvalue counts as zero."""
    size = torch.tensor(largest, dtype=s.dtype, device=s.device)
    return float(_zeros(network, residual(network, s), size).detach())


def _zeros(network: VectorField, r: Tensor, largest: Tensor) -> Tensor:
    """Return what counts as zero at states of the residual `r`."""
    zero = root_of_rounding(r.dtype) * largest.clamp(min=1)
    linear = isinstance(network, PairwiseField) and network.activation.max_curvature == 0
    if network.box is not None and linear:  # between kinks the curvature is everywhere the same
        return zero
    return torch.maximum(zero, 2 * r.sqrt())


def _lowest_eigenvalues(network: Network, s: Tensor, where: Tensor) -> Tensor:
    """Return all eigenvalues on some units, or enough of the lowest to have a positive one."""
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
