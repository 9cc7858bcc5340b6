"""Paths of least energy: on known ones, over known saddles."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair

import ctebm
from ctebm import DenseNetwork, Network, find_fixed_points, minimum_energy_path


def test_the_diagonal_of_the_smooth_pair():
    path = minimum_energy_path(pair(8.0, TANH), [-0.7, -0.7], [0.7, 0.7])
    assert int(path.status) == 0 and path.message == [""]
    assert path.barrier == pytest.approx(0.244377350, abs=1e-9)
    assert torch.allclose(path.saddles.state, torch.zeros(1, 2, dtype=torch.float64), atol=1e-10)
    assert float((path.state[:, 0] - path.state[:, 1]).abs().max()) < 1e-4
    for x in (2.0, 4.0, 8.0):
        sigma = math.sqrt(2 * path.barrier / x)
        assert 1 / path.rate(sigma) == pytest.approx(5.923630 * math.exp(x), rel=1e-6)


def test_the_law_where_units_are_pinned():
    path = minimum_energy_path(pair(2.0, HARD), [-0.5, -0.5], [0.5, 0.5])
    for D in (1 / 16, 1 / 40):
        tau = 16 * math.sqrt(3) * D * math.exp(1 / (4 * D))
        assert 1 / path.rate(math.sqrt(2 * D)) == pytest.approx(tau, rel=1e-9)


def memory(seed, n=6, n_patterns=2, gain=8.0):
    patterns = np.random.default_rng(seed).choice([-1.0, 1.0], (n_patterns, n))
    W = gain * patterns.T @ patterns / n
    np.fill_diagonal(W, 0)
    return DenseNetwork(W, np.zeros(n), TANH).centred()


@pytest.mark.parametrize("seed", [0, 2])
def test_tops_are_saddles_that_a_search_finds(seed):
    net = memory(seed)
    points = find_fixed_points(net, n_starts=60)
    minima = [s for s, kind in zip(points.state, points.stability, strict=True) if kind == "stable"]
    path = minimum_energy_path(net, minima[0], minima[1])
    assert int(path.status) == 0
    assert path.saddles.index.tolist() == [1] * len(path.saddles.state)
    for s in path.saddles.state:
        assert float((points.state - s).abs().amax(-1).min()) < 1e-8
    assert path.barrier == pytest.approx(float(path.saddles.energy.max() - net.energy(minima[0])))
    # the energy along the path rises to each top and falls from it
    slope = path.energy.diff().sign()
    assert int((slope.diff() != 0).sum()) == 2 * len(path.saddles.state) - 1


class Triple(Network):
    """Three wells in a row, at -2, 0 and 2: E = s^2 (s^2 - 4)^2 / 16 + s / 20."""

    def energy(self, s):
        x = s[..., 0]
        return x.square() * (x.square() - 4).square() / 16 + x / 20


def test_wells_in_between_are_found_and_times_add():
    net = Triple(1)
    path = minimum_energy_path(net, [-2.0], [2.0], n_images=81)
    assert len(path.wells.state) == 3 and len(path.saddles.state) == 2
    D = 0.05
    x = torch.linspace(-4, 4, 40001, dtype=torch.float64)
    E, h = net.energy(x.unsqueeze(-1)), float(x[1] - x[0])
    left = (-E / D).exp().cumsum(0) * h
    between = (x >= path.wells.state[0, 0]) & (x <= path.wells.state[2, 0])
    exact = float((left * (E / D).exp() / D)[between].sum() * h)
    assert 1 / path.rate(math.sqrt(2 * D)) == pytest.approx(exact, rel=0.15)
    small = 0.01
    left = (-E / small).exp().cumsum(0) * h
    exact = float((left * (E / small).exp() / small)[between].sum() * h)
    assert 1 / path.rate(math.sqrt(2 * small)) == pytest.approx(exact, rel=0.03)


class Ring(Network):
    """A continuum of minima on a circle, but for two shallow wells: no saddle of index 1 at all."""

    def energy(self, s):
        r = s.square().sum(-1)
        return (r - 1).square() / 4


def test_a_continuum_is_told():
    path = minimum_energy_path(Ring(2), [1.0, 0.0], [-1.0, 1e-3])
    assert int(path.status) == 2 and math.isnan(path.rate(0.3))
    with pytest.raises(RuntimeError):
        path.raise_for_status()


def test_a_path_that_has_not_come_to_rest_says_so():
    path = minimum_energy_path(memory(2), [1.0] * 6, [-1.0] * 6, max_iterations=1)
    assert int(path.status) in (1, 2) and path.message[0]


@pytest.mark.parametrize(
    "network, a, b, words",
    [
        (pair(8.0, TANH), [0.7, 0.7], [0.9, 0.5], "one minimum"),
        (pair(8.0, TANH), [0.7, 0.7], [[-0.7, -0.7]], "sample by sample"),
        (ctebm.AsymmetricNetwork([[0, 1], [0, 0]], [0, 0], TANH), [0, 0], [1, 1], "energy"),
        (pair(8.0, TANH), [0.7, math.nan], [-0.7, -0.7], "finite"),
    ],
)
def test_what_has_no_path_is_refused(network, a, b, words):
    with pytest.raises(ValueError, match=words):
        minimum_energy_path(network, a, b)


def test_dataset():
    path = minimum_energy_path(pair(8.0, TANH), [-0.7, -0.7], [0.7, 0.7], n_images=21)
    dataset = path.to_dataset()
    assert dataset.state.sizes == {"image": 21, "unit": 2}
    assert (dataset.sizes["well"], dataset.sizes["saddle"], str(dataset.seed.values)) == (2, 1, "0")
    assert float(dataset.tol) == path.tol and int(dataset.status) == 0
    assert float(dataset.energy.max() - dataset.energy[0]) == pytest.approx(path.barrier, abs=1e-12)


@pytest.mark.parametrize("way", [1, -1])
def test_the_barrier_is_above_the_minimum_that_the_path_begins_at(way):
    """A bias makes one valley deeper: from there the barrier is higher by the difference."""
    net = DenseNetwork([[0, 8], [8, 0]], [-3.95, -3.95], TANH)
    path = minimum_energy_path(net, [-0.7 * way] * 2, [0.7 * way] * 2).raise_for_status()
    low, high = path.wells.energy[[0, -1]].tolist()
    assert (low > high) == (way == 1) and abs(low - high) > 0.01
    top = float(path.saddles.energy.max())
    assert path.barrier == pytest.approx(top - low, abs=1e-12)
    other = path.barrier + low - high
    assert path.rate(0.3) != minimum_energy_path(net, [0.7 * way] * 2, [-0.7 * way] * 2).rate(0.3)
    assert minimum_energy_path(net, [0.7 * way] * 2, [-0.7 * way] * 2).barrier == pytest.approx(
        other, abs=1e-9
    )
