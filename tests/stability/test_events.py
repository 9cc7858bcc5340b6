"""Events on branches: their place, kind and direction against closed forms."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    Logistic,
    Network,
    VectorField,
    continue_branch,
    settle,
    switch_branch,
)
from ctebm.stability.curve import Curve, Point, Step
from ctebm.stability.events import Border


def test_transcritical():
    class Crossing(Network):
        """Force p x - x^2, whose branches x = 0 and x = p cross at 0."""

        def __init__(self, p):
            super().__init__(2)
            self.p = p

        def energy(self, s):
            x, y = s[..., 0], s[..., 1]
            return -self.p * x**2 / 2 + x**3 / 3 + y**2 / 2

    branch = continue_branch(Crossing, [0.0, 0.0], (-1.0, 1.3), step=0.1)
    (event,) = branch.events
    assert event.kind == "transcritical"
    assert event.parameter == pytest.approx(0.0, abs=1e-9)
    arms = switch_branch(branch, event, step=0.1)
    assert {round(float(arm.parameter[-1]), 9) for arm in arms} == {-1.0, 1.3}
    for arm in arms:
        assert torch.allclose(arm.state[:, 0], arm.parameter, atol=1e-8)


def test_transcritical_of_two_units_with_a_threshold():
    """The state s* < 0 stays an equilibrium if the bias takes up what the coupling gives.

    With the current I = s*/rho'(s*), 1 - rho'' I - w rho'^2 is zero at w_c; no symmetry of signs.
    """
    s = -0.3
    r = 1 / (1 + math.exp(-4 * s))
    slope, bend = 4 * r * (1 - r), 16 * r * (1 - r) * (1 - 2 * r)
    w_c = (1 - bend * s / slope) / slope**2

    def family(w):
        return DenseNetwork([[0, w], [w, 0]], [s / slope - w * r] * 2, Logistic(4.0))

    branch = continue_branch(family, [s, s], (0.8 * w_c, 1.2 * w_c), step=0.1)
    (event,) = branch.events
    assert event.kind == "transcritical" and event.parameter == pytest.approx(w_c, abs=1e-9)
    arms = switch_branch(branch, event, step=0.1)
    # beyond the point the other branch is the stable one, and the unstable one before
    assert {arm.stability[2] for arm in arms} == {"saddle", "stable"}
    for arm in arms:
        assert arm.complete and arm.residual.max() <= 1e-10
        assert (arm.stability[2] == "stable") == (float(arm.parameter[2]) > w_c)


def test_hopf_of_excitation_and_inhibition():
    """J = -1 + p W / 4: its trace is zero at p = 8 / (3 - 1), where the determinant is positive."""

    def family(p):
        W = p * np.array([[3.0, -4.0], [4.0, -1.0]])
        return AsymmetricNetwork(W, [0, 0], TANH).centred()

    for ends in ((2.0, 6.0), (6.0, 2.0)):
        (event,) = continue_branch(family, [0.0, 0.0], ends, step=0.1).events
        assert (event.kind, event.multiplicity) == ("hopf", 1)
        assert event.parameter == pytest.approx(4, abs=1e-12)


def test_lorenz():
    """The pitchfork of the state 0 at r = 1, and the Hopf point of its arms."""

    class Lorenz(VectorField):
        def __init__(self, r):
            super().__init__(3)
            self.r = r

        def force(self, s):
            x, y, z = s.unbind(-1)
            return torch.stack([10 * (y - x), x * (self.r - z) - y, x * y - 8 / 3 * z], -1)

    (event,) = continue_branch(Lorenz, [0.0] * 3, (0.5, 1.5), step=0.3).events
    assert event.kind == "pitchfork" and event.parameter == pytest.approx(1, abs=1e-9)
    x = math.sqrt(8 / 3 * 23)
    (event,) = continue_branch(Lorenz, [x, x, 23.0], (24.0, 25.5), step=0.3).events
    assert event.kind == "hopf"
    assert event.parameter == pytest.approx(10 * (10 + 8 / 3 + 3) / (10 - 8 / 3 - 1), abs=1e-9)


def test_no_event_at_a_cusp():
    """At w = 4 the two folds of a pair have met: an eigenvalue is zero and goes back."""
    start = settle(pair(4.0, TANH, -3.0))
    branch = continue_branch(lambda h: pair(4.0, TANH, -2 + h), start, (-1.0, 1.0), step=0.05)
    assert branch.complete and branch.events == []


@pytest.mark.parametrize(("activation", "critical"), [(HARD, 2.0), (TANH, 8.0)])
def test_hopf(activation, critical):
    # a ring of three inhibitions: mu = -1 + d/2 +- i d sqrt(3)/2 times the squared slope
    def family(d):
        W = -d * np.roll(np.eye(3), 1, axis=1)
        return AsymmetricNetwork(W, np.zeros(3), activation).centred()

    branch = continue_branch(family, [0.0] * 3, (0.5 * critical, 1.3 * critical))
    assert [(event.kind, event.multiplicity) for event in branch.events] == [("hopf", 1)]
    assert branch.events[0].parameter == pytest.approx(critical, abs=1e-9)
    assert branch.index[branch.events[0].point + 1] == 2


def test_a_hopf_point_has_no_null_vector():
    def family(d):
        W = -d * np.roll(np.eye(3), 1, axis=1)
        return AsymmetricNetwork(W, np.zeros(3), HARD).centred()

    (event,) = continue_branch(family, [0.0] * 3, (1.5, 2.5)).events
    assert (event.direction == 0).all() and math.isnan(event.transversality)


def test_events_are_not_compared():
    (event,) = continue_branch(lambda w: pair(w, TANH), [0.0, 0.0], (3.0, 5.0)).events
    (again,) = continue_branch(lambda w: pair(w, TANH), [0.0, 0.0], (3.0, 5.0)).events
    assert event == event and event != again


class TestBorder:
    """The hard pair of coupling 2 with bias -1 + h: pinned low until h = 1/2."""

    curve = Curve(lambda h: pair(2.0, HARD, -1 + h), 4.0, 1e-12)
    start = Point(torch.full((2,), -0.5, dtype=torch.float64), 0.4, torch.tensor([True, True]))
    along = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

    def test_is_found_where_the_current_passes_the_kink(self):
        step = Step(self.start, self.along, 0.1)
        border = Border.before(self.curve, step, self.curve.end(step)[0])
        assert border is not None and border.changed.all()
        assert border.at.p == pytest.approx(0.5, abs=1e-12)
        event = border.event()
        assert (event.kind, event.multiplicity) == ("border collision", 2)
        assert event.direction.tolist() == [-1, -1] and math.isnan(event.transversality)

    def test_the_branch_goes_on_in_the_pattern_beyond(self):
        """There the free pair is a saddle and goes back in h: (1 - 2) s = h - 1 + 2 / 2."""
        border = Border(Point(self.start.s, 0.5, self.start.pinned), torch.tensor([True, True]))
        beyond = border.beyond(self.curve)
        assert beyond is not None
        after, way = beyond
        assert not after.pinned.any() and way[2] < 0 and (way[:2] > 0).all()

    def test_is_not_there_before(self):
        step = Step(self.start, self.along, 0.01)
        assert Border.before(self.curve, step, self.curve.end(step)[0]) is None
