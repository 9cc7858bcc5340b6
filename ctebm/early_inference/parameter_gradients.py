r"""The reference gradients with respect to weights and biases.

Letters: state ``s``, rate ``r``, adjoint ``g``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.early_inference.gradients import (
    chain_gradient,
    implicit_gradient,
    output_error,
    responsive_units,
)
from ctebm.early_inference.targets import state_and_target
from ctebm.early_inference.through_time import bptt_gradient
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.numbers import one_of, whole

__all__ = ["ParameterGradient", "parameter_gradient"]


@dataclass(frozen=True, eq=False, repr=False)
class ParameterGradient:
    """Gradients of the prediction error of each sample with respect to a layered network.

    Attributes
    ----------
    weights : list of Tensor
        Input first, ``(*batch, size_i, size_i+1)``.
    biases : list of Tensor
        Input first, ``(*batch, size_i)``; zero for the clamped input.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh())
    >>> x, target = [[0.1, 0.2, 0.3]], [[0.2, -0.2]]
    >>> fixed = ctebm.settle(net.clamp({"x": x}))
    >>> gradient = ctebm.parameter_gradient(net, x, fixed, target)
    >>> [tuple(W.shape) for W in gradient.weights]
    [(1, 3, 4), (1, 4, 2)]
    """

    weights: list[Tensor]
    biases: list[Tensor]

    def __repr__(self) -> str:
        weights, biases = (
            ", ".join(str(tuple(x.shape)) for x in of) for of in (self.weights, self.biases)
        )
        return f"ParameterGradient with weights {weights} and biases {biases}"


def parameter_gradient(
    network: LayeredField,
    x: ArrayLike | Tensor,
    state: StateLike,
    target: ArrayLike | Tensor,
    which: Literal["chain", "implicit", "bptt"] = "chain",
    *,
    eps: float | None = None,
    n_steps: int | None = None,
) -> ParameterGradient:
    r"""Return a reference gradient with respect to weights and biases, one a sample.

    ``chain``: :math:`\partial C/\partial W_{ij} = \rho'(s_i)\,g_i\,\rho(s_j)` with `i` the unit
    nearer the output, as eq. 26 has it. ``implicit`` and ``bptt``: a symmetric weight acts in both
    directions, :math:`\rho'(s_i) g_i \rho(s_j) + \rho(s_i) \rho'(s_j) g_j`; for ``bptt`` `g` is
    :math:`\epsilon` times the sum of the adjoints of `n` steps from the equilibrium.

    Parameters
    ----------
    network : LayeredNetwork or FeedbackNetwork
        Whole, its input not clamped.
    x : array, (*batch, input unit)
        Input states.
    state : array or FixedPoints, (*batch, unit)
        The equilibrium of the free units.
    target : array, (*batch, output unit)
        The target states.
    which : {"chain", "implicit", "bptt"}
        The gradient.
    eps, n_steps
        For ``bptt`` alone.

    Returns
    -------
    ParameterGradient
        The mean over a batch is left to the caller.

    Raises
    ------
    ValueError
        For another gradient, a network that is not whole, steps where they have no meaning, and as
        for :func:`chain_gradient`.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.4]]], [[0], [0]], ctebm.HardSigmoid()).centred()
    >>> # at x = 0.1 the output is 0.04: dC/dW = (0.04 - 0.3) rho(0.1)
    >>> ctebm.parameter_gradient(net, [[0.1]], [[0.04]], [[0.3]]).weights[0]
    tensor([[[-0.1560]]], dtype=torch.float64)
    """
    one_of("a gradient", which, ["chain", "implicit", "bptt"])
    if not (eps is None) == (n_steps is None) == (which != "bptt"):
        raise ValueError(
            f"expected eps and n_steps for 'bptt' and only then, got {eps} and {n_steps} for "
            f"{which!r}."
        )
    if not isinstance(network, LayeredField) or "x" not in network.layers:
        raise ValueError(
            f"expected a whole layered network, got {type(network).__name__}; x is clamped here."
        )
    clamped, inputs = network.clamp({"x": x}), network._layer_state("x", x)
    s, target = state_and_target(clamped, state, target)
    if which == "chain":
        g = chain_gradient(clamped, s, target) * responsive_units(clamped, s, target)
    elif eps is None or n_steps is None:
        g = implicit_gradient(clamped, s, target)
    else:
        g = summed_adjoint(clamped, s, target, eps, n_steps)
    inputs = inputs.expand(*g.shape[:-1], -1)
    s = torch.cat([inputs, s.expand_as(g)], -1)
    r = network.activation(s)
    slope_g = network.activation.derivative(s) * torch.cat([torch.zeros_like(inputs), g], -1)
    weights = []
    for below, above in pairwise(network.layers.values()):
        W = r[..., below].unsqueeze(-1) * slope_g[..., above].unsqueeze(-2)
        if which != "chain" and isinstance(network, LayeredNetwork):
            W = W + slope_g[..., below].unsqueeze(-1) * r[..., above].unsqueeze(-2)
        weights.append(W)
    return ParameterGradient(weights, [slope_g[..., where] for where in network.layers.values()])


def summed_adjoint(
    network: VectorField, s: Tensor, target: Tensor, eps: float, n_steps: int
) -> Tensor:
    """Return eps times the sum of the adjoints with 0 to ``n_steps - 1`` steps to go."""
    n_steps = whole("n_steps", n_steps, least=0)
    if n_steps == 0:
        return torch.zeros_like(output_error(network, s, target))
    adjoints = bptt_gradient(network, s, target, eps=eps, n_steps=n_steps - 1, every_step=True)
    return eps * adjoints.sum(0)
