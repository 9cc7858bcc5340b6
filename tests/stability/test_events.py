"""Events on branches: their place, kind and direction against closed forms."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import AsymmetricNetwork, Network, continue_branch, switch_branch
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
