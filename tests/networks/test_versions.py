"""Tests of whether tensors are still what they were."""

from __future__ import annotations

import pytest
import torch

from ctebm.networks.versions import Versions, is_plain
from tests.pretend_device import OnDevice, PretendDevice


def written(t):
    t.add_(1)


def past(t):
    t.data.view(-1)[-1:] = 7


def by_array(t):
    t.numpy().reshape(-1)[:1] -= 2


@pytest.mark.parametrize("write", [written, past, by_array])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128, torch.int64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3)])
def test_what_is_written_is_seen(shape, dtype, write):
    first, t = torch.zeros(2), torch.ones(shape, dtype=dtype)
    then = Versions.of([first, t])
    assert then.are([first, t])
    write(t)
    # nothing can be written into no numbers, but a version counts that it was tried
    assert then.are([first, t]) == (t.numel() == 0 and write is not written)


def test_others_are_told_apart_with_the_same_numbers():
    t = torch.ones(2)
    assert not Versions.of([t]).are([t.clone()]) and not Versions.of([t]).are([])
    assert not Versions.of([t]).are([t, t])


def test_sparse_weights_and_inference_are_seen_too():
    sparse = torch.eye(3).to_sparse_csr()
    then = Versions.of([sparse])
    assert then.are([sparse]) and is_plain(sparse)
    sparse.values().data[1] = 0.5
    assert not then.are([sparse])
    with torch.inference_mode():
        t = torch.ones(2)
        then = Versions.of([t])
        assert then.are([t]) and not is_plain(t)
        t[0] = 3
        assert not then.are([t])


def test_tensors_within_a_transformation_are_told_apart_by_identity():
    def total(t):
        assert not is_plain(t)
        then = Versions.of([t])
        assert then.are([t]) and not then.are([t * 1])
        return t.sum()

    torch.func.vmap(total)(torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(4096,), (4097,), (64, 64), (65, 64), (1, 4097)])
def test_many_numbers_are_seen_as_few_are(shape):
    t = torch.ones(shape, dtype=torch.float64)
    then = Versions.of([t])
    for write in (past, by_array):
        assert then.are([t])
        write(t)
        assert not then.are([t])
        t.data.fill_(1)


def test_many_numbers_elsewhere_are_compared_at_once():
    with PretendDevice() as device:
        few, many = torch.zeros(3).to("cuda"), OnDevice(torch.eye(80))
        then = Versions.of([few, many])
        device.reads.clear()
        assert then.are([few, many])
        assert sum(device.reads.values()) == 1
        many.numbers[7, 9] += 1e-6  # past the version
        assert not then.are([few, many])
