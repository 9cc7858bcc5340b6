"""Section 3 of the paper: what moves, how much, in which direction, and until when."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, measured, settled

import ctebm
from ctebm.early_inference import measurement

HARD = ctebm.HardSigmoid()


def independent(record, eps, n_steps):
    """Drive the saved network in plain numpy, layer by layer, from the saved equilibrium."""
    data = record.to_dataset()
    W = [data[f"weight_{i}"].values for i in range(len(record.network.weights))]
    b = [data[f"bias_{i}"].values for i in range(len(W) + 1)]
    low, high = json_kinks(data)
    layer_of_unit = data.layer_of_unit.values
    h = [data.input.values] + [
        data.fixed_point.values[:, layer_of_unit == name] for name in data.layer.values
    ]
    out = []
    for _ in range(n_steps + 1):
        out.append(np.concatenate(h[1:], -1) - data.fixed_point.values)
        r = [np.clip(s - low, 0, 1) for s in h]
        new = [h[0]]
        for i in range(1, len(h)):
            current = b[i] + r[i - 1] @ W[i - 1]
            if i < len(h) - 1:
                current = current + r[i + 1] @ W[i].T
                new.append(np.clip(h[i] + eps * (current - h[i]), low, high))
            else:
                new.append(h[i] + eps * (data.target.values - h[i]))
        h = new
    return np.stack(out)


def json_kinks(data):
    low = json.loads(data.attrs["activation_parameters"])["lower"]
    return low, low + 1


@pytest.mark.parametrize("sizes", [(5, 4, 3), (5, 6, 4, 3), (4, 5, 5, 5, 3), (4, 5, 5, 4, 4, 4, 3)])
@pytest.mark.parametrize("gain", [0.3, 1.5])
def test_displacement_is_that_of_an_independent_implementation(sizes, gain):
    """Smooth inside the kinks, and kinked, at several depths."""
    record = measured(sizes=sizes, gain=gain, eps=[0.25], n_steps=20, save_all=True)
    expected = independent(record, 0.25, 20).swapaxes(0, 1)
    np.testing.assert_allclose(record.displacement[:, 0].numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sizes", [(5, 6, 3), (5, 6, 4, 3), (5, 6, 6, 4, 3)])
def test_first_arrivals_are_the_chain_gradient_to_rounding(sizes):
    """P1 and P2: exact at steps k + 1 and k + 2, with cosine 1; not a step later."""
    record = measured(sizes=sizes)
    assert (record.first_crossing == -1).all() and not record.fixed.pinned.any()
    floor = record.rounding_floor
    n_hidden = len(sizes) - 2
    for layer, k in enumerate(record.depth):
        for n in (k + 1, k + 2):
            off = (record.coefficient[:, :, n, layer] / record.law[:, n, layer] - 1).abs()
            assert (off <= 3 * floor[:, :, layer]).all()
            assert (record.tangent[:, :, n, layer].abs() <= 3 * floor[:, :, layer]).all()
        assert (record.coefficient[:, :, : k + 1, layer].abs() < 1e-10).all()
        later = record.tangent[:, 0, k + 3, layer].abs()
        if k > 0 and n_hidden > 1:
            assert (later > 100 * floor[:, 0, layer]).all()
        else:
            assert (later <= 3 * floor[:, 0, layer]).all()


def test_the_comparison_would_notice_a_wrong_law():
    """The check above fails for the paper's eps^(k+2), and for a gradient with a wrong sign."""
    record = measured()
    k = 1
    layer, n = record.depth.index(k), k + 1
    wrong = record.eps ** (k + 2)
    off = (record.coefficient[:, :, n, layer] / wrong - 1).abs()
    assert (off > 1e6 * record.rounding_floor[:, :, layer]).all()
    turned = replace(record, chain=-record.chain)
    assert (turned.cosine(turned.chain)[:, :, n, layer] < -0.99).all()


def test_one_hidden_layer_follows_the_binomial_law_for_ever():
    record = measured(sizes=(5, 6, 3))
    known = torch.isfinite(record.law) & (record.law > 0)
    ratio = record.coefficient / record.law
    assert (ratio[:, known] - 1).abs().max() < 1e-9


def test_motion_is_the_linear_response_until_a_kink():
    record = measured(gain=1.0, eps=(0.2, 0.05))
    crossing = record.first_crossing
    assert (crossing > 0).any()
    step = record.step[None].expand(len(crossing), -1, -1)
    before = (step > 0) & ((crossing < 0)[..., None] | (step < crossing[..., None]))
    after = (step > 0) & (crossing > 0)[..., None] & (step > crossing[..., None])
    error = record.linear_error
    for layer, k in enumerate(record.depth):
        seen = before & (step > k) & torch.isfinite(error[..., layer])  # NaN: nothing moves
        assert seen.sum() > 20
        floor = record.rounding_floor[..., layer][..., None].expand_as(error[..., layer])
        assert (error[..., layer][seen] <= 5 * floor[seen]).all()
    assert error[..., 0][after].nan_to_num(0).max() > 1e-4


@pytest.mark.parametrize("method", ["heun", "midpoint", "rk4"])
def test_other_solvers_cross_as_many_layers_as_they_have_stages(method):
    record = measured(sizes=(5, 6, 5, 4, 4, 3), method=method, eps=[0.2], n_steps=8)
    stages = ctebm.dynamics.methods.METHODS[method].stages
    for layer, k in enumerate(record.depth):
        moved = (
            record.displacement[:, 0, 1, list(record.fixed.network.layers.values())[layer]]
            .abs()
            .amax(-1)
            > 1e-12
        )
        assert moved.all() if k < stages else not moved.any()
        n = -(-(k + 1) // stages)
        if stages * n < k + 3:  # nothing can have come back yet
            off = (record.coefficient[:, 0, n, layer] / record.law[0, n, layer] - 1).abs()
            assert (off <= 5 * record.rounding_floor[:, 0, layer]).all()


def test_an_adaptive_solver_follows_the_continuous_law():
    record = measured(ctebm.SmoothHardSigmoid(width=0.02), sizes=(5, 6, 3), method="dopri5")
    later = record.time[2] > 0.2
    ratio = (record.coefficient / record.law)[:, 2][:, later]
    assert (ratio - 1).abs().max() < 1e-4


@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.Logistic(), ctebm.SmoothHardSigmoid()])
def test_remainder_of_a_smooth_rate_is_of_order_eps(rho):
    net, fixed, target = settled(rho, gain=1.5)
    eps = np.array([4e-3, 2e-3, 1e-3])
    record = ctebm.correspondence(net, None, target, eps, n_steps=3, start=fixed.state, tol=1e-14)
    layer = record.depth.index(1)
    off = record.coefficient[:, :, 2, layer] / record.law[:, 2, layer] - 1
    error = torch.hypot(off, record.tangent[:, :, 2, layer]).norm(dim=0)
    slope = np.polyfit(np.log(eps), np.log(error.numpy()), 1)[0]
    assert slope == pytest.approx(1, abs=0.02)


def test_size_at_first_arrival_against_the_flow():
    """The direction converges as eps -> 0, the size at first arrival never does."""
    record = measured(sizes=(5, 6, 6, 6, 3), eps=[0.01], n_steps=8)
    flow = ctebm.continuous_coefficient
    for layer, (k, limit) in enumerate(zip(record.depth, [0.09375, 2 / 9, 1 / 2, 1], strict=True)):
        ratio = record.coefficient[:, 0, k + 1, layer] / float(flow(k, (k + 1) * 0.01))
        assert ratio.numpy() == pytest.approx(limit, rel=0.05)


def test_a_given_equilibrium_is_taken_as_it_is():
    settled_here = measured(eps=[0.1], n_steps=4)
    again = measured(eps=[0.1], n_steps=4, state=settled_here.fixed.state)
    torch.testing.assert_close(again.displacement, settled_here.displacement)
    with pytest.raises(ValueError, match="got both"):
        measured(state=settled_here.fixed.state, start=settled_here.fixed.state)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"replicates": 4}, "sigma > 0"),
        ({"eps": [1.5]}, "0 < eps <= 1"),
        ({"method": "dopri5"}, "stalls where units chatter"),
        ({"drive": "nudge", "beta": 0.1, "points": 4}, "analytic activation, got HardSigmoid"),
        ({"state": torch.zeros(6, 13)}, "expected an equilibrium, got a state with residual"),
        ({"state": torch.zeros(2, 13)}, r"one state, or one for each of 6 samples.* \(2, 13\)"),
        ({"start": torch.zeros(2, 13)}, r"one start, or one for each of 6 samples.* \(6, 13\)"),
        ({"start": torch.zeros(1, 6, 13)}, "one start, or one for each of 6 samples"),
        ({"state": torch.full((6, 13), torch.nan)}, "got nan in unit 0 of sample 0"),
        ({"start": torch.full((13,), torch.inf)}, "got inf in unit 0; settle first"),
        ({"t_end": np.nan}, "finite t_end >= 0, got nan"),
        ({"sigma": "some"}, "finite sigma >= 0, got 'some'"),
        ({"drive": "nudge", "beta": 0.1, "points": 2.5}, "whole number 1 <= points"),
        ({"sigma": 0.1, "replicates": 10**12}, "1000000000000 runs each, takes about .* GiB"),
        (
            {"sigma": 0.1, "replicates": 10**6, "intervals": True, "n_steps": 1},
            "1000000 runs each, takes about .* save or run fewer",
        ),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        measured(**options)


@pytest.mark.parametrize("rho", ["tanh", "hard"])
def test_an_asymmetric_network_is_measured_against_its_jacobian(rho):
    """Weak nudging moves by sums of powers of 1 + eps J, which a dense matrix gives."""
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(9, 9, generator=draw, dtype=torch.float64) / 6
    layers = {"x": slice(0, 2), "h1": slice(2, 6), "y": slice(6, 9)}
    net = ctebm.AsymmetricNetwork(W, torch.zeros(9), ACTIVATIONS[rho], layers=layers).centred()
    x = 0.2 * torch.rand(3, 2, generator=draw, dtype=torch.float64)
    target = 0.2 * torch.rand(3, 3, generator=draw, dtype=torch.float64)
    eps, n = 0.2, 10
    record = ctebm.correspondence(
        net, x, target, eps, n_steps=n, drive="nudge", beta=1e-5, points=2
    )
    assert record.status.tolist() == [0, 0, 0]
    s, y = record.fixed.state, record.fixed.network.layers["y"]
    J = record.fixed.network.jacobian(s)
    push = torch.zeros_like(s)
    push[:, y] = target - s[:, y]
    M, expected = torch.eye(7, dtype=torch.float64) + eps * J, torch.zeros_like(s)
    for _ in range(n):
        expected = (M @ expected.unsqueeze(-1)).squeeze(-1) + eps * push
    torch.testing.assert_close(record.linear_response[:, 0, -1], expected, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(record.displacement[:, 0, -1], expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        record.implicit, ctebm.implicit_gradient(record.fixed.network, s, target)
    )


def test_one_target_serves_many_inputs_and_one_input_many_targets():
    net = ctebm.LayeredNetwork.random((5, 6, 3), HARD, gain=0.3, seed=4)
    x = 0.8 * torch.rand(2, 5, generator=torch.Generator().manual_seed(7)) - 0.4
    y = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    both = ctebm.correspondence(net, x, y, 0.1, n_steps=4)
    for one in (
        ctebm.correspondence(net, x, y[0], 0.1, n_steps=4),
        ctebm.correspondence(net.clamp({"x": x}), None, y[0], 0.1, n_steps=4),
    ):
        assert torch.equal(one.displacement, both.displacement)
        assert torch.equal(one.target, both.target)
    one = ctebm.correspondence(net, x[0], y, 0.1, n_steps=4)
    assert torch.equal(one.displacement[0], both.displacement[0])
    assert one.input.shape == (2, 5)
    with pytest.raises(ValueError, match=r"got a batch \(1, 2\); flatten it"):
        ctebm.correspondence(net, x[None], y, 0.1)


def test_samples_that_do_not_fit_are_refused_in_a_sentence():
    net = ctebm.LayeredNetwork.random([4, 3, 2], HARD, gain=0.5, seed=1)
    x = torch.linspace(-0.3, 0.3, 12).reshape(3, 4)
    for x_given, target, words in [
        (x, torch.zeros(3), r"\(\*batch, 2\) for layer 'y', got \(3,\)"),
        (x, torch.zeros(4, 2), r"batches of samples \(3,\) and targets \(4,\); give each"),
        (x[:0], torch.zeros(0, 2), "inputs and targets of one or more samples, got none"),
        (x[:0], torch.zeros(2), "inputs and targets of one or more samples, got none"),
        (x[0], torch.zeros(0, 2), "inputs and targets of one or more samples, got none"),
        (x, [1, 0, 1], r"3 integers for 3 samples.* one-hot states of shape \(3, 2\)"),
        (x, [[0.1, np.nan]] * 3, "layer 'y', got nan in unit 1 of sample 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            ctebm.correspondence(net, x_given, target)
    whole = net.clamp({"x": x, "h1": [0.0] * 3, "y": [0.0] * 2})
    with pytest.raises(ValueError, match="free layer, got one with every layer clamped"):
        ctebm.correspondence(whole, None, torch.zeros(2))
    with pytest.raises(ValueError, match="expected a network, got Dynamics"):
        ctebm.correspondence(ctebm.Dynamics(net), x, torch.zeros(2))  # pyright: ignore[reportArgumentType]


def test_a_record_of_equilibria_is_a_start_and_a_state():
    first = measured(eps=[0.1], n_steps=4)
    for name in ("state", "start"):
        again = measured(eps=[0.1], n_steps=4, **{name: first.fixed})
        torch.testing.assert_close(again.displacement, first.displacement)


def test_an_equilibrium_that_is_not_stable_is_said():
    layers = ctebm.LayeredNetwork([[[8.0]], [[8.0]]], [[0.0], [0.0], [0.0]], ctebm.Tanh())
    net = layers.centred()  # h and y have the saddle 0 and two wells
    x, target = [[0.0], [0.0]], [[0.3], [0.3]]
    record = ctebm.correspondence(net, x, target, [0.1], start=[[0.0, 0.0], [0.5, 0.5]], n_steps=4)
    assert record.fixed.stability == ["saddle", "stable"]
    assert record.status.tolist() == [4, 0]
    assert "not stable" in record.message[0] and record.message[1] == ""


@pytest.mark.parametrize("kind", ["asymmetric", "feedback", "hopfield", "own"])
@pytest.mark.parametrize("given", ["start", "state"])
def test_nor_is_it_passed_over_without_an_energy(kind, given):
    """The same saddle and well, in a motion without an energy and started exactly there."""
    layered = ctebm.LayeredNetwork([[[8.0]], [[8.0]]], [[0.0]] * 3, ctebm.Tanh()).centred()
    dense = ctebm.AsymmetricNetwork(
        [[0, 8, 0], [8, 0, 8], [0, 8, 0]], [0, 0, 0], ctebm.Tanh(), layers=layered.layers
    )

    class Own(ctebm.VectorField):
        def __init__(self, h_and_y):
            layers = {"h1": slice(0, 1), "y": slice(1, 2)}
            super().__init__(2, layers=layers)
            self.net = h_and_y

        def force(self, s):
            return self.net.force(s)

    net = {
        "asymmetric": dense.centred(),
        "feedback": ctebm.FeedbackNetwork(
            [[[8.0]], [[8.0]]], [[[8.0]], [[8.0]]], [[0.0]] * 3, ctebm.Tanh()
        ).centred(),
        "hopfield": ctebm.HopfieldNetwork(layered),
        "own": Own(layered.clamp({"x": [0.0]})),
    }[kind]
    x, target = (None if kind == "own" else [[0.0], [0.0]]), [[0.3], [0.3]]
    well = ctebm.settle(net if x is None else net.clamp({"x": [0.0]}), [0.5, 0.5], tol=1e-12).state
    starts = torch.stack([torch.zeros_like(well), well])
    record = ctebm.correspondence(net, x, target, [0.1], n_steps=4, **{given: starts})
    assert record.fixed.stability == ["saddle", "stable"]
    assert record.status.tolist() == [4, 0]
    assert "not stable" in record.message[0] and record.message[1] == ""


def test_single_precision_has_a_tolerance_of_its_own():
    """What it measures is that of double precision, to its rounding floor."""
    net = ctebm.LayeredNetwork.random((5, 6, 4, 3), HARD, gain=0.3, seed=4)
    x, target = torch.linspace(-0.3, 0.3, 10).reshape(2, 5), torch.full((2, 3), 0.3)
    options = {"eps": [0.5], "n_steps": 3}
    double = ctebm.correspondence(net, x, target, **options)
    single = ctebm.correspondence(net.to(dtype=torch.float32), x, target, **options)
    assert single.displacement.dtype == torch.float32 and single.status.tolist() == [0, 0]
    assert single.fixed.residual.max() < 1.2e-5 and double.fixed.residual.max() < 1e-12
    torch.testing.assert_close(single.displacement.double(), double.displacement, rtol=0, atol=3e-5)


def test_the_estimate_of_memory_counts_runs_saves_samples_and_pairs_of_runs(monkeypatch):
    asked = []
    monkeypatch.setattr(
        measurement, "check_memory", lambda what, n_bytes, *_: asked.append(n_bytes)
    )
    saves, units = 4, 13  # steps 0 to 3 of 6 + 4 + 3 units
    one = {"eps": [0.5, 0.1], "n_steps": 3, "save_all": True, "sizes": (5, 6, 4, 3), "n": 2}
    measured(**one)
    quiet = 8 * 4 * (2 * saves) * 2 * units
    assert asked.pop() == quiet
    measured(**one, sigma=0.1, replicates=5, seed=1)
    noisy = quiet + 8 * 2 * saves * 5 * 2 * units
    assert asked.pop() == noisy
    measured(**one, sigma=0.1, replicates=5, seed=1, intervals=True)
    assert asked.pop() == noisy + 8 * saves * 2 * 5**2


def test_with_an_energy_a_single_unit_without_a_gradient_tells_that_a_state_is_unstable():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=0).clamp(
        {"x": np.zeros((3, 3))}
    )
    fixed = ctebm.settle(net)
    implicit = torch.zeros(3, 6)
    implicit[1, 4], implicit[2] = torch.nan, torch.nan
    assert measurement._unstable(fixed, implicit).tolist() == [False, True, True]
    turned = ctebm.FeedbackNetwork.at_angle(net, 30)
    judged = SimpleNamespace(network=turned, index=torch.tensor([0, 1, -1]))
    assert measurement._unstable(judged, implicit).tolist() == [False, True, False]


def test_errors_and_intervals_of_several_steps_are_those_of_each():
    """Beside each other by step size, with NaN after the last save of a shorter run."""
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=1)
    x = [[0.1, 0.2, 0.3], [0.3, 0.1, 0.0], [0.0, 0.2, 0.1]]
    y = [[0.2, -0.2], [0.1, 0.3], [0.0, 0.1]]
    noisy = {"sigma": 0.05, "replicates": 4, "intervals": True, "seed": 3, "save_all": True}
    both = ctebm.correspondence(net, x, y, eps=[0.25, 0.1], t_end=1.0, **noisy)
    for j, eps in enumerate((0.25, 0.1)):
        one = ctebm.correspondence(net, x, y, eps=eps, t_end=1.0, **noisy)
        n = one.displacement.shape[2]
        assert n == (5, 11)[j]
        for name in ("displacement", "standard_error", "coefficient_interval", "cosine_interval"):
            of_both = getattr(both, name).select(-3, j)
            same = {"rtol": 1e-12, "atol": 1e-15, "equal_nan": True}
            expected = getattr(one, name).select(-3, 0)
            torch.testing.assert_close(of_both[..., :n, :], expected, **same)
            assert bool(of_both[..., n:, :].isnan().all())
