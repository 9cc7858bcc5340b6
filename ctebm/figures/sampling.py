"""What noise does: paths over saddles, exits from a region, responses read from fluctuations."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.given import check_dataset
from ctebm.figures.panels import Panel, Series, panel_figure

__all__ = ["path_figure", "response_figure", "survival_figure"]

_MOST_POINTS = 60  # of a survival curve
_TAU = "time (time constants)"


def path_figure(dataset: xr.Dataset, *, ax: Any = None, window: bool = False) -> Figure:
    """Show the energy along a path of least energy, with its minima and saddles.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.EnergyPath.to_dataset`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Examples
    --------
    >>> import ctebm
    >>> pair = ctebm.DenseNetwork([[0, 8], [8, 0]], [-4, -4], ctebm.Tanh())
    >>> path = ctebm.minimum_energy_path(pair, [-0.7, -0.7], [0.7, 0.7])
    >>> len(ctebm.figures.path_figure(path.to_dataset()).axes[0].lines)  # path, minima, saddles
    3
    """
    check_dataset(
        dataset, "EnergyPath.to_dataset()",
        "length energy state minimum well_energy saddle_state saddle_energy barrier",
    )  # fmt: skip
    curves = [
        Series(dataset.length, dataset.energy, "path", line=True),
        Series(_lengths_at(dataset, "minimum"), dataset.well_energy, "minimum", colour=2),
        Series(_lengths_at(dataset, "saddle_state"), dataset.saddle_energy, "saddle", colour=1),
    ]
    return panel_figure(
        [Panel("", "length along the path", "energy", curves)],
        question="Which way does noise take from one valley to the other?",
        see=f"The highest saddle is {float(dataset.barrier):.3g} above the first minimum.",
        ax=ax,
        window=window,
    )


def _lengths_at(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Return the lengths of the images that are nearest to points of the path."""
    apart = dataset[name].values[:, None] - dataset.state.values
    return dataset.length.values[np.linalg.norm(apart, axis=-1).argmin(1)]


def survival_figure(dataset: xr.Dataset, *, ax: Any = None, window: bool = False) -> Figure:
    r"""Show the share of chains that are still inside, and the law of a constant rate.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.Passage.to_dataset`. Chains that did not start inside, or were not
        finite, are in no share.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Examples
    --------
    >>> import torch, ctebm
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> noisy, start = ctebm.Dynamics(unit, sigma=1.0), torch.zeros(64, 1)
    >>> found = ctebm.first_passage(
    ...     noisy, start, lambda s: 0.5 - s[..., 0], eps=0.01, n_steps=2000, seed=0
    ... )
    >>> ctebm.figures.survival_figure(found.to_dataset()).axes[0].get_yscale()
    'log'
    """
    check_dataset(dataset, "Passage.to_dataset()", "status time mean mean_interval")
    status = dataset.status.values
    exits = np.sort(dataset.time.values[status == 0])
    n = int(((status == 0) | (status == 2)).sum())
    kept = np.unique(np.linspace(0, len(exits), _MOST_POINTS + 1).round().astype(int))
    kept = kept[kept < n]  # a share of 0 has no place on a logarithmic axis
    time = np.concatenate([[0.0], exits])[kept]
    t = np.linspace(0, float(np.nanmax(dataset.time.values)), 50)
    low, high = dataset.mean_interval.values
    law = [
        Series(t, np.exp(-t / mean), label, line=True, colour=colour)
        for mean, label, colour in (
            (float(dataset["mean"]), "constant rate", 0),
            (low, "95 % interval of the rate", 3),
            (high, "", 3),
        )
        if mean > 0  # no time at all was watched where none began, or none stayed finite
    ]
    measured = Series(time, 1 - kept / max(n, 1), "chains", colour=1)
    return panel_figure(
        [Panel("", _TAU, "share still inside", [*law, measured], log="y")],
        question="When do chains leave, and at a constant rate?",
        see="Points: shares of the chains. They are on the line where the rate is constant.",
        ax=ax,
        window=window,
    )


def response_figure(dataset: xr.Dataset, *, ax: Any = None, window: bool = False) -> Figure:
    """Show responses read from fluctuations against those of the linear motion, unit by unit.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.FluctuationResponse.to_dataset`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 2], ctebm.HardSigmoid(), gain=0.5, seed=0).centred()
    >>> found = ctebm.fluctuation_response(
    ...     net, [0.0] * 5, [0, 0, 0, 1, 0], eps=0.1, n_steps=3, sigma=0.01, chains=9, time=9,
    ... )
    >>> figure = ctebm.figures.response_figure(found.to_dataset())
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['equal', 'layer x', 'layer y']
    """
    check_dataset(
        dataset, "FluctuationResponse.to_dataset()", "exact layer unit displacement error"
    )
    exact = dataset.exact.values
    ends = np.array([exact.min(), exact.max()])
    points = []
    for i, layer in enumerate(dict.fromkeys(dataset.layer.values.tolist())):
        one = dataset.isel(unit=dataset.layer.values == layer)
        low, high = (one.displacement + side * 2 * one.error for side in (-1, 1))
        label = f"layer {layer}"
        points.append(Series(one.exact, one.displacement, label, colour=i + 1, low=low, high=high))
    return panel_figure(
        [
            Panel(
                "", "response of the linear motion", "read from fluctuations",
                [Series(ends, ends, "equal", line=True), *points],
            )
        ],
        question="Do fluctuations without a force tell the response to it?",
        see="A point is a unit, its bar two standard errors.",
        ax=ax,
        window=window,
    )  # fmt: skip
