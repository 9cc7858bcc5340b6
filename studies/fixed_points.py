"""How many equilibria has a layered network, of which kind, and how stiff are they?

Digits are clamped to the input of a layered network at every gain, for a hard and two smooth
nonlinearities. From many starts each image settles; the distinct stable equilibria, the share of
pinned units, both ends of the spectrum and the limit of Euler's step are recorded. On one image
plain Euler's chattering around the kinks is set beside the projected step (F2 of the theory page).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import refuse_with_weights, trained_network

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings(study.Settings):
    """How many equilibria has a layered network, of which kind, and how stiff are they?"""

    out: Path = Path("results/fixed_points")
    """Stem of the files written: OUT.nc, OUT.png and OUT.pdf."""
    gain: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    """Of the Glorot weights; biases are centred on the mean input."""
    activations: tuple[str, ...] = ("hard-sigmoid", "smooth-hard-sigmoid", "logistic")
    """hard-sigmoid[:lower=-0.5], logistic[:gain=4], tanh or
    smooth-hard-sigmoid[:lower=-0.5,width=0.1]."""
    sizes: tuple[int, ...] = (64, 32, 32, 10)
    """Units of each layer, input first."""
    n_samples: int = 16
    """Images, the first of the data."""
    n_starts: int = 16
    """Random starts for each image."""
    eps: tuple[float, ...] = (0.2, 0.1, 0.05)
    """Steps of the plain and the projected Euler runs."""
    tol: float = 1e-10
    """Largest force at an equilibrium."""
    data: Path | None = None
    """Images: IDX (.gz), npz, csv or netCDF, instead of scikit-learn's digits."""
    labels: Path | None = None
    """Labels of IDX images."""
    weights: Path | None = None
    """A trained network, as studies/learning.py writes it, instead of random weights; layers and
    activation are then those of the file."""

    def __post_init__(self) -> None:
        refuse_with_weights(self)
        for name in self.activations:
            study.check_activation(name)
        if not self.gain or min(self.gain) < 0:
            raise ValueError(f"--gain needs values >= 0, got {self.gain}.")
        if len(self.sizes) < 3 or min(self.sizes) < 1:
            raise ValueError(f"--sizes needs input, hidden and output layers, got {self.sizes}.")
        if self.n_samples < 1 or self.n_starts < 1:
            raise ValueError("--n-samples and --n-starts need at least 1.")
        if not self.eps or not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"--eps needs steps 0 < eps <= 1, got {self.eps}.")


N_CHATTER = 400


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch
    import xarray as xr

    import ctebm
    from ctebm.dataset import variable
    from ctebm.study.images import load_images

    images = load_images(settings.data, settings.labels, settings.n_samples)
    dtype = getattr(torch, settings.dtype)
    trained = trained_network(settings.weights, images, dtype)
    if trained is None and images.input.shape[1] != settings.sizes[0]:
        raise ValueError(
            f"--sizes begins with {settings.sizes[0]} units, but the images have "
            f"{images.input.shape[1]} pixels."
        )
    names = settings.activations if trained is None else (repr(trained.activation),)
    gains = settings.gain if trained is None else (1.0,)
    sizes = settings.sizes if trained is None else [len(b) for b in trained.biases]
    rates = torch.as_tensor(images.input, dtype=dtype)
    if trained is None or not trained.activation.kinks:
        rates = rates.clamp(0.01, 0.99)
    n_free = sum(sizes[1:])
    shape = (len(names), len(gains), settings.n_samples)
    found = {
        name: np.full(shape, np.nan)
        for name in ("n_stable", "pinned_share", "lambda_min", "lambda_max", "eps_max", "margin",
                     "residual", "converged_share", "iterations")
    }  # fmt: skip
    places = np.random.default_rng(settings.seed).uniform(size=(settings.n_starts, 1, n_free))
    chatter = None
    for a, name in enumerate(progress(names, "nonlinearities")):
        rho = study.parse_activation(name) if trained is None else trained.activation
        for g, gain in enumerate(gains):
            whole = trained or ctebm.LayeredNetwork.random(
                sizes, rho, gain=gain, seed=settings.seed, dtype=dtype
            ).centred({"x": rates.mean(0)})
            network = whole.to(device=settings.device).clamp({"x": rho.inverse(rates)})
            low, high = rho.box or (-0.5, 0.5)
            points = ctebm.settle(network, low + (high - low) * places, tol=settings.tol)
            here = (a, g)
            found["n_stable"][here] = _distinct(points.state, points.energy)
            first = _lowest(points)
            linear = ctebm.linearize(network, first)
            found["pinned_share"][here] = linear.pinned.double().mean(-1).cpu()
            found["lambda_min"][here] = linear.lambda_min.cpu()
            found["lambda_max"][here] = linear.lambda_max.cpu()
            found["eps_max"][here] = linear.eps_max.cpu()
            found["margin"][here] = linear.margin.cpu()
            found["residual"][here] = points.residual.amax(0).cpu()
            found["converged_share"][here] = points.converged.double().mean(0).cpu()
            found["iterations"][here] = points.iterations.double().mean(0).cpu()
            if rho.kinks and chatter is None and bool(linear.pinned[0].any()):
                chatter = _chatter(whole.clamp({"x": rho.inverse(rates[0])}), first[0], settings)
    dims = ("activation", "gain", "sample")
    texts = {
        "n_stable": "distinct stable equilibria found",
        "pinned_share": "share of pinned units",
        "lambda_min": "smallest eigenvalue of the Hessian",
        "lambda_max": "largest eigenvalue of the Hessian",
        "eps_max": "limit of Euler's step",
        "margin": "distance from losing or gaining a pinned unit",
        "residual": "largest force over the starts",
        "converged_share": "share of starts that converged",
        "iterations": "mean steps of a start",
    }
    units = {"eps_max": "membrane time constant"}
    data = xr.Dataset(
        {k: variable(dims, v, texts[k], units.get(k, "1")) for k, v in found.items()},
        {
            "activation": variable(("activation",), list(names), "nonlinearity"),
            "gain": variable(("gain",), gains, "gain of the Glorot weights, 1 for given ones"),
        },
        {"data": images.name, "tolerance": settings.tol, "n_starts": settings.n_starts},
    )
    data.attrs["n_failed"] = int((found["converged_share"] < 1).sum())
    if chatter is not None:
        eps = variable(("eps",), settings.eps, "Euler's step", "membrane time constant")
        for kind, distance in chatter.items():
            text = f"distance from the equilibrium, {kind} Euler"
            data[kind] = variable(("eps", "step"), distance, text)
        data = data.assign_coords(eps=eps)
    return data


def draw(dataset: xr.Dataset) -> Figure:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

    from ctebm.figures.correspondence import step_colours
    from ctebm.figures.equilibria import BLUE, GREEN, VERMILION
    from ctebm.figures.panels import MARKERS, STYLE

    colours = [BLUE, VERMILION, GREEN, "black", "0.5"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.9), layout="constrained")
        axes = figure.subplots(2, 3).ravel()
        panels = [
            ("n_stable", "distinct stable equilibria"),
            ("pinned_share", "share of pinned units"),
            ("lambda_min", "smallest eigenvalue $\\lambda_{min}$"),
            ("lambda_max", "largest eigenvalue $\\lambda_{max}$"),
            ("eps_max", "Euler's limit $\\epsilon_{max}$ (time constants)"),
        ]
        for (name, label), ax in zip(panels, axes, strict=False):
            for a, activation in enumerate(dataset.activation.values):
                values = dataset[name].isel(activation=a).where(lambda x: np.isfinite(x))
                colour, marker = colours[a % len(colours)], MARKERS[a % len(MARKERS)]
                if dataset.sizes["gain"] == 1:  # a single network: image by image
                    ax.plot(np.arange(dataset.sizes["sample"]), values[0], marker, color=colour,
                            ms=4, mew=0, ls="", label=str(activation))  # fmt: skip
                    continue
                low, middle, high = (values.quantile(q, "sample") for q in (0.05, 0.5, 0.95))
                gain = dataset.gain.values * (1 + 0.02 * a)
                ax.vlines(gain, low, high, color=colour, lw=0.8, alpha=0.6)
                ax.plot(gain, middle, marker, color=colour, ms=4, mew=0,
                        label=str(activation), ls="-", lw=0.6)  # fmt: skip
            if name != "pinned_share":
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_formatter(NullFormatter())
            ax.set(ylabel=label)
            if dataset.sizes["gain"] == 1:
                ax.set(xlabel="image")
                ax.xaxis.get_major_locator().set_params(integer=True)
                continue
            ax.set(xscale="log", xlabel="gain")
            ax.xaxis.set_major_locator(FixedLocator(dataset.gain.values[::2]))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
        axes[0].axhline(dataset.n_starts, color="0.6", lw=0.7, ls="--")
        axes[0].set_ylabel(f"stable equilibria of {dataset.n_starts} starts")
        axes[5].set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5,
                      frameon=False)  # fmt: skip
        if "plain" in dataset:
            ax = axes[5]
            ax.set_axis_on()
            steps = np.arange(dataset.sizes["step"])
            for i, (eps, colour) in enumerate(
                zip(dataset.eps.values, step_colours(dataset.sizes["eps"]), strict=True)
            ):
                for kind, style in (("plain", "-"), ("projected", "--")):
                    distance = np.maximum(dataset[kind].isel(eps=i).values, 1e-17)
                    ax.plot(steps * eps, distance, style, color=colour, lw=1.0,
                            label=f"{kind}, $\\epsilon$ = {eps:g}")  # fmt: skip
            ax.set(yscale="log", xlabel="time (time constants)", ylabel="distance from equilibrium")
            ax.set(title="plain Euler chatters at kinks")
            ax.legend(frameon=False, fontsize=6)
    return figure


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    verdicts = [
        Verdict.at_least("share of starts that converged", dataset.converged_share.min(), 1.0),
        Verdict.at_most("largest force", dataset.residual.max(), dataset.tolerance),
        Verdict.at_least("lowest eigenvalue of a settled state", dataset.lambda_min.min(), 0.0),
    ]
    for a, name in enumerate(dataset.activation.values):
        one = dataset.isel(activation=a)
        count = one.n_stable.median("sample")
        verdicts.append(
            Verdict.at_least(
                f"{name}: equilibria at the largest gain", count[-1], 1, must_hold=False
            )
        )
        if str(name).startswith("hard-sigmoid"):
            text = f"{name}: share of pinned units at the largest gain"
            share = float(one.pinned_share.isel(gain=-1).mean())
            verdicts.append(Verdict.at_least(text, share, 0.0, must_hold=False))
    if "plain" in dataset:
        late = dataset.isel(step=slice(-50, None))
        size = late.plain.max("step").values / dataset.eps.values
        spread = size.max() / size.min()
        verdicts += [
            Verdict.at_least("plain Euler: chattering over eps, least", size.min(), 1e-3),
            Verdict.at_most("plain Euler: chattering over eps, spread", spread, 10),
            Verdict.at_most("projected over plain Euler: distance at the end", _end(late), 1e-2),
        ]
    return [v for v in verdicts if np.isfinite(v.value)]


def _end(late: xr.Dataset) -> float:
    """The ratio of the distances of the runs that went on for longest."""
    longest = late.isel(eps=int(late.eps.values.argmax()))
    return float(longest.projected.isel(step=-1) / longest.plain.max("step"))


def _distinct(state, energy) -> np.ndarray:
    """Count different states, ``(start, sample, unit)``, by infinity norm and energy."""
    import numpy as np
    import torch

    counts = []
    for s, E in zip(state.movedim(1, 0), energy.movedim(1, 0), strict=True):
        near = (torch.cdist(s, s, p=float("inf")) < 1e-5) & ((E[:, None] - E).abs() < 1e-7)
        counts.append(int((near.int().argmax(1) == torch.arange(len(s))).sum()))
    return np.array(counts)


def _lowest(points):
    """Return each sample's state of lowest energy."""
    best = points.energy.argmin(0)
    return points.state.movedim(1, 0)[range(len(best)), best]


def _chatter(network, rest, settings: Settings) -> dict[str, np.ndarray]:
    """Return the distance from the equilibrium of plain and projected Euler runs."""
    import numpy as np
    import torch

    import ctebm

    start = rest + 0.05 * torch.cos(torch.arange(len(rest), dtype=rest.dtype))
    start = network.box.project(start)
    return {
        kind: np.stack(
            [
                (ctebm.simulate(
                    ctebm.Dynamics(network), start, n_steps=N_CHATTER, eps=eps,
                    projected=kind == "projected",
                ).state - rest).abs().amax(-1).numpy()
                for eps in settings.eps
            ]
        )
        for kind in ("plain", "projected")
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
