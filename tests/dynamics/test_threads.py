"""Threads of torch during a run, and after it."""

import pytest
import torch

import ctebm
from ctebm.dynamics import threads
from ctebm.dynamics.threads import small_on_one_thread, torch_threads


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


def test_numbers_are_those_of_states_or_of_a_matrix_of_all_units():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh())
    held = net.clamp({"x": torch.zeros(5, 3)})
    rest = ctebm.settle(held)
    for thing, states, matrix in [
        (net, 9, 81), (held, 30, 36), (rest, 30, 36), (torch.zeros(2, 5, 7), 70, 49),
        (torch.zeros(7).numpy(), 7, 49), (torch.tensor(1.0), 0, 0), (3, 0, 0),
    ]:  # fmt: skip
        assert threads._numbers(thing, False) == states
        assert threads._numbers(thing, True) == matrix


def test_threads_are_given_back_after_an_error(two_threads):
    with pytest.raises(ValueError, match="threads"), torch_threads(0, torch.zeros(1)):
        pass
    with pytest.raises(KeyError), torch_threads(1, torch.zeros(1)):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.fixture
def layered():
    whole = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh())
    return whole.clamp({"x": torch.zeros(5, 4)})


@pytest.mark.parametrize(
    "matrices, n_samples, used", [(False, 5, 1), (False, 2**14, 2), (True, 2**14, 1)]
)
def test_what_is_small_computes_on_one_thread(two_threads, layered, matrices, n_samples, used):
    """States count, or a matrix of one sample."""

    @small_on_one_thread(matrices=matrices)
    def threads_for(network, state=None):
        return torch.get_num_threads()

    state = torch.zeros(n_samples, 5)
    assert threads_for(layered, state) == threads_for(layered, state=state) == used
    assert torch.get_num_threads() == 2


def test_a_large_matrix_computes_on_all_threads(two_threads):
    @small_on_one_thread(matrices=True)
    def threads_for(family, start):
        return torch.get_num_threads()

    assert [threads_for(None, torch.zeros(n)) for n in (255, 256)] == [1, 2]


def test_a_network_alone_counts_too(two_threads):
    @small_on_one_thread(matrices=True)
    def threads_for(network):
        return torch.get_num_threads()

    rings = (ctebm.SparseNetwork.ring(n, 0.3, ctebm.Tanh()) for n in (255, 256))
    assert [threads_for(ring) for ring in rings] == [1, 2]


ENTRIES = [
    ctebm.settle, ctebm.find_fixed_points, ctebm.enumerate_fixed_points, ctebm.phase_plane,
    ctebm.linearize, ctebm.continue_branch, ctebm.switch_branch, ctebm.minimum_energy_path,
    ctebm.chain_gradient, ctebm.implicit_gradient, ctebm.bptt_gradient, ctebm.parameter_gradient,
    ctebm.correspondence,
]  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_every_computation_of_a_small_network_takes_one_thread(entry):
    assert entry.__wrapped__.__name__ == entry.__name__


def test_the_force_of_a_small_network_sees_one_thread(two_threads, layered):
    seen = []

    class Spied(ctebm.VectorField):
        def force(self, s):
            seen.append(torch.get_num_threads())
            return -s

    net = Spied(2, {"x": slice(0, 1), "y": slice(1, 2)})
    ctebm.linearize(net, ctebm.settle(net, [1.0, 2.0]))
    ctebm.bptt_gradient(net, [0.0, 0.0], [0.1], eps=0.1, n_steps=1)
    assert set(seen) == {1}
