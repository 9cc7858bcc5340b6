"""Linearising: batches, records, kinds of points and refusals."""

import math
from operator import attrgetter

import numpy as np
import pytest
import torch
import zoo
from analytic import HARD, TANH, fold_state, pair, random_dense

import ctebm
from ctebm import (
    AsymmetricNetwork,
    FeedbackNetwork,
    LayeredNetwork,
    Logistic,
    SparseNetwork,
    find_fixed_points,
    linearize,
    settle,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_rest(network, start=None):
    return linearize(network, settle(network, start, tol=1e-13).raise_for_status())


def asymmetric(whole):
    return FeedbackNetwork.at_angle(whole, 60.0, seed=1)


@pytest.mark.parametrize("kind", [lambda whole: whole, asymmetric], ids=["energy", "no energy"])
def test_batch_is_one_by_one(kind):
    whole = kind(LayeredNetwork.random([4, 6, 3], HARD, gain=1.2, seed=2))
    x = torch.as_tensor(np.random.default_rng(0).random((2, 3, 4)))
    network = whole.clamp({"x": x})
    together = linearize(network, settle(network, tol=1e-12).raise_for_status())
    counts = (~together.pinned).sum(-1)
    assert len(together.stability) == 6 and together.index.shape == (2, 3)
    assert len(set(counts.flatten().tolist())) > 1
    push = torch.linspace(-1, 1, 9, dtype=torch.float64)
    asked = {
        "response": lambda linear: linear.response(push),
        "later": lambda linear: linear.response(push, time=0.7),
        "steps": lambda linear: linear.response(push, eps=0.2, n_steps=6),
        "frequency": lambda linear: linear.frequency_response(push, 0.3),
        "covariance": lambda linear: linear.covariance(0.1),
        "synaptic": lambda linear: linear.covariance(0.1, 0.05, synaptic=True),
        "power": lambda linear: linear.power_spectrum(0.1, [0.0, 0.4]),
    } | {
        name: attrgetter(name)
        for name in ("eps_max", "eps_monotone", "condition_number", "return_time", "reactivity",
                     "symmetry", "jacobian", "residual", "margin", "status", "lambda_min")
    }  # fmt: skip
    found = {name: ask(together) for name, ask in asked.items()}
    for k, (i, j) in enumerate(np.ndindex(2, 3)):
        alone = linearize(whole.clamp({"x": x[i, j]}), together.state[i, j])
        n = len(alone.eigenvalues)
        assert n == counts[i, j] and together.eigenvalues[i, j, n:].isnan().all()
        torch.testing.assert_close(together.eigenvalues[i, j, :n], alone.eigenvalues)
        assert (together.stability[k], int(together.index[i, j])) == (alone.stability, alone.index)
        for name, ask in asked.items():
            torch.testing.assert_close(
                found[name][i, j], ask(alone), msg=lambda m, name=name: name + m
            )


def cosines(n, w):
    """The eigenvalues of a ring of n units with the coupling w."""
    return 2 * w * np.cos(2 * np.pi * np.arange(n) / n)


def of_patterns(n=60, gain=8.0):
    """Those of stored patterns: what they have in common, and the rest."""
    patterns = zoo.hebbian()[1].numpy()
    common = np.linalg.eigvalsh(patterns @ patterns.T)
    return gain / n * (np.r_[common, np.zeros(n - len(common))] - len(common))


# By the member of the zoo: the slope of its rate at 0, and the eigenvalues of its couplings.
COUPLINGS = {
    "inhibition-3-5": (1.0, [-10, 5, 5]),
    "inhibition-5-2": (1.0, [-8, *[2] * 4]),
    "inhibition-5-5-logistic": (2.5, [-20, *[5] * 4]),
    "excitation-3+8-hard": (1.0, [16, -8, -8]),
    "clones-5": (0.5, [8, *[-2] * 4]),
    "all-to-all-20": (0.5, [20, *[-20 / 9] * 9]),
    "identical-pairs": (0.5, [8, -8] * 3),
    "hebbian": (0.5, of_patterns()),
    "lattice": (0.5, np.add.outer(cosines(5, 1.5), cosines(5, 1.5)).ravel()),
    "ring-hard": (1.0, cosines(20, 0.6)),
    "cosine-ring": (0.5, [5.25, 5.25, *[-0.75] * 14]),
    "edge": (0.5, [4, -4]),
    "cyclic": (0.5, 6 * np.exp(2j * np.pi * np.arange(3) / 3)),
}


def same_numbers(found, expected, tol):
    """Whether complex numbers are the same in some order."""
    found, left = np.asarray(found), list(np.asarray(expected))
    assert len(found) == len(left)
    for one in found:
        near = min(range(len(left)), key=lambda k: abs(left[k] - one))
        assert abs(left.pop(near) - one) <= tol


@pytest.mark.parametrize("name", COUPLINGS)
def test_the_curvatures_of_the_zoo_at_0(name):
    """1 - rho'^2 mu for the eigenvalues mu of the couplings."""
    slope, mu = COUPLINGS[name]
    network = zoo.zoo()[name].network
    linear = linearize(network, torch.zeros(network.n_units))
    expected = 1 - slope**2 * np.asarray(mu)
    same_numbers(linear.eigenvalues, expected, 1e-12 * max(1, abs(expected).max()))
    assert linear.index == (expected.real < -1e-12).sum()
    kind = "saddle" if linear.index else "degenerate" if name == "edge" else "stable"
    assert linear.stability == kind


@pytest.mark.parametrize("name", zoo.zoo())
def test_the_curvatures_of_the_zoo_where_it_rests(name):
    """Those of the force's central differences among units that no kink holds."""
    member = zoo.zoo()[name]
    network, start = member.network, member.starts(1, seed=4)
    points = settle(network, start).raise_for_status()
    linear = linearize(network, points.state[0])
    assert [linear.stability] == points.stability and linear.stability in member.kinds
    (s,), h = points.state, 1e-5
    steps = h * torch.eye(len(s), dtype=torch.float64)
    J = (network.force(s + steps) - network.force(s - steps)).mT / (2 * h)
    free = ~points.pinned[0]
    expected = -np.linalg.eigvals(J[free][:, free].numpy())
    found = np.asarray(linear.eigenvalues)
    found = found[np.isfinite(found)]
    tol = 1e-8 if member.has_energy else 1e-5  # of an asymmetric matrix they magnify errors
    same_numbers(found, expected, tol * max(1, abs(J).max()))


def test_fold_is_degenerate():
    s, h = fold_state(8.0)
    assert (s, h) == pytest.approx((0.442643471823, -0.592959959487), abs=1e-12)
    linear = linearize(pair(8.0, TANH, -4 + h), tensor(s, s))
    assert abs(linear.eigenvalues[0]) < 1e-13
    assert linear.stability == "degenerate"


def test_degenerate_pair():
    linear = linearize(pair(4.0, TANH), torch.zeros(2))
    assert linear.eigenvalues.tolist() == pytest.approx([0, 2], abs=1e-14)
    assert linear.stability == "degenerate"
    assert at_rest(pair(4.0, TANH), [0.2, 0.1]).stability == "degenerate"


def test_a_unit_without_margin_is_pinned_and_degenerate_if_it_matters():
    """Its current is exactly its kink: it may move inwards, which can change the count of signs."""
    for w, kind in [(0.5, "stable"), (2.0, "degenerate")]:  # 1 - w^2 changes sign with both free
        network = pair(w, HARD, 0.5 - w)
        linear = linearize(network, tensor(0.5, 0.5))
        assert linear.residual == 0 and linear.pinned.all() and linear.margin == 0
        assert linear.stability == kind


def test_search_and_linearization_agree():
    network = random_dense(4, 2, Logistic(), gain=2.0)
    points = find_fixed_points(network, 60)
    for s, index, kind in zip(points.state, points.index, points.stability, strict=True):
        linear = ctebm.linearize(network, s)
        assert (linear.index, linear.stability) == (int(index), kind)


def test_a_record_stands_for_its_states():
    network = random_dense(4, 2, Logistic(), gain=2.0)
    points = find_fixed_points(network, 60)
    linear = linearize(network, points)
    assert linear.stability == points.stability and (linear.index == points.index).all()
    torch.testing.assert_close(linear.state, points.state)


def test_many_units_that_are_all_pinned():
    """More than the matrix is built for, and none of them free."""
    n = 8_200
    network = SparseNetwork(torch.zeros(n, n).to_sparse(), torch.ones(n), HARD)
    points = settle(network, torch.full((n,), 0.5))
    linear = linearize(network, points)
    assert linear.pinned.all() and linear.eigenvalues.shape == (0,) and linear.whole
    assert (linear.index, linear.stability) == (0, "stable")
    assert points.stability == ["stable"] and points.to_dataset().stability == "stable"
    assert linear.to_dataset().sizes["mode"] == 0


def test_a_state_for_all_samples_and_a_batch_for_one_network():
    whole = LayeredNetwork.random([3, 4], TANH, gain=0.5, seed=0)
    net = whole.clamp({"x": torch.zeros(2, 3)})
    point = settle(whole.clamp({"x": torch.zeros(3)}), tol=1e-12)
    assert linearize(net, point).eigenvalues.shape == (2, 4)
    assert linearize(pair(0.5, HARD), torch.zeros(2, 3, 2)).eigenvalues.shape == (2, 3, 2)


def test_refusals():
    for state, words in (
        ([math.nan, 0.0], "finite state"),
        ([0.0, 0.0, 0.0], "expected a state"),
        (torch.zeros(0, 2), "one state or more"),
    ):
        with pytest.raises(ValueError, match=words):
            linearize(pair(0.5, HARD), state)
    with pytest.raises(ValueError, match="with an energy for dense=False"):
        linearize(AsymmetricNetwork([[0, 1], [0, 0]], [0, 0], TANH), [0.0, 0.0], dense=False)
