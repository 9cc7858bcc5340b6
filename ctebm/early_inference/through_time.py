r"""Back-propagation through time: the exact adjoint of Euler steps of the free network (P4).

Letters: state ``s``, force ``f``, target ``y*``, adjoint ``g``.
"""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.early_inference.costs import target_of_cost
from ctebm.early_inference.gradients import output_error
from ctebm.early_inference.targets import state_and_target
from ctebm.equilibria.kkt import pinned_units
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.differentiable import off_graph
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, whole

__all__ = ["bptt_gradient"]

_PATH_BYTES = 2**28  # of a path that is kept whole; a longer one is computed again piece by piece
_KEPT_A_STEP = 1.5  # states: the state itself and two masks of a byte a unit
_GRADIENTS = 2  # states a step, where all are asked for: a list, and the array made of it


@small_on_one_thread()
def bptt_gradient(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    *,
    eps: float,
    n_steps: int,
    every_step: bool = False,
    cost: CostFunction | None = None,
) -> Tensor:
    r"""Back-propagate the error through `n` Euler steps of the free network, exactly.

    From a state, :math:`s_{t+1} = s_t + \epsilon f(s_t)`, kept in the box by projection, and
    :math:`C` is the prediction error, or another cost, after the last step. The adjoint is

    .. math:: \lambda_n = \partial C/\partial s_n, \qquad
        \lambda_t = (1 + \epsilon J(s_t))'\lambda_{t+1},

    where a unit that a step leaves at a kink passes nothing. At an equilibrium
    :math:`\lambda_0 = (1 - \epsilon H)^n\,\partial C/\partial s`, which is what a nudge of small
    strength :math:`\beta` does in its step `n + 1`, counted from 1, in units of
    :math:`-\epsilon\beta` (Ernoult et al. 2019; P4).

    Parameters
    ----------
    network : VectorField
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        Where the steps begin, usually the equilibrium.
    target : array, (*batch, output unit)
        The target states :math:`y^*`.
    eps : float
        Step size.
    n_steps : int
        Steps, 0 or more.
    every_step : bool
        Return the gradients with 0 to `n` steps to go, ``(n + 1, *batch, unit)``.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``; by default the squared error.

    Returns
    -------
    Tensor, (*batch, unit)
        The gradient with respect to the state `n` steps before the end; 0 for a pinned unit.

    Raises
    ------
    ValueError
        Without a finite eps > 0 and a whole n_steps >= 0, for steps that do not fit memory, and as
        for :func:`chain_gradient`.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.5]], [[0.4]]], [[0], [0], [0]], ctebm.HardSigmoid())
    >>> net = net.centred().clamp({"x": [0.0]})  # h and y are 0 at equilibrium
    >>> ctebm.bptt_gradient(net, [0.0, 0.0], [0.3], eps=0.1, n_steps=1)
    tensor([-0.0120, -0.2700], dtype=torch.float64)
    """
    s, target = state_and_target(network, state, target)
    given, network = (s, target), network.snapshot()
    eps, n_steps = finite("eps", eps, above=0), whole("n_steps", n_steps, least=0)
    piece = _steps_in_a_piece(s, n_steps, every_step)
    starts = []
    for _ in range(0, n_steps - piece, max(piece, 1)):
        starts.append(s)
        for _ in range(piece):
            s = _step(network, s, eps)[0]
    s, path = _path(network, s, eps, n_steps - piece * len(starts))
    target = target_of_cost(network, s, target, cost)
    g = output_error(network, s, target) * (~pinned_units(network, s)).to(s.dtype)
    gradients = [g]
    while True:
        while path:
            s, free, moves = path.pop()
            g = moves * g
            g = free * (g + eps * network.adjoint_product(s, g))
            if every_step:
                gradients.append(g)
        if not starts:
            return off_graph(torch.stack(gradients) if every_step else g, *given)
        path = _path(network, starts.pop(), eps, piece)[1]


def _steps_in_a_piece(s: Tensor, n_steps: int, every_step: bool) -> int:
    """Return how many steps of the path to keep at a time, or refuse what does not fit memory.

    A path that is kept in pieces is walked twice; about the root of its length is best.
    """
    a_state = s.numel() * s.element_size()
    short = _KEPT_A_STEP * a_state * n_steps <= _PATH_BYTES
    piece = n_steps if short else math.isqrt(n_steps)
    starts = 0 if short else n_steps / piece
    kept = starts + _KEPT_A_STEP * piece + _GRADIENTS * every_step * n_steps
    check_memory(
        f"back-propagation through {n_steps} steps",
        int(kept * a_state),
        "use fewer steps or samples",
        s.device,
    )
    return piece


def _path(
    network: VectorField, s: Tensor, eps: float, n_steps: int
) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Return the state after some steps, and each state before one with what that step moves."""
    path = []
    for _ in range(n_steps):
        after, free, moves = _step(network, s, eps)
        path.append((s, free, moves))
        s = after
    return s, path


def _step(network: VectorField, s: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next state, the units that are free to move, and those left off the kinks."""
    f = network.force(s)
    free = ~pinned_units(network, s, f)
    after = s + eps * f
    if network.box is None:
        return after, free, free
    return network.box.project(after), free, free & network.box.inside(after)
