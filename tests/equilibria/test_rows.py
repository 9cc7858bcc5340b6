"""Rows of a batch and the ends of an iteration over them."""

import torch
from analytic import TANH

from ctebm import LayeredNetwork
from ctebm.equilibria.rows import Iteration, Rows


def clamped(n_samples):
    x = torch.linspace(-1, 1, n_samples * 3, dtype=torch.float64).reshape(n_samples, 3)
    return LayeredNetwork.random([3, 4, 2], TANH, seed=0).clamp({"x": x})


def test_rows_carry_the_parameters_of_their_samples():
    network, s = clamped(5), torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(5, 6)
    rows = Rows.of(network, torch.Size([5]))
    assert torch.equal(rows.network.force(s), network.force(s))
    assert rows.network is network  # without copies of its inputs
    assert Rows.of(network, torch.Size([2, 5])).network is not network
    some = rows[torch.tensor([True, False, False, True, True])]
    some = some[torch.tensor([2, 0, 0])]
    assert len(some) == 3
    assert torch.allclose(some.network.force(s[[4, 0, 0]]), network.force(s)[[4, 0, 0]], atol=1e-15)


def test_rows_of_a_batch_of_starts_and_inputs():
    network = clamped(5)
    s = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(2, 5, 6)
    force = Rows.of(network, torch.Size([2, 5])).network.force(s.reshape(10, 6))
    assert torch.allclose(force.reshape(2, 5, 6), network.force(s), atol=1e-15)


def test_one_sample_repeated():
    network, s = clamped(1), torch.zeros(4, 6, dtype=torch.float64)
    force = Rows.repeated(network, 4).network.force(s)
    assert torch.allclose(force, network.force(s[:1]).expand(4, 6), atol=1e-15)


def test_each_row_ends_in_its_own_time():
    """Row i is halved i + 1 times."""
    s = torch.ones(4, 6, dtype=torch.float64)
    left = torch.arange(1, 5)
    iteration = Iteration(Rows.repeated(clamped(1), 4), s, left)
    while not iteration.over:
        s, left = s / 2, left - 1
        iteration.advance(left > 0, s, left)
        assert len(iteration.rows) == len(iteration.active)
        s, left = s[left > 0], left[left > 0]
    assert iteration.steps.tolist() == [1, 2, 3, 4]
    ended, noted = iteration.ended
    assert ended[:, 0].tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert noted.tolist() == [0, 0, 0, 0]
