"""Optimisers that can step, and those that can not."""

import pytest
import torch

import ctebm
from ctebm.learning.optimizers import check_optimizer, optimizer_of


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("LBFGS", {}), ("Optimizer", {}), ("SparseAdam", {}), ("Adam", {"betas": 3})],
)
def test_an_optimiser_that_can_not_step_is_refused(optimizer, options):
    with pytest.raises(ValueError, match=r"expected an optimiser that takes weights") as caught:
        check_optimizer(ctebm.Plan(optimizer=optimizer, options=options))
    assert f"got '{optimizer}'" in str(caught.value)


def test_each_group_has_its_learning_rate():
    groups = [[torch.ones(2)], [torch.ones(3), torch.ones(1)]]
    plan = ctebm.Plan(optimizer="SGD", options={"momentum": 0.5})
    made = optimizer_of(plan, groups, [0.1, 0.2])
    assert [(g["lr"], len(g["params"]), g["momentum"]) for g in made.param_groups] == [
        (0.1, 1, 0.5), (0.2, 2, 0.5),
    ]  # fmt: skip
