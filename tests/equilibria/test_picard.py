"""Picard's iteration against the plain loop, and where it gives up."""

import pytest
import torch
from analytic import HARD, TANH, affine_state, pair, random_dense

from ctebm import Network
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.picard import picard


class Slope(Network):
    """``s <- a s``: contracts where ``|a| < 1``, diverges where ``|a| > 1``."""

    def __init__(self, a):
        super().__init__(1)
        self.a = a

    def energy(self, s):
        return (1 - self.a) * s.square().sum(-1) / 2


def test_it_solves_the_affine_pair():
    s, steps, _, far, _, _ = picard(
        pair(0.25, HARD, 0.0), torch.zeros(1, 2, dtype=torch.float64), 1e-15, 300
    )
    assert torch.allclose(s, torch.full_like(s, affine_state(0.25)), atol=1e-14)
    assert not far.any()
    # the error falls by w = 1/4 a step: log(1e-15) / log(4) = 25 of them
    assert 21 <= steps.item() <= 30


def test_it_is_the_plain_loop():
    network = random_dense(6, 0, TANH, gain=0.5)
    start = torch.linspace(-2, 2, 18, dtype=torch.float64).reshape(3, 6)
    s, steps, _, far, _, _ = picard(network, start, 1e-10, 300)
    assert not far.any()
    for row, first, n in zip(s, start, steps.tolist(), strict=True):
        t = first
        for _ in range(n):
            t = network.pressure(t)
        assert torch.allclose(row, t, atol=1e-14)
        assert residual(network, row) <= 1e-10


@pytest.mark.parametrize("a", [-1.5, -0.99, 0.99, 1.5])
def test_a_row_that_does_not_contract_is_back_at_its_start(a):
    start = torch.tensor([[1.0]], dtype=torch.float64)
    s, steps, _, far, _, _ = picard(Slope(a), start, 1e-10, 300)
    assert far.all()
    assert torch.equal(s, start)
    assert steps.item() == 12  # three rounds go unjudged, the fourth is judged


def test_rows_do_not_wait_for_each_other():
    network = pair(2.0, HARD)
    start = torch.tensor([[0.5, 0.5], [0.2, -0.2], [0.4, 0.4]], dtype=torch.float64)
    s, steps, _, far, _, _ = picard(network, start, 1e-12, 300)
    assert far.tolist() == [False, True, False]
    assert steps[0] == 0
    assert torch.equal(s[1], start[1])
    assert torch.equal(s[2], torch.full((2,), 0.5, dtype=torch.float64))


def test_not_a_number_is_far():
    nan = torch.full((1, 2), torch.nan).double()
    assert picard(pair(2.0, TANH), nan, 1e-12, 300).far.all()


def test_rows_that_overshoot_say_so_and_no_others():
    one = torch.ones(1, 1, dtype=torch.float64)
    assert picard(Slope(-1.2), one, 1e-10, 300)[-1].item()
    assert not picard(Slope(0.3), one, 1e-10, 300)[-1].item()
    assert not picard(Slope(0.3), 0 * one, 1e-10, 300)[-1].item()  # it is there
    start = torch.tensor([[0.1, 0.2], [0.0, 0.0]], dtype=torch.float64)
    assert not picard(pair(0.25, HARD, 0.0), start, 1e-12, 300)[-1].any()


class Slopes(Network):
    """``s <- 0.7 s`` in the first of two rows, ``s <- 1.5 s`` in the second."""

    a = torch.tensor([[0.7], [1.5]], dtype=torch.float64)

    def energy(self, s):
        return ((1 - self.a) * s.square() / 2).sum(-1)


def test_a_row_that_does_not_contract_is_back_while_another_goes_on():
    s, steps, _, far, _, _ = picard(Slopes(1), torch.ones(2, 1, dtype=torch.float64), 1e-10, 300)
    assert far.tolist() == [False, True] and s[1].item() == 1
    assert abs(s[0].item()) < 1e-9 and steps[0] > steps[1] == 12
