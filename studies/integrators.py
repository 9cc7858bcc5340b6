"""Which layers move in one step of a solver, and by how much (P6)?

Euler, Heun, RK4 and adaptive continuous time from the same equilibria: the size of the first step
in every layer against the law of each solver, and how size and direction at the first arrival
behave as the step goes to 0: the direction converges, the size never does (for Euler). With
`--weights` the fixed steps are those of the given network; dopri5 and tanh, which need smooth
rates, keep random weights between layers of the same sizes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings, curved_gain
from ctebm.study.kinks import at_most_before_kinks, kink_variables, kink_verdicts, no_crossing
from ctebm.study.power_law import at_zero, corrected_order
from ctebm.study.problem import Problem, images_problem
from ctebm.study.record import TAU, by_depth, labelled, stacked, unsettled
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence
    from ctebm.figures.panels import Panel

METHODS = ("euler", "heun", "rk4")
STEP = r"step $\epsilon$ (time constants)"


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Which layers move in one step of a solver, and by how much?"""

    example = "--depth 6 --out results/deep"

    eps: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Step sizes, in membrane time constants."""
    depth: int = 4
    """Number of hidden layers."""
    width: int = 24
    """Units in each hidden layer."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    corner: float = 0.02
    """Width of the smooth hard sigmoid's corners, for the adaptive solver."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_eps(self.eps, at_least=5)
        study.check_positive("--gain", self.gain)
        if self.depth < 1 or self.width < 1 or not self.corner > 0:
            raise ValueError("--depth, --width need 1 or more, --corner more than 0.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm

    one = images_problem(
        settings, (settings.width,) * settings.depth, "hard-sigmoid", settings.gain
    )
    if not one.network.activation.kinks:
        raise ValueError(
            f"{one.network.activation} has no kinks; this study holds the steps of a hard sigmoid "
            "against exact laws: give a network of hard sigmoids."
        )
    records = [
        ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, n_steps=len(one.hidden) + 1, method=method
        )
        for method in progress(METHODS, "solvers")
    ]
    smooth = dataclasses.replace(settings, weights=None)
    adaptive = _adaptive(smooth, one.hidden)
    return _recorded(one, records, adaptive, _curved(smooth, one.hidden))


def _first_step(record: Correspondence) -> dict[str, Tensor]:
    """Return what one step of a solver does to each layer, and its first arrivals."""
    import torch

    moved = record.by_layer(lambda d, _: d.abs().amax(-1), record.chain)
    reach = list(enumerate(record.first_arrival))
    return {
        "first_step": record.coefficient[:, :, 1],
        "law": record.law[:, 1],
        "rounding_floor": record.rounding_floor.nanmedian(0).values,
        "moved": moved[:, :, 1].amax((0, 1)),
        "arrival": torch.stack([record.coefficient[:, :, n, i] for i, n in reach], -1),
        "tangent": torch.stack([record.tangent[:, :, n, i] for i, n in reach], -1),
        "clear": no_crossing(record.first_crossing, until=1),
    }


def _adaptive(settings: Settings, hidden: Sequence[int]) -> dict[str, Tensor]:
    """Follow the smooth hard sigmoid in continuous time."""
    import torch

    import ctebm

    activation = f"smooth-hard-sigmoid:width={settings.corner}"
    one = images_problem(settings, hidden, activation, settings.gain)
    # far from the corners, where the curvature is below rounding
    target = 0.25 * one.target
    record = ctebm.correspondence(
        one.network, one.x, target, [0.1], t_end=6.0, method="dopri5", tol=1e-13
    )
    return {
        "time": record.time[0, 1:],
        "adaptive": record.coefficient[:, 0, 1:].median(0).values,
        "adaptive_linear_error": torch.as_tensor(record.linear_error[:, 0, 1:].median(0).values),
    }


def _curved(settings: Settings, hidden: Sequence[int]) -> Tensor:
    """Return the angle at Euler's first arrival for a curved activation, over samples."""
    import torch

    import ctebm

    one = images_problem(settings, hidden, "tanh", curved_gain(settings.gain, "tanh"))
    one = one.shifted(lambda n: 0.5 * torch.sin(torch.arange(n) * 1.7))
    record = ctebm.correspondence(
        one.network, one.x, one.target, settings.eps, n_steps=len(hidden) + 1
    )
    at = [record.tangent[:, :, n, i].atan() for i, n in enumerate(record.first_arrival)]
    return torch.stack(at, -1).square().mean(0).sqrt()


def _recorded(
    one: Problem, records: list[Correspondence], adaptive: dict[str, Tensor], angle: Tensor
) -> xr.Dataset:
    import numpy as np

    import ctebm

    found = stacked([_first_step(record) for record in records])
    eps, depth = records[0].eps, records[0].depth
    flow = np.stack([ctebm.continuous_coefficient(k, eps.numpy()) for k in depth], -1)
    run, curve = ("method", "sample", "eps", "layer"), ("method", "eps", "layer")
    flown = ("time", "layer")
    texts = {
        "first_step": (run, "coefficient after one step"),
        "law": (curve, "law of the solver after one step"),
        "flow": (curve[1:], "coefficient in continuous time after one step"),
        "rounding_floor": (curve, "relative rounding error at arrival"),
        "moved": (("method", "layer"), "largest change in the first step"),
        "arrival": (run, "coefficient at the first arrival"),
        "tangent": (run, "tangent of the angle at the first arrival"),
        "clear": (run[:3], "no unit meets or leaves a kink at once"),
        "adaptive": (flown, "coefficient by dopri5"),
        "adaptive_linear_error": (flown, "distance of dopri5 from the linear flow, relative"),
        "curved_angle": (curve[1:], "angle at Euler's first arrival, tanh", "radian"),
    }
    found |= adaptive | {"flow": flow, "curved_angle": angle}
    return labelled(
        {name: (dims, found[name], *text) for name, (dims, *text) in texts.items()}
        | kink_variables(records[0]),
        {"data": one.data, "n_failed": unsettled(records[:1])},
        {
            "method": ("method", np.array(METHODS), "solver"),
            "eps": ("eps", eps, "step size", TAU),
            "depth": ("layer", np.array(depth), "hops from the output"),
            "time": ("time", adaptive["time"], "time", TAU),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import panel_figure

    first = [_first_step_panel(dataset, i) for i in range(dataset.sizes["method"])]
    return panel_figure(
        [*first, _size_panel(dataset), _angle_panel(dataset), _adaptive_panel(dataset)],
        question="Which layers move in one step of a solver, and by how much?",
        see="a to c: as many layers as the method has stages; lines: its law, black: the exact "
        "flow. d: Euler's size does not converge to the flow's, lines: its limit. e: the direction "
        "does, lines: in proportion to the step. f: the adaptive solver follows the flow, lines.",
    )


def _first_step_panel(dataset: xr.Dataset, i: int) -> Panel:
    from ctebm.figures.panels import Panel, Series, against_theory

    eps, depth = dataset.eps.values, dataset.depth.values
    flow = f"flow, $\\epsilon$ = {eps[2]:g}"
    series = [Series(depth, dataset.flow.isel(eps=2), flow, line=True, colour=6)]
    for j in (0, 2, 4) if len(eps) > 4 else (0, 2):
        one = dataset.isel(method=i, eps=j)
        seen = one.law.values > 0
        size = one.first_step.median("sample")
        label = f"$\\epsilon$ = {eps[j]:g}"
        series += against_theory(depth[seen], one.law[seen], size[seen], label, colour=j)
    return Panel(
        f"{dataset.method.values[i]}: first step", "depth $k$", "share of the gradient", series, "y"
    )


def _size_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.early_inference.laws import continuous_coefficient
    from ctebm.figures.panels import Panel, against_theory

    eps, series = dataset.eps.values, []
    for k, one in by_depth(dataset):
        at = [float(continuous_coefficient(k, (k + 1) * e)) for e in eps]
        ratio = one.arrival.isel(method=0).median("sample") / at
        series += against_theory(eps, eps * 0 + _limit(k), ratio, f"depth {k}", colour=k)
    return Panel("euler: first arrival / flow", STEP, "ratio", series, "x")


def _angle_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.figures.panels import Panel, against_theory

    eps, series = dataset.eps.values, []
    for k, one in list(by_depth(dataset))[1:]:
        line = float(one.curved_angle[-1]) * eps / eps[-1]
        series += against_theory(eps, line, one.curved_angle, f"depth {k}", colour=k)
    return Panel("euler, tanh: first arrival", STEP, "angle to the gradient (rad)", series, "xy")


def _adaptive_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.early_inference.laws import continuous_coefficient
    from ctebm.figures.panels import Panel, against_theory

    t, series = dataset.time.values, []
    for k, one in by_depth(dataset):
        law = continuous_coefficient(k, t)
        series += against_theory(t, law, one.adaptive, f"depth {k}", colour=k, every=3)
    time, share = "time (time constants)", "share of the gradient"
    return Panel("dopri5", time, share, series, "xy")


def _limit(k: int) -> float:
    """Return the limit of Euler's size at its first arrival over that of the flow (P6)."""
    from math import factorial

    return factorial(k + 1) / (k + 1) ** (k + 1)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    for i in range(dataset.sizes["method"]):
        out += [_judge_first_step(k, one) for k, one in by_depth(dataset.isel(method=i))]
    for k, one in by_depth(dataset):
        out += _judge_small_steps(k, one)
    return out


def _judge_first_step(k: int, one: xr.Dataset) -> Verdict:
    """A solver with as many stages as it has reaches as many layers, each by its own law."""
    from ctebm.dynamics.methods import METHODS as SOLVERS

    method = str(one.method.values)
    stages = SOLVERS[method].stages
    if k >= stages:
        claim = f"{method}, depth {k}: doesn't move in the first step, largest change"
        return Verdict.at_most(claim, one.moved, 2e-15)
    off = abs(one.first_step / one.law - 1)
    if stages >= k + 3:
        claim, why = (
            f"{method}, depth {k}: first step / law - 1",
            "its later stages see what came back",
        )
        return Verdict.reported(claim, off.median(), why)
    # nothing has come back within the stages
    claim = f"{method}, depth {k}: first step against its law, error / rounding floor"
    carried = one.first_step.notnull()
    return at_most_before_kinks(claim, off / one.rounding_floor, one.clear, 5, where=carried)


def _judge_small_steps(k: int, one: xr.Dataset) -> list[Verdict]:
    """As eps goes to 0 the direction converges, Euler's size does not; dopri5 is the flow."""
    import numpy as np

    from ctebm.early_inference.laws import continuous_coefficient

    eps = one.eps.values
    last = np.argsort(eps)[:4]
    size = one.arrival.isel(method=0).median("sample").values[last]
    ratio = size / continuous_coefficient(k, (k + 1) * eps[last])
    limit = at_zero(eps[last], ratio)
    note = f"{ratio[0]:.4f} at eps = {eps.min():g}; limit {limit:.5f}, expected {_limit(k):.5f}"
    claim = f"euler, depth {k}: size at arrival / flow as eps -> 0, off its limit"
    out = [Verdict.at_most(claim, abs(limit / _limit(k) - 1), 0.02, note)]
    if k > 0:
        claim = f"tanh, depth {k}: order in eps of the angle at first arrival - 1"
        order = corrected_order(eps, one.curved_angle.values)
        out.append(Verdict.at_most(claim, abs(order - 1), 0.02))
    claim = f"dopri5, depth {k}: distance from the linear flow"
    later = one.time > 0.5
    return [*out, Verdict.at_most(claim, largest(one.adaptive_linear_error, later), 1e-3)]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
