"""Measurements as labelled datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctebm.study.record import labelled, stacked


def test_every_variable_says_what_it_is() -> None:
    data = labelled(
        {"error": (("eps", "layer"), torch.ones(2, 3), "relative error")},
        {"data": "digits"},
        {"eps": ("eps", [0.2, 0.1], "step size", "membrane time constant")},
    )
    assert data.error.dims == ("eps", "layer")
    assert data.error.attrs == {"long_name": "relative error", "units": "1"}
    assert data.eps.attrs["units"] == "membrane time constant"
    assert "eps" in data.indexes and data.attrs == {"data": "digits"}


def test_runs_come_first() -> None:
    rows = [{"a": torch.full((2, 3), float(i)), "b": i / 4} for i in range(4)]
    found = stacked(rows)
    assert found["a"].shape == (4, 2, 3)
    np.testing.assert_array_equal(found["b"], [0, 0.25, 0.5, 0.75])
    assert found["b"].dtype == torch.float64
    with pytest.raises(KeyError):
        stacked([*rows, {"a": torch.zeros(2, 3)}])
