"""Every equilibrium of a few units with kinks: all patterns of free and pinned units are solved."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.kkt import check_tolerance, residual
from ctebm.equilibria.record import FixedPoints
from ctebm.networks.base import VectorField, count_units, single

__all__ = ["can_enumerate", "enumerate_fixed_points", "enumerated"]

# Up to here every pattern of pinned and free hard sigmoids is tried, 3^12 = 531,441, which takes
# less than a search; so many numbers of them at a time.
ENUMERATED_UNITS, PORTION = 12, 10**6
# Singular values below, relative to the largest, are 0: the pattern has a continuum of solutions.
SINGULAR = 1e-12


@small_on_one_thread()
def enumerate_fixed_points(network: VectorField, tol: float | None = None) -> FixedPoints:
    r"""Return every equilibrium of up to 12 hard-sigmoid units, from all :math:`3^N` patterns.

    Each unit is free, pinned low or pinned high; the free ones solve a linear system, and the
    pattern counts if it agrees with the currents. This is exact but for continua, of which one
    point is given for each singular pattern that has its smallest solution inside the box.

    Parameters
    ----------
    network : VectorField
        With one sample, linear between its kinks.
    tol : float, optional
        Bound on the residual, as for :func:`settle`.

    Returns
    -------
    FixedPoints
        Distinct points ``(fixed_point, unit)`` in order of energy, without ``hits``.

    Raises
    ------
    ValueError
        If the network has no kinks, more than 12 units or more than one sample.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    >>> ctebm.enumerate_fixed_points(pair).state
    tensor([[-0.5000, -0.5000],
            [ 0.5000,  0.5000],
            [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    network = single(network)
    tol = check_tolerance(tol, network.dtype)
    if not can_enumerate(network):
        n, box = count_units(network), network.box
        raise ValueError(
            f"expected up to {ENUMERATED_UNITS} units with kinks, got {n} units and box {box}; "
            "use find_fixed_points."
        )
    catalogue = Catalogue(network, tol)
    catalogue.add(enumerated(network, tol))
    return catalogue.points()


def can_enumerate(network: VectorField) -> bool:
    """Return whether every unit has kinks, and there are few enough for all patterns."""
    if network.box is None or count_units(network) > ENUMERATED_UNITS:
        return False
    return all(
        bool(torch.isfinite(torch.as_tensor(kink, device="cpu")).all()) for kink in network.box
    )


def enumerated(network: VectorField, tol: float) -> Tensor:
    """Return the solutions of all patterns of units that are free, pinned low or pinned high."""
    return torch.cat([s[residual(network, s) <= tol] for s in _patterns(network)])


def _patterns(network: VectorField) -> Iterator[Tensor]:
    """Yield states inside the box, ``(state, unit)``, at which the free units have no force.

    Of each number of free units every choice, with the others at every choice of kinks.
    """
    n, box = count_units(network), network.box
    assert box is not None
    low, high = box.each(torch.zeros(n, dtype=network.dtype, device=network.device))
    origin = (low + high) / 2
    J, f0 = network.jacobian(origin), network.force(origin)
    for n_free in range(n + 1):
        up = _choices(itertools.product([False, True], repeat=n - n_free), n - n_free, origin)
        chosen = _choices(itertools.combinations(range(n), n_free), n_free, origin).long()
        for free in chosen.split(max(1, PORTION // (n * len(up)))):
            is_free = torch.zeros(len(free), n, dtype=torch.bool, device=free.device)
            is_free = is_free.scatter(1, free, True)
            held = torch.nonzero(~is_free)[:, 1].reshape(len(free), 1, n - n_free)
            s = origin.repeat(len(free), len(up), 1)
            at_kinks = torch.where(up.bool(), high[held], low[held])
            s = s.scatter(2, held.expand_as(at_kinks), at_kinks)
            # force = f0 + J (s - origin), which is 0 on the free units
            known = f0 + (s - origin) @ J.mT
            at = free.unsqueeze(1).expand(-1, len(up), -1)
            inverse = torch.linalg.pinv(J[free.unsqueeze(-1), free.unsqueeze(1)], rtol=SINGULAR)
            solved = origin[at] - known.gather(2, at) @ inverse.mT
            s = s.scatter(2, at, solved).flatten(0, 1)
            yield s[box.contains(s).all(-1)]


def _choices(rows: Iterable[tuple[int, ...]], n: int, like: Tensor) -> Tensor:
    """Return rows of `n` numbers as a tensor, ``(row, n)``, also where `n` is 0."""
    chosen = list(rows)
    return torch.tensor(chosen, device=like.device).reshape(len(chosen), n)
