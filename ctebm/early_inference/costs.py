r"""What is asked of the output: a cost :math:`C(y, y^*)` of each sample, whose slope drives it.

A cost is any function of output states and targets, ``(*batch, output unit)`` each, that returns
``(*batch)``. Everything that takes ``cost`` takes a user's own.

Letters: output ``y``, target ``t``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.layout import broadcast

__all__ = ["CostFunction", "checked_cost", "cross_entropy", "squared_error", "target_of_cost"]

CostFunction = Callable[[Tensor, Tensor], Tensor]


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
    return -(t * torch.log_softmax(y, -1)).sum(-1)


def checked_cost(cost: CostFunction | None) -> CostFunction | None:
    """Return a cost as it is, or refuse what is no function."""
    if cost is not None and not callable(cost):
        raise ValueError(
            f"expected a cost C(y, target) as a function, got {type(cost).__name__}; give None for "
            "the squared error."
        )
    return cost


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

    def total(y: Tensor) -> Tensor:
        C = cost(y, target)
        if not isinstance(C, Tensor) or C.shape != y.shape[:-1]:
            got = tuple(C.shape) if isinstance(C, Tensor) else type(C).__name__
            raise ValueError(
                f"expected a cost of shape {tuple(y.shape[:-1])}, one for each sample, got {got}; "
                "sum over the last dimension only."
            )
        return C.sum()

    return y - torch.func.grad(total)(y)
