r"""The conditions of an equilibrium, smooth or at kinks (Karush, Kuhn and Tucker).

Smooth activations: :math:`\partial E/\partial s = 0` (eq. 9). With a hard sigmoid units end at its
kinks, where the drift points to the kink from both sides and :math:`R(s) = s` has no solution; the
equilibrium is then

.. math:: \hat s = \mathrm{clip}(b + W\rho(\hat s),\, b_1,\, b_2),

the Karush-Kuhn-Tucker point of ``min E`` over the box between the kinks. A unit is *pinned* at a
kink that its current passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctebm.networks.base import VectorField

__all__ = ["check_tolerance", "defect", "margin", "pinned_units", "project", "residual"]


def residual(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return the largest force, or with kinks the largest ``|clip(s + force, b1, b2) - s|``."""
    return defect(network, s, network.force(s) if f is None else f).abs().amax(-1)


def pinned_units(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return which units are at a kink with the force pointing out of the box."""
    if network.box is None:
        return torch.zeros_like(s, dtype=torch.bool)
    f = network.force(s) if f is None else f
    return network.box.pinned(s, f)


def margin(network: VectorField, s: Tensor, f: Tensor) -> Tensor:
    """Return how far the nearest unit is from pinning or coming free; infinite without kinks."""
    if network.box is None:
        return torch.full_like(s[..., 0], torch.inf)
    return network.box.margin(s, f).amin(-1)


def project(network: VectorField, s: Tensor) -> Tensor:
    """Return the nearest states between the kinks, if there are such."""
    return s if network.box is None else network.box.project(s)


def defect(network: VectorField, s: Tensor, f: Tensor) -> Tensor:
    """Return the force, or with kinks ``clip(s + force, b1, b2) - s``."""
    return f if network.box is None else network.box.residual(s, f)


def check_tolerance(tol: float, dtype: torch.dtype) -> None:
    """Refuse a tolerance below the rounding floor."""
    floor = 8 * torch.finfo(dtype).eps
    if not (math.isfinite(tol) and tol >= floor):
        raise ValueError(
            f"expected tol >= {floor:.1e}, the rounding floor of {dtype}, got {tol}; "
            "use float64 or a larger tol."
        )
