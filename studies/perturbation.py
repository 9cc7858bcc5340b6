"""What does a gradient cost by node perturbation (REINFORCE), and what by early inference?

Node perturbation adds noise to the units of a layer and multiplies it by what the cost then changes
(section 4): right in the mean, with a squared error of n + 1 times the gradient's in one trial of
n units. Early inference shows the target and watches the layer move; noise is only in its way, so
that its price is that of N4, of the displacement that it measures. How many runs does a given error
take, by width?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings
from ctebm.study.problem import images_problem
from ctebm.study.record import labelled, stacked
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm.networks.energy import Network

PART = 256  # trials or runs whose mean error is one of the values that errors are taken from


@dataclass(frozen=True)
class Settings(ExactSettings):
    """What does a gradient cost by node perturbation, and what by early inference?"""

    example = "--width 16 256 --sigma 0.003 --out results/wide"

    n_samples: int = 1
    """Number of images; the gradient of each is estimated."""
    width: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Units of the hidden layer."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; no unit may rest at a kink."""
    sigma: tuple[float, ...] = (0.003, 0.01, 0.03)
    """Intensities of the noise that is in the way of early inference."""
    perturbation: float = 1e-3
    """Standard deviation of the noise that node perturbation adds."""
    eps: float = 0.05
    """Euler's step, in membrane time constants."""
    time: float = 1.5
    """When the layer is looked at, in membrane time constants after the target is shown."""
    runs: int = 8192
    """Trials and runs of each measurement."""
    error: float = 0.3
    """Relative error (root mean square) whose price is asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_eps(self.eps)
        for name in ("gain", "sigma", "time", "perturbation", "error"):
            study.check_positive(f"--{name}", getattr(self, name))
        if not self.width or min(self.width) < 1:
            raise ValueError(f"--width needs 1 or more units, got {self.width}.")
        if self.runs < 8 * PART or self.runs % PART:
            raise ValueError(f"--runs needs a multiple of {PART} from {8 * PART}, got {self.runs}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    found = [
        stacked([_prices(settings, width, i) for i in range(settings.n_samples)])
        for width in progress(settings.width, "widths")
    ]
    return _recorded(settings, stacked(found))


def _prices(settings: Settings, width: int, i: int) -> dict[str, Any]:
    """Return the runs that the error takes, of one image: measured, predicted, and their errors."""
    import numpy as np
    import torch

    import ctebm

    one = images_problem(settings, [width], "hard-sigmoid", settings.gain)
    net = one.network.clamp({"x": one.x[i]})
    rest, target = ctebm.settle(net, tol=1e-13).state, one.target[i]
    h = net.layer("h1")
    g = ctebm.chain_gradient(net, rest, target)[h]
    rng = np.random.default_rng([settings.seed, width, i])
    trials = _node_perturbation(settings, net, rest, target, g, rng)
    told = {
        "node_perturbation": trials, "predicted_node_perturbation": torch.tensor(width + 1.0),
    }  # fmt: skip
    early = [_early_inference(settings, net, rest, target, sigma) for sigma in settings.sigma]
    told |= stacked(early)
    return told


def _node_perturbation(
    settings: Settings, net: Network, rest: Tensor, target: Tensor, g: Tensor, rng: Any
) -> Tensor:
    """Return squared relative errors of single trials, part by part.

    The layer is held away from its equilibrium and the output settles again.
    """
    import torch

    import ctebm

    h, y = net.layer("h1"), net.layer("y")
    draws = torch.as_tensor(rng.standard_normal((settings.runs, len(g)))).to(rest)
    noise = settings.perturbation * draws
    output = ctebm.settle(net.clamp({"h1": rest[h] + noise}), rest[y], tol=1e-14).state
    cost = (output - target).square().sum(-1) / 2
    change = cost - (rest[y] - target).square().sum() / 2
    estimate = noise * change.unsqueeze(-1) / settings.perturbation**2
    return _relative_error(estimate, g)


def _early_inference(
    settings: Settings, net: Network, rest: Tensor, target: Tensor, sigma: float
) -> dict[str, Tensor]:
    """Return squared relative errors of single runs with noise, what is predicted, and N4."""
    import torch

    import ctebm
    from ctebm.early_inference.noise_laws import noise_variance, replicates_needed

    h, n = net.layer("h1"), round(settings.time / settings.eps)
    end = ctebm.simulate(
        ctebm.Dynamics(net, sigma, drive=target), rest.expand(settings.runs, -1), n_steps=n,
        eps=settings.eps, save_every=n, seed=settings.seed, threads=settings.threads,
    ).state[-1]  # fmt: skip
    moved, variance = _driven_response(settings, net, rest, target, n)
    signal = float(moved.norm())
    simple = replicates_needed(signal, len(moved), noise_variance(n, settings.eps, sigma), 1.0)
    return {
        "early_inference": _relative_error((end - rest)[:, h], moved),
        "predicted_early_inference": sigma**2 * variance / signal**2,
        "early_by_n4": torch.as_tensor(float(simple)),
    }


def _driven_response(
    settings: Settings, net: Network, rest: Tensor, target: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """Return the hidden layer's displacement after n steps, and its summed variance at sigma 1.

    Both are those of the linear motion with the output driven: its rows of J are minus one.
    """
    import torch

    import ctebm

    h, y = net.layer("h1"), net.layer("y")
    J = ctebm.linearize(net, rest).jacobian.clone()
    eye = torch.eye(len(rest)).to(rest)
    J[y] = -eye[y]
    M, power = eye + settings.eps * J, eye
    u = torch.zeros_like(rest)
    u[y] = target - rest[y]
    moved, variance = torch.zeros_like(rest), rest.new_zeros(())
    for _ in range(n):
        moved = moved + settings.eps * power @ u
        variance = variance + settings.eps * power[h].square().sum()
        power = power @ M
    return moved[h], variance


def _relative_error(estimate: Tensor, g: Tensor) -> Tensor:
    """Return the mean squared error of each part of the trials, over the gradient's square."""
    return ((estimate - g).square().sum(-1) / g.square().sum()).reshape(-1, PART).mean(-1)


def _recorded(settings: Settings, found: dict[str, Tensor]) -> xr.Dataset:
    r2 = settings.error**2
    node, early = ("width", "sample"), ("width", "sample", "sigma")
    data = {}
    for name, dims, words in (
        ("node_perturbation", node, "trials of node perturbation"),
        ("early_inference", early, "runs of early inference"),
    ):
        parts = found[name] / r2
        spread = parts.std(-1) / parts.shape[-1] ** 0.5
        data[name] = (dims, parts.mean(-1), f"{words} that the error takes")
        data[f"{name}_error"] = (dims, spread, "its standard error")
        data[f"predicted_{name}"] = (dims, found[f"predicted_{name}"] / r2, f"{words}, predicted")
    data["early_by_n4"] = (early, found["early_by_n4"] / r2, "runs of early inference by N4")
    coords = {
        "width": ("width", list(settings.width), "units of the hidden layer"),
        "sigma": ("sigma", list(settings.sigma), "intensity of the noise"),
    }
    return labelled(data, {"error": settings.error, "time": settings.time}, coords)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    one = dataset.isel(sample=0)

    def both(name: str, part: xr.Dataset, label: str, colour: int) -> list[Series]:
        y, bar = part[name], 2 * part[f"{name}_error"]
        return [
            Series(part.width, part[f"predicted_{name}"], line=True, colour=colour),
            Series(part.width, y, label, colour=colour, low=y - bar, high=y + bar),
        ]

    series = both("node_perturbation", one, "node perturbation", 0)
    for i, sigma in enumerate(one.sigma.values):
        part = one.isel(sigma=i)
        series += both("early_inference", part, rf"early inference, $\sigma$ = {sigma:g}", i + 1)
    error = dataset.attrs["error"]
    return panel_figure(
        [Panel(f"to a relative error of {error:g}", "units of the layer", "runs", series, "xy")],
        question="How many runs does a gradient take?",
        see="Node perturbation (n + 1)/r²; early inference what the noise in its way costs (N4).",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    for name, law in (("node_perturbation", "(n + 1)/r^2"), ("early_inference", "linear theory")):
        off = abs(dataset[name] - dataset[f"predicted_{name}"]) / dataset[f"{name}_error"]
        words = name.replace("_", " ")
        out.append(Verdict.at_most(f"{words}: runs - {law} / standard error", largest(off), 4.5,
                                   f"{off.size} of them"))  # fmt: skip
    simple = abs(dataset.early_by_n4 / dataset.predicted_early_inference - 1)
    out.append(Verdict.at_most("N4 over linear theory - 1", largest(simple), 0.1))
    ratio = dataset.early_inference / dataset.node_perturbation
    for sigma in dataset.sigma.values:
        at = ratio.sel(sigma=sigma)
        out.append(Verdict.reported(f"runs of early inference over trials, sigma = {sigma:g}",
                                    float(at.mean()), "mean over widths"))  # fmt: skip
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
