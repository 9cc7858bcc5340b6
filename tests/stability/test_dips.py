"""Eigenvalues that cross zero up and down within one step are seen."""

import pytest
import torch
from analytic import TANH

from ctebm import AsymmetricNetwork, DenseNetwork, continue_branch
from ctebm.stability.curve import Point, Step
from ctebm.stability.dips import up_to_dip


def pair_at(w):
    return DenseNetwork([[0, w], [w, 0]], [0, 0], TANH).centred()


@pytest.mark.parametrize("excess", [1e-3, 1e-4, 1e-5])
def test_two_pitchforks_within_a_step(excess):
    """The coupling is above 4 only between them, for less than a step."""
    branch = continue_branch(lambda p: pair_at(4 + excess - p**2), [0, 0], (-1, 1))
    at = excess**0.5
    assert [event.kind for event in branch.events] == ["pitchfork"] * 2
    assert [event.parameter for event in branch.events] == pytest.approx([-at, at], abs=1e-9)
    assert branch.status == "complete"


def test_an_eigenvalue_that_is_negative_all_along_but_within_a_step():
    branch = continue_branch(lambda p: pair_at(4 - 1e-5 + p**2), [0, 0], (-1, 1))
    assert [event.kind for event in branch.events] == ["pitchfork"] * 2


def test_one_that_turns_above_zero_is_no_event():
    branch = continue_branch(lambda p: pair_at(4 - 1e-5 - p**2), [0, 0], (-1, 1))
    assert branch.events == []
    assert branch.status == "complete"


def test_two_hopf_points_within_a_step():
    """A ring of three with couplings -w one way: ``1 - w/8 ± i sqrt(3) w/8``."""
    ring = torch.eye(3, dtype=torch.float64).roll(1, 0)

    def family(p):
        return AsymmetricNetwork(-(8 + 1e-4 - p**2) * ring, [0, 0, 0], TANH).centred()

    branch = continue_branch(family, [0, 0, 0], (-1, 1))
    assert [event.kind for event in branch.events] == ["hopf"] * 2
    assert [abs(event.parameter) for event in branch.events] == pytest.approx([1e-2] * 2)


class Drawn:
    """A curve whose eigenvalues are functions of the parameter, and which notes where."""

    def __init__(self, eigenvalues):
        self.of, self.asked = eigenvalues, []

    def eigenvalues(self, point):
        self.asked.append(point.p)
        return torch.tensor(self.of(point.p), dtype=torch.float64).sort().values

    def secant(self, start, point):
        return torch.tensor([point.p - start.p])

    def end(self, step):
        return Point(step.start.s, step.start.p + step.length, step.start.pinned), 0

    def jumped(self, step, end):
        return False


def looked_for(eigenvalues, before=(-1.0,), pinned=False):
    """Return where a step from 0 to 1 ends that comes from a point, and where it looked."""
    curve, free = Drawn(eigenvalues), torch.zeros(1, dtype=torch.bool)
    start, end = (Point(torch.zeros(1), p, free) for p in (0.0, 1.0))
    points = [Point(torch.zeros(1), p, free | pinned) for p in before]
    step = Step(start, torch.ones(2), 1.0)
    part, at = up_to_dip(curve, points, step, end)
    assert (part is step) == (at is end)
    return at.p, len(curve.asked) - 2 - len(before)


def test_only_what_may_reach_zero_is_looked_for():
    """By its change in the step, or in the step before at the same pace."""
    assert looked_for(lambda p: [1 - 0.1 * p]) == (1.0, 0)
    assert looked_for(lambda p: [0.3 + 0.2 * abs(p - 0.5)])[1] == 0
    assert looked_for(lambda p: [0.2 + 0.5 * abs(p - 0.5)])[1] > 0
    assert looked_for(lambda p: [0.2 + 0.5 * abs(p - 0.5)], before=())[1] == 0
    assert looked_for(lambda p: [0.2 + 0.5 * abs(p - 0.5)], before=(-10.0,))[1] > 0
    assert looked_for(lambda p: [0.3 + 0.02 * p * (p - 1)], before=(-4.0,))[1] == 0
    assert looked_for(lambda p: [0.2 + 0.5 * abs(p - 0.5)], pinned=True)[1] == -1
    assert looked_for(lambda p: [0.2 + 0.5 * abs(p - 0.5)], before=(0.0,))[1] == -1


def test_a_step_ends_where_the_eigenvalue_is_lowest():
    for sign in (1, -1):
        at, _ = looked_for(lambda p, sign=sign: [sign * ((p - 0.4) ** 2 - 0.01)])
        assert at == pytest.approx(0.4, abs=0.02)


def test_zero_is_measured_by_the_stiffest_mode():
    """Beside an eigenvalue of 1e5 one of 0.01 is rounding, and its sign says nothing."""

    def dip(p):
        return 0.01 * (2 * (p - 0.5) ** 2 - 0.1)

    assert looked_for(lambda p: [dip(p)])[0] == pytest.approx(0.5, abs=0.02)
    assert looked_for(lambda p: [dip(p), 1e5]) == (1.0, 0)
