"""What is looked up is told apart by identity, version and values."""

import copy

import pytest
import torch

from ctebm.networks.constants import Constants, key_of, tensors_in
from ctebm.networks.versions import is_plain


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
    kept.keep("key", value, [x], [x])
    assert kept.find("key") is value
    value += 1
    assert kept.find("key") is None
    assert kept.find("other") is None
    assert not copy.deepcopy(kept).results


@pytest.mark.parametrize("x", [
    torch.ones(3, 2), torch.ones(2, dtype=torch.complex128), torch.tensor(1.0), torch.ones(2) > 0,
    torch.ones(2, 3, dtype=torch.int64).T, torch.ones(0), torch.ones(2, dtype=torch.float16),
])  # fmt: skip
def test_a_source_that_changed_past_its_version_is_found_out(x):
    kept, value = Constants(), torch.zeros(2)
    kept.keep("key", value, [x], [x])
    assert kept.find("key") is value
    version = x._version
    x.data.neg_() if x.dtype != torch.bool else x.data.logical_not_()
    assert x._version == version
    assert (kept.find("key") is value) == (x.numel() == 0)


def test_a_permuted_source_is_found_out():
    kept, x, value = Constants(), torch.arange(6.0).reshape(2, 3), torch.zeros(2)
    for order in ((slice(None), [1, 0, 2]), ([1, 0], slice(None))):
        kept.keep("key", value, [x], [x])
        x.numpy()[...] = x.numpy()[order]
        assert kept.find("key") is None


def test_nothing_is_kept_of_tensors_without_a_version():
    with torch.inference_mode():
        x = torch.ones(3)
        kept = Constants()
        assert not is_plain(x)
        assert kept.expanded(x, torch.Size([2])).shape == (2, 3)
    assert kept.expanded(x, torch.Size([2])).shape == (2, 3)
    assert not kept.results
    assert key_of(x, []) is None


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


def test_what_is_computed_from_tensors_is_computed_once_while_they_stay_the_same():
    kept, x, asked = Constants(), torch.ones(3), []

    def doubled():
        asked.append(1)
        return 2 * x

    assert kept.of(doubled, x) is kept.of(doubled, x)
    x.data += 1
    assert torch.equal(kept.of(doubled, x), 2 * x)
    assert len(asked) == 2
    x.requires_grad_()
    assert kept.of(doubled, x) is not kept.of(doubled, x)


def test_what_hangs_on_a_graph_is_computed_anew_whatever_was_kept_off_it():
    """Also where one tensor of several requires a gradient, and where none is recorded."""
    kept, x, y, asked = Constants(), torch.ones(3), torch.ones(3, requires_grad=True), []

    def product():
        asked.append(1)
        return x * y

    with torch.no_grad():
        assert kept.of(product, x, y) is kept.of(product, x, y)
    assert len(asked) == 1
    (g,) = torch.autograd.grad(kept.of(product, x, y).sum(), y)
    assert torch.equal(g, x) and len(asked) == 2
