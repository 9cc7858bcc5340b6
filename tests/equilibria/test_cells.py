"""Tests of settling among kinks inside the range of units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import ctebm
from ctebm.equilibria.cells import Cell
from ctebm.networks.kinks import Kinks

F64 = torch.float64
SLOPES = {ctebm.ReLU(): 0.0, ctebm.LeakyReLU(0.1): 0.1}


def network(rho, seed, sizes=(5, 4, 4, 3)):
    """Predictive coding with biases, and an input and output that do not fit each other."""
    draw = np.random.default_rng(seed)
    net = ctebm.PredictiveNetwork.random(sizes, rho, gain=1.5, seed=seed)
    biases = [0.3 * draw.standard_normal(n) for n in sizes]
    net = ctebm.PredictiveNetwork(net.weights, biases, rho)
    x, y = (torch.tensor(draw.standard_normal((3, n))) for n in (sizes[0], sizes[-1]))
    return net, x, y


@pytest.mark.parametrize("rho", SLOPES)
@pytest.mark.parametrize("seed", range(20))
def test_relu_predictive_networks_with_both_ends_clamped_settle(rho, seed):
    """Where a start moved a little either way along a unit finds no lower energy."""
    net, x, y = network(rho, seed)
    points = ctebm.settle(net.clamp({"x": x, "y": y})).raise_for_status()
    assert points.stability == ["stable"] * 3
    on = points.state[:, :8] == 0
    assert torch.equal(points.pinned[:, :8], on)
    draw = torch.Generator().manual_seed(seed)
    for row in range(3):
        free = net.clamp({"x": x[row], "y": y[row]})
        moves = 1e-4 * torch.randn(400, 8, generator=draw, dtype=F64)
        moves[:16] = torch.cat([1e-4 * torch.eye(8, dtype=F64), -1e-4 * torch.eye(8, dtype=F64)])
        assert bool((free.energy(points.state[row] + moves) > points.energy[row] - 1e-15).all())


def rests(W, b, x, y, slope):
    """Every rest of one hidden layer of clamped predictive coding, by trying all sides."""
    W0, W1 = (np.asarray(w) for w in W)
    fed, found = np.maximum(x, slope * x) @ W0 + b[1], []
    for sides in itertools.product((-1, 0, 1), repeat=len(fed)):
        sides = np.array(sides)
        kept, g = sides != 0, np.where(sides > 0, 1.0, slope)
        A = (g[:, None] * W1)[kept]  # rates are g s: E = |s - fed|^2/2 + |y - b - A's|^2/2
        s = np.zeros(len(fed))
        s[kept] = np.linalg.solve(np.eye(kept.sum()) + A @ A.T, fed[kept] + A @ (y - b[2]))
        if np.any(np.sign(s) != sides):
            continue
        back = W1 @ (y - b[2] - (g * s) @ W1)
        above, below = fed - s + back, fed - s + slope * back  # forces on both sides of a kink
        if np.all(((above <= 0) & (below >= 0))[~kept]):
            found.append(s)
    return np.array(found)


@pytest.mark.parametrize("rho", SLOPES)
def test_an_end_is_among_all_rests_that_trying_every_side_finds(rho):
    for seed in range(10):
        net, x, y = network(rho, seed, (3, 5, 2))
        points = ctebm.settle(net.clamp({"x": x, "y": y}), tol=1e-13).raise_for_status()
        for s, given, wanted in zip(points.state.numpy(), x.numpy(), y.numpy(), strict=True):
            b = [b.numpy() for b in net.biases]
            known = rests(net.weights, b, given, wanted, SLOPES[rho])
            assert np.abs(known - s).max(-1).min() < 1e-12


def test_a_motion_in_small_steps_slides_to_the_same_rest():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x, "y": y})
    points = ctebm.settle(free)
    assert int(points.pinned.sum()) == 6
    run = ctebm.simulate(free, free.first_guess(), n_steps=2500, eps=0.02)
    torch.testing.assert_close(run.state[-1], points.state, rtol=0, atol=1e-8)
    steady = ctebm.simulate(free, points.state, n_steps=100, eps=0.02, steady=1e-9)
    assert bool((steady.status == 0).all()) and torch.equal(steady.state[-1], points.state)
    chattering = ctebm.simulate(free, points.state, n_steps=500, eps=0.02, projected=False).state
    assert 1e-4 < float((chattering[-1] - points.state).abs().max()) < 0.2  # bounded, of order eps


def test_what_does_not_slide_says_so():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x[:1], "y": y[:1]})
    with pytest.raises(ValueError, match=r"dopri5 stalls where units chatter .* at \(0\.0,\)"):
        ctebm.simulate(free, free.first_guess(), times=[0, 1.0], method="dopri5")
    ends = ctebm.settle(free, path="flow", max_iterations=60)
    assert 'on which path="flow" does not slide' in ends.message[0]


def test_gradients_at_a_kink_are_those_of_the_equilibrium_that_moves():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x})
    points = ctebm.settle(free.nudged(y, 2.0))
    assert points.pinned.any() and not points.pinned.all()
    found = ctebm.implicit_gradient(free.nudged(y, 2.0), points, y)
    h = 1e-5
    up, down = (ctebm.settle(free.nudged(y, 2.0 + d), points).state for d in (h, -h))
    torch.testing.assert_close(found, -(up - down) / (2 * h), rtol=1e-7, atol=1e-9)
    linear = ctebm.linearize(free.nudged(y, 2.0), points)
    assert torch.equal(linear.pinned, points.pinned) and linear.stability == points.stability


class Folded(ctebm.Network):
    """A user's own energy with kinks of both kinds: valleys at 0, a ridge at 1."""

    kinks = Kinks(torch.tensor([[0.0], [1.0]]))

    def energy(self, s):
        s = self.as_state(s)
        return (1.5 * s.abs() - 2 * (s - 1).abs() + (s - 1).square() / 2).sum(-1)


def test_a_users_energy_settles_in_its_valleys_and_not_on_its_ridges():
    # forces below 0, between, and beyond 1: 1/2 - s, -5/2 - s, 3/2 - s
    points = ctebm.settle(Folded(1), [[-2.0], [0.0], [0.4], [1.0], [3.0]]).raise_for_status()
    torch.testing.assert_close(points.state[:, 0], torch.tensor([0, 0, 0, 1.5, 1.5]).to(F64))
    assert points.pinned[:, 0].tolist() == [True, True, True, False, False]
    assert points.margin.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5])
    ends = ctebm.simulate(Folded(1), [[-2.0], [0.4], [1.0], [3.0]], n_steps=900, eps=0.02).state[-1]
    torch.testing.assert_close(ends[:, 0], torch.tensor([0, 0, 1.5, 1.5]).to(F64))
    assert ctebm.find_fixed_points(Folded(1), 20, bounds=(-3.0, 3.0)).index_sum is None


def test_a_cell_is_the_network_between_its_faces():
    net, x, y = network(ctebm.ReLU(), 3)
    free = net.clamp({"x": x, "y": y})
    s = free.first_guess() + 0.1
    kinks = free.kinks
    assert kinks is not None
    cell = Cell(free, kinks.cell(kinks.below(s), s))
    assert torch.equal(cell.force(s), free.force(s)) and cell.batch == free.batch
    rows = torch.tensor([2, 0])
    some = cell.samples(cell.batch, rows)
    assert torch.equal(some.force(s[rows]), free.force(s)[rows])
    torch.testing.assert_close(some.hessian(s[rows]), free.hessian(s)[rows])
    v = torch.ones_like(s)
    torch.testing.assert_close(cell.hessian_product(s, v), free.hessian_product(s, v))


def test_a_cell_of_each_row_has_its_own_faces():
    """Rows on one kink from below and from above, in one batch and alone."""
    low, high = torch.tensor([[-torch.inf], [0.0]]), torch.tensor([[0.0], [torch.inf]])
    cell = Cell(Folded(1), ctebm.Box(low, high))
    s = torch.zeros(2, 1, dtype=F64)
    assert cell.force(s)[:, 0].tolist() == pytest.approx([0.5, -2.5])  # 1/2 - s below, -5/2 above
    for row in range(2):
        one = cell.samples(cell.batch, torch.tensor(row))
        assert torch.equal(one.force(s[row]), cell.force(s)[row])


class Ends(Folded):
    """The same between the ends of a range."""

    box = ctebm.Box(-0.5, 1.25)


def test_kinks_inside_a_range_that_ends():
    """The valley at 3/2 lies beyond the end, where the unit is pinned."""
    points = ctebm.settle(Ends(1), [[-0.5], [0.4], [1.0], [1.2]]).raise_for_status()
    assert points.state[:, 0].tolist() == [0.0, 0.0, 1.25, 1.25]
    assert points.pinned[:, 0].tolist() == [True] * 4
    for method in ("euler", "heun", "rk4"):
        run = ctebm.simulate(Ends(1), [[-0.5], [0.4], [1.2]], n_steps=200, eps=0.05, method=method)
        assert run.state[-1, :, 0].tolist() == [0.0, 0.0, 1.25]


@pytest.mark.parametrize("method", ["midpoint", "heun", "rk4"])
def test_methods_of_several_stages_slide_too(method):
    """Nearer to the path of very short steps than Euler's, and to rest where settling ends."""
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x, "y": y})
    start, points = free.first_guess(), ctebm.settle(free)
    path = ctebm.simulate(free, start, n_steps=20_000, eps=2e-4).state[-1]

    def off(method):
        run = ctebm.simulate(free, start, n_steps=40, eps=0.1, method=method)
        return float((run.state[-1] - path).abs().max())

    assert off(method) < 1e-4 < 4e-3 < off("euler")
    ends = ctebm.simulate(free, start, n_steps=500, eps=0.1, method=method).state[-1]
    torch.testing.assert_close(ends, points.state, rtol=0, atol=1e-9)
    assert torch.equal(ends[points.pinned], points.state[points.pinned])


def test_a_differentiable_run_slides_on_the_same_states():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x, "y": y})
    start = free.first_guess()
    plain = ctebm.simulate(free, start, n_steps=60, eps=0.1).state[-1]
    kept = ctebm.simulate(free, start, n_steps=60, eps=0.1, differentiable=True).state[-1]
    torch.testing.assert_close(kept.detach(), plain, rtol=0, atol=1e-12)


def test_samples_without_noise_slide_beside_noisy_ones():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x, "y": y})
    start, sigma = free.first_guess(), torch.tensor([0.0, 0.1, 0.0])
    quiet = ctebm.simulate(free, start, n_steps=50, eps=0.1).state[-1]
    mixed = ctebm.simulate(ctebm.Dynamics(free, sigma), start, n_steps=50, eps=0.1, seed=0)
    assert torch.equal(mixed.state[-1, [0, 2]], quiet[[0, 2]])


def test_a_nudged_network_keeps_its_kinks():
    net, x, y = network(ctebm.ReLU(), 1)
    free = net.clamp({"x": x})
    own = ctebm.settle(free.nudged(y, 2.0))
    by_cost = ctebm.nudged(free, y, 2.0, lambda s, t: (s - t).square().sum(-1) / 2)
    found = ctebm.settle(by_cost, own.state).raise_for_status()
    assert bool(own.pinned.any()) and torch.equal(found.pinned, own.pinned)


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_a_correspondence_tells_the_first_crossing(method):
    """The step after which a unit stands on the other side of its kink, or on it, by a look."""
    net, x, y = network(ctebm.ReLU(), 1, (5, 6, 5, 3))
    y = 6 * y
    record = ctebm.correspondence(net, x, y, eps=[0.2], n_steps=12, method=method, save_all=True)
    free, rest = record.fixed.network, record.fixed.state
    for i in range(3):
        one = ctebm.Dynamics(net.clamp({"x": x[i]}), drive=y[i])
        path = ctebm.simulate(one, rest[i], n_steps=12, eps=0.2, method=method).state
        changed = (path[:, :11].sign() != rest[i, :11].sign()).any(-1)
        first = int(changed.int().argmax()) if changed.any() else -1
        assert int(record.first_crossing[i, 0]) == first
        if first >= 0:
            unit = int(record.crossing_unit[i, 0])
            assert path[first, unit].sign() != rest[i, unit].sign()
            assert int(record.crossing_direction[i, 0]) == 1
    assert (record.first_crossing >= 0).any() and free.kinks is not None
    assert record.first_arrival == ([3, 2, 1] if method == "euler" else [1, 1, 1])


@pytest.mark.parametrize("rho", SLOPES)
def test_a_search_finds_every_rest_that_trying_all_sides_finds(rho):
    for seed in range(3):
        net, x, y = network(rho, seed, (3, 5, 2))
        b = [b.numpy() for b in net.biases]
        known = rests(net.weights, b, x[0].numpy(), y[0].numpy(), SLOPES[rho])
        free = net.clamp({"x": x[0], "y": y[0]})
        points = ctebm.find_fixed_points(free, 60, bounds=(-4.0, 4.0))
        apart = np.abs(points.state.numpy()[:, None] - known[None]).max(-1)
        assert apart.min(0).max() < 1e-8 and apart.min(1).max() < 1e-8


def test_a_driven_layer_has_no_kinks():
    """Its force is the pull of its target on both sides, so that no step ends on them."""
    own = Folded(2, {"x": slice(0, 1), "y": slice(1, 2)})
    own.kinks = Kinks(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    driven = ctebm.Dynamics(own, drive={"y": [3.0]})
    for method in ("euler", "rk4"):
        path = ctebm.simulate(driven, [-0.3, -0.3], n_steps=8, eps=0.5, method=method).state
        share = 0.5**8 if method == "euler" else (1 - 0.5 + 0.125 - 1 / 48 + 1 / 384) ** 8
        assert float(path[-1, 1]) == pytest.approx(3 - 3.3 * share, rel=1e-12)
