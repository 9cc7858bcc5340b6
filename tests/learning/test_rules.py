"""What every rule gives."""

import dataclasses

import pytest
import torch
from learning_cases import settled

import ctebm
from ctebm.learning.plan import RULES
from ctebm.learning.rules import check_steps

SEPARATE = ("kolen-pollack", "jacobian-homeostasis")  # have no meaning for tied weights


@pytest.mark.parametrize("name", RULES)
def test_rules_give_one_gradient_a_parameter(name):
    plastic, found, target = settled(tied=name not in SEPARATE)
    gradient = RULES[name]().gradient(plastic, found, target)
    shapes = [g.shape for g in [*gradient.weights, *gradient.biases]]
    assert shapes == [p.shape for p in [*plastic.weights, *plastic.biases[1:]]]
    assert all(bool(torch.isfinite(g).all()) for g in [*gradient.weights, *gradient.biases])
    assert dataclasses.is_dataclass(RULES[name]())


@pytest.mark.parametrize(
    "name",
    ["early", "symmetric", "presynaptic", "xie-seung", "equilibrium-propagation", "implicit"],
)
def test_feedback_has_the_shape_of_the_weights(name):
    """What a tied weight gets is the sum of what the two directions get, or one of them twice."""
    plastic, found, target = settled(tied=False)
    gradient = RULES[name]().gradient(plastic, found, target)
    assert [g.shape for g in gradient.feedback] == [V.shape for V in plastic.feedback]
    if name in ("symmetric", "equilibrium-propagation"):
        for W, V in zip(gradient.weights, gradient.feedback, strict=True):
            assert torch.equal(W, V)


def test_early_and_presynaptic_rule_swap_the_ends_of_the_synapse():
    """Eq. 26 for a weight back is the mirror image of that for the weight forward."""
    plastic, found, target = settled(tied=False)
    options = {"eps": 0.2, "n_steps": 4, "compensated": False}
    early = ctebm.Early(**options).gradient(plastic, found, target)
    mirror = ctebm.Presynaptic(**options).gradient(plastic, found, target)
    for V, W in zip(early.feedback[1:], mirror.weights[1:], strict=True):
        torch.testing.assert_close(V, W, rtol=0, atol=1e-15)
    for V, W in zip(mirror.feedback, early.weights, strict=True):
        torch.testing.assert_close(V, W, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in RULES if name not in SEPARATE])
def test_tied_weights_have_no_feedback_of_their_own(name):
    plastic, found, target = settled()
    assert RULES[name]().gradient(plastic, found, target).feedback == []


def test_one_step_and_a_step_of_one_time_constant_are_early_phases():
    assert ctebm.Early(eps=1.0, n_steps=1) == ctebm.Early(1.0, 1)


def test_gradients_are_means_over_the_batch():
    plastic, found, target = settled(n=2)
    twice = plastic.settle(found.states[0].repeat(3, 1), tol=1e-14, max_sweeps=2000)
    once, more = (
        ctebm.Early().gradient(plastic, *both)
        for both in ((found, target), (twice, target.repeat(3, 1)))
    )
    for a, b in zip([*once.weights, *once.biases], [*more.weights, *more.biases], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_steps_of_an_early_phase_are_refused_out_of_range():
    check_steps(1.0, 1)
    check_steps(1e-3, None)
    for eps, n_steps in ((0.0, 1), (1.1, 1), (float("nan"), 1), (0.1, 0), (0.1, 1.5)):
        with pytest.raises(ValueError, match=r"n_steps >= 1|0 < eps <= 1"):
            check_steps(eps, n_steps)
