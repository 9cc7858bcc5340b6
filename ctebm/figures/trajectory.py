"""How states move in a run, layer by layer."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ctebm.figures.given import check_dataset, check_place
from ctebm.figures.page import new_page
from ctebm.figures.style import LINE, MM, NARROW, OKABE_ITO, STYLE, WIDE, name_panel

__all__ = ["trajectory_figure"]

_MOST_LINES = 50  # of a panel, beyond which they can't be told apart
_ROW = 47 * MM  # height of a row of panels


def trajectory_figure(
    dataset: xr.Dataset, *, sample: int = 0, ax: Any = None, window: bool = False
) -> Figure:
    r"""Show the states of one sample against time: a panel a layer, a line a unit.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.Trajectory.to_dataset`.
    sample : int
        Which row; not its number, by which its noise is named.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, one for each layer; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.

    Returns
    -------
    Figure
        Of a layer with more than 50 units the first 50 are drawn, as its title says.

    Raises
    ------
    ValueError
        If observables were saved instead of states.
    IndexError
        For a sample that is not there.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.figures import trajectory_figure
    >>> net = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    >>> run = ctebm.simulate(net, [0.2, -0.1], n_steps=10, eps=0.1)
    >>> len(trajectory_figure(run.to_dataset()).axes[0].lines)
    2
    """
    check_dataset(dataset, "Trajectory.to_dataset()", "time layer sample")
    if "state" not in dataset:
        raise ValueError("expected a run with its states, got observables; draw these yourself.")
    n = dataset.sizes["sample"]
    check_place("samples", sample, n)
    one = dataset.isel(sample=sample)
    layers = list(dict.fromkeys(dataset.layer.values.tolist()))
    columns = len(layers) if ax is not None else min(len(layers), 3)
    rows = -(-len(layers) // columns)
    with mpl.rc_context(STYLE):
        width = WIDE if columns > 1 else NARROW
        size = width, _ROW * rows + 3 * LINE
        page = new_page(ax, rows, columns, size, window, sharex=True, sharey=True)
        for i, (panel, layer) in enumerate(zip(page.axes.flat, layers, strict=False)):
            states = one.state.values[:, dataset.layer.values == layer]
            for k, line in enumerate(states[:, :_MOST_LINES].T):
                panel.plot(one.time, line, lw=0.8, color=OKABE_ITO[k % len(OKABE_ITO)])
            few = "" if states.shape[1] <= _MOST_LINES else f", first {_MOST_LINES} units"
            name_panel(
                panel, i if len(layers) > 1 else None, f"layer {layer}{few}", width / columns
            )
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("time (time constants)")
            for end in _ends_of_phases(one):
                panel.axvline(end, color="0.6", lw=0.6, ls=":")
        for spare in page.axes.flat[len(layers) :]:
            spare.remove()
        for first in page.axes[:, 0]:
            first.set_ylabel("state")
        phases = " Dotted: a phase ends." if "phase" in one else ""
        page.ask("How do the states of each layer move?", "A line is a unit." + phases)
    return page.figure


def _ends_of_phases(one: xr.Dataset) -> np.ndarray:
    """Return the times at which a phase ends and another begins."""
    if "phase" not in one:
        return np.empty(0)
    names = one.phase.values
    return one.time.values[:-1][names[1:] != names[:-1]]
