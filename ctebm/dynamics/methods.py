"""The solvers of torchsde, torchdiffeq and scipy by name, with their orders."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

__all__ = ["METHODS", "Method", "Stream", "method_named"]

Stream = Literal["host", "philox"]  # how normals are made from a seed


@dataclass(frozen=True)
class Method:
    """A solver: its names in the libraries that have it, and its orders.

    Attributes
    ----------
    ode, sde : str or None
        Its names without noise, in torchdiffeq (or scipy), and with noise, in torchsde; None where
        it does not exist.
    order : int
        Order of convergence without noise.
    stages : int
        Evaluations of the drift in a step, which is also how many layers one step crosses.
    weak, strong : float or None
        Orders with additive noise and a smooth rate; None if the method takes no noise. Where the
        noise carries units over a kink, no method is of a higher strong order than 3/4.
    calculus : {"ito", "stratonovich"}
        That of the solver; with additive noise both are the same equation.
    area : bool
        Whether it needs the integral of the noise over a step.
    adaptive : bool
        Whether the step follows a tolerance instead of `eps`.
    scipy : bool
        Whether it is scipy's, on the CPU and without gradients.
    dense : bool
        Whether an adaptive method interpolates within a step to its tolerance; else a step ends at
        each time that is saved.

    Examples
    --------
    >>> from ctebm.dynamics.methods import METHODS
    >>> [name for name, method in METHODS.items() if method.weak == 2 and not method.adaptive]
    ['heun', 'srk']
    >>> METHODS["rk4"].stages
    4
    """

    ode: str | None
    order: int
    stages: int
    sde: str | None = None
    weak: float | None = None
    strong: float | None = None
    calculus: str = "ito"
    area: bool = False
    adaptive: bool = False
    scipy: bool = False
    dense: bool = False


# Milstein's method is Euler's where noise is additive, so it is not listed.
METHODS: dict[str, Method] = {
    "euler": Method("euler", 1, 1, sde="euler", weak=1.0, strong=1.0),
    "midpoint": Method("midpoint", 2, 2),
    "heun": Method("heun2", 2, 2, "heun", weak=2.0, strong=1.0, calculus="stratonovich"),
    "srk": Method(None, 3, 10, sde="srk", weak=2.0, strong=1.5, area=True),
    "adaptive_srk": Method(None, 3, 10, "srk", weak=2.0, strong=1.5, area=True, adaptive=True),
    "rk4": Method("rk4", 4, 4),
    "bosh3": Method("bosh3", 3, 4, adaptive=True),
    "dopri5": Method("dopri5", 5, 7, adaptive=True, dense=True),
    "dopri8": Method("dopri8", 8, 14, adaptive=True),
    "dop853": Method("DOP853", 8, 12, adaptive=True, scipy=True, dense=True),
}


def method_named(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    ValueError
        For a name that is not in :data:`METHODS`, with the nearest one that is.

    Examples
    --------
    >>> from ctebm.dynamics.methods import method_named
    >>> method_named("eular")
    Traceback (most recent call last):
    ValueError: expected a method ..., got 'eular'; did you mean 'euler'?
    """
    if not isinstance(name, str) or name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(METHODS)}."
        raise ValueError(
            f"expected a method of ctebm.dynamics.methods.METHODS, got {name!r}; {hint}"
        )
    return METHODS[name]
