"""Settling from a start: closed forms, batches, bad input."""

import math

import numpy as np
import pytest
import torch
from analytic import (
    HARD,
    TANH,
    affine_state,
    all_to_all,
    pair,
    pitchfork_state,
    random_dense,
    symmetric_energy,
)
from zoo import cyclic, dense, hopfield_layers, inhibition, off_diagonal, rotor, zoo

import ctebm
from ctebm import (
    Activation,
    AsymmetricNetwork,
    DenseNetwork,
    FeedbackNetwork,
    HardSigmoid,
    HopfieldNetwork,
    LayeredNetwork,
    Logistic,
    Network,
    SmoothHardSigmoid,
    SparseNetwork,
    Tanh,
    VectorField,
    find_fixed_points,
    settle,
    simulate,
)
from ctebm.equilibria import settling
from ctebm.equilibria.kkt import residual


@pytest.mark.parametrize(("w", "b"), [(0.25, 0.0), (0.6, -0.1), (-0.8, 0.2)])
def test_affine_pair(w, b):
    points = settle(pair(w, HARD, b), tol=1e-14)
    s = affine_state(w, b)
    assert torch.allclose(points.state, torch.full((2,), s, dtype=torch.float64), atol=1e-14)
    assert points.stability == ["stable"]


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("w", [5.0, 8.0])
def test_pitchfork_states_and_barrier(n, w):
    network, s = all_to_all(n, w, TANH), pitchfork_state(w)
    points = settle(network, torch.linspace(0.1, 0.3, n), tol=1e-13)
    assert torch.allclose(points.state, torch.full((n,), s, dtype=torch.float64), atol=1e-12)
    barrier = network.energy(torch.zeros(n)) - points.energy
    assert barrier.item() == pytest.approx(
        symmetric_energy(0, w, n) - symmetric_energy(s, w, n), abs=1e-13
    )


@pytest.mark.parametrize("gain", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("activation", [Logistic(), HARD, Tanh(), SmoothHardSigmoid()], ids=repr)
def test_every_sample_settles(gain, activation):
    whole = LayeredNetwork.random([20, 30, 30, 5], activation, gain=gain, seed=3)
    x = torch.as_tensor(np.random.default_rng(0).random((16, 20)))
    network = whole.clamp({"x": x})
    points = settle(network, tol=1e-10)
    assert points.converged.all()
    assert residual(network, points.state).max() <= 1e-10
    assert set(points.stability) <= {"stable"}


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("rates", [[HARD, HARD, TANH, HARD], [TANH, HARD, Logistic(6.0), TANH]])
def test_kinked_layers_beside_smooth_ones_settle(rates, gain):
    """Against Picard's map written out: the slope of smooth layers is not 1."""
    whole = LayeredNetwork.random([6, 9, 7, 4], rates, gain=gain, seed=2)
    network = whole.clamp({"x": torch.as_tensor(np.random.default_rng(0).random((16, 6)))})
    points = settle(network, tol=1e-10)
    assert points.converged.all() and set(points.stability) == {"stable"}
    where, s = list(network.layers.values()), points.state
    r = torch.cat([rho(s[:, at]) for rho, at in zip(rates[1:], where, strict=True)], -1)
    current = network.bias + r @ network.dense_weight()
    for rho, at in zip(rates[1:], where, strict=True):
        if rho is HARD:
            expected = current[:, at].clamp(-0.5, 0.5)
        else:
            expected = rho.derivative(s[:, at]) * current[:, at]
        torch.testing.assert_close(s[:, at], expected, rtol=0, atol=1e-10)


def test_samples_do_not_touch_each_other():
    whole = LayeredNetwork.random([10, 12, 4], Logistic(), gain=3.0, seed=1)
    x = torch.as_tensor(np.random.default_rng(0).random((8, 10)))
    together = settle(whole.clamp({"x": x})).state
    alone = torch.stack([settle(whole.clamp({"x": row})).state for row in x])
    assert (together - alone).abs().max() < 1e-8


def test_batch_of_starts_and_inputs():
    network = LayeredNetwork.random([4, 6, 3], HARD, seed=0).clamp({"x": torch.rand(5, 4)})
    points = settle(network, torch.zeros(7, 1, 9))
    assert points.state.shape == (7, 5, 9)
    assert points.index.shape == (7, 5)
    assert len(points.message) == len(points.stability) == 35


def test_a_record_is_a_start():
    network = pair(8.0, TANH)
    points = find_fixed_points(network, 20)
    again = settle(network, points)
    assert torch.equal(again.state, points.state)
    assert again.iterations.tolist() == [0, 0, 0]


def test_the_start_is_left_alone():
    for network in (pair(8.0, TANH), pair(2.0, HARD)):
        start = torch.tensor([[0.4, 0.1], [3.0, -0.2]], dtype=torch.float64)
        before = start.clone()
        settle(network, start)
        assert torch.equal(start, before)


def test_unconverged_is_said():
    network = random_dense(30, 0, Logistic(), gain=6.0)
    points = settle(network, torch.full((2, 30), 0.3), max_iterations=1)
    assert not points.converged.any()
    assert points.status.tolist() == [1, 1]
    assert points.stability == ["unconverged"] * 2
    assert points.index.tolist() == [-1, -1]
    with pytest.raises(RuntimeError, match=r"sample 0 has residual .* after 1 steps"):
        points.raise_for_status()


def test_energy_falls_from_the_start():
    network = random_dense(40, 1, Tanh(), gain=8.0)
    starts = torch.as_tensor(np.random.default_rng(1).standard_normal((20, 40)))
    points = settle(network, starts)
    assert (points.energy < network.energy(starts)).all()


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
def test_motions_without_an_energy_settle(activation):
    rng = np.random.default_rng(2)
    W = rng.standard_normal((10, 10)) / 5
    dense = AsymmetricNetwork(W, 0.2 * rng.standard_normal(10), activation)
    layers = LayeredNetwork.random([4, 5, 3], activation, seed=0)
    x = torch.as_tensor(rng.random((6, 4)))
    for network in (dense, FeedbackNetwork.at_angle(layers, 90.0).clamp({"x": x})):
        points = settle(network)
        assert points.converged.all()
        assert residual(network, points.state).max() <= 1e-10
        assert points.energy.isnan().all()


def test_the_1984_network_settles_where_the_state_is_the_current():
    network = HopfieldNetwork(random_dense(8, 0, TANH, gain=0.5))
    points = settle(network).raise_for_status()
    current = network.bias + network.pairwise.coupling(TANH(points.state))
    assert torch.allclose(points.state, current, atol=1e-10)


def test_sparse_settles_as_dense():
    ring = SparseNetwork.ring(12, 0.7, Logistic(), bias=-0.3)
    dense = DenseNetwork(ring.dense_weight(), ring.bias, Logistic())
    s = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 2, 12)))
    assert torch.allclose(settle(ring, s).state, settle(dense, s).state, atol=1e-9)


def test_float32():
    network = random_dense(10, 0, HardSigmoid()).to(dtype=torch.float32)
    points = settle(network)
    assert points.converged.all()
    assert points.state.dtype == torch.float32
    assert points.tol == pytest.approx(1.2e-5, rel=0.01)
    assert settle(random_dense(10, 0, HardSigmoid())).tol == 1e-10
    with pytest.raises(ValueError, match="rounding floor"):
        settle(network, tol=1e-10)


def test_bad_settings():
    network = pair(2, HARD)
    with pytest.raises(ValueError, match="rounding floor"):
        settle(network, tol=1e-17)
    with pytest.raises(ValueError, match="max_iterations >= 1"):
        settle(network, max_iterations=0)
    with pytest.raises(ValueError, match="'fast' or 'flow', got 'quick'"):
        settle(network, path="quick")


@pytest.mark.parametrize("name", list(zoo()))
@pytest.mark.parametrize("path", ["fast", "flow"])
def test_structured_networks_settle_where_they_should(name, path):
    member = zoo()[name]
    network, starts = member.network, member.starts(20)
    points = settle(network, starts, path=path)
    assert set(points.stability) <= member.kinds
    if member.has_energy:
        assert (points.energy <= network.energy(starts)).all()
    if member.stable is not None:
        # the fourth power of s is all that holds it at the edge of stability
        tol = 1e-3 if name == "edge" else 1e-8
        assert torch.cdist(points.state, member.stable, p=math.inf).amin(1).max() <= tol


@pytest.mark.parametrize("name", [k for k, m in zoo().items() if m.stable is not None])
def test_what_the_zoo_knows_is_so(name):
    member = zoo()[name]
    points = settle(member.network, member.stable)
    assert torch.equal(points.state, member.stable)
    assert not points.iterations.any()
    assert set(points.stability) <= member.kinds


def test_overshooting_does_not_climb():
    network = dense(20 * off_diagonal(50), Tanh())
    start = torch.full((50,), 3.0, dtype=torch.float64)
    points = settle(network, start)
    assert points.energy.item() == pytest.approx(283.974, abs=1e-3)  # beside the start's 285.430
    assert points.stability == ["stable"]


def test_a_saddle_on_the_way_down_is_left():
    points = settle(inhibition(3, -5.0), [0.3, 0.1, -0.2])
    assert points.energy.item() == pytest.approx(-4.75, abs=1e-14)
    assert points.stability == ["stable"]


def test_a_saddle_that_is_given_is_returned():
    network, saddle = inhibition(3, -5.0), torch.tensor([0.5, -5 / 12, -5 / 12]).double()
    points = settle(network, saddle, tol=1e-6)
    assert torch.allclose(points.state, saddle, atol=1e-6)
    assert points.stability == ["saddle"]
    assert points.message == [""]


@pytest.mark.parametrize("activation", [HARD, TANH, Logistic(10.0)], ids=repr)
def test_starts_beside_a_minimum_reach_it(activation):
    # E is a small difference of large terms there
    network = dense(8 * off_diagonal(3), activation)
    minimum = settle(network, [0.4, 0.3, 0.5]).state
    draw = np.random.default_rng(0).uniform(-0.05, 0.05, (100, 3))
    points = settle(network, minimum + torch.as_tensor(draw))
    assert (points.state - minimum).abs().max() < 1e-9


def test_the_flow_ends_where_the_motion_does():
    network = random_dense(20, 0, TANH, gain=10.0, bias=0.0)
    starts = torch.as_tensor(np.random.default_rng(1).standard_normal((60, 20)))
    s, eps = starts, 0.01
    for _ in range(6000):
        s = s + eps * network.force(s)
    flow, fast = settle(network, starts, path="flow"), settle(network, starts)
    here = residual(network, s) < 1e-6
    assert here.sum() >= 30
    assert (flow.state - s)[here].abs().max() < 1e-4
    assert (fast.state - s)[here].abs().amax(-1).max() > 0.1  # another basin, some times


def test_the_motion_decides_where_there_is_no_energy():
    small = 0.1 * torch.as_tensor(np.random.default_rng(0).standard_normal((200, 3)))
    assert set(settle(cyclic(), small).stability) == {"stable"}
    for seed in range(20):
        assert settle(hopfield_layers(seed)).stability == ["stable"]


def test_what_does_not_settle_is_said():
    points = settle(rotor(), [0.1, 0.2], max_iterations=200)
    assert points.status.tolist() == 1
    assert points.message[0].startswith("sample 0: does not settle: after time ")
    with pytest.raises(RuntimeError, match="does not settle"):
        points.raise_for_status()


def test_the_end_on_the_stable_set_of_a_saddle_is_said():
    network = AsymmetricNetwork([[0, 6], [6, 0]], [0, 0], Tanh()).centred()
    points = settle(network, [[0.3, -0.3], [0.3, -0.2]]).raise_for_status()
    assert points.stability == ["saddle", "stable"]
    assert "1 unstable direction" in points.message[0]
    assert points.message[1] == ""


class Hill(Network):
    def energy(self, s):
        return -s.square().sum(-1) / 2


class LeakyRelu(Activation):
    rates = (-math.inf, math.inf)

    def __call__(self, s):
        return torch.nn.functional.leaky_relu(s, 0.1)


@pytest.mark.parametrize(
    "network", [Hill(2), DenseNetwork([[0, 3], [3, 0]], [0.1, 0.1], LeakyRelu())]
)
def test_an_energy_without_a_bound_is_said(network):
    points = settle(network, [0.1, 0.2])
    assert points.status.tolist() == 1
    assert "the energy falls without bound" in points.message[0]


class Growth(VectorField):
    def force(self, s):
        return s.clone()


def test_a_state_without_a_bound_is_said():
    assert "the state grows without bound" in settle(Growth(2), [0.1, 0.2]).message[0]


def test_units_at_kinks_by_chance_do_not_hold_a_state():
    """One pattern stored twice and another once: the latter's currents end exactly on kinks.

    There the three units that differ go downhill together, though none does alone.
    """
    p = torch.ones(3, 8, dtype=torch.float64)
    p[2, [1, 2, 7]] = -1
    net = DenseNetwork((p.mT @ p).fill_diagonal_(0), torch.zeros(8), HARD).centred()
    saddle = p[2] / 2
    assert net.force(saddle)[[1, 2, 7]].abs().max() == 0
    draw = torch.Generator().manual_seed(0)
    starts = torch.rand(300, 8, generator=draw, dtype=torch.float64) - 0.5
    assert set(settle(net, starts).stability) == {"stable"}
    start = saddle.index_fill(0, torch.tensor([0]), 0.4)
    flow = settle(net, start, path="flow")
    assert torch.equal(flow.state, saddle)
    assert "at kinks by chance" in flow.message[0]


def test_it_is_said_where_the_motion_is_followed_without_newtons_method(monkeypatch):
    assert (
        "without Newton's method" not in settle(rotor(), [0.1, 0.2], max_iterations=50).message[0]
    )
    monkeypatch.setattr(settling, "LARGEST", 1)
    points = settle(rotor(), [0.1, 0.2], max_iterations=50)
    assert "in 50 steps (above 1 units without Newton's method) it cycles" in points.message[0]


def test_feedback_at_a_right_angle_settles_where_its_motion_does():
    """Of twenty inputs two make the network cycle."""
    net = LayeredNetwork.random([10, 20, 20, 5], HARD, gain=2.0, seed=1)
    x = torch.rand(20, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    net = FeedbackNetwork.at_angle(net.clamp({"x": x}), 90, seed=0)
    points = settle(net, max_iterations=300)
    run = simulate(net, torch.zeros(45), n_steps=5000, eps=0.02, save_every=5000)
    assert points.converged.sum() == 18
    assert torch.equal(points.converged, residual(net, run.state[-1]) < 1e-2)
    apart = (points.state - run.state[-1]).abs().amax(-1)
    assert apart[points.converged].max() < 1e-2


@pytest.mark.parametrize(
    "rates", ["hard, tanh, tanh, linear", "linear, tanh, hard, tanh", "linear, hard, hard, linear"]
)
def test_smooth_layers_beside_kinked_ones_settle_where_the_motion_does(rates):
    kinds = {"hard": ctebm.HardSigmoid(), "tanh": ctebm.SignedTanh(), "linear": ctebm.Identity()}
    activation = [kinds[name] for name in rates.split(", ")]
    net = ctebm.LayeredNetwork.random([7, 6, 5, 3], activation, gain=0.4, seed=1)
    draw = torch.Generator().manual_seed(0)
    free = net.clamp({"x": 1.5 * torch.randn(5, 7, generator=draw, dtype=torch.float64)})
    rest = ctebm.settle(free, tol=1e-12).raise_for_status()
    run = ctebm.simulate(free, torch.zeros(5, 14), n_steps=2000, eps=0.1, save_every=2000)
    assert torch.allclose(run.state[-1], rest.state, rtol=0, atol=1e-9)


def test_iterations_that_nobody_awaits_are_allowed():
    sizes, rho = [300, 300, 300], ctebm.HardSigmoid()
    net = ctebm.LayeredNetwork.random(sizes, rho, gain=0.3).clamp({"x": torch.zeros(300)})
    assert settle(net, torch.full((600,), 0.1), max_iterations=10**30).status.tolist() == 0
