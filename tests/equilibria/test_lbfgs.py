"""Steps that learn the curvature, on energies of which the minimum is known."""

import pytest
import torch

from ctebm import Network
from ctebm.equilibria import lbfgs as module
from ctebm.equilibria.lbfgs import lbfgs
from ctebm.equilibria.rows import Rows

F64 = torch.float64


class Spread(Network):
    """The identity plus a matrix of rank 3 in 40 units, with its minimum at c."""

    def __init__(self, n=40, rank=3):
        super().__init__(n)
        draw = torch.Generator().manual_seed(1)
        self.J = torch.randn(rank, n, generator=draw, dtype=F64)
        self.c = torch.randn(n, generator=draw, dtype=F64)

    def energy(self, s):
        e = s - self.c
        return (e.square().sum(-1) + (e @ self.J.mT).square().sum(-1)) / 2


class Wells(Network):
    def energy(self, s):
        return (s.square() - 1).square().sum(-1) / 4


class Unbounded(Network):
    def energy(self, s):
        return -(s.square()).sum(-1)


def rows(network, n):
    return Rows.of(network, torch.Size([n]))


def test_steps_are_about_as_many_as_the_rank():
    net = Spread()
    x, steps = lbfgs(rows(net, 2), torch.zeros(2, 40, dtype=F64), 1e-10, 100)
    torch.testing.assert_close(x, net.c.expand(2, 40), rtol=0, atol=1e-9)
    assert 4 <= int(steps.min()) <= int(steps.max()) <= 18  # 40 units, gradients take hundreds


def test_forces_are_below_the_tolerance_and_energies_fall():
    net, draw = Wells(5), torch.Generator().manual_seed(3)
    start = 3 * torch.randn(6, 5, generator=draw, dtype=F64)
    before = net.energy(start)
    x, steps = lbfgs(rows(net, 6), start, 1e-9, 200)
    assert float(net.force(x).abs().max()) <= 1e-9
    assert bool((net.energy(x) <= before).all()) and int(steps.min()) > 1
    torch.testing.assert_close(x.abs(), torch.ones_like(x), atol=1e-8, rtol=0)


def test_rows_go_as_they_do_alone():
    net, draw = Wells(4), torch.Generator().manual_seed(5)
    start = 2 * torch.randn(5, 4, generator=draw, dtype=F64)
    together, steps = lbfgs(rows(net, 5), start, 1e-9, 200)
    for i in range(5):
        alone, n = lbfgs(rows(net, 1), start[i : i + 1], 1e-9, 200)
        assert torch.equal(alone[0], together[i]) and int(n) == int(steps[i])


def test_few_steps_are_remembered_where_numbers_are_many(monkeypatch):
    """One pair is enough to come down, in more steps."""
    net = Spread(rank=6)
    start = torch.zeros(1, 40, dtype=F64)
    _, many = lbfgs(rows(net, 1), start, 1e-10, 500)
    monkeypatch.setattr(module, "NUMBERS", 0)
    x, few = lbfgs(rows(net, 1), start, 1e-10, 500)
    torch.testing.assert_close(x[0], net.c, rtol=0, atol=1e-9)
    assert int(few) > int(many)


@pytest.mark.parametrize("most", [1, 7])
def test_no_more_steps_are_taken_than_may_be(most):
    x, steps = lbfgs(rows(Unbounded(2), 3), torch.ones(3, 2, dtype=F64), 1e-9, most)
    assert steps.tolist() == [most] * 3 and bool((x.abs() > 1).all())


def test_a_row_that_no_step_lowers_ends_where_it_is():
    class Beside(Network):
        """A force that is not that of its energy."""

        def energy(self, s):
            return s.square().sum(-1)

        def force(self, s):
            return 2 * s + 1

    x, steps = lbfgs(rows(Beside(1), 1), torch.full((1, 1), 3.0, dtype=F64), 1e-9, 50)
    assert x.item() == 3.0 and int(steps) == 1
