"""The slope of a cost :math:`C(y, y^*)` at the states of a layer, which drives or nudges it.

Letters: states ``y`` of the layer, target ``t``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CostFunction", "checked_cost", "cost_name", "slope_of_cost"]

CostFunction = Callable[[Tensor, Tensor], Tensor]


def checked_cost(cost: CostFunction | None) -> CostFunction | None:
    """Return a cost as it is, or refuse what is no function."""
    if cost is not None and not callable(cost):
        raise ValueError(
            f"expected a cost C(y, target) as a function, got {type(cost).__name__}; give None for "
            "the squared error."
        )
    return cost


def cost_name(cost: CostFunction) -> str:
    """Return what a cost is called.

    Examples
    --------
    >>> from ctebm.dynamics.slopes import cost_name
    >>> from ctebm.early_inference.costs import cross_entropy
    >>> cost_name(cross_entropy)
    'cross_entropy'
    """
    return getattr(cost, "__name__", type(cost).__name__)


def slope_of_cost(cost: CostFunction, y: Tensor, t: Tensor) -> Tensor:
    r"""Return :math:`\partial C/\partial y`, of the shape of `y`.

    Parameters
    ----------
    cost : callable
        :math:`C(y, t)` of each sample, ``(*batch)``.
    y, t : Tensor, (*batch, unit)
        States, and targets that broadcast to them.

    Raises
    ------
    ValueError
        For a cost that is not one number for each sample.

    Examples
    --------
    >>> import torch
    >>> from ctebm.dynamics.slopes import slope_of_cost
    >>> slope_of_cost(lambda y, t: (y - t).pow(4).sum(-1), torch.ones(2), torch.zeros(2))
    tensor([4., 4.])
    """

    def total(y: Tensor) -> Tensor:
        C = cost(y, t)
        if not isinstance(C, Tensor) or C.shape != y.shape[:-1]:
            got = tuple(C.shape) if isinstance(C, Tensor) else type(C).__name__
            raise ValueError(
                f"expected a cost of shape {tuple(y.shape[:-1])}, one for each sample, got {got}; "
                "sum over the last dimension only."
            )
        return C.sum()

    return torch.func.grad(total)(y)
