r"""Back-propagation through time: the exact adjoint of Euler steps of the free network (P4).

Letters: state ``s``, force ``f``, target ``y*``, adjoint ``g``.
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.early_inference.gradients import output_error
from ctebm.early_inference.targets import state_and_target
from ctebm.equilibria.kkt import pinned_units
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.memory import check_memory
from ctebm.networks.numbers import finite, whole

__all__ = ["bptt_gradient"]

_KEPT_A_STEP = 4  # the state, two masks and the adjoint


def bptt_gradient(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    *,
    eps: float,
    n_steps: int,
    every_step: bool = False,
) -> Tensor:
    r"""Back-propagate the error through `n` Euler steps of the free network, exactly.

    From a state, :math:`s_{t+1} = s_t + \epsilon f(s_t)`, kept in the box by projection, and
    :math:`C` is the prediction error after the last step. The adjoint is

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
    eps, n_steps = finite("eps", eps, above=0), whole("n_steps", n_steps, least=0)
    check_memory(
        f"back-propagation through {n_steps} steps",
        n_steps * _KEPT_A_STEP * s.numel() * s.element_size(),
        "use fewer steps or samples",
        s.device,
    )
    path = []
    for _ in range(n_steps):
        f = network.force(s)
        free = ~pinned_units(network, s, f)
        after, moves = s + eps * f, free
        if network.box is not None:
            moves = free & network.box.inside(after)
            after = network.box.project(after)
        path.append((s, free.to(s.dtype), moves.to(s.dtype)))
        s = after
    g = output_error(network, s, target) * (~pinned_units(network, s)).to(s.dtype)
    gradients = [g]
    for s, free, moves in reversed(path):
        g = moves * g
        g = free * (g + eps * network.adjoint_product(s, g))
        if every_step:
            gradients.append(g)
    return torch.stack(gradients) if every_step else g
