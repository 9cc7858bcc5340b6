"""How to train: what is refused, and the learning rates."""

import dataclasses

import pytest
from learning_cases import PLAN

import ctebm
from ctebm.learning.plan import RULES


@pytest.mark.parametrize(
    "change",
    [
        {"rate": -1.0}, {"rate": float("nan")}, {"batch": 0}, {"decay": 0.0}, {"tol": 0.0},
        {"low": 0.9, "high": 0.1}, {"low": 0.5, "high": 0.5}, {"epochs": -1}, {"decay": 1.1},
        {"rate": (0.1, -0.1)}, {"options": {"params": ()}}, {"optimizer": "Adum"},
        {"rule": "ep"}, {"epochs": float("nan")}, {"epochs": float("inf")}, {"epochs": 2.5},
        {"tol": float("inf")}, {"max_sweeps": 0}, {"seed": -1}, {"patience": 0.5}, {"options": 3},
        {"optimizer": "lr_scheduler"}, {"optimizer": None}, {"low": float("nan")},
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


def test_bounds_that_a_plan_may_reach():
    least = ctebm.Plan(epochs=0, batch=1, rate=0.0, decay=1.0, low=0.0, high=1.0)
    assert least.learning_rates(2) == [0.0, 0.0]


def test_what_a_plan_is_without_being_told():
    """A result that was made with these would be another with others."""
    plan = ctebm.Plan().identity()
    assert plan["rule"] == "Early(eps=0.1, n_steps=None, compensated=True, slope=False)"
    assert [plan[name] for name in ("batch", "rate", "decay", "low", "high")] == [
        50, 0.001, 1.0, 0.1, 0.9,
    ]  # fmt: skip
    assert [plan[name] for name in ("tol", "max_sweeps", "warm", "tied", "seed")] == [
        1e-4, 200, False, True, 0,
    ]  # fmt: skip
    assert ctebm.Plan().epochs == 10
    free = {"epochs": 3, "patience": 5}  # how long, and not what
    assert ctebm.Plan(**free).identity() == plan


def test_rules_by_name_are_what_their_names_say():
    assert RULES["early-with-slope"]() == ctebm.Early(slope=True)
    assert RULES["equilibrium-propagation-one-sided"]() == ctebm.EquilibriumPropagation(
        centred=False
    )
    assert RULES["early"]() == ctebm.Early()


def test_a_word_for_a_rule_is_answered_with_the_rules():
    with pytest.raises(ValueError, match=r"got 'ep'; the rules are .*Chain, ChainFeedback"):
        dataclasses.replace(PLAN, rule="ep")


def test_whole_floats_are_counts():
    assert dataclasses.replace(PLAN, epochs=3.0).epochs == 3
