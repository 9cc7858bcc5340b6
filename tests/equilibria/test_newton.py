"""Newton's method: order, saddles, kinks, deflation, the matrix-free step."""

import itertools
import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, pitchfork_state, random_dense

from ctebm import AsymmetricNetwork, DenseNetwork, VectorField, settle
from ctebm.equilibria import newton as newton_module
from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.equilibria.newton import newton, newton_beside, newton_from, newton_step, polish
from ctebm.equilibria.rows import Rows


class Root(VectorField):
    """``f = 2 - s^2``, no gradient declared: the root of 2."""

    def force(self, s):
        return 2 - s.square()


def test_the_error_is_squared():
    errors = []
    for n in range(1, 6):
        start = torch.tensor([[1.0]], dtype=torch.float64)
        s, steps = newton(Rows.repeated(Root(1), 1), start, 1e-14, max_iterations=n)
        assert steps.item() == n
        errors.append(abs(s.item() - math.sqrt(2)))
    assert errors[-1] < 1e-14
    for before, after in itertools.pairwise(errors[1:4]):
        assert after < 2 * before**2


def test_saddles_and_minima_alike():
    w = 8.0
    start = torch.tensor([[0.05, 0.04], [0.7, 0.8], [-0.8, -0.7]], dtype=torch.float64)
    s = newton_from(pair(w, TANH), start, 1e-12)
    expected = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64) * pitchfork_state(w)
    assert torch.allclose(s, expected.unsqueeze(-1).expand(3, 2), atol=1e-13)


def test_kinks_are_met_exactly():
    network = pair(2.0, HARD)
    start = torch.tensor([[0.4, 0.4], [0.05, -0.03], [-0.5, -0.4]], dtype=torch.float64)
    s = newton_from(network, start, 1e-12)
    assert s[[0, 2]].abs().tolist() == [[0.5, 0.5]] * 2
    assert s[1].abs().max() < 1e-14


def test_deflation_leaves_known_solutions():
    network, w = pair(8.0, TANH), 8.0
    known = torch.zeros(1, 2, dtype=torch.float64)
    start = torch.tensor([[0.05, 0.05], [-0.05, -0.05]], dtype=torch.float64)
    assert newton_from(network, start, 1e-12).abs().max() < 1e-12
    s = newton_from(network, start, 1e-12, known)
    assert residual(network, s).max() <= 1e-12
    assert torch.allclose(s.abs(), torch.full_like(s, pitchfork_state(w)), atol=1e-10)
    assert torch.equal(
        newton_from(network, start, 1e-12, known[:0]), newton_from(network, start, 1e-12)
    )


def test_without_an_energy_and_in_portions(monkeypatch):
    W = torch.tensor([[0.0, 3.0, -1.0], [0.5, 0.0, 2.0], [-2.0, 1.0, 0.0]])
    network = AsymmetricNetwork(W, [0.1, -0.2, 0.3], TANH)
    start = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3)
    s = newton_from(network, start, 1e-12)
    assert residual(network, s).max() < 1e-14
    monkeypatch.setattr("ctebm.equilibria.newton.PORTION", 9 * 3)
    assert torch.allclose(newton_from(network, start, 1e-12), s, atol=1e-13)


def test_a_start_that_is_a_solution_stays():
    s = settle(pair(2.0, HARD), [0.4, 0.4]).state.unsqueeze(0)
    assert torch.equal(newton_from(pair(2.0, HARD), s, 1e-10), s)


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
def test_the_step_solves_the_linearised_force(activation):
    network = random_dense(9, 1, activation, gain=0.5)
    s = settle(network).state + 1e-4
    if network.box is not None:
        s = network.box.project(s)
    f, free = network.force(s), ~pinned_units(network, s)
    d = newton_step(network, s)
    exact = torch.linalg.solve(network.hessian(s)[free][:, free], f[free])
    assert torch.allclose(d[free], exact, atol=1e-13)
    assert (d[~free] == 0).all()


def test_the_step_at_a_saddle_is_not_a_number():
    assert newton_step(pair(8.0, TANH), torch.tensor([0.01, 0.01]).double()).isnan().all()


@pytest.mark.parametrize("activation", [TANH, HARD], ids=repr)
def test_factors_take_the_step_of_eigenvalues(activation, monkeypatch):
    network = random_dense(40, 1, activation, gain=2.0)
    starts = torch.as_tensor(np.random.default_rng(0).uniform(-0.5, 0.5, (5, 40)))
    one_step = [newton(Rows.repeated(network, 5), starts, 1e-12, max_iterations=1)[0]]
    monkeypatch.setattr(newton_module, "EIGEN_UNITS", 40)
    one_step.append(newton(Rows.repeated(network, 5), starts, 1e-12, max_iterations=1)[0])
    assert torch.allclose(*one_step, atol=1e-10)


def test_a_singular_jacobian_takes_the_step_of_eigenvalues():
    J = torch.zeros(1, 33, 33, dtype=torch.float64)
    F = torch.zeros(1, 33, dtype=torch.float64)
    assert newton_module._regularised(J, F, symmetric=True).tolist() == [[0.0] * 33]


def test_many_starts_go_in_portions(monkeypatch):
    network = pair(8.0, TANH)
    starts = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (7, 2)))
    together = newton_from(network, starts, 1e-12)
    monkeypatch.setattr(newton_module, "PORTION", 8)  # two at a time
    assert torch.allclose(newton_from(network, starts, 1e-12), together, atol=1e-12)


def test_polishing_ends_at_rounding_and_keeps_what_is_exact():
    network, x = pair(8.0, TANH), pitchfork_state(8.0)
    start = torch.tensor([[x + 1e-3, x - 1e-3], [0.0, 0.0], [-x, -x + 1e-5]], dtype=torch.float64)
    s = polish(network, start, 1e-10)
    assert residual(network, s).max() < 1e-15
    assert torch.allclose(s, torch.tensor([[x], [0.0], [-x]], dtype=torch.float64), atol=1e-14)
    assert torch.equal(s[1], start[1]) and torch.equal(polish(network, s[1:2], 1e-10), s[1:2])


def test_polishing_leaves_held_units_on_their_kinks():
    start = torch.tensor([[0.5, 0.5], [1e-4, -1e-4], [0.5 - 1e-9, 0.5]], dtype=torch.float64)
    s = polish(pair(2.0, HARD), start, 1e-10)
    assert torch.equal(s[[0, 2]], torch.full_like(s[:2], 0.5)) and s[1].abs().max() < 1e-15


def test_polishing_at_a_singular_point_gives_no_number():
    start = torch.tensor([[0.0, 0.0], [1e-3, 1e-3]], dtype=torch.float64)
    flat = DenseNetwork(torch.zeros(2, 2), [0.0, 0.0], TANH)  # solved in one step
    assert residual(flat, polish(flat, start, 1e-12)).max() < 1e-15
    assert not polish(Root(1), start[:1, :1], 1e-12).isfinite().any()


def slow_newton(net, s, tol, most, known=()):
    """One row by plain algebra: the end, the steps, and the residual after each."""
    low, high = net.box or (-math.inf, math.inf)

    def clip(u):
        return u.clamp(low, high)

    def left(u):
        return net.force(u) if net.box is None else clip(u + net.force(u)) - u

    polishing, sizes = False, []
    for _ in range(most):
        F, J, free = left(s), net.jacobian(s), torch.ones_like(s)
        size = float(F.abs().max())
        if net.box is not None:
            free = ((s + net.force(s) > low) & (s + net.force(s) < high)).double()
        d = (1 - free) * F
        rest = free * (F + J @ d)
        J = free.outer(free) * J - torch.diag(1 - free)
        mu = min(max(float(rest @ rest), 1e-290), 1e-2)
        d = d - free * torch.linalg.solve(J.mT @ J + mu * torch.eye(len(s)).double(), J.mT @ rest)
        scale = 1.0
        for point in known:
            q = float((s - point) @ (s - point))
            scale += 2 * float((s - point) @ d) / (q * (1 + q))
        d = d / (scale if abs(scale) >= 1e-3 else 1e-3)
        d = d / max(1.0, float(d.abs().max()))
        best, best_size = s, math.inf
        for t in (1.0, 0.5, 0.125):
            trial = clip(s + t * d)
            if float(left(trial).abs().max()) < best_size:
                best, best_size = trial, float(left(trial).abs().max())
            if best_size < (1 - t / 4) * size:
                break
        if len(known):
            best, best_size = (best if polishing else clip(s + d)), size
        worse = (polishing or size <= tol) and best_size >= size
        finished = worse or (polishing and best_size > size / 2) or best_size == 0
        polishing = polishing or min(size, best_size) <= tol
        s = s if worse else best
        sizes.append(best_size)
        if finished:
            break
    return s, len(sizes)


NETS = {
    "smooth": random_dense(6, 0, TANH, gain=6.0),
    "kinks": random_dense(6, 0, HARD, gain=6.0),
    "no energy": AsymmetricNetwork(
        np.random.default_rng(0).normal(size=(6, 6)), np.linspace(-0.3, 0.3, 6), TANH
    ),
    "no energy, kinks": AsymmetricNetwork(
        np.random.default_rng(1).normal(size=(6, 6)), np.linspace(-0.3, 0.3, 6), HARD
    ),
}


@pytest.mark.parametrize("far", [0.5, 3.0])
@pytest.mark.parametrize("name", NETS)
def test_steps_are_those_of_plain_algebra(name, far):
    net = NETS[name]
    start = torch.as_tensor(np.random.default_rng(2).uniform(-far, far, (10, 6)))
    if net.box is not None:
        start = net.box.project(start)
    for most in (1, 2, 3, 5):
        s, steps = newton(Rows.repeated(net, 10), start, 1e-6, most)
        slow = [slow_newton(net, u, 1e-6, most) for u in start]
        torch.testing.assert_close(s, torch.stack([u for u, _ in slow]), rtol=0, atol=1e-7)
        if most < 5:  # later rounding decides which step is the last
            assert steps.tolist() == [n for _, n in slow]


@pytest.mark.parametrize("name", ["smooth", "kinks"])
def test_deflated_steps_are_those_of_plain_algebra(name):
    net = NETS[name]
    rng = np.random.default_rng(3)
    start, known = (torch.as_tensor(rng.uniform(-0.5, 0.5, (n, 6))) for n in (8, 2))
    known[0] = start[0] + 1e-2
    for most in (1, 2, 4):
        s, steps = newton(Rows.repeated(net, 8), start, 1e-6, most, known)
        slow = [slow_newton(net, u, 1e-6, most, known) for u in start]
        torch.testing.assert_close(s, torch.stack([u for u, _ in slow]), rtol=0, atol=1e-6)
        assert steps.tolist() == [n for _, n in slow]


def test_a_deflated_step_of_nearly_no_scale_is_bounded():
    """At a distance 1 from the known point 1 - m'd = 1 + d, which is 0 for d = -1."""
    s, known = torch.ones(3, 1).double(), torch.zeros(1, 1).double()
    d = torch.tensor([[-1.0], [-0.9995], [-0.5]], dtype=torch.float64)
    expected = [[-1000.0], [-999.5], [-1.0]]
    torch.testing.assert_close(
        newton_module._deflated(d, s, known), torch.tensor(expected).double(), rtol=1e-9, atol=0
    )


def test_starts_that_are_found_take_one_step_more_and_polish_until_rounding():
    root = Rows.repeated(Root(1), 3)
    start = torch.tensor([[math.sqrt(2)], [1.5], [1.41421356]]).double()
    s, steps = newton(root, start, 1e-3)
    assert float((s - math.sqrt(2)).abs().max()) < 1e-14
    assert steps.tolist() == [slow_newton(Root(1), u, 1e-3, 60)[1] for u in start]


def test_polishing_takes_eight_steps_at_most(monkeypatch):
    asked = []

    class Counted(Root):
        def jacobian(self, s):
            asked.append(1)
            return super().jacobian(s)

    far = torch.tensor([[1e4]]).double()
    s = polish(Counted(1), far, 1e-10)
    expected = 1e4
    for _ in range(8):
        expected = expected - (expected**2 - 2) / (2 * expected)
    assert float(s) == pytest.approx(expected, rel=1e-12) and len(asked) == 8


@pytest.mark.parametrize(("entries", "sizes"), [(12, [3, 3, 1]), (3, [1] * 7), (100, [7])])
def test_portions_hold_so_many_entries_of_jacobians(entries, sizes, monkeypatch):
    """Of 4 entries each; one start at least."""
    seen = []
    solve = newton_module.newton

    def noted(rows, s, *how, **options):
        seen.append(len(s))
        return solve(rows, s, *how, **options)

    monkeypatch.setattr(newton_module, "PORTION", entries)
    monkeypatch.setattr(newton_module, "newton", noted)
    newton_from(pair(8.0, TANH), torch.zeros(7, 2, dtype=torch.float64), 1e-9)
    assert seen == sizes


def test_factors_are_taken_beyond_so_many_units_where_they_are_finite(monkeypatch):
    J = torch.diag(torch.linspace(1, 2, 33, dtype=torch.float64)).unsqueeze(0)
    F = torch.linspace(-1, 1, 33, dtype=torch.float64).unsqueeze(0)
    asked, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda J: asked.append(len(J[0])) or eigh(J))
    steps = newton_module._regularised(J, F, symmetric=True)
    assert asked == []
    newton_module._regularised(J[:, :32, :32], F[:, :32], symmetric=True)
    assert asked == [32]
    monkeypatch.setattr(newton_module, "_by_factors", lambda J, F, mu: F / 0)
    torch.testing.assert_close(newton_module._regularised(J, F, symmetric=True), steps)
    assert asked == [32, 33]


def test_newtons_plain_method_beside_a_solution_ends_on_it_isolated_or_not():
    """And a row whose first step does not halve its residual stays, whatever the others do."""
    up = pitchfork_state(8.0)
    network = pair(8.0, TANH)
    s = torch.tensor([[up + 1e-3, up - 2e-3], [up, up], [0.9, -0.1]], dtype=torch.float64)
    found = newton_beside(network, s)
    assert (found[0] - up).abs().max() < 1e-14 and (found[1] - up).abs().max() < 1e-14
    for row, alone in zip(found, s, strict=True):
        assert torch.equal(newton_beside(network, alone.unsqueeze(0))[0], row)
    edge, start = pair(4.0, TANH), torch.tensor([[0.05, 0.05]], dtype=torch.float64)
    assert residual(edge, newton_beside(edge, start)).item() < 1e-11  # three steps a digit of s
    far = torch.tensor([[1.6, -1.1]], dtype=torch.float64)
    moved = newton_beside(network, far)
    assert residual(network, moved) <= residual(network, far)


def test_newtons_plain_method_between_kinks_ends_at_them():
    network = pair(2.0, HARD)
    s = torch.tensor([[0.45, 0.48], [0.4, 0.5]], dtype=torch.float64)
    assert torch.equal(newton_beside(network, s), torch.full_like(s, 0.5))


def test_starts_go_in_portions_that_bound_the_memory(monkeypatch):
    net = pair(8.0, TANH)
    starts = torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)
    whole, sizes = newton_from(net, starts, 1e-12), []

    def noted(rows, s, *args, **options):
        sizes.append(len(s))
        return newton(rows, s, *args, **options)

    monkeypatch.setattr(newton_module, "newton", noted)
    for portion, expected in ((12, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr(newton_module, "PORTION", portion)  # of two matrices of 2 x 2 numbers
        sizes.clear()
        assert torch.equal(newton_from(net, starts, 1e-12), whole)
        assert sizes == expected
    assert newton_from(net, starts[:0], 1e-12).shape == (0, 2)
