"""Chains of kinked layers go down as every other layer alone, to the same kind of end."""

import pytest
import torch

import ctebm
from ctebm.equilibria import minimum
from ctebm.networks import condensed

F64 = torch.float64
HARD = ctebm.HardSigmoid()


@pytest.fixture
def all_condensed(monkeypatch):
    monkeypatch.setattr(condensed, "LEAST_WEIGHTS", 0)


def inputs(n, size, seed=0):
    return torch.rand(n, size, generator=torch.Generator().manual_seed(seed), dtype=F64) - 0.5


def chain(sizes, gain, rho=HARD, seed=1, dtype=F64):
    return ctebm.LayeredNetwork.random(sizes, rho, gain=gain, seed=seed, dtype=dtype)


def energy_of(network, points):
    return network.energy(points.state)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sizes", [[8, 12, 4], [8, 12, 9, 4], [8, 6, 7, 6, 5, 4]])
def test_ends_are_stable_and_below_their_starts(sizes, gain, all_condensed):
    network = chain(sizes, gain).clamp({"x": inputs(20, 8)})
    start = inputs(20, network.n_units, seed=5)
    points = ctebm.settle(network, start).raise_for_status()
    assert bool((points.residual <= 1e-10).all()) and set(points.stability) == {"stable"}
    assert bool((network.energy(points.state) <= network.energy(start)).all())
    assert points.message == [""] * 20


@pytest.mark.parametrize("seed", range(4))
def test_ends_are_among_all_equilibria(seed, all_condensed):
    network = chain([3, 2, 3], 4.0, seed=seed)
    every = ctebm.enumerate_fixed_points(network)
    points = ctebm.settle(network, inputs(30, 8, seed)).raise_for_status()
    apart = torch.cdist(points.state, every.state, p=float("inf"))
    assert apart.amin(1).max() < 1e-9
    assert {every.stability[i] for i in apart.argmin(1).tolist()} == {"stable"}


def test_where_there_is_one_equilibrium_both_ways_find_it(monkeypatch):
    network = chain([20, 30, 30, 5], 0.55).clamp({"x": inputs(10, 20)})
    as_it_is = ctebm.settle(network).raise_for_status()
    monkeypatch.setattr(condensed, "LEAST_WEIGHTS", 0)
    called = []
    down = minimum._descend_condensed
    monkeypatch.setattr(minimum, "_descend_condensed", lambda *given: called.append(down(*given)))
    points = ctebm.settle(network).raise_for_status()
    assert called
    torch.testing.assert_close(points.state, as_it_is.state, rtol=0, atol=1e-9)


def test_starts_that_are_equilibria_are_returned_to_the_bit(all_condensed):
    network = chain([6, 8, 5], 3.0)
    start = torch.stack([torch.zeros(19, dtype=F64), inputs(1, 19)[0]])
    points = ctebm.settle(network, start)
    assert torch.equal(points.state[0], start[0]) and points.stability == ["saddle", "stable"]
    again = ctebm.settle(network, points.state)
    assert torch.equal(again.state, points.state) and again.iterations.tolist() == [0, 0]


@pytest.mark.parametrize("kept", [True, False])
def test_a_saddle_of_the_kept_layers_is_left(kept, all_condensed):
    """The start is an equilibrium of one half of the layers and not of the others."""
    network = chain([6, 8], 4.0)
    start = torch.zeros(14, dtype=F64)
    where = network.layers["x" if kept else "y"]
    start[where] = inputs(1, 14)[0, where]
    points = ctebm.settle(network, start).raise_for_status()
    assert points.stability == ["stable"]


def test_updates_that_end_above_their_start_are_dropped(all_condensed, monkeypatch):
    def upwards(network, o, tol, most):
        return torch.full_like(o, 0.5), torch.full(o.shape[:1], most)

    monkeypatch.setattr(minimum, "accelerated", upwards)
    network = chain([6, 10, 8], 2.0).clamp({"x": inputs(5, 6)})
    start = ctebm.settle(network, inputs(5, 18)).state + 1e-3 * inputs(5, 18, 3)
    points = ctebm.settle(network, network.box.project(start)).raise_for_status()
    assert bool((energy_of(network, points) <= network.energy(start) + 1e-12).all())


def test_steps_of_the_motion_are_half_a_force_long_and_never_end_above_their_start():
    network = ctebm.DenseNetwork([[0, 1.5], [1.5, 0]], [0.1, -0.2], ctebm.Logistic())
    s = inputs(4, 2)
    E, f = network.energy_and_force(s)
    u, E_u, f_u = minimum._followed(network, s, E, f, 2)
    expected = s + f / 2
    expected = expected + network.force(expected) / 2
    torch.testing.assert_close(u, expected)
    torch.testing.assert_close((E_u, f_u), network.energy_and_force(u))
    assert bool((E_u < E).all())
    stiff = ctebm.DenseNetwork([[0, -40], [-40, 0]], [20.0, 20.0], ctebm.Logistic())
    start = 3 * inputs(20, 2)
    E, f = stiff.energy_and_force(start)
    u, E_u, f_u = minimum._followed(stiff, start, E, f, 1)
    after = start + f / 2
    rises = stiff.energy(after) > E
    assert 0 < int(rises.sum()) < 20
    torch.testing.assert_close(u, torch.where(rises.unsqueeze(-1), start, after))
    torch.testing.assert_close((E_u, f_u), stiff.energy_and_force(u))


@pytest.mark.parametrize(("most", "steps"), [(1000, 20), (9, 4), (1, 0)])
def test_the_motion_is_followed_for_half_of_the_steps_at_most(most, steps, monkeypatch):
    taken, followed = [], minimum._followed

    def noted(*given):
        taken.append(given[-1])
        return followed(*given)

    monkeypatch.setattr(minimum, "_followed", noted)
    network = chain([8, 20, 20, 4], 6.0, ctebm.Logistic()).clamp({"x": inputs(6, 8)})
    ctebm.settle(network, max_iterations=most)
    assert taken == [steps]


def test_rows_do_not_touch_each_other(all_condensed):
    whole = chain([8, 12, 9, 4], 2.0)
    x = inputs(6, 8)
    together = ctebm.settle(whole.clamp({"x": x}))
    for i, row in enumerate(x):
        alone = ctebm.settle(whole.clamp({"x": row}))
        torch.testing.assert_close(alone.state, together.state[i], rtol=0, atol=1e-8)
        assert alone.iterations == together.iterations[i]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_steps_are_bounded(most, all_condensed):
    network = chain([8, 20, 20, 20, 20, 4], 1.5).clamp({"x": inputs(6, 8)})
    points = ctebm.settle(network, max_iterations=most)
    assert points.status.any()
    assert int(points.iterations.max()) <= 9 + most + 1  # those of Picard's and a saddle left
    assert all("more iterations" in word for word in points.message if word)


@pytest.mark.parametrize("lower", [-0.2, -0.3, -0.7])
def test_kinks_that_single_precision_rounds_are_kept(lower, all_condensed):
    """Updates in float32 end on the kink there, 3e-9 outside the box for -0.2."""
    network = chain([6, 9, 7, 5], 4.0, rho=ctebm.HardSigmoid(lower=lower), seed=3)
    network = network.clamp({"x": inputs(6, 6, seed=2) + 0.5 + lower})
    points = ctebm.settle(network, inputs(6, network.n_units, seed=3) + 0.5 + lower)
    points.raise_for_status()
    assert set(points.stability) == {"stable"} and bool(points.pinned.any())
    assert bool(points.pinned[(points.state == lower) | (points.state == 1 + lower)].all())
    assert bool((points.state == network.box.project(points.state)).all())


def test_what_is_not_on_the_graph_stays_off_it_and_single_precision_settles(all_condensed):
    network = chain([8, 12, 9, 4], 2.0, dtype=torch.float32)
    for W in network.weights:
        W.requires_grad_()
    points = ctebm.settle(network.clamp({"x": inputs(6, 8).float()})).raise_for_status()
    assert points.state.dtype == torch.float32 and not points.state.requires_grad


def test_weights_that_overflow_in_single_precision_are_left_to_newton_s_method(all_condensed):
    network = chain([6, 8, 7, 3], 1.0)
    for W in network.weights:
        W.mul_(1e39)
    network.bias.mul_(1e39)
    points = ctebm.settle(network.clamp({"x": inputs(3, 6)}))
    assert points.status.tolist() == [0, 0, 0]
    assert torch.isfinite(points.state).all()


def test_a_force_that_rounding_keeps_above_the_tolerance_is_said_with_the_remedy():
    """A curvature of 1e8 at 1/3, which no float is: the force is some 1e-9 at the nearest."""

    class Steep(ctebm.Network):
        def energy(self, s):
            return 1e8 * (s - 1 / 3).square().sum(-1) / 2 + s.cos().sum(-1)

    points = ctebm.settle(Steep(2), [0.0, 1.0], tol=1e-14)
    assert not points.converged and "none lowers it any more" in points.message[0]
    assert "give a larger tol" in points.message[0]
    assert ctebm.settle(Steep(2), [0.0, 1.0], tol=float(points.residual) * 2).converged
