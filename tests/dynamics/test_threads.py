"""Threads of torch during a run, and after it."""

import pytest
import torch

from ctebm.dynamics.threads import torch_threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "asked, shape, used", [(None, (8, 3), 1), (None, (2**15, 4), 2), (2, (8, 3), 2)]
)
def test_small_states_take_one_thread(two_threads, asked, shape, used):
    with torch_threads(asked, torch.zeros(shape)) as told:
        assert told == torch.get_num_threads() == used
    assert torch.get_num_threads() == 2


def test_threads_are_given_back_after_an_error(two_threads):
    with pytest.raises(ValueError, match="threads"), torch_threads(0, torch.zeros(1)):
        pass
    with pytest.raises(KeyError), torch_threads(1, torch.zeros(1)):
        raise KeyError
    assert torch.get_num_threads() == 2
