"""When does the gradient reach layer k, and how deep can it be followed?

In networks of up to ten hidden layers: the time at which half of the chain gradient has arrived
in a layer, against the time k + 2/3 of a cascade of k + 1 leaky integrators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import (
    ExactSettings,
    dataset,
    images_problem,
    kink_verdicts,
    kinks,
    largest_at_most,
    reported,
    with_gain,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(ExactSettings):
    """When does the gradient reach layer k, and how deep can it be followed?"""

    depth: int = 10
    """Hidden layers."""
    width: int = 32
    """Units in each."""
    eps: float = 0.02
    """Step size."""
    t_end: float = 20.0
    """Time to run, in membrane time constants."""
    gains: tuple[float, ...] = (0.25, 0.125, 0.0625)
    """Of the Glorot weights; biases are centred on the mean input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1 or self.width < 1:
            raise ValueError("--depth and --width need 1 or more.")
        if not 0 < self.eps <= 1 or not 0 < self.t_end < float("inf"):
            raise ValueError("--eps needs 0 < eps <= 1, --t-end a time > 0.")
        if not self.gains or not all(0 < g < float("inf") for g in self.gains):
            raise ValueError(f"--gains needs gains > 0, got {self.gains}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import dataclasses

    import torch

    import ctebm

    n_steps = round(settings.t_end / settings.eps)
    gains = settings.gains if settings.weights is None else (1.0,)
    measured, records, problems = [], [], []
    for gain in progress(gains, "gains"):
        one = images_problem(
            with_gain(settings, gain), (settings.width,) * settings.depth, "hard-sigmoid"
        )
        record = ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, n_steps=n_steps, save_all=True
        )
        records.append(record)
        problems.append(one)
        linear = dataclasses.replace(record, displacement=record.linear_response)
        time, slices = record.time[0], record.fixed.network.layers.values()
        measured.append(
            [
                record.coefficient[:, 0],
                record.cosine(record.chain)[:, 0],
                _half_time(record.coefficient[:, 0], time),
                _half_time(linear.coefficient[:, 0], time),
                torch.stack([record.chain[:, w].norm(dim=-1) for w in slices], -1),
                record.first_crossing[:, 0],
            ]
        )
    record, one = records[-1], problems[-1]
    time = record.time[0]
    found = [torch.stack(values) for values in zip(*measured, strict=True)]
    curve, point = ("gain", "sample", "save", "layer"), ("gain", "sample", "layer")
    tau = "membrane time constant"
    return dataset(
        {
            "coefficient": (curve, found[0], "share of the chain gradient"),
            "cosine": (curve, found[1], "cosine with the chain gradient"),
            "half_time": (point, found[2], "time at which half is there", tau),
            "linear_half_time": (point, found[3], "the same of the linear response", tau),
            "gradient_norm": (point, found[4], "norm of the chain gradient"),
            "first_crossing": (point[:2], found[5], "first step at which a kink is met"),
            "law_coefficient": (curve[2:], record.law[0], "coefficient of the path alone"),
            "law_half_time": (
                ("layer",), _half_time(record.law[None, 0], time)[0], "time of half of it", tau,
            ),
            **kinks(records[0]),
        },
        {"data": one.data, "trained": int(settings.weights is not None)},
        {
            "gain": ("gain", torch.tensor(gains), "gain of the Glorot weights, 1 for given ones"),
            "depth": ("layer", torch.tensor(record.depth), "hops from the output"),
            "time": ("save", time, "time since the target arrived", tau),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.early_inference.laws import continuous_coefficient, half_time
    from ctebm.figures.panels import Panel, Series, panel_figure

    depth, first = dataset.depth.values, dataset.isel(gain=0)

    def name(gain: float) -> str:
        return "trained" if dataset.trained else f"gain {gain:g}"

    curves, seen = [], slice(10, None, 40)
    for i, k in enumerate(sorted(depth)[:: max(1, len(depth) // 5)]):
        one = first.isel(layer=int((depth == k).argmax()))
        t = one.time.values
        low, middle, high = one.coefficient.quantile([0.05, 0.5, 0.95], "sample").values
        curves += [
            Series(t, continuous_coefficient(k, t), line=True, colour=i),
            Series(t[seen], middle[seen], f"depth {k}", colour=i, low=low[seen], high=high[seen]),
        ]
    times = [Series(depth, half_time(depth), "$k + 2/3$", line=True, colour=6)]
    turn = []
    for i, gain in enumerate(dataset.gain.values):
        one = dataset.isel(gain=i)
        low, middle, high = one.half_time.quantile([0.05, 0.5, 0.95], "sample").values
        times += [
            Series(depth, one.linear_half_time.median("sample"), line=True, colour=i),
            Series(depth, middle, name(gain), colour=i, low=low, high=high),
        ]
        end = one.cosine.isel(save=-1).median("sample")
        turn.append(Series(depth, end, name(gain), colour=i))
    time, share = "time (time constants)", "share of the chain gradient"
    title = f"{name(float(first.gain))}, lines $P(k+1,t)$"
    return panel_figure(
        [
            Panel(title, time, share, curves),
            Panel(
                "arrival, lines: linear response",
                "depth $k$",
                "time of half (time constants)",
                times,
            ),
            Panel("direction at the end", "depth $k$", "cosine with the chain gradient", turn),
        ]
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    out = kink_verdicts(dataset)
    least = int(np.argmin(dataset.gain.values))
    for i, gain in enumerate(dataset.gain.values):
        run = dataset.isel(gain=i)
        tag = "trained" if dataset.trained else f"gain {gain:g}"
        clear = run.first_crossing < 0
        out.append(reported(f"{tag}: samples that meet no kink", clear.mean()))
        off = abs(run.half_time - run.linear_half_time)
        claim = f"{tag}: arrival is that of the linear response, largest difference"
        out.append(largest_at_most(claim, off, clear & run.linear_half_time.notnull(), 0.01))
        for layer in np.argsort(dataset.depth.values):
            one = run.isel(layer=layer)
            k, median = int(one.depth), float(one.half_time.median())
            note = f"arrives at {median:.3f}, k + 2/3 = {k + 2 / 3:.3f}"
            note += f", gradient {float(one.gradient_norm.median()):.0e}"
            share = abs(median / float(one.law_half_time) - 1)
            claim = f"{tag}, depth {k}: arrival / half time of the law - 1"
            weak = i == least and not dataset.trained  # trained weights reverberate
            out.append(
                Verdict.at_most(claim, share, 0.02, note) if weak else reported(claim, share, note)
            )
    return out


def _half_time(curve, time):
    """Return where a curve ``(sample, save, layer)`` first reaches 1/2, between saves linearly."""
    import torch

    above = curve >= 0.5
    i = above.int().argmax(1).clamp(min=1)
    y1, y0 = (curve.gather(1, j.unsqueeze(1)).squeeze(1) for j in (i, i - 1))
    found = time[i - 1] + (0.5 - y0) / (y1 - y0) * (time[i] - time[i - 1])
    return torch.where(above.any(1), found, torch.nan)


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
