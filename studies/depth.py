"""When does the gradient reach layer k, and how deep can it be followed?

In networks of up to ten hidden layers: the time at which half of the chain gradient has arrived
in a layer, against the time k + 2/3 of a cascade of k + 1 leaky integrators.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings, gains_to_compare
from ctebm.study.kinks import at_most_before_kinks, kink_variables, kink_verdicts, no_crossing
from ctebm.study.problem import images_problem
from ctebm.study.record import TAU, by_depth, labelled, stacked, unsettled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence
    from ctebm.figures.panels import Panel


@dataclass(frozen=True)
class Settings(ExactSettings):
    """When does the gradient reach layer k, and how deep can it be followed?"""

    example = "--depth 6 --gain 0.25 --out results/six_layers"

    depth: int = 10
    """Number of hidden layers."""
    width: int = 32
    """Units in each hidden layer."""
    eps: float = 0.02
    """Step size, in membrane time constants."""
    t_end: float = 20.0
    """Time to run, in membrane time constants."""
    gain: tuple[float, ...] = (0.25, 0.125, 0.0625)
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1 or self.width < 1:
            raise ValueError("--depth and --width need 1 or more.")
        study.check_eps(self.eps)
        study.check_positive("--t-end", self.t_end)
        study.check_positive("--gain", self.gain)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm

    hidden, gains = (settings.width,) * settings.depth, gains_to_compare(settings, settings.gain)
    problems = [images_problem(settings, hidden, "hard-sigmoid", gain) for gain in gains]
    study.check_t_end(settings.t_end, settings.eps, len(problems[0].hidden) + 1)
    n_steps = round(settings.t_end / settings.eps)
    records = [
        ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, n_steps=n_steps, save_all=True
        )
        for one in progress(problems, "gains")
    ]
    attrs = {"data": problems[0].data, "trained": int(settings.weights is not None)}
    return _recorded(gains, records, attrs)


def _measured(record: Correspondence) -> dict[str, Tensor]:
    """Return how the chain gradient arrives in each layer, and when half of it is there."""
    import torch

    linear = dataclasses.replace(record, displacement=record.linear_response)
    time, slices = record.time[0].to(record.chain), record.fixed.network.layers.values()
    return {
        "coefficient": record.coefficient[:, 0],
        "cosine": record.cosine(record.chain)[:, 0],
        "half_time": _half_time(record.coefficient[:, 0], time),
        "linear_half_time": _half_time(linear.coefficient[:, 0], time),
        "gradient_norm": torch.stack([record.chain[:, w].norm(dim=-1) for w in slices], -1),
        "first_crossing": record.first_crossing[:, 0],
    }


def _half_time(curve: Tensor, time: Tensor) -> Tensor:
    """Return where a curve ``(sample, save, layer)`` first reaches 1/2, between saves linearly."""
    import torch

    above = curve >= 0.5
    i = above.int().argmax(1).clamp(min=1)
    y1, y0 = (curve.gather(1, j.unsqueeze(1)).squeeze(1) for j in (i, i - 1))
    found = time[i - 1] + (0.5 - y0) / (y1 - y0) * (time[i] - time[i - 1])
    return torch.where(above.any(1), found, torch.nan)


def _recorded(
    gains: tuple[float, ...], records: list[Correspondence], attrs: dict[str, object]
) -> xr.Dataset:
    import torch

    found, record = stacked([_measured(record) for record in records]), records[-1]
    time, law = record.time[0], record.law
    curve, point = ("gain", "sample", "save", "layer"), ("gain", "sample", "layer")
    return labelled(
        {
            "coefficient": (curve, found["coefficient"], "share of the chain gradient"),
            "cosine": (curve, found["cosine"], "cosine with the chain gradient"),
            "half_time": (point, found["half_time"], "time at which half is there", TAU),
            "linear_half_time": (
                point, found["linear_half_time"], "the same of the linear response", TAU,
            ),
            "gradient_norm": (point, found["gradient_norm"], "norm of the chain gradient"),
            "first_crossing": (
                point[:2], found["first_crossing"], "first step at which a kink is met",
            ),
            "law_coefficient": (curve[2:], law[0], "coefficient of the path alone"),
            "law_half_time": (
                ("layer",), _half_time(law[None, 0], time)[0], "time of half of it", TAU,
            ),
            **kink_variables(records[0]),
        },
        {**attrs, "n_failed": unsettled(records)},
        {
            "gain": ("gain", torch.tensor(gains), "gain of the Glorot weights, 1 for given ones"),
            "depth": ("layer", torch.tensor(record.depth), "hops from the output"),
            "time": ("save", time, "time since the target arrived", TAU),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import panel_figure

    return panel_figure(
        [_curve_panel(dataset), _arrival_panel(dataset), _direction_panel(dataset)],
        question="When does the gradient reach layer k, and how deep can it be followed?",
        see="Points: measured, bars: the central 90 % of the samples. Lines: a bare cascade in a, "
        "the linear response of the whole network in b. What reverberates between layers comes "
        "earlier and adds to the share, which may then pass 1; the direction stays.",
    )


def _name(dataset: xr.Dataset, gain: float) -> str:
    return "trained" if dataset.trained else f"gain {gain:g}"


def _curve_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.early_inference.laws import continuous_coefficient
    from ctebm.figures.panels import Panel, Series

    depth, first = dataset.depth.values, dataset.isel(gain=0)
    curves, seen = [], slice(10, None, 40)
    for i, k in enumerate(sorted(depth)[:: max(1, len(depth) // 5)]):
        one = first.isel(layer=int((depth == k).argmax()))
        t = one.time.values
        low, middle, high = one.coefficient.quantile([0.05, 0.5, 0.95], "sample").values
        curves += [
            Series(t, continuous_coefficient(k, t), line=True, colour=i),
            Series(t[seen], middle[seen], f"depth {k}", colour=i, low=low[seen], high=high[seen]),
        ]
    title = f"share of the gradient, {_name(dataset, float(first.gain))}"
    return Panel(title, "time (time constants)", "share of the chain gradient", curves)


def _arrival_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.early_inference.laws import half_time
    from ctebm.figures.panels import Panel, Series

    depth = dataset.depth.values
    times = [Series(depth, half_time(depth), "$k + 2/3$", line=True, colour=6)]
    for i, gain in enumerate(dataset.gain.values):
        one = dataset.isel(gain=i)
        low, middle, high = one.half_time.quantile([0.05, 0.5, 0.95], "sample").values
        times += [
            Series(depth, one.linear_half_time.median("sample"), line=True, colour=i),
            Series(depth, middle, _name(dataset, gain), colour=i, low=low, high=high),
        ]
    return Panel("time at which half is there", "depth $k$", "time (time constants)", times)


def _direction_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.figures.panels import Panel, Series

    turn = []
    for i, gain in enumerate(dataset.gain.values):
        end = dataset.cosine.isel(gain=i, save=-1).median("sample")
        turn.append(Series(dataset.depth.values, end, _name(dataset, gain), colour=i))
    return Panel("direction at the end", "depth $k$", "cosine with the chain gradient", turn)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    least = int(dataset.gain.values.argmin())
    for i, gain in enumerate(dataset.gain.values):
        # trained weights reverberate
        weak = i == least and not dataset.trained
        out += _judge_gain(dataset.isel(gain=i), _name(dataset, gain), weak)
    return out


def _judge_gain(run: xr.Dataset, tag: str, weak: bool) -> list[Verdict]:
    """The gradient arrives as in the linear response; with weak weights as in a bare cascade."""
    clear = no_crossing(run.first_crossing)
    off = abs(run.half_time - run.linear_half_time)
    out = [
        Verdict.reported(f"{tag}: samples that meet no kink", clear.mean()),
        at_most_before_kinks(
            f"{tag}: arrival is that of the linear response, largest difference",
            off, clear, 0.01, where=run.linear_half_time.notnull(),
        ),
    ]  # fmt: skip
    for k, one in by_depth(run):
        median = float(one.half_time.median(skipna=not weak))
        note = f"arrives at {median:.3f}, k + 2/3 = {k + 2 / 3:.3f}"
        note += f", gradient {float(one.gradient_norm.median()):.0e}"
        share = abs(median / float(one.law_half_time) - 1)
        claim = f"{tag}, depth {k}: arrival / half time of the law - 1"
        out.append(
            Verdict.at_most(claim, share, 0.02, note)
            if weak
            else Verdict.reported(claim, share, note)
        )
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
