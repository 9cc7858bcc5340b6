"""Back-propagation through time against autograd and powers of the step."""

import pytest
import torch
from cases import ACTIVATIONS, settled

import ctebm
from ctebm.early_inference import through_time


@pytest.fixture(params=ACTIVATIONS, ids=list(ACTIVATIONS))
def case(request):
    return settled(ACTIVATIONS[request.param])


@pytest.mark.parametrize("n_steps", [0, 1, 7])
def test_bptt_gradient_is_autograd_through_the_unrolled_steps(case, n_steps):
    """From the equilibrium, with the pinned units held: they neither move nor pass anything."""
    net, fixed, target = case
    g = ctebm.bptt_gradient(net, fixed.state, target, eps=0.3, n_steps=n_steps)
    free = ~fixed.pinned
    start = fixed.state.clone().requires_grad_()
    s = start
    for _ in range(n_steps):
        s = torch.where(free, s + 0.3 * net.force(s), fixed.state)
    error = torch.where(free, s - fixed.state, 0.0) + fixed.state
    C = (error[:, net.layers["y"]] - target).square().sum() / 2
    (expected,) = torch.autograd.grad(C, start)
    torch.testing.assert_close(g, expected * free, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("rho", ["tanh", "smooth-hard", "hard"])
def test_bptt_gradient_away_from_equilibrium_is_autograd(rho):
    """Projection included: a unit that the last step leaves at a kink passes nothing."""
    net, fixed, target = settled(ACTIVATIONS[rho], gain=1.5)
    draw = torch.Generator().manual_seed(0)
    start = 0.9 * torch.rand(fixed.state.shape, generator=draw, dtype=torch.float64) - 0.45
    start.requires_grad_()
    inner = start + 0.1 * net.force(start)
    s = inner + 0.9 * net.force(inner)
    met = torch.zeros(len(s), dtype=torch.bool)
    if net.box is not None:
        low, high = net.box
        met = ((s <= low) | (s >= high)).any(-1)
        s = torch.where((s > low) & (s < high), s, s.detach().clamp(low, high))
        clear = ((inner > low) & (inner < high)).all(-1)
        assert (met & clear).any()
        met = ~clear
    C = (s[:, net.layers["y"]] - target).square().sum() / 2
    (expected,) = torch.autograd.grad(C, start)
    one = ctebm.bptt_gradient(net, inner.detach(), target, eps=0.9, n_steps=1)
    through = one + 0.1 * torch.func.vjp(net.force, start.detach())[1](one)[0]
    torch.testing.assert_close(through[~met], expected[~met], rtol=1e-11, atol=1e-15)


def test_a_step_that_is_cut_off_at_a_kink_passes_nothing():
    """It overshoots from -0.4 past 0.5, where the force then points back inside."""
    net = ctebm.LayeredNetwork([[[0.0]]], [[0.0], [0.2]], ctebm.HardSigmoid()).clamp({"x": [0.0]})
    for n, passed in [(0, 1.0), (1, 0.0), (2, 0.0)]:
        g = ctebm.bptt_gradient(net, [-0.4], [0.1], eps=1.6, n_steps=n)
        assert (g != 0).item() is bool(passed)
    inside = ctebm.bptt_gradient(net, [-0.4], [0.1], eps=1.2, n_steps=1)  # ends at 0.32
    assert float(inside) == pytest.approx((1 - 1.2) * (0.32 - 0.1))


def test_bptt_gradient_at_equilibrium_is_powers_of_the_step_and_sums_to_the_implicit_one():
    net, fixed, target = settled(ACTIVATIONS["logistic"])
    g = ctebm.bptt_gradient(net, fixed.state, target, eps=0.2, n_steps=400, every_step=True)
    assert g.shape == (401, *fixed.state.shape)
    M = torch.eye(net.n_units, dtype=torch.float64) - 0.2 * net.hessian(fixed.state)
    expected = g[0]
    for n in range(6):
        torch.testing.assert_close(g[n], expected, rtol=1e-12, atol=1e-16)
        expected = (M @ expected.unsqueeze(-1)).squeeze(-1)
    total = 0.2 * g.sum(0)
    implicit = ctebm.implicit_gradient(net, fixed.state, target)
    torch.testing.assert_close(total, implicit, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"eps": 0.0, "n_steps": 1}, "finite eps > 0, got 0"),
        ({"eps": float("inf"), "n_steps": 1}, "finite eps > 0, got inf"),
        ({"eps": float("nan"), "n_steps": 1}, "finite eps > 0, got nan"),
        ({"eps": 0.1, "n_steps": -1}, "whole number n_steps >= 0, got -1"),
        ({"eps": 0.1, "n_steps": 1.5}, "whole number n_steps >= 0, got 1.5"),
        ({"eps": 0.1, "n_steps": float("nan")}, "whole number n_steps >= 0, got nan"),
        (
            {"eps": 0.1, "n_steps": 10**20},
            "0{20} steps takes about .* use fewer steps",
        ),
    ],
)
def test_steps_back_without_meaning_are_refused(options, words):
    net, fixed, target = settled(ACTIVATIONS["hard"])
    with pytest.raises(ValueError, match=words):
        ctebm.bptt_gradient(net, fixed, target, **options)


def test_steps_back_can_be_large_or_none():
    """eps = 2 is a step of the map like any other, and no step leaves the error itself."""
    net, fixed, target = settled(ACTIVATIONS["tanh"])
    none = ctebm.bptt_gradient(net, fixed, target, eps=2.0, n_steps=0)
    right = torch.zeros_like(fixed.state)
    right[:, net.layers["y"]] = fixed.state[:, net.layers["y"]] - target
    assert torch.equal(none, right)
    one = ctebm.bptt_gradient(net, fixed, target, eps=2.0, n_steps=1)
    M = torch.eye(net.n_units, dtype=torch.float64) - 2 * net.hessian(fixed.state)
    torch.testing.assert_close(one, (M @ right.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize("side", [1, -1])
def test_a_step_that_ends_exactly_at_a_kink_passes_nothing(side):
    """Though the force there points inside, so that the unit is not pinned."""
    biases = torch.tensor([-0.25, 0.125], dtype=torch.float64)
    if side < 0:  # the mirror image
        biases = -biases - 0.5
    net = ctebm.DenseNetwork(
        [[0.0, 0.5], [0.5, 0.0]], biases, ctebm.HardSigmoid(),
        layers={"h": slice(0, 1), "y": slice(1, 2)},
    )  # fmt: skip
    start, ends = [0.25 * side, 0.0], [0.0, 0.5 * side]
    s = torch.tensor(start, dtype=torch.float64)
    assert (s + net.force(s)).tolist() == ends
    assert -side * float(net.force(torch.tensor(ends, dtype=torch.float64))[1]) > 0
    for eps, passes in [(1.0, False), (1 - 1e-9, True)]:
        g = ctebm.bptt_gradient(net, start, [0.1], eps=eps, n_steps=1)
        assert bool((g != 0).any()) is passes


@pytest.mark.parametrize("rho", ["tanh", "hard"])
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("n_steps", [2, 3, 10, 17])
def test_a_path_kept_in_pieces_gives_the_same_bits(monkeypatch, rho, every_step, n_steps):
    net, fixed, target = settled(ACTIVATIONS[rho], gain=1.5)
    start, options = fixed.state * 0.8, {"eps": 0.3, "n_steps": n_steps, "every_step": every_step}
    expected = ctebm.bptt_gradient(net, start, target, **options)
    monkeypatch.setattr(through_time, "_PATH_BYTES", 0)
    torch.testing.assert_close(
        ctebm.bptt_gradient(net, start, target, **options), expected, rtol=0, atol=0
    )


@pytest.mark.parametrize("other", [None, 2.5, "net"])
def test_what_is_no_network_is_refused_in_words_by_bptt_gradient(other):
    with pytest.raises(ValueError, match="expected a network, got"):
        ctebm.bptt_gradient(other, [0.0], [0.1], eps=0.1, n_steps=1)
