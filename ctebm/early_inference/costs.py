r"""What is asked of the output: a cost :math:`C(y, y^*)` of each sample, whose slope drives it.

A cost is any function of output states and targets, ``(*batch, output unit)`` each, that returns
``(*batch)``. Everything that takes ``cost`` takes a user's own.

Letters: output ``y``, target ``t``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction, checked_cost, slope_of_cost
from ctebm.networks.activation import Activation
from ctebm.networks.base import VectorField
from ctebm.networks.layout import broadcast

__all__ = ["OfRates", "cross_entropy", "curvature_of_cost", "squared_error", "target_of_cost"]


def squared_error(y: Tensor, t: Tensor) -> Tensor:
    r"""Return :math:`|y - t|^2 / 2` (eq. 13), the default cost.

    Parameters
    ----------
    y, t : Tensor, (*batch, output unit)
        Output states and targets.

    Returns
    -------
    Tensor, (*batch)

    Examples
    --------
    >>> import torch
    >>> from ctebm.early_inference.costs import squared_error
    >>> squared_error(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 1.0]))
    tensor(2.)
    """
    return (y - t).square().sum(-1) / 2


def cross_entropy(y: Tensor, t: Tensor) -> Tensor:
    r"""Return :math:`-\sum_c t_c \log \mathrm{softmax}(y)_c`, of a softmax read-out of the output.

    The output's states are the logits (Laborieux et al. 2021). The slope is
    :math:`\mathrm{softmax}(y) - t`.

    Parameters
    ----------
    y : Tensor, (*batch, output unit)
        Output states.
    t : Tensor, (*batch, output unit)
        Probabilities of the classes, such as one-hot rows.

    Returns
    -------
    Tensor, (*batch)

    Examples
    --------
    >>> import torch
    >>> from ctebm.early_inference.costs import cross_entropy
    >>> cross_entropy(torch.zeros(2), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """
    if y.is_complex():  # of which torch has no log_softmax
        y = y - y.real.max(-1, keepdim=True).values
        return -(t * (y - y.exp().sum(-1, keepdim=True).log())).sum(-1)
    return -(t * torch.log_softmax(y, -1)).sum(-1)


@dataclass(frozen=True)
class OfRates:
    r"""A cost of the output's rates, :math:`C(\rho(y), t)`, as a cost of its states.

    Targets are rates. In :func:`ctebm.nudged` the energy is :math:`E + \beta C`, whose motion of
    1984 is :math:`I - s - \beta\,\partial C/\partial r`: the published setting of Laborieux et al.
    (2021) and Laborieux & Zenke (2022), whose units are rates.

    Parameters
    ----------
    activation : Activation
        The output's, such as ``network.rate_of("y")``.
    cost : callable
        Of rates and targets, ``(*batch, unit)`` each; the squared error by default.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.early_inference.costs import OfRates
    >>> OfRates(ctebm.ReLU())(torch.tensor([-3.0, 1.0]), torch.tensor([0.0, 2.0]))
    tensor(0.5000)
    """

    activation: Activation
    cost: CostFunction = squared_error

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        return self.cost(self.activation(y), t)


def target_of_cost(
    network: VectorField, s: Tensor, target: Tensor, cost: CostFunction | None
) -> Tensor:
    """Return the target whose squared error has the slope of the cost at the output's state.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.
    s : Tensor, (*batch, unit)
        States.
    target : Tensor, (*batch, output unit)
        Targets of the cost.
    cost : callable or None
        As for :func:`ctebm.parameter_gradient`.

    Raises
    ------
    ValueError
        For a cost that is not one number for each sample.
    """
    cost = checked_cost(cost)
    if cost is None:
        return target
    y = s[..., network.layers[network.output]]
    y = y.expand(*broadcast(states=y.shape[:-1], targets=target.shape[:-1]), -1)
    return y - slope_of_cost(cost, y, target)


def curvature_of_cost(
    network: VectorField, s: Tensor, target: Tensor, cost: CostFunction
) -> Tensor:
    r"""Return :math:`\partial^2 C/\partial y^2` at the output's state, ``(*batch, unit, unit)``.

    Parameters
    ----------
    network, s, target, cost
        As for :func:`target_of_cost`.
    """
    y = s[..., network.layers[network.output]]
    y = y.expand(*broadcast(states=y.shape[:-1], targets=target.shape[:-1]), -1).contiguous()
    units = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    rows = [
        torch.func.jvp(lambda y: slope_of_cost(cost, y, target), (y,), (e.expand_as(y).clone(),))[1]
        for e in units
    ]
    return torch.stack(rows, -1)
