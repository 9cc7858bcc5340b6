"""The search against closed forms, enumeration and brute force."""

import math
import warnings

import numpy as np
import pytest
import torch
import zoo
from analytic import (
    HARD,
    TANH,
    all_to_all,
    fold_state,
    pair,
    pitchfork_state,
    random_dense,
    solved_patterns,
)
from own_energies import OwnConvolution

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    FeedbackNetwork,
    HopfieldNetwork,
    LayeredNetwork,
    Logistic,
    Network,
    VectorField,
    enumerate_fixed_points,
    find_fixed_points,
    settle,
)
from ctebm.equilibria import search as search_module
from ctebm.equilibria.bounds import state_bounds
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.newton import newton_from
from ctebm.networks.base import count_units

STEEP = Logistic(10.0)


class DoubleWell(Network):
    """A user's energy with minima at (+-1, 0) and a saddle at 0."""

    def __init__(self):
        super().__init__(2)

    def energy(self, s):
        x, y = s[..., 0], s[..., 1]
        return (x**2 - 1) ** 2 + 3 * y**2


class FarMinimum(Network):
    """A user's energy of one unit, with a second minimum at 4, far from where states settle."""

    def __init__(self):
        super().__init__(1)

    def energy(self, s):
        return (s**2 / 2 - torch.nn.functional.softplus(4 * s - 8)).sum(-1)


class SoftSpins(Network):
    """Two spins, each with minima near +-1, coupled by 0.2."""

    def __init__(self):
        super().__init__(2)

    def energy(self, s):
        return (s**4 / 4 - s**2 / 2).sum(-1) - 0.2 * s.prod(-1)


class Cubic(VectorField):
    """A user's motion without an energy: equilibria at -1, 0 and 1 in x, at x in y."""

    def force(self, s):
        x, y = s[..., 0], s[..., 1]
        return torch.stack([x - x**3, x - y], -1)


def distance(a, b):
    return torch.cdist(a, b, p=math.inf)


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


@pytest.fixture
def not_enumerated(monkeypatch):
    """The search as it is for more than 12 units."""
    monkeypatch.setattr(search_module, "can_enumerate", lambda network: False)


@pytest.mark.usefixtures("not_enumerated")
@pytest.mark.parametrize("n_units", [3, 5, 6])
def test_search_finds_what_enumeration_finds(n_units):
    for seed in range(6):
        network = random_dense(n_units, seed, HARD, gain=3.0)
        exact, found = solved_patterns(network), find_fixed_points(network, 100, seed=seed)
        assert exact.index_sum == 1
        between = distance(exact.state, found.state)
        stable = torch.tensor([kind == "stable" for kind in exact.stability])
        assert between[stable].amin(1).max() < 1e-9
        assert between.amin(0).max() < 1e-9
        assert found.index_sum == 1


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


def test_users_motion():
    points = find_fixed_points(Cubic(2), n_starts=40)
    expected = torch.tensor([[-1.0, -1], [0, 0], [1, 1]], dtype=torch.float64)
    assert torch.allclose(points.state, expected, atol=1e-12)
    assert points.stability == ["stable", "saddle", "stable"]
    assert points.index_sum is None  # how far to look was a guess
    assert find_fixed_points(Cubic(2), n_starts=40, bounds=(-2.0, 2.0)).index_sum == 1


def test_a_minimum_that_is_far_away():
    points = find_fixed_points(FarMinimum(), n_starts=40)
    left = 0.0013486540
    s, order = points.state[:, 0].sort()
    # the force of 4 / (1 + exp(8 - 4 v)) - v is odd about 2
    assert s.tolist() == pytest.approx([left, 2.0, 4 - left], abs=1e-10)
    assert points.index[order].tolist() == [0, 1, 0]


def test_soft_spins():
    points = find_fixed_points(SoftSpins(), n_starts=60)
    assert points.index.tolist() == [0] * 4 + [1] * 4 + [2]
    energy = [-0.72] * 2 + [-0.32] * 2 + [-0.23] * 4 + [0.0]
    assert points.energy.tolist() == pytest.approx(energy, abs=1e-12)
    s = points.state
    assert torch.allclose(s[:2].abs(), torch.full_like(s[:2], math.sqrt(1.2)))
    assert torch.allclose(s[2:4].abs(), torch.full_like(s[2:4], math.sqrt(0.8)))
    assert torch.allclose(s[4:8].prod(-1), torch.full_like(s[4:8, 0], -0.2))


def test_every_kind_of_network_is_searched():
    """Where the couplings are symmetric, or a layer is alone, the answers are known."""
    w, s = 8.0, pitchfork_state(8.0)
    expected = s * torch.tensor([[-1.0, -1], [0, 0], [1, 1]], dtype=torch.float64)
    asymmetric = AsymmetricNetwork([[0.0, w], [w, 0.0]], [-w / 2, -w / 2], TANH)
    layers = LayeredNetwork([[[w]]], [[-w / 2], [-w / 2]], TANH)
    for network in (asymmetric, FeedbackNetwork.scaled(layers, 1.0)):
        points = find_fixed_points(network, 40)
        assert torch.allclose(points.state, expected, atol=1e-12)
    # s = w tanh(s) / 2 for the centred pair of 1984
    points = find_fixed_points(HopfieldNetwork(pair(4.0, TANH)), 40)
    assert points.stability == ["stable", "stable", "saddle"]
    assert torch.allclose(points.state, 2 * torch.tanh(points.state.flip(-1)), atol=1e-12)
    assert points.energy.diff().min() >= 0


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
@pytest.mark.parametrize("n_starts", [20, 50])
def test_hits_count_each_random_start_once(activation, n_starts):
    points = find_fixed_points(pair(8.0, activation), n_starts)
    assert points.index_sum == 1
    assert int(points.hits.sum()) + points.failed == n_starts
    assert points.hits[:2].min() > 0  # of the two minima


def test_a_search_that_goes_on_counts_all_its_starts():
    """One start finds one of three points; twice as many follow until the index sum is 1."""
    points = find_fixed_points(pair(8.0, TANH), n_starts=1)
    used = int(points.hits.sum()) + points.failed
    assert used in (1, 3, 7, 15)
    assert len(points) == 3 or points.index_sum == 1


def test_starts_can_be_bounded():
    points = find_fixed_points(DoubleWell(), 20, bounds=(torch.tensor([0.9, -0.1]), 1.1))
    assert (points.hits > 0).tolist() == [True, False, False]  # all at the right minimum


def test_bad_input():
    network = pair(2, HARD)
    for n_starts in (0, 2.5, math.nan):
        with pytest.raises(ValueError, match="n_starts >= 1"):
            find_fixed_points(network, n_starts=n_starts)  # pyright: ignore[reportArgumentType]
    for bounds in ((1.0, 0.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="finite bounds"):
            find_fixed_points(network, bounds=bounds)
    with pytest.raises(ValueError, match="rounding floor"):
        find_fixed_points(network, tol=1e-17)
    for tol in (1e-4, 1e308, math.inf, math.nan):
        with pytest.raises(ValueError, match="leave it out"):
            find_fixed_points(network, tol=tol)
    with pytest.raises(ValueError, match="one sample"):
        find_fixed_points(
            LayeredNetwork.random([2, 2], HARD).clamp({"x": torch.zeros(3, 2)}), n_starts=2
        )


def members(few, kinks):
    """Return the names of the members of up to 12 units, with kinks or smooth."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] * name.startswith(slow))
        for name, member in zoo.zoo().items()
        if (count_units(member.network) <= few) and ((member.network.box is not None) == kinks)
    ]


slow = ("inhibition-5",)


@pytest.mark.parametrize("name", members(12, kinks=True))
def test_structured_networks_with_kinks_are_complete(name, monkeypatch):
    network = zoo.zoo()[name].network
    exact = enumerate_fixed_points(network)
    assert exact.index_sum == 1
    for searched in (False, True):
        if searched:  # as for more than 12 units
            monkeypatch.setattr(search_module, "can_enumerate", lambda network: False)
        found = find_fixed_points(network)
        apart = distance(exact.state, found.state)
        assert apart.amin(0).max() < 1e-9
        missing = exact.index[apart.amin(1) >= 1e-9]
        if searched and name == "potts":  # 195 of 217: saddles are missing, and the sum tells
            assert 0 < len(missing) < 30 and missing.min() > 0 and found.index_sum != 1
        else:
            assert len(missing) == 0 and len(exact) == len(found)


@pytest.mark.parametrize("name", members(12, kinks=False))
def test_smooth_structured_networks_are_complete(name):
    """Against Newton's method from many more states between the bounds."""
    member = zoo.zoo()[name]
    network = member.network
    counts = {"identical-pairs": 27, "inhibition-3-2-logistic": 13, "potts-tanh": 7}
    found = find_fixed_points(network)
    low, high = state_bounds(network)
    draw = torch.as_tensor(np.random.default_rng(5).random((600, len(low))))
    more = newton_from(network, low + (high - low) * draw, 1e-10)
    more = more[residual(network, more) <= 1e-10]
    assert distance(more, found.state).amin(1).max() < 1e-3  # as exact as a degenerate one is
    assert len(found) == counts.get(name, len(found))
    assert found.index_sum == (None if name == "edge" else 1)
    if member.stable is not None and name != "edge":
        stable = found.state[[kind == "stable" for kind in found.stability]]
        assert len(stable) == len(member.stable)
        assert distance(member.stable, stable).amin(1).max() < 1e-6


@pytest.mark.parametrize(
    ("parts", "rho", "count"),
    [
        ([zoo.dense(-2 * zoo.off_diagonal(5), STEEP)], STEEP, 81),
        ([zoo.dense(-2 * zoo.off_diagonal(3), STEEP)] * 2, STEEP, 13**2),
        ([pair(8.0, TANH), pair(-7.0, TANH)] * 2 + [pair(6.0, TANH)], TANH, 3**5),
    ],
)
def test_of_parts_without_couplings_all_products_are_found(parts, rho, count):
    """Beside units of one equilibrium, 14 in all; a part of the products can sum to 1 too."""
    draw = torch.Generator().manual_seed(0)
    weights = [part.dense_weight() for part in parts]
    rest = 14 - sum(len(W) for W in weights)
    A = 0.02 * torch.randn(rest, rest, generator=draw, dtype=torch.float64)
    A = A.triu(1) + A.triu(1).mT
    network = DenseNetwork(torch.block_diag(*weights, A), torch.zeros(14), rho).centred()
    for seed in range(2):
        found = find_fixed_points(network, seed=seed)
        assert len(found) == count and found.index_sum == 1


def test_without_an_energy_a_sum_of_1_is_not_believed_at_once():
    """The first 200 starts find 7 of 9 equilibria, the sum of which is 1."""
    n = 10
    W = np.random.default_rng(2).normal(0, 3 / np.sqrt(n), (n, n))
    np.fill_diagonal(W, 0)
    found = find_fixed_points(zoo.asymmetric(W, STEEP))
    assert len(found) == 9 and found.index_sum == 1
    assert int(found.hits.sum()) + found.failed > 200


@pytest.mark.parametrize(("centred", "count"), [(True, 33), (False, 29)])
def test_steep_rates_hide_no_saddles(centred, count):
    """Steps of 1 are longer than the box: with them 7 to 23 of these were found, summing to 1."""
    n, draw = 13, np.random.default_rng(1)
    A = draw.standard_normal((n, n))
    W = 3 * (A + A.T) / np.sqrt(2 * n)
    np.fill_diagonal(W, 0)
    bias = -W @ np.full(n, 0.5)
    if not centred:
        bias += 0.1 * np.random.default_rng(1).standard_normal(n)
    found = find_fixed_points(DenseNetwork(W, bias, STEEP))
    assert len(found) == count and found.index_sum == 1


@pytest.mark.parametrize(
    "name",
    ["inhibition-3-5", "inhibition-5-2-logistic", "excitation-3+8-hard", "clones-5",
     "all-to-all-20", "identical-pairs", "potts", "potts-tanh", "inhibited-layer", "clone-layers",
     "lattice", "cosine-ring", "cyclic"],
)  # fmt: skip
def test_what_leaves_the_network_as_it_is_leaves_its_equilibria_as_they_are(name):
    member = zoo.zoo()[name]
    network, (start,) = member.network, member.starts(1)
    found = find_fixed_points(network)
    assert found.index_sum == 1 and len(member.symmetries) > 0
    for order in member.symmetries:
        assert torch.allclose(network.force(start[order]), network.force(start)[order])
        apart = distance(found.state[:, order], found.state)
        assert apart.amin(1).max() < 1e-6
        assert torch.equal(found.index, found.index[apart.argmin(1)])


@pytest.mark.parametrize(
    ("name", "stable"),
    [("hebbian", 6), ("lattice", 2), ("cosine-ring", 16), ("excitation-inhibition", 2),
     ("chain", 1), pytest.param("ring-hard", None, marks=pytest.mark.slow)],
)  # fmt: skip
def test_of_many_units_the_ends_of_motions_are_all_in_the_search(name, stable):
    member = zoo.zoo()[name]
    found = find_fixed_points(member.network)
    ends = settle(member.network, member.starts(100, seed=3), path="flow").raise_for_status()
    assert distance(ends.state, found.state).amin(1).max() < 1e-9
    if stable is not None:
        assert found.stability.count("stable") == stable


def test_twelve_units_with_kinks_are_enumerated():
    """A search that finds one minimum has the index sum 1, and two more points exist."""
    near = (torch.full((2,), 0.4), torch.full((2,), 0.5))
    points = find_fixed_points(pair(2.0, HARD), 4, bounds=near)
    assert points.stability == ["stable", "stable", "saddle"]
    assert sorted(points.hits.tolist()) == [0, 0, 4]
    assert find_fixed_points(zoo.inhibition(7, -2.0), 10).index_sum == 1


def test_a_unit_a_rounding_error_from_its_kink_is_pinned():
    """Newton's step to a kink is a difference; with it, 60 starts lost a saddle's index."""
    network, s = zoo.inhibition(3, -5.0), torch.tensor([[0.5 - 1e-16, 0.0, -0.5]]).double()
    points = settle(network, s + torch.tensor([0.0, 1e-3, 0.0]), tol=1e-12)
    assert points.pinned.tolist() == [[True, False, True]]
    assert points.stability == ["stable"]


def test_a_long_search_is_estimated_before_it_starts(monkeypatch):
    network = pair(8.0, TANH)
    monkeypatch.setattr(search_module, "LONG", 0.0)
    with pytest.warns(UserWarning, match=r"about \d+ s \(40 starts\).*fewer n_starts"):
        find_fixed_points(network, 40)
    with pytest.warns(UserWarning, match=r"\(3 equilibria\)"):
        find_fixed_points(pair(8.0, HARD), 40)
    monkeypatch.setattr(search_module, "_incomplete", lambda catalogue: True)
    with pytest.warns(UserWarning, match=r"\(2 starts more, since points are missing\)"):
        find_fixed_points(network, 1)


def test_the_estimate_is_the_time_of_the_first_starts_times_their_share(monkeypatch):
    """A clock of which every look takes a second: the first 4 of 40 starts settle in one.

    A step of Newton's method from them takes another; 25 are reckoned from 40 starts and 2 edges.
    """
    monkeypatch.setattr(search_module, "LONG", 1e-9)
    monkeypatch.setattr(search_module, "PROBE", 4)
    monkeypatch.setattr(search_module, "EDGE_PAIRS", 1)
    monkeypatch.setattr(search_module.time, "perf_counter", iter(map(float, range(99))).__next__)
    with pytest.warns(UserWarning, match=r"about 272 s \(40 starts\)"):
        find_fixed_points(pair(8.0, TANH), 40)


@pytest.mark.parametrize(("found", "warned"), [(False, 3), (True, 0)])
def test_each_further_attempt_is_announced_but_none_after_the_last(monkeypatch, found, warned):
    monkeypatch.setattr(search_module, "LONG", -1.0)
    monkeypatch.setattr(search_module, "_incomplete", lambda catalogue: not found)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        find_fixed_points(pair(8.0, TANH), 1)
    more = [w for w in said if "since points are missing" in str(w.message)]
    assert len(more) == warned == (0 if found else search_module.ATTEMPTS - 1)
    assert [str(w.message).split("(")[1][:2] for w in more] == ["2 ", "4 ", "8 "][:warned]


def test_where_units_saturate_the_first_steps_of_the_motion_lead_newtons_method():
    """From the starts themselves it finds none of the saddles, which are most of the points."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(25, generator=draw, dtype=torch.float64)
    network = OwnConvolution(8.0).clamp({"x": x})
    points = find_fixed_points(network, bounds=(-3.0, 3.0))
    assert points.index.tolist().count(1) == 4 and points.index.tolist().count(2) == 1
    assert len(points) == 9 and points.index_sum == 1
    assert int(points.hits.sum()) + points.failed == 200  # there was no need to go on


def test_saddles_beside_saddles_are_found_without_more_starts():
    """13 equilibria, as 6,000 starts find; saddles of index 3 are one of them."""
    x = torch.linspace(-1, 1, 25, dtype=torch.float64)
    network, evaluated = OwnConvolution(10.0).clamp({"x": x}), []
    energy = OwnConvolution.energy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "LONG", math.inf)  # an estimate evaluates some more
        patch.setattr(
            OwnConvolution, "energy", lambda net, s: (evaluated.append(len(s)), energy(net, s))[1]
        )
        points = find_fixed_points(network)
    assert np.bincount(points.index.numpy()).tolist() == [3, 5, 4, 1]
    assert int(points.hits.sum()) + points.failed == 200
    assert len(evaluated) < 1500


def test_a_search_that_is_short_is_not_estimated(monkeypatch):
    monkeypatch.setattr(search_module, "_estimate", lambda *a: pytest.fail("estimated"))
    assert len(find_fixed_points(pair(8.0, TANH), 40)) == 3


def test_a_search_whose_factors_take_long_is_estimated(monkeypatch):
    """A clock by which a step of Newton's method takes a second and all else no time."""
    now, newton = [0.0], search_module.newton_from
    monkeypatch.setattr(search_module.time, "perf_counter", lambda: now[0])

    def slow(*args, **options):
        now[0] += 1.0
        return newton(*args, **options)

    monkeypatch.setattr(search_module, "newton_from", slow)
    network = all_to_all(40, 8.0, TANH)
    with pytest.warns(UserWarning, match=r"about 131 s \(40 starts\)"):  # 25 (40 + 128) / 32
        find_fixed_points(network, 40)


def test_an_estimate_changes_nothing_of_what_is_found(monkeypatch):
    """It is made where the machine is slow at that moment, and results must not depend on that."""
    network = OwnConvolution(2.0).clamp({"x": torch.linspace(-1, 1, 25).double()})
    quick = find_fixed_points(network, 12, bounds=(-3.0, 3.0))
    monkeypatch.setattr(search_module, "_may_be_long", lambda *a: True)
    slow = find_fixed_points(network, 12, bounds=(-3.0, 3.0))
    assert slow.state.equal(quick.state) and slow.hits.equal(quick.hits)
    assert slow.failed == quick.failed


class NotOneNumber(Network):
    """An energy with a number for each unit."""

    def energy(self, s):
        return s.square()


class Vertical(VectorField):
    """A force without a number anywhere."""

    def force(self, s):
        return s / 0 * 0


@pytest.mark.parametrize(
    ("network", "words"),
    [(NotOneNumber(2), "expected .*energy"), (Vertical(2), "finite force at the start")],
)
def test_a_motion_that_is_none_is_refused_before_the_search(network, words):
    with pytest.raises(ValueError, match=words):
        find_fixed_points(network, 3)


@pytest.mark.usefixtures("not_enumerated")
def test_one_unit_at_the_other_end_of_its_range_leads_to_other_minima(monkeypatch):
    """From a single start, without a step of Newton's method, to the lower one at least."""
    monkeypatch.setattr(search_module, "NEWTON_UNITS", 0)
    for bias, lower in ((-1.6, -0.5), (-1.4, 0.5)):
        for seed in range(8):
            found = find_fixed_points(pair(3.0, HARD, bias), 1, seed=seed).state
            assert distance(torch.full((1, 2), lower).double(), found).min() == 0


@pytest.mark.parametrize(("most", "expected"), [(2, 3), (1, 2)])
def test_newtons_method_finds_saddles_of_networks_up_to_a_size(monkeypatch, most, expected):
    monkeypatch.setattr(search_module, "NEWTON_UNITS", most)
    assert len(find_fixed_points(pair(8.0, TANH, -4.01), 20)) == expected


@pytest.mark.parametrize(("most", "thorough"), [(3, True), (4, True), (2, False)])
def test_networks_up_to_a_size_are_searched_by_index(most, thorough, monkeypatch):
    """Of three units: where that many are few, and where they are the most that are."""
    asked = []
    by_index = search_module.of_index

    def noted(*given):
        asked.append(given)
        return by_index(*given)

    monkeypatch.setattr(search_module, "EXHAUSTIVE_UNITS", most)
    monkeypatch.setattr(search_module, "of_index", noted)
    find_fixed_points(random_dense(3, 0, TANH, gain=2.0), n_starts=8)
    assert bool(asked) == thorough
