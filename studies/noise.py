"""How much noise does early inference bear, and how do pairs of runs beat it?

The cosine of a mean displacement with the chain gradient over step sizes and noise, for every
depth, with the boundary that signal and noise predict (N4); the best time to read the gradient;
and runs in pairs on the same Brownian path, in which noise cancels (N5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings
from ctebm.study.kinks import kink_variables, kink_verdicts
from ctebm.study.noise_prediction import predicted_runs
from ctebm.study.problem import Problem, images_problem
from ctebm.study.record import TAU, by_depth, labelled, stacked, unsettled
from ctebm.study.verdict import average, largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm import Correspondence
    from ctebm.figures.panels import Panel

Baseline = Literal["held", "undriven", "equilibrium"]
BASELINES: tuple[Baseline, ...] = ("held", "undriven", "equilibrium")


@dataclass(frozen=True)
class Settings(ExactSettings):
    """How much noise does early inference bear, and how do pairs of runs beat it?"""

    example = "--replicates 64 --out results/more_runs"

    eps: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06, 0.03)
    """Step sizes, in membrane time constants."""
    sigma: tuple[float, ...] = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)
    """Intensities of Langevin noise."""
    replicates: int = 16
    """Noisy runs of each image."""
    n_samples: int = 8
    """Number of images; the first of the data are taken."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    t_end: float = 8.0
    """Time to run, in membrane time constants."""
    linear: float = 0.03
    """Largest noise at which predictions must hold; above it units meet kinks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_eps(self.eps)
        study.check_positive("--sigma", self.sigma)
        study.check_positive("--gain", self.gain)
        study.check_positive("--t-end", self.t_end)
        if self.replicates < 2:
            raise ValueError(f"--replicates needs 2 or more, got {self.replicates}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm
    from ctebm.early_inference.schedule import AFTER_ARRIVAL

    one = images_problem(settings, settings.hidden, "hard-sigmoid", settings.gain)
    study.check_t_end(settings.t_end, settings.eps, len(one.hidden) + 1 + AFTER_ARRIVAL)
    quiet = ctebm.correspondence(one.network, one.x, one.target, settings.eps, t_end=settings.t_end)
    rows = [
        _noisy(settings, one, quiet, sigma, settings.seed + i)
        for i, sigma in enumerate(progress(settings.sigma, "noise"))
    ]
    return _recorded(settings, one, quiet, stacked(rows))


def _noisy(
    settings: Settings, one: Problem, quiet: Correspondence, sigma: float, seed: int
) -> dict[str, Tensor]:
    """Compare runs at one intensity of the noise with what signal and noise predict (N4)."""
    import ctebm
    from ctebm.early_inference.metrics import relative_error

    noisy = ctebm.correspondence(
        one.network, one.x, one.target, settings.eps, sigma=sigma,
        replicates=settings.replicates, baseline="equilibrium", intervals=True,
        t_end=settings.t_end, seed=seed,
    )  # fmt: skip
    assert noisy.coefficient_interval is not None
    low, high = noisy.coefficient_interval
    squared = noisy.by_layer(relative_error, quiet.displacement).square()
    return {
        "cosine": noisy.cosine(noisy.chain),
        "replicates_measured": squared * settings.replicates,
        "covered": (low <= quiet.coefficient) & (quiet.coefficient <= high),
        **predicted_runs(quiet, sigma, settings.replicates),
    }


def _pairs(settings: Settings, one: Problem) -> Tensor:
    """N5 where everything is linear: a linear rate, noise as large as the states, sigma = 1."""
    import torch

    import ctebm
    from ctebm.early_inference.metrics import tangent

    def linear(s: Tensor) -> Tensor:
        return s

    net = ctebm.LayeredNetwork.random(
        (20, *one.hidden, 10), ctebm.Custom(linear), gain=0.4, seed=settings.seed
    )
    draw = torch.Generator().manual_seed(settings.seed)
    x, y = (torch.randn(4, n, generator=draw, dtype=torch.float64) for n in (20, 10))
    quiet = ctebm.correspondence(net, x, y, [0.1], n_steps=40)
    rows = []
    for baseline in BASELINES:
        noisy = ctebm.correspondence(
            net, x, y, [0.1], sigma=1.0, replicates=2, baseline=baseline, n_steps=40,
            seed=settings.seed,
        )  # fmt: skip
        off = noisy.by_layer(lambda d, q: tangent(d, -q).abs(), quiet.displacement)
        rows.append(off[:, 0, -1].amax(0))
    return torch.stack(rows)


def _cosine(settings: Settings, one: Problem, **how: Any) -> Tensor:
    """Return the cosine of noisy runs with eps = 0.1, ``(sample, save, layer)``."""
    import ctebm

    noisy = ctebm.correspondence(
        one.network, one.x, one.target, [0.1], replicates=settings.replicates,
        seed=settings.seed, **how,
    )  # fmt: skip
    return noisy.cosine(noisy.chain)[:, 0]


def _held(settings: Settings, one: Problem) -> Tensor:
    """Return the cosine at first arrival against a twin on the same noise, held at its output."""
    import torch

    n_layers = len(one.hidden) + 1
    cosine = _cosine(settings, one, n_steps=n_layers, sigma=0.01, baseline="held")
    # layer i, of which the output is the last, has depth n_layers - 1 - i
    return torch.stack([cosine[:, n_layers - i, i] for i in range(n_layers)], -1)


def _held_error(settings: Settings, one: Problem) -> Tensor:
    """Return the error of held pairs at first arrival, sigma = 1, where units meet kinks (N5)."""
    import torch

    import ctebm
    from ctebm.early_inference.metrics import relative_error

    noisy = ctebm.correspondence(
        one.network, one.x, one.target, [0.1], n_steps=len(one.hidden) + 1, sigma=1.0,
        replicates=settings.replicates, baseline="held", seed=settings.seed,
    )  # fmt: skip
    quiet = ctebm.correspondence(one.network, one.x, one.target, [0.1], n_steps=len(one.hidden) + 1)
    error = noisy.by_layer(relative_error, quiet.displacement)[:, 0]
    return torch.stack([error[:, n, i] for i, n in enumerate(noisy.first_arrival)], -1).median(0)[0]


def _synaptic(settings: Settings, one: Problem) -> Tensor:
    """Return the cosine at t = 1 with noise inside the pressure, as large as sigma = 0.1."""
    how = {"sigma": 0.1, "noise": "synaptic", "baseline": "equilibrium"}
    return _cosine(settings, one, n_steps=10, **how)[:, -1]


def _recorded(
    settings: Settings, one: Problem, quiet: Correspondence, found: dict[str, Tensor]
) -> xr.Dataset:
    import numpy as np

    curve, at = ("sigma", "sample", "eps", "save", "layer"), ("sample", "layer")
    held = "cosine at first arrival of runs in pairs, sigma = 0.01, eps = 0.1"
    pairs, kept, inside = _pairs(settings, one), _held(settings, one), _synaptic(settings, one)
    texts = {
        "cosine": "cosine of the mean with the chain gradient",
        "predicted": "the same, predicted",
        "replicates_measured": "replicates for a relative error of 1, measured",
        "replicates_needed": "the same, predicted",
        "covered": "interval holds the coefficient",
    }
    return labelled(
        {name: (curve, found[name], text) for name, text in texts.items()}
        | {
            "pairs": (("baseline", "layer"), pairs, "tangent of the angle to the quiet"),
            "held": (at, kept, held),
            "held_error": (
                "layer", _held_error(settings, one),
                "relative error at first arrival of runs in pairs, sigma = 1, eps = 0.1, median",
            ),
            "synaptic": (at, inside, "cosine, synaptic noise, at t = 1"),
        }
        | kink_variables(quiet),
        {
            "data": one.data, "linear": settings.linear, "replicates": settings.replicates,
            "n_failed": unsettled([quiet]),
        },
        {
            "sigma": ("sigma", np.array(settings.sigma), "intensity of the noise"),
            "eps": ("eps", quiet.eps, "step size", TAU),
            "step": (("eps", "save"), quiet.step, "steps since the target arrived"),
            "time": (("eps", "save"), quiet.time, "time", TAU),
            "depth": ("layer", np.array(quiet.depth), "hops from the output"),
            "baseline": ("baseline", np.array(BASELINES), "subtracted"),
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import panel_figure

    maps = [_map_panel(k, one) for k, one in by_depth(dataset)]
    return panel_figure(
        [*maps, _time_panel(dataset), _pairs_panel(dataset)],
        question="How much noise does early inference bear, and how do pairs of runs beat it?",
        see="Maps: cosine of the mean displacement with the chain gradient at first arrival; "
        "dashed: where signal and noise predict 0.7. d, lines: the predicted cosine. e: how far "
        "runs with noise 1 and a linear rate are off the quiet run; the held "
        "twin leaves rounding alone.",
    )


def _map_panel(k: int, one: xr.Dataset) -> Panel:
    from ctebm.figures.panels import Panel

    def at_arrival(curve: xr.DataArray) -> np.ndarray:
        return curve.mean("sample").isel(save=k + 1).values

    eps, sigma = one.eps.values, one.sigma.values
    field = (eps, sigma, at_arrival(one.cosine).clip(0), "cosine at first arrival")
    step, noise = r"step $\epsilon$ (time constants)", r"noise $\sigma$"
    return Panel(f"depth {k}", step, noise, log="xy", field=field,
                 contour=(eps, sigma, at_arrival(one.predicted), 0.7))  # fmt: skip


def _time_panel(dataset: xr.Dataset) -> Panel:
    import numpy as np

    from ctebm.figures.panels import Panel, against_theory

    eps, sigma = dataset.eps.values, dataset.sigma.values
    i, j = int(np.abs(np.log(sigma / 0.03)).argmin()), int(eps.argmin())
    series = []
    for k, run in by_depth(dataset.isel(sigma=i, eps=j)):
        predicted, cosine = run.predicted.mean("sample"), run.cosine.mean("sample")
        series += against_theory(run.time.values, predicted, cosine, f"depth {k}", colour=k)
    title = f"over time, $\\sigma = {sigma[i]:g}$, $\\epsilon = {eps[j]:g}$"
    return Panel(title, "time (time constants)", "cosine with the chain gradient", series, "x")


def _pairs_panel(dataset: xr.Dataset) -> Panel:
    from ctebm.figures.panels import Panel, Series

    series = [
        Series(dataset.depth, dataset.pairs.isel(baseline=i), str(name), colour=i)
        for i, name in enumerate(dataset.baseline.values)
    ]
    return Panel(
        "linear rate, by what is subtracted", "depth $k$", "tangent to the quiet run", series, "y"
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = kink_verdicts(dataset)
    free = not bool((dataset.pinned_share > 0).any())
    if not free:
        claim = "pinned units chatter around their kinks in noisy runs (F2), by about eps"
        note = "predictions against the equilibrium, for free units, are reported only"
        out.append(Verdict.reported(claim, dataset.eps.max(), note))
    for k, one in by_depth(dataset):
        calm = one.isel(sigma=one.sigma.values <= dataset.linear)
        out += _judge_predictions(k, calm, free)
        out += [_judge_best_time(k, calm.isel(eps=j), free) for j in range(calm.sizes["eps"])]
        out += _judge_pairs(k, one)
    return out


def _judge_predictions(k: int, one: xr.Dataset, free: bool) -> list[Verdict]:
    """Cosines and errors are what the law and the noise's variance predict (N4)."""
    arrived = one.step > k
    known = arrived if free else arrived & one.cosine.notnull()
    gap = abs(one.cosine - one.predicted)
    ratio = average(one.replicates_measured / one.replicates_needed, known)
    worst = f"largest {float(gap.where(arrived).mean('sample').max()):.2f}"
    return [
        Verdict.at_most(f"depth {k}: cosine - predicted, mean over steps and noise",
                        average(gap, known), 0.05, worst, free),
        Verdict.at_most(f"depth {k}: replicates measured / predicted, off 1",
                        abs(ratio - 1), 0.15, f"ratio {ratio:.3f}", free),
        Verdict.at_least(f"depth {k}: intervals (95 %) that hold the coefficient, share",
                         average(one.covered, arrived), 0.85,
                         "16 replicates cover less than asked", free),
    ]  # fmt: skip


def _judge_best_time(k: int, one: xr.Dataset, free: bool) -> Verdict:
    """The best time to read the gradient is nearly where signal and noise predict it."""
    import numpy as np

    lost, times = [], []
    for i in range(one.sizes["sigma"]):
        at = one.isel(sigma=i).mean("sample", skipna=not free)
        best, chosen = (c.fillna(-np.inf).argmax("save") for c in (at.cosine, at.predicted))
        lost.append(float(at.cosine[best] - at.cosine[chosen]))
        times.append(f"{float(at.time[best]):.1f}/{float(at.time[chosen]):.1f}")
    claim = f"depth {k}, eps {float(one.eps):g}: cosine lost by reading at the predicted best time"
    return Verdict.at_most(claim, largest(lost), 0.05, "best/predicted " + ", ".join(times), free)


def _judge_pairs(k: int, one: xr.Dataset) -> list[Verdict]:
    """Against a twin on the same noise, held at its output, the noise cancels (N5)."""
    held, undriven, rest = one.pairs.values
    return [
        Verdict.at_most(f"depth {k}: sigma = 1, held pairs, tangent to the quiet run",
                        held, 1e-10, f"undriven pairs {undriven:.1e}, unpaired {rest:.1e}"),
        Verdict.reported(f"depth {k}: held pairs, sigma = 0.01, eps = 0.1: cosine at first arrival",
                         one.held.median()),
        Verdict.reported(f"depth {k}: held pairs, sigma = 1, eps = 0.1: error at first arrival",
                         one.held_error, "units meet kinks"),
        Verdict.reported(f"depth {k}: synaptic noise of 0.1, eps = 0.1, t = 1: cosine",
                         one.synaptic.mean()),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
