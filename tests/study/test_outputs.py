"""A study's dataset and figures belong together, and their place to one study at a time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import xarray as xr
from matplotlib.figure import Figure

import ctebm
from ctebm.study import Settings, Verdict
from ctebm.study.outputs import claimed, save_dataset, save_figure


def test_a_place_belongs_to_one_study_at_a_time(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "deep" / "a")
    with claimed(settings):
        with pytest.raises(BlockingIOError, match=r"a\.nc is in use by process \d+ on "):
            claimed(settings).__enter__()
        with claimed(Settings(out=tmp_path / "deep" / "b")):
            pass
    assert list((tmp_path / "deep").iterdir()) == []


def test_old_figures_go_as_new_data_come(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "a", overwrite=True, seed=7)
    verdicts = [Verdict.at_most("is small", 1.0, 2.0)]
    save_dataset(xr.Dataset({"eps": 0.1}), verdicts, settings, "a --seed 7")
    save_figure(Figure(), settings.stem, pdf=True)
    assert {p.suffix for p in tmp_path.iterdir()} == {".nc", ".png", ".pdf"}
    save_dataset(xr.Dataset({"eps": 0.2}), verdicts, settings, "a --seed 7")
    assert {p.suffix for p in tmp_path.iterdir()} == {".nc"}
    with ctebm.open(tmp_path / "a.nc") as dataset:
        attrs = dataset.attrs
    assert (attrs["seed"], attrs["study"], attrs["history"]) == (7, "settings", "a --seed 7")
    assert json.loads(attrs["verdicts"])[0]["claim"] == "is small"


def test_data_that_can_not_be_written_leave_the_old_figures(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "a", overwrite=True)
    save_figure(Figure(), settings.stem, pdf=True)
    bad = xr.Dataset(attrs={"bad": None})
    with pytest.raises(ValueError, match="leave it out"):
        save_dataset(bad, [], settings, "")
    assert {p.suffix for p in tmp_path.iterdir()} == {".png", ".pdf"}


def test_settings_are_kept_but_those_of_files(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "a", seed=7)
    save_dataset(xr.Dataset({"eps": 0.1}), [], settings, "")
    with ctebm.open(tmp_path / "a.nc") as dataset:
        kept = json.loads(dataset.attrs["settings"])
    names = {"out", "overwrite", "figure", "pdf", "config", "print_config"}
    assert kept.keys() == {f.name for f in dataclasses.fields(settings)} - names
    assert kept["seed"] == 7
