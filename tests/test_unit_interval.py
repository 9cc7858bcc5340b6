"""The clip to [0, 1], whose kink at 0 is where units rest, against its exact equivalent.

With biases, inputs and targets shifted by 1/2 the paper's hard sigmoid has the same forces between
the kinks, energies that differ by a constant, and so the same equilibria and motion.
"""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import ctebm

F64, ROUNDING = torch.float64, {"rtol": 0, "atol": 1e-14}
CLIP, PAPER = ctebm.HardSigmoid(lower=0.0), ctebm.HardSigmoid()


def twins(seed: int, gain: float, sizes=(4, 5, 4, 3)) -> tuple[ctebm.LayeredNetwork, ...]:
    """Return a network of clipped rates, and the paper's that is the same."""
    draw = torch.Generator().manual_seed(seed)
    weights = ctebm.LayeredNetwork.random(sizes, PAPER, gain=gain, seed=seed).weights
    biases = [torch.rand(n, generator=draw, dtype=F64) - 0.2 for n in sizes]
    shifted = [b - 0.5 for b in biases]
    return (
        ctebm.LayeredNetwork(weights, biases, CLIP),
        ctebm.LayeredNetwork(weights, shifted, PAPER),
    )


def samples(seed: int, n: int, size: int) -> torch.Tensor:
    """Return states in [0, 1], the first sample on the kinks."""
    x = torch.rand(n, size, generator=torch.Generator().manual_seed(seed), dtype=F64)
    x[0] = torch.arange(size) % 2
    return x


@pytest.mark.parametrize("seed, gain", [(0, 0.5), (1, 1.5)])
def test_forces_and_equilibria_are_those_of_the_shifted_network(seed, gain):
    clip, paper = twins(seed, gain)
    s = samples(1, 9, 16)
    assert (clip.force(s) - paper.force(s - 0.5)).abs().max() < 9e-16
    apart = clip.energy(s) - paper.energy(s - 0.5)
    assert_close(apart, torch.full_like(apart, -16 / 8), **ROUNDING)
    x = samples(2, 5, 4)
    free, twin = clip.clamp({"x": x}), paper.clamp({"x": x - 0.5})
    a, b = ctebm.settle(free), ctebm.settle(twin, [-0.5] * 12)
    assert bool(a.pinned.any()) and bool((a.state == 0).any())
    assert_close(a.state - 0.5, b.state, **ROUNDING)
    assert_close(a.margin, b.margin, **ROUNDING)
    assert torch.equal(a.pinned, b.pinned) and a.stability == b.stability
    near, far = ctebm.linearize(free, a), ctebm.linearize(twin, b)
    assert_close(near.eigenvalues, far.eigenvalues, equal_nan=True, **ROUNDING)
    start = samples(3, 5, 12)
    for method in ("euler", "rk4"):
        run = ctebm.simulate(free, start, n_steps=100, eps=0.1, method=method)
        same = ctebm.simulate(twin, start - 0.5, n_steps=100, eps=0.1, method=method)
        assert_close(run.state - 0.5, same.state, **ROUNDING)


@pytest.mark.parametrize(
    "options", [{}, {"drive": "nudge", "beta": 0.1, "points": 2}, {"drive": "clamp"}], ids=str
)
def test_what_back_propagates_is_that_of_the_shifted_network(options):
    clip, paper = twins(2, 0.7)
    x, target = samples(4, 5, 4), samples(5, 5, 3)
    a = ctebm.correspondence(clip, x, target, eps=[0.2], t_end=4, **options)
    b = ctebm.correspondence(
        paper, x - 0.5, target - 0.5, eps=[0.2], t_end=4, state=a.fixed.state - 0.5, **options
    )
    assert_close(a.displacement, b.displacement, **ROUNDING)
    assert torch.equal(a.first_crossing, b.first_crossing) and torch.equal(a.status, b.status)
    assert_close(a.chain, b.chain, **ROUNDING)
    assert_close(a.implicit, b.implicit, equal_nan=True, **ROUNDING)
    state, twin = a.fixed.state, a.fixed.state - 0.5
    for which in ("chain", "implicit"):
        ours = ctebm.parameter_gradient(clip, x, state, target, which)
        theirs = ctebm.parameter_gradient(paper, x - 0.5, twin, target - 0.5, which)
        for u, v in zip(ours.weights, theirs.weights, strict=True):
            assert_close(u, v, equal_nan=True, **ROUNDING)


def test_all_equilibria_are_those_of_the_shifted_network():
    x = torch.tensor([0.2, 0.3], dtype=F64)
    clip, paper = twins(3, 3.0, sizes=(2, 3, 2))
    for find in (ctebm.enumerate_fixed_points, lambda n: ctebm.find_fixed_points(n, n_starts=20)):
        a, b = find(clip.clamp({"x": x})), find(paper.clamp({"x": x - 0.5}))
        assert_close(a.state - 0.5, b.state, **ROUNDING)
        assert a.stability == b.stability and a.index_sum == b.index_sum


def test_learning_is_that_of_the_shifted_network():
    clip, paper = twins(4, 0.5)
    x, target = samples(6, 6, 4), samples(7, 6, 3)
    for rule in (ctebm.Early(), ctebm.Chain(), ctebm.EquilibriumPropagation(tol=1e-12)):
        found = []
        for network, shift in ((clip, 0.0), (paper, 0.5)):
            plastic = ctebm.PlasticNetwork(network)
            equilibrium = plastic.settle(x - shift, tol=1e-13)
            found.append(rule.gradient(plastic, equilibrium, target - shift).weights)
        for u, v in zip(*found, strict=True):
            assert_close(u, v, rtol=0, atol=1e-11)


@pytest.mark.parametrize("coupling, stability", [(0.5, "stable"), (2.0, "degenerate")])
def test_units_that_rest_on_the_kink_have_no_margin(coupling, stability):
    """Without current both sides of the kink meet: one is pinned, from the other a push grows."""
    pair = ctebm.DenseNetwork([[0, coupling], [coupling, 0]], [0, 0], CLIP)
    rest = ctebm.settle(pair)
    assert rest.state.tolist() == [0, 0] and bool(rest.pinned.all()) and float(rest.margin) == 0
    assert rest.stability == [stability] and ctebm.linearize(pair, rest).stability == stability
    pushed = ctebm.settle(pair, [1e-3, 1e-3], path="flow").state.tolist()
    assert pushed == ([0, 0] if coupling < 1 else [1, 1])


def test_a_gradient_on_the_kink_is_that_of_the_pinned_side():
    silent = ctebm.LayeredNetwork([[[1.0]], [[0.5]]], [[0.0], [-0.25], [0.5]], CLIP)
    free = silent.clamp({"x": [0.0]})  # the hidden unit's current is -0.25 + 0.5 * 0.5
    rest = ctebm.settle(free)
    assert rest.state.tolist() == [0, 0.5] and float(rest.margin) == 0
    for gradient in (ctebm.chain_gradient, ctebm.implicit_gradient):
        assert gradient(free, rest, [0.75]).tolist() == [0, -0.25]
    run = ctebm.correspondence(silent, [[0.0]], [[0.75]], eps=[0.1], n_steps=3)
    assert run.displacement[0, 0, -1, 0] > 0  # but driven up it leaves the kink, which is said
    assert run.first_crossing.tolist() == [[2]] and run.crossing_direction.tolist() == [[-1]]


def test_below_the_kink_at_0_there_is_the_leak_alone():
    unit = ctebm.DenseNetwork([[0.0]], [0.7], CLIP)
    run = ctebm.simulate(unit, [[-0.5], [0.2]], n_steps=60, eps=0.1)
    assert_close(run.state[-1, 0], torch.tensor([-0.5 * 0.9**60], dtype=F64))
    assert_close(run.state[-1, 1], torch.tensor([0.7 - 0.5 * 0.9**60], dtype=F64))


@pytest.mark.parametrize("lower", [0.1, -1.1, float("nan")])
def test_a_box_without_0_is_refused(lower):
    with pytest.raises(ValueError, match=r"-1 <= lower <= 0.*shift biases, inputs and targets"):
        ctebm.HardSigmoid(lower=lower)
