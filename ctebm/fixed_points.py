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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.network import Network
from ctebm.spectrum import Spectrum, extremal_spectrum, generic_vector

__all__ = ["FixedPoints", "classify", "pinned_units", "residual"]

DENSE_UNITS = 4000


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
    network: Network = field(repr=False)
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
    network: Network,
    s: Tensor,
    tol: float,
    iterations: Tensor,
    *,
    hits: Tensor | None = None,
    continuum: Tensor | None = None,
    failed: int = 0,
) -> FixedPoints:
    """Return the record of states, everything in it evaluated at these states."""
    if network.is_gradient:
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


def residual(network: Network, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return the largest force, or with kinks the largest ``|clip(s + force, b1, b2) - s|``."""
    return defect(network, s, network.force(s) if f is None else f).abs().amax(-1)


def pinned_units(network: Network, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return which units are at a kink with the force pointing out of the box."""
    if network.box is None:
        return torch.zeros_like(s, dtype=torch.bool)
    f = network.force(s) if f is None else f
    low, high = network.box
    return ((s <= low) & (f <= 0)) | ((s >= high) & (f >= 0))


def margin(network: Network, s: Tensor, f: Tensor) -> Tensor:
    """Return how far the nearest unit is from pinning or coming free; infinite without kinks."""
    if network.box is None:
        return torch.full_like(s[..., 0], torch.inf)
    low, high = network.box
    to_kink = torch.minimum(s - low, high - s)
    return torch.where(pinned_units(network, s, f), f.abs(), to_kink).amin(-1)


def project(network: Network, s: Tensor) -> Tensor:
    """Return the nearest states between the kinks, if there are such."""
    return s if network.box is None else s.clamp(*network.box)


def defect(network: Network, s: Tensor, f: Tensor) -> Tensor:
    """Return the force, or with kinks ``clip(s + force, b1, b2) - s``."""
    return project(network, s + f) - s if network.box is not None else f


def check_tolerance(tol: float, dtype: torch.dtype) -> None:
    """Refuse a tolerance below the rounding floor."""
    floor = 8 * torch.finfo(dtype).eps
    if not (math.isfinite(tol) and tol >= floor):
        raise ValueError(
            f"expected tol >= {floor:.1e}, the rounding floor of {dtype}, got {tol}; "
            "use float64 or a larger tol."
        )


def hessian_on(network: Network, s: Tensor, where: Tensor) -> Tensor:
    """Return the Hessian's rows and columns of some units at one state ``(unit,)``."""
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


def classify(network: Network, s: Tensor, spectrum: Spectrum | None = None) -> tuple[int, str]:
    r"""Return the number of unstable directions and the stability of one equilibrium.

    An eigenvalue counts as zero within the square root of rounding or of the residual `r`: a point
    that is known to :math:`r/\lambda` has an eigenvalue known to about that. A point is degenerate
    if an eigenvalue is zero, or if a unit without margin at its kink would change the count.

    Parameters
    ----------
    network : Network
        With a single sample.
    s : Tensor
        ``(unit,)``.
    spectrum : Spectrum, optional
        All eigenpairs on the unpinned units, or enough of the lowest to tell, if known already.
    """
    f = network.force(s)
    pinned = pinned_units(network, s, f)
    if not network.is_gradient:
        growth = torch.linalg.eigvals(network.jacobian(s)[~pinned][:, ~pinned]).real
        counts = [_signs(network, s, -growth)]
    else:
        values = _low_end(network, s, ~pinned) if spectrum is None else spectrum.eigenvalues
        counts = [_signs(network, s, values)]
        weak = pinned & (f.abs() <= math.sqrt(torch.finfo(s.dtype).eps))
        if bool(weak.any()):
            counts.append(_signs(network, s, _low_end(network, s, ~pinned | weak)))
    negative, zero = counts[0]
    if zero or counts[-1] != counts[0]:
        return negative, "degenerate"
    return negative, "saddle" if negative else "stable"


def _signs(network: Network, s: Tensor, values: Tensor) -> tuple[int, int]:
    """Return the numbers of negative and of zero eigenvalues."""
    largest = float(values.abs().max()) if len(values) else 0.0
    zero = math.sqrt(torch.finfo(s.dtype).eps) * max(1.0, largest)
    if network.box is None:  # between kinks the curvature is the same at every point
        zero = max(zero, 2 * math.sqrt(float(residual(network, s))))
    return int((values < -zero).sum()), int((values.abs() <= zero).sum())


def _low_end(network: Network, s: Tensor, free: Tensor) -> Tensor:
    """Return all eigenvalues on some units, or enough of the lowest to have a positive one."""
    where = torch.nonzero(free).squeeze(-1)
    if len(where) <= DENSE_UNITS:
        return torch.linalg.eigvalsh(hessian_on(network, s, where))
    start = generic_vector(len(where), s)
    n_low = 1
    while True:
        found = extremal_spectrum(restricted(network, s, where), start, 1e-5, n_low=n_low)
        values = found.eigenvalues
        if bool((values[:-1] > found.residual[:-1]).any()) or n_low >= 64:
            return values
        n_low *= 4
