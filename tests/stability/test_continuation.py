"""Branches against closed forms: folds, pitchforks, kinks, ends."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zoo
from analytic import HARD, TANH, all_to_all, fold_state, pair, pitchfork_state, random_dense

from ctebm import (
    DenseNetwork,
    LayeredNetwork,
    Logistic,
    Network,
    continue_branch,
    settle,
    switch_branch,
)
from ctebm.stability import continuation


@pytest.mark.parametrize("n", [2, 3, 5])
def test_pitchfork_and_its_arms(n):
    branch = continue_branch(lambda w: all_to_all(n, w, TANH), torch.zeros(n), (2.5, 8.0))
    (event,) = branch.events
    assert event.kind == "pitchfork"
    assert event.parameter == pytest.approx(4.0, abs=1e-12)
    assert event.direction.abs().tolist() == pytest.approx([n**-0.5] * n)
    assert branch.complete
    assert branch.parameter[-1] == 8.0
    # stable before, a saddle after, degenerate at the point itself
    kinds = np.array(branch.stability)
    w = branch.parameter.numpy()
    assert set(kinds[w < 4 - 1e-6]) == {"stable"}
    assert set(kinds[w > 4 + 1e-6]) == {"saddle"}
    for sign, arm in zip((1, -1), switch_branch(branch, event), strict=True):
        assert arm.complete
        assert arm.parameter[-1] == 8.0
        side = math.copysign(1, float(event.direction[0])) * sign
        expected = torch.full((n,), side * pitchfork_state(8.0), dtype=torch.float64)
        assert torch.allclose(arm.state[-1], expected, atol=1e-11)
        for w, s in zip(arm.parameter[1:].tolist(), arm.state[1:], strict=True):
            assert abs(float(s[0])) == pytest.approx(pitchfork_state(w), abs=1e-6)


@pytest.mark.parametrize("w", [5.0, 8.0])
def test_folds(w):
    branch = continue_branch(lambda h: pair(w, TANH, -w / 2 + h), [-1.0, -1.0], (-1.5, 1.5))
    s, h = fold_state(w)
    assert [event.kind for event in branch.events] == ["fold", "fold"]
    first, second = branch.folds
    assert first.parameter == pytest.approx(-h, abs=1e-12)
    assert second.parameter == pytest.approx(h, abs=1e-12)
    # the state at a fold is known to the square root of rounding by p, to rounding by lambda
    assert second.state.tolist() == pytest.approx([s, s], abs=1e-9)
    assert abs(first.transversality) > 0.1
    assert sorted(set(branch.stability)) == ["degenerate", "saddle", "stable"]
    assert branch.stability[first.point + 1] == "saddle"
    assert branch.residual.max() < 1e-10
    low, high = branch.parameter[first.point], branch.parameter[second.point]
    assert low > high


def test_arm_through_its_branch_point():
    start = [pitchfork_state(8.0)] * 2
    branch = continue_branch(lambda w: pair(w, TANH), start, (8.0, 2.0))
    (event,) = branch.events
    assert event.kind == "pitchfork"
    assert event.parameter == pytest.approx(4.0, abs=1e-8)
    assert branch.parameter[-1] == 8.0
    assert float(branch.state[-1, 0]) == pytest.approx(-start[0], abs=1e-10)


def test_a_closed_branch_is_gone_round_once():
    class Ring(Network):
        """Force x (1/4 - p^2 - x^2): the circle x^2 + p^2 = 1/4 meets the branch x = 0 twice."""

        def __init__(self, p):
            super().__init__(1)
            self.p = p

        def energy(self, s):
            x = s[..., 0]
            return x**4 / 4 - (0.25 - self.p**2) * x**2 / 2

    branch = continue_branch(Ring, [0.0], (-1.0, 1.0))
    assert [e.parameter for e in branch.branch_points] == pytest.approx([-0.5, 0.5], abs=1e-9)
    arms = switch_branch(branch, branch.branch_points[0])
    for arm, side in zip(arms, (1, -1), strict=True):
        assert arm.complete and "closed" in arm.message
        # it passes both branch points, where it turns: neither is a fold
        assert [event.kind for event in arm.events] == ["pitchfork"] * 2
        x, p = arm.state[:, 0], arm.parameter
        assert torch.allclose(x**2 + p**2, torch.tensor(0.25, dtype=p.dtype), atol=1e-8)
        assert side * float(branch.branch_points[0].direction[0]) * float(x[1]) > 0
        # as far as it is round, not twice: 0.02 is the longest step in units of the range, 2
        length = float((x.diff() ** 2 + p.diff() ** 2).sqrt().sum())
        assert length == pytest.approx(math.pi, abs=0.15)


@pytest.mark.parametrize("w", [2.0, 3.0])
def test_kinked_pair_turns_at_its_kinks(w):
    branch = continue_branch(lambda h: pair(w, HARD, -w / 2 + h), [-0.5, -0.5], (-2.0, 2.0))
    assert branch.complete
    # pinned low until the current -w/2 + h passes the kink -1/2, then the saddle, then high
    expected = [w / 2 - 0.5, 0.5 - w / 2]
    assert [event.kind for event in branch.events] == ["border collision"] * 2
    assert [event.parameter for event in branch.events] == pytest.approx(expected, abs=1e-12)
    assert [event.direction.tolist() for event in branch.events] == [[-1, -1], [1, 1]]
    between = branch.events[0].point + 1
    assert branch.stability[0] == "stable"
    assert branch.stability[between] == "saddle"
    assert branch.stability[-1] == "stable"
    assert branch.state[-1].tolist() == [0.5, 0.5]


def test_kinked_pitchfork():
    branch = continue_branch(lambda w: pair(w, HARD), [0.0, 0.0], (0.5, 2.0))
    (event,) = branch.branch_points
    assert event.parameter == pytest.approx(1.0, abs=1e-12)
    for arm in switch_branch(branch, event):
        (collision,) = arm.events
        assert collision.kind == "border collision"
        assert collision.parameter == pytest.approx(1.0, abs=1e-9)
        assert arm.state[-1].abs().tolist() == [0.5, 0.5]
        assert arm.parameter[-1] == 2.0


@pytest.mark.parametrize("seed", range(4))
def test_kinked_branch_is_what_settling_finds(seed):
    network = random_dense(8, seed, HARD, gain=1.0)

    def family(gain):
        return DenseNetwork(gain * network.weight, network.bias, HARD)

    branch = continue_branch(family, settle(family(0.1)).state, (0.1, 0.9))
    assert branch.complete
    assert len(branch.of_kind("border collision")) > 0
    for event in branch.of_kind("border collision"):
        net, changed = family(event.parameter), event.direction != 0
        # exactly on the border: at the kink, and no force holds or frees the unit
        assert event.state[changed].abs().tolist() == pytest.approx([0.5] * int(changed.sum()))
        assert net.force(event.state)[changed].abs().max() < 1e-8
    for gain, s, kind in zip(
        branch.parameter.tolist(), branch.state, branch.stability, strict=True
    ):
        again = settle(family(gain), s + 1e-4)
        if kind == "stable":
            assert (again.state - s).abs().max() < 1e-7


def test_a_family_that_jumps_ends_its_branch():
    """No point of the branch is off the equilibria, and the message says where they end."""

    def family(w):
        return pair(w, TANH, -w / 2 + (0.5 if w > 3 else 0.0))

    branch = continue_branch(family, [0.0, 0.0], (2.0, 4.0), step=0.1)
    assert not branch.complete and "not smooth" in branch.message
    assert branch.residual.max() <= 1e-10
    assert float(branch.parameter.max()) == pytest.approx(3, abs=1e-5)


def test_between_two_inputs():
    whole = LayeredNetwork.random([3, 6, 4], Logistic(), gain=0.5, seed=1)
    a, b = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def family(mix):
        return whole.clamp({"x": (1 - mix) * a + mix * b})

    branch = continue_branch(family, settle(family(0.0)), (0.0, 1.0), step=0.1)
    assert branch.events == []
    assert torch.allclose(branch.state[-1], settle(family(1.0), tol=1e-13).state, atol=1e-9)


def test_bad_input():
    def family(w):
        return pair(w, TANH)

    with pytest.raises(ValueError, match="range of two finite ends"):
        continue_branch(family, [0.0, 0.0], (2.0, 2.0))
    with pytest.raises(ValueError, match="step"):
        continue_branch(family, [0.0, 0.0], (2.0, 3.0), step=0)
    with pytest.raises(ValueError, match="one start"):
        continue_branch(family, torch.zeros(2, 2), (2.0, 3.0))
    with pytest.raises(ValueError, match="float64"):
        continue_branch(lambda w: family(w).to(torch.float32), [0.0, 0.0], (2.0, 3.0), tol=1e-5)
    with pytest.raises(ValueError, match="rounding floor"):
        continue_branch(family, [0.0, 0.0], (2.0, 3.0), tol=1e-18)
    branch = continue_branch(lambda h: pair(8, TANH, -4 + h), [-1.0, -1.0], (-1.5, 1.5))
    with pytest.raises(ValueError, match="branch point"):
        switch_branch(branch, branch.folds[0])


def growing(weight, activation=TANH):
    """The family of centred networks with p times these couplings."""
    W = np.asarray(weight, float)
    if (W == W.T).all():
        return lambda p: zoo.dense(p * W, activation)
    return lambda p: zoo.asymmetric(p * W, activation)


def crossings(weight, ends):
    """What is known of the state 0 of `growing` tanh units: 1 = p mu / 4 for eigenvalues mu.

    Kind, multiplicity and place, in the order in which they come.
    """
    mu = np.linalg.eigvals(np.asarray(weight, float))
    found = []
    for one in np.unique(mu[(mu.real > 0) & (mu.imag >= -1e-9)].round(9)):
        same = int((abs(mu - one) < 1e-6).sum())
        kind = "pitchfork" if same == 1 else "symmetric pitchfork"
        found.append((4 / one.real, "hopf" if one.imag > 1e-9 else kind, same))
    return sorted(one for one in found if ends[0] < one[0] < ends[1])


def torus(side):
    """The couplings of a lattice."""
    return np.asarray(zoo.lattice(side, 1.0).dense_weight())


ZOO = {
    "ring attractor": (np.asarray(zoo.cosine_ring(8, 1.0).dense_weight()), (9.0, 12.0)),
    "winner takes all": (-zoo.off_diagonal(4), (3.0, 5.0)),
    "Hebbian memory": (np.asarray(zoo.hebbian(20, 2)[0].dense_weight()), (0.4, 0.8)),
    "Dale's law": (zoo.excitation_inhibition(8, 2).dense_weight().numpy(), (0.2, 1.2)),
    "lattice": (torus(4), (0.8, 2.4)),
    "identical units": (zoo.off_diagonal(5), (0.5, 2.0)),
    "Potts": (zoo.potts(TANH, 1.0).dense_weight().numpy(), (0.5, 4.0)),
    "identical pairs": (np.kron(np.eye(3), zoo.off_diagonal(2)), (3.0, 5.0)),
    "identical cycles": (np.kron(np.eye(2), [[1.0, -1.0], [1.0, 1.0]]), (3.0, 5.0)),
    "16 decades": (np.asarray(zoo.sixteen_decades().dense_weight()), (0.01, 1.0)),
    "edge of stability": (zoo.off_diagonal(2), (3.999, 4.001)),
    "cyclic": (np.roll(np.eye(3), 1, axis=0), (2.0, 10.0)),
    "cyclic inhibition": (-np.roll(np.eye(5), 1, axis=0), (3.0, 16.0)),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_state_0_of_the_zoo(name):
    """Every event once, where the eigenvalues of the couplings say it is, and no other."""
    weight, ends = ZOO[name]
    expected = crossings(weight, ends)
    branch = continue_branch(growing(weight), [0.0] * len(weight), ends, step=0.1)
    assert branch.complete and len(expected) > 0
    assert [(e.kind, e.multiplicity) for e in branch.events] == [one[1:] for one in expected]
    assert [e.parameter for e in branch.events] == pytest.approx([p for p, *_ in expected])
    steps = {"hopf": 2}
    unstable = sum(steps.get(kind, 1) * m for _, kind, m in expected)
    assert branch.index[-1] - branch.index[0] == unstable


def test_layers_of_clones_stay_clones():
    branch = continue_branch(zoo.clones, settle(zoo.clones(1.0)), (1.0, 6.0), step=0.1)
    assert branch.complete and branch.events == [] and set(branch.stability) == {"stable"}
    for where in branch.family(6.0).layers.values():
        same = branch.state[:, where]
        torch.testing.assert_close(same, same[:, :1].expand_as(same), atol=1e-9, rtol=0)


def test_a_chain_is_followed_unit_by_unit():
    def family(w):
        return zoo.chain(8, w)

    branch = continue_branch(family, zoo.chain_state(family(0.5)), (0.5, 3.0), step=0.1)
    assert branch.complete and branch.events == [] and set(branch.stability) == {"stable"}
    for w, s in zip(branch.parameter[::6].tolist(), branch.state[::6], strict=True):
        torch.testing.assert_close(s, zoo.chain_state(family(w)), atol=1e-9, rtol=0)


def test_hard_units_that_inhibit_each_other():
    """1 = w for both eigenvalues of the units between their kinks."""
    branch = continue_branch(lambda w: zoo.inhibition(3, -w), [0.0] * 3, (0.5, 1.5), step=0.1)
    (event,) = branch.events
    assert (event.kind, event.multiplicity) == ("symmetric pitchfork", 2)
    assert event.parameter == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "family, start, ends, step",
    [(lambda w: all_to_all(3, w, TANH), [0.0] * 3, (2.5, 8.0), s) for s in (0.1, 0.4, 0.9)]
    + [(lambda w: all_to_all(3, w, TANH), [0.0] * 3, (3.5, 8.0), 0.5)]  # ends on its pitchfork
    + [(lambda h: pair(8.0, TANH, -4 + h), [-0.8] * 2, (-0.5, 0.5), s) for s in (0.05, 0.1, 0.3)]
    + [(lambda w: pair(w, HARD, -w / 2 + 0.1), [0.1] * 2, (0.2, 3), s) for s in (0.1, 0.3, 1.0)],
)
def test_points_follow_one_another_along_the_branch(family, start, ends, step):
    """Those at events too, each between its neighbours: no way back from one step to the next."""
    branch = continue_branch(family, start, ends, step=step)
    at = torch.cat([branch.state, branch.parameter.unsqueeze(-1)], -1)
    ways = at.diff(dim=0)
    assert float(ways.norm(dim=-1).min()) > 0
    # a fold turns by less than a quarter within a step, a kink by up to the whole of one
    turns = torch.nn.functional.cosine_similarity(ways[1:], ways[:-1], dim=-1)
    kinked = branch.pinned[1:-1] != branch.pinned[:-2]
    kinked |= branch.pinned[2:] != branch.pinned[1:-1]
    assert float(turns[~kinked.any(-1)].min()) > 0.2
    for event in branch.events:
        near = branch.parameter[event.point]
        assert float(near) == pytest.approx(event.parameter, abs=1e-9)


@pytest.mark.parametrize("at", [[1.5], [2.5, 1.5], [0.5, 1.5, 1.25], [3.5]])
def test_what_is_found_on_earlier_steps_stands_in_its_place(at, monkeypatch):
    """On a line, where a point is its distance: points and events in order of these."""
    monkeypatch.setattr(continuation, "apart", lambda curve, a, b: a != b)
    step = SimpleNamespace(start=0.0, along=lambda curve, point: point)
    follower = continuation._Follower.__new__(continuation._Follower)
    follower.curve, follower.points = None, [0.0, 1.0, 2.0, 3.0]
    follower.events, follower.open_steps = [(1.5, "before")], []
    found = [SimpleNamespace(step=step, at=p, event=f"at {p}") for p in at]
    follower._keep(step, 4.0, found, SimpleNamespace(open=True))
    assert follower.points == sorted([0.0, 1.0, 2.0, 3.0, 4.0, *at])
    kept = [] if 1.5 in at else [(1.5, "before")]
    assert follower.events == [*kept, *((p, f"at {p}") for p in at)]
    assert follower.open_steps == [step]
