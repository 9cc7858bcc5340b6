"""What does a nudge of finite strength cost, and what do more points of beta buy?

The response to a nudge, for unit strength, against its limit for a weak one (the sum of the
gradients of back-propagation through time): one-sided, symmetric, and N complex strengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings
from ctebm.study.power_law import corrected_order
from ctebm.study.problem import Problem, images_problem
from ctebm.study.record import by_depth, labelled, unsettled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence

HIDDEN_BY_ROUNDING = 1e-11  # relative errors below it are left out of the fit of an order


@dataclass(frozen=True)
class Settings(ExactSettings):
    """What does a nudge of finite strength cost, and what do more points of beta buy?"""

    example = "--activation logistic --out results/logistic"

    beta: tuple[float, ...] = (0.1, 0.07, 0.05, 0.035, 0.025, 0.0175, 0.012)
    """Strengths of the nudge."""
    points: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of strengths around the circle; 1 is one-sided, 2 symmetric."""
    activation: str = "tanh"
    """Rate of a unit, an analytic one: tanh or logistic[:gain=4]."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 1.5
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    eps: float = 0.2
    """Step size, in membrane time constants."""
    t_end: float = 6.0
    """Time to run, in membrane time constants."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_activation(self.activation)
        study.check_positive("--gain", self.gain)
        study.check_positive("--t-end", self.t_end)
        study.check_eps(self.eps)
        if len(set(self.beta)) < 5 or not all(0 < b < float("inf") for b in self.beta):
            raise ValueError(f"--beta needs five or more strengths > 0, got {self.beta}.")
        if not self.points or min(self.points) < 1:
            raise ValueError(f"--points needs 1 or more, got {self.points}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    one = images_problem(settings, settings.hidden, settings.activation, settings.gain)
    if one.network.activation.kinks:
        raise ValueError(
            f"{one.network.activation} has kinks, and a nudge of complex strength needs an "
            "analytic activation; give a network of tanh or logistic units."
        )
    study.check_t_end(settings.t_end, settings.eps, len(one.hidden) + 1)
    error, records = [], []
    for n in progress(settings.points, "points"):
        records = [_nudged(settings, one, n, beta) for beta in settings.beta]
        limit = _weak_limit(settings, records[0])
        error.append([_errors(record, limit) for record in records])
    text = "relative distance from the limit of a weak nudge, over samples and units"
    return labelled(
        {"error": (("points", "beta", "layer"), np.array(error), text)},
        {"data": one.data, "n_failed": unsettled(records[:1])},
        {
            "points": ("points", np.array(settings.points), "strengths around the circle"),
            "beta": ("beta", np.array(settings.beta), "strength of the nudge"),
            "depth": ("layer", np.array(records[0].depth), "hops from the output"),
        },
    )


def _nudged(settings: Settings, one: Problem, points: int, beta: float) -> Correspondence:
    import ctebm

    return ctebm.correspondence(
        one.network, one.x, one.target, settings.eps,
        n_steps=round(settings.t_end / settings.eps), drive="nudge", beta=beta,
        points=points,
    )  # fmt: skip


def _weak_limit(settings: Settings, record: Correspondence) -> Tensor:
    """Return the response to a weak nudge: the sum of the gradients through time."""
    import ctebm

    n_steps = int(record.step.max())
    each = ctebm.bptt_gradient(
        record.fixed.network, record.fixed.state, record.target, eps=settings.eps,
        n_steps=n_steps - 1, every_step=True,
    )  # fmt: skip
    return -settings.eps * each.sum(0)


def _errors(record: Correspondence, limit: Tensor) -> list[float]:
    """Return the distance of the last state from the limit, relative, for each layer."""
    end = record.displacement[:, 0, -1]
    slices = record.fixed.network.layers.values()
    return [float((end - limit)[:, w].norm() / limit[:, w].norm()) for w in slices]


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    panels, error_label = [], "error of the response"
    beta = dataset.beta.values
    for k, one in by_depth(dataset):
        series = []
        for i, n in enumerate(dataset.points.values):
            error = one.error.isel(points=i).values
            small = beta.argmin()
            line = error[small] * (beta / beta[small]) ** n
            series += [
                Series(beta, line, line=True, colour=i),
                Series(beta, error, f"N = {n}", colour=i),
            ]
        panels.append(Panel(f"depth {k}", r"strength $\beta$", error_label, series, "xy"))
    return panel_figure(
        panels,
        question="What does a nudge of finite strength cost, and what do more points of beta buy?",
        see="Points: relative distance from the limit of a weak nudge, N strengths around the "
        "circle. Lines: $\\beta^N$ through the weakest nudge.",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out, beta = [], dataset.beta.values
    for i, n in enumerate(dataset.points.values):
        for k, one in by_depth(dataset.isel(points=i)):
            error = one.error.values
            seen = ~(error <= HIDDEN_BY_ROUNDING)
            claim = f"N = {n}, depth {k}: order of the error / N - 1"
            note = f"{error[beta.argmin()]:.1e} at beta = {beta.min():g}"
            order = corrected_order(beta[seen], error[seen]) if seen.sum() > 4 else float("nan")
            out.append(Verdict.at_most(claim, abs(order / n - 1), 0.02, note))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
