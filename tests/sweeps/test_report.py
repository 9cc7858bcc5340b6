"""A sweep's report: one file, nothing from elsewhere, no markup from the data."""

from __future__ import annotations

import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ctebm
from ctebm.sweeps.report import report_html, write_report

NASTY = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """What a browser would make of it: tags, where they lead, and whether they are closed."""

    def __init__(self):
        super().__init__()
        self.names, self.links, self.open, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        self.links += re.findall(r"url\((.*?)\)", " ".join(v or "" for _, v in attrs))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def reported(tmp_path, function, grid):
    with warnings.catch_warnings(action="ignore"):
        ctebm.sweep(function, grid, out=tmp_path / "x.zarr").close()
    write_report(tmp_path / "x.zarr", tmp_path / "x.html")
    tags = Tags()
    tags.feed(Path(tmp_path, "x.html").read_text())
    assert not tags.open
    return tags


def test_it_is_whole_and_leads_nowhere(tmp_path):
    def function(a, word):
        if a == 2:
            raise ValueError(NASTY)
        return {"n": a, "m": len(word)}

    tags = reported(tmp_path, function, {"a": [1, 2, 3], "word": ["x", NASTY]})
    assert "4 of 6 points are done, 0 are not computed, 2 failed." in tags.text
    assert "script" not in tags.names and f"ValueError: {NASTY}" in tags.text
    assert "svg" in tags.names and all(link.startswith("#") for link in tags.links)
    assert "torch_version" in tags.text and f"x, {NASTY}" in tags.text


def test_it_says_what_cannot_be_drawn(tmp_path):
    tags = reported(tmp_path, lambda word: {"n": len(word)}, {"word": ["a", "bc"]})
    assert "a figure needs an axis of numbers" in tags.text and "svg" not in tags.names


def test_equal_sweeps_have_equal_figures(tmp_path):
    text = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        reported(tmp_path / name, lambda a: {"n": a}, {"a": [1, 2]})
        text.append(Path(tmp_path, name, "x.html").read_text())
    one, other = (re.search(r"<svg.*</svg>", t, re.S) for t in text)
    assert one and other and one[0] == other[0]


def test_what_is_no_sweep_has_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sweep at"):
        write_report(tmp_path / "x.zarr", tmp_path / "x.html")


class Asked:
    """A function that says what it is."""

    def __call__(self, gain):
        return {"x": gain}

    def identity(self):
        return {
            "function": "asked",
            "arguments": {"settings": {"gain": "the standing one", "depth": 3}},
        }


def test_settings_that_vary_stand_among_the_points_alone():
    text = report_html(ctebm.sweep(Asked(), {"gain": [0.5, 1.0]}))
    assert "<td>depth</td><td>3</td>" in text and "<td>gain</td><td>0.5, 1.0</td>" in text
    assert "the standing one" not in text
