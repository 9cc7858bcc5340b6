"""Which layers move in one step of a solver, and by how much (P6)?

Euler, Heun, RK4 and adaptive continuous time from the same equilibria: the size of the first step
in every layer against the law of each solver, and how size and direction at the first arrival
behave as the step goes to 0: the direction converges, the size never does (for Euler). With
`--weights` the fixed steps are those of the given network; dopri5 and tanh, which need smooth
rates, keep random weights between layers of the same sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import (
    ExactSettings,
    corrected_order,
    dataset,
    images_problem,
    kink_verdicts,
    kinks,
    largest_at_most,
    reported,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

METHODS = ("euler", "heun", "rk4")


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Which layers move in one step of a solver, and by how much?"""

    eps: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Step sizes, in membrane time constants."""
    depth: int = 4
    """Hidden layers."""
    width: int = 24
    """Units in each."""
    corner: float = 0.02
    """Width of the smooth hard sigmoid's corners, for the adaptive solver."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.eps)) < 5 or not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"--eps needs five or more 0 < eps <= 1, got {self.eps}.")
        if self.depth < 1 or self.width < 1 or not self.corner > 0:
            raise ValueError("--depth, --width need 1 or more, --corner more than 0.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch

    import ctebm

    one = images_problem(settings, (settings.width,) * settings.depth, "hard-sigmoid")
    if not one.network.activation.kinks:
        raise ValueError(
            f"{one.network.activation} has no kinks; this study holds the steps of a hard sigmoid "
            "against exact laws: give a network of hard sigmoids."
        )
    hidden = [len(b) for b in one.network.biases[1:-1]]
    smooth = dataclasses.replace(settings, weights=None)
    n_steps = one.n_hidden + 1
    first, law, floor, moved, arrival, turn, clear, records = ([] for _ in range(8))
    for method in progress(METHODS, "solvers"):
        record = ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, n_steps=n_steps, method=method
        )
        records.append(record)
        first.append(record.coefficient[:, :, 1])
        law.append(record.law[:, 1])
        moved.append(
            record.by_layer(lambda d, _: d.abs().amax(-1), record.chain)[:, :, 1].amax((0, 1))
        )
        floor.append(record.rounding_floor.nanmedian(0).values)
        reach = record.first_arrival
        arrival.append(
            torch.stack([record.coefficient[:, :, n, i] for i, n in enumerate(reach)], -1)
        )
        clear.append((record.first_crossing < 0) | (record.first_crossing > 1))
        turn.append(torch.stack([record.tangent[:, :, n, i] for i, n in enumerate(reach)], -1))
    record = records[-1]
    flow = torch.as_tensor(
        np.stack([ctebm.continuous_coefficient(k, record.eps.numpy()) for k in record.depth], -1)
    )
    adaptive, error = _adaptive(smooth, hidden)
    bend = _curved(smooth, hidden)
    run = ("method", "sample", "eps", "layer")
    curve = ("method", "eps", "layer")
    return dataset(
        {
            "first_step": (run, torch.stack(first), "coefficient after one step"),
            "law": (curve, torch.stack(law), "law of the solver after one step"),
            "flow": (curve[1:], flow, "coefficient in continuous time after one step"),
            "rounding_floor": (curve, torch.stack(floor), "relative rounding error at arrival"),
            "moved": (("method", "layer"), torch.stack(moved), "largest change in the first step"),
            "arrival": (run, torch.stack(arrival), "coefficient at the first arrival"),
            "tangent": (run, torch.stack(turn), "tangent of the angle at the first arrival"),
            "adaptive": (("time", "layer"), adaptive[1], "coefficient by dopri5"),
            "adaptive_linear_error": (
                ("time", "layer"), error, "distance of dopri5 from the linear flow, relative",
            ),
            "curved_angle": (
                ("eps", "layer"), bend, "angle at Euler's first arrival, tanh", "radian",
            ),
            "clear": (run[:3], torch.stack(clear), "no unit meets or leaves a kink at once"),
            **kinks(records[0]),
        },
        {"data": one.data},
        {
            "method": ("method", np.array(METHODS), "solver"),
            "eps": ("eps", record.eps, "step size", "membrane time constant"),
            "depth": ("layer", torch.tensor(record.depth), "hops from the output"),
            "time": ("time", adaptive[0], "time", "membrane time constant"),
        },
    )  # fmt: skip


def _adaptive(settings: Settings, hidden: Sequence[int]):
    """Follow the smooth hard sigmoid in continuous time."""
    import torch

    import ctebm

    one = images_problem(settings, hidden, f"smooth-hard-sigmoid:width={settings.corner}")
    # far from the corners, where the curvature is below rounding
    target = 0.25 * one.target
    record = ctebm.correspondence(
        one.network, one.x, target, [0.1], t_end=6.0, method="dopri5", tol=1e-13
    )
    coefficient = record.coefficient[:, 0, 1:].median(0).values
    error = record.linear_error[:, 0, 1:].median(0).values
    return (record.time[0, 1:], coefficient), torch.as_tensor(error)


def _curved(settings: Settings, hidden: Sequence[int]):
    """Return the angle at Euler's first arrival for a curved activation, over samples."""
    import torch

    import ctebm

    one = images_problem(dataclasses.replace(settings, gain=4 * settings.gain), hidden, "tanh")
    weights = [W for W in one.network.weights if W is not None]
    shifted = [b + 0.5 * torch.sin(torch.arange(len(b)) * 1.7) for b in one.network.biases]
    network = ctebm.LayeredNetwork(weights, shifted, one.network.activation)
    record = ctebm.correspondence(
        network, one.x, one.target, settings.eps, n_steps=one.n_hidden + 1
    )
    at = [record.tangent[:, :, n, i].atan() for i, n in enumerate(record.first_arrival)]
    return torch.stack(at, -1).square().mean(0).sqrt()


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.early_inference.laws import continuous_coefficient
    from ctebm.figures.panels import Panel, Series, panel_figure

    eps, depth = dataset.eps.values, dataset.depth.values
    panels = []
    for i, method in enumerate(dataset.method.values):
        flow = f"flow, $\\epsilon$ = {eps[2]:g}"
        series = [Series(depth, dataset.flow.isel(eps=2), flow, line=True, colour=6)]
        for j in (0, 2, 4) if len(eps) > 4 else (0, 2):
            one = dataset.isel(method=i, eps=j)
            seen = one.law.values > 0
            size = one.first_step.median("sample")
            series += [
                Series(depth[seen], one.law[seen], line=True, colour=j),
                Series(depth[seen], size[seen], f"$\\epsilon$ = {eps[j]:g}", colour=j),
            ]
        title = f"{method}: first step, lines: its law"
        panels.append(Panel(title, "depth $k$", "share of the gradient", series, "y"))
    series = []
    for layer in depth.argsort():
        k = int(depth[layer])
        at = [float(continuous_coefficient(k, (k + 1) * e)) for e in eps]
        ratio = dataset.arrival.isel(method=0, layer=layer).median("sample") / at
        series += [
            Series(eps, eps * 0 + _limit(k), line=True, colour=k),
            Series(eps, ratio, colour=k),
        ]
    panels.append(Panel("euler: size at first arrival / flow", STEP, "ratio", series, "x"))
    series = []
    for layer in depth.argsort()[1:]:
        k = int(depth[layer])
        angle = dataset.curved_angle.isel(layer=layer)
        line = float(angle[-1]) * eps / eps[-1]
        series += [
            Series(eps, line, line=True, colour=k),
            Series(eps, angle, f"depth {k}", colour=k),
        ]
    title = r"euler, tanh: angle at arrival, lines $\propto\epsilon$"
    panels.append(Panel(title, STEP, "angle (rad)", series, "xy"))
    series, t = [], dataset.time.values
    for layer in depth.argsort():
        k = int(depth[layer])
        one = dataset.adaptive.isel(layer=layer)
        series += [
            Series(t, continuous_coefficient(k, t), line=True, colour=k),
            Series(t[::3], one[::3], f"depth {k}", colour=k),
        ]
    panels.append(Panel("dopri5, lines $P(k+1, t)$", "time (time constants)",
                        "share of the gradient", series, "xy"))  # fmt: skip
    return panel_figure(panels)


STEP = r"step $\epsilon$ (time constants)"


def _limit(k: int) -> float:
    from math import factorial

    return factorial(k + 1) / (k + 1) ** (k + 1)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    from ctebm.dynamics.methods import METHODS as SOLVERS
    from ctebm.early_inference.laws import continuous_coefficient

    out, eps, depth = kink_verdicts(dataset), dataset.eps.values, dataset.depth.values
    for i, method in enumerate(dataset.method.values):
        stages = SOLVERS[str(method)].stages
        for layer in np.argsort(depth):
            k, one = int(depth[layer]), dataset.isel(method=i, layer=layer)
            if k >= stages:
                claim = f"{method}, depth {k}: doesn't move in the first step, largest change"
                out.append(Verdict.at_most(claim, one.moved, 2e-15))
                continue
            error = abs(one.first_step / one.law - 1) / one.rounding_floor
            claim = f"{method}, depth {k}: first step against its law, error / rounding floor"
            if stages < k + 3:  # nothing has come back within the stages
                clear = one.clear & one.first_step.notnull()
                out.append(largest_at_most(claim, error, clear, 5))
            else:
                off = float(abs(one.first_step / one.law - 1).median())
                out.append(reported(f"{method}, depth {k}: first step / law - 1", off,
                                    "its later stages see what came back"))  # fmt: skip
    for layer in np.argsort(depth):
        k = int(depth[layer])
        last = np.argsort(eps)[:4]
        size = dataset.arrival.isel(method=0, layer=layer).median("sample").values[last]
        ratio = size / continuous_coefficient(k, (k + 1) * eps[last])
        limit = float(np.polyfit(eps[last], ratio, len(last) - 1)[-1])
        note = f"{ratio[0]:.4f} at eps = {eps.min():g}; limit {limit:.5f}, expected {_limit(k):.5f}"
        claim = f"euler, depth {k}: size at arrival / flow as eps -> 0, off its limit"
        out.append(Verdict.at_most(claim, abs(limit / _limit(k) - 1), 0.02, note))
        if k > 0:
            order = corrected_order(eps, dataset.curved_angle.isel(layer=layer).values)
            claim = f"tanh, depth {k}: order in eps of the angle at first arrival - 1"
            out.append(Verdict.at_most(claim, abs(order - 1), 0.02))
        later = dataset.time.values > 0.5
        error = float(dataset.adaptive_linear_error.isel(layer=layer)[later].max())
        claim = f"dopri5, depth {k}: distance from the linear flow"
        out.append(Verdict.at_most(claim, error, 1e-3))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
