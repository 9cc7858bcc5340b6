"""The status of each measured sample, one case a status."""

from dataclasses import replace

import torch

import ctebm
from ctebm.early_inference.displacement import DrivenRun
from ctebm.early_inference.drive import Nudge, Replace
from ctebm.early_inference.outcomes import outcomes
from ctebm.early_inference.schedule import Replicates

YES, NO = torch.tensor([True, True]), torch.tensor([False, False])


def measured(target=(0.2, 0.2), drive=None):
    """Two samples of a unit that is pinned at its upper kink by its bias."""
    net = ctebm.LayeredNetwork([[[0.1]]], [[0.0], [2.0]], ctebm.HardSigmoid())
    clamped = net.clamp({"x": [[0.0], [0.0]]})
    fixed = ctebm.settle(clamped)
    targets = torch.tensor(target, dtype=torch.float64).unsqueeze(-1)
    return fixed, DrivenRun(
        clamped, fixed.state, targets, drive or Replace(), "euler", Replicates(0.0)
    )


def test_all_is_well():
    assert outcomes(*measured(), YES, NO)[0].tolist() == [0, 0]
    assert outcomes(*measured(), YES, NO)[1] == ["", ""]


def test_an_output_that_is_pulled_further_out_is_silent():
    status, message = outcomes(*measured(target=(0.2, 0.9)), YES, NO)
    assert status.tolist() == [0, 2]
    assert message[1].startswith("sample 1: outputs [0] are pinned at a kink and pulled further")


def test_a_weak_nudge_moves_no_pinned_output():
    status, message = outcomes(*measured(drive=Nudge(0.1)), YES, NO)
    assert status.tolist() == [2, 2] and "a weak nudge leaves them there" in message[0]


def test_the_worst_is_said_first():
    fixed, run = measured(target=(0.9, 0.9))  # silent outputs, whatever else
    status, message = outcomes(fixed, run, YES, torch.tensor([True, False]))
    assert status.tolist() == [4, 2] and "is not stable" in message[0]
    status, message = outcomes(fixed, run, torch.tensor([False, True]), YES)
    assert status.tolist() == [3, 4] and "use a smaller eps" in message[0]
    lost = replace(fixed, status=torch.tensor([1, 0]), message=["not there", ""])
    status, message = outcomes(lost, run, NO, YES)
    assert status.tolist() == [1, 3] and message[0] == "not there"
