r"""Steps in time of a motion :math:`\dot s = f(s)`, each row with a size of its own.

An explicit pair of order 5 (Dormand & Prince 1980), and a linearly implicit one of order 2 for
smooth motions that are slow beside their fastest mode (Shampine & Reichelt 1997).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.kkt import project
from ctebm.networks.base import VectorField

__all__ = ["Stepped", "dormand_prince", "rosenbrock"]

Force = Callable[[Tensor], Tensor]

# The stages of Dormand and Prince, the last of which is the step, and its difference to order 4.
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DIFFERENCE = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# Of Shampine and Reichelt.
GAMMA, E32 = 1 / (2 + math.sqrt(2)), 6 + math.sqrt(2)


class Stepped(NamedTuple):
    """What a step led to.

    Attributes
    ----------
    state, force : Tensor
        At its end, ``(row, unit)``.
    error : Tensor
        Its difference to a step of a lower order, ``(row, unit)``.
    before, force_before : Tensor
        Another state that it passes and the force there, by which fast modes are seen.
    """

    state: Tensor
    force: Tensor
    error: Tensor
    before: Tensor
    force_before: Tensor


def dormand_prince(network: VectorField, f: Force, s: Tensor, h: Tensor, k1: Tensor) -> Stepped:
    """Return an explicit step of order 5, every stage projected on the box between kinks.

    Parameters
    ----------
    network : VectorField
        Whose box it is.
    f : callable
        Its force.
    s, k1 : Tensor
        States and the forces there, ``(row, unit)``.
    h : Tensor
        Step sizes, ``(row, 1)``.
    """
    k, before, end, u = [k1], s, s, s
    for weights in STAGES:
        before, end = u, torch.addcmul(s, h, _sum(weights, k))
        u = project(network, end)
        k.append(f(u))
    error = h * _sum(DIFFERENCE, k)
    if network.box is not None:
        error = u - project(network, end - error)
    return Stepped(u, k[-1], error, before, k[-2])


def rosenbrock(network: VectorField, f: Force, s: Tensor, h: Tensor, k1: Tensor) -> Stepped:
    r"""Return a step of order 2 that solves with :math:`1 - h \gamma J`, without kinks.

    Fast modes have died out at its end, however long it is. Parameters are those of
    :func:`dormand_prince`.
    """
    J = network.jacobian(s)
    M = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device) - (GAMMA * h).unsqueeze(-1) * J
    factors = torch.linalg.lu_factor_ex(M)[:2]

    def solved(right: Tensor) -> Tensor:
        return torch.linalg.lu_solve(*factors, right.unsqueeze(-1)).squeeze(-1)

    d1 = solved(k1)
    middle = s + h / 2 * d1
    k2 = f(middle)
    d2 = solved(k2 - d1) + d1
    end = s + h * d2
    k3 = f(end)
    d3 = solved(k3 - E32 * (d2 - k2) - 2 * (d1 - k1))
    return Stepped(end, k3, h / 6 * (d1 - 2 * d2 + d3), middle, k2)


def _sum(weights: tuple[float, ...], k: list[Tensor]) -> Tensor:
    total = weights[0] * k[0]
    for weight, force in zip(weights[1:], k[1:], strict=True):
        if weight:
            total.add_(force, alpha=weight)
    return total
