"""The record of a branch: its outcome and its dataset."""

import pytest
import torch
from analytic import TANH, pair

from ctebm import AsymmetricNetwork, LayeredNetwork, continue_branch, settle


def pitchfork(end=8.0, **options):
    return continue_branch(lambda w: pair(w, TANH), [0.0, 0.0], (2.0, end), **options)


def test_outcome():
    branch = pitchfork()
    assert (branch.status, branch.complete) == ("complete", True)
    assert branch.raise_for_status() is branch and "reached the end 8" in branch.message
    short = pitchfork(max_points=5)
    assert (short.status, short.complete) == ("incomplete", False)
    with pytest.raises(RuntimeError, match="max_points"):
        short.raise_for_status()
    assert short.to_dataset().status == "incomplete"


def test_everything_is_evaluated_at_its_points():
    branch = pitchfork()
    for k in (0, 7, -1):
        network, s = branch.family(float(branch.parameter[k])), branch.state[k]
        assert branch.residual[k] == network.force(s).abs().max() <= branch.tol
        assert branch.energy[k] == network.energy(s)
    assert branch.index.tolist() == [int(w > 4 + 1e-6) for w in branch.parameter]


def test_without_an_energy_there_is_none():
    def family(w):
        return AsymmetricNetwork([[0, w], [-w, 0]], [0, 0], TANH).centred()

    branch = continue_branch(family, [0, 0], (1.0, 2.0))
    assert branch.energy.isnan().all() and set(branch.stability) == {"stable"}


def test_events_by_kind():
    branch = pitchfork()
    (event,) = branch.events
    assert branch.branch_points == branch.of_kind("pitchfork") == [event] and branch.folds == []
    assert branch == branch and branch != pitchfork()


@pytest.mark.parametrize("end", [8.0, 3.0], ids=["with an event", "without"])
def test_dataset_is_labelled(end):
    branch = pitchfork(end)
    dataset = branch.to_dataset()
    assert dataset.state.dims == ("point", "unit")
    assert dataset.sizes["event"] == len(branch.events)
    for name in dataset.variables:
        assert {"long_name", "units"} <= set(dataset[name].attrs)


def test_dataset_knows_layers():
    whole = LayeredNetwork.random([3, 4, 2], TANH, gain=0.5, seed=0)

    def family(p):
        return whole.clamp({"x": torch.full((3,), p)})

    branch = continue_branch(family, settle(family(0.0)), (0.0, 1.0), step=0.5)
    assert branch.to_dataset().sel(layer="y").sizes["unit"] == 2
