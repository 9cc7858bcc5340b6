"""Unstable directions against closed forms, with and without the matrix."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
import zoo
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state, random_dense, symmetric_spectrum

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    LayeredNetwork,
    SparseNetwork,
    find_fixed_points,
)
from ctebm.equilibria import inertia
from ctebm.equilibria.inertia import (
    classify,
    classify_rows,
    count_below,
    hessian_on,
    restricted,
    without_margin,
)
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.rows import Rows
from ctebm.networks.base import count_units


def zeros(n):
    return torch.zeros(n, dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("w", [2.0, 5.0, 30.0])
def test_the_all_to_all_network(n, w):
    """At 0 one direction has curvature 1 - w/4, the others 1 + w / (4 (N - 1))."""
    network = all_to_all(n, w, TANH)
    common, other = symmetric_spectrum(0.0, w, n)
    index = int(common < 0) + (n - 1) * int(other < 0)
    assert classify(network, zeros(n)) == (index, "saddle" if index else "stable")
    if w > 4:
        s = torch.full((n,), pitchfork_state(w), dtype=torch.float64)
        assert classify(network, s) == (0, "stable")


def test_a_zero_eigenvalue_is_degenerate():
    assert classify(pair(4.0, TANH), zeros(2)) == (0, "degenerate")


def test_pinned_units_do_not_count():
    network = pair(2.0, HARD)
    assert classify(network, zeros(2)) == (1, "saddle")
    assert classify(network, torch.tensor([0.5, 0.5], dtype=torch.float64)) == (0, "stable")


def test_a_unit_without_margin_is_degenerate_where_it_matters():
    """Both units at the kink with current 0.5: released they have the curvature 1 - w."""
    s = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for w, kind in ((3.0, "degenerate"), (0.5, "stable")):
        assert classify(pair(w, HARD, bias=0.5 - w), s) == (0, kind)


@pytest.mark.parametrize(("w", "index"), [(1.0, 0), (10.0, 2)])
def test_without_an_energy_growth_rates_count(w, index):
    """A ring of three, each driving the next: rates w/4 times a cube root of 1, less 1."""
    W = torch.zeros(3, 3).index_put(
        (torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2])), torch.tensor(-w)
    )
    network = AsymmetricNetwork(W, zeros(3), TANH).centred()
    growth = [w / 4 * math.cos(math.pi * k / 3) - 1 for k in (1, 3, 5)]
    assert sum(rate > 0 for rate in growth) == index
    assert classify(network, zeros(3)) == (index, "saddle" if index else "stable")


def ring_spectrum(n, w):
    return 1 - 2 * w * np.cos(2 * np.pi * np.arange(n) / n)


@pytest.mark.parametrize("w", [0.4, 0.6])
def test_without_the_matrix(w, monkeypatch):
    """A ring of hard sigmoids has the eigenvalues 1 - 2 w cos(2 pi k / N), most of them twice."""
    n = 50
    network = SparseNetwork.ring(n, w, HARD).centred()
    values = ring_spectrum(n, w)
    expected = int((values < 0).sum())
    kind = "saddle" if expected else "stable"
    assert classify(network, zeros(n)) == (expected, kind)
    monkeypatch.setattr(inertia, "DENSE_UNITS", 10)
    assert classify(network, zeros(n)) == (expected, kind)


@pytest.mark.parametrize("w", [0.4, 0.6])
def test_what_lanczos_counts_is_a_bound(w, monkeypatch):
    """Without a sparse Hessian equal eigenvalues are found once, and the answer says so."""
    n = 50
    network = DenseNetwork(SparseNetwork.ring(n, w, HARD).dense_weight(), zeros(n), HARD).centred()
    values = ring_spectrum(n, w)
    distinct = len({round(v, 9) for v in values if v < 0})
    monkeypatch.setattr(inertia, "DENSE_UNITS", 10)
    if distinct:
        with pytest.warns(UserWarning, match=f"the index is at least {distinct}: "):
            assert classify(network, zeros(n)) == (distinct, "saddle")
    else:
        assert classify(network, zeros(n)) == (0, "stable")


def lattice_index(side, w):
    wave = np.cos(2 * np.pi * np.arange(side) / side)
    return int((1 - 2 * w * (wave[:, None] + wave) < 0).sum())


@pytest.mark.parametrize(
    ("network", "index"),
    [
        (SparseNetwork.ring(4100, 0.6, HARD), int((ring_spectrum(4100, 0.6) < 0).sum())),
        (zoo.lattice(100, 0.4, HARD), lattice_index(100, 0.4)),
        (zoo.identical_pairs(2500, 8.0), 2500),
        (zoo.identical_pairs(2500, 2.0), 0),
    ],
    ids=["ring", "lattice", "pairs", "stable pairs"],
)
def test_large_sparse_networks_are_counted_exactly(network, index):
    n = count_units(network)
    assert classify(network, zeros(n)) == (index, "saddle" if index else "stable")


def test_the_numbers_of_the_large_networks():
    assert (ring_spectrum(4100, 0.6) < 0).sum() == 765
    assert lattice_index(100, 0.4) == 1321


@pytest.mark.parametrize("degenerate", [1, 40])
def test_zero_eigenvalues_of_a_large_network(degenerate, monkeypatch):
    """Pairs of hard units with w = 1 have the eigenvalues 0 and 2, with w = 2 -1 and 3."""
    monkeypatch.setattr(inertia, "DENSE_UNITS", 10)
    w = torch.full((60,), 2.0).index_fill(0, torch.arange(degenerate), 1.0)
    pairs = torch.arange(120).reshape(60, 2).mT
    W = torch.sparse_coo_tensor(
        torch.cat([pairs, pairs.flip(0)], 1), w.repeat(2), check_invariants=True
    )
    network = SparseNetwork(W, zeros(120), HARD).centred()
    assert classify(network, zeros(120)) == (60 - degenerate, "degenerate")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [-1.0, 0.0, 0.4])
def test_counting_below_a_level(seed, level):
    rng = np.random.default_rng(seed)
    A = scipy.sparse.random_array((300, 300), density=0.02, rng=rng)
    H = scipy.sparse.diags_array(rng.uniform(0.5, 2, 300)) - (A + A.T)
    assert count_below(H, level) == (np.linalg.eigvalsh(H.toarray()) < level).sum()


def test_what_cannot_be_factorised_is_not_counted(monkeypatch):
    swap = scipy.sparse.csr_array([[0.0, 1.0], [1.0, 0.0]])
    assert count_below(swap, 0.0) is None
    assert count_below(swap, 0.5) == 1
    monkeypatch.setattr(inertia, "MOST_WORK", 0)
    assert count_below(swap, 0.5) is None


@pytest.mark.parametrize("small", [False, True], ids=["dense", "by products"])
def test_the_hessian_on_some_units(small, monkeypatch):
    if small:
        monkeypatch.setattr(inertia, "DENSE_UNITS", 1)
    network, where = random_dense(7, 0, TANH), torch.tensor([0, 3, 4, 6])
    s = torch.linspace(-1, 1, 7, dtype=torch.float64)
    expected = network.hessian(s)[where][:, where]
    assert torch.allclose(hessian_on(network, s, where), expected, atol=1e-14)
    v = torch.arange(4, dtype=torch.float64)
    assert torch.allclose(restricted(network, s, where)(v), expected @ v, atol=1e-14)
    everything = torch.arange(7)
    product = restricted(network, s, everything)
    assert torch.allclose(product(s), network.hessian(s) @ s, atol=1e-14)


def equilibria():
    """Networks with and without an energy, with equilibria of theirs, some without margin."""
    both = torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    for w in (3.0, 0.5):
        yield pair(w, HARD, bias=0.5 - w), both[:1]
    yield pair(2.0, HARD), both
    yield pair(4.0, TANH), both[1:]
    hard = random_dense(4, 2, HARD, gain=3.0)
    yield hard, find_fixed_points(hard, 20).state
    turned = AsymmetricNetwork([[0, 5.0], [4.0, 0]], [0, 0], TANH).centred()
    yield turned, find_fixed_points(turned, 20).state


@pytest.mark.parametrize("limits", [{}, {"PORTION": 1}, {"FEW_UNITS": 1}], ids=str)
def test_many_rows_are_classified_as_one_by_one(limits, monkeypatch):
    for name, value in limits.items():
        monkeypatch.setattr(inertia, name, value)
    kinds = set()
    for network, s in equilibria():
        found = classify_rows(Rows.repeated(network, len(s)), s)
        assert found == [classify(network, one) for one in s]
        kinds |= {kind for _, kind in found}
    assert kinds == {"stable", "saddle", "degenerate"}


def test_units_without_margin_are_held_by_no_force():
    s = torch.tensor([[0.5, 0.5], [0.0, 0.5]], dtype=torch.float64)
    assert without_margin(pair(3.0, HARD, bias=-2.5), s).tolist() == [[True, True], [False, False]]
    assert not without_margin(pair(2.0, HARD), s).any()
    assert without_margin(pair(2.0, TANH), s).tolist() == [[False, False]] * 2


def test_zero_grows_with_the_stiffest_mode_and_the_residual():
    """In double precision 1.5e-8 of the largest eigenvalue or of 1; smooth, 2 sqrt(r) too."""
    root = torch.finfo(torch.float64).eps ** 0.5
    r, largest = torch.tensor([0.0, 0.0, 0.0, 1e-10]).double(), torch.tensor([0.1, 1.0, 1e6, 1.0])
    hard = inertia._zeros(pair(2.0, HARD), r, largest.double())
    assert hard.tolist() == pytest.approx([root, root, 1e6 * root, root], rel=1e-6)
    smooth = inertia._zeros(pair(2.0, TANH), r, largest.double())
    assert smooth.tolist() == pytest.approx([root, root, 1e6 * root, 2e-5], rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_smooth_layer_beside_a_kinked_one_curves_between_the_kinks():
    """At a pitchfork a point that is known to 1e-10 has an eigenvalue known to some 1e-6."""
    hard_and_tanh = LayeredNetwork([[[2.0]]], [[0], [0]], [HARD, TANH]).centred()
    hard_alone = LayeredNetwork([[[1.0]]], [[0], [0]], HARD).centred()  # a ridge of equal energy
    s = torch.tensor([2e-4, 2e-4], dtype=torch.float64)
    assert 1e-13 < float(residual(hard_and_tanh, s)) < 1e-10
    lowest = float(torch.linalg.eigvalsh(hard_and_tanh.hessian(s))[0])
    assert 1.5e-8 < lowest < 1e-6
    for states in (s, s.expand(1, 2), zeros(2)):
        kinds = classify_rows(Rows.repeated(hard_and_tanh, 1), states.reshape(1, 2))
        assert kinds == [(0, "degenerate")]
    assert classify(hard_and_tanh, s) == classify(hard_alone, s) == (0, "degenerate")
    below = LayeredNetwork([[[1.99]]], [[0], [0]], [HARD, TANH]).centred()
    assert classify(below, zeros(2)) == (0, "stable")


def test_between_kinks_an_eigenvalue_is_known_though_the_point_is_not():
    """Linear rates have the same curvature everywhere between them, smooth ones have not."""
    for rho, kind in ((HARD, "stable"), ([HARD, TANH], "degenerate")):
        w = 1.0 if rho is HARD else 2.0
        net = LayeredNetwork([[[w * (1 - 1e-6)]]], [[0], [0]], rho).centred()
        s = torch.tensor([3e-6, 0.0], dtype=torch.float64)  # residual 3e-6
        assert classify(net, s) == (0, kind)


def test_up_to_the_size_of_dense_matrices_each_of_equal_eigenvalues_counts(monkeypatch):
    n = 50
    network = DenseNetwork(SparseNetwork.ring(n, 0.6, HARD).dense_weight(), zeros(n), HARD)
    monkeypatch.setattr(inertia, "DENSE_UNITS", n)
    expected = int((ring_spectrum(n, 0.6) < 0).sum())
    assert expected > 1 and classify(network.centred(), zeros(n)) == (expected, "saddle")


@pytest.mark.parametrize(("lowest", "expected"), [(-1.01, (1, 0)), (-1.0, (0, 1)), (1.01, (0, 0))])
def test_a_curvature_as_small_as_rounding_is_flat_and_not_negative(lowest, expected, monkeypatch):
    """The root of the rounding unit is 2^-26: here the network's Hessian is diagonal."""
    zero = 2.0**-26
    monkeypatch.setattr(inertia, "_zeros", lambda network, residual, size: 0 * size + zero)
    net = zoo.inhibition(2, 0.0)
    monkeypatch.setattr(
        type(net), "jacobian",
        lambda self, s: -torch.diag_embed(torch.tensor([[lowest * zero, 1.0]]).double()),
    )  # fmt: skip
    found = inertia._count_together(net, zeros(2).unsqueeze(0), torch.zeros(1, 2, dtype=torch.bool))
    assert found == [expected]


def test_states_are_classified_in_portions_that_bound_the_memory(monkeypatch):
    net = pair(8.0, TANH)
    rows, s = Rows.repeated(net, 7), torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)
    whole, sizes, counts = classify_rows(rows, s), [], inertia._count_together

    def noted(network, states, held):
        sizes.append(len(states))
        return counts(network, states, held)

    monkeypatch.setattr(inertia, "_count_together", noted)
    for portion, expected in ((12, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr(inertia, "PORTION", portion)
        sizes.clear()
        assert classify_rows(rows, s) == whole
        assert sizes == expected
