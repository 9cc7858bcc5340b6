"""Points and tangents of curves with a known shape, smooth and with kinks."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import AsymmetricNetwork, HardSigmoid, Network, linearize
from ctebm.stability.curve import Curve, Point, Step


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


class Circle(Network):
    """Force 1 - p^2 - x^2 on x, beside units that decay: equilibria on a circle."""

    def __init__(self, p, n=3):
        super().__init__(n)
        self.p = p

    def energy(self, s):
        x = s[..., 0]
        return x**3 / 3 - (1 - self.p**2) * x + (s[..., 1:] ** 2).sum(-1) / 2


CIRCLE = Curve(Circle, 2.0, 1e-12)
FREE = torch.zeros(3, dtype=torch.bool)


def on_circle(angle):
    return Point(tensor(math.cos(angle), 0, 0), math.sin(angle), FREE)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.3, math.pi / 2, 2.0])
def test_tangent_is_that_of_the_circle(angle):
    """In lengths of s / sqrt(N) and of p over its range, at the folds +-pi/2 too."""
    point = on_circle(angle)
    t = tensor(-math.sin(angle) / math.sqrt(3), 0, 0, math.cos(angle) / 2)
    t = t / t.norm()
    for sign in (1, -1):
        torch.testing.assert_close(CIRCLE.tangent(point, sign * t), sign * t, atol=1e-9, rtol=0)
    assert abs(float(CIRCLE.unsigned_tangent(point) @ t)) == pytest.approx(1, abs=1e-9)


def test_derivatives():
    point = on_circle(0.4)
    torch.testing.assert_close(CIRCLE.parameter_force(point), tensor(-2 * point.p, 0, 0))
    torch.testing.assert_close(CIRCLE.eigenvalues(point), tensor(1, 1, 2 * math.cos(0.4)))


def test_correction_returns_to_the_curve():
    t = CIRCLE.tangent(on_circle(0.4), tensor(0, 0, 0, 1))
    step = Step(on_circle(0.4), t, 0.1)
    end, iterations = CIRCLE.end(step)
    assert 0 < iterations < 8
    assert float(end.s[0] ** 2) + end.p**2 == pytest.approx(1, abs=1e-14)
    # in the plane across the tangent, as far along it as asked
    assert float(CIRCLE.secant(step.start, end) @ t) == pytest.approx(0.1, abs=1e-14)
    assert not CIRCLE.jumped(step, end)
    assert CIRCLE.jumped(step, on_circle(2.5))


def test_secant_undoes_a_move():
    by = tensor(0.1, -0.2, 0.3, 0.4)
    moved = CIRCLE.move(on_circle(0.2), by)
    torch.testing.assert_close(CIRCLE.secant(on_circle(0.2), moved), by)


def test_a_test_function_is_located():
    start = on_circle(1.2)
    step = Step(start, CIRCLE.tangent(start, tensor(0, 0, 0, 1)), 0.3)
    found = CIRCLE.locate(step, lambda point: float(point.s[0]) - 0.2)
    assert found is not None and float(found.s[0]) == pytest.approx(0.2, abs=1e-13)
    assert found.p == pytest.approx(math.sqrt(1 - 0.04), abs=1e-13)
    assert CIRCLE.locate(step, lambda point: point.p + 5) is None
    assert CIRCLE.locate(step, lambda point: point.p - start.p) is start


@pytest.mark.parametrize("kind", ["energy", "no energy"])
def test_eigenvalues_are_those_of_the_linearisation(kind):
    def family(w):
        if kind == "energy":
            return pair(w, TANH)
        return AsymmetricNetwork([[0, w], [-w, 0]], [0, 0], TANH).centred()

    curve = Curve(family, 1.0, 1e-12)
    found = curve.eigenvalues(Point(tensor(0, 0), 6.0, FREE[:2]))
    torch.testing.assert_close(found, linearize(family(6.0), [0, 0]).eigenvalues)


class TestKinks:
    curve = Curve(lambda h: pair(2.0, HARD, -1 + h), 4.0, 1e-12)

    def test_the_force_goes_on_beyond_a_kink(self):
        """That of the piece between the kinks, linear, of which Newton's method sees the slope."""
        point = Point(tensor(0.7, 0.1), 0.3, FREE[:2])
        J, b = tensor([-1, 2], [2, -1]), -1 + 0.3
        current = b + 2 * 0.5  # of a rate in the middle, s = 0
        torch.testing.assert_close(self.curve.force(point), J @ point.s + current)
        torch.testing.assert_close(self.curve.jacobian(point), J)

    def test_slack_is_the_distance_from_the_border(self):
        pinned = torch.tensor([True, False])
        point = Point(tensor(-0.5, 0.1), -0.3, pinned)
        force = float(self.curve.force(point)[0])
        torch.testing.assert_close(self.curve.slack(point), tensor(-force, 0.4))
        assert self.curve.nearest_kink(point).tolist() == [-0.5, 0.5]
        smooth = Curve(lambda w: pair(w, TANH), 1.0, 1e-12)
        assert smooth.slack(Point(tensor(0, 0), 1.0, FREE[:2])).tolist() == [math.inf] * 2

    def test_a_pinned_unit_stays_at_its_kink(self):
        pinned = torch.tensor([True, False])
        start = Point(tensor(-0.5, 0.0), -0.5, pinned)
        t = self.curve.tangent(start, tensor(0, 0, 1))
        assert abs(float(t[0])) < 1e-14
        end, iterations = self.curve.correct(
            Point(tensor(-0.4, 0.1), -0.5, pinned), tensor(0, 0, 1)
        )
        assert iterations > 0 and float(end.s[0]) == pytest.approx(-0.5, abs=1e-15)
        assert self.curve.force(end)[1] == pytest.approx(0, abs=1e-15)

    def test_kinks_need_not_lie_about_zero(self):
        """With kinks at -0.2 and 0.8, 0.1 is nearer to the lower one, 0.4 to the upper."""
        curve = Curve(lambda h: pair(2.0, HardSigmoid(-0.2), -1 + h), 4.0, 1e-12)
        point = Point(tensor(0.1, 0.4), -0.3, torch.tensor([True, True]))
        assert curve.nearest_kink(point).tolist() == pytest.approx([-0.2, 0.8])
        f = curve.force(point)
        torch.testing.assert_close(curve.slack(point), torch.stack([-f[0], f[1]]))
