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
from ctebm.equilibria.newton import newton, newton_from, newton_step, polish
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
