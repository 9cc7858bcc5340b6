"""Zero eigenvalues on branches: each once, where it is, with its multiplicity."""

import math

import numpy as np
import pytest
import torch
import zoo
from analytic import TANH, all_to_all, pair, pitchfork_state

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    Logistic,
    VectorField,
    continue_branch,
    settle,
    switch_branch,
)
from ctebm.stability.bifurcations import Signs, _turns


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


class TestSigns:
    """Three eigenvalues, of which those of 1e-9 are zero."""

    def test_a_change_of_sign_passes_zero(self):
        signs = Signs.of(tensor(1, 2, 3))
        assert signs.after(tensor(-1, 2, 3)) == (Signs(1, 0, 0), [0])
        assert Signs.of(tensor(-2, -1, 3)).after(tensor(1, 2, 3)) == (Signs(0, 0, 0), [1, 0])

    def test_a_zero_keeps_its_last_sign(self):
        signs, passing = Signs.of(tensor(1, 2, 3)).after(tensor(-1e-9, 2, 3))
        assert (signs, passing, signs.open) == (Signs(0, 0, 1), [], True)
        assert signs.after(tensor(1, 2, 3)) == (Signs(0, 0, 0), [])
        assert signs.after(tensor(-1, 2, 3)) == (Signs(1, 0, 0), [0])

    def test_one_that_never_had_a_sign_passes_nothing(self):
        signs = Signs.of(tensor(1e-9, 2, 3))
        assert not signs.open
        assert signs.after(tensor(-1, 2, 3)) == (Signs(1, 0, 0), [])
        assert signs.after(tensor(1, 2, 3)) == (Signs(0, 0, 0), [])

    def test_another_passes_zero_beside_it(self):
        """Places are those among the ones that are not at zero."""
        signs, passing = Signs.of(tensor(1e-9, 2, 3)).after(tensor(1e-9, 1e-9, 3))
        assert (signs, passing) == (Signs(0, 1, 2), [])
        assert signs.after(tensor(-1, 1e-9, 3)) == (Signs(1, 1, 1), [0])
        assert Signs.of(tensor(-2, -1, 3)).after(tensor(1e-9, 2, 3)) == (Signs(1, 0, 1), [0])

    def test_a_fold_passes_zero_though_another_is_zero(self):
        """Of -1 and 2 the second passes, while the first can't be told from zero any more."""
        end = tensor(-2, 1e-9, 3)
        signs, passing = Signs.of(tensor(-1, 2, 3)).after(end)
        assert (signs, passing) == (Signs(1, 0, 1), [])
        assert signs.folded(end) == Signs(2, 0, 1)
        assert Signs(1, 0, 1).folded(tensor(1e-9, 2, 3)) == Signs(0, 0, 1)


class TestInhibition:
    """N tanh units that inhibit each other: N - 1 eigenvalues are zero at w = 4."""

    @staticmethod
    def family(n=3):
        return lambda w: zoo.inhibition(n, -w, TANH)

    @pytest.mark.parametrize("n", [3, 5])
    def test_all_are_zero_at_once(self, n):
        (event,) = continue_branch(self.family(n), [0.0] * n, (2.0, 6.0), step=0.1).events
        assert (event.kind, event.multiplicity) == ("symmetric pitchfork", n - 1)
        assert event.parameter == pytest.approx(4, abs=1e-12)
        # one unit against the others
        one = torch.full((n,), -1.0, dtype=torch.float64)
        one[0] = n - 1
        torch.testing.assert_close(event.direction, one / one.norm())

    @pytest.mark.parametrize("arm", ["0, x, -x", "x, y, y"])
    def test_an_arm_runs_through_it_and_meets_nothing_else(self, arm):
        """Near the point the eigenvalue across the arm is of fourth order: zero to rounding."""
        x = pitchfork_state(6.0)
        start = [0.0, x, -x] if arm[0] == "0" else settle(self.family()(6.0), [0.9, -0.3, -0.3])
        branch = continue_branch(self.family(), start, (6.0, 2.0), step=0.05)
        (event,) = branch.events
        assert (event.kind, event.multiplicity) == ("symmetric pitchfork", 2)
        assert event.parameter == pytest.approx(4, abs=1e-8)
        assert event.state.abs().max() < 1e-4
        assert branch.complete and branch.parameter[-1] == 6
        torch.testing.assert_close(branch.state[-1], -branch.state[0], atol=1e-9, rtol=0)


def test_pairs_that_do_not_know_of_each_other():
    one = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)

    def family(w):
        return DenseNetwork(w * torch.block_diag(one, one), torch.zeros(4), TANH).centred()

    (event,) = continue_branch(family, [0.0] * 4, (3.0, 5.0), step=0.1).events
    assert (event.kind, event.multiplicity) == ("symmetric pitchfork", 2)
    assert event.parameter == pytest.approx(4, abs=1e-12)
    torch.testing.assert_close(event.direction, tensor(1, 1, 0, 0) / math.sqrt(2))


def test_without_the_symmetry_of_signs_the_crossing_is_quadratic():
    """Three units, not centred: x against y = z is another equilibrium than y = z against x."""

    def family(w):
        return DenseNetwork(-w * zoo.off_diagonal(3), np.full(3, 0.9 * w), TANH)

    (event,) = continue_branch(family, settle(family(3.0)), (3.0, 5.0), step=0.1).events
    assert (event.kind, event.multiplicity) == ("multiple zero", 2)
    # W has the double eigenvalue -w: 1 = w rho'(s)^2 + rho''(s) I with the current I = s / rho'(s)
    s = float(event.state.mean())
    t = math.tanh(s)
    slope, bend = (1 - t * t) / 2, -t * (1 - t * t)
    assert event.state.tolist() == pytest.approx([s] * 3, abs=1e-6)
    # along the null vectors the state is known to rounding over the singular values that count as 0
    assert event.parameter * slope**2 + bend * s / slope == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("n", [16, 32])
def test_a_bump_on_a_ring_runs_through_its_pitchfork(n):
    """Turned, a bump is a bump: an eigenvalue is zero along the whole branch.

    At zero ``w (1/2 - 1/N)`` is twice an eigenvalue of W, so that w = 4 / (1/2 - 1/N).
    """

    def family(w):
        return zoo.cosine_ring(n, w)

    w_c = 4 / (0.5 - 1 / n)
    bump = settle(family(w_c + 1), np.cos(2 * np.pi * np.arange(n) / n + 0.03))
    branch = continue_branch(family, bump, (w_c + 1, w_c - 1), step=0.1)
    assert branch.complete and branch.parameter[-1] == w_c + 1
    assert [(e.kind, e.multiplicity) for e in branch.events] == [("symmetric pitchfork", 2)]
    assert branch.events[0].parameter == pytest.approx(w_c, abs=1e-7)


def test_a_bump_on_a_ring_folds_like_any_other():
    """Logistic units jump from rest to a bump: its fold is one, with the zero of the symmetry."""
    n = 48
    angle = 2 * np.pi * np.arange(n) / n
    W = (4 * np.cos(angle[:, None] - angle) - 1) * zoo.off_diagonal(n) / n

    def family(w):
        return DenseNetwork(w * W, np.full(n, -0.1), Logistic(4.0))

    branch = continue_branch(family, settle(family(1.8), np.cos(angle + 0.1)), (1.8, 1.0), step=0.1)
    assert branch.complete and branch.parameter[-1] == 1.8
    assert [(e.kind, e.multiplicity) for e in branch.events] == [("fold", 2)]
    # below the fold there is no bump, above it there is
    p = branch.events[0].parameter
    for w, bump in ((p - 0.01, False), (p + 0.01, True)):
        s = settle(family(w), branch.events[0].state).state
        assert (float(s.max() - s.min()) > 0.1) == bump


@pytest.mark.parametrize("direction", [None, "between two units"])
def test_arms_of_a_ring(direction):
    """One of the circle of arms, a bump on a unit, or any other that is asked for."""
    n, w_c = 16, 4 / (0.5 - 1 / 16)
    angle = torch.arange(n) * 2 * math.pi / n
    branch = continue_branch(lambda w: zoo.cosine_ring(n, w), [0.0] * n, (9.0, 10.0))
    (event,) = branch.events
    assert (event.kind, event.multiplicity) == ("symmetric pitchfork", 2)
    assert event.parameter == pytest.approx(w_c, abs=1e-12)
    bump = torch.cos(angle if direction is None else angle - math.pi / n)
    arms = switch_branch(branch, event, direction=None if direction is None else bump, step=0.1)
    for sign, arm in zip((1, -1), arms, strict=True):
        assert arm.complete and arm.events == []
        end = arm.state[-1]
        assert float(end @ (sign * bump).to(end)) > 0.9 * float(end.norm() * bump.norm())
        mirrored = end.flip(0).roll(1 if direction is None else 2)
        torch.testing.assert_close(end, mirrored, atol=1e-7, rtol=0)


class TestDirections:
    @staticmethod
    def crossing():
        branch = continue_branch(
            lambda w: zoo.inhibition(3, -w, TANH), [0.0] * 3, (3.0, 6.0), step=0.1
        )
        return branch, branch.events[0]

    def test_arms_along_both_kinds_of_axes(self):
        x = pitchfork_state(6.0)
        arms = switch_branch(*self.crossing(), direction=[0, 1, -1], step=0.1)
        for sign, arm in zip((1, -1), arms, strict=True):
            assert arm.state[-1].tolist() == pytest.approx([0, sign * x, -sign * x], abs=1e-9)
        for arm in switch_branch(*self.crossing(), step=0.1):
            x, y, z = arm.state[-1].tolist()
            assert y == pytest.approx(z, abs=1e-9) and abs(x) > abs(y) > 0.1

    def test_a_direction_across_the_null_space_is_refused(self):
        with pytest.raises(ValueError, match="share of the null space"):
            switch_branch(*self.crossing(), direction=[1, 1, 1])


def test_what_lies_beyond_the_range_is_not_reported():
    branch = continue_branch(lambda w: all_to_all(2, w, TANH), [0.0] * 2, (3.0, 3.999), step=0.5)
    assert branch.events == [] and branch.parameter[-1] == 3.999


def test_events_within_a_step_come_in_order():
    """Directions of couplings 4 and 3.9, both ways along the branch."""
    one = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)

    def family(w):
        return DenseNetwork(w * torch.block_diag(one, 1.02 * one), torch.zeros(4), TANH).centred()

    expected = [4 / 1.02, 4]
    for ends, order in (((3.0, 5.0), 1), ((5.0, 3.0), -1)):
        branch = continue_branch(family, [0.0] * 4, ends, step=0.5)
        found = [event.parameter for event in branch.events]
        assert found == pytest.approx(expected[::order], abs=1e-12)
        assert [event.point for event in branch.events] == sorted(e.point for e in branch.events)


@pytest.mark.parametrize("h", [1e-3, 1e-6])
def test_an_imperfect_pitchfork_is_followed_round_not_jumped(h):
    """A little bias leaves no branch point, only a bend, however long the steps."""

    def family(w):
        return pair(w, TANH, -w / 2 + h)

    branch = continue_branch(family, settle(family(2.0)), (2.0, 6.0), step=0.1)
    assert branch.complete and branch.events == []
    assert branch.state[-1].tolist() == pytest.approx([pitchfork_state(6.0)] * 2, abs=2 * h)


@pytest.mark.parametrize("up", [False, True])
def test_fold_and_hopf_within_a_step(up):
    """The normal form of Bogdanov and Takens, x' = y, y' = p + e y - x^2 + x y.

    It folds at p = 0; where x = -e, p = e^2, the pair of eigenvalues is imaginary.
    """
    e = -0.03

    class Takens(VectorField):
        def __init__(self, p):
            super().__init__(2)
            self.p = p

        def force(self, s):
            x, y = s.unbind(-1)
            return torch.stack([y, self.p + e * y - x**2 + x * y], -1)

    start = [-0.5, 0.0] if up else [0.5, 0.0]
    branch = continue_branch(Takens, start, (0.25, -0.25), step=0.1)
    expected = [("hopf", e**2), ("fold", 0.0)][:: -1 if up else 1]
    assert [event.kind for event in branch.events] == [kind for kind, _ in expected]
    assert [event.parameter for event in branch.events] == pytest.approx(
        [p for _, p in expected], abs=1e-9
    )


def test_a_cycle_begins_once():
    """A ring of four units that drive the next: cos + i sin of a quarter turn, times w/4."""

    def family(w):
        W = w * np.roll(np.eye(4), 1, axis=0)
        W[0, -1] *= -1
        return AsymmetricNetwork(W, np.zeros(4), TANH).centred()

    (event,) = continue_branch(family, [0.0] * 4, (4.0, 7.0), step=0.1).events
    assert (event.kind, event.multiplicity) == ("hopf", 1)
    assert event.parameter == pytest.approx(4 * math.sqrt(2), abs=1e-9)


@pytest.mark.parametrize("bias", [1e-11, 1e-10, -1e-10])
def test_a_pitchfork_held_apart_by_less_than_the_tolerance_is_imperfect(bias):
    def family(w):
        return DenseNetwork([[0, w], [w, 0]], [bias - w / 2] * 2, TANH)

    branch = continue_branch(family, [0, 0], (2, 8))
    assert [event.kind for event in branch.branch_points] == ["imperfect pitchfork"]
    assert continue_branch(family, [0, 0], (2, 8), tol=1e-14).branch_points == []


@pytest.mark.parametrize(
    ("before", "after", "turned"),
    [(0.4, -0.3, True), (-0.4, 0.3, True), (0.4, 0.3, False), (-0.4, -0.3, False),
     (1e-9, -0.3, False), (-0.4, 1e-9, False)],
)  # fmt: skip
def test_the_parameter_turns_where_it_goes_the_other_way_by_more_than_rounding(
    before, after, turned
):
    t, t_end = (torch.tensor([0.9, p], dtype=torch.float64) for p in (before, after))
    assert _turns(t, t_end) is turned
