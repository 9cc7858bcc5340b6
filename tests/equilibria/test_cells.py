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
