"""What of early inference holds for other energies than eq. 6?

The derivation needs an energy, not its form. For eq. 6 with the hard sigmoid and with a logistic
rate, the network of Hopfield (1984), predictive coding and convolutions, each with three hidden
layers on digits: whether the chain gradient is that of a feed-forward pass, whether the first
arrival is exact, when the direction leaves it, what the curvature of a layer makes of its size, and
how the chain, the implicit and the through-time gradient lie to each other.
"""

# Long because each of five questions has its measurement and its verdicts.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.feed_forward import ENERGIES
from ctebm.study.kinks import at_most_before_kinks, no_crossing
from ctebm.study.record import TAU, labelled, stacked, unsettled
from ctebm.study.verdict import average, largest, smallest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm
    from ctebm.study.feed_forward import FeedForwardModel

HARD, LOGISTIC, HOPFIELD, PREDICTIVE, CONVOLUTIONS = ENERGIES
LEAK_OF_ONE = (HARD, HOPFIELD, CONVOLUTIONS)  # the block H_kk is 1
LEFT = 1e-8  # tangent of the angle at which a direction has left, far above rounding
SEEN = 2  # depth that the figure shows
STEPS_AFTER = 12  # of the deepest layer, once it has moved


@dataclass(frozen=True)
class Settings(study.Settings):
    """What of early inference holds for other energies than eq. 6?"""

    example = "--width 32 --n-samples 32 --out results/wide"

    n_samples: int = 16
    """Number of digits; the first of the data are taken."""
    width: int = 24
    """Units in each hidden layer; convolutions have two layers of maps and one of these."""
    gain: float = 0.5
    """Gain of the random (Glorot) weights; half of it where rates are hard sigmoids."""
    eps: tuple[float, ...] = (0.1, 0.05, 0.025, 0.0125)
    """Step sizes, in membrane time constants; directions and sizes are followed with the first,
    and the order in eps is that between the first two."""
    t_through: float = 200.0
    """Time over which through-time gradients are summed, in membrane time constants."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        study.check_eps(self.eps, 2, upper=0.2)
        study.check_positive("--gain", self.gain)
        if min(self.n_samples, self.width) < 1:
            raise ValueError("--n-samples and --width need 1 or more.")
        if not 1 <= self.t_through <= 1e4:
            raise ValueError(f"--t-through needs a time from 1 to 10000, got {self.t_through:g}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    from ctebm.study.feed_forward import energy_model
    from ctebm.study.images import load_images

    images = load_images(n_samples=settings.n_samples)
    given = {"width": settings.width, "gain": settings.gain, "seed": settings.seed}
    found, records = [], []
    for name in progress(ENERGIES, "energies"):
        row, record = _measured(energy_model(name, images, **given), settings)
        found.append(row)
        records.append(record)
    return _recorded(settings, stacked(found), unsettled(records))


def _measured(
    model: FeedForwardModel, settings: Settings
) -> tuple[dict[str, Any], ctebm.Correspondence]:
    """Return everything about one energy, by depth."""
    import torch

    import ctebm
    from ctebm.early_inference.gradients import chain_feedback
    from ctebm.early_inference.metrics import cosine, relative_error
    from ctebm.study.feed_forward import feedback_at, pass_gradients

    net, n_steps = model.network, len(model.biases) + STEPS_AFTER
    record = ctebm.correspondence(
        net, None, model.target, settings.eps, n_steps=n_steps, save_all=True
    )
    s, slices = record.fixed.state, list(net.layers.values())[::-1]
    sent = chain_feedback(net, s, model.target)  # the chain gradient, but for Hopfield 1984
    down = None if isinstance(net, ctebm.PredictiveNetwork) else feedback_at(model, s)
    (plain, _), (held, by_rate) = pass_gradients(model), pass_gradients(model, down)
    through = _through_time(model, s, settings)

    def compared(metric: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([metric(a[..., w], b[..., w]) for w in slices], -1)

    early = torch.zeros_like(sent)
    for k, w in enumerate(slices):
        early[..., w] = through["at"][k][..., w] / settings.eps[0] ** k
    found = {
        "plain_error": compared(relative_error, record.chain, plain),
        "held_error": compared(relative_error, record.chain, held),
        "settled_error": compared(relative_error, _settled_chain(net, s, record.chain), held),
        "rate_error": compared(relative_error, sent, by_rate),
        "turn": 1 - compared(cosine, -sent, record.chain),
        "through_error": compared(relative_error, early, record.chain),
        "sum_error": compared(relative_error, through["sums"][-1], record.implicit),
        "cosine_implicit": compared(cosine, -record.implicit, record.chain),
        "cosine_through": compared(cosine, -through["sums"], record.chain),
        "rounding_floor": record.rounding_floor.flip(-1),
        "first_crossing": record.first_crossing,
    }
    rows = [_arrival(record, sent, k, w) for k, w in enumerate(slices)]
    found |= {name: torch.stack([row[name] for row in rows], -1) for name in rows[0]}
    return found | _laws(record, model.target, found["share"]), record


def _settled_chain(net: ctebm.VectorField, s: Tensor, chain: Tensor) -> Tensor:
    r"""Return the chain gradient if each layer settles, with a factor :math:`H_{kk}^{-1}` (G3)."""
    import torch

    from ctebm.early_inference.after_arrival import own_curvature

    curvature, g = own_curvature(net, s, torch.ones_like(s)), torch.zeros_like(s)
    slices = list(net.layers.values())[::-1]
    g[..., slices[0]] = chain[..., slices[0]]
    for w in slices[1:]:
        g[..., w] = net.adjoint_product(s, g / curvature)[..., w]
    return g


def _through_time(model: FeedForwardModel, s: Tensor, settings: Settings) -> dict[str, Tensor]:
    """Return the gradients with few steps to go, and eps times their sums at the saved times."""
    import ctebm

    eps = settings.eps[0]
    g = ctebm.bptt_gradient(
        model.network, s, model.target, eps=eps, n_steps=round(settings.t_through / eps),
        every_step=True,
    )  # fmt: skip
    depth = len(model.biases) - 1
    return {"at": g[:depth], "sums": eps * g.cumsum(0)[_summed(settings) - 1]}


def _summed(settings: Settings) -> np.ndarray:
    """Return after how many steps sums of through-time gradients are kept, evenly in log time."""
    import numpy as np

    last = round(settings.t_through / settings.eps[0])
    return np.unique(np.geomspace(len(ENERGIES), last, 16).round().astype(int))


def _arrival(record: ctebm.Correspondence, sent: Tensor, k: int, w: slice) -> dict[str, Tensor]:
    """Return how one layer moves against what is sent to it, from its first arrival on."""
    from ctebm.early_inference.metrics import projection, relative_error, tangent

    g, power = sent[:, None, w], record.eps[:, None] ** (k + 1)
    moved, linear = record.displacement[..., w], record.linear_response[:, 0, :, w]
    then = slice(k + 1, k + 2 + STEPS_AFTER)
    return {
        "arrival_error": relative_error(moved[:, :, k + 1], -power * g),
        "tangent": tangent(linear[:, then], g),
        "share": projection(linear[:, then], g),
    }


def _laws(record: ctebm.Correspondence, target: Tensor, share: Tensor) -> dict[str, Tensor]:
    """Return the shares that the laws give, and how far the first step after arrival is off."""
    import numpy as np
    import torch

    import ctebm
    from ctebm.early_inference.after_arrival import displacement_after_arrival, leak_of_layers
    from ctebm.early_inference.metrics import relative_error

    net, s, eps = record.fixed.network, record.fixed.state, float(record.eps[0])
    leak = leak_of_layers(net, s, target).flip(-1)
    leak[:, 0] = 1  # the target replaces the output's pressure
    after = displacement_after_arrival(net, s, target, eps)
    binomial, leaky, error = [], [], []
    for k, w in enumerate(list(net.layers.values())[::-1]):
        n = np.arange(k + 1, k + 2 + STEPS_AFTER)
        binomial.append(torch.as_tensor(ctebm.first_arrival_coefficient(k, n, eps)))
        leaky.append(torch.as_tensor(ctebm.leaky_coefficient(n, eps, leak[:, : k + 1])))
        error.append(relative_error(record.linear_response[:, 0, k + 2, w], after[:, w]))
    law = torch.stack(binomial, -1)
    return {
        "leak": leak,
        "law": law.expand_as(share),
        "leaky_law": torch.stack(leaky, -1),
        "after_error": torch.stack(error, -1),
    }


def _recorded(settings: Settings, found: dict[str, Tensor], n_failed: int) -> xr.Dataset:
    import numpy as np

    layer, run = ("energy", "sample", "depth"), ("energy", "sample", "eps")
    curve = ("energy", "sample", "after", "depth")
    dims: dict[str, tuple[tuple[str, ...], str]] = {
        "plain_error": (layer, "chain gradient off back-propagation through the plain pass"),
        "held_error": (layer, "chain gradient off that through the pass with feedback held"),
        "settled_error": (layer, "chain gradient of settled layers off that same pass"),
        "rate_error": (layer, "what is sent off the gradient by rates of that pass"),
        "turn": (layer, "1 - cosine of what is sent with the chain gradient"),
        "through_error": (layer, "through-time gradient with k steps to go off eps^k g"),
        "sum_error": (layer, "sum of through-time gradients off the implicit gradient"),
        "cosine_implicit": (layer, "cosine of the implicit and the chain gradient"),
        "cosine_through": (
            ("energy", "through", *layer[1:]), "cosine of summed through-time gradients and chain",
        ),
        "rounding_floor": ((*run, "depth"), "relative rounding error at first arrival"),
        "first_crossing": (run, "first step at which a kink is met"),
        "arrival_error": ((*run, "depth"), "first arrival off -eps^(k+1) of what is sent"),
        "tangent": (curve, "tangent of the linear response's angle to what is sent"),
        "share": (curve, "share of what is sent, linear response"),
        "leak": (layer, "curvature of the layer along what is sent"),
        "law": (curve, "share by the binomial law"),
        "leaky_law": (curve, "share by the law with each layer's leak"),
        "after_error": (layer, "linear response one step after arrival off its formula"),
    }  # fmt: skip
    steps = np.arange(STEPS_AFTER + 1)
    return labelled(
        {name: (of, found[name], text) for name, (of, text) in dims.items()},
        {"data": "digits", "n_failed": n_failed},
        {
            "energy": ("energy", list(ENERGIES), "energy"),
            "eps": ("eps", np.array(settings.eps), "step size", TAU),
            "depth": ("depth", np.arange(found["leak"].shape[-1]), "hops from the output"),
            "after": ("after", steps, "steps since the first arrival"),
            "through": ("through", _summed(settings) * settings.eps[0], "time summed over", TAU),
        },
    )


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    arrival, angle, size, through = [], [], [], []
    eps, after, time = (dataset[name].values for name in ("eps", "after", "through"))
    for i, name in enumerate(dataset.energy.values):
        one = dataset.sel(energy=name, depth=SEEN).median("sample")
        error, floor = one.arrival_error.values, one.rounding_floor.values
        exact = bool((error < 10 * floor).all())
        line = floor if exact else error[-1] * eps / eps[-1]
        arrival += [Series(eps, line, line=True, colour=i), Series(eps, error, name, colour=i)]
        angle.append(Series(after, one.tangent.values.clip(1e-17), name, colour=i))
        size += [
            Series(after, one.leaky_law / one.law, line=True, colour=i),
            Series(after, one.share / one.law, name, colour=i),
        ]
        limit = 0 * time + float(one.cosine_implicit)
        through += [
            Series(time, limit, line=True, colour=i),
            Series(time, one.cosine_through, name, colour=i),
        ]
    step, steps = r"$\epsilon$ (time constants)", "steps since the first arrival"
    return panel_figure(
        [
            Panel(f"first arrival at depth {SEEN}: error", step, "relative error", arrival, "xy"),
            Panel("how the direction leaves", steps, "tangent of the angle", angle, "y"),
            Panel("size, beside the binomial law", steps, "share over the law", size),
            Panel("through-time gradient, summed", "time (time constants)",
                  "cosine with chain gradient", through, "x"),
        ],
        columns=2,
        question="What of early inference holds for other energies than eq. 6?",
        see=f"All at depth {SEEN}. Points: measured, in b and c in the linear response. Lines: in "
        "a in proportion to the step where the arrival has an error, else what rounding hides; in "
        "c the law with each layer's own leak, to which what comes back later adds; in d the "
        "implicit gradient.",
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    for judged in (_judge_pass, _judge_arrival, _judge_direction, _judge_size, _judge_gradients):
        for name in dataset.energy.values:
            out += judged(dataset.sel(energy=name), str(name))
    return out


def _judge_pass(one: xr.Dataset, name: str) -> list[Verdict]:
    """Is the chain gradient that of a feed-forward pass?"""
    below = one.isel(depth=slice(1, None))
    plain, held = f"{name}: chain gradient off the plain pass", f"{name}: with feedback held"
    if name == PREDICTIVE:
        return [Verdict.at_most(plain, largest(one.plain_error), 1e-12)]
    moved = Verdict.at_least(plain, average(below.plain_error), 1e-3, "feedback moves the rest")
    if name == LOGISTIC:
        settled = f"{name}: the same, with a factor 1/H_kk a layer"
        return [
            moved,
            Verdict.at_least(held, average(below.held_error), 1e-3),
            Verdict.at_most(settled, largest(one.settled_error), 1e-9),
        ]
    return [moved, Verdict.at_most(held, largest(one.held_error), 1e-9)]


def _judge_arrival(one: xr.Dataset, name: str) -> list[Verdict]:
    """Is the first arrival exact?"""
    import numpy as np

    clear = no_crossing(one.first_crossing, until=one.depth + 1)
    if name in (LOGISTIC, HOPFIELD):
        error, eps = one.arrival_error.isel(depth=-1).mean("sample").values, one.eps.values
        order = np.log(error[0] / error[1]) / np.log(eps[0] / eps[1])
        note = f"{error[0]:.1e} at eps = {eps[0]:g}"
        out = [Verdict.at_most(f"{name}: first arrival, order of its error - 1",
                               abs(order - 1), 0.2, note)]  # fmt: skip
    else:
        out = [at_most_before_kinks(f"{name}: first arrival, error / rounding floor",
                                    one.arrival_error / one.rounding_floor, clear, 10)]  # fmt: skip
    if name == HOPFIELD:
        out += [
            Verdict.at_least("Hopfield 1984: what arrives, 1 - cosine with the chain gradient",
                             average(one.turn.isel(depth=-1)), 1e-4),
            Verdict.at_most("Hopfield 1984: what arrives, off the gradient by rates",
                            largest(one.rate_error), 1e-9),
        ]  # fmt: skip
    return out


def _judge_direction(one: xr.Dataset, name: str) -> list[Verdict]:
    """In which step does the direction leave what was sent, two or three past the depth?"""
    import numpy as np

    left = (one.tangent > LEFT).median("sample").values[:, 1:] > 0.5  # (after, depth 1 and more)
    known = np.isfinite(one.tangent.values[..., 1:]).all()
    first = np.where(left.any(0), left.argmax(0), np.nan) + 1
    past = first[0] if known and len(set(first)) == 1 else np.nan
    expected = 3 if name in LEAK_OF_ONE else 2
    return [Verdict.equal(f"{name}: the direction leaves at step k +", past, expected)]


def _judge_size(one: xr.Dataset, name: str) -> list[Verdict]:
    """What does the curvature of a layer make of the size, one step after its arrival?"""
    below = one.isel(after=1, depth=slice(1, None))
    binomial, leaky = (abs(below.share / law - 1) for law in (below.law, below.leaky_law))
    note = f"leak {float(below.leak.min()):.2f} to {float(below.leak.max()):.2f}"
    claim = f"{name}: size at step k + 2 off the binomial law"
    if name in LEAK_OF_ONE:
        return [Verdict.at_most(claim, largest(binomial), 1e-9, note)]
    return [
        Verdict.at_least(claim, average(binomial), 1e-3, note),
        Verdict.at_most(f"{name}: the same by each layer's leak / by the binomial law",
                        average(leaky) / average(binomial), 0.5),
        Verdict.at_most(f"{name}: displacement at step k + 2 off its formula",
                        largest(one.after_error), 1e-9),
    ]  # fmt: skip


def _judge_gradients(one: xr.Dataset, name: str) -> list[Verdict]:
    """How do the chain, the implicit and the through-time gradient lie to each other?"""
    out = [
        Verdict.at_most(f"{name}: through-time gradient, k steps to go, off eps^k g",
                        largest(one.through_error), 1e-9),
        Verdict.at_most(f"{name}: their sum off the implicit gradient",
                        largest(one.sum_error), 1e-6),
        Verdict.reported(f"{name}: cosine of chain and implicit gradient, least",
                         smallest(one.cosine_implicit)),
    ]  # fmt: skip
    if name == PREDICTIVE:  # H = A'A there, with A' back-propagation and A the way forward
        turn = largest(1 - one.cosine_implicit.isel(depth=-1))
        claim = f"{name}: 1 - cosine of chain and implicit gradient, deepest layer"
        out.append(Verdict.at_most(claim, turn, 1e-9))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
