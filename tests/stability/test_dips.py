"""Eigenvalues that cross zero up and down within one step are seen."""

import pytest
import torch
from analytic import TANH

from ctebm import AsymmetricNetwork, DenseNetwork, continue_branch


def pair_at(w):
    return DenseNetwork([[0, w], [w, 0]], [0, 0], TANH).centred()


@pytest.mark.parametrize("excess", [1e-3, 1e-4, 1e-5])
def test_two_pitchforks_within_a_step(excess):
    """The coupling is above 4 only between them, for less than a step."""
    branch = continue_branch(lambda p: pair_at(4 + excess - p**2), [0, 0], (-1, 1))
    at = excess**0.5
    assert [event.kind for event in branch.events] == ["pitchfork"] * 2
    assert [event.parameter for event in branch.events] == pytest.approx([-at, at], abs=1e-9)
    assert branch.status == "complete"


def test_an_eigenvalue_that_is_negative_all_along_but_within_a_step():
    branch = continue_branch(lambda p: pair_at(4 - 1e-5 + p**2), [0, 0], (-1, 1))
    assert [event.kind for event in branch.events] == ["pitchfork"] * 2


def test_one_that_turns_above_zero_is_no_event():
    branch = continue_branch(lambda p: pair_at(4 - 1e-5 - p**2), [0, 0], (-1, 1))
    assert branch.events == []
    assert branch.status == "complete"


def test_two_hopf_points_within_a_step():
    """A ring of three with couplings -w one way: ``1 - w/8 ± i sqrt(3) w/8``."""
    ring = torch.eye(3, dtype=torch.float64).roll(1, 0)

    def family(p):
        return AsymmetricNetwork(-(8 + 1e-4 - p**2) * ring, [0, 0, 0], TANH).centred()

    branch = continue_branch(family, [0, 0, 0], (-1, 1))
    assert [event.kind for event in branch.events] == ["hopf"] * 2
    assert [abs(event.parameter) for event in branch.events] == pytest.approx([1e-2] * 2)
