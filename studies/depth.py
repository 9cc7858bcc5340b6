"""When does the gradient reach layer k, and how deep can it be followed?

In networks of up to ten hidden layers: the time at which half of the chain gradient has arrived
in a layer, against the time k + 2/3 of a cascade of k + 1 leaky integrators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from problem import ImageSettings, dataset, images_problem, reported

from ctebm import study
from ctebm.study import Progress, Verdict

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(ImageSettings):
    """When does the gradient reach layer k, and how deep can it be followed?"""

    depth: int = 10
    """Hidden layers."""
    width: int = 32
    """Units in each."""
    eps: float = 0.02
    """Step size."""
    t_end: float = 20.0
    """Time to run, in membrane time constants."""
    gain: float = 0.25
    """Of the Glorot weights; biases are centred on the mean input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1 or self.width < 1:
            raise ValueError("--depth and --width need 1 or more.")
        if not 0 < self.eps <= 1 or not 0 < self.t_end < float("inf"):
            raise ValueError("--eps needs 0 < eps <= 1, --t-end a time > 0.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import torch

    import ctebm

    one = images_problem(settings, (settings.width,) * settings.depth, "hard-sigmoid")
    n_steps = round(settings.t_end / settings.eps)
    record = ctebm.correspondence(
        one.network, one.x, one.target, settings.eps, n_steps=n_steps, save_all=True,
        track=lambda eps: progress(eps, "step sizes"),
    )  # fmt: skip
    linear = record.by_layer(lambda d, g: -(d * g).sum(-1) / g.square().sum(-1), record.chain)
    response = record.linear_response
    slices = record.fixed.network.layers.values()
    predicted = torch.stack(
        [-(response[..., w] * record.chain[:, None, None, w]).sum(-1)
         / record.chain[:, None, None, w].square().sum(-1) for w in slices], -1,
    )  # fmt: skip
    dims = ("sample", "layer")
    time = record.time[0]
    return dataset(
        {
            "coefficient": (("sample", "save", "layer"), linear[:, 0], "share of the gradient"),
            "cosine": (("sample", "save", "layer"), record.cosine(record.chain)[:, 0], "cosine"),
            "law_coefficient": (("save", "layer"), record.law[0], "coefficient of the path alone"),
            "half_time": (
                dims, _half_time(linear[:, 0], time), "time at which half is there",
                "membrane time constant",
            ),
            "linear_half_time": (
                dims, _half_time(predicted[:, 0], time), "the same of the linear response",
                "membrane time constant",
            ),
            "gradient_norm": (dims, _norms(record.chain, slices), "norm of the chain gradient"),
            "rounding_floor": (dims, record.rounding_floor[:, 0], "relative rounding error"),
            "first_crossing": ("sample", record.first_crossing[:, 0], "first step at a kink"),
        },
        {"data": one.data},
        {
            "depth": ("layer", torch.tensor(record.depth), "hops from the output"),
            "time": ("save", time, "time", "membrane time constant"),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figure import Panel, Series, panel_figure
    from ctebm.law import continuous_coefficient, half_time

    depth = dataset.depth.values
    curves, seen = [], slice(10, None, 40)
    for i, k in enumerate(sorted(depth)[:: max(1, len(depth) // 5)]):
        one = dataset.isel(layer=int((depth == k).argmax()))
        t = one.time.values
        low, middle, high = one.coefficient.quantile([0.05, 0.5, 0.95], "sample").values
        curves += [
            Series(t, continuous_coefficient(k, t), line=True, colour=i),
            Series(t[seen], middle[seen], f"depth {k}", colour=i, low=low[seen], high=high[seen]),
        ]
    half = dataset.half_time
    low, middle, high = half.quantile([0.05, 0.5, 0.95], "sample").values
    times = [
        Series(depth, half_time(depth), r"half of $P(k+1, t)$, $k + 2/3$", line=True, colour=6),
        Series(depth, dataset.linear_half_time.median("sample"), "linear response", colour=1),
        Series(depth, middle, "measured", colour=0, low=low, high=high),
    ]
    end = dataset.isel(save=-1)
    turn = [Series(depth, end.cosine.median("sample"), colour=2)]
    return panel_figure(
        [
            Panel(
                "coefficient, lines $P(k+1,t)$",
                "time (time constants)",
                "share of gradient",
                curves,
            ),
            Panel("arrival", "depth $k$", "time of half (time constants)", times),
            Panel("direction at the end", "depth $k$", "cosine with the chain gradient", turn),
        ]
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    from ctebm.law import half_time

    out = [
        reported("samples that meet no kink", (dataset.first_crossing < 0).mean()),
    ]
    clear = dataset.first_crossing < 0
    for layer in np.argsort(dataset.depth.values):
        one = dataset.isel(layer=layer)
        k = int(one.depth)
        off = abs(one.half_time - one.linear_half_time).where(clear).max()
        note = f"gradient {float(one.gradient_norm.median()):.1e}"
        out.append(
            Verdict.at_most(f"depth {k}: arrival - that of the linear response", off, 1e-6, note)
        )
        median = float(one.half_time.median())
        claim = f"depth {k}: arrival / (time of half the cascade) - 1"
        note = f"arrives at {median:.3f}, k + 2/3 = {k + 2 / 3:.3f}"
        share = abs(median / float(half_time(k)) - 1)
        out.append(Verdict.at_most(claim, share, 0.1, note))
    return out


def _half_time(curve, time):
    """Return where a curve ``(sample, save, layer)`` first reaches 1/2, between saves linearly."""
    import torch

    above = curve >= 0.5
    i = above.int().argmax(1).clamp(min=1)
    y1, y0 = (curve.gather(1, j.unsqueeze(1)).squeeze(1) for j in (i, i - 1))
    found = time[i - 1] + (0.5 - y0) / (y1 - y0) * (time[i] - time[i - 1])
    return torch.where(above.any(1), found, torch.nan)


def _norms(g, slices):
    import torch

    return torch.stack([g[:, w].norm(dim=-1) for w in slices], -1)


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
