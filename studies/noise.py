"""How much noise does early inference bear, and how do pairs of runs beat it?

The cosine of a mean displacement with the chain gradient over step sizes and noise, for every
depth, with the boundary that signal and noise predict (N4); the best time to read the gradient;
and runs in pairs on the same Brownian path, in which noise cancels (N5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import (
    ExactSettings,
    Problem,
    dataset,
    images_problem,
    kink_verdicts,
    kinks,
    reported,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(ExactSettings):
    """How much noise does early inference bear, and how do pairs of runs beat it?"""

    eps: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06, 0.03)
    """Step sizes, in membrane time constants."""
    sigma: tuple[float, ...] = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)
    """Intensities of Langevin noise."""
    replicates: int = 16
    """Noisy runs of each image."""
    n_samples: int = 8
    """Images, the first of the data."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    t_end: float = 8.0
    """Time to run, in membrane time constants."""
    linear: float = 0.03
    """Largest noise at which predictions must hold; above it units meet kinks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps or not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"--eps needs steps 0 < eps <= 1, got {self.eps}.")
        if not self.sigma or not all(0 < s < float("inf") for s in self.sigma):
            raise ValueError(f"--sigma needs noise > 0, got {self.sigma}.")
        if self.replicates < 2:
            raise ValueError(f"--replicates needs 2 or more, got {self.replicates}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch

    import ctebm
    from ctebm.early_inference.laws import noise_variance, predicted_cosine, replicates_needed
    from ctebm.early_inference.metrics import relative_error

    one = images_problem(settings, settings.hidden, "hard-sigmoid")
    t_end = settings.t_end
    quiet = ctebm.correspondence(one.network, one.x, one.target, settings.eps, t_end=t_end)
    signal = quiet.by_layer(lambda d, _: d.norm(dim=-1), quiet.chain).numpy()
    n_free = quiet.responsive.double()  # pinned units carry no signal and hardly any noise
    slices = quiet.fixed.network.layers.values()
    n_units = torch.stack([n_free[:, w].sum(-1) for w in slices], -1)[:, None, None].numpy()
    driven = np.array(quiet.depth) == 0
    step, eps = quiet.step.numpy()[..., None], quiet.eps.numpy()[:, None, None]
    M = settings.replicates
    measured, predicted, squared, needed, covered = [], [], [], [], []
    for i, sigma in enumerate(progress(settings.sigma, "noise")):
        noisy = ctebm.correspondence(
            one.network, one.x, one.target, settings.eps, sigma=sigma, replicates=M,
            baseline="equilibrium", intervals=True, t_end=t_end, seed=settings.seed + i,
        )  # fmt: skip
        variance = noise_variance(np.maximum(step, 0), eps, sigma) + 0 * driven
        measured.append(noisy.cosine(noisy.chain))
        clean = quiet.cosine(quiet.chain).numpy()
        predicted.append(predicted_cosine(clean, signal, n_units, variance, M))
        squared.append(noisy.by_layer(relative_error, quiet.displacement).square() * M)
        needed.append(replicates_needed(signal, n_units, variance, 1.0))
        assert noisy.coefficient_interval is not None
        low, high = noisy.coefficient_interval
        covered.append((low <= quiet.coefficient) & (quiet.coefficient <= high))
    curve = ("sigma", "sample", "eps", "save", "layer")
    return dataset(
        {
            "cosine": (curve, torch.stack(measured), "cosine of the mean with the chain gradient"),
            "predicted": (curve, np.stack(predicted), "the same, predicted"),
            "replicates_measured": (
                curve, torch.stack(squared), "replicates for a relative error of 1, measured",
            ),
            "replicates_needed": (curve, np.stack(needed), "the same, predicted"),
            "covered": (curve, torch.stack(covered), "interval holds the coefficient"),
            "pairs": (
                ("baseline", "layer"), _pairs(settings, one), "tangent of the angle to the quiet",
            ),
            "held": (
                ("sample", "layer"), _held(settings, one),
                "cosine at first arrival of runs in pairs, sigma = 0.01, eps = 0.1",
            ),
            "synaptic": (
                ("sample", "layer"), _synaptic(settings, one), "cosine, synaptic noise, at t = 1",
            ),
            **kinks(quiet),
        },
        {"data": one.data, "linear": settings.linear, "replicates": M},
        {
            "sigma": ("sigma", np.array(settings.sigma), "intensity of the noise"),
            "eps": ("eps", quiet.eps, "step size", "membrane time constant"),
            "step": (("eps", "save"), quiet.step, "steps since the target arrived"),
            "time": (("eps", "save"), quiet.time, "time", "membrane time constant"),
            "depth": ("layer", np.array(quiet.depth), "hops from the output"),
            "baseline": ("baseline", np.array(["held", "undriven", "equilibrium"]), "subtracted"),
        },
    )  # fmt: skip


def _pairs(settings: Settings, one: Problem):
    """N5 where everything is linear: a linear rate, noise as large as the states, sigma = 1."""
    import torch

    import ctebm
    from ctebm.early_inference.metrics import tangent

    def linear(s):
        return s

    rho = ctebm.Custom(linear)
    hidden = [len(b) for b in one.network.biases[1:-1]]
    net = ctebm.LayeredNetwork.random((20, *hidden, 10), rho, gain=0.4, seed=settings.seed)
    draw = torch.Generator().manual_seed(settings.seed)
    x, y = (torch.randn(4, n, generator=draw, dtype=torch.float64) for n in (20, 10))
    quiet = ctebm.correspondence(net, x, y, [0.1], n_steps=40)
    rows = []
    baselines: tuple[Literal["held", "undriven", "equilibrium"], ...]
    baselines = ("held", "undriven", "equilibrium")
    for baseline in baselines:
        noisy = ctebm.correspondence(
            net,
            x,
            y,
            [0.1],
            sigma=1.0,
            replicates=2,
            baseline=baseline,
            n_steps=40,
            seed=settings.seed,
        )
        off = noisy.by_layer(lambda d, q: tangent(d, -q).abs(), quiet.displacement)
        rows.append(off[:, 0, -1].amax(0))
    return torch.stack(rows)


def _synaptic(settings: Settings, one: Problem):
    """Return the cosine at t = 1 with noise inside the pressure, as large as sigma = 0.1."""
    import ctebm

    noisy = ctebm.correspondence(
        one.network, one.x, one.target, [0.1], n_steps=10, sigma=0.1, noise="synaptic",
        replicates=settings.replicates, baseline="equilibrium", seed=settings.seed,
    )  # fmt: skip
    return noisy.cosine(noisy.chain)[:, 0, -1]


def _held(settings: Settings, one: Problem):
    """Return the cosine at first arrival against a twin on the same noise, held at its output."""
    import torch

    import ctebm

    pair = ctebm.correspondence(
        one.network, one.x, one.target, [0.1], n_steps=one.n_hidden + 1, sigma=0.01,
        replicates=settings.replicates, baseline="held", seed=settings.seed,
    )  # fmt: skip
    cosine = pair.cosine(pair.chain)[:, 0]
    return torch.stack([cosine[:, k + 1, i] for i, k in enumerate(pair.depth)], -1)


def _at_arrival(curve, depth: int):
    """Return the mean over samples at the first arrival, step k + 1."""
    return curve.mean("sample").isel(save=depth + 1)


def draw(dataset: xr.Dataset) -> Figure:
    import numpy as np

    from ctebm.figures.panels import Panel, Series, panel_figure

    eps, sigma = dataset.eps.values, dataset.sigma.values
    step, noise = r"step $\epsilon$ (time constants)", r"noise $\sigma$"
    panels = []
    for layer in dataset.depth.values.argsort():
        one = dataset.isel(layer=layer)
        k = int(one.depth)
        seen, expected = (_at_arrival(one[name], k).values for name in ("cosine", "predicted"))
        title = f"depth {k}, dashed: predicted 0.7"
        field = (eps, sigma, seen.clip(0), "cosine at first arrival")
        panels.append(Panel(title, step, noise, log="xy", field=field,
                            contour=(eps, sigma, expected, 0.7)))  # fmt: skip
    i, j = int(np.abs(np.log(sigma / 0.03)).argmin()), int(eps.argmin())
    series = []
    for layer in dataset.depth.values.argsort():
        run = dataset.isel(layer=layer, sigma=i, eps=j)
        k, t = int(run.depth), run.time.values
        series += [
            Series(t, run.predicted.mean("sample"), line=True, colour=k),
            Series(t, run.cosine.mean("sample"), f"depth {k}", colour=k),
        ]
    title = f"$\\sigma$ = {sigma[i]:g}, $\\epsilon$ = {eps[j]:g}, lines predicted"
    panels.append(Panel(title, "time (time constants)", "cosine", series, "x"))
    series = [
        Series(dataset.depth, dataset.pairs.isel(baseline=i), str(name), colour=i)
        for i, name in enumerate(dataset.baseline.values)
    ]
    panels.append(Panel(r"linear rate, $\sigma$ = 1, minus:", "depth $k$", "tangent to quiet run",
                        series, "y"))  # fmt: skip
    return panel_figure(panels)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    out = kink_verdicts(dataset)
    free = not dataset.pinned_share.any()
    if not free:
        claim = "pinned units chatter around their kinks in noisy runs (F2), by about eps"
        note = "predictions against the equilibrium, for free units, are reported only"
        out.append(reported(claim, dataset.eps.max(), note))
    calm = dataset.isel(sigma=dataset.sigma.values <= dataset.linear)
    for layer in np.argsort(dataset.depth.values):
        k, one = int(dataset.depth[layer]), calm.isel(layer=layer)
        arrived = one.step > k
        gap = abs(one.cosine - one.predicted).where(arrived).mean("sample")
        claim = f"depth {k}: cosine - predicted, mean over steps and noise"
        out.append(
            Verdict.at_most(claim, gap.mean(), 0.05, f"largest {float(gap.max()):.2f}", free)
        )
        ratio = (one.replicates_measured / one.replicates_needed).where(arrived)
        mean = float(ratio.mean())
        claim = f"depth {k}: replicates measured / predicted, off 1"
        out.append(Verdict.at_most(claim, abs(mean - 1), 0.15, f"ratio {mean:.3f}", free))
        claim = f"depth {k}: intervals (95 %) that hold the coefficient, share"
        share = one.covered.where(arrived).mean()
        out.append(
            Verdict.at_least(claim, share, 0.85, "16 replicates cover less than asked", free)
        )
        for j, eps in enumerate(one.eps.values):
            run = one.isel(eps=j).mean("sample")
            lost, times = [], []
            for i in range(run.sizes["sigma"]):
                at = run.isel(sigma=i)
                best, chosen = at.cosine.argmax("save"), at.predicted.argmax("save")
                lost.append(float(at.cosine[best] - at.cosine[chosen]))
                times.append(f"{float(at.time[best]):.1f}/{float(at.time[chosen]):.1f}")
            claim = f"depth {k}, eps {eps:g}: cosine lost by reading at the predicted best time"
            out.append(Verdict.at_most(claim, max(lost), 0.05,
                                       "best/predicted " + ", ".join(times), free))  # fmt: skip
        held, undriven, rest = dataset.pairs.isel(layer=layer).values
        claim = f"depth {k}: sigma = 1, held pairs, tangent to the quiet run"
        note = f"undriven pairs {undriven:.1e}, unpaired {rest:.1e}"
        out.append(Verdict.at_most(claim, held, 1e-10, note))
        claim = f"depth {k}: held pairs, sigma = 0.01, eps = 0.1: cosine at first arrival"
        out.append(reported(claim, dataset.held.isel(layer=layer).median()))
        claim = f"depth {k}: synaptic noise of 0.1, eps = 0.1, t = 1: cosine"
        out.append(reported(claim, dataset.synaptic.isel(layer=layer).mean()))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
