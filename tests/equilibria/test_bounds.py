"""Bounds on the states of equilibria, and proofs that there is one only."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, random_dense
from scipy.optimize import brentq

from ctebm import (
    AssociativeMemory,
    AsymmetricNetwork,
    Custom,
    DenseNetwork,
    FeedbackNetwork,
    HopfieldNetwork,
    LayeredNetwork,
    Logistic,
    Network,
    PredictiveNetwork,
    ReLU,
    SignedTanh,
    SparseNetwork,
    VectorField,
    certify_unique,
    find_fixed_points,
)
from ctebm.equilibria import bounds
from ctebm.equilibria.bounds import checked_bounds, state_bounds
from ctebm.networks.kinks import Box


class DoubleWell(Network):
    def energy(self, s):
        return ((s.square() - 1).square()).sum(-1)


@pytest.mark.parametrize("activation", [TANH, Logistic(), HARD], ids=repr)
def test_every_equilibrium_lies_in_the_bounds(activation):
    for seed in range(4):
        network = random_dense(4, seed, activation, gain=3.0)
        low, high = state_bounds(network)
        points = find_fixed_points(network, 30, seed=seed)
        assert (points.state >= low).all()
        assert (points.state <= high).all()


def largest_state(current):
    """The state of a tanh unit that its slope lets a current hold."""
    return brentq(lambda s: s - current / (2 * np.cosh(s) ** 2), 0.0, current, xtol=1e-12)


def test_the_bounds_of_a_pair_by_hand():
    """The largest current is w/2, the slope 1 / (2 cosh^2)."""
    low, high = state_bounds(pair(8.0, TANH))
    assert torch.equal(low, -high)
    assert (high >= largest_state(4.0)).all()
    assert (high < 1.01 * largest_state(4.0)).all()


def test_a_steep_rate_is_bounded_where_it_saturates():
    """A slope of 2.5 at 0 and a current of 10: 25, but at 0.53 the slope is 1/20."""
    net = DenseNetwork(-5.0 * (np.ones((5, 5)) - np.eye(5)), np.zeros(5), Logistic(10.0))
    high = state_bounds(net.centred())[1]
    s = torch.linspace(0.0, 25.0, 100_001, dtype=torch.float64)
    last = s[s <= 10 * Logistic(10.0).derivative(s)].max()
    assert (high >= last).all()
    assert (high < 1.02 * last).all()


def test_a_users_energy_is_guessed():
    low, high = state_bounds(DoubleWell(2))
    assert (high > 1).all()
    assert (low < -1).all()


def test_the_bounds_of_networks_without_an_energy_by_hand():
    """The largest currents are 4 and 1; the 1984 state is its current."""
    one_way = AsymmetricNetwork([[0.0, 8.0], [2.0, 0.0]], [-4.0, -1.0], TANH)
    exact = [largest_state(4.0), largest_state(1.0)]
    assert state_bounds(one_way)[1].tolist() == pytest.approx(exact, rel=0.01)
    assert state_bounds(HopfieldNetwork(pair(8.0, TANH)))[1].tolist() == [4.0, 4.0]


class FarAway(Network):
    """Minima at 0 and 40, and a hill between."""

    def energy(self, s):
        return (s**2 * (s - 40) ** 2 / 1000).sum(-1)


class Unbounded(Network):
    def energy(self, s):
        return -s.square().sum(-1) / 2


def test_guesses_start_on_several_scales():
    assert float(state_bounds(FarAway(1))[1]) > 40
    assert state_bounds(Unbounded(1))[1].isfinite().all()


class HalfKinked(VectorField):
    """A user's motion to (2, 2) whose first unit has kinks."""

    box = Box(torch.tensor([-0.5, -torch.inf]), torch.tensor([0.5, torch.inf]))

    def force(self, s):
        return 2 - s


def test_units_with_kinks_beside_units_without():
    low, high = state_bounds(HalfKinked(2))
    assert (float(low[0]), float(high[0])) == (-0.5, 0.5)
    assert float(low[1]) < 2 < float(high[1]) < torch.inf
    assert find_fixed_points(HalfKinked(2), 5).state.tolist() == [[0.5, 2.0]]


@pytest.mark.parametrize("activation", [HARD, TANH, Logistic()], ids=repr)
def test_a_certificate_is_never_wrong(activation):
    certified = 0
    for seed in range(8):
        network = random_dense(4, seed, activation, gain=0.1 * 2**seed, bias=0.05)
        if certify_unique(network):
            certified += 1
            assert len(find_fixed_points(network, 30)) == 1
    assert certified > 0
    assert not certify_unique(pair(8, activation))


@pytest.mark.parametrize(("w", "proved"), [(2.2, True), (2.3, False)])
def test_the_bound_is_the_squared_slope_times_the_coupling_and_the_curvature(w, proved):
    """w/4 + 2/sqrt(27) w/2 < 1 for the centred Tanh pair, so up to w = 2.259."""
    assert certify_unique(pair(w, TANH)) is proved


@pytest.mark.parametrize(
    ("n", "w", "proved"), [(2, 0.999, True), (5, 0.999, True), (5, 1.0, False)]
)
def test_hard_sigmoids_up_to_the_continuum(n, w, proved):
    """The largest eigenvalue of all-to-all couplings is w; at w = 1 there is a continuum."""
    assert certify_unique(all_to_all(n, w, HARD)) is proved


def test_couplings_that_differ_in_the_two_directions():
    """Off-diagonal 100 and 0.2 have three equilibria; the lower triangle alone looks weak."""
    W = torch.tensor([[0.0, 100.0], [0.2, 0.0]], dtype=torch.float64)
    for weight in (W, W.mT):
        network = AsymmetricNetwork(weight, -weight @ torch.full((2,), 0.5).double(), HARD)
        assert not certify_unique(network)
        assert len(find_fixed_points(network, 50)) == 3
    layers = LayeredNetwork([[[100.0]]], [[-0.1], [-50.0]], HARD)
    assert not certify_unique(FeedbackNetwork.of(layers, [torch.tensor([[0.2]]).double()]))


def test_the_symmetric_part_decides():
    """Rotation alone, however fast, has one equilibrium: W + W' = 0."""
    W = torch.tensor([[0.0, 50.0], [-50.0, 0.0]], dtype=torch.float64)
    network = AsymmetricNetwork(W, -W @ torch.full((2,), 0.5).double(), HARD)
    assert certify_unique(network)
    points = find_fixed_points(network, 50)
    assert points.state.abs().max() < 1e-12
    assert certify_unique(AsymmetricNetwork([[0.9, 5.0], [-5.0, 0.9]], [0.1, 0.2], HARD))
    assert not certify_unique(AsymmetricNetwork([[1.1, 5.0], [-5.0, 1.1]], [0.1, 0.2], HARD))


@pytest.mark.parametrize("activation", [TANH, Logistic()], ids=repr)
def test_without_an_energy_a_certificate_is_never_wrong(activation):
    certified = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        W = 0.05 * 2**seed * rng.standard_normal((4, 4))
        network = AsymmetricNetwork(W, 0.05 * rng.standard_normal(4), activation)
        if certify_unique(network):
            certified += 1
            assert len(find_fixed_points(network, 30)) == 1
    assert certified > 0


@pytest.mark.parametrize(("w", "proved"), [(1.9, True), (-1.9, True), (2.1, False)])
def test_the_1984_network_contracts(w, proved):
    """Slope 1/2 and norm |w|; above w = 2 the centred pair has three equilibria."""
    network = HopfieldNetwork(pair(w, TANH))
    assert certify_unique(network) is proved
    assert len(find_fixed_points(network, 30)) == (1 if proved else 3)


def test_large_networks_are_bounded_by_their_row_sums(monkeypatch):
    ring = SparseNetwork.ring(6, 0.45, HARD)
    assert certify_unique(ring)  # largest eigenvalue 0.9, and so is each row's sum
    monkeypatch.setattr("ctebm.equilibria.bounds.DENSE_UNITS", 4)
    assert certify_unique(ring)
    assert certify_unique(HopfieldNetwork(ring))
    assert not certify_unique(random_dense(6, 0, HARD, gain=1.0))
    W = torch.zeros(6, 6).index_fill(1, torch.tensor(0), 0.5)
    network = AsymmetricNetwork(W, torch.zeros(6), HARD)
    assert not certify_unique(network)  # column 0 sums to 3, row 0 to 0.5
    assert certify_unique(AsymmetricNetwork(W / 2, torch.zeros(6), HARD))


def test_an_unknown_slope_proves_nothing():
    assert not certify_unique(pair(0.1, Custom(torch.tanh)))


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match=r"pairwise couplings.*DoubleWell.*find_fixed_points"):
        certify_unique(DoubleWell(2))


@pytest.mark.parametrize("bounds", [(-1, 2), ([-1.0, 0.0], [2.0, 0.0]), (0, 0), [-1, [1, 2]]])
def test_bounds_of_starts_are_numbers_or_one_a_unit(bounds):
    low, high = checked_bounds(pair(1.0, TANH), bounds)
    assert np.all(low.numpy() == bounds[0]) and np.all(high.numpy() == bounds[1])


@pytest.mark.parametrize(
    "bounds",
    [3, (1,), (1, 2, 3), (1, 0), (0, np.inf), (np.nan, 1), ([0.0] * 3, 1), (-np.inf, np.inf),
     ([0.0, 2.0], [1.0, 1.0])],
)  # fmt: skip
def test_what_is_no_bound_of_starts_is_refused(bounds):
    with pytest.raises(ValueError, match=r"bounds \(lowest, highest\) of the starts"):
        checked_bounds(pair(1.0, TANH), bounds)


@pytest.mark.parametrize("rho", [TANH, Logistic(3.0)], ids=repr)
@pytest.mark.parametrize(("cells", "numbers"), [(8, 10**6), (8, 18), (50, 12), (50, 3), (1, 99)])
def test_cells_in_which_the_slope_is_too_small_are_struck_off_from_above(
    rho, cells, numbers, monkeypatch
):
    """Against a loop over cells, no more than fit together: to the last that may hold a state."""
    monkeypatch.setattr(bounds, "CELLS", cells)
    monkeypatch.setattr(bounds, "CELL_NUMBERS", numbers)
    current = torch.tensor([0.4, 3.0, 60.0], dtype=torch.float64)
    n, slow = min(cells, numbers // 3), []
    for I in current.tolist():
        reach = rho.max_slope * I
        for _ in range(bounds.ROUNDS if n >= 2 else 0):
            ends = torch.linspace(0, 1, n + 1, dtype=torch.float64) * reach
            slope = [max(abs(float(rho.derivative(u))) for u in (e, -e)) for e in ends]
            spare = rho.max_curvature * reach / n / 2
            top = max((k + 1 for k in range(n)
                       if ends[k] <= (max(slope[k : k + 2]) + spare) * I), default=0)  # fmt: skip
            reach = float(ends[top])
        slow.append(reach)
    assert bounds._balanced(rho, current).tolist() == pytest.approx(slow, rel=1e-6)


def test_attention_over_near_patterns_has_one_equilibrium():
    """Two patterns: the pitchfork is where beta |x1 - x2|^2 / 4 = 1."""
    X = torch.tensor([[0.6, 0.8], [-0.6, -0.8]], dtype=torch.float64)
    for beta, count in ((0.99, 1), (1.02, 3)):
        memory = AssociativeMemory(X, beta)
        assert certify_unique(memory) is (count == 1)
        assert len(find_fixed_points(memory, 40, bounds=(-1.0, 1.0))) == count
    assert certify_unique(AssociativeMemory(X[:1], 1e6))
    draw = torch.Generator().manual_seed(0)
    X = torch.randn(700, 3, generator=draw, dtype=torch.float64)
    far = max(float((x - X).norm(dim=-1).max()) for x in X)
    for over, proved in ((0.999, True), (1.001, False)):
        assert certify_unique(AssociativeMemory(X, over * 4 / far**2)) is proved


@pytest.mark.parametrize("direction", ["discriminative", "generative"])
@pytest.mark.parametrize("rho", [ReLU(), SignedTanh(3.0)], ids=repr)
def test_predictive_coding_rests_at_its_forward_pass_alone(direction, rho):
    net = PredictiveNetwork.random([2, 3, 2], rho, gain=3.0, seed=0, direction=direction)
    first, last = net.order[0], net.order[-1]
    free = net.clamp({first: [0.5, -0.4]})
    assert certify_unique(free)
    points = find_fixed_points(free, 60, bounds=(-4.0, 4.0))
    assert len(points) == 1
    torch.testing.assert_close(points.state[0], free.first_guess())
    assert not certify_unique(net)
    assert not certify_unique(net.clamp({last: [0.5, -0.4]}))
    assert not certify_unique(net.clamp({first: [0.5, -0.4], last: [0.1, 0.2]}))
    if direction == "discriminative":
        assert not certify_unique(free.nudged([0.1, 0.2], 0.5))
