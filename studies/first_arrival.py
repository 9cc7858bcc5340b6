"""Is the first change of every layer -eps^(k+1) times its back-propagated gradient (eq. 25)?

For four activations and depths 0 to 5, at many step sizes: the size's exponent in eps, the error
against the paper's formula, its order for curved activations, and what rounding hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import (
    ExactSettings,
    activation_names,
    corrected_order,
    dataset,
    images_problem,
    kink_verdicts,
    kinks,
    reported,
    with_gain,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

ACTIVATIONS = ("hard-sigmoid", "tanh", "logistic", "smooth-hard-sigmoid")
STEP = r"step $\epsilon$ (time constants)"


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Is the first change of every layer -eps^(k+1) times its back-propagated gradient?"""

    eps: tuple[float, ...] = (0.2, 0.14, 0.1, 0.07, 0.05, 0.035, 0.025, 0.0125, 0.006)
    """Step sizes, in membrane time constants."""
    depth: int = 5
    """Hidden layers."""
    width: int = 24
    """Units in each."""
    gain: float = 0.25
    """Of the Glorot weights with the hard sigmoid; the curved ones get 4 times it, and biases
    that take them from the middle of the sigmoid, where it has no curvature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.eps)) < 3 or not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"--eps needs three or more 0 < eps <= 1, got {self.eps}.")
        if self.depth < 0 or self.width < 1:
            raise ValueError("--depth needs 0 or more, --width 1 or more.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch

    import ctebm

    size, error, floor, crossed, records, problems = [], [], [], [], [], []
    names = activation_names(settings, ACTIVATIONS)
    for name in progress(names, "activations"):
        gain = settings.gain * (1 if name == "hard-sigmoid" else 4)
        one = images_problem(with_gain(settings, gain), (settings.width,) * settings.depth, name)
        network = one.network
        if gain != settings.gain and settings.weights is None:
            draw = np.random.default_rng(settings.seed)
            weights = [W for W in network.weights if W is not None]
            shifted = [b + torch.as_tensor(draw.uniform(-0.5, 0.5, len(b))) for b in network.biases]
            network = ctebm.LayeredNetwork(weights, shifted, network.activation)
        record = ctebm.correspondence(
            network, one.x, one.target, settings.eps, n_steps=one.n_hidden + 1
        )
        records.append(record)
        problems.append(one)
        at = [record.coefficient[:, :, k + 1, layer] for layer, k in enumerate(record.depth)]
        power = record.eps[:, None] ** (torch.tensor(record.depth) + 1)
        size.append(torch.stack(at, -1))
        turn = [record.tangent[:, :, k + 1, layer] for layer, k in enumerate(record.depth)]
        error.append(torch.hypot(size[-1] / power - 1, torch.stack(turn, -1)))
        floor.append(record.rounding_floor)
        crossed.append(record.first_crossing)
    record, one = records[-1], problems[-1]
    dims = ("activation", "sample", "eps", "depth")
    order = np.argsort(record.depth)
    return dataset(
        {
            "coefficient": (dims, torch.stack(size)[..., order], "coefficient at first arrival"),
            "error": (dims, torch.stack(error)[..., order], "relative error against -eps^(k+1) g"),
            "rounding_floor": (dims, torch.stack(floor)[..., order], "relative rounding error"),
            "first_crossing": (dims[:3], torch.stack(crossed), "first step at which a kink is met"),
            "kinked": ("activation", [bool(p.network.activation.kinks) for p in problems], "kinks"),
            **kinks(records[0]),
        },
        {"data": one.data},
        {
            "activation": ("activation", np.array(names), "activation"),
            "eps": ("eps", record.eps, "step size", "membrane time constant"),
            "depth": ("depth", np.sort(record.depth), "hops from the output"),
        },
    )


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
        title = f"{name}: size, line $\\epsilon^{{k+1}}$"
        panels.append(Panel(title, STEP, "coefficient of the gradient", series, "xy"))
    for i, name in enumerate(dataset.activation.values):
        series = []
        for k in dataset.depth.values:
            one = dataset.isel(activation=i, depth=k)
            error, floor = one.error.median("sample"), one.rounding_floor.median("sample")
            series += [
                Series(eps, floor, line=True, colour=int(k)),
                Series(eps, error, colour=int(k)),
            ]
        title = f"{name}: error, line rounding"
        panels.append(Panel(title, STEP, "relative error", series, "xy"))
    return panel_figure(panels, min(4, len(panels)))


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    from ctebm.early_inference.metrics import fit_exponent

    out, eps = kink_verdicts(dataset), dataset.eps.values
    for i, name in enumerate(dataset.activation.values):
        for k in dataset.depth.values:
            one = dataset.isel(activation=i, depth=k)
            clear = (one.first_crossing < 0) | (one.first_crossing > k + 1)
            whole = clear & one.coefficient.notnull()
            if one.kinked and not whole.all("eps").any():
                claim = f"{name}, depth {k}: exponent / (k + 1) - 1"
                out.append(reported(claim, np.nan, "every sample meets a kink before"))
                continue
            floor = one.rounding_floor.median("sample").values
            size = one.coefficient.where(whole.all("eps")).median("sample").values
            error = np.sqrt((one.error.where(clear) ** 2).mean("sample")).values
            tag = f"{name}, depth {k}"
            if one.kinked:
                seen = floor < 5e-3
                fit = fit_exponent(eps[seen], size[seen])
                note = f"95 % interval {fit.low:.5f} to {fit.high:.5f}, {seen.sum()} steps"
                claim = f"{tag}: exponent / (k + 1) - 1"
                out.append(Verdict.at_most(claim, abs(fit.slope / (k + 1) - 1), 0.02, note))
                worst = float((one.error / one.rounding_floor).where(clear).max())
                note = f"error {np.nanmin(error):.1e} at best"
                out.append(Verdict.at_most(f"{tag}: error / rounding floor", worst, 5, note))
                continue
            if k == 0:
                worst = float((one.error / one.rounding_floor).max())
                out.append(Verdict.at_most(f"{tag}: error / rounding floor", worst, 5))
                continue
            seen = np.flatnonzero(error > 100 * floor)
            if len(seen) < 5:
                out.append(reported(f"{tag}: remainder", error.min(), "too few steps for an order"))
                continue
            last = seen[np.argsort(eps[seen])][:6]
            order = corrected_order(eps[last], error[last])
            size_order = corrected_order(eps[last], size[last])
            note = f"{error[last[0]]:.1e} at eps = {eps[last[0]]:g}"
            out += [
                Verdict.at_most(f"{tag}: exponent / (k + 1) - 1",
                                abs(size_order / (k + 1) - 1), 0.02),
                Verdict.at_most(f"{tag}: order of the remainder - 1", abs(order - 1), 0.02, note),
            ]  # fmt: skip
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
