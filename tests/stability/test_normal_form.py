"""Coefficients and kinds at zero eigenvalues that are known, whatever the units."""

import math
from types import SimpleNamespace

import pytest
import torch
from analytic import TANH, all_to_all

from ctebm import AsymmetricNetwork, DenseNetwork, Network, VectorField, continue_branch
from ctebm.stability import normal_form as forms
from ctebm.stability.curve import Curve, Point
from ctebm.stability.normal_form import normal_form, other_tangent
from ctebm.stability.null_space import null_vectors

N = 3
# an orthogonal basis, so that the null vector is none of the axes
BASIS = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [2, -1, 1], [0, 1, -2]], dtype=torch.float64))[0]


def polynomial(q=0.0, b=0.0, a=0.0, c=0.0, moving=0.0, force=1.0, parameter=1.0, state=1.0):
    """Networks with q p + b p x + a x^2/2 + c x^3/6 as the force along the first of a basis.

    Along the second, y decays to `moving` p; units of force, parameter and state can be others.
    """

    class Polynomial(Network):
        def __init__(self, p):
            super().__init__(N)
            self.p = p / parameter

        def energy(self, s):
            x, y, z = (s @ BASIS / state).unbind(-1)
            p = self.p
            down = q * p * x + b * p * x**2 / 2 + a * x**3 / 6 + c * x**4 / 24
            return force * state * ((y - moving * p) ** 2 / 2 + z**2 / 2 - down)

    return Polynomial


@pytest.mark.parametrize("moving", [0.0, 2.0])
def test_coefficients(moving):
    q, b, a, c = 0.3, -0.7, 1.1, -2.3
    curve = Curve(polynomial(q, b, a, c, moving), 2.0, 1e-12)
    at = Point(torch.zeros(N, dtype=torch.float64), 0.0, torch.zeros(N, dtype=torch.bool))
    (v,), (w,) = null_vectors(curve, at)
    side = float((v @ BASIS[:, 0]).sign())
    form = normal_form(curve, at, v, w)
    assert side * form.q == pytest.approx(q, abs=1e-9)
    assert form.b == pytest.approx(b, abs=1e-7)
    assert side * form.a == pytest.approx(a, abs=1e-7)
    assert form.c == pytest.approx(c, abs=1e-6)


@pytest.mark.parametrize("moving", [0.0, 2.0])
def test_the_other_branch_leaves_where_its_formula_says(moving):
    """Beside x = 0 there is x = -2 b p/a, and y = moving p on both; in scaled lengths."""
    b, a, span = -0.7, 1.1, 2.0
    curve = Curve(polynomial(0.0, b, a, moving=moving), span, 1e-12)
    at = Point(torch.zeros(N, dtype=torch.float64), 0.0, torch.zeros(N, dtype=torch.bool))
    v = null_vectors(curve, at)[0][0]
    t = other_tangent(curve, at, v, straight=False)
    assert float(t.norm()) == pytest.approx(1)
    slope = t[:-1] * math.sqrt(N) / (t[-1] * span) @ BASIS
    assert slope.tolist() == pytest.approx([-2 * b / a, moving, 0], abs=1e-6)
    along = other_tangent(curve, at, v, straight=True)
    torch.testing.assert_close(along, torch.cat([v, v.new_zeros(1)]))


def test_the_eigenvalue_changes_along_the_branch():
    """y moves by 2 p and x y^2-like terms turn this into a change of the eigenvalue."""

    class Coupled(Network):
        def __init__(self, p):
            super().__init__(2)
            self.p = p

        def energy(self, s):
            x, y = s.unbind(-1)
            return (y - 2 * self.p) ** 2 / 2 - x**2 * y / 2

    curve = Curve(Coupled, 2.0, 1e-12)
    at = Point(torch.zeros(2, dtype=torch.float64), 0.0, torch.zeros(2, dtype=torch.bool))
    assert normal_form(curve, at, *(one[0] for one in null_vectors(curve, at))).b == pytest.approx(
        2, abs=1e-7
    )


KINDS = [
    ({"q": 1, "a": -2, "c": -1}, "fold"),
    ({"q": 1e-3, "b": 1, "a": -2}, "fold"),
    ({"b": 1, "c": -6}, "pitchfork"),
    ({"b": 1, "c": -6, "moving": 1}, "pitchfork"),
    ({"b": 1, "c": 6}, "pitchfork"),
    ({"b": 1, "a": -2}, "transcritical"),
    ({"b": 1, "a": -2, "c": -6, "moving": 1}, "transcritical"),
    ({"b": 1, "a": -2e-3, "c": -6}, "transcritical"),
    ({"b": 1, "a": -1e-5}, "transcritical"),
]
UNITS = [{}] + [{unit: size} for unit in ("force", "parameter", "state") for size in (1e-3, 1e3)]


@pytest.mark.parametrize("units", UNITS, ids=str)
@pytest.mark.parametrize(("coefficients", "kind"), KINDS, ids=str)
def test_kind_is_the_same_in_all_units(coefficients, kind, units):
    curve = Curve(polynomial(**coefficients, **units), 2 * units.get("parameter", 1.0), 1e-12)
    at = Point(torch.zeros(N, dtype=torch.float64), 0.0, torch.zeros(N, dtype=torch.bool))
    assert normal_form(curve, at, *(one[0] for one in null_vectors(curve, at))).kind == kind


@pytest.mark.parametrize("units", [{}, {"force": 1e-3}, {"force": 1e3}], ids=str)
@pytest.mark.parametrize(("coefficients", "kind"), [KINDS[3], KINDS[7]], ids=str)
def test_kind_on_a_branch_is_the_same_in_all_units(coefficients, kind, units):
    family, start = polynomial(**coefficients, **units), -coefficients.get("moving", 0.0)
    branch = continue_branch(
        family, start * BASIS[:, 1], (-1.0, 1.3), tol=1e-10 * units.get("force", 1.0), step=0.3
    )
    (event,) = branch.events
    assert event.kind == kind and event.parameter == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_pitchfork_of_weak_and_of_strong_couplings(size):
    """Rates of size 1/sqrt(size) and couplings w size are the same energy."""
    scale = math.sqrt(size)

    def family(w):
        same = all_to_all(3, w / size, TANH)
        return DenseNetwork(same.weight * size, same.bias * scale, lambda s: TANH(s) / scale)

    branch = continue_branch(family, torch.zeros(3), (2.5 * size, 8 * size), step=0.2)
    (event,) = branch.events
    assert event.kind == "pitchfork"
    assert event.parameter == pytest.approx(4 * size, rel=1e-9)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_pitchfork_of_steep_and_of_flat_rates(size):
    """Couplings of this size at a rate whose slope is 1/sqrt(size)."""
    slope = 1 / math.sqrt(size)

    def family(w):
        W = torch.tensor([[0.0, w], [w, 0.0]], dtype=torch.float64)
        return DenseNetwork(W, torch.zeros(2), lambda s: torch.tanh(slope * s))

    branch = continue_branch(family, torch.zeros(2), (0.5 * size, 2 * size), step=0.2)
    (event,) = branch.events
    assert event.kind == "pitchfork" and event.parameter == pytest.approx(size, rel=1e-9)


def test_a_fold_without_an_energy_is_seen_by_the_left_null_vector():
    """x' = x^2 + 3 y, y' = p - y folds at 0, though df/dp has nothing of the null vector (1, 0)."""

    class Field(VectorField):
        def __init__(self, p):
            super().__init__(2)
            self.p = p

        def force(self, s):
            x, y = s.unbind(-1)
            return torch.stack([x**2 + 3 * y, self.p - y], -1)

    branch = continue_branch(Field, [-math.sqrt(3), -1.0], (-1.0, 1.0), step=0.1)
    (event,) = branch.events
    assert event.kind == "fold" and event.parameter == pytest.approx(0, abs=1e-12)
    assert event.direction.abs().tolist() == pytest.approx([1, 0], abs=1e-6)
    assert abs(event.transversality) == pytest.approx(3 / math.sqrt(10), abs=1e-6)


def test_pitchfork_without_an_energy():
    """Two tanh units of opposite couplings' strength: (s, s) and (-s, -s) are both equilibria."""

    def family(w):
        return AsymmetricNetwork([[0, w], [4, 0]], [0, 0], TANH).centred()

    branch = continue_branch(family, [0.0, 0.0], (2.0, 6.0), step=0.2)
    (event,) = branch.events
    assert event.kind == "pitchfork" and event.parameter == pytest.approx(4.0, abs=1e-9)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("pitchfork pitchfork pitchfork", "symmetric pitchfork"),
        ("pitchfork transcritical pitchfork", "multiple zero"),
        ("fold pitchfork transcritical", "fold"), ("pitchfork fold pitchfork", "fold"),
        ("pitchfork pitchfork fold", "fold"),
        ("transcritical pitchfork pitchfork", "multiple zero"),
    ],
)  # fmt: skip
def test_a_multiple_zero_is_judged_along_first_last_and_generic_vectors(
    kinds, expected, monkeypatch
):
    v = torch.eye(3, dtype=torch.float64)
    asked = []

    def judged(curve, point, u, w):
        asked.append(u)
        return SimpleNamespace(kind=kinds.split()[len(asked) - 1])

    monkeypatch.setattr(forms, "normal_form", judged)
    assert forms.kind_of_zero(None, None, v, v) == expected
    first, last, generic = asked
    assert torch.equal(first, v[0]) and torch.equal(last, v[2])
    assert float(generic.norm()) == pytest.approx(1) and (generic != 0).all()
