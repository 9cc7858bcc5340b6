"""Is the first change of every layer -eps^(k+1) times its back-propagated gradient (eq. 25)?

For four activations and depths 0 to 5, at many step sizes: the size's exponent in eps, the error
against the paper's formula, its order for curved activations, and what rounding hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings, curved_gain
from ctebm.study.kinks import kink_variables, kink_verdicts, no_crossing
from ctebm.study.power_law import corrected_order
from ctebm.study.problem import Problem, images_problem
from ctebm.study.record import TAU, labelled, stacked, unsettled
from ctebm.study.trained import activation_names
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence

ACTIVATIONS = ("hard-sigmoid", "tanh", "logistic", "smooth-hard-sigmoid")
STEP = r"$\epsilon$ (time constants)"
LEAST_STEPS = 5  # of a fit with four unknowns
VISIBLE = 100  # remainders are fitted where they are as many times the rounding floor


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Is the first change of every layer -eps^(k+1) times its back-propagated gradient?"""

    example = "--depth 3 --width 40 --out results/shallow"

    eps: tuple[float, ...] = (0.2, 0.14, 0.1, 0.07, 0.05, 0.035, 0.025, 0.0125, 0.006)
    """Step sizes, in membrane time constants."""
    depth: int = 5
    """Number of hidden layers."""
    width: int = 24
    """Units in each hidden layer."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights with the hard sigmoid; the curved ones get 4 times it,
    and biases that take them from the middle of the sigmoid, where it has no curvature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_eps(self.eps, LEAST_STEPS)
        study.check_positive("--gain", self.gain)
        if self.depth < 0 or self.width < 1:
            raise ValueError("--depth needs 0 or more, --width 1 or more.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm

    problems = [_problem(settings, name) for name in activation_names(settings, ACTIVATIONS)]
    records = [
        ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, n_steps=len(one.hidden) + 1
        )
        for one in progress(problems, "activations")
    ]
    return _recorded(settings, problems, records)


def _problem(settings: Settings, name: str) -> Problem:
    """Return a network of an activation; random biases take curved ones from their middle."""
    import numpy as np

    gain = curved_gain(settings.gain, name)
    one = images_problem(settings, (settings.width,) * settings.depth, name, gain)
    if gain == settings.gain or settings.weights is not None:
        return one
    draw = np.random.default_rng(settings.seed)
    return one.shifted(lambda n: draw.uniform(-0.5, 0.5, n))


def _first_arrival(record: Correspondence) -> dict[str, Tensor]:
    """Return each layer's size at its first arrival, and the distance from the paper's formula."""
    import torch

    depth = list(enumerate(record.depth))
    size = torch.stack([record.coefficient[:, :, k + 1, layer] for layer, k in depth], -1)
    turn = torch.stack([record.tangent[:, :, k + 1, layer] for layer, k in depth], -1)
    power = (record.eps[:, None] ** (torch.tensor(record.depth) + 1)).to(size)
    return {
        "coefficient": size,
        "error": torch.hypot(size / power - 1, turn),
        "rounding_floor": record.rounding_floor,
        "first_crossing": record.first_crossing,
    }


def _recorded(
    settings: Settings, problems: list[Problem], records: list[Correspondence]
) -> xr.Dataset:
    import numpy as np

    found = stacked([_first_arrival(record) for record in records])
    depth, eps = records[0].depth, records[0].eps
    dims, order = ("activation", "sample", "eps", "depth"), np.argsort(depth)
    size, error, floor = (found[k][..., order] for k in ("coefficient", "error", "rounding_floor"))
    kinked = [bool(one.network.activation.kinks) for one in problems]
    names = np.array(activation_names(settings, ACTIVATIONS))
    return labelled(
        {
            "coefficient": (dims, size, "coefficient at first arrival"),
            "error": (dims, error, "relative error against -eps^(k+1) g"),
            "rounding_floor": (dims, floor, "relative rounding error"),
            "first_crossing": (
                dims[:3], found["first_crossing"], "first step at which a kink is met",
            ),
            "kinked": ("activation", kinked, "kinks"),
            **kink_variables(records[0]),
        },
        {"data": problems[0].data, "n_failed": unsettled(records)},
        {
            "activation": ("activation", names, "activation"),
            "eps": ("eps", eps, "step size", TAU),
            "depth": ("depth", np.sort(depth), "hops from the output"),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    panels = []
    eps = dataset.eps.values
    for i, name in enumerate(dataset.activation.values):
        size = dataset.coefficient.isel(activation=i).median("sample")
        series = []
        for k in dataset.depth.values:
            seen = dataset.rounding_floor.isel(activation=i, depth=k).median("sample") < 0.1
            series += [
                Series(eps, eps ** (k + 1), line=True, colour=int(k)),
                Series(eps[seen], size.isel(depth=k)[seen], f"depth {k}", colour=int(k)),
            ]
        panels.append(Panel(f"{name}: size", STEP, "coefficient of the gradient", series, "xy"))
    for i, name in enumerate(dataset.activation.values):
        series = []
        for k in dataset.depth.values:
            one = dataset.isel(activation=i, depth=k)
            error, floor = one.error.median("sample"), one.rounding_floor.median("sample")
            series += [
                Series(eps, floor, line=True, colour=int(k)),
                Series(eps, error, colour=int(k)),
            ]
        panels.append(Panel(f"{name}: error", STEP, "relative error", series, "xy"))
    return panel_figure(
        panels, min(4, len(panels)),
        question="Is the first change of every layer $-\\epsilon^{k+1}$ times its back-propagated "
        "gradient?",
        see="Above, points: its size; lines: $\\epsilon^{k+1}$. Below, points: its distance from "
        "the formula; lines: what rounding hides. The hard sigmoid is exact, curved rates are "
        "right to first order in the step.",
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    for i, name in enumerate(dataset.activation.values):
        for k in dataset.depth.values:
            one, tag = dataset.isel(activation=i, depth=k), f"{name}, depth {k}"
            if one.kinked:
                out += _judge_kinked(one, tag)
            elif k == 0:
                worst = largest(one.error / one.rounding_floor)
                out.append(Verdict.at_most(f"{tag}: error / rounding floor", worst, 5))
            else:
                out += _judge_curved(one, tag)
    return out


def _judge_kinked(one: xr.Dataset, tag: str) -> list[Verdict]:
    """Between kinks the formula is exact: power and error to rounding, until a kink is met."""
    import numpy as np

    from ctebm.early_inference.metrics import fit_exponent

    k, eps = int(one.depth), one.eps.values
    clear = no_crossing(one.first_crossing, until=k + 1)
    arrived = clear & one.coefficient.notnull()
    whole = arrived.all("eps")
    claims = f"{tag}: exponent / (k + 1) - 1", f"{tag}: error / rounding floor"
    if not bool(clear.all("eps").any()):
        return [Verdict.no_case(claim, "every sample meets a kink before") for claim in claims]
    floor = one.rounding_floor.median("sample").values
    size = one.coefficient.where(whole).median("sample").values
    seen = (floor < 5e-3) & (size > 0)
    order, note = np.nan, "too few steps at which the gradient is above rounding"
    if seen.sum() > 1:
        fit = fit_exponent(eps[seen], size[seen])
        order = fit.slope
        note = f"95 % interval {fit.low:.5f} to {fit.high:.5f}, {seen.sum()} steps"
    best = f"error {np.nanmin(_rms(one.error, clear)):.1e} at best"
    return [
        Verdict.at_most(claims[0], abs(order / (k + 1) - 1), 0.02, note),
        Verdict.at_most(claims[1], largest(one.error / one.rounding_floor, arrived), 5, best),
    ]


def _judge_curved(one: xr.Dataset, tag: str) -> list[Verdict]:
    """Smooth rates: the formula is right to first order, with a remainder of order eps."""
    import numpy as np

    k, eps = int(one.depth), one.eps.values
    clear = no_crossing(one.first_crossing, until=k + 1)
    floor, size = (of.median("sample").values for of in (one.rounding_floor, one.coefficient))
    error = _rms(one.error, clear)
    seen = np.flatnonzero(~(error <= VISIBLE * floor))
    claims = f"{tag}: exponent / (k + 1) - 1", f"{tag}: order of the remainder - 1"
    if len(seen) < LEAST_STEPS:
        why = "too few steps at which the remainder is above rounding; give larger --eps"
        return [Verdict.at_most(claim, np.nan, 0.02, why) for claim in claims]
    last = seen[np.argsort(eps[seen])][:6]
    note = f"{error[last[0]]:.1e} at eps = {eps[last[0]]:g}"
    of_size, of_error = (corrected_order(eps[last], y[last]) for y in (size, error))
    return [
        Verdict.at_most(claims[0], abs(of_size / (k + 1) - 1), 0.02),
        Verdict.at_most(claims[1], abs(of_error - 1), 0.02, note),
    ]


def _rms(error: xr.DataArray, clear: xr.DataArray) -> np.ndarray:
    import numpy as np

    return np.sqrt((error.where(clear) ** 2).mean("sample").values)


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
