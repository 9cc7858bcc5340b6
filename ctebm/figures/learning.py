"""Figures of the studies of learning, as in :mod:`ctebm.figures.correspondence`."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ctebm.figures.panels import MARKERS, STYLE

__all__ = ["learning_figure", "saturation_figure", "stdp_figure"]


def learning_figure(dataset: xr.Dataset) -> Figure:
    """Show errors, alignment and pinned units against epochs.

    Left, errors of the rule (points) and of back-propagation in the feed-forward network (lines);
    in the middle, the angle of the rule's gradient to the reference gradients, one marker for each
    pair of layers; right, the share of hidden units held at a kink.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :meth:`ctebm.Training.to_dataset`, with ``bp_test_error`` and ``bp_train_error`` if
        back-propagation ran too.
    """
    colours = mpl.color_sequences["okabe_ito"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.7), layout="constrained")
        errors, angles, kinks = figure.subplots(1, 3)
        if "test_error" not in dataset:
            errors.set_title("the training failed in its first epoch")
            return figure
        epoch = dataset.epoch.values + 1
        for i, (name, word) in enumerate((("train_error", "training"), ("test_error", "held out"))):
            errors.plot(epoch, dataset[name], MARKERS[i], ms=3.5, color=colours[i + 1],
                        mfc="none", label=f"rule, {word}")  # fmt: skip
            if f"bp_{name}" in dataset:
                bp = dataset[f"bp_{name}"]
                errors.plot(np.arange(1, len(bp) + 1), bp, color=colours[i + 1], lw=1,
                            ls=("--", "-")[i], label=f"back-propagation, {word}")  # fmt: skip
        errors.set(xlabel="epoch", ylabel="errors (%)", yscale="log")
        errors.yaxis.set_major_formatter("{x:g}")
        errors.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        errors.yaxis.set_minor_formatter("{x:g}")
        for i, reference in enumerate(dataset.reference.values):
            cosine = dataset.alignment.sel(reference=reference)
            angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            for j, connection in enumerate(dataset.connection.values):
                angles.plot(epoch, angle.sel(connection=connection), color=colours[i + 1], lw=0.7,
                            marker=MARKERS[j], ms=3.5, mfc="none",
                            label=f"{reference}, {connection}")  # fmt: skip
        angles.set(xlabel="epoch", ylabel="angle to a reference gradient (degrees)")
        angles.set_ylim(bottom=0)
        words = {"pinned": ("-", "pinned"), "dead": (":", "dead (pinned in all)")}
        for i, hidden in enumerate(dataset.hidden.values):
            for name, (style, word) in words.items():
                share = 100 * dataset[name].sel(hidden=hidden)
                kinks.plot(epoch, share, style, marker=MARKERS[i], ms=3.5, mfc="none", lw=0.8,
                           color=colours[i + 1], label=f"{hidden}, {word}")  # fmt: skip
        kinks.plot(epoch, 100 * dataset.crossed, "x", ms=4, color="black",
                   label="samples crossing a kink early")  # fmt: skip
        kinks.set(xlabel="epoch", ylabel="units held at a kink (%)", ylim=(-3, 103))
        for ax in (errors, angles, kinks):
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.legend(frameon=False, fontsize=6, ncols=2 if ax is not errors else 1,
                      loc="upper center", bbox_to_anchor=(0.5, -0.2))  # fmt: skip
    return figure


def saturation_figure(dataset: xr.Dataset) -> Figure:
    """Show rates of a saturated unit and its weight changes in both energies.

    Left, the rate while a strong current is on (shaded) and after it; in the middle, the rate
    after a kick of the state beyond saturation; right, the weight change of eq. 26 when the
    current changes a little, against the current at rest.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/saturation.py``.
    """
    colours = mpl.color_sequences["okabe_ito"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 2.5), layout="constrained")
        pulse, kick, change = figure.subplots(1, 3)
        pulse.axvspan(0, dataset.on, color="0.93", lw=0)
        for i, name in enumerate(dataset.energy.values):
            one = dataset.sel(energy=name)
            look: dict[str, Any] = {"color": colours[i + 5], "ls": ("-", "--")[i], "label": name}
            pulse.plot(one.time, one.rate, **look)
            kick.plot(one.kick_time, one.kicked_rate, **look)
            change.plot(one.current, one.weight_change, marker=MARKERS[i], ms=4, mfc="none",
                        lw=0.8, **look)  # fmt: skip
        for ax in (pulse, kick):
            ax.axhline(dataset.baseline, color="0.6", lw=0.6)
            ax.set(xlabel="time (time constants)", ylabel=r"firing rate $\rho(s)$", ylim=(0, 1.05))
        pulse.set_title(f"current {dataset.pulse:g} on (shaded), then off")
        kick.set_title(f"state kicked to {dataset.pulse:g}, no current")
        kinks = np.atleast_1d(dataset.kinks)
        if kinks.dtype.kind == "f" and len(kinks):
            change.axvline(kinks[-1], color="0.6", lw=0.6)
        change.set(
            xlabel="current at rest", ylabel=r"$\Delta s / \Delta I$ after one time constant"
        )
        change.set_title(r"weight change $\Delta W \propto \Delta s$ (eq. 26)")
        change.legend(frameon=False)
    return figure


def stdp_figure(dataset: xr.Dataset) -> Figure:
    """Show the weight change of eq. 26 against the difference of spike times.

    Left, a stretch of the rates and spikes; right, the mean change a pair of spikes: points with
    two standard errors against the correlation that theory gives (line).

    Parameters
    ----------
    dataset : xarray.Dataset
        Of ``studies/stdp.py``.
    """
    colours = mpl.color_sequences["okabe_ito"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.8), layout="constrained")
        trace, window = figure.subplots(1, 2, width_ratios=(1, 1.2))
        for i, side in enumerate(("pre", "post")):
            trace.plot(dataset.time, dataset[f"{side}_rate"] + 1.3 * (1 - i), lw=0.8,
                       color=colours[5 + i])  # fmt: skip
            spikes = dataset.time.values[dataset[f"{side}_spike"].values.astype(bool)]
            trace.plot(spikes, np.full(len(spikes), 1.3 * (1 - i) - 0.08), "|", ms=5,
                       color=colours[5 + i])  # fmt: skip
        trace.set(xlabel="time (time constants)", yticks=[0.5, 1.8],
                  yticklabels=["post\n$s_i$", "pre\n$s_j$"])  # fmt: skip
        trace.set_title("firing rates and spikes")
        window.axhline(0, color="0.6", lw=0.6)
        window.axvline(0, color="0.6", lw=0.6)
        window.plot(dataset.fine_lag, dataset.theory_fine, color="black", lw=1,
                    label=r"theory, $-C'(\Delta t)\,/\,\overline{\rho}_i$")  # fmt: skip
        window.errorbar(dataset.lag, dataset.change, 2 * dataset.error, fmt="o", ms=3, mfc="none",
                        elinewidth=0.7, color=colours[5], label="eq. 26, simulated")  # fmt: skip
        window.set(xlabel=r"$t_{post} - t_{pre}$ (time constants)",
                   ylabel=r"weight change a pair $\langle \dot s_i \rangle$")  # fmt: skip
        window.set_title("spike timing and weight change")
        window.legend(frameon=False)
    return figure
