"""The optimiser of torch that a plan names, tried before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctebm.learning.plan import Plan

__all__ = ["check_optimizer", "optimizer_of"]


def optimizer_of(
    plan: Plan, groups: Sequence[Sequence[Tensor]], rates: Sequence[float]
) -> torch.optim.Optimizer:
    """Return the optimiser of a plan for groups of parameters, each with its learning rate.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.learning.optimizers import optimizer_of
    >>> type(optimizer_of(ctebm.Plan(optimizer="SGD"), [[torch.ones(1)]], [0.1])).__name__
    'SGD'
    """
    layers = [{"params": group, "lr": r} for group, r in zip(groups, rates, strict=True)]
    return getattr(torch.optim, plan.optimizer)(layers, **plan.options)


def check_optimizer(plan: Plan) -> None:
    """Let the optimiser make a step with weights and biases that belong to nobody, or refuse it.

    Raises
    ------
    ValueError
        With what torch says.
    """
    layers = [[torch.ones(2, 2), torch.ones(2)] for _ in range(2)]
    for p in (p for layer in layers for p in layer):
        p.grad = torch.ones_like(p)
    try:
        optimizer_of(plan, layers, [0.1, 0.1]).step()
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        options = f" with {dict(plan.options)}" if plan.options else ""
        reason = str(error).rstrip(".").splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            "expected an optimiser that takes weights and biases, a rate for each pair of layers, "
            f"and steps by gradients alone, got {plan.optimizer!r}{options} ({reason}); take "
            "another, such as 'Adam'."
        ) from error
