"""What a nudge of finite strength descends, and the strength that is best for a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ctebm import study
from ctebm.dataset import variable
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import smallest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINEST, MOST_SWEEPS = 1e-12, 5000  # residual and work of rests that surrogates are read from
SMALL = 0.1  # strengths up to which orders in beta are read


@dataclass(frozen=True)
class Settings(study.Settings):
    """What does a nudge of finite strength descend, and which strength is best?"""

    sizes: tuple[int, ...] = (64, 32, 10)
    """Units in each layer, input first."""

    n_samples: int = 50
    """Images."""

    beta: tuple[float, ...] = (0.5, 0.1, 0.02, 0.004, 0.0008)
    """Strengths of the nudge."""

    tol: tuple[float, ...] = (1e-3, 1e-4, 1e-6)
    """Residuals of nudged equilibria."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        study.check_layers(self.sizes)
        study.check_positive("--n-samples", self.n_samples)
        for flag, values in (("--beta", self.beta), ("--tol", self.tol)):
            for value in values:
                study.check_positive(flag, value)
            if len(set(values)) < max(len(values), 2):
                raise ValueError(f"{flag} needs two or more values, all different, got {values}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    plastic, rest, target = _at_rest(settings)
    lower, upper, centred = _surrogates(settings, plastic, rest, target)
    cost = plastic.cost(rest, target).numpy()
    return xr.Dataset(
        {
            "off": variable(
                ("tol", "beta"), _off(settings, plastic, rest, target),
                "distance of centred equilibrium propagation from its limit, relative",
            ),
            "lower": variable(("beta", "sample"), lower, "what a nudge to the target descends"),
            "upper": variable(("beta", "sample"), upper, "what a nudge from the target descends"),
            "centred": variable(("beta", "sample"), centred, "what nudges of either sign descend"),
            "cost": variable("sample", cost, "cost at rest"),
        },
        {
            "beta": variable("beta", settings.beta, "strength of the nudge"),
            "tol": variable("tol", settings.tol, "residual of the nudged equilibria"),
        },
    )  # fmt: skip


def _at_rest(settings: Settings) -> tuple[Any, Any, Any]:
    """Return a network that can learn, some samples at rest, and their targets."""
    import torch

    import ctebm
    from ctebm.study.images import load_images

    images = load_images(n_samples=settings.n_samples)
    net = ctebm.LayeredNetwork.random(
        settings.sizes, ctebm.HardSigmoid(lower=-0.1), gain=0.3, seed=settings.seed
    )
    net = ctebm.weakly_coupled(net, 0.4).centred({"x": images.input.mean(0)})
    plastic = ctebm.PlasticNetwork(net)
    rest = plastic.settle(net.state(images.input), tol=FINEST, max_sweeps=MOST_SWEEPS)
    eye = torch.eye(settings.sizes[-1], dtype=net.dtype)
    target = 0.8 * eye[torch.as_tensor(images.label).long()]  # rates 0.1 and 0.9 as states
    return plastic, rest, target


def _off(settings: Settings, plastic: Any, rest: Any, target: Any) -> np.ndarray:
    """Return how far centred equilibrium propagation is from the gradient of the cost."""
    import torch

    import ctebm

    gradient = ctebm.Implicit().gradient(plastic, rest, target)
    exact = torch.cat([W.flatten() for W in gradient.weights])
    off = np.empty((len(settings.tol), len(settings.beta)))
    for i, tol in enumerate(settings.tol):
        for j, beta in enumerate(settings.beta):
            rule = ctebm.EquilibriumPropagation(beta, tol=tol)
            found = rule.gradient(plastic, rest, target).weights
            found = torch.cat([W.flatten() for W in found])
            off[i, j] = float((found - exact).norm() / exact.norm())
    return off


def _surrogates(settings: Settings, plastic: Any, rest: Any, target: Any) -> list[np.ndarray]:
    r"""Return what nudges descend: slopes of :math:`F(\beta) = \min_s E + \beta C`."""
    import torch

    import ctebm

    held: ctebm.Network = plastic.to_network().clamp({"x": rest.states[0]})

    def F(beta: float) -> torch.Tensor:
        at = plastic.nudge(rest, target, beta=beta, tol=FINEST, max_sweeps=MOST_SWEEPS)
        return ctebm.nudged(held, target, beta).energy(torch.cat(at.states[1:], -1))

    free = held.energy(torch.cat(rest.states[1:], -1))
    rows = []
    for beta in settings.beta:
        up, down = F(beta), F(-beta)
        rows.append([(up - free) / beta, (free - down) / beta, (up - down) / (2 * beta)])
    return [torch.stack(list(column)).numpy() for column in zip(*rows, strict=True)]


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, against_theory, panel_figure

    beta, gaps = dataset.beta.values, []
    curves = [
        Series(beta, dataset.off.sel(tol=tol), f"residual {tol:.0e}", colour=i)
        for i, tol in enumerate(dataset.tol.values)
    ]
    for i, (label, gap) in enumerate(_gaps(dataset).items()):
        weakest = int(beta.argmin())
        law = float(gap[weakest]) * (beta / beta[weakest]) ** (2 if label == "both" else 1)
        gaps += against_theory(beta, law, gap, label, colour=i)
    return panel_figure(
        [
            Panel("equilibrium propagation", r"strength $\beta$", "relative error", curves,
                  log="xy"),
            Panel("what it descends", r"strength $\beta$", "distance from the cost", gaps,
                  log="xy"),
        ],
        question="What does a nudge of finite strength descend, and which strength is best?",
        see="a: distance of centred equilibrium propagation from the gradient of the cost; a "
        "smaller nudge meets the residual of the nudged rest. b: a nudge to the target descends "
        "less than the cost, one from it more, both together the cost but for a square; lines: "
        r"$\beta$ and $\beta^2$ through the weakest.",
    )  # fmt: skip


def _gaps(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return how far what is descended is from the cost, the mean over the samples."""
    return {
        "to the target": (dataset.cost - dataset.lower).mean("sample"),
        "from the target": (dataset.upper - dataset.cost).mean("sample"),
        "both": abs(dataset.centred - dataset.cost).mean("sample"),
    }


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = _bounds(dataset)
    for tol in dataset.tol.values:
        off = dataset.off.sel(tol=tol)
        best = off.beta.values[int(np.argmin(off.values))]
        out.append(
            Verdict.reported(f"best beta at residual {tol:g}", best, f"off {float(off.min()):.1e}")
        )
    return out


def _bounds(dataset: xr.Dataset) -> list[Verdict]:
    """Return whether the cost lies between what nudges of either sign descend, and how closely."""
    order = {}
    small = dataset.sel(beta=dataset.beta[dataset.beta <= SMALL])
    for label, gap in _gaps(small).items():
        fit = np.polyfit(np.log(small.beta), np.log(gap), 1) if small.beta.size > 1 else [np.nan]
        order[label] = float(fit[0])
    below, above = dataset.cost - dataset.lower, dataset.upper - dataset.cost
    return [
        Verdict.at_least("cost above what a nudge to the target descends", smallest(below), 0.0),
        Verdict.at_least("cost below what a nudge from the target descends", smallest(above), 0.0),
        Verdict.at_most("order in beta of either, off 1", abs(order["to the target"] - 1), 0.2),
        Verdict.at_most("order in beta of both together, off 2", abs(order["both"] - 2), 0.2),
    ]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
