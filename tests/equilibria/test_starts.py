"""Starts of settling: inside the box, one for each sample; motions that can't be followed."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import LayeredNetwork, Network, settle
from ctebm.equilibria.starts import start_state


def test_starts_are_in_the_box_and_the_callers_stay():
    start = torch.tensor([[0.4, 0.1], [3.0, -0.7]], dtype=torch.float64)
    inside = start_state(pair(2.0, HARD), start)
    assert inside.tolist() == [[0.4, 0.1], [0.5, -0.5]]
    assert start.tolist() == [[0.4, 0.1], [3.0, -0.7]]
    assert torch.equal(start_state(pair(2.0, TANH), start), start)


def test_one_start_for_each_sample():
    network = LayeredNetwork.random([4, 6, 3], HARD, seed=0).clamp({"x": torch.rand(5, 4)})
    assert start_state(network, torch.zeros(7, 1, 9)).shape == (7, 5, 9)
    assert start_state(network, None).tolist() == [[0.0] * 9] * 5


def test_bad_starts():
    network = pair(2, HARD)
    with pytest.raises(ValueError, match="expected finite states, got nan in unit 0"):
        settle(network, [math.nan, 0.0])
    with pytest.raises(ValueError, match="expected a state of shape"):
        settle(network, [0.0, 0.0, 0.0])


class AnyLength(Network):
    def energy(self, s):
        return s.square().sum(-1)


class WrongShape(Network):
    def energy(self, s):
        return s.square()


class Opaque(Network):
    def energy(self, s):
        return torch.as_tensor(s.detach().numpy() ** 2).sum(-1)


class Infinite(Network):
    def energy(self, s):
        return s.abs().sqrt().sum(-1)


@pytest.mark.parametrize(
    ("network", "start", "words"),
    [
        (WrongShape(2), [0.0, 0.0], "energy of shape"),
        (Opaque(2), [0.0, 0.0], "differentiate"),
        (Infinite(2), [0.0, 0.0], "finite force"),
        (AnyLength(), None, "give a start"),
    ],
)
def test_bad_energies(network, start, words):
    with pytest.raises(ValueError, match=words):
        settle(network, start)


def test_an_energy_of_states_of_any_length_takes_a_start():
    assert settle(AnyLength(), [0.3, 0.2, 0.1]).state.tolist() == pytest.approx(
        [0, 0, 0], abs=1e-10
    )
