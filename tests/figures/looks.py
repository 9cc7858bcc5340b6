"""The looks of a figure as plain values: what is drawn, where, and in which style.

``pytest tests/figures --record-looks`` writes those of every figure that the tests make into
``looks.json``; without the flag they are held against it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FuncFormatter, NullLocator

FILE = Path(__file__).with_name("looks.json")
NEAR, NOTHING = 1e-3, 1e-8  # how far numbers may lie apart, relative and absolute


def looks_of(figure: Figure) -> list[str]:
    """Return a line for each thing in a figure."""
    lines = ["figure " + _said(size=figure.get_size_inches())]
    lines += [f"text {_text(text)}" for text in figure.texts]
    if figure._suptitle is not None:  # pyright: ignore[reportAttributeAccessIssue]
        lines.append(f"text {_text(figure._suptitle)}")  # pyright: ignore[reportAttributeAccessIssue]
    lines += [line for legend in figure.legends for line in _legend(legend)]
    return lines + [f"{i} {line}" for i, ax in enumerate(figure.axes) for line in _axes(ax)]


def apart(found: list[str], expected: list[str]) -> str:
    """Return where two figures differ, "" where they look the same."""
    for a, b in zip(found, expected, strict=False):
        if not _same(a, b):
            return f"\n  now {a}\n  was {b}"
    return "" if len(found) == len(expected) else f"{len(found)} things, {len(expected)} before"


def load() -> dict[str, list[list[str]]]:
    """Return the recorded looks by test, for every figure that it makes."""
    file = json.loads(FILE.read_text()) if FILE.exists() else {"lines": [], "tests": {}}
    lines = file["lines"]
    return {
        test: [[lines[i] for i in figure] for figure in figures]
        for test, figures in file["tests"].items()
    }


def save(looks: dict[str, list[list[str]]]) -> None:
    """Write looks, each line of them once."""
    lines = sorted({line for figures in looks.values() for figure in figures for line in figure})
    number = {line: i for i, line in enumerate(lines)}
    tests = ",\n".join(
        f"  {json.dumps(test)}: {[[number[line] for line in figure] for figure in looks[test]]}"
        for test in sorted(looks)
    )
    words = ",\n".join(f"  {json.dumps(line)}" for line in lines)
    FILE.write_text(f'{{"lines": [\n{words}\n],\n"tests": {{\n{tests}\n}}}}\n')


def _same(a: str, b: str) -> bool:
    if a == b:
        return True
    one, other = (line.replace('"', " ").split() for line in (a, b))
    return len(one) == len(other) and all(map(_near, one, other))


def _near(a: str, b: str) -> bool:
    if a == b:
        return True
    try:
        return math.isclose(float(a), float(b), rel_tol=NEAR, abs_tol=NOTHING)
    except ValueError:
        return False


def _said(**values: Any) -> str:
    return " ".join(f"{name} {_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool | None):
        return str(value)
    numbers = np.ma.filled(np.ma.asarray(value, float), np.nan).ravel()
    return " ".join(f"{x:.5g}" for x in numbers.tolist())


def _data(values: Any) -> str:
    """Return how many numbers there are, and where they lie."""
    x = np.ma.filled(np.ma.asarray(values, float), np.nan).ravel()
    known = x[np.isfinite(x)]
    parts = [known.min(), known.mean(), known.max(), known[0]] if known.size else []
    return f"{x.size} {known.size} {_word(parts)}"


def _colour(value: Any) -> str:
    if isinstance(value, str) and value in ("none", "auto"):
        return value
    return to_hex(value, keep_alpha=True)


def _text(text: Any) -> str:
    return _said(
        text=text.get_text(), size=text.get_fontsize(), colour=_colour(text.get_color()),
        weight=str(text.get_weight()), at=text.get_position(), ha=text.get_ha(), va=text.get_va(),
        turned=text.get_rotation(), layer=text.get_zorder(),
    )  # fmt: skip


def _line(line: Line2D) -> str:
    x, y = line.get_data()
    look = _said(
        label=_label(line), colour=_colour(line.get_color()), alpha=line.get_alpha(),
        style=line.get_linestyle(), width=line.get_linewidth(), steps=line.get_drawstyle(),
        marker=str(line.get_marker()), size=line.get_markersize(), layer=line.get_zorder(),
        face=_colour(line.get_markerfacecolor()), edge=_colour(line.get_markeredgecolor()),
        rim=line.get_markeredgewidth(),
    )  # fmt: skip
    return f"{look} x {_data(x)} y {_data(y)}"


def _label(artist: Any) -> str:
    label = str(artist.get_label())
    return "" if label.startswith("_child") else label


def _collection(one: Collection) -> str:
    colours = [
        ",".join(sorted({_colour(c) for c in colours})[:8])
        for colours in (one.get_facecolor(), one.get_edgecolor())
    ]
    look = _said(
        label=_label(one), face=colours[0], edge=colours[1], alpha=_alpha(one),
        widths=sorted({*np.atleast_1d(one.get_linewidth()).tolist()})[:4],
        layer=one.get_zorder(), hatch=str(one.get_hatch()),
    )  # fmt: skip
    if isinstance(one, ContourSet):  # rounding decides how many lines there are
        return f"{look} {_said(levels=one.levels, filled=str(one.filled))}"
    look = f"{look} {_said(range=_range(one))}"
    points = [path.vertices for path in one.get_paths()]
    parts = _data(np.concatenate(points)) if points else "0"
    places = _data(one.get_offsets()) if isinstance(one, PathCollection) else ""
    sizes = _data(one.get_sizes()) if isinstance(one, PathCollection) else ""
    return f"{look} paths {len(points)} {parts} at {places} sizes {sizes}"


def _alpha(one: Collection) -> Any:
    alpha = one.get_alpha()
    return None if alpha is None else float(np.mean(alpha))


def _range(mappable: Any) -> str:
    if mappable.get_array() is None:
        return ""
    values = _data(mappable.get_array())
    return f"{mappable.get_cmap().name} {_word([v or 0 for v in mappable.get_clim()])} {values}"


def _patch(patch: Patch) -> str:
    return _said(
        label=_label(patch), face=_colour(patch.get_facecolor()),
        edge=_colour(patch.get_edgecolor()), width=patch.get_linewidth(), alpha=patch.get_alpha(),
        hatch=str(patch.get_hatch()), layer=patch.get_zorder(),
        box=patch.get_path().get_extents(patch.get_patch_transform()).get_points(),
    )  # fmt: skip


def _legend(legend: Legend) -> list[str]:
    frame = legend.get_frame()
    first = _said(
        place=str(legend._loc), columns=legend._ncols, frame=legend.get_frame_on(),  # pyright: ignore[reportAttributeAccessIssue]
        face=_colour(frame.get_facecolor()), edge=_colour(frame.get_edgecolor()),
        title=legend.get_title().get_text(),
    )  # fmt: skip
    entries = [_line(e) for e in legend.get_lines()] + [_patch(e) for e in legend.get_patches()]
    words = [_said(text=t.get_text(), size=t.get_fontsize()) for t in legend.get_texts()]
    return [f"legend {line}" for line in (first, *entries, *words)]


def _axis(axis: Any) -> str:
    formatter = axis.get_major_formatter()
    words = (
        [t.get_text() for t in axis.get_ticklabels()]
        if isinstance(formatter, FixedFormatter | FuncFormatter)
        else []
    )
    return _said(
        scale=axis.get_scale(), limits=axis.get_view_interval(), label=axis.get_label_text(),
        kind=type(formatter).__name__, words=" ".join(words), ticks=_ticks(axis),
        minor=not isinstance(axis.get_minor_locator(), NullLocator), shown=axis.get_visible(),
    )  # fmt: skip


def _ticks(axis: Any) -> list[float]:
    places = axis.get_majorticklocs()
    return [
        x for x in places if min(axis.get_view_interval()) <= x <= max(axis.get_view_interval())
    ]


def _axes(ax: Axes) -> list[str]:
    lines = [
        "axes " + _said(shown=ax.axison, aspect=str(ax.get_aspect()), left=ax.get_title("left"),
                        middle=ax.get_title(), ground=_colour(ax.get_facecolor())),
        f"x {_axis(ax.xaxis)}", f"y {_axis(ax.yaxis)}",
        *(f"line {_line(line)}" for line in ax.lines),
        *(f"{type(one).__name__} {_collection(one)}" for one in ax.collections),
        *(f"patch {_patch(patch)}" for patch in ax.patches),
        *(f"text {_text(text)}" for text in ax.texts),
        *(f"image {_image(image)}" for image in ax.images if isinstance(image, AxesImage)),
    ]  # fmt: skip
    legend = ax.get_legend()
    return lines if legend is None else [*lines, *_legend(legend)]


def _image(image: AxesImage) -> str:
    return _said(
        extent=image.get_extent(), alpha=image.get_alpha(), layer=image.get_zorder(),
        between=str(image.get_interpolation()), range=_range(image), origin=str(image.origin),
    )  # fmt: skip
