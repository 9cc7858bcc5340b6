"""Exits seen in stretches of steps, against one look at each step."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctebm.sampling.exits import Exits


@given(parts=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_stretches_do_not_matter(parts, seed):
    n = sum(parts)
    walk = torch.randn(n + 1, 6, 1, generator=torch.Generator().manual_seed(seed)).double()
    walk = walk.cumsum(0) - walk[:1]
    exits = Exits(walk[0], lambda s: s[..., 0] < 1.5, torch.tensor(1.0), 0)
    exits.watch(0, shared=True)
    first = 1
    for part in parts:
        exits.save(range(first, first + part), walk[first : first + part], 0)
        first += part
    out = walk[..., 0] >= 1.5
    slow = torch.where(out.any(0), out.int().argmax(0), -1)
    assert torch.equal(exits.step, slow)
    at = torch.where(out.any(0), out.int().argmax(0), n)
    assert torch.equal(exits.state, walk[at, torch.arange(6)])
    assert exits.over == bool(out.any(0).all())


def test_a_bridge_crosses_as_often_as_it_must():
    """Between two steps at distances d and d', exp(-2 d d'/variance); 20,000 bridges, 4 sigma."""
    d, variance, n = 0.6, 0.5, 20000
    start = torch.full((n, 1), d, dtype=torch.float64)
    exits = Exits(start, lambda s: s[..., 0], torch.tensor(variance), 1)
    exits.watch(0, shared=True)
    exits.save([1], start.unsqueeze(0), 0)
    p = math.exp(-2 * d * d / variance)
    assert abs(int((exits.step == 1).sum()) - n * p) < 4 * math.sqrt(n * p * (1 - p))


def test_those_that_have_left_are_not_watched():
    start = torch.zeros(3, 1, dtype=torch.float64)
    exits = Exits(start, lambda s: s[..., 0] < 1, torch.tensor(1.0), 0)
    assert exits.watch(0, shared=True).tolist() == [0, 1, 2]
    exits.save([1], torch.tensor([[[0.0], [2.0], [math.nan]]], dtype=torch.float64), 0)
    assert exits.step.tolist() == [-1, 1, -1] and exits.lost.tolist() == [False, False, True]
    assert exits.watch(1, shared=True).tolist() == [0]


def test_numbers_0_and_1_are_truth_values():
    start = torch.zeros(2, 1, dtype=torch.float64)
    assert not Exits(start, lambda s: (s[..., 0] < 1).int(), torch.tensor(1.0), 0).bridged


def test_a_start_outside_is_no_exit():
    start = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    exits = Exits(start, lambda s: s[..., 0] < 1, torch.tensor(1.0), 0)
    assert exits.begun.tolist() == [False, True] and exits.step.tolist() == [0, -1]
    exits.watch(0, shared=True)
    assert not exits.over
    exits.save([1, 2], torch.tensor([[[0.5]], [[3.0]]], dtype=torch.float64), 0)
    assert exits.over and exits.step.tolist() == [0, 2] and exits.begun.tolist() == [False, True]
    with pytest.raises(ValueError, match="got none"):
        Exits(start[:1], lambda s: s[..., 0] < 1, torch.tensor(1.0), 0)


def test_the_state_at_the_exit_is_kept_also_of_a_chain_that_starts_outside():
    start = torch.tensor([[2.0], [0.0], [0.5]], dtype=torch.float64)
    exits = Exits(start, lambda s: s[..., 0] < 1, torch.tensor(1.0), 0)
    exits.watch(0, shared=False)
    exits.save([1, 2], torch.tensor([[[5.0], [3.0], [0.4]], [[6.0], [4.0], [0.3]]]).double(), 0)
    exits.watch(2, shared=False)
    exits.save([3], torch.tensor([[[7.0], [8.0], [9.0]]], dtype=torch.float64), 0)
    assert exits.state.flatten().tolist() == [2.0, 3.0, 9.0]
    assert exits.step.tolist() == [0, 1, 3]


def test_a_distance_that_is_nan_at_one_state_of_several_is_refused():
    """But not at a state that is none itself: that chain is lost."""
    start = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    with pytest.raises(ValueError, match="got nan at a finite state"):
        Exits(start, lambda s: s[..., 0].sqrt(), torch.tensor(1.0), 0)
    exits = Exits(start, lambda s: 1 - s[..., 0], torch.tensor(1.0), 0)
    exits.watch(0, shared=True)
    exits.save([1], torch.tensor([[[torch.nan], [0.0]]], dtype=torch.float64), 0)
    assert exits.lost.tolist() == [True, False]
