"""Every rule on the same network, data and budget: which descends the cost, and how well?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ctebm import study
from ctebm.dataset import variable
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import smallest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    import ctebm
    from ctebm.figures.panels import Series

WORDS = (
    "early", "symmetric", "equilibrium-propagation", "equilibrium-propagation-one-sided", "chain",
    "implicit", "through-time", "coupled", "contrastive",
)  # fmt: skip
EXACT = ("implicit", "through-time", "equilibrium-propagation", "equilibrium-propagation-one-sided")
DESCENDS = 0.95  # cosine from which a rule is said to descend the cost


@dataclass(frozen=True)
class Settings(study.Settings):
    """Which rules descend the cost, and what do they reach with the same budget?"""

    sizes: tuple[int, ...] = (64, 32, 10)
    """Units in each layer, input first."""

    n_samples: int = 400
    """Images to learn from."""

    epochs: int = 4
    """Passes over them."""

    n_seeds: int = 3
    """Networks and orders of samples."""

    rate: float = 0.003
    """Learning rate of Adam, the same for every rule."""

    beta: tuple[float, ...] = (0.5, 0.1, 0.02, 0.004, 0.0008)
    """Strengths of the nudge."""

    tol: tuple[float, ...] = (1e-3, 1e-4, 1e-6)
    """Residuals of nudged equilibria."""


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm
    from ctebm.learning.plan import RULES
    from ctebm.study.images import load_images, split_images

    train, test = split_images(load_images(), 0.2)
    rates, labels = train.input[: settings.n_samples], train.label[: settings.n_samples]
    runs = [(seed, word) for seed in range(settings.n_seeds) for word in WORDS]
    error, cosine = (np.empty((settings.n_seeds, len(WORDS))) for _ in range(2))
    for seed, word in progress(runs, "trainings"):
        plan = ctebm.Plan(
            rule=RULES[word](), epochs=settings.epochs, batch=20, rate=settings.rate, seed=seed
        )
        start = _network(settings, seed, rates)
        found = ctebm.train(start, rates, labels, plan, held_out=(test.input, test.label))
        found.raise_for_status()
        place = seed, WORDS.index(word)
        error[place] = found.history["test_error"][-1]
        aligned = found.to_dataset().alignment.sel(reference="implicit")
        cosine[place] = float(aligned.isel(epoch=-1).min())
    return xr.Dataset(
        {
            "test_error": variable(("start", "rule"), error, "errors on the test images", "%"),
            "cosine": variable(
                ("start", "rule"), cosine, "smallest cosine with the gradient of the cost"
            ),
            "off": variable(
                ("tol", "beta"), _off(settings, rates, labels),
                "distance of centred equilibrium propagation from its limit, relative",
            ),
        },
        {
            "rule": variable("rule", list(WORDS), "rule"),
            "beta": variable("beta", settings.beta, "strength of the nudge"),
            "tol": variable("tol", settings.tol, "residual of the nudged equilibria"),
        },
    )  # fmt: skip


def _network(settings: Settings, seed: int, rates: np.ndarray) -> ctebm.LayeredNetwork:
    import ctebm

    net = ctebm.LayeredNetwork.random(
        settings.sizes, ctebm.HardSigmoid(lower=-0.1), gain=0.3, seed=seed
    )
    return ctebm.weakly_coupled(net, 0.4).centred({"x": rates.mean(0)})


def _off(settings: Settings, rates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how far centred equilibrium propagation is from the gradient of the cost."""
    import torch

    import ctebm

    net = _network(settings, 0, rates)
    plastic = ctebm.PlasticNetwork(net)
    rest = plastic.settle(net.state(rates[:50]), tol=1e-12, max_sweeps=5000)
    eye = torch.eye(settings.sizes[-1], dtype=net.dtype)
    target = 0.8 * eye[torch.as_tensor(labels[:50]).long()]  # rates 0.1 and 0.9 as states
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


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    exact = [word for word in dataset.rule.values if word in EXACT]
    others = [word for word in dataset.rule.values if word not in EXACT]
    x, y = "smallest cosine with the gradient", "errors (%)"
    curves = [
        Series(dataset.beta.values, dataset.off.sel(tol=tol), f"tol {tol:g}", colour=i)
        for i, tol in enumerate(dataset.tol.values)
    ]
    return panel_figure(
        [
            Panel("rules that tend to the gradient", x, y, _reached(dataset, exact)),
            Panel("other rules", x, y, _reached(dataset, others)),
            Panel("equilibrium propagation", r"strength $\beta$", "relative error", curves,
                  log="xy"),
        ],
        question="Which rules descend the cost, and what do they reach with the same budget?",
        see="a, b: one point a seed. c: distance of centred equilibrium propagation from "
        "its limit; a smaller nudge meets the residual of the nudged rest.",
    )  # fmt: skip


def _reached(dataset: xr.Dataset, words: list[str]) -> list[Series]:
    """Return errors against cosines, one point a seed."""
    from ctebm.figures.panels import Series

    short = [word.replace("equilibrium-propagation", "EP") for word in words]
    return [
        Series(dataset.cosine.sel(rule=word), dataset.test_error.sel(rule=word), label, colour=i)
        for i, (word, label) in enumerate(zip(words, short, strict=True))
    ]


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    for word in dataset.rule.values:
        one = dataset.sel(rule=word)
        mean, half = _interval(one.test_error.values)
        note = f"test error {mean:.1f} +- {half:.1f} %"
        out.append(Verdict.reported(f"{word}: smallest cosine", smallest(one.cosine), note))
    exact = dataset.sel(rule=list(EXACT[:3]))
    out.append(Verdict.at_least(
        "smallest cosine of the rules that tend to the gradient", smallest(exact.cosine), DESCENDS
    ))  # fmt: skip
    for tol in dataset.tol.values:
        off = dataset.off.sel(tol=tol)
        best = off.beta.values[int(np.argmin(off.values))]
        out.append(
            Verdict.reported(f"best beta at residual {tol:g}", best, f"off {float(off.min()):.1e}")
        )
    return out


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return float(values.mean()), float("nan")
    half = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(half)


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
