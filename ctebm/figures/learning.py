"""Figures of the studies of learning, as in :mod:`ctebm.figures.correspondence`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ctebm.figures.given import check_dataset
from ctebm.figures.page import Page, new_page
from ctebm.figures.style import DASHES, MARKERS, MM, OKABE_ITO, STYLE, WIDE, name_panel

__all__ = ["learning_figure", "saturation_figure", "stdp_figure"]


def learning_figure(dataset: xr.Dataset, *, ax: Any = None, window: bool = False) -> Figure:
    """Show errors, alignment and pinned units against epochs.

    Left, errors of the rule (points) and of back-propagation in the feed-forward network (lines);
    in the middle, the angle of the rule's gradient to the reference gradients, one marker for each
    pair of layers; right, the share of hidden units held at a kink.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.Training.to_dataset`, with ``bp_test_error`` and ``bp_train_error`` if
        back-propagation ran too.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, three of them; a figure of its own by default.
    window : bool
        Make that figure with pyplot, so that ``plt.show()`` shows it.
    """
    check_dataset(dataset, "Training.to_dataset()", "epoch hidden connection reference")
    with mpl.rc_context(STYLE):
        page = new_page(ax, 1, 3, (WIDE, 105 * MM), window)
        errors, angles, kinks = page.axes.flat
        if "test_error" not in dataset:
            errors.set_title("the training failed in its first epoch")
            return page.figure
        epoch = dataset.epoch.values + 1
        for i, (name, word) in enumerate((("train_error", "training"), ("test_error", "held out"))):
            errors.plot(epoch, dataset[name], MARKERS[i], ms=3.5, color=OKABE_ITO[i],
                        mfc=("none", OKABE_ITO[i])[i], label=f"rule, {word}")  # fmt: skip
            if f"bp_{name}" in dataset:
                bp = dataset[f"bp_{name}"]
                errors.plot(np.arange(1, len(bp) + 1), bp, color=OKABE_ITO[i], lw=1,
                            ls=(":", "-")[i], label=f"back-propagation, {word}")  # fmt: skip
        errors.set(xlabel="epoch", ylabel="errors (%)", yscale="log")
        errors.yaxis.set_major_formatter("{x:g}")
        errors.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        errors.yaxis.set_minor_formatter("{x:g}")
        shown = dataset.alignment.notnull().any(("epoch", "connection"))
        for i, reference in enumerate(dataset.reference.values[shown]):
            cosine = dataset.alignment.sel(reference=reference)
            angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            for j, connection in enumerate(dataset.connection.values):
                angles.plot(epoch, angle.sel(connection=connection), color=OKABE_ITO[i], lw=0.7,
                            ls=DASHES[i], marker=MARKERS[j], ms=3.5, mfc="none",
                            label=f"{reference}, {connection}")  # fmt: skip
        angles.set(xlabel="epoch", ylabel="angle (degrees)")
        angles.set_ylim(bottom=0)
        words = {"pinned": ("-", "pinned"), "dead": (":", "dead (pinned in all)")}
        for i, hidden in enumerate(dataset.hidden.values):
            for name, (style, word) in words.items():
                share = 100 * dataset[name].sel(hidden=hidden)
                kinks.plot(epoch, share, style, marker=MARKERS[i], ms=3.5, mfc="none", lw=0.8,
                           color=OKABE_ITO[i], label=f"{hidden}, {word}")  # fmt: skip
        kinks.plot(epoch, 100 * dataset.crossed, "x", ms=4, color="black",
                   label="samples crossing a kink early")  # fmt: skip
        kinks.set(xlabel="epoch", ylabel="units held at a kink (%)", ylim=(-3, 103))
        titles = "errors", "angle to reference gradients", "units at kinks"
        for i, (panel, title) in enumerate(zip((errors, angles, kinks), titles, strict=True)):
            panel.xaxis.get_major_locator().set_params(integer=True)
            name_panel(panel, i, title, WIDE / 3)
        _legend_in_columns(page, (errors, angles, kinks))
        page.ask("Does the rule of eq. 26, read in the first moments, learn as back-propagation "
            "does?", "a: errors in per cent; markers: the rule, lines: back-propagation in a "
            "feed-forward network of the same weights. b: how far the rule's weight changes are "
            "off reference gradients. c: how many units are pinned, and pinned in every "
            "sample.")  # fmt: skip
    return page.figure


def _legend_in_columns(page: Page, axes: Sequence[Axes]) -> None:
    """Put one legend below the panels, with a column for each; into each if axes were given."""
    if page.given:
        for ax in axes:
            ax.legend(frameon=True, edgecolor="none", framealpha=0.85)
        return
    columns = [ax.get_legend_handles_labels()[0] for ax in axes]
    height = max(map(len, columns))
    blank = Line2D([], [], lw=0, label=" ")
    handles = [h for column in columns for h in [*column, *[blank] * (height - len(column))]]
    page.legend(handles, len(columns))


def saturation_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Show rates of a saturated unit and its weight changes in both energies.

    Left, the rate while a strong current is on (shaded) and after it; in the middle, the rate
    after a kick of the state beyond saturation; right, the weight change of eq. 26 when the
    current changes a little, against the current at rest.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/saturation.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, three of them; a figure of its own by default.
    """
    check_dataset(
        dataset, "studies/saturation.py",
        "energy time rate kick_time kicked_rate current weight_change on baseline kinks pulse",
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        page = new_page(ax, 1, 3, (WIDE, 68 * MM))
        pulse, kick, change = page.axes.flat
        pulse.axvspan(0, dataset.on, color="0.93", lw=0)
        for i, name in enumerate(dataset.energy.values):
            one = dataset.sel(energy=name)
            look: dict[str, Any] = {"color": OKABE_ITO[i], "ls": DASHES[i], "label": name}
            pulse.plot(one.time, one.rate, **look)
            kick.plot(one.kick_time, one.kicked_rate, **look)
            change.plot(one.current, one.weight_change, marker=MARKERS[i], ms=4, mfc="none",
                        lw=0.8, **look)  # fmt: skip
        for panel in (pulse, kick):
            panel.axhline(dataset.baseline, color="0.6", lw=0.6)
            panel.set(
                xlabel="time (time constants)", ylabel=r"firing rate $\rho(s)$", ylim=(0, 1.05)
            )
        kinks = np.atleast_1d(dataset.kinks)
        if kinks.dtype.kind == "f" and len(kinks):
            change.axvline(kinks[-1], color="0.6", lw=0.6)
        change.set(xlabel="current at rest", ylabel=r"$\Delta s / \Delta I$")
        titles = (
            f"current {dataset.pulse:g}, on and off",
            f"state kicked to {dataset.pulse:g}",
            r"weight change, $\propto \Delta s$",
        )
        for i, (panel, title) in enumerate(zip((pulse, kick, change), titles, strict=True)):
            name_panel(panel, i, title, WIDE / 3)
        handles = change.get_legend_handles_labels()[0]
        page.legend(handles, 2)
        page.ask("Does a saturated neuron return to its baseline, and do its weights stop "
            "changing?", "a: the rate while a current is on (shaded) and after it. b: after a kick "
            "of the state, without a current. c: change of the state in one time constant (eq. 26) "
            "for a little change of the current; beyond the grey line the unit is "
            "saturated.")  # fmt: skip
    return page.figure


def stdp_figure(dataset: xr.Dataset, *, ax: Any = None) -> Figure:
    """Show the weight change of eq. 26 against the difference of spike times.

    Left, a stretch of the rates and spikes; right, the mean change a pair of spikes: points with
    two standard errors against the correlation that theory gives (line).

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/stdp.py``.
    ax : array of matplotlib.axes.Axes, optional
        Where to draw, two of them; a figure of its own by default.
    """
    check_dataset(
        dataset, "studies/stdp.py",
        "time pre_rate post_rate pre_spike post_spike fine_lag theory_fine lag change error",
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        page = new_page(ax, 1, 2, (WIDE, 78 * MM), width_ratios=(1, 1.2))
        trace, window = page.axes.flat
        for i, side in enumerate(("pre", "post")):
            trace.plot(dataset.time, dataset[f"{side}_rate"] + 1.3 * (1 - i), lw=0.8,
                       color=OKABE_ITO[i])  # fmt: skip
            spikes = dataset.time.values[dataset[f"{side}_spike"].values.astype(bool)]
            trace.plot(spikes, np.full(len(spikes), 1.3 * (1 - i) - 0.08), "|", ms=5,
                       color=OKABE_ITO[i])  # fmt: skip
        trace.set(xlabel="time (time constants)", yticks=[0.5, 1.8],
                  yticklabels=["post\n$s_i$", "pre\n$s_j$"])  # fmt: skip
        name_panel(trace, 0, "firing rates and spikes", WIDE / 2)
        window.axhline(0, color="0.6", lw=0.6)
        window.axvline(0, color="0.6", lw=0.6)
        window.plot(dataset.fine_lag, dataset.theory_fine, color="black", lw=1,
                    label=r"theory, $-C'(\Delta t)\,/\,\overline{\rho}_i$")  # fmt: skip
        window.errorbar(dataset.lag, dataset.change, 2 * dataset.error, fmt="o", ms=3, mfc="none",
                        elinewidth=0.7, color=OKABE_ITO[0], label="eq. 26, simulated")  # fmt: skip
        window.set(xlabel=r"$t_{post} - t_{pre}$ (time constants)",
                   ylabel=r"weight change a pair $\langle \dot s_i \rangle$")  # fmt: skip
        name_panel(window, 1, "weight change by spike timing", WIDE / 2)
        handles = window.get_legend_handles_labels()[0]
        page.legend(handles, 2)
        page.ask("Does the rule of eq. 26 look like spike-timing-dependent plasticity?",
            "b: weight change a pair of spikes; points with two standard errors. It grows if the "
            "postsynaptic spike follows and shrinks if it leads, by as much: the window is "
            "antisymmetric.")  # fmt: skip
    return page.figure
