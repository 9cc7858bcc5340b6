"""The first kink: when, which unit, and whether it was met or left."""

import torch

from ctebm.early_inference.crossings import Crossings
from ctebm.networks.kinks import Box

BOX = Box(-0.5, 0.5)
START = torch.tensor([[0.0, 0.5, 0.1], [0.2, -0.5, 0.3], [0.0, 0.0, 0.0]], dtype=torch.float64)
FREE = torch.tensor([[True, False, True], [True, False, True], [True, True, True]])


def moved(*changes):
    s = START.clone()
    for sample, unit, value in changes:
        s[sample, unit] = value
    return s


def test_the_first_crossing_of_each_sample_is_kept():
    crossings = Crossings(BOX, START, FREE)
    crossings.see(1, moved((0, 0, 0.4)))
    assert crossings.step.tolist() == [-1, -1, -1]
    crossings.see(2, moved((0, 2, 0.5), (1, 1, -0.49)))  # one unit meets a kink, one leaves its own
    crossings.see(3, moved((0, 0, -0.5), (1, 0, 0.5)))  # later ones do not count
    assert crossings.step.tolist() == [2, 2, -1]
    assert crossings.unit.tolist() == [2, 1, -1]
    assert crossings.direction.tolist() == [1, -1, 0]


def test_a_responsive_unit_at_a_kink_is_expected_to_leave_it():
    """As an output is that is pulled back in; it has met a kink if it is still there."""
    everything = torch.ones_like(FREE)
    crossings = Crossings(BOX, START, everything)
    crossings.see(1, moved((0, 1, 0.4), (1, 1, -0.5)))
    assert crossings.step.tolist() == [-1, 1, -1] and crossings.direction.tolist() == [0, 1, 0]


def test_any_replicate_counts():
    crossings = Crossings(BOX, START, FREE)
    crossings.see(4, torch.stack([START, moved((2, 1, -0.6)), START]))
    assert crossings.step.tolist() == [-1, -1, 4] and crossings.unit.tolist() == [-1, -1, 1]
    assert crossings.direction.tolist() == [0, 0, 1]


def test_without_kinks_nothing_is_crossed():
    crossings = Crossings(None, START, FREE)
    crossings.see(1, 100 * START)
    assert crossings.step.tolist() == [-1, -1, -1]
