"""Is a weak nudge, step by step, back-propagation through time? And what does it tend to?

The changes that a nudge makes in each of its steps against the gradients of back-propagation
through time (P4), for every layer and synapse; their sum against the implicit gradient; and the
chain gradient against the implicit one by gain. The toy is that of Ernoult et al. (2019): 10
inputs, 50 hidden units and 5 outputs, each group connected to the others, tanh rates, dt = 0.08,
beta = 0.01, settled for 5,000 steps and nudged for 80.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import (
    ExactSettings,
    activation_names,
    dataset,
    images_problem,
    kink_verdicts,
    kinks,
    largest_at_most,
    reported,
    with_gain,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm

ACTIVATIONS = ("hard-sigmoid", "tanh", "logistic")


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Is a weak nudge, step by step, back-propagation through time?"""

    beta: float = 1e-6
    """Strength of the nudge in the layered networks; +beta and -beta are combined."""
    eps: float = 0.2
    """Step size in the layered networks."""
    n_steps: int = 60
    """Nudged steps of the layered networks."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers of the layered networks, input side first."""
    gains: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
    """Gains at which the chain gradient is compared with the implicit one."""
    n_seeds: int = 20
    """Networks in the mean over gains."""
    toy_sizes: tuple[int, int, int] = (10, 50, 5)
    """Inputs, hidden units and outputs of the toy."""
    toy_dt: float = 0.08
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
        if not 0 < self.eps <= 1 or not 0 < self.toy_dt <= 1:
            raise ValueError("--eps and --toy-dt need 0 < eps <= 1.")
        if min(self.n_steps, self.toy_settle, self.toy_nudge, self.n_seeds) < 1:
            raise ValueError("numbers of steps and seeds need 1 or more.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    step, limit, met = _layered(settings, progress)
    states, synapses, curves = _toy(settings)
    agreement = _gains(settings, progress)
    data = {
        "step_error": (
            ("activation", "sample", "step", "layer"), step[0],
            "relative error of a nudged step against back-propagation through time",
        ),
        "step_floor": (
            ("activation", "sample", "step", "layer"), step[1], "what rounding hides of it",
        ),
        "limit_error": (
            ("activation", "layer"), limit, "relative distance of the end from the implicit one",
        ),
        "toy_state_rmse": ("toy_layer", states, "relative distance of the curves of the states"),
        "toy_synapse_rmse": ("toy_block", synapses, "the same of the curves of the synapses"),
        "toy_nudged": (("toy_step", "curve"), curves[0], "change by the nudge, for unit strength"),
        "toy_bptt": (("toy_step", "curve"), curves[1], "minus the gradient through time"),
        "cosine": (
            ("rate", "gain", "network", "depth"), agreement,
            "cosine of the chain with the implicit gradient",
        ),
        "clear": (("activation", "sample"), step[2], "no unit meets or leaves a kink"),
        **met,
    }  # fmt: skip
    names, gains = activation_names(settings, ACTIVATIONS), _gains_of(settings)
    coords = {
        "activation": ("activation", np.array(names), "activation"),
        "rate": ("rate", np.array(names[:2]), "activation"),
        "gain": ("gain", np.array(gains), "gain of the Glorot weights, 1 for given ones"),
        "depth": ("depth", np.arange(agreement.shape[-1]), "hops from the output"),
        "depth_of_layer": ("layer", np.arange(limit.shape[-1])[::-1].copy(), "hops from output"),
    }
    return dataset(data, {"beta": settings.beta, "toy_beta": settings.toy_beta}, coords)


def _layered(settings: Settings, progress: Progress):
    """P4 in layered networks on images."""
    import torch

    import ctebm

    eps, n = settings.eps, settings.n_steps
    errors, floors, limits, clear, met = [], [], [], [], {}
    for name in progress(activation_names(settings, ACTIVATIONS), "activations"):
        gain = settings.gain * (1 if name == "hard-sigmoid" else 4)
        one = images_problem(with_gain(settings, gain), settings.hidden, name)
        record = ctebm.correspondence(
            one.network, one.x, one.target, eps, n_steps=n, save_all=True, drive="nudge",
            beta=settings.beta, points=2,
        )  # fmt: skip
        met = met or kinks(record)
        clear.append(record.first_crossing[:, 0] < 0)
        net, s = record.fixed.network, record.fixed.state
        bptt = ctebm.bptt_gradient(net, s, record.target, eps=eps, n_steps=n - 1, every_step=True)
        step = -record.displacement[:, 0].diff(dim=1) / eps
        exact = bptt.transpose(0, 1)
        end = ctebm.implicit_gradient(net, s, record.target)
        total = eps * ctebm.bptt_gradient(
            net, s, record.target, eps=eps, n_steps=4000, every_step=True
        ).sum(0)
        error, floor, limit = [], [], []
        for where in net.layers.values():
            size = exact[..., where].norm(dim=-1)
            error.append((step - exact)[..., where].norm(dim=-1) / size)
            hidden = 1.1e-16 * s[:, None, where].norm(dim=-1) / (eps * abs(settings.beta))
            floor.append(hidden / size)
            limit.append((total - end)[:, where].norm() / end[:, where].norm())
        errors.append(torch.stack(error, -1))
        floors.append(torch.stack(floor, -1))
        limits.append(torch.stack(limit))
    return (*map(torch.stack, (errors, floors, clear)),), torch.stack(limits), met


def toy_network(
    sizes: tuple[int, int, int], seed: int
) -> tuple[ctebm.DenseNetwork, Tensor, Tensor]:
    """Return the toy of Ernoult et al. (2019), one input and one target."""
    import numpy as np
    import torch

    import ctebm

    draw = np.random.default_rng(seed)
    ends = np.cumsum([0, *sizes])
    layers = {
        k: slice(int(a), int(b)) for k, a, b in zip(("x", "h1", "y"), ends, ends[1:], strict=False)
    }
    W = np.zeros((ends[-1], ends[-1]))
    for one, other in (("x", "h1"), ("h1", "y"), ("x", "y")):
        a, b = layers[one], layers[other]
        bound = np.sqrt(1 / (b.stop - b.start))
        W[a, b] = draw.uniform(-bound, bound, W[a, b].shape)
        W[b, a] = W[a, b].T
    net = ctebm.DenseNetwork(W, np.zeros(len(W)), ctebm.Custom(torch.tanh), layers=layers)
    return net, torch.as_tensor(draw.uniform(size=(1, sizes[0]))), torch.as_tensor(
        draw.uniform(size=(1, sizes[2]))
    )  # fmt: skip


def _toy(settings: Settings):
    import torch

    import ctebm
    from ctebm.early_inference.metrics import curve_rmse

    whole, x, target = toy_network(settings.toy_sizes, settings.seed)
    net, dt, beta, K = whole.clamp({"x": x}), settings.toy_dt, settings.toy_beta, settings.toy_nudge
    free = ctebm.simulate(
        ctebm.Dynamics(net), torch.zeros(1, net.n_units or 0), n_steps=settings.toy_settle, eps=dt,
        save_every=settings.toy_settle,
    )  # fmt: skip
    s = free.raise_for_status().state[-1]
    nudged = ctebm.simulate(ctebm.Dynamics(net, nudge=target, beta=beta), s, n_steps=K, eps=dt)
    path = nudged.state[:, 0]
    bptt = -dt * ctebm.bptt_gradient(net, s, target, eps=dt, n_steps=K - 1, every_step=True)[:, 0]
    step = path.diff(dim=0) / beta
    states = torch.stack(
        [_mean_rmse(curve_rmse(step[:, w], bptt[:, w])) for w in net.layers.values()]
    )
    # synapses: the change of rho_i rho_j in a step, against the gradient through both its ends
    rho = net.activation
    inputs, rest = rho(x[0]), s[0]
    rates = torch.cat([inputs.expand(K + 1, -1), rho(path)], -1)
    outer = rates.unsqueeze(-1) * rates.unsqueeze(-2)
    change = outer.diff(dim=0) / beta
    r = torch.cat([inputs, rho(rest)])
    slope = torch.cat([torch.zeros_like(inputs).expand(K, -1), rho.derivative(rest) * bptt], -1)
    exact = slope.unsqueeze(-1) * r + r.unsqueeze(-1) * slope.unsqueeze(-2)
    blocks = [("x", "h1"), ("h1", "y"), ("x", "y")]
    parts = [(whole.layers[a], whole.layers[b]) for a, b in blocks]
    synapses = torch.stack(
        [_mean_rmse(curve_rmse(change[:, a, b], exact[:, a, b])) for a, b in parts]
    )
    h, y = net.layers["h1"], net.layers["y"]
    shown = [*range(h.start, h.start + 3), *range(y.start, y.start + 3)]
    (a, b) = parts[1]
    curves = [
        torch.cat([of[:, shown], by[:, a, b].flatten(1)[:, ::37][:, :3]], -1)
        for of, by in ((step, change), (bptt, exact))
    ]
    return states, synapses, curves


def _mean_rmse(rmse: Tensor) -> Tensor:
    return rmse.mean()


def _gains_of(settings: Settings) -> tuple[float, ...]:
    return settings.gains if settings.weights is None else (1.0,)


def _gains(settings: Settings, progress: Progress):
    """Chain against implicit gradient, for networks of 20 seeds or the given one."""
    import torch

    import ctebm
    from ctebm.early_inference.gradients import responsive_units
    from ctebm.early_inference.metrics import cosine

    out = []
    n_seeds = settings.n_seeds if settings.weights is None else 1
    for name in activation_names(settings, ACTIVATIONS[:2]):
        rows = []
        for gain in progress(_gains_of(settings), f"gains, {name}"):
            row = []
            for seed in range(n_seeds):
                changed = with_gain(settings, gain)
                one = images_problem(changed, settings.hidden, name, seed=settings.seed + seed)
                net = one.network.clamp({"x": one.x})
                fixed = ctebm.settle(net, tol=1e-10)
                at = (net, fixed.state, one.target, False)  # a weak nudge leaves units pinned
                chain = ctebm.chain_gradient(*at) * responsive_units(*at)
                implicit = ctebm.implicit_gradient(net, fixed.state, one.target)
                cosines = [
                    -cosine(chain[:, w], implicit[:, w]).nanmedian()
                    for w in list(net.layers.values())[::-1]
                ]
                row.append(torch.stack(cosines))
            rows.append(torch.stack(row))
        out.append(torch.stack(rows))
    return torch.stack(out)


def draw(dataset: xr.Dataset) -> Figure:
    import numpy as np

    from ctebm.figures.panels import Panel, Series, panel_figure

    step = np.arange(dataset.sizes["toy_step"])
    names = ("hidden units", "output units", "synapses")
    panels = []
    for i, name in enumerate(names):
        series = []
        for j in range(3):
            one = dataset.isel(curve=3 * i + j)
            series += [
                Series(step, one.toy_bptt, line=True, colour=j),
                Series(step[::4], one.toy_nudged[::4], colour=j),
            ]
        title = f"toy: {name}; points nudged, lines BPTT"
        panels.append(Panel(title, "nudged step", r"change / $\beta$", series))
    series = []
    for i, name in enumerate(dataset.activation.values):
        error = dataset.step_error.isel(activation=i, layer=0).median("sample")
        floor = dataset.step_floor.isel(activation=i, layer=0).median("sample")
        n = np.arange(len(error))
        series += [
            Series(n, floor, line=True, colour=i),
            Series(n[::3], error[::3], str(name), colour=i),
        ]
    panels.append(Panel("deepest layer, lines: rounding", "nudged step", "relative error to BPTT",
                        series, "y"))  # fmt: skip
    for i, name in enumerate(dataset.rate.values):
        title, one = f"chain against implicit, {name}", dataset.cosine.isel(rate=i)
        if dataset.sizes["gain"] == 1:  # a given network
            series = [Series(dataset.depth.values, one.isel(gain=0).mean("network"))]
            panels.append(Panel(title, "depth $k$", "cosine", series))
            continue
        series = []
        for k in range(dataset.sizes["depth"]):
            mean, spread = (of("network") for of in (one.isel(depth=k).mean, one.isel(depth=k).std))
            low, high = mean - spread, mean + spread
            series.append(Series(dataset.gain, mean, f"depth {k}", colour=k, low=low, high=high))
        panels.append(Panel(title, "gain of the weights", "cosine", series, "x"))
    return panel_figure(panels)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    out = kink_verdicts(dataset)
    for i, name in enumerate(dataset.activation.values):
        for layer in np.argsort(dataset.depth_of_layer.values):
            one = dataset.isel(activation=i, layer=layer)
            k = int(one.depth_of_layer)
            arrived = one.isel(step=slice(k, None))
            error, floor = arrived.step_error, arrived.step_floor
            seen = floor < 1e-6
            claim = f"{name}, depth {k}: nudged step - BPTT, relative, largest"
            note = f"{float(seen.mean()):.0%} of steps above rounding"
            out.append(largest_at_most(claim, error, seen & one.clear, 1e-5, note))
            ratio = error / (1e-5 + 5 * floor)
            claim = f"{name}, depth {k}: every step, error / (1e-5 + 5 rounding)"
            out.append(largest_at_most(claim, ratio, one.clear & error.notnull(), 1))
            claim = f"{name}, depth {k}: sum of the steps - implicit gradient, relative"
            out.append(Verdict.at_most(claim, one.limit_error, 1e-8))
    for name, value in zip(("hidden", "output"), dataset.toy_state_rmse.values, strict=True):
        out.append(Verdict.at_most(f"toy: RMSE of nudged and BPTT curves, {name}", value, 0.05))
    for name, value in zip(("x-h", "h-y", "x-y"), dataset.toy_synapse_rmse.values, strict=True):
        out.append(Verdict.at_most(f"toy: RMSE of synapses {name}", value, 0.05))
    for i, name in enumerate(dataset.rate.values):
        mean = dataset.cosine.isel(rate=i).mean("network")
        for k in range(1, dataset.sizes["depth"]):
            for gain in sorted({dataset.gain.values.min(), dataset.gain.values.max()}):
                value = mean.sel(gain=gain).isel(depth=k)
                claim = f"{name}: chain . implicit, depth {k}, gain {gain:g}"
                why = "" if np.isfinite(value) else "no gradient passes, all units are pinned"
                out.append(reported(claim, value, why))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
