"""The first kink: when, which unit, and whether it was met or left."""

import torch

from ctebm.early_inference.crossings import CrossingDetector
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
    detector = CrossingDetector(BOX, None, START, FREE)
    detector.look(1, moved((0, 0, 0.4)))
    assert detector.found.step.tolist() == [-1, -1, -1]
    detector.look(2, moved((0, 2, 0.5), (1, 1, -0.49)))  # one unit meets a kink, one leaves its own
    detector.look(3, moved((0, 0, -0.5), (1, 0, 0.5)))  # later ones do not count
    assert detector.found.step.tolist() == [2, 2, -1]
    assert detector.found.unit.tolist() == [2, 1, -1]
    assert detector.found.direction.tolist() == [1, -1, 0]


def test_a_responsive_unit_at_a_kink_is_expected_to_leave_it():
    """As an output is that is pulled back in; it has met a kink if it is still there."""
    everything = torch.ones_like(FREE)
    detector = CrossingDetector(BOX, None, START, everything)
    detector.look(1, moved((0, 1, 0.4), (1, 1, -0.5)))
    assert detector.found.step.tolist() == [-1, 1, -1] and detector.found.direction.tolist() == [
        0,
        1,
        0,
    ]


def test_any_replicate_counts():
    detector = CrossingDetector(BOX, None, START, FREE)
    detector.look(4, torch.stack([START, moved((2, 1, -0.6)), START]))
    assert detector.found.step.tolist() == [-1, -1, 4] and detector.found.unit.tolist() == [
        -1,
        -1,
        1,
    ]
    assert detector.found.direction.tolist() == [0, 0, 1]


def test_without_kinks_nothing_is_crossed():
    detector = CrossingDetector(None, None, START, FREE)
    detector.look(1, 100 * START)
    assert detector.found.step.tolist() == [-1, -1, -1]


def test_a_crossing_at_the_start_is_the_first():
    """As of an output that is clamped beyond a kink."""
    detector = CrossingDetector(BOX, None, START, FREE)
    detector.look(0, moved((0, 2, 0.6)))
    detector.look(1, moved((0, 0, -0.6), (1, 0, 0.5)))
    assert detector.found.step.tolist() == [0, 1, -1]
    assert detector.found.unit.tolist() == [2, 0, -1]
