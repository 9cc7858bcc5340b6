r"""Equilibria of a network, smooth and kinked.

Smooth activations: :math:`\partial E/\partial s = 0` (eq. 9). With a hard sigmoid units end at its
kinks, where the drift points to the kink from both sides and :math:`R(s) = s` has no solution; the
equilibrium is then

.. math:: \hat s = \mathrm{clip}(b + W\rho(\hat s),\, b_1,\, b_2),

the Karush-Kuhn-Tucker point of ``min E`` over the box between the kinks. A unit is *pinned* at a
kink that its current passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.network import Network

__all__ = ["FixedPoints", "settle"]


@dataclass(frozen=True)
class FixedPoints:
    """Points at which a network rests, one for each sample.

    Attributes
    ----------
    state : Tensor
        ``(*batch, unit)``.
    energy : Tensor
        ``(*batch)``.
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
    iterations : int
        Evaluations of the force by the slowest sample.
    """

    state: Tensor
    energy: Tensor
    residual: Tensor
    converged: Tensor
    message: list[str]
    pinned: Tensor
    margin: Tensor
    iterations: int
    tol: float
    network: Network = field(repr=False)

    def raise_for_status(self) -> FixedPoints:
        """Return the points themselves, or raise RuntimeError for the first that failed."""
        for sentence in self.message:
            if sentence:
                raise RuntimeError(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return the points with named dimensions ``sample`` and ``unit``."""
        n_units = self.state.shape[-1]
        names = np.full(n_units, "s", dtype=object)
        for name, where in self.network.layers.items():
            names[where] = name
        row = ("sample",)
        return xr.Dataset(
            {
                "state": variable(("sample", "unit"), self.state.reshape(-1, n_units), "state"),
                "pinned": variable(
                    ("sample", "unit"), self.pinned.reshape(-1, n_units), "held at a kink"
                ),
                "energy": variable(row, self.energy.reshape(-1), "energy"),
                "residual": variable(row, self.residual.reshape(-1), "largest force"),
                "margin": variable(row, self.margin.reshape(-1), "distance from losing pinning"),
                "converged": variable(row, self.converged.reshape(-1), "residual within tolerance"),
            },
            {"layer_of_unit": variable(("unit",), names.astype(str), "layer of the unit")},
            {"tolerance": self.tol},
        )


def settle(
    network: Network,
    start: ArrayLike | Tensor | None = None,
    tol: float = 1e-10,
    max_iterations: int = 10_000,
) -> FixedPoints:
    r"""Find one equilibrium for each sample, downhill in energy from a start.

    Parameters
    ----------
    network : Network
        Its clamped inputs, if any, set the batch.
    start : array, (*batch, unit), optional
        By default the state 0, which lies between the kinks.
    tol : float
        Bound on the residual at the returned point (see :class:`FixedPoints`).
    max_iterations : int
        Bound on the steps of each sample.

    Returns
    -------
    FixedPoints
        A sample that has not converged says so in ``converged`` and ``message``.
    """
    s = _start(network, start)
    floor = 8 * torch.finfo(s.dtype).eps
    if not tol >= floor:
        raise ValueError(
            f"expected tol >= {floor:.1e}, the rounding floor of {s.dtype}, got {tol}; "
            "use float64 or a larger tol."
        )
    h = torch.full_like(s[..., :1], 0.5)
    energy, f = network.energy(s), network.force(s)
    iterations = 0
    while iterations < max_iterations:
        far = residual(network, s, f) > tol
        if not bool(far.any()):
            break
        iterations += 1
        step = _newton_step(network, s, f) if iterations % 16 == 0 else h * f
        s_new = _project(network, s + step)
        energy_new, f_new = network.energy(s_new), network.force(s_new)
        # Near the bottom the energy is flat to rounding: then the residual decides.
        slack = 2 * torch.finfo(s.dtype).eps * s.shape[-1] * (1 + energy.abs())
        lower = energy_new < energy - slack
        level = (energy_new <= energy + slack) & (
            _defect(network, s_new, f_new).norm(dim=-1) < _defect(network, s, f).norm(dim=-1)
        )
        ok = ((lower | level) & far).unsqueeze(-1)
        s, f = torch.where(ok, s_new, s), torch.where(ok, f_new, f)
        energy = torch.where(ok.squeeze(-1), energy_new, energy)
        if iterations % 16:
            h = torch.where(ok, (1.1 * h).clamp(max=1.0), (h / 2).clamp(min=1e-3))
    return _points(network, s, tol, iterations)


def residual(network: Network, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return the largest force, or with kinks the largest ``|clip(s + force, b1, b2) - s|``."""
    f = network.force(s) if f is None else f
    return _defect(network, s, f).abs().amax(-1)


def pinned_units(network: Network, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return which units are at a kink with the force pointing out of the box."""
    if network.box is None:
        return torch.zeros_like(s, dtype=torch.bool)
    f = network.force(s) if f is None else f
    low, high = network.box
    return ((s <= low) & (f <= 0)) | ((s >= high) & (f >= 0))


def _start(network: Network, start: ArrayLike | Tensor | None) -> Tensor:
    bias = getattr(network, "bias", None)
    if start is None:
        if network.n_units is None:
            raise ValueError("this network takes states of any length; give a start.")
        start = torch.zeros(network.n_units, dtype=network.dtype, device=network.device)
    s = network.as_state(start)
    if not bool(torch.isfinite(s).all()):
        raise ValueError("expected a finite start, got NaN or infinity; clean the start state.")
    batch = network.energy(s).shape
    if bias is not None and bias.shape[:-1] != batch:
        batch = torch.broadcast_shapes(batch, bias.shape[:-1])
    return _project(network, s.expand(*batch, -1).clone())


def _project(network: Network, s: Tensor) -> Tensor:
    return s if network.box is None else s.clamp(*network.box)


def _defect(network: Network, s: Tensor, f: Tensor) -> Tensor:
    return _project(network, s + f) - s


def _newton_step(network: Network, s: Tensor, f: Tensor, max_cg: int = 200) -> Tensor:
    """Return the Newton step on unpinned units by conjugate gradients.

    Stops at negative curvature with the direction so far, which is downhill.
    """
    free = (~pinned_units(network, s, f)).to(s.dtype)
    r = f * free
    d, p, rr = torch.zeros_like(r), r.clone(), (r * r).sum(-1, keepdim=True)
    goal = rr * torch.finfo(s.dtype).eps
    running = rr > 0
    for _ in range(min(max_cg, 2 * s.shape[-1])):
        Hp = free * network.hessian_product(s, p)
        curvature = (p * Hp).sum(-1, keepdim=True)
        running = running & (curvature > 0) & (rr > goal)
        if not bool(running.any()):
            break
        alpha = torch.where(running, rr / curvature, 0.0)
        d, r = d + alpha * p, r - alpha * Hp
        rr_new = (r * r).sum(-1, keepdim=True)
        p = torch.where(running, r + rr_new / rr * p, p)
        rr = torch.where(running, rr_new, rr)
    return torch.where((d == 0).all(-1, keepdim=True), f, d)


def _points(network: Network, s: Tensor, tol: float, iterations: int) -> FixedPoints:
    f = network.force(s)
    res = residual(network, s, f)
    pinned = pinned_units(network, s, f)
    if network.box is None:
        margin = torch.full_like(res, torch.inf)
    else:
        low, high = network.box
        margin = torch.where(pinned, f.abs(), torch.minimum(s - low, high - s)).amin(-1)
    converged = res <= tol
    message = [
        ""
        if ok
        else f"sample {i} has residual {r:.3g} > {tol:g} after {iterations} steps; "
        "give another start or more iterations."
        for i, (ok, r) in enumerate(
            zip(converged.flatten().tolist(), res.flatten().tolist(), strict=True)
        )
    ]
    return FixedPoints(
        s, network.energy(s), res, converged, message, pinned, margin, iterations, tol, network
    )
