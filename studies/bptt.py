"""Is a weak nudge, step by step, back-propagation through time? And what does it tend to?

The changes that a nudge makes in each of its steps against the gradients of back-propagation
through time (P4), for every layer and synapse; their sum against the implicit gradient; and the
chain gradient against the implicit one by gain. The toy is that of Ernoult et al. (2019): 10
inputs, 50 hidden units and 5 outputs, each group connected to the others, tanh rates, eps = 0.08
(dt there), beta = 0.01, settled for 5,000 steps and nudged for 80.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.ernoult import ToyPhase, toy_curves
from ctebm.study.image_settings import ExactSettings, curved_gain, gains_to_compare
from ctebm.study.kinks import at_most_before_kinks, kink_variables, kink_verdicts, no_crossing
from ctebm.study.problem import images_problem
from ctebm.study.record import labelled, stacked, unsettled
from ctebm.study.trained import activation_names

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence
    from ctebm.figures.panels import Panel

ACTIVATIONS = ("hard-sigmoid", "tanh", "logistic")
BPTT = "back-propagation through time"
N_LIMIT = 4000  # steps after which the sum of the gradients through time has converged
UNIT = 1.1e-16  # half a step of float64
AGREES = 1e-5  # relative; the nudge is not infinitely weak


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Is a weak nudge, step by step, back-propagation through time?"""

    example = "--n-steps 100 --eps 0.1 --out results/fine"

    beta: float = 1e-6
    """Strength of the nudge in the layered networks; +beta and -beta are combined."""
    eps: float = 0.2
    """Step size in the layered networks."""
    n_steps: int = 60
    """Nudged steps of the layered networks."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers of the layered networks, input side first."""
    gain: float = 0.25
    """Gain of their random (Glorot) weights with the hard sigmoid; the curved ones get 4 times it.
    Biases are centred on the mean input."""
    gains: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
    """Gains at which the chain gradient is compared with the implicit one."""
    n_seeds: int = 20
    """Networks in the mean over gains."""
    toy_sizes: tuple[int, int, int] = (10, 50, 5)
    """Inputs, hidden units and outputs of the toy."""
    toy_eps: float = 0.08
    """Step size of the toy."""
    toy_beta: float = 0.01
    """Strength of its one-sided nudge."""
    toy_settle: int = 5000
    """Steps for which it settles, T."""
    toy_nudge: int = 80
    """Steps for which it is nudged, K."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta == 0 or self.toy_beta == 0:
            raise ValueError("--beta and --toy-beta must not be 0, or nothing moves.")
        if self.weights is not None:
            reason = "--weights is one network; leave it out"
            study.refuse_ignored(self, ["n_seeds"], reason)
        study.check_eps(self.eps)
        study.check_eps(self.toy_eps)
        study.check_positive("--gain", self.gain)
        study.check_positive("--gains", self.gains)
        if min(self.n_steps, self.toy_settle, self.toy_nudge, self.n_seeds) < 1:
            raise ValueError("numbers of steps and seeds need 1 or more.")
        if min(self.toy_sizes) < 1:
            sizes = " ".join(map(str, self.toy_sizes))
            raise ValueError(f"--toy-sizes needs 1 or more units in each group, got {sizes}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    names = activation_names(settings, ACTIVATIONS)
    records = [_nudged(settings, name) for name in progress(names, "activations")]
    layered = stacked([_layered(settings, record) for record in records])
    phase = ToyPhase(settings.toy_eps, settings.toy_beta, settings.toy_settle, settings.toy_nudge)
    toy = toy_curves(settings.toy_sizes, settings.seed, phase)
    return _recorded(settings, records, layered | toy, _by_gain(settings, progress))


def _nudged(settings: Settings, name: str) -> Correspondence:
    import ctebm

    gain = curved_gain(settings.gain, name)
    one = images_problem(settings, settings.hidden, name, gain)
    return ctebm.correspondence(
        one.network, one.x, one.target, settings.eps, n_steps=settings.n_steps, save_all=True,
        drive="nudge", beta=settings.beta, points=2,
    )  # fmt: skip


def _layered(settings: Settings, record: Correspondence) -> dict[str, Tensor]:
    """Compare the steps of a nudge with the gradients through time, and their sum (P4)."""
    import torch

    import ctebm

    eps, net, s = settings.eps, record.fixed.network, record.fixed.state
    at = (net, s, record.target)
    bptt = ctebm.bptt_gradient(*at, eps=eps, n_steps=settings.n_steps - 1, every_step=True)
    exact, step = bptt.transpose(0, 1), -record.displacement[:, 0].diff(dim=1) / eps
    end = ctebm.implicit_gradient(*at)
    total = eps * ctebm.bptt_gradient(*at, eps=eps, n_steps=N_LIMIT, every_step=True).sum(0)
    error, floor, limit = [], [], []
    for where in net.layers.values():
        size = exact[..., where].norm(dim=-1)
        error.append((step - exact)[..., where].norm(dim=-1) / size)
        hidden = UNIT * s[:, None, where].norm(dim=-1) / (eps * abs(settings.beta))
        floor.append(hidden / size)
        limit.append((total - end)[:, where].norm() / end[:, where].norm())
    return {
        "step_error": torch.stack(error, -1),
        "step_floor": torch.stack(floor, -1),
        "limit_error": torch.stack(limit),
        "clear": no_crossing(record.first_crossing[:, 0]),
    }


def _by_gain(settings: Settings, progress: Progress) -> np.ndarray:
    """Return the cosine of chain and implicit gradient, ``(activation, gain, network, depth)``."""
    import numpy as np

    def at(name: str, gain: float) -> list[list[float]]:
        seeds = range(settings.n_seeds if settings.weights is None else 1)
        return [_agreement(settings, name, gain, settings.seed + seed) for seed in seeds]

    gains = gains_to_compare(settings, settings.gains)
    names = activation_names(settings, ACTIVATIONS[:2])
    return np.array([[at(n, gain) for gain in progress(gains, f"gains, {n}")] for n in names])


def _agreement(settings: Settings, name: str, gain: float, seed: int) -> list[float]:
    """Return the median cosine of the chain with the implicit gradient, the output first."""
    import ctebm
    from ctebm.early_inference.gradients import responsive_units
    from ctebm.early_inference.metrics import cosine

    one = images_problem(settings, settings.hidden, name, gain, seed)
    net = one.network.clamp({"x": one.x})
    fixed = ctebm.settle(net, tol=1e-10)
    at = (net, fixed.state, one.target, False)  # a weak nudge leaves units pinned
    chain = ctebm.chain_gradient(*at) * responsive_units(*at)
    implicit = ctebm.implicit_gradient(net, fixed.state, one.target)
    layers = list(net.layers.values())[::-1]
    return [-float(cosine(chain[:, w], implicit[:, w]).nanmedian()) for w in layers]


def _recorded(
    settings: Settings,
    records: list[Correspondence],
    found: dict[str, Tensor],
    agreement: np.ndarray,
) -> xr.Dataset:
    import numpy as np

    steps = ("activation", "sample", "step", "layer")
    texts = {
        "step_error": (steps, f"relative error of a nudged step against {BPTT}"),
        "step_floor": (steps, "what rounding hides of it"),
        "limit_error": (steps[::3], "relative distance of the end from the implicit one"),
        "toy_state_rmse": ("toy_layer", "relative distance of the curves of the states"),
        "toy_synapse_rmse": ("toy_block", "the same of the curves of the synapses"),
        "toy_nudged": (("toy_step", "curve"), "change by the nudge, for unit strength"),
        "toy_bptt": (("toy_step", "curve"), "minus the gradient through time"),
        "clear": (steps[:2], "no unit meets or leaves a kink"),
    }  # fmt: skip
    cosine = "cosine of the chain with the implicit gradient"
    names = activation_names(settings, ACTIVATIONS)
    gains = gains_to_compare(settings, settings.gains)
    attrs = {"beta": settings.beta, "toy_beta": settings.toy_beta}
    return labelled(
        {name: (dims, found[name], text) for name, (dims, text) in texts.items()}
        | {"cosine": (("gain_activation", "gain", "network", "depth"), agreement, cosine)}
        | kink_variables(records[0]),
        attrs | {"n_failed": unsettled(records)},
        {
            "activation": ("activation", np.array(names), "activation"),
            "gain_activation": ("gain_activation", np.array(names[:2]), "activation"),
            "gain": ("gain", np.array(gains), "gain of the Glorot weights, 1 for given ones"),
            "depth": ("depth", np.arange(agreement.shape[-1]), "hops from the output"),
            "depth_of_layer": ("layer", np.array(records[0].depth), "hops from output"),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import panel_figure

    toy = [_toy_panel(dataset, i) for i in range(3)]
    n_gains = dataset.sizes["gain_activation"]
    gains = [_gain_panel(dataset.isel(gain_activation=i)) for i in range(n_gains)]
    return panel_figure(
        [*toy, _error_panel(dataset), *gains],
        question="Is a weak nudge, step by step, back-propagation through time?",
        see="a to c, three units or synapses each of the toy of Ernoult et al.; points: nudged "
        "steps; lines: back-propagation through time. d, lines: what rounding hides. e, f: how far "
        "the chain gradient has the direction of the implicit one; bars: one standard deviation "
        "over networks.",
    )


def _toy_panel(dataset: xr.Dataset, i: int) -> Panel:
    import numpy as np

    from ctebm.figures.panels import Panel, against_theory

    step, series = 1 + np.arange(dataset.sizes["toy_step"]), []  # P4 counts from 1
    for j in range(3):
        one = dataset.isel(curve=3 * i + j)
        label = f"curve {j + 1}"
        series += against_theory(step, one.toy_bptt, one.toy_nudged, label, colour=j, every=4)
    name = ("hidden units", "output units", "synapses")[i]
    of = ("state", "output", "weight")[i]
    return Panel(f"toy: {name}", "nudged step", rf"change of the {of} / $\beta$", series)


def _error_panel(dataset: xr.Dataset) -> Panel:
    import numpy as np

    from ctebm.figures.panels import Panel, against_theory

    series = []
    for i, name in enumerate(dataset.activation.values):
        one = dataset.isel(activation=i, layer=0)
        error, floor = one.step_error.median("sample"), one.step_floor.median("sample")
        n = 1 + np.arange(len(error))
        series += against_theory(n, floor, error, str(name), colour=i, every=3)
    return Panel(
        "layered networks, deepest layer", "nudged step", "relative error to BPTT", series, "y"
    )


def _gain_panel(one: xr.Dataset) -> Panel:
    from ctebm.figures.panels import Panel, Series

    title = f"chain and implicit, {one.gain_activation.values}"
    if one.sizes["gain"] == 1:  # a given network
        series = [Series(one.depth.values, one.cosine.isel(gain=0).mean("network"))]
        return Panel(title, "depth $k$", "cosine", series)
    series = []
    for k in range(one.sizes["depth"]):
        of = one.cosine.isel(depth=k)
        mean, spread = of.mean("network"), of.std("network")
        low, high = mean - spread, mean + spread
        series.append(Series(one.gain, mean, f"depth {k}", colour=k, low=low, high=high))
    return Panel(title, "gain of the weights", "cosine", series, "x")


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    for i, name in enumerate(dataset.activation.values):
        for layer in dataset.depth_of_layer.values.argsort():
            out += _judge_layer(dataset.isel(activation=i, layer=layer), str(name))
    for what, rmse in zip(("hidden", "output"), dataset.toy_state_rmse.values, strict=True):
        out.append(Verdict.at_most(f"toy: RMSE of nudged and BPTT curves, {what}", rmse, 0.05))
    for what, rmse in zip(("x-h", "h-y", "x-y"), dataset.toy_synapse_rmse.values, strict=True):
        out.append(Verdict.at_most(f"toy: RMSE of synapses {what}", rmse, 0.05))
    for i in range(dataset.sizes["gain_activation"]):
        out += _report_gains(dataset.cosine.isel(gain_activation=i))
    return out


def _judge_layer(one: xr.Dataset, name: str) -> list[Verdict]:
    """P4: nudged steps are the gradients through time, and their sum the implicit gradient."""
    k = int(one.depth_of_layer)
    tag = f"{name}, depth {k}"
    arrived = one.isel(step=slice(k, None))
    error, floor = arrived.step_error, arrived.step_floor
    seen = floor < 1e-6
    note = f"{float(seen.mean()):.0%} of steps above rounding"
    return [
        at_most_before_kinks(
            f"{tag}: nudged step - BPTT, relative, largest", error, one.clear, AGREES, note, seen
        ),
        at_most_before_kinks(
            f"{tag}: every step, error / (1e-5 + 5 rounding)", error / (AGREES + 5 * floor),
            one.clear, 1, where=error.notnull(),
        ),
        Verdict.at_most(
            f"{tag}: sum of the steps - implicit gradient, relative", one.limit_error, 1e-8
        ),
    ]  # fmt: skip


def _report_gains(cosine: xr.DataArray) -> list[Verdict]:
    out, mean = [], cosine.mean("network")
    for k in range(1, cosine.sizes["depth"]):
        for gain in sorted({cosine.gain.values.min(), cosine.gain.values.max()}):
            value = float(mean.sel(gain=gain).isel(depth=k))
            claim = f"{cosine.gain_activation.values}: chain . implicit, depth {k}, gain {gain:g}"
            why = "" if value == value else "no gradient passes, all units are pinned"
            out.append(Verdict.reported(claim, value, why))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
