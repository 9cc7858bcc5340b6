"""Which networks fall to their kinks, and which steps kill a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.given import check_dataset
from ctebm.figures.panels import Panel, Series, panel_figure

__all__ = ["collapse_figure"]


def collapse_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Draw networks before learning by their eigenvalue, and what an epoch leaves of them.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/collapse.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, six of them; a figure of its own by default.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from ctebm.figures.collapse import collapse_figure
    >>> values, plane = np.array([-0.3, 0.3]), (("eigenvalue", "rate"), [[0.3, 0.6], [0.1, 0.2]])
    >>> one = (("lower", "depth", "eigenvalue"), np.full((2, 1, 2), 0.5))
    >>> names = {f"start_{n}": one for n in ("pinned", "hessian", "linear")}
    >>> coords = {"lower": [-0.5, -0.1], "depth": [3], "eigenvalue": values, "rate": [0.01, 0.1]}
    >>> data = xr.Dataset(names | {"push": plane, "dead": plane}, coords)
    >>> len(collapse_figure(data).axes)  # six panels and a colour bar
    7
    """
    check_dataset(
        dataset, "studies/collapse.py",
        "eigenvalue lower depth rate push dead start_pinned start_hessian start_linear",
    )  # fmt: skip
    value = dataset.eigenvalue.values
    start = "smallest eigenvalue at the start"

    def by_depth(name: str, lower: float) -> list[Series]:
        one = dataset[f"start_{name}"].sel(lower=lower)
        return [
            Series(value, one.isel(depth=i), f"{int(d)} hidden", colour=i)
            for i, d in enumerate(dataset.depth.values)
        ]

    deepest = dataset.isel(depth=int(np.argmax(dataset.depth.values)))
    by_kink = {
        name: [
            Series(value, deepest[f"start_{name}"].isel(lower=i), f"lower kink {k:g}", colour=i)
            for i, k in enumerate(dataset.lower.values)
        ]
        for name in ("hessian", "linear")
    }
    by_kink["hessian"].append(Series(value, value, "centred state", line=True, colour=6))
    runs = [
        Series(
            dataset.push.sel(eigenvalue=e),
            dataset.dead.sel(eigenvalue=e),
            f"$\\lambda$ = {e:g}",
            colour=i,
        )
        for i, e in enumerate(value)
    ]
    level = dataset.push.sel(eigenvalue=value).values
    rate = dataset.rate.values
    field = (rate, value, dataset.dead.values, "dead share of the worst layer")
    return panel_figure(
        [
            Panel("before learning, lower kink -0.5", start, "pinned hidden units, share",
                  by_depth("pinned", -0.5)),
            Panel("before learning, lower kink -0.1", start, "pinned hidden units, share",
                  by_depth("pinned", -0.1)),
            Panel(f"{int(deepest.depth)} hidden layers, as settled", start,
                  "smallest eigenvalue, free units", by_kink["hessian"]),
            Panel("after an epoch", "learning rate of every layer", start,
                  log="x", field=field, contour=(rate, value, level, 0.1)),
            Panel("after an epoch, by eigenvalue", "push of the last layer by the first step",
                  "dead share of the worst layer", runs, "x"),
            Panel(f"{int(deepest.depth)} hidden layers", start,
                  "share of last rates linear in x", by_kink["linear"]),
        ],
        2,
        question="Why does a naive deep run collapse, with most hidden units pinned and dead?",
        see="a, b, c, f: networks as they settle before they learn; below an eigenvalue of about "
        "-0.2 they fall to their kinks. d, e: after an epoch of steps; dashed: the first "
        "step pushes the last hidden layer by 0.1; up to there a stable network comes to no harm.",
        ax=ax,
    )  # fmt: skip
