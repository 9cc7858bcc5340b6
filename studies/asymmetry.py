"""What if the feedback weights are not those of the forward path?

Feedback at an angle of 0 to 180 degrees to the forward weights: nudged steps against
back-propagation through time, with the symmetry of the Jacobian. Feedback scaled by gamma (Xie &
Seung 2003): chain and implicit gradient meet as gamma goes to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings
from ctebm.study.kinks import kink_variables, kink_verdicts, no_crossing
from ctebm.study.power_law import corrected_order
from ctebm.study.problem import Problem, images_problem
from ctebm.study.record import by_depth, labelled, stacked, unsettled
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence, FeedbackNetwork


@dataclass(frozen=True)
class Settings(ExactSettings):
    """What if the feedback weights are not those of the forward path?"""

    example = "--degrees 0 45 90 135 180 --out results/five_angles"

    degrees: tuple[float, ...] = (0.0, 10.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0)
    """Angles between feedback and forward weights."""
    gamma: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Scales of the feedback."""
    n_seeds: int = 5
    """Directions in which the feedback is turned."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    eps: float = 0.2
    """Step size, in membrane time constants."""
    n_steps: int = 40
    """Nudged steps."""
    beta: float = 1e-4
    """Strength of the nudge; +beta and -beta are combined."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_positive("--gain", self.gain)
        study.check_eps(self.eps)
        if not self.degrees or not all(0 <= d <= 180 for d in self.degrees):
            raise ValueError(f"--degrees needs angles from 0 to 180, got {self.degrees}.")
        if len(set(self.gamma)) < 4 or not all(0 < g < 1 for g in self.gamma):
            raise ValueError(f"--gamma needs four or more scales in (0, 1), got {self.gamma}.")
        if self.n_seeds < 1 or self.n_steps < 1 or self.beta == 0:
            raise ValueError("--n-seeds and --n-steps need 1 or more, --beta must not be 0.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    one = images_problem(settings, settings.hidden, "hard-sigmoid", settings.gain)
    turned = stacked(
        [
            stacked([_turned(settings, one, degrees, seed) for seed in range(settings.n_seeds)])
            for degrees in progress(settings.degrees, "angles")
        ]
    )
    records = [_scaled(settings, one, gamma) for gamma in settings.gamma]
    same = _same_free_units(records)
    weak = stacked([{"gap": _gap(record, same), "arrival": _arrival(record)} for record in records])
    return _recorded(settings, one, turned, weak, same, records)


def _turned(settings: Settings, one: Problem, degrees: float, seed: int) -> dict[str, Tensor]:
    """Compare nudged steps with back-propagation through time, layer by layer."""
    import torch

    import ctebm
    from ctebm.early_inference.metrics import cosine, curve_rmse

    eps, n_steps = settings.eps, settings.n_steps
    net = ctebm.FeedbackNetwork.at_angle(one.network, degrees, seed=settings.seed + seed)
    record = ctebm.correspondence(
        net, one.x, one.target, eps, n_steps=n_steps, save_all=True, drive="nudge",
        beta=settings.beta, points=2,
    )  # fmt: skip
    free, s = record.fixed.network, record.fixed.state
    bptt = -eps * ctebm.bptt_gradient(
        free, s, record.target, eps=eps, n_steps=n_steps - 1, every_step=True
    )
    step = record.displacement[:, 0].diff(dim=1).transpose(0, 1)
    clear = record.fixed.converged & no_crossing(record.first_crossing[:, 0])
    rmse, turn = [], []
    for w in free.layers.values():
        off = curve_rmse(step[..., w], bptt[..., w]).reshape(settings.n_samples, -1)
        rmse.append(off[clear].nanmean())
        total = -cosine(step[..., w].sum(0), bptt[..., w].sum(0))
        turn.append(total[clear].nanmedian())
    return {
        "rmse": torch.stack(rmse),
        "cosine": torch.stack(turn),
        "symmetry": _symmetry(net, one.x, record),
        "clear": clear.double().mean(),
    }


def _symmetry(net: FeedbackNetwork, x: Tensor, record: Correspondence) -> Tensor:
    """Return that of the first sample that settled, NaN if none did."""
    import torch

    import ctebm

    if not bool(record.fixed.converged.any()):
        return torch.tensor(torch.nan, dtype=net.dtype)
    i = int(record.fixed.converged.int().argmax())
    point = ctebm.linearize(net.clamp({"x": x[i]}), record.fixed.state[i])
    return point.symmetry


def _scaled(settings: Settings, one: Problem, gamma: float) -> Correspondence:
    import ctebm

    net = ctebm.FeedbackNetwork.scaled(one.network, gamma)
    return ctebm.correspondence(net, one.x, one.target, settings.eps, n_steps=len(one.hidden) + 4)


def _same_free_units(records: Sequence[Correspondence]) -> Tensor:
    """Return the samples in which one network, with one free part, is compared at every gamma.

    Outputs at a kink that the target pulls back count in the chain gradient, which is one-sided,
    and not in the implicit one.
    """
    import torch

    pinned, responsive = records[-1].fixed.pinned, records[-1].responsive
    equal = [r.fixed.converged & (r.fixed.pinned == pinned).all(-1) for r in records]
    return torch.stack(equal).all(0) & ~(pinned & responsive).any(-1)


def _gap(record: Correspondence, same: Tensor) -> Tensor:
    """Return the distance of the implicit from the chain gradient, relative, for each layer."""
    import torch

    gap, chain = record.implicit - record.chain, record.chain
    slices = record.fixed.network.layers.values()
    return torch.stack([gap[same, w].norm() / chain[same, w].norm() for w in slices])


def _arrival(record: Correspondence) -> Tensor:
    """Return the coefficient at the first arrival over ``eps^(k + 1)``, for each layer."""
    import torch

    early = []
    for i, k in enumerate(record.depth):
        clear = no_crossing(record.first_crossing[:, 0], until=k + 1)
        early.append(torch.where(clear, record.coefficient[:, 0, k + 1, i], torch.nan).nanmedian())
    sizes = [float(record.eps[0]) ** (k + 1) for k in record.depth]
    found = torch.stack(early)
    return found / found.new_tensor(sizes)


def _recorded(
    settings: Settings,
    one: Problem,
    turned: dict[str, Tensor],
    weak: dict[str, Tensor],
    same: Tensor,
    records: Sequence[Correspondence],
) -> xr.Dataset:
    import torch

    angle, scale = ("angle", "network", "layer"), ("gamma", "layer")
    gamma = torch.tensor(settings.gamma, dtype=torch.float64)
    return labelled(
        {
            "rmse": (angle, turned["rmse"], "relative distance of nudged and BPTT curves"),
            "cosine": (angle, turned["cosine"], "cosine of their sums over the phase"),
            "symmetry": (angle[:2], turned["symmetry"], "|S|/(|S|+|A|) of the Jacobian"),
            "clear": (
                angle[:2], turned["clear"], "share of samples that settle and meet no kink",
            ),
            "gap": (scale, weak["gap"], "relative distance of implicit and chain gradient"),
            "arrival": (scale, weak["arrival"], "first arrival over eps^(k+1)"),
            **kink_variables(records[-1]),
        },
        {
            "data": one.data,
            "same": float(same.double().mean()),
            "n_failed": unsettled(records),
        },
        {
            "angle": ("angle", torch.tensor(settings.degrees), "feedback to forward", "degree"),
            "gamma": ("gamma", gamma, "scale of the feedback"),
            "depth": ("layer", torch.tensor(records[-1].depth), "hops from the output"),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    angle, gamma = dataset.angle.values, dataset.gamma.values
    far, near, meet = [], [], []
    for k, one in by_depth(dataset):
        for series, of in ((far, one.rmse), (near, one.cosine)):
            low, high = of.min("network"), of.max("network")
            series.append(
                Series(angle, of.mean("network"), f"depth {k}", colour=k, low=low, high=high)
            )
        meet += [
            Series(gamma, float(one.gap[-1]) * gamma / gamma[-1], line=True, colour=k),
            Series(gamma, one.gap, f"depth {k}", colour=k),
        ]
    symmetry = [Series(angle, dataset.symmetry.mean("network"), colour=6)]
    turned = "angle of the feedback (degrees)"
    return panel_figure(
        [
            Panel("steps, distance from BPTT", turned, "relative distance", far),
            Panel("sums of the steps", turned, "cosine with BPTT", near),
            Panel("symmetry of the couplings", turned, "symmetric share", symmetry),
            Panel("implicit minus chain gradient", r"scale $\gamma$ of the feedback",
                  "relative distance of gradients", meet, "xy"),
        ],
        2,
        question="What if the feedback weights are not those of the forward path?",
        see="a, b: the nudged motion moves away from back-propagation through time as the "
        "feedback turns; bars: all networks. At 180 degrees it has the opposite sign: odd depths "
        "move the wrong way, and at even depths two signs cancel, so that depth 2 is right again. "
        "d, lines: in proportion to the scale of the feedback.",
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    for i in range(dataset.sizes["angle"]):
        out += _judge_angle(dataset.isel(angle=i))
    for k, one in by_depth(dataset):
        out += _judge_weak(k, one)
    return out


def _judge_angle(one: xr.Dataset) -> list[Verdict]:
    """Equal weights: nudged steps are those of BPTT. Opposite ones: the sign alternates."""
    out, angle, clear = [], float(one.angle), float(one.clear.mean())
    for k, at in by_depth(one):
        claim = f"{angle:g} degrees, depth {k}: nudged curves - BPTT, RMSE"
        note = f"symmetry {float(one.symmetry.mean()):.3f}, cosine {float(at.cosine.mean()):.3f}"
        if clear < 1:
            note += f", {clear:.0%} of samples settle and meet no kink"
        out.append(
            Verdict.at_most(claim, at.rmse.mean(skipna=False), 1e-6, note)
            if angle == 0
            else Verdict.reported(claim, at.rmse.mean(), note)
        )
    if angle == 180:
        claim = "180 degrees: the sign of the response alternates with depth, off (-1)^k"
        out.append(Verdict.at_most(claim, largest(abs(one.cosine - (-1.0) ** one.depth)), 1e-6))
    return out


def _judge_weak(k: int, one: xr.Dataset) -> list[Verdict]:
    """Weak feedback: implicit and chain gradient meet as gamma, arrivals shrink as gamma^k."""
    gamma = one.gamma.values
    claim = f"weak feedback, depth {k}: order in gamma of implicit - chain, off 1"
    note = f"gap {float(one.gap[-1]):.1e} at gamma = {gamma[-1]:g}"
    if one.same < 1:
        note += f", {one.same:.0%} of samples, with the same free units at every gamma"
    order = corrected_order(gamma, one.gap.values)
    out = [
        Verdict.at_most(claim, abs(order - 1), 0.02, note)
        if one.same != 0
        else Verdict.no_case(claim, "no sample has the same free units at every gamma")
    ]
    claim = f"weak feedback, depth {k}: first arrival is (gamma)^k eps^(k+1) g, error"
    return [*out, Verdict.at_most(claim, largest(abs(one.arrival / gamma**k - 1)), 1e-6)]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
