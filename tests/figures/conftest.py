"""Every figure that a test of figures makes can be read in its final size."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.contour import ContourSet
from matplotlib.ticker import FuncFormatter

from ctebm.figures.page import Page

sys.path.append(str(Path(__file__).parent))
import looks

MM = 1 / 25.4  # inches
LETTER = 1.4  # mm, the width of a letter in the mean
GUIDES = ("0.5", "0.6", "0.75", "0.93")  # greys behind the data


RECORDED = looks.load()
MADE: dict[str, list[list[str]]] = {}


def pytest_addoption(parser):
    words = "write how figures look into looks.json, in place of holding them against it"
    parser.addoption("--record-looks", action="store_true", help=words)


def pytest_sessionfinish(session):
    if session.config.getoption("--record-looks", default=False):
        looks.save(RECORDED | MADE)


@pytest.fixture(autouse=True)
def legible(monkeypatch, request):
    """Look at every page of its own, once the test has done with it."""
    pages, made = [], []
    for name in ("ask", "legend"):
        monkeypatch.setattr(
            Page, name, noted(getattr(Page, name), pages if name == "ask" else made)
        )
    yield
    for page in pages:
        if not page.given:
            assert_legible(page.figure)
    for page in made:
        _assert_legends_legible(page.figure)
    figures = {id(page.figure): page.figure for page in [*pages, *made]}
    _look_at(request, [looks.looks_of(figure) for figure in figures.values()])


def _look_at(request, figures):
    """Assert that figures look as they are recorded, or note how they look."""
    test = f"{request.path.stem}::{request.node.name}"
    if request.config.getoption("--record-looks", default=False):
        MADE[test] = figures
        return
    remedy = "if that is meant, run pytest tests/figures --record-looks"
    recorded = RECORDED.get(test, [])
    assert len(figures) == len(recorded), f"{test} makes {len(figures)} figures; {remedy}."
    for now, before in zip(figures, recorded, strict=True):
        assert not (where := looks.apart(now, before)), f"{where}\n{remedy}."


def noted(method, pages):
    """Return a method of pages that lists those it is called on."""

    def call(page, *words):
        pages.append(page)
        method(page, *words)

    return call


def assert_legible(figure):
    width, height = figure.get_size_inches() / MM
    assert round(width, 6) in (85, 170) and 45 < height < 240
    shown = [ax for ax in figure.axes if ax.axison and not hasattr(ax, "_colorbar")]
    titles = [ax.get_title("left") for ax in shown]
    letters = [title[len(r"$\mathbf{")] for title in titles if title.startswith(r"$\mathbf{")]
    assert letters == [chr(ord("a") + i) for i in range(len(letters))]
    assert len(letters) == len(titles) or (not letters and len(titles) == 1)
    for ax, title in zip(shown, titles, strict=True):
        broad = width / ax.get_subplotspec().get_gridspec().ncols
        assert all(
            len(line) <= 0.62 * broad / LETTER
            for line in title.removeprefix(title[: title.find("$  ") + 3]).split("\n")
            if "$" not in line
        )
        for axis, shared in (("x", ax.get_shared_x_axes()), ("y", ax.get_shared_y_axes())):
            named = [getattr(one, f"get_{axis}label")() for one in shared.get_siblings(ax)]
            ticks = getattr(ax, f"{axis}axis").get_major_formatter()
            assert any(named) or isinstance(ticks, FuncFormatter)  # words at the ticks
        _assert_lines_legible(ax)
    words = (text for text in figure.findobj(mpl.text.Text) if text.get_text())
    assert min((text.get_fontsize() for text in words), default=7) >= 7


def _assert_lines_legible(ax):
    """Assert that lines are fine, guides finer, markers small, and that no data are cut off."""
    for line in ax.lines:
        if line.get_linestyle() != "None" and line.get_linewidth():
            assert 0.5 <= line.get_linewidth() <= (0.8 if line.get_color() in GUIDES else 1.5)
        if line.get_marker() not in ("None", "", None):
            hollow = line.get_markerfacecolor() == "none"
            assert 3 <= line.get_markersize() <= (8 if hollow else 5.5)
            assert line.get_markeredgewidth() <= 1
        if line.get_transform() == ax.transData:
            points = np.asarray(line.get_xydata(), float)
            points = points[np.isfinite(points).all(1)].T
            ends = (ax.get_xscale(), ax.get_xlim()), (ax.get_yscale(), ax.get_ylim())
            for at, (scale, limits) in zip(points, ends, strict=True):
                if scale == "linear":
                    assert ((min(limits) <= at) & (at <= max(limits))).all()
    for bars in ax.collections:
        if isinstance(bars, ContourSet):
            assert float(np.max(bars.get_linewidth())) <= 1.5
        if isinstance(bars, LineCollection):
            assert 0.5 <= float(np.max(bars.get_linewidth())) <= 1


def _assert_legends_legible(figure):
    for legend in figure.findobj(mpl.legend.Legend):
        for entry in legend.get_lines():  # broad ones stand for areas
            assert entry.get_linewidth() in (0, 6) or 0.5 <= entry.get_linewidth() <= 1.5
            if entry.get_marker() not in ("None", "", None):
                assert 3 <= entry.get_markersize() <= 8 and entry.get_markeredgewidth() <= 1
