"""Claims held against numbers; one that can't be evaluated fails."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr

from ctebm.study.verdict import Verdict, largest, smallest, verdict_table

NAN, INF = float("nan"), float("inf")


def test_direction() -> None:
    assert Verdict.at_most("a", 1.0, 1.0).ok
    assert not Verdict.at_most("a", 1.1, 1.0).ok
    assert Verdict.at_least("a", 1.0, 1.0).ok
    assert not Verdict.at_least("a", 0.9, 1.0).ok
    assert Verdict.at_least("a", 2, 1).relation == ">="
    assert Verdict.equal("a", 3, 3).ok
    assert not Verdict.equal("a", 4, 3).ok


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_was_not_measured_does_not_hold(value: float) -> None:
    verdicts = [Verdict.at_most("a", value, 1), Verdict.at_least("a", value, 1)]
    verdicts.append(Verdict.equal("a", value, 1))
    assert [v.word for v in verdicts] == ["FAILS"] * 3


def test_a_reported_number_is_no_claim() -> None:
    verdict = Verdict.reported("a", torch.tensor(NAN), "why")
    assert (verdict.word, verdict.bound, verdict.note) == ("reported", None, "why")
    assert math.isnan(verdict.value)


def test_record_is_plain_json() -> None:
    verdict = Verdict("a", np.float32(np.inf), np.float64(1), np.bool_(True))  # pyright: ignore[reportArgumentType]
    record = json.loads(json.dumps(verdict.to_record(), allow_nan=False))
    assert (record["value"], record["bound"], record["ok"]) == ("inf", 1.0, True)


@pytest.mark.parametrize("kind", [np.asarray, xr.DataArray, torch.tensor])
def test_extremes_of_what_a_claim_is_about(kind) -> None:
    values = kind([0.5, 0.25, NAN])
    known = kind([True, True, False])
    assert (largest(values, known), smallest(values, known)) == (0.5, 0.25)
    for extreme in (largest, smallest):
        assert math.isnan(extreme(values)), "a missing number was passed over"
        assert math.isnan(extreme(values, kind([False] * 3))), "nothing is there"


def test_extremes_join_dimensions_by_name() -> None:
    values = xr.DataArray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dims=("sample", "eps"))
    where = xr.DataArray([True, False, False], dims="sample")
    assert largest(values, where) == 2.0
    assert largest(values, where & xr.DataArray([True, False], dims="eps")) == 1.0


def test_the_table_counts_claims_and_not_reports() -> None:
    verdicts = [
        Verdict.at_most("small", 1.0, 2.0, "a note"),
        Verdict.at_least("large", NAN, 2.0),
        Verdict.reported("known", 7.0),
    ]
    assert verdict_table(verdicts).splitlines() == [
        "claim  value  bound  verdict",
        "small  1      <= 2   holds     a note",
        "large  nan    >= 2   FAILS",
        "known  7             reported",
        "1 of 2 claims hold",
    ]


def test_a_claim_without_a_case_neither_holds_nor_fails() -> None:
    verdict = Verdict.no_case("small before a kink", "every sample meets one")
    assert (verdict.word, verdict.must_hold, verdict.ok) == ("no case", False, False)
    table = verdict_table([verdict, Verdict.at_most("small", 1.0, 2.0)])
    assert table.splitlines()[1:] == [
        "small before a kink  nan           no case  every sample meets one",
        "small                1      <= 2   holds",
        "1 of 1 claims hold, 1 have no case",
    ]
