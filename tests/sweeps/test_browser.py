"""A sweep's report in a real browser: drawn, silent, and asking nobody for anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ctebm
from ctebm.sweeps.report import write_report

pytestmark = pytest.mark.slow
NASTY = (
    "<img src=http://127.0.0.1:9/x><script>document.title = 'taken'; console.error('x')</script>"
)
LIMIT = 120  # seconds


@pytest.fixture
def chromium():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium on this machine to open a report with")
    return found


def opened(chromium: str, page: Path):
    """Return what a browser makes of a page: its text, pixels, console, and what it asks for."""
    log, picture = page.with_suffix(".json"), page.with_suffix(".png")
    words = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=900,1400",
        "--hide-scrollbars", "--enable-logging=stderr", f"--user-data-dir={page.parent / 'user'}",
        f"--log-net-log={log}", f"--screenshot={picture}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run([chromium, *words], capture_output=True, text=True, timeout=LIMIT)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {  # requests of the page; those of the browser itself have no origin
        e["url"] for e in events if e.get("initiator", "not an origin") != "not an origin"
    }
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, plt.imread(picture)[..., :3], said, {u for u in asked if u[:5] != "file:"}


def blue(pixels) -> int:
    """Return how many pixels have the colour of the figure's points."""
    return int((abs(pixels - np.array([0, 114, 178]) / 255).max(-1) < 0.01).sum())


def test_a_report_is_drawn_says_nothing_and_asks_for_nothing(chromium, tmp_path):
    def function(a, word):
        if a == 2:
            raise ValueError(NASTY)
        return {"n": a, "m": len(word)}

    with warnings.catch_warnings(action="ignore"):
        grid = {"a": [1, 2, 3], "word": ["x", NASTY]}
        ctebm.sweep(function, grid, out=tmp_path / "x.zarr").close()
    write_report(tmp_path / "x.zarr", tmp_path / "x.html")
    text, pixels, said, asked = opened(chromium, tmp_path / "x.html")
    assert not said and not asked
    assert "<title>" in text and "taken</title>" not in text and "&lt;script&gt;" in text
    assert blue(pixels) > 20


def test_markup_in_a_page_would_be_seen(chromium, tmp_path):
    """What the test above must not find is found where it is."""
    page = tmp_path / "x.html"
    page.write_text(f"<!doctype html><title>mine</title>{NASTY}")
    text, pixels, said, asked = opened(chromium, page)
    assert "<title>taken</title>" in text and len(said) == 1
    assert asked == {"http://127.0.0.1:9/x"} and not blue(pixels)
