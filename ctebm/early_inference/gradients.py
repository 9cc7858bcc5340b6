r"""The reference gradients of the prediction error :math:`C = |\hat y - y^*|^2 / 2` (eq. 13).

Each has its name. ``chain`` is what back-propagation from layer to layer gives at the equilibrium
(eqs. 22-25); ``implicit`` is the adjoint of the equilibrium itself, recurrent back-propagation
(Almeida 1987, Pineda 1987). The third, ``bptt``, is in :mod:`ctebm.early_inference.through_time`.
They agree as far as activity does not come back: see the theory page.

Letters: state ``s``, rate ``r``, target ``y*``, adjoint ``g``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.early_inference.costs import target_of_cost
from ctebm.early_inference.targets import state_and_target
from ctebm.equilibria.kkt import pinned_units
from ctebm.equilibria.linear_systems import conjugate_gradients, positive_definite
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.couplings import check_chain
from ctebm.networks.differentiable import off_graph
from ctebm.networks.energy import Network

__all__ = [
    "back_propagate",
    "chain_feedback",
    "chain_gradient",
    "implicit_gradient",
    "output_error",
    "responsive_units",
]


def responsive_units(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    one_sided: bool = True,
) -> Tensor:
    """Return which units carry a small change at an equilibrium, ``(*batch, unit)``.

    Pinned hidden units do not. An output unit at a kink, being driven, does if its target pulls it
    back into the box (the one-sided derivative of its rate is 1), and does not if it pulls it out.

    Parameters
    ----------
    network, state, target, one_sided
        As in :func:`chain_gradient`.

    Raises
    ------
    ValueError
        As for :func:`chain_gradient`.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.gradients import responsive_units
    >>> net = ctebm.LayeredNetwork([[[0.1]]], [[0], [2]], ctebm.HardSigmoid()).clamp({"x": [0]})
    >>> responsive_units(net, [[0.5], [0.5]], [[0.2], [0.9]])
    tensor([[ True],
            [False]])
    """
    return _responsive(network, *state_and_target(network, state, target), one_sided)


def _responsive(network: VectorField, s: Tensor, target: Tensor, one_sided: bool) -> Tensor:
    y, responsive = network.layers[network.output], ~pinned_units(network, s)
    if network.box is not None:
        outward = network.box.pulled_out(s, -output_error(network, s, target))[..., y]
        responsive = responsive.expand(*outward.shape[:-1], -1).clone()
        if one_sided:
            responsive[..., y] = ~outward
    return responsive


@small_on_one_thread()
def chain_gradient(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    one_sided: bool = True,
    cost: CostFunction | None = None,
) -> Tensor:
    r"""Back-propagate the prediction error from layer to layer at an equilibrium.

    .. math:: g_0 = \hat y - y^*, \qquad
        g_k = \Big(\frac{\partial R_{h_{k-1}}}{\partial h_k}\Big)' g_{k-1}
            = \rho'(h_k) \odot W_{k,k-1} (\rho'(h_{k-1}) \odot g_{k-1})

    (eqs. 22-25); where layers are coupled past others, the sum of such terms over all later layers.
    The second form is that of eq. 6; the first holds for any network with layers,
    and takes the forward weights where the feedback has its own. Eq. 23 calls
    :math:`\partial R_y/\partial h_1` the derivative of the equilibrium :math:`\hat y`, which it is
    where :math:`\rho'' = 0`; else that is :math:`(1 - \rho'' I)^{-1}\,\partial R_y/\partial h_1`.

    Parameters
    ----------
    network : VectorField
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        The equilibrium.
    target : array, (*batch, output unit)
        The target states :math:`y^*`.
    one_sided : bool
        Whether a pinned output passes the error on if its target pulls it into the box, as it
        does when driven (eq. 12) or clamped; False is for a weak nudge, which leaves it pinned.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``, of output states and targets; by default
        the squared error. Then :math:`g_0 = \partial C/\partial y`.

    Returns
    -------
    Tensor, (*batch, unit)
        One entry for each unit; 0 for pinned hidden units, also for one whose force is exactly 0
        at its kink (margin 0), which a push into the box would move. The output's own entry is
        :math:`\hat y - y^*` whether or not the unit passes it on (see :func:`responsive_units`).

    Raises
    ------
    ValueError
        For states or targets of the wrong shape or not finite, labels in place of targets, or a
        network without an output.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.5]], [[0.4]]], [[0], [0], [0]], ctebm.HardSigmoid())
    >>> net = net.centred().clamp({"x": [0.0]})  # h and y are 0 at equilibrium
    >>> ctebm.chain_gradient(net, [0.0, 0.0], [0.3])
    tensor([-0.1200, -0.3000], dtype=torch.float64)
    """
    s, target = state_and_target(network, state, target)
    target = target_of_cost(network, s, target, cost)
    return _chain(network, s, target, one_sided, network.adjoint_product)


def chain_feedback(
    network: VectorField, state: StateLike, target: ArrayLike | Tensor, one_sided: bool = True
) -> Tensor:
    r"""Send the prediction error down as the motion itself does, by the feedback.

    .. math:: g_k = \frac{\partial R_{h_k}}{\partial h_{k-1}}\,g_{k-1}

    Where the force has an energy this is :func:`chain_gradient`; where the two directions differ
    it is what early motion carries, and no gradient.

    Parameters
    ----------
    network, state, target, one_sided
        As for :func:`chain_gradient`.

    Returns
    -------
    Tensor, (*batch, unit)

    Raises
    ------
    ValueError
        As for :func:`chain_gradient`.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.early_inference.gradients import chain_feedback
    >>> net = ctebm.FeedbackNetwork(
    ...     [[[0.5]], [[0.4]]], [[[0.5]], [[0.1]]], [[0], [0], [0]], ctebm.HardSigmoid()
    ... )
    >>> net = net.centred().clamp({"x": [0.0]})  # h and y are 0 at equilibrium
    >>> chain_feedback(net, [0.0, 0.0], [0.3])
    tensor([-0.0300, -0.3000], dtype=torch.float64)
    """
    s, target = state_and_target(network, state, target)
    return _chain(network, s, target, one_sided, network.jacobian_product)


def _chain(
    network: VectorField,
    s: Tensor,
    target: Tensor,
    one_sided: bool,
    product: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return what the error becomes from layer to layer by products with the Jacobian."""
    check_chain(network)
    responsive = _responsive(network, s, target, one_sided).to(s.dtype)
    g = output_error(network, s, target)
    responsive = responsive.expand_as(g)
    # what is not reached yet is 0, so that each layer sums over the later ones
    for where in list(network.layers.values())[-2::-1]:
        g[..., where] = (responsive * product(s, responsive * g))[..., where]
    return off_graph(g, s, target)


def back_propagate(
    error: Tensor, responsive: Sequence[Tensor], adjoint: Callable[[int, Tensor], Tensor]
) -> list[Tensor]:
    """Return the chain gradient of each layer, given how one layer sends back to the next.

    Parameters
    ----------
    error : Tensor, (*batch, output unit)
        The output's error, the gradient of the last layer.
    responsive : sequence of Tensor, (*batch, size)
        Factors, one a layer, input first: 0 for units that do not carry a small change, else 1.
    adjoint : callable
        ``adjoint(i, v)`` sends a vector of layer ``i + 1`` back to layer ``i``.
    """
    g = [error]
    for i in range(len(responsive) - 2, -1, -1):
        g.insert(0, responsive[i] * adjoint(i, responsive[i + 1] * g[0]))
    return g


@small_on_one_thread()
def implicit_gradient(
    network: VectorField,
    state: StateLike,
    target: ArrayLike | Tensor,
    cost: CostFunction | None = None,
) -> Tensor:
    r"""Solve :math:`-J' g = \partial C / \partial s` on the unpinned units, without a matrix.

    `J` is the Jacobian of the force, so that :math:`-J' = H` where the force has an energy: then
    it is solved by conjugate gradients, else by conjugate gradients on the normal equations. A
    nudge of small strength :math:`\beta` moves a symmetric network's equilibrium by
    :math:`-\beta g`. That `H` is positive definite takes at most as many products again to find
    out, since the solve meets only those directions that the error has a share in (see
    :func:`ctebm.equilibria.linear_systems.positive_definite`).

    Parameters
    ----------
    network : VectorField
        With its input clamped; its last layer is the output.
    state : array or FixedPoints, (*batch, unit)
        A stable equilibrium.
    target : array, (*batch, output unit)
        The target states :math:`y^*`.
    cost : callable, optional
        As for :func:`chain_gradient`.

    Returns
    -------
    Tensor, (*batch, unit)
        0 for pinned units, outputs and such with margin 0 included. NaN for a sample whose Hessian
        on the unpinned units is not positive definite; without an energy, stability is not
        checked.

    Raises
    ------
    ValueError
        For states or targets of the wrong shape or not finite, labels in place of targets, or a
        network without an output.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[0.5]], [[0.4]]], [[0], [0], [0]], ctebm.HardSigmoid())
    >>> net = net.centred().clamp({"x": [0.0]})  # h and y are 0 at equilibrium
    >>> ctebm.implicit_gradient(net, [0.0, 0.0], [0.3])
    tensor([-0.1429, -0.3571], dtype=torch.float64)
    """
    s, target = state_and_target(network, state, target)
    network = network.snapshot()
    target = target_of_cost(network, s, target, cost)
    right = output_error(network, s, target)
    free = (~pinned_units(network, s)).to(s.dtype).expand_as(right)
    if isinstance(network, Network):
        H = network.hessian_operator(s)

        def curvature(v: Tensor) -> Tensor:
            return free * H(free * v)

        g = conjugate_gradients(curvature, free * right)
        stable = positive_definite(curvature, free)
        return off_graph(torch.where(stable.unsqueeze(-1), g, torch.nan), s, target)

    def forward(v: Tensor) -> Tensor:
        return -free * network.jacobian_product(s, free * v)

    def adjoint(v: Tensor) -> Tensor:
        return -free * network.adjoint_product(s, free * v)

    g = conjugate_gradients(lambda v: forward(adjoint(v)), forward(free * right))
    return off_graph(g, s, target)


def output_error(network: VectorField, s: Tensor, target: Tensor) -> Tensor:
    """Return dC/ds, which is the output's error and 0 elsewhere."""
    y = network.layers[network.output]
    error = s[..., y] - target
    g = error.new_zeros(*error.shape[:-1], s.shape[-1])
    g[..., y] = error
    return g
