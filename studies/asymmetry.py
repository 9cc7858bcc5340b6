"""What if the feedback weights are not those of the forward path?

Feedback at an angle of 0 to 180 degrees to the forward weights: nudged steps against
back-propagation through time, with the symmetry of the Jacobian. Feedback scaled by gamma (Xie &
Seung 2003): chain and implicit gradient meet as gamma goes to 0.
"""

from __future__ import annotations

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
    reported,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence, FeedbackNetwork


@dataclass(frozen=True)
class Settings(ExactSettings):
    """What if the feedback weights are not those of the forward path?"""

    degrees: tuple[float, ...] = (0.0, 10.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0)
    """Angles between feedback and forward weights."""
    gamma: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Scales of the feedback."""
    n_seeds: int = 5
    """Directions in which the feedback is turned."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 0.25
    """Of the Glorot weights; biases are centred on the mean input."""
    eps: float = 0.2
    """Step size."""
    n_steps: int = 40
    """Nudged steps."""
    beta: float = 1e-4
    """Strength of the nudge; +beta and -beta are combined."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.degrees or not all(0 <= d <= 180 for d in self.degrees):
            raise ValueError(f"--degrees needs angles from 0 to 180, got {self.degrees}.")
        if len(set(self.gamma)) < 4 or not all(0 < g < 1 for g in self.gamma):
            raise ValueError(f"--gamma needs four or more scales in (0, 1), got {self.gamma}.")
        if self.n_seeds < 1 or self.n_steps < 1 or not 0 < self.eps <= 1 or self.beta == 0:
            raise ValueError("--n-seeds, --n-steps need 1, 0 < --eps <= 1, --beta not 0.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import torch

    import ctebm
    from ctebm.early_inference.metrics import cosine, curve_rmse

    one = images_problem(settings, settings.hidden, "hard-sigmoid")
    rmse, turn, symmetry, settled, depths = [], [], [], [], []
    for degrees in progress(settings.degrees, "angles"):
        rows = []
        for seed in range(settings.n_seeds):
            net = ctebm.FeedbackNetwork.at_angle(one.network, degrees, seed=settings.seed + seed)
            record = ctebm.correspondence(
                net, one.x, one.target, settings.eps, n_steps=settings.n_steps, save_all=True,
                drive="nudge", beta=settings.beta, points=2,
            )  # fmt: skip
            free, s = record.fixed.network, record.fixed.state
            bptt = -settings.eps * ctebm.bptt_gradient(
                free, s, record.target, eps=settings.eps, n_steps=settings.n_steps - 1,
                every_step=True,
            )  # fmt: skip
            step = record.displacement[:, 0].diff(dim=1).transpose(0, 1)
            clear = record.fixed.converged & (record.first_crossing[:, 0] < 0)
            far, near = [], []
            for w in free.layers.values():
                off = curve_rmse(step[..., w], bptt[..., w]).reshape(settings.n_samples, -1)
                far.append(off[clear].nanmean())
                total = -cosine(step[..., w].sum(0), bptt[..., w].sum(0))
                near.append(total[clear].nanmedian())
            rows.append((torch.stack(far), torch.stack(near), _symmetry(net, one.x, record)))
            settled.append(clear.double().mean())
        rmse.append(torch.stack([r[0] for r in rows]))
        turn.append(torch.stack([r[1] for r in rows]))
        symmetry.append(torch.stack([r[2] for r in rows]))
    records = [
        ctebm.correspondence(
            ctebm.FeedbackNetwork.scaled(one.network, gamma), one.x, one.target, settings.eps,
            n_steps=one.n_hidden + 4,
        )
        for gamma in settings.gamma
    ]  # fmt: skip
    # One network, with one free part, at every gamma; outputs at a kink that the target pulls back
    # count in the chain gradient (one-sided) and not in the implicit one.
    pinned, responsive = records[-1].fixed.pinned, records[-1].responsive
    same = torch.stack(
        [r.fixed.converged & (r.fixed.pinned == pinned).all(-1) for r in records]
    ).all(0) & ~(pinned & responsive).any(-1)
    meet, arrival = [], []
    for record in records:
        gap, depths = record.implicit - record.chain, record.depth
        slices = record.fixed.network.layers.values()
        meet.append(
            torch.stack([gap[same, w].norm() / record.chain[same, w].norm() for w in slices])
        )
        early = [
            torch.where(
                (record.first_crossing[:, 0] < 0) | (record.first_crossing[:, 0] > k + 1),
                record.coefficient[:, 0, k + 1, i], torch.nan,
            ).nanmedian()
            for i, k in enumerate(record.depth)
        ]  # fmt: skip
        sizes = [settings.eps ** (k + 1) for k in record.depth]
        arrival.append(torch.stack(early) / torch.tensor(sizes, dtype=torch.float64))
    angle, weak = ("angle", "network", "layer"), ("gamma", "layer")
    return dataset(
        {
            "rmse": (angle, torch.stack(rmse), "relative distance of nudged and BPTT curves"),
            "cosine": (angle, torch.stack(turn), "cosine of their sums over the phase"),
            "symmetry": (angle[:2], torch.stack(symmetry), "|S|/(|S|+|A|) of the Jacobian"),
            "clear": (
                angle[:2],
                torch.stack(settled).reshape(-1, settings.n_seeds),
                "share of samples that settle and meet no kink",
            ),
            "gap": (weak, torch.stack(meet), "relative distance of implicit and chain gradient"),
            "arrival": (weak, torch.stack(arrival), "first arrival over eps^(k+1)"),
            **kinks(records[-1]),
        },
        {"data": one.data, "same": float(same.double().mean())},
        {
            "angle": ("angle", torch.tensor(settings.degrees), "feedback to forward", "degree"),
            "gamma": (
                "gamma",
                torch.tensor(settings.gamma, dtype=torch.float64),
                "scale of the feedback",
            ),
            "depth": ("layer", torch.tensor(depths), "hops from the output"),
        },
    )


def _symmetry(net: FeedbackNetwork, x: Tensor, record: Correspondence) -> Tensor:
    """Return that of the first sample that settled, NaN if none did."""
    import torch

    import ctebm

    if not bool(record.fixed.converged.any()):
        return torch.tensor(torch.nan, dtype=net.dtype)
    i = int(record.fixed.converged.int().argmax())
    point = ctebm.linearize(net.clamp({"x": x[i]}), record.fixed.state[i])
    return point.symmetry


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    angle, gamma = dataset.angle.values, dataset.gamma.values
    far, near, meet = [], [], []
    for layer in dataset.depth.values.argsort():
        k, one = int(dataset.depth[layer]), dataset.isel(layer=layer)
        for series, of in ((far, one.rmse), (near, one.cosine)):
            low, high = of.min("network"), of.max("network")
            series.append(
                Series(angle, of.mean("network"), f"depth {k}", colour=k, low=low, high=high)
            )
        meet += [
            Series(gamma, float(one.gap[-1]) * gamma / gamma[-1], line=True, colour=k),
            Series(gamma, one.gap, f"depth {k}", colour=k),
        ]
    far.append(Series(angle, dataset.symmetry.mean("network"), "symmetry", line=True, colour=6))
    turned = "feedback to forward weights (degrees)"
    return panel_figure(
        [
            Panel("nudged steps against BPTT", turned, "relative distance (RMSE)", far),
            Panel("their sums", turned, "cosine", near),
            Panel(r"weak feedback, lines $\propto\gamma$",
                  r"scale $\gamma$ of the feedback",
                  "implicit - chain, relative", meet, "xy"),
        ]
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    out = kink_verdicts(dataset)
    for i, angle in enumerate(dataset.angle.values):
        one = dataset.isel(angle=i)
        share = float(one.symmetry.mean())
        for layer in np.argsort(dataset.depth.values):
            k = int(dataset.depth[layer])
            claim = f"{angle:g} degrees, depth {k}: nudged curves - BPTT, RMSE"
            value = one.rmse.isel(layer=layer).mean()
            note = f"symmetry {share:.3f}, cosine {float(one.cosine.isel(layer=layer).mean()):.3f}"
            if one.clear.mean() < 1:
                note += f", {float(one.clear.mean()):.0%} of samples settle and meet no kink"
            out.append(
                Verdict.at_most(claim, value, 1e-6, note)
                if angle == 0
                else reported(claim, value, note)
            )
        if angle == 180:
            sign = (-1.0) ** dataset.depth
            off = abs(one.cosine - sign).max()
            claim = "180 degrees: the sign of the response alternates with depth, off (-1)^k"
            out.append(Verdict.at_most(claim, off, 1e-6))
    gamma = dataset.gamma.values
    for layer in np.argsort(dataset.depth.values):
        one, k = dataset.isel(layer=layer), int(dataset.depth[layer])
        claim = f"weak feedback, depth {k}: order in gamma of implicit - chain, off 1"
        if dataset.same:
            note = f"gap {float(one.gap[-1]):.1e} at gamma = {gamma[-1]:g}"
            if dataset.same < 1:
                note += f", {dataset.same:.0%} of samples, with the same free units at every gamma"
            order = corrected_order(gamma, one.gap.values)
            out.append(Verdict.at_most(claim, abs(order - 1), 0.02, note))
        else:
            note = "no sample has the same free units at every gamma"
            out.append(reported(claim, np.nan, note))
        size = abs(one.arrival / gamma**k - 1).max()
        claim = f"weak feedback, depth {k}: first arrival is (gamma)^k eps^(k+1) g, error"
        out.append(Verdict.at_most(claim, size, 1e-6))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
