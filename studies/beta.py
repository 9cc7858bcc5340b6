"""What does a nudge of finite strength cost, and what do more points of beta buy?

The response to a nudge, for unit strength, against its limit for a weak one (the sum of the
gradients of back-propagation through time): one-sided, symmetric, and N complex strengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import ExactSettings, corrected_order, dataset, images_problem

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(ExactSettings):
    """What does a nudge of finite strength cost, and what do more points of beta buy?"""

    beta: tuple[float, ...] = (0.1, 0.07, 0.05, 0.035, 0.025, 0.0175, 0.012)
    """Strengths of the nudge."""
    points: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of strengths around the circle; 1 is one-sided, 2 symmetric."""
    activation: str = "tanh"
    """An analytic one: tanh or logistic[:gain=4]."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 1.5
    """Of the Glorot weights; biases are centred on the mean input."""
    eps: float = 0.2
    """Step size."""
    t_end: float = 6.0
    """Time to run, in membrane time constants."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_activation(self.activation)
        if len(set(self.beta)) < 4 or not all(0 < b < float("inf") for b in self.beta):
            raise ValueError(f"--beta needs four or more strengths > 0, got {self.beta}.")
        if not self.points or min(self.points) < 1:
            raise ValueError(f"--points needs 1 or more, got {self.points}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch

    import ctebm

    one = images_problem(settings, settings.hidden, settings.activation)
    if one.network.activation.kinks:
        raise ValueError(
            f"{one.network.activation} has kinks, and a nudge of complex strength needs an "
            "analytic activation; give a network of tanh or logistic units."
        )
    n_steps = max(1, round(settings.t_end / settings.eps))
    error, bptt, depths = [], None, []
    for n in progress(settings.points, "points"):
        row = []
        for beta in settings.beta:
            record = ctebm.correspondence(
                one.network, one.x, one.target, settings.eps, n_steps=n_steps, drive="nudge",
                beta=beta, points=n,
            )  # fmt: skip
            net, depths = record.fixed.network, record.depth
            if bptt is None:
                bptt = -settings.eps * ctebm.bptt_gradient(
                    net, record.fixed.state, record.target, eps=settings.eps, n_steps=n_steps - 1,
                    every_step=True,
                ).sum(0)  # fmt: skip
            end = record.displacement[:, 0, -1]
            row.append(
                [float((end - bptt)[:, w].norm() / bptt[:, w].norm()) for w in net.layers.values()]
            )
        error.append(row)
    return dataset(
        {
            "error": (
                ("points", "beta", "layer"),
                torch.tensor(error, dtype=torch.float64),
                "relative distance from the limit of a weak nudge, over samples and units",
            )
        },
        {"data": one.data},
        {
            "points": ("points", np.array(settings.points), "strengths around the circle"),
            "beta": ("beta", np.array(settings.beta), "strength of the nudge"),
            "depth": ("layer", np.array(depths), "hops from the output"),
        },
    )


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    panels = []
    beta = dataset.beta.values
    for layer in dataset.depth.argsort().values:
        series = []
        for i, n in enumerate(dataset.points.values):
            error = dataset.error.isel(points=i, layer=layer).values
            small = beta.argmin()
            line = error[small] * (beta / beta[small]) ** n
            series += [
                Series(beta, line, line=True, colour=i),
                Series(beta, error, f"N = {n}", colour=i),
            ]
        title = f"depth {int(dataset.depth[layer])}, lines $\\beta^N$"
        panels.append(Panel(title, r"strength $\beta$", "error of the response", series, "xy"))
    return panel_figure(panels)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    out, beta = [], dataset.beta.values
    for i, n in enumerate(dataset.points.values):
        for layer in dataset.depth.argsort().values:
            error = dataset.error.isel(points=i, layer=layer).values
            seen = error > 1e-11
            claim = f"N = {n}, depth {int(dataset.depth[layer])}: order of the error / N - 1"
            order = corrected_order(beta[seen], error[seen]) if seen.sum() > 4 else np.nan
            note = f"{error[beta.argmin()]:.1e} at beta = {beta.min():g}"
            out.append(Verdict.at_most(claim, abs(order / n - 1), 0.02, note))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
