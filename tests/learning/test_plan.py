"""How to train: what is refused, and the learning rates."""

import dataclasses

import pytest
from learning_cases import PLAN


@pytest.mark.parametrize(
    "change",
    [
        {"rate": -1.0}, {"rate": float("nan")}, {"batch": 0}, {"decay": 0.0}, {"tol": 0.0},
        {"low": 0.9, "high": 0.1}, {"optimizer": "Adum"},
        {"optimizer": "Rprop", "options": {"weight_decay": 0.1}}, {"options": {"lr": 0.1}},
    ],
    ids=str,
)  # fmt: skip
def test_refuses_plans_without_meaning(change):
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(PLAN, **change)


def test_one_learning_rate_serves_all_pairs():
    assert PLAN.learning_rates(3) == [0.01] * 3
    assert dataclasses.replace(PLAN, rate=(0.1, 0.2)).learning_rates(2) == [0.1, 0.2]
    with pytest.raises(ValueError, match="expected 1 or 3 learning rates, got 2"):
        dataclasses.replace(PLAN, rate=(0.1, 0.2)).learning_rates(3)
