"""A study as a function of its settings."""

from __future__ import annotations

import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
import sweep_toy as toy

from ctebm.study.swept import MOST_CLAIMS, StudyPoint, check_first_and_last
from ctebm.sweeps.points import Points


def point(*keep, **settings):
    return StudyPoint.of(toy.Settings(**settings), toy.run, toy.judge, keep)


def test_a_point_is_the_study_at_its_settings():
    found = point("size")(gain=3.0, eps=0.2)
    assert found.sizes == {"claim": MOST_CLAIMS, "eps": 1}
    assert found.size.item() == pytest.approx(0.6)
    assert str(found.claim_text.values[0]) == "it is small" and found.claim_text.values[1] == ""
    assert found.value.values[0] == pytest.approx(0.6) and found.bound.values[0] == 1
    assert found.holds.values[0] == 1 and np.isnan(found.value.values[1])
    odd = point()(gain=toy.MANY, seed=4)
    assert list(odd.claim_text.values[:2]) == ["it is odd", "it is small"]
    assert odd.value.values[0] == 4 and np.isnan(odd.bound.values[0])
    assert np.isnan(odd.holds.values[0]) and odd.holds.values[1] == 0


def test_it_travels_without_its_module(monkeypatch):
    content = cloudpickle.dumps(point(gain=2.0))
    monkeypatch.delitem(sys.modules, "sweep_toy")
    assert float(cloudpickle.loads(content)(eps=0.1).value[0]) == pytest.approx(0.2)


def test_what_is_kept_must_be_there():
    with pytest.raises(ValueError, match="--keep sise: did you mean 'size'"):
        point("sise")(gain=1.0)


def test_identity_is_settings_and_source():
    one, other = point(gain=1.0), point(gain=2.0)
    assert one.identity() == point(gain=1.0, out=Path("elsewhere")).identity()
    assert one.identity() != other.identity() != point("size", gain=2.0).identity()
    assert one.identity()["function"] == "study sweep_toy"
    found = other.identity() | {"threads": 1}
    assert StudyPoint.again(toy.Settings, toy.run, toy.judge, found).base["gain"] == 2.0
    with pytest.raises(ValueError, match="a sweep of study other, not of study sweep_toy"):
        found = found | {"function": "study other"}
        StudyPoint.again(toy.Settings, toy.run, toy.judge, found)


def test_settings_that_the_study_refuses_everywhere_are_refused_at_once():
    with pytest.raises(ValueError, match="--gain must be > 0, got -1"):
        check_first_and_last(point(), Points.grid({"gain": [-1.0, 1.0, -2.0]}))
    check_first_and_last(point(), Points.grid({"gain": [-1.0, 1.0]}))  # a point that fails
