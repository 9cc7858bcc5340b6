r"""The conditions of an equilibrium, smooth or at kinks (Karush, Kuhn and Tucker).

Smooth activations: the force vanishes, :math:`\partial E/\partial s = 0` (eq. 9). With a hard
sigmoid units end at its kinks, where the drift points to the kink from both sides and
:math:`R(s) = s` has no solution; the equilibrium is then

.. math:: \hat s = \mathrm{clip}(b + W\rho(\hat s),\, \beta_1,\, \beta_2),

the Karush-Kuhn-Tucker point of ``min E`` over the box between the kinks. A unit is *pinned* at a
kink that its current passes. Either way an equilibrium is a zero of the *residual*.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.layer_rates import LayerRates
from ctebm.networks.numbers import finite
from ctebm.networks.pairwise import PairwiseField

__all__ = [
    "check_tolerance",
    "force_in_box",
    "forces_beside",
    "holding_force",
    "jump_beside",
    "margin",
    "on_kinks",
    "picard_map",
    "pinned_units",
    "project",
    "residual",
    "residual_vector",
]

# How far on both sides a force is looked at for a jump: farther than chattering steps are long.
JUMP_DISTANCE = 1e-3
# A force is a sum of terms of order 1: a few roundings of it are noise.
ROUNDINGS = 8
# The tolerance that nobody asked for, and how many roundings it leaves to narrow dtypes.
DEFAULT_TOL, DEFAULT_ROUNDINGS = 1e-10, 100
# Above it, ends of a search lie so far from where they lead that one point passes for many; in
# single precision the tolerance that nobody asked for is half of it.
COARSEST = 2e-5


def residual_vector(network: VectorField, s: Tensor, f: Tensor) -> Tensor:
    """Return the force, or with kinks ``clip(s + force, beta1, beta2) - s``, ``(*batch, unit)``.

    Parameters
    ----------
    network : VectorField
        Whose box it is.
    s : Tensor
        States, ``(*batch, unit)``.
    f : Tensor
        The force at these states.
    """
    sides = forces_beside(network, s)
    if sides is not None and network.kinks is not None:
        f = network.kinks.sliding(s, f, *sides)
    return f if network.box is None else network.box.residual(s, f)


def forces_beside(network: VectorField, s: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the forces just below and above the kinks inside their range that units are on.

    ``(*batch, unit)`` each; None where no unit is on such a kink.
    """
    if network.kinks is None or not bool(network.kinks.on(s).any()):
        return None
    beside = network.kinks.beside
    return network.force(beside(s, -1)), network.force(beside(s, 1))


def residual(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return the largest entry of :func:`residual_vector` in absolute value, ``(*batch)``."""
    f = network.force(s) if f is None else f
    return residual_vector(network, s, f).abs().amax(-1)


def pinned_units(network: VectorField, s: Tensor, f: Tensor | None = None) -> Tensor:
    """Return which units a kink holds, ``(*batch, unit)``.

    At a face of the box with a force out of it, or on a kink inside their range with forces to it
    from both sides.
    """
    sides, held = forces_beside(network, s), None
    if sides is not None and network.kinks is not None:
        held = network.kinks.pinned(s, *sides)
    if network.box is None:
        return torch.zeros_like(s, dtype=torch.bool) if held is None else held
    out = network.box.pinned(s, network.force(s) if f is None else f)
    return out if held is None else held | out


def holding_force(network: VectorField, s: Tensor, f: Tensor) -> Tensor:
    """Return the size of the force that holds each unit at its kink, the smaller of two sides."""
    sides = forces_beside(network, s)
    if sides is None or network.kinks is None:
        return f.abs()
    least = torch.minimum(sides[0].abs(), sides[1].abs())
    return torch.where(network.kinks.on(s), least, f.abs())


def margin(network: VectorField, s: Tensor, f: Tensor, pinned: Tensor | None = None) -> Tensor:
    """Return how far the nearest unit is from being pinned or released; infinite without kinks.

    Which units are `pinned` is found if not given.
    """
    if network.kinks is not None:
        pinned = pinned_units(network, s, f) if pinned is None else pinned
        found = torch.where(pinned, holding_force(network, s, f), network.kinks.distance(s))
        if network.box is not None:
            found = torch.minimum(found, network.box.margin(s, f))
        return found.amin(-1)
    if network.box is None:
        return torch.full_like(s[..., 0], torch.inf)
    return network.box.margin(s, f, pinned).amin(-1)


def project(network: VectorField, s: Tensor) -> Tensor:
    """Return the nearest states between the kinks; the states themselves without kinks."""
    return s if network.box is None else network.box.project(s)


def on_kinks(network: VectorField, s: Tensor) -> Tensor:
    """Return states with units that a sum has left a rounding error from a kink put on it.

    A unit that its current pins is told by its place.
    """
    return s if network.box is None else network.box.on_kinks(s)


def force_in_box(network: VectorField) -> Callable[[Tensor], Tensor]:
    """Return the force of many states in the box, with what does not change on the way kept."""
    if not isinstance(network, PairwiseField) or not _slopes_are_1(network):
        return network.force_operator()
    rho, current = network.activation, network.current_operator()
    return lambda s: current(rho(s)).sub_(s)


def picard_map(network: VectorField) -> Callable[[Tensor], Tensor]:
    r"""Return Picard's map of states in the box, :math:`R(s)`, with kinks clipped, to new tensors.

    Pairwise couplings are multiplied with what does not change on the way kept. Between kinks their
    slopes are 1 unless other layers have smooth rates.
    """
    if not isinstance(network, PairwiseField):
        return lambda s: project(network, s + network.force(s))
    rho, current = network.activation, network.current_operator()
    if _slopes_are_1(network):
        return lambda s: project(network, current(rho(s)))

    def pressure(s: Tensor) -> Tensor:
        r, slope = rho.rate_and_slope(s)
        return project(network, current(r).mul_(slope))

    return pressure


def _slopes_are_1(network: PairwiseField) -> bool:
    """Return whether every rate has slope 1 in the box, as none has where there is no box."""
    rho = network.activation
    return network.box is not None and not (isinstance(rho, LayerRates) and rho.max_curvature > 0)


def jump_beside(network: VectorField, s: Tensor) -> str:
    """Return a sentence on the unit whose force jumps beside a state ``(unit,)``, or ``""``.

    The force is looked at on both sides, along itself. What differs there as much from nearby as
    from ten times as far jumps, at a kink that is not in the network's box.
    """
    if network.kinks is not None:
        return (
            'the motion meets a kink inside the range of a unit, on which path="flow" does not '
            'slide; settle with path="fast", or simulate it by Euler\'s method.'
        )
    f = network.force(s)
    step = JUMP_DISTANCE * s.abs().max().clamp(min=1) * f / f.abs().max()
    ends = [(project(network, s + d), project(network, s - d)) for d in (step, step / 10)]
    far, near = ((network.force(above) - network.force(below)).abs() for above, below in ends)
    i = int(far.argmax())
    if not float(near[i]) > float(far[i]) / 2:
        return ""
    return (
        f"the force on unit {i} jumps by {float(near[i]):.3g} at the state {float(s[i]):.4g}, a "
        "kink that is not declared; give the rate its kinks (HardSigmoid, or Custom with kinks), a "
        "network of your own its box, or round the kink."
    )


def check_tolerance(
    tol: float | None,
    dtype: torch.dtype,
    default: float = DEFAULT_TOL,
    most: float | None = None,
) -> float:
    """Return the tolerance of the residual; refuse one below what rounding leaves of it.

    Parameters
    ----------
    tol : float or None
        None stands for the default, or in float32 for what its rounding allows.
    dtype : torch.dtype
        Of the states.
    default : float
        In double precision.
    most : float, optional
        Above which it tells no points apart.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For a tolerance below the rounding floor, too large, or that is no finite number.
    """
    unit = torch.finfo(dtype).eps
    if tol is None:
        return max(default, DEFAULT_ROUNDINGS * unit)
    if most is not None:
        finite("tol", tol, high=most, remedy="a coarser one tells no points apart: leave it out")
    remedy = f"that is the rounding floor of {dtype}: use float64 or a larger tol"
    return finite("tol", tol, low=ROUNDINGS * unit, remedy=remedy)
