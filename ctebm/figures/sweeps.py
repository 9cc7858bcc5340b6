"""A sweep drawn: what was measured against one axis, with intervals over seeds."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from ctebm.figures.given import check_dataset
from ctebm.figures.panels import Panel, Series, panel_figure

__all__ = ["claims", "inline_svg", "mean_interval", "sweep_figure"]

_SEED = "seed"  # the axis of replicates
_CONFIDENCE = 0.95
_WIDE = 30.0  # ratio of ends from which an axis is logarithmic
_COLOURS = 7


def sweep_figure(dataset: xr.Dataset) -> Figure:
    """Draw every number of a sweep against the longest axis of numbers, a colour for each other.

    Points are means over the axis ``seed``, bars their intervals of 95 %; a line is the bound of a
    claim. Points that failed are left out, and the figure says how many; what has no number
    anywhere has no panel, and the figure names it.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of :func:`ctebm.sweep`, or of a study's sweep.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For another dataset, and if there is nothing to draw: no axis of numbers, or no number
        without further dimensions.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.figures.sweeps import sweep_figure
    >>> found = ctebm.sweep(lambda a, seed: {"n": a + seed}, {"a": [1, 2], "seed": range(3)})
    >>> sweep_figure(found).axes[0].get_xlabel()
    'a'
    """
    check_dataset(dataset, "ctebm.sweep()", "status")
    axes = [str(dim) for dim in dataset.status.dims]
    numeric = [a for a in axes if a != _SEED and dataset[a].dtype.kind in "iuf"]
    if not numeric:
        raise ValueError(f"a figure needs an axis of numbers, got {', '.join(axes)}.")
    x = max(numeric, key=lambda axis: dataset.sizes[axis])
    others = [axis for axis in axes if axis not in (x, _SEED)]
    fixed = {axis: dataset[axis].values[0] for axis in others[1:]}
    colour = others[0] if others else None
    shown = dataset.sel(fixed)
    found = _measured(shown)
    measured = [one for one in found if bool(one[1].notnull().any())]
    if not measured:
        raise ValueError("a figure needs numbers without further dimensions; there are none.")
    empty = [name for name, values, *_ in found if not bool(values.notnull().any())]
    panels = [
        Panel(name, x, name if short else "value", _series(values, bound, x, colour),
              _scales(values, bound, shown[x].values), alone=True)
        for name, values, bound, short in measured
    ]  # fmt: skip
    missing = int((dataset.status != 1).sum())
    n_seeds = dataset.sizes.get(_SEED, 1)
    see = f"Means of {n_seeds} seeds with intervals of 95 %. " if n_seeds > 1 else ""
    see += "".join(f"{axis} = {value}. " for axis, value in fixed.items())
    see += f"{missing} of {dataset.status.size} points are missing. " if missing else ""
    see += f"Without a number at any point: {'; '.join(empty)}." if empty else ""
    return panel_figure(panels, question=str(dataset.attrs.get("title", "")), see=see.strip())


def inline_svg(figure: Figure) -> str:
    """Return a figure as an SVG that can stand inside HTML; equal figures are equal.

    Parameters
    ----------
    figure : Figure
        What to draw.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from ctebm.figures.sweeps import inline_svg
    >>> inline_svg(Figure())[:4]
    '<svg'
    """
    text = io.StringIO()
    undated = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.hashsalt": "ctebm"}):
        figure.savefig(text, format="svg", metadata=undated)
    return text.getvalue()[text.getvalue().index("<svg") :]


def claims(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return what a study's sweep says of each claim: value, bound, and whether it holds.

    Where a claim is not made, these are NaN.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of a study's sweep, with dimension ``claim``.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.figures.sweeps import claims
    >>> text = (("a", "claim"), [["small", ""], ["known", "small"]])
    >>> value = (("a", "claim"), [[0.1, 0.0], [1.0, 0.2]])
    >>> found = claims(xr.Dataset({"claim_text": text, "value": value, "bound": value,
    ...                            "holds": value}))
    >>> found["small"].value.values
    array([0.1, 0.2])
    """
    texts = dataset.claim_text.astype(object)
    names = dict.fromkeys(str(text) for text in texts.values.ravel() if text)
    numbers = dataset[["value", "bound", "holds"]]
    return {name: numbers.where(texts == name).max("claim") for name in names}


def mean_interval(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return means over seeds and the ends of their intervals of 95 %, by Student's t.

    NaN is left out; the interval of fewer than two values is NaN.

    Parameters
    ----------
    values : DataArray
        With a dimension ``seed``.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.figures.sweeps import mean_interval
    >>> [round(float(v), 3) for v in mean_interval(xr.DataArray([1.0, 3.0], dims="seed"))]
    [2.0, -10.706, 14.706]
    """
    n = values.notnull().sum(_SEED)
    mean = values.mean(_SEED)
    spread = values.std(_SEED, ddof=1) / np.sqrt(n)
    factor = xr.DataArray(stats.t.ppf((1 + _CONFIDENCE) / 2, np.maximum(n.values - 1, 1)), n.coords)
    half = (factor * spread).where(n > 1)
    return mean, mean - half, mean + half


def _measured(dataset: xr.Dataset) -> list[tuple[str, xr.DataArray, xr.DataArray | None, bool]]:
    """Return title, values and bound of what is drawn, and whether the title is its name."""
    axes = dataset.status.dims
    if {"claim_text", "value", "bound"} <= set(dataset):
        return [(text, one.value, one.bound, False) for text, one in claims(dataset).items()]
    return [
        (str(name), dataset[name], None, True)
        for name in sorted(dataset.data_vars, key=str)
        if dataset[name].dims == axes and dataset[name].dtype.kind == "f"
    ]


def _series(
    values: xr.DataArray, bound: xr.DataArray | None, x: str, colour: str | None
) -> list[Series]:
    series = []
    at = values[x].values
    if bound is not None and bool(bound.notnull().any()):
        line = bound.max([d for d in bound.dims if d != x])
        series.append(Series(at, line.values, "bound", line=True, colour=_COLOURS - 1))
    rows = [("", values)] if colour is None else [
        (f"{colour} = {value}", values.sel({colour: value})) for value in values[colour].values
    ]  # fmt: skip
    for i, (label, row) in enumerate(rows):
        if _SEED in row.dims:
            mean, low, high = (v.values for v in mean_interval(row))
            series.append(Series(at, mean, label, colour=i, low=low, high=high))
        else:
            series.append(Series(at, row.values, label, colour=i))
    return series


def _scales(values: xr.DataArray, bound: xr.DataArray | None, x: np.ndarray) -> str:
    ends = mean_interval(values)[1] if _SEED in values.dims else values
    seen = np.concatenate([values.values.ravel(), ends.values.ravel()])
    if bound is not None:
        seen = np.concatenate([seen, bound.values.ravel()])
    seen = seen[np.isfinite(seen)]
    return ("x" if _spans(np.asarray(x, float)) else "") + ("y" if _spans(seen) else "")


def _spans(numbers: np.ndarray) -> bool:
    return bool(numbers.size and numbers.min() > 0 and numbers.max() > _WIDE * numbers.min())
