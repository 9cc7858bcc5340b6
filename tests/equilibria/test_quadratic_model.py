"""The quadratic model in a trust region against its exact minimum."""

import numpy as np
import pytest
import torch
from analytic import quadratic

from ctebm.equilibria import quadratic_model
from ctebm.equilibria.quadratic_model import QuadraticModel
from ctebm.equilibria.rows import Rows


def solved(network, free, radius, goal=1e-13):
    s = torch.zeros(1, network.n_units, dtype=torch.float64)
    g = network.force(s) * free
    model = QuadraticModel(Rows.repeated(network, 1), s, g, free.expand_as(s))
    d, decrease = model.minimise(*(torch.tensor([x], dtype=torch.float64) for x in (radius, goal)))
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


def test_the_way_to_the_edge_ends_on_it_and_is_never_backwards():
    rng = np.random.default_rng(0)
    d, p = (torch.as_tensor(rng.standard_normal((50, 3))) for _ in range(2))
    length = d.norm(dim=-1, keepdim=True)
    radius = length * torch.linspace(1, 3, 50, dtype=torch.float64).unsqueeze(-1)
    t = quadratic_model._to_edge(d, p, radius)
    torch.testing.assert_close((d + t * p).norm(dim=-1, keepdim=True)[1:], radius[1:])
    assert (t >= 0).all()
    assert (quadratic_model._to_edge(1.001 * d, p, length) == 0).all()  # beyond by rounding


def test_rows_that_have_ended_are_left_out_when_many_have(monkeypatch):
    """Once no more than seven of ten go on; each ends as it does alone."""
    network = quadratic([0.01, 0.5, 1.0, 2.0, 4.0])
    rng = np.random.default_rng(0)
    s = torch.as_tensor(rng.standard_normal((10, 5)))
    g, free = network.force(s), torch.ones(10, 5, dtype=torch.bool)
    radius = torch.full((10,), 100.0, dtype=torch.float64)
    for n_early, at_once in ((2, False), (3, True), (9, True)):
        goal = torch.full((10,), 1e-12, dtype=torch.float64)
        goal[:n_early] = 1e9  # these end with their first step
        left = []
        model = QuadraticModel(Rows.repeated(network, 10), s, g, free)
        keep = model._keep
        monkeypatch.setattr(model, "_keep", lambda rows, keep=keep, left=left: (
            left.append(len(rows)), keep(rows)))  # fmt: skip
        d, decrease = model.minimise(radius, goal)
        assert (left[0] == 10 - n_early) == at_once
        for i in (0, 9):
            one = QuadraticModel(Rows.repeated(network, 1), s[i : i + 1], g[i : i + 1], free[:1])
            alone = one.minimise(radius[:1], goal[i : i + 1])
            torch.testing.assert_close(d[i], alone[0][0], rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(decrease[i], alone[1][0])


@pytest.mark.parametrize("look", [2, 5, 16])
@pytest.mark.parametrize("lowest", [0.01, -0.5], ids=["convex", "indefinite"])
def test_where_the_host_looks_seldom_rows_end_as_where_it_sees_all(look, lowest, monkeypatch):
    network = quadratic([lowest, *np.linspace(0.1, 4.0, 29).tolist()])
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(40, 30, generator=draw, dtype=torch.float64)
    free = torch.rand(40, 30, generator=draw) < 0.8
    g = network.force(s) * free
    radius = torch.logspace(-1, 4, 40, dtype=torch.float64)
    goal = g.norm(dim=-1) * torch.logspace(-1, -9, 8, dtype=torch.float64).repeat(5)

    def minimised():
        model, left = QuadraticModel(Rows.repeated(network, 40), s, g, free), []
        keep = model._keep
        monkeypatch.setattr(model, "_keep", lambda rows: (left.append(len(rows)), keep(rows)))
        return *model.minimise(radius, goal), left

    d, decrease, _ = minimised()
    monkeypatch.setattr(quadratic_model, "iterations_between_looks", lambda like: look)
    d_seldom, decrease_seldom, left = minimised()
    assert left  # some rows were left out on the way
    at_edge = torch.isclose(d.norm(dim=-1), radius)
    assert int(at_edge.sum()) > 5 and (lowest < 0 or int(at_edge.sum()) < 35)
    torch.testing.assert_close(d_seldom, d, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(decrease_seldom, decrease, rtol=1e-9, atol=1e-12)


def test_the_host_looks_again_when_all_rows_may_have_ended():
    until, above = quadratic_model._until, np.array([1e4, 0.0, 1e2])
    assert until(above, None, 0, 16) == quadratic_model.EARLY and until(above, None, 0, 2) == 2
    before = np.array([1e8, 5.0, 1e10])  # in 5 steps by 1e4 and 1e8: 5 more, and 1.25
    assert until(above, before, 5, 16) == 5
    assert until(above, before, 5, 3) == 3
    assert until(above[2:], before[2:], 5, 16) == 2
    for stuck in (np.array([1e4, 0.0, 1e2]), np.array([1.0, 1.0, 1.0])):  # nothing fell, or it rose
        assert until(above, stuck, 5, 16) == 16
    assert until(np.array([np.inf]), np.array([np.inf]), 5, 16) == 16
