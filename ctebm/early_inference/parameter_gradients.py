r"""The reference gradients with respect to the parameters of any network.

Letters: state ``s``, rate ``r``, adjoint ``g``, parameter :math:`\theta`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.early_inference.costs import target_of_cost
from ctebm.early_inference.force_products import (
    driven_products,
    whole_products,
)
from ctebm.early_inference.gradients import (
    chain_feedback,
    chain_gradient,
    implicit_gradient,
    output_error,
    responsive_units,
)
from ctebm.early_inference.targets import state_and_target
from ctebm.early_inference.through_time import bptt_gradient
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.drives import driven_layers
from ctebm.networks.layer_states import states_of_layer
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.named import named_tensors, with_leaves
from ctebm.networks.nonconservative import FeedbackNetwork
from ctebm.networks.numbers import one_of, whole

__all__ = [
    "CostFunction",
    "ParameterGradient",
    "parameter_gradient",
    "summed_adjoint",
    "target_of_cost",
]

Which = Literal["chain", "chain_feedback", "implicit", "bptt"]

_CHAINS = {"chain": chain_gradient, "chain_feedback": chain_feedback}


@dataclass(frozen=True, eq=False, repr=False)
class ParameterGradient:
    """Gradients of the cost of each sample with respect to the parameters of a network.

    Attributes
    ----------
    by_name : dict of str to Tensor
        ``(*batch, *shape)`` for each parameter; of layers coupled as in eq. 6 ``weights.0 ..``,
        ``biases.0 ..`` and ``feedback.0 ..``, input first.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh())
    >>> x, target = [[0.1, 0.2, 0.3]], [[0.2, -0.2]]
    >>> fixed = ctebm.settle(net.clamp({"x": x}))
    >>> gradient = ctebm.parameter_gradient(net, x, fixed, target)
    >>> [tuple(W.shape) for W in gradient.weights]
    [(1, 3, 4), (1, 4, 2)]
    >>> list(gradient.by_name)
    ['weights.0', 'weights.1', 'biases.0', 'biases.1', 'biases.2']
    """

    by_name: dict[str, Tensor]

    @property
    def weights(self) -> list[Tensor]:
        """The parameters called ``weights``, input first, ``(*batch, size_i, size_i+1)``."""
        return self._called("weights")

    @property
    def biases(self) -> list[Tensor]:
        """The parameters called ``biases``, input first, ``(*batch, size_i)``."""
        return self._called("biases")

    @property
    def feedback(self) -> list[Tensor]:
        """The parameters called ``feedback``, input first, ``(*batch, size_i, size_i+1)``."""
        return self._called("feedback")

    def _called(self, name: str) -> list[Tensor]:
        return [g for key, g in self.by_name.items() if key.split(".")[0] == name]

    def __repr__(self) -> str:
        shapes = [f"{name} {tuple(g.shape)}" for name, g in self.by_name.items()]
        return f"ParameterGradient({', '.join(shapes)})"


@small_on_one_thread()
def parameter_gradient(
    network: VectorField,
    x: ArrayLike | Tensor,
    state: StateLike,
    target: ArrayLike | Tensor,
    which: Which = "chain",
    *,
    eps: float | None = None,
    n_steps: int | None = None,
    cost: CostFunction | None = None,
) -> ParameterGradient:
    r"""Return a reference gradient with respect to the parameters of any network, one a sample.

    With `g` the gradient of the same name with respect to states, and :math:`\theta` a parameter
    that drives layer `l` (the layer of its coupling that is nearer the output):

    - ``chain``, ``chain_feedback``: :math:`(\partial f_l/\partial\theta)'g_l`, the product with
      the force of the driven layer alone. For eq. 6 it is :math:`\rho'(s_i)\,g_i\,\rho(s_j)` with
      `i` the unit nearer the output, as eq. 26 has it; for predictive coding it is
      back-propagation.
    - ``implicit``, ``bptt``: the product with all forces. For eq. 6 a symmetric weight acts in both
      directions, :math:`\rho'(s_i) g_i \rho(s_j) + \rho(s_i) \rho'(s_j) g_j`; for ``bptt`` `g` is
      :math:`\epsilon` times the sum of the adjoints of `n` steps from the equilibrium.

    Parameters
    ----------
    network : VectorField
        Whole, its first layer is the input and not clamped. What each parameter drives is taken
        from its ``drives``, else found by trying the force.
    x : array, (*batch, input unit)
        Input states.
    state : array or FixedPoints, (*batch, unit)
        The equilibrium of the free units.
    target : array, (*batch, output unit)
        The target states.
    which : {"chain", "chain_feedback", "implicit", "bptt"}
        The gradient; ``chain_feedback`` goes down by the feedback where the directions differ.
    eps, n_steps
        For ``bptt`` alone.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``, of output states and targets; by default
        the squared error :math:`|y - y^*|^2 / 2`.

    Returns
    -------
    ParameterGradient
        The mean over a batch is left to the caller.

    Raises
    ------
    ValueError
        For another gradient, a network that is not whole, steps where they have no meaning, a
        parameter of which it can't be told what it drives, and as for :func:`chain_gradient`.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.4]]], [[0], [0]], ctebm.HardSigmoid()).centred()
    >>> # at x = 0.1 the output is 0.04: dC/dW = (0.04 - 0.3) rho(0.1)
    >>> ctebm.parameter_gradient(net, [[0.1]], [[0.04]], [[0.3]]).weights[0]
    tensor([[[-0.1560]]], dtype=torch.float64)
    """
    one_of("a gradient", which, ["chain", "chain_feedback", "implicit", "bptt"])
    if not (eps is None) == (n_steps is None) == (which != "bptt"):
        raise ValueError(
            f"expected eps and n_steps for 'bptt' and only then, got {eps} and {n_steps} for "
            f"{which!r}."
        )
    if not isinstance(network, VectorField) or not network.layers or network.origin[1]:
        raise ValueError(
            f"expected a whole network with named layers, got {type(network).__name__}; x is "
            "clamped here."
        )
    first = next(iter(network.layers))
    clamped, inputs = network.clamp({first: x}), states_of_layer(network, first, x)
    s, target = state_and_target(clamped, state, target)
    target = target_of_cost(clamped, s, target, cost)
    if which in _CHAINS:
        g = _CHAINS[which](clamped, s, target) * responsive_units(clamped, s, target)
    elif eps is None or n_steps is None:
        g = implicit_gradient(clamped, s, target)
    else:
        g = summed_adjoint(clamped, s, target, eps, n_steps)
    inputs, s = inputs.expand(*g.shape[:-1], -1), s.expand_as(g)
    if isinstance(network, LayeredNetwork | FeedbackNetwork):
        return _of_layers(network, inputs, s, g, whole=which not in _CHAINS)
    return _of_any(network, inputs, s, g, whole=which not in _CHAINS)


def _of_any(
    network: VectorField, x: Tensor, s: Tensor, g: Tensor, *, whole: bool
) -> ParameterGradient:
    """Return the gradient by products with the force, sample by sample."""
    batch = g.shape[:-1]
    x, s, g = (t.reshape(-1, t.shape[-1]) for t in (x, s, g))
    own = with_leaves(network)
    parameters = named_tensors(own)
    if whole:
        found = whole_products(own, parameters, x, s, g, each=True)
    else:
        drives = driven_layers(own, parameters)
        found = driven_products(own, parameters, drives, x, s, g, each=True)
    return ParameterGradient({name: p.reshape(*batch, *p.shape[1:]) for name, p in found.items()})


def _of_layers(
    network: LayeredField, x: Tensor, s: Tensor, g: Tensor, *, whole: bool
) -> ParameterGradient:
    """Return the gradient of layers coupled as in eq. 6 in closed form."""
    states = torch.cat([x, s], -1)
    r = network.activation(states)
    slope_g = network.activation.derivative(states) * torch.cat([torch.zeros_like(x), g], -1)
    weights, feedback = [], []
    for below, above in pairwise(network.layers.values()):
        W = r[..., below].unsqueeze(-1) * slope_g[..., above].unsqueeze(-2)
        V = slope_g[..., below].unsqueeze(-1) * r[..., above].unsqueeze(-2)
        symmetric = isinstance(network, LayeredNetwork)
        weights.append(W + V if whole and symmetric else W)
        feedback += [] if symmetric else [V if whole else torch.zeros_like(V)]
    biases = [slope_g[..., where] for where in network.layers.values()]
    lists = {"weights": weights, "feedback": feedback, "biases": biases}
    return ParameterGradient(
        {f"{name}.{i}": t for name, tensors in lists.items() for i, t in enumerate(tensors)}
    )


def summed_adjoint(
    network: VectorField, s: Tensor, target: Tensor, eps: float, n_steps: int
) -> Tensor:
    """Return eps times the sum of the adjoints with 0 to ``n_steps - 1`` steps to go."""
    n_steps = whole("n_steps", n_steps, least=0)
    if n_steps == 0:
        return torch.zeros_like(output_error(network, s, target))
    adjoints = bptt_gradient(network, s, target, eps=eps, n_steps=n_steps - 1, every_step=True)
    return eps * adjoints.sum(0)
