"""Equilibria: problems with known answers, the search against enumeration, bad input."""

import math

import numpy as np
import pytest
import torch
from analytic import (
    HARD,
    TANH,
    affine_state,
    all_to_all,
    fold_state,
    pair,
    pitchfork_state,
    random_dense,
    symmetric_energy,
)

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    HardSigmoid,
    LayeredNetwork,
    Logistic,
    Network,
    SmoothHardSigmoid,
    SparseNetwork,
    Tanh,
    certify_unique,
    enumerate_fixed_points,
    find_fixed_points,
    settle,
)


class DoubleWell(Network):
    """A user's energy with minima at (+-1, 0) and a saddle at 0."""

    def __init__(self):
        super().__init__(2)

    def energy(self, s):
        x, y = s[..., 0], s[..., 1]
        return (x**2 - 1) ** 2 + 3 * y**2


def distance(a, b):
    return torch.cdist(a, b, p=math.inf)


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


def test_pitchfork_digits():
    assert pitchfork_state(8) == pytest.approx(0.756232151111, abs=1e-12)
    network = pair(8, TANH)
    points = find_fixed_points(network, n_starts=30)
    assert sorted(points.stability) == ["saddle", "stable", "stable"]
    assert points.index.tolist() == [0, 0, 1]
    assert points.index_sum == 1
    barrier = points.energy[2] - points.energy[0]
    assert barrier.item() == pytest.approx(0.244377350, abs=1e-9)


@pytest.mark.parametrize(("w", "count"), [(1.0, 1), (3.0, 1), (4.001, 3), (5.0, 3), (8.0, 3)])
def test_pitchfork_counts(w, count):
    assert len(find_fixed_points(pair(w, TANH), n_starts=30)) == count


@pytest.mark.parametrize("w", [6.0, 8.0])
def test_fold_counts(w):
    _, h = fold_state(w)
    assert len(find_fixed_points(pair(w, TANH, -w / 2 + h - 1e-3), n_starts=30)) == 1
    assert len(find_fixed_points(pair(w, TANH, -w / 2 + h + 1e-3), n_starts=30)) == 3


@pytest.mark.parametrize("n", [2, 3])
def test_degenerate_point_is_one(n):
    points = find_fixed_points(all_to_all(n, 4.0, TANH), n_starts=50)
    assert points.stability == ["degenerate"]
    assert points.isolated.tolist() == [True]
    assert points.state.abs().max() < 1e-4
    assert points.index_sum is None


@pytest.mark.parametrize("w", [1.5, 2.0, 4.0])
def test_kinked_pair(w):
    points = find_fixed_points(pair(w, HARD), n_starts=30)
    assert points.stability == ["stable", "stable", "saddle"]
    expected = torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    assert distance(points.state, expected).amin(1).max() < 1e-14
    assert points.pinned.sum(-1).tolist() == [2, 2, 0]
    # currents +-w/2, kinks +-1/2
    assert points.margin[:2].tolist() == pytest.approx([w / 2 - 0.5] * 2, abs=1e-14)
    assert points.index_sum == 1


@pytest.mark.parametrize("w", [1.0, -1.0])
def test_continuum_is_one_entry(w):
    points = find_fixed_points(pair(w, HARD), n_starts=50)
    assert len(points) == 1
    assert points.isolated.tolist() == [False]
    assert points.stability == ["degenerate"]


@pytest.mark.parametrize("n_units", [3, 5, 6])
def test_search_finds_what_enumeration_finds(n_units):
    for seed in range(6):
        network = random_dense(n_units, seed, HARD, gain=3.0)
        exact, found = enumerate_fixed_points(network), find_fixed_points(network, 100, seed=seed)
        assert exact.index_sum == 1
        between = distance(exact.state, found.state)
        stable = torch.tensor([kind == "stable" for kind in exact.stability])
        assert between[stable].amin(1).max() < 1e-9
        assert between.amin(0).max() < 1e-9
        assert found.index_sum == 1


def test_enumeration_against_brute_force():
    network = random_dense(3, 4, HARD, gain=3.0)
    exact = enumerate_fixed_points(network)
    grid = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64)
    starts = torch.cartesian_prod(grid, grid, grid)
    settled = settle(network, starts)
    assert settled.converged.all()
    assert distance(settled.state, exact.state).amin(1).max() < 1e-9


def test_smooth_index_sum_over_random_networks():
    for seed in range(5):
        points = find_fixed_points(random_dense(4, seed, Logistic(), gain=2.0), 60, seed=seed)
        assert points.index_sum == 1
        assert points.residual.max() < 1e-12


def test_users_energy():
    points = find_fixed_points(DoubleWell(), n_starts=40)
    assert points.stability == ["stable", "stable", "saddle"]
    expected = torch.tensor([[1.0, 0], [-1, 0], [0, 0]], dtype=torch.float64)
    assert distance(points.state, expected).amin(1).max() < 1e-10


@pytest.mark.parametrize("gain", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("activation", [Logistic(), HARD, Tanh(), SmoothHardSigmoid()], ids=repr)
def test_every_sample_settles(gain, activation):
    whole = LayeredNetwork.random([20, 30, 30, 5], activation, gain=gain, seed=3)
    x = torch.as_tensor(np.random.default_rng(0).random((16, 20)))
    points = settle(whole.clamp({"x": x}), tol=1e-10)
    assert points.converged.all()
    network = whole.clamp({"x": x})
    moved = network.force(points.state)
    if network.box is not None:
        moved = network.box.project(points.state + moved) - points.state
    assert moved.abs().max() <= 1e-10
    assert set(points.stability) <= {"stable"}


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


def test_unconverged_is_said():
    network = random_dense(30, 0, Logistic(), gain=6.0)
    points = settle(network, torch.full((2, 30), 0.3), max_iterations=1)
    assert not points.converged.any()
    assert points.stability == ["unconverged"] * 2
    assert points.index.tolist() == [-1, -1]
    with pytest.raises(RuntimeError, match="residual"):
        points.raise_for_status()


def test_energy_falls_from_the_start():
    network = random_dense(40, 1, Tanh(), gain=8.0)
    starts = torch.as_tensor(np.random.default_rng(1).standard_normal((20, 40)))
    points = settle(network, starts)
    assert (points.energy < network.energy(starts)).all()


def test_asymmetric_network_settles():
    rng = np.random.default_rng(2)
    W = rng.standard_normal((10, 10)) / 5
    np.fill_diagonal(W, 0)
    for activation in (HARD, TANH):
        points = settle(AsymmetricNetwork(W, 0.2 * rng.standard_normal(10), activation))
        assert points.converged.all()
        assert points.energy.isnan()


def test_sparse_is_dense():
    ring = SparseNetwork.ring(12, 0.7, Logistic(), bias=-0.3)
    dense = DenseNetwork(ring.dense_weight(), ring.bias, Logistic())
    s = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 2, 12)))
    v = torch.ones_like(s)
    assert torch.allclose(ring.energy(s), dense.energy(s))
    assert torch.allclose(ring.force(s), dense.force(s))
    assert torch.allclose(ring.hessian_product(s, v), dense.hessian_product(s, v))
    a, b = settle(ring, s), settle(dense, s)
    assert torch.allclose(a.state, b.state, atol=1e-9)


def test_sparse_clamps_as_dense():
    layers = {"x": slice(0, 5), "y": slice(5, 12)}
    ring = SparseNetwork.ring(12, 0.7, Tanh(), bias=-0.3)
    x = torch.rand(4, 5, dtype=torch.float64)
    sparse = SparseNetwork(ring.weight, ring.bias, Tanh(), layers=layers).clamp({"x": x})
    dense = DenseNetwork(ring.dense_weight(), ring.bias, Tanh(), layers=layers).clamp({"x": x})
    s = torch.rand(4, 7, dtype=torch.float64)
    assert torch.allclose(sparse.energy(s), dense.energy(s))
    assert torch.allclose(sparse.force(s), dense.force(s))


@pytest.mark.parametrize("activation", [HARD, TANH, Logistic()], ids=repr)
def test_certificate_is_never_wrong(activation):
    certified = 0
    for seed in range(8):
        network = random_dense(4, seed, activation, gain=0.1 * 2**seed, bias=0.05)
        if certify_unique(network):
            certified += 1
            assert len(find_fixed_points(network, 30)) == 1
    assert certified > 0
    assert not certify_unique(pair(8, activation))


def test_dataset_is_labelled():
    dataset = find_fixed_points(pair(8, TANH), 20).to_dataset()
    assert dataset.state.dims == ("sample", "unit")
    for name in dataset.variables:
        assert {"long_name", "units"} <= set(dataset[name].attrs)


def test_bad_input():
    network = pair(2, HARD)
    with pytest.raises(ValueError, match="finite start"):
        settle(network, [math.nan, 0.0])
    with pytest.raises(ValueError, match="expected a state of shape"):
        settle(network, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="rounding floor"):
        settle(network, tol=1e-17)
    with pytest.raises(ValueError, match="n_starts >= 1"):
        find_fixed_points(network, n_starts=0)
    with pytest.raises(ValueError, match="one sample"):
        find_fixed_points(
            LayeredNetwork.random([2, 2], HARD).clamp({"x": torch.zeros(3, 2)}), n_starts=2
        )
    with pytest.raises(ValueError, match="12 units"):
        enumerate_fixed_points(random_dense(13, 0, HARD))
    with pytest.raises(ValueError, match="12 units"):
        enumerate_fixed_points(pair(1, TANH))
    with pytest.raises(ValueError, match="symmetric"):
        DenseNetwork([[0.0, 1.0], [2.0, 0.0]], [0.0, 0.0], HARD)
    assert not hasattr(AsymmetricNetwork([[0.0, 1.0], [2.0, 0.0]], [0.0, 0.0], HARD), "energy")
    with pytest.raises(ValueError, match="DenseNetwork"):
        SparseNetwork(torch.zeros(2, 2), [0.0, 0.0], HARD)


class WrongShape(Network):
    def energy(self, s):
        return s.square()


class Opaque(Network):
    def energy(self, s):
        return torch.as_tensor(s.detach().numpy() ** 2).sum(-1)


@pytest.mark.parametrize(
    ("network", "words"), [(WrongShape(2), "energy of shape"), (Opaque(2), "differentiate")]
)
def test_bad_energy(network, words):
    with pytest.raises(ValueError, match=words):
        settle(network, torch.zeros(2))


def test_float32():
    network = random_dense(10, 0, HardSigmoid()).to(dtype=torch.float32)
    points = settle(network, tol=1e-5)
    assert points.converged.all()
    assert points.state.dtype == torch.float32
    with pytest.raises(ValueError, match="rounding floor"):
        settle(network)


@pytest.mark.parametrize(("w", "proved"), [(2.2, True), (2.3, False)])
def test_the_bound_is_the_squared_slope_times_the_coupling_and_the_bend(w, proved):
    """w/4 + 2/sqrt(27) w/2 < 1 for the centred Tanh pair, so up to w = 2.259."""
    assert certify_unique(pair(w, TANH)) is proved
