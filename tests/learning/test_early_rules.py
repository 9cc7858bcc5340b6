"""Rules that read the first moments, against closed forms and gradients."""

import numpy as np
import pytest
import torch
from learning_cases import settled

import ctebm


def _flat(gradient):
    return torch.cat([g.flatten() for g in [*gradient.weights, *gradient.biases]])


@pytest.mark.parametrize("eps", [0.05, 0.3, 1.0])
def test_the_early_rule_is_the_chain_gradient_at_first_arrival(eps):
    plastic, found, target = settled()
    early = ctebm.Early(eps=eps).gradient(plastic, found, target)
    chain = ctebm.Chain().gradient(plastic, found, target)
    for mine, theirs in zip(early.weights, chain.weights, strict=True):
        floor = 1e-15 / eps**3
        torch.testing.assert_close(mine, theirs, rtol=0, atol=floor)
        assert float(theirs.abs().max()) > 1e4 * floor


@pytest.mark.parametrize("n_steps", [2, 3])
def test_one_hidden_layer_is_exact_at_two_and_three_steps(n_steps):
    plastic, found, target = settled(sizes=(9, 8, 5))
    early = ctebm.Early(eps=0.1, n_steps=n_steps).gradient(plastic, found, target)
    chain = ctebm.Chain().gradient(plastic, found, target)
    torch.testing.assert_close(early.weights[0], chain.weights[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(early.weights[1], chain.weights[1], rtol=0, atol=1e-13)


def test_float32_keeps_the_direction_of_deep_first_arrivals():
    sizes = (9, 8, 8, 8, 8, 8, 7, 5)
    plastic, found, target = settled(sizes=sizes)
    single = plastic.to(dtype=torch.float32)
    found_single = single.settle(found.states[0].float(), tol=1e-6)
    rule = ctebm.Early(eps=0.05)  # the first hidden layer moves by 1e-9 of its gradient
    exact = rule.gradient(plastic, found, target)
    rough = rule.gradient(single, found_single, target.float())
    for a, b in zip(exact.weights, rough.weights, strict=True):
        torch.testing.assert_close(b.double(), a, rtol=0, atol=1e-4 * float(a.abs().max()))


def test_layers_are_as_small_as_the_paper_says_without_compensation():
    plastic, found, target = settled()
    with_it, without = (
        ctebm.Early(eps=0.1, compensated=c).gradient(plastic, found, target) for c in (True, False)
    )
    ratio = [
        float(a.norm() / b.norm()) for a, b in zip(without.weights, with_it.weights, strict=True)
    ]
    np.testing.assert_allclose(ratio, [1e-3, 1e-2, 1e-1], rtol=1e-10)


@pytest.mark.parametrize("activation", [ctebm.Logistic(2.0), ctebm.Tanh()], ids=repr)
def test_with_the_slope_the_rule_tends_to_the_chain_gradient_of_smooth_rates(activation):
    plastic, found, target = settled(activation, gain=0.5)
    chain = ctebm.Chain().gradient(plastic, found, target)
    eps = np.array([0.02, 0.01, 0.005])
    errors = [
        float((_flat(ctebm.Early(eps=e, slope=True).gradient(plastic, found, target))
               - _flat(chain)).norm() / _flat(chain).norm())
        for e in eps
    ]  # fmt: skip
    # rho'' is small near the middle of the range, so that the next order shows too
    assert 0.95 < np.polyfit(np.log(eps), np.log(errors), 1)[0] < 2.05
    assert errors[-1] < 0.001


def test_the_symmetric_rule_is_eq_26_in_both_directions_to_second_order():
    plastic, found, target = settled()
    remainder = []
    for eps in (0.1, 0.05):
        options = {"eps": eps, "n_steps": 4}
        symmetric = ctebm.Symmetric(**options).gradient(plastic, found, target)
        early = ctebm.Early(**options, compensated=False).gradient(plastic, found, target)
        mirror = ctebm.Presynaptic(**options, compensated=False).gradient(plastic, found, target)
        moved = plastic.drive(found, target, **options)
        for i, total in enumerate(symmetric.weights):
            both = moved[i].mT @ moved[i + 1] / len(target)
            expected = early.weights[i] + mirror.weights[i] - both
            torch.testing.assert_close(total, expected, rtol=0, atol=1e-14)
        remainder.append(float(both.norm()))
    assert remainder[1] < 0.3 * remainder[0]


def test_separate_weights_get_both_directions():
    plastic, found, target = settled(tied=False)
    gradient = ctebm.Early(eps=0.2).gradient(plastic, found, target)
    tied, found_tied, _ = settled()
    assert len(gradient.feedback) == 3
    assert not gradient.feedback[0].any()  # the clamped input does not move
    moved = tied.drive(found_tied, target, eps=0.2)
    change = -moved[1] / 0.2**3
    expected = change.mT @ tied.activation(found_tied.states[2]) / len(target)
    torch.testing.assert_close(gradient.feedback[1], expected, rtol=0, atol=1e-11)


def test_pinned_units_change_no_weights():
    plastic, found, target = settled(gain=3.0)
    low, high = plastic.activation.box
    held = [((s == low) | (s == high)).all(0) for s in found.states[1:-1]]
    assert any(h.any() for h in held)
    gradient = ctebm.Early(eps=0.05).gradient(plastic, found, target)
    for h, W in zip(held, gradient.weights, strict=False):
        assert not W[:, h].any()


@pytest.mark.parametrize("options", [{"eps": 0.0}, {"eps": 1.5}, {"n_steps": 0}])
def test_refuses_early_phases_without_meaning(options):
    with pytest.raises(ValueError, match="step"):
        ctebm.Early(**options)


@pytest.mark.parametrize(
    "rule", [ctebm.Early(), ctebm.XieSeung(), ctebm.Presynaptic(), ctebm.Symmetric()], ids=repr
)
def test_feedback_is_there_for_separate_weights_alone(rule):
    for tied in (True, False):
        plastic, found, target = settled(tied=tied)
        shapes = [V.shape for V in rule.gradient(plastic, found, target).feedback]
        assert shapes == ([] if tied else [V.shape for V in plastic.weights])


def test_biases_of_the_symmetric_rule_get_the_mean_change_of_rates():
    plastic, found, target = settled(ctebm.Logistic(2.0))
    gradient = ctebm.Symmetric(eps=0.3, n_steps=5).gradient(plastic, found, target)
    moved = plastic.drive(found, target, eps=0.3, n_steps=5)
    rho = plastic.activation
    for b, s, d in zip(gradient.biases, found.states[1:], moved[1:], strict=True):
        torch.testing.assert_close(b, (rho(s) - rho(s + d)).mean(0), rtol=0, atol=1e-14)


def test_compensation_is_one_where_nothing_has_arrived():
    plastic, _, _ = settled()
    assert ctebm.Early(eps=0.1, n_steps=2).coefficients(plastic) == pytest.approx(
        [1.0, 1.0, 0.01, 0.19]
    )
    assert ctebm.Early(eps=0.1).coefficients(plastic) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_the_presynaptic_rule_is_compensated_for_the_unit_before_the_synapse():
    plastic, found, target = settled(tied=False)
    rule, plain = (ctebm.Presynaptic(eps=0.2, compensated=c) for c in (True, False))
    a = [0.2**4, 0.2**3, 0.2**2, 0.2]
    mine, theirs = (one.gradient(plastic, found, target) for one in (rule, plain))
    for i in range(3):
        torch.testing.assert_close(mine.weights[i], theirs.weights[i] / a[i], rtol=1e-12, atol=0)
        torch.testing.assert_close(
            mine.feedback[i], theirs.feedback[i] / a[i + 1], rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Logistic(2.0)], ids=repr)
def test_xie_and_seung_change_against_the_derivative_of_the_rate_after_the_synapse(activation):
    plastic, found, target = settled(activation, tied=False)
    gradient = ctebm.XieSeung(eps=0.2, n_steps=4, compensated=False).gradient(
        plastic, found, target
    )
    moved = plastic.drive(found, target, eps=0.2, n_steps=4)
    r = [activation(s) for s in found.states]
    after = [activation(s + d) - rho for s, d, rho in zip(found.states, moved, r, strict=True)]
    for i, W in enumerate(gradient.weights):  # the change is minus what is descended
        expected = -torch.einsum("bj,bi->ji", r[i], after[i + 1]) / len(target)
        torch.testing.assert_close(-W, expected, rtol=0, atol=1e-14)
    for i, V in enumerate(gradient.feedback):
        expected = -torch.einsum("bi,bj->ij", after[i], r[i + 1]) / len(target)
        torch.testing.assert_close(-V, expected, rtol=0, atol=1e-14)
    for b, d in zip(gradient.biases, after[1:], strict=True):
        torch.testing.assert_close(-b, -d.mean(0), rtol=0, atol=1e-14)
