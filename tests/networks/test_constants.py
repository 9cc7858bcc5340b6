"""What is looked up is told apart by identity, version and values."""

import copy

import torch

from ctebm.networks.constants import Constants, is_plain, key_of, tensors_in


def test_keys_tell_tensors_and_values_apart():
    a, b = torch.ones(2), torch.ones(2)
    keys = [key_of(x, []) for x in (a, b, 1, 1.0, True, slice(0, 1), (a, 1), [a, 1], None, "x")]
    assert len(set(keys)) == len(keys)
    before = key_of(a, [])
    a += 1
    assert key_of(a, []) != before
    assert key_of({"a": 1}, []) is None  # nothing tells it apart


def test_a_result_that_was_changed_is_not_found():
    kept, x, value = Constants(), torch.ones(2), torch.zeros(2)
    kept.keep("key", value, (x,))
    assert kept.find("key") is value
    value += 1
    assert kept.find("key") is None
    assert kept.find("other") is None
    assert not copy.deepcopy(kept).results


def test_states_are_expanded_once():
    kept, x = Constants(), torch.ones(3)
    first = kept.expanded(x, torch.Size([2]))
    assert first.shape == (2, 3)
    assert kept.expanded(x, torch.Size([2])) is first
    assert kept.has(x, torch.Size([2]))
    assert not kept.has(x, torch.Size([4]))


def test_tensors_within_a_transformation_are_not_plain():
    seen = []
    torch.func.grad(lambda s: seen.append(is_plain(s)) or s.sum())(torch.ones(2))
    assert seen == [False]
    assert is_plain(torch.ones(2))
    assert len(tensors_in(((torch.ones(1), 2), {"a": [torch.ones(1)]}))) == 2
