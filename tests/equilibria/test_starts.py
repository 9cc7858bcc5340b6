"""Starts of settling: inside the box, one for each sample; motions that can't be followed."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

from ctebm import LayeredNetwork, Network, find_fixed_points, settle
from ctebm.equilibria.starts import check_precision, start_state


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


class Mixed(Network):
    """An energy of which a part is computed in another dtype."""

    def __init__(self, dtype):
        super().__init__(3)
        self.part = dtype

    def energy(self, s):
        r = torch.tanh(s.to(self.part)).to(s.dtype)
        return s.square().sum(-1) / 2 - r.sum(-1).square() / 2


def test_a_search_refuses_a_force_that_is_known_in_single_precision_alone():
    with pytest.raises(ValueError, match=r"computed in float64 throughout, got .* about .e-08"):
        find_fixed_points(Mixed(torch.float32), bounds=(-3.0, 3.0))
    starts = torch.rand(20, 3, dtype=torch.float64) * 6 - 3
    check_precision(Mixed(torch.float64), starts)
    check_precision(Mixed(torch.float32).to(torch.float32), starts.float())
    check_precision(Kinked(3), starts)  # kinks are no rounding
    check_precision(Mixed(torch.float64), starts[:0])


class Kinked(Network):
    def energy(self, s):
        return (s.clamp(min=0).square() + s.abs()).sum(-1)
