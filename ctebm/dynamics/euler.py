r"""Euler's steps in one loop: those of torchsde and torchdiffeq to the bit, without their calls.

A step of either library allocates a tensor for each term, and looks at its clock; for a small
network that takes longer than the force.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.slices import Flow, Step, in_slices
from ctebm.networks.differentiable import Differentiated
from ctebm.networks.kinks import Box, Kinks

__all__ = ["Flow", "euler_flow", "map_flow", "projected_flow", "sliding_flow", "way"]


def euler_flow(
    dynamics: Dynamics,
    eps: Tensor,
    start: Tensor,
    increment: Callable[[], Tensor] | None = None,
) -> Flow:
    r"""Return the flow of :math:`s \leftarrow s + \epsilon f(s) + \sigma\,\Delta W`.

    Parameters
    ----------
    dynamics : Dynamics
        What gives the drift `f`.
    eps : Tensor
        Step size as it multiplies states, ``()`` or ``(*batch, 1)``.
    start : Tensor, (*batch, unit)
        The state from which the flow begins.
    increment : callable, optional
        Returns the noise of the next step, ``(sample, unit)``; by default there is none.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.dynamics.euler import euler_flow
    >>> net = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())  # ds = -s dt
    >>> s = net.as_state([8.0])
    >>> euler_flow(ctebm.Dynamics(net), torch.tensor(0.5), s)(s, [0, 1, 3])[:, 0]
    tensor([8., 4., 1.], dtype=torch.float64)
    """
    sliced = in_slices(_plain_step, dynamics, eps, start, increment)
    if sliced is not None:
        return sliced
    move = _plain_step(dynamics, eps, start)
    if increment is None:
        return _repeated(move)
    if start.ndim == 2:
        return _repeated(lambda s: move(s).add_(increment()))
    return _repeated(lambda s: move(s).add_(increment().reshape(s.shape)))


def map_flow(drift: Step, eps: Tensor) -> Flow:
    r"""Return the flow of :math:`s \leftarrow s + \epsilon f(s)` of a drift with its own noise.

    Parameters
    ----------
    drift : callable
        The drift `f` of a state ``(*batch, unit)``.
    eps : Tensor
        Step size as it multiplies states, ``()`` or ``(*batch, 1)``.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.euler import map_flow
    >>> map_flow(torch.neg, torch.tensor(0.5))(torch.tensor([8.0]), [0, 1, 3])[:, 0]
    tensor([8., 4., 1.])
    """
    return _repeated(lambda s: (eps * drift(s)).add_(s))


def _plain_step(dynamics: Dynamics, eps: Tensor, _: Tensor) -> Step:
    f = _drift(dynamics)
    return lambda s: (eps * f(s)).add_(s)


def _drift(dynamics: Dynamics) -> Step:
    """Return the drift of many states of the network's dtype, with what stays the same kept."""
    if type(dynamics).f is not Dynamics.f:  # of its own
        return lambda s: dynamics.f(0, s)
    force = dynamics.network.force_operator()
    if dynamics.drive or dynamics.nudge:
        return lambda s: dynamics.with_targets(s, force(s))
    return force


def projected_flow(dynamics: Dynamics, eps: Tensor, start: Tensor, box: Box) -> Flow:
    r"""Return the flow of :math:`s \leftarrow \mathrm{clip}(s + \epsilon f(s), \beta_1, \beta_2)`.

    A unit that starts outside the box is not projected into it: its leak brings it back. A step
    from beside a kink by a rounding error begins on the kink, since the drift jumps there.

    Parameters
    ----------
    dynamics : Dynamics
        What gives the drift `f`.
    eps : Tensor
        Step size as it multiplies states, ``()`` or ``(*batch, 1)``.
    start : Tensor, (*batch, unit)
        The state from which the flow begins.
    box : Box
        The kinks.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.dynamics.euler import projected_flow
    >>> net = ctebm.DenseNetwork([[0.0]], [3.0], ctebm.HardSigmoid())
    >>> s, eps = net.as_state([0.2]), torch.tensor(0.1)
    >>> projected_flow(ctebm.Dynamics(net), eps, s, net.box)(s, [0, 1, 2])[:, 0]
    tensor([0.2000, 0.4800, 0.5000], dtype=torch.float64)
    """

    def make(dynamics: Dynamics, eps: Tensor, start: Tensor) -> Step:
        box = dynamics.box(start)
        assert box is not None
        return _projected_step(dynamics, eps, start, box)

    flow = in_slices(make, dynamics, eps, start)
    if flow is None:
        flow = _repeated(_projected_step(dynamics, eps, start, box))
    return lambda s, stops: flow(box.on_kinks(s), stops)


def _projected_step(dynamics: Dynamics, eps: Tensor, start: Tensor, box: Box) -> Step:
    f = _drift(dynamics)
    confined = bool(box.contains(start).all())  # and so all later states are

    def step(s: Tensor) -> Tensor:
        if confined:
            return box.project((eps * f(s)).add_(s))
        s = box.on_kinks(s)
        return box.including(s).project((eps * f(s)).add_(s))

    return step


def sliding_flow(dynamics: Dynamics, eps: Tensor, kinks: Kinks, box: Box | None) -> Flow:
    r"""Return the flow of Euler's steps that end on the first kink inside the range of each unit.

    From there the next step leads on, back, or nowhere, as the forces on both sides say.

    Parameters
    ----------
    dynamics : Dynamics
        What gives the drift `f`.
    eps : Tensor
        Step size as it multiplies states, ``()`` or ``(*batch, 1)``.
    kinks : Kinks
        The kinks.
    box : Box or None
        The ends of the range.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.dynamics.euler import sliding_flow
    >>> class V(ctebm.Network):
    ...     kinks = ctebm.networks.kinks.Kinks(0.0)
    ...     def energy(self, s):
    ...         return s.abs().sum(-1)
    >>> s, eps = torch.tensor([0.25], dtype=torch.float64), torch.tensor(0.1)
    >>> sliding_flow(ctebm.Dynamics(V(1)), eps, V.kinks, None)(s, [0, 1, 3, 4])[:, 0]
    tensor([0.2500, 0.1500, 0.0000, 0.0000], dtype=torch.float64)
    """

    def step(s: Tensor) -> Tensor:
        move = eps * dynamics.sliding(s)
        return way(s, move, kinks, box).project(s + move)

    return _repeated(step)


def way(s: Tensor, move: Tensor, kinks: Kinks, box: Box | None) -> Box:
    """Return how far each unit goes in one step from `s` that sets out along a move.

    To the next kink of its way at most.
    """
    walls = None if box is None else box.including(s)
    return kinks.cell(kinks.below(s) + (kinks.on(s) & (move > 0)), s, walls)


def _repeated(step: Step) -> Flow:
    """Return the flow of a step."""

    def advance(s: Tensor, stops: list[int]) -> Tensor:
        states = s.new_empty(len(stops), *s.shape)
        states[0] = s
        with Differentiated("a force"):
            for kept, (first, last) in zip(states[1:], pairwise(stops), strict=True):
                for _ in range(first, last):
                    s = step(s)
                kept.copy_(s)
        return states

    return advance
