"""Descent in a trust region: the subproblem against its exact solution, and where it ends."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

from ctebm import Network
from ctebm.equilibria import trust_region
from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import _Subproblem, descend


class Quadratic(Network):
    """``E = s'As/2 - b's``."""

    def __init__(self, A, b):
        super().__init__(len(b))
        self.A, self.b = A, b

    def energy(self, s):
        return ((s @ self.A) * s).sum(-1) / 2 - s @ self.b


def quadratic(values, seed=0):
    draw = torch.Generator().manual_seed(seed)
    n = len(values)
    Q = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))[0]
    b = torch.randn(n, generator=draw, dtype=torch.float64)
    return Quadratic(Q * torch.tensor(values, dtype=torch.float64) @ Q.mT, b)


def solved(network, free, radius, goal=1e-13):
    s = torch.zeros(1, network.n_units, dtype=torch.float64)
    g = network.force(s) * free
    subproblem = _Subproblem(Rows.repeated(network, 1), s, g, free.expand_as(s))
    d, decrease = subproblem.solve(
        *(torch.tensor([x], dtype=torch.float64) for x in (radius, goal))
    )
    return d[0], float(decrease)


def test_inside_the_region_it_is_newtons_step():
    network = quadratic([0.5, 1.0, 2.0, 4.0])
    free = torch.tensor([True, True, False, True])
    d, decrease = solved(network, free, radius=100.0)
    exact = torch.linalg.solve(network.A[free][:, free], network.b[free])
    assert torch.allclose(d[free], exact, atol=1e-12)
    assert d[2] == 0
    assert decrease == pytest.approx(-float(network.energy(d)), abs=1e-12)


@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0, 4.0], [-1.0, 1.0, 2.0, 4.0]])
def test_at_its_edge_it_falls_at_least_as_far_as_the_best_point_along_the_force(values):
    network, free = quadratic(values), torch.ones(4, dtype=torch.bool)
    d, decrease = solved(network, free, radius=0.1)
    assert float(d.norm()) == pytest.approx(0.1, abs=1e-14)
    assert decrease == pytest.approx(-float(network.energy(d)), abs=1e-14)
    steepest = 0.1 * network.b / network.b.norm()
    assert decrease >= -float(network.energy(steepest)) - 1e-15


def test_a_quadratic_well_takes_one_newton_step():
    network = quadratic([0.5, 1.0, 2.0, 4.0])
    start = torch.zeros(1, 4, dtype=torch.float64)
    s, steps = descend(Rows.repeated(network, 1), start, 1e-12, 50)
    assert torch.allclose(s[0], torch.linalg.solve(network.A, network.b), atol=1e-11)
    assert steps.item() <= 6


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
@pytest.mark.parametrize("gain", [2.0, 6.0])
def test_every_row_ends_below_its_start_and_stable(activation, gain):
    network = random_dense(30, 0, activation, gain=gain)
    start = torch.as_tensor(np.random.default_rng(1).standard_normal((20, 30)))
    if network.box is not None:
        start = network.box.project(start)
    s, steps = descend(Rows.repeated(network, 20), start, 1e-10, 500)
    assert residual(network, s).max() <= 1e-10
    assert (network.energy(s) <= network.energy(start)).all()
    assert steps.max() < 500
    for u in s:
        free = ~pinned_units(network, u)
        assert (torch.linalg.eigvalsh(network.hessian(u)[free][:, free]) > 0).all()


def test_rows_are_independent():
    network = random_dense(10, 0, HARD, gain=4.0)
    start = torch.as_tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (6, 10)))
    together, _ = descend(Rows.repeated(network, 6), start, 1e-12, 500)
    for row, first in zip(together, start, strict=True):
        alone, _ = descend(Rows.repeated(network, 1), first.unsqueeze(0), 1e-12, 500)
        assert torch.allclose(alone[0], row, atol=1e-11)


def test_the_bound_on_the_steps_holds():
    start = torch.tensor([[0.01, 0.02]], dtype=torch.float64)
    s, steps = descend(Rows.repeated(pair(8.0, TANH), 1), start, 1e-12, 2)
    assert steps.item() == 2
    assert residual(pair(8.0, TANH), s).item() > 1e-12


def test_the_way_to_the_edge_ends_on_it_and_is_never_backwards():
    rng = np.random.default_rng(0)
    d, p = (torch.as_tensor(rng.standard_normal((50, 3))) for _ in range(2))
    radius = d.norm(dim=-1) * torch.linspace(1, 3, 50, dtype=torch.float64)
    t = trust_region._to_edge(d, p, radius)
    torch.testing.assert_close((d + t.unsqueeze(-1) * p).norm(dim=-1)[1:], radius[1:])
    assert (t >= 0).all()
    assert (trust_region._to_edge(1.001 * d, p, d.norm(dim=-1)) == 0).all()  # beyond by rounding
