"""What kinks do to a run, and the claims that hold until the first of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import ctebm
from ctebm.study.kinks import at_most_before_kinks, kink_variables, kink_verdicts, no_crossing
from ctebm.study.record import labelled

FIRST = [-1, 0, 2, 3]


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda x: xr.DataArray(x, dims="s")])
def test_no_crossing(kind) -> None:
    first = kind(FIRST)
    assert np.asarray(no_crossing(first)).tolist() == [True, False, False, False]
    assert np.asarray(no_crossing(first, until=2)).tolist() == [True, False, False, True]
    by_hand = [[f < 0 or f > n for n in range(5)] for f in FIRST]
    assert no_crossing(np.asarray(FIRST)[:, None], until=np.arange(5)).tolist() == by_hand


@pytest.fixture(scope="module")
def record() -> ctebm.Correspondence:
    """A run in which units are pinned and kinks are met."""
    net = ctebm.LayeredNetwork.random((64, 12, 10), ctebm.HardSigmoid(), gain=1.5, seed=1)
    images = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 64))
    target = np.where(np.eye(10)[:4], 0.4, -0.4)
    return ctebm.correspondence(net, images, target, (0.4, 0.2), t_end=8)


def test_variables_are_those_of_the_smallest_step(record: ctebm.Correspondence) -> None:
    found = kink_variables(record)
    first = record.first_crossing[:, 1].tolist()
    assert any(n >= 0 for n in first)
    np.testing.assert_allclose(
        found["crossing_time"][1], [0.2 * n if n >= 0 else np.inf for n in first]
    )
    np.testing.assert_allclose(
        found["pinned_share"][1], record.fixed.pinned.numpy().mean(-1), rtol=1e-15
    )


def test_they_are_reported_and_not_claimed(record: ctebm.Correspondence) -> None:
    dataset = labelled(kink_variables(record), {})
    words = {v.claim: v for v in kink_verdicts(dataset)}
    assert not any(v.must_hold for v in words.values())
    share = words["samples in which a unit meets or leaves a kink in the run"].value
    assert share == np.isfinite(dataset.crossing_time).mean()
    assert words["units held at a kink, share"].value == dataset.pinned_share.mean()
    quiet = dataset.assign(
        pinned_share=0 * dataset.pinned_share, crossing_time=("sample", [np.inf] * 4)
    )
    assert kink_verdicts(quiet) == []


def test_a_claim_on_what_no_kink_spoils() -> None:
    error = xr.DataArray([1e-9, 0.3, 2e-9], dims="sample")
    clear = no_crossing(xr.DataArray([-1, 3, 9], dims="sample"), until=4)
    verdict = at_most_before_kinks("error", error, clear, 1e-6, "note")
    assert (verdict.ok, verdict.value, verdict.note) == (True, 2e-9, "note")
    missing = error.where(error < 2e-9)
    assert at_most_before_kinks("error", missing, clear, 1e-6).word == "FAILS"
    assert at_most_before_kinks("error", missing, clear, 1e-6, where=error < 2e-9).word == "holds"
    assert at_most_before_kinks("error", error, clear, 1e-6, where=error < 0).word == "FAILS"
    nothing = at_most_before_kinks("error", error, clear & False, 1e-6)
    assert nothing.word == "no case" and "meets a kink before" in nothing.note
