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
    "early", "symmetric", "presynaptic", "equilibrium-propagation",
    "equilibrium-propagation-one-sided", "equilibrium-propagation-continual", "chain", "implicit",
    "through-time", "coupled", "contrastive",
)  # fmt: skip
EXACT = (
    "implicit", "through-time", "equilibrium-propagation", "equilibrium-propagation-one-sided",
    "equilibrium-propagation-continual",
)  # fmt: skip
APART = ("early", "equilibrium-propagation-asymmetric", "kolen-pollack", "jacobian-homeostasis")
SHORT = {
    "presynaptic": "presyn.", "equilibrium-propagation": "EP", "contrastive": "contrast",
    "equilibrium-propagation-one-sided": "EP+", "equilibrium-propagation-continual": "EP cont.",
    "through-time": "BPTT", "equilibrium-propagation-asymmetric": "EP asym.",
    "kolen-pollack": "KP", "jacobian-homeostasis": "homeost.",
}  # fmt: skip
ANGLE = 90  # degrees between directions that begin apart
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

    decay: float = 1.0
    """Weight decay of both directions under Kolen and Pollack's rule."""

    strength: float = 0.1
    """Strength of Jacobian homeostasis."""

    n_seeds: int = 3
    """Networks and orders of samples."""

    rate: float = 0.003
    """Learning rate of Adam, the same for every rule."""


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    from ctebm.study.images import load_images, split_images

    train, test = split_images(load_images(), 0.2)
    rates, labels = train.input[: settings.n_samples], train.label[: settings.n_samples]
    held_out = test.input, test.label
    runs = [(seed, word) for seed in range(settings.n_seeds) for word in (*WORDS, *APART)]
    together, apart = (
        np.full((3, settings.n_seeds, len(words)), np.nan) for words in (WORDS, APART)
    )
    for i, (seed, word) in enumerate(progress(runs, "trainings")):
        place = i % (len(WORDS) + len(APART))
        tied = place < len(WORDS)
        found = _trained(settings, seed, word, tied, (rates, labels), held_out)
        into, column = (together, place) if tied else (apart, place - len(WORDS))
        into[:, seed, column] = found
    return xr.Dataset(
        {
            "test_error": variable(
                ("start", "rule"), together[0], "errors on the test images", "%"
            ),
            "cosine": variable(
                ("start", "rule"), together[1], "smallest cosine with the gradient of the cost"
            ),
            "apart_test_error": variable(
                ("start", "apart_rule"), apart[0], "errors, directions apart", "%"
            ),
            "apart_cosine": variable(
                ("start", "apart_rule"), apart[1],
                "smallest cosine with the gradient of the cost, directions apart",
            ),
            "symmetry": variable(
                ("start", "apart_rule"), apart[2], "cosine of the two directions at the end"
            ),
        },
        {
            "rule": variable("rule", list(WORDS), "rule"),
            "apart_rule": variable("apart_rule", list(APART), "rule of directions apart"),
        },
    )  # fmt: skip


def _trained(
    settings: Settings,
    seed: int,
    word: str,
    tied: bool,
    samples: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float, float]:
    """Train by a rule; return the test error, the cosine with the gradient, and the symmetry."""
    import ctebm
    from ctebm.learning.plan import RULES

    rule, optimizer, options = RULES[word](), "Adam", {}
    if word == "kolen-pollack":  # Adam would scale the two directions by themselves
        rule, optimizer = ctebm.KolenPollack(decay=0), "AdamW"
        options = {"weight_decay": settings.decay}
    if word == "jacobian-homeostasis":
        rule = ctebm.JacobianHomeostasis(strength=settings.strength)
    plan = ctebm.Plan(
        rule=rule, epochs=settings.epochs, batch=20, rate=settings.rate, seed=seed, tied=tied,
        optimizer=optimizer, options=options,
    )  # fmt: skip
    start = _network(settings, seed, samples[0])
    begin = start if tied else ctebm.FeedbackNetwork.at_angle(start, ANGLE, seed)
    found = ctebm.train(begin, *samples, plan, held_out=held_out).raise_for_status()
    last = found.to_dataset().isel(epoch=-1)
    cosine = last.alignment.sel(reference="implicit").min()
    return float(last.test_error), float(cosine), float(last.symmetry.min())


def _network(settings: Settings, seed: int, rates: np.ndarray) -> ctebm.LayeredNetwork:
    import ctebm

    net = ctebm.LayeredNetwork.random(
        settings.sizes, ctebm.HardSigmoid(lower=-0.1), gain=0.3, seed=seed
    )
    return ctebm.weakly_coupled(net, 0.4).centred({"x": rates.mean(0)})


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, panel_figure

    exact = [word for word in dataset.rule.values if word in EXACT]
    others = [word for word in dataset.rule.values if word not in EXACT]
    x, y = "smallest cosine with the gradient", "errors (%)"
    return panel_figure(
        [
            Panel("rules that tend to the gradient", x, y, _reached(dataset, exact), log="y"),
            Panel("other rules", x, y, _reached(dataset, others), log="y"),
            Panel("directions that begin apart", x, y, _apart(dataset), log="y"),
        ],
        question="Which rules descend the cost, and what do they reach with the same budget?",
        see="One point a seed. EP: equilibrium propagation (+: nudged to the target alone; cont.: "
        "weights move with the states; asym.: corrected for directions that differ). KP: Kolen and "
        "Pollack's rule.",
    )  # fmt: skip


def _apart(dataset: xr.Dataset) -> list[Series]:
    """Return errors against cosines of directions that begin apart, one point a seed."""
    apart = dataset[["apart_test_error", "apart_cosine"]].rename(
        apart_test_error="test_error", apart_cosine="cosine", apart_rule="rule"
    )
    return _reached(apart, list(APART))


def _reached(dataset: xr.Dataset, words: list[str]) -> list[Series]:
    """Return errors against cosines, one point a seed."""
    from ctebm.figures.panels import Series

    short = [SHORT.get(word, word) for word in words]
    return [
        Series(dataset.cosine.sel(rule=word), dataset.test_error.sel(rule=word), label, colour=i)
        for i, (word, label) in enumerate(zip(words, short, strict=True))
    ]


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    for word in dataset.rule.values:
        one = dataset.sel(rule=word)
        note = f"test error {_plus_minus(one.test_error)} %"
        out.append(Verdict.reported(f"{word}: smallest cosine", smallest(one.cosine), note))
    exact = dataset.sel(rule=list(EXACT))
    out.append(Verdict.at_least(
        "smallest cosine of the rules that tend to the gradient", smallest(exact.cosine), DESCENDS
    ))  # fmt: skip
    for word in dataset.apart_rule.values:
        one = dataset.sel(apart_rule=word)
        error, symmetry = _plus_minus(one.apart_test_error), _plus_minus(one.symmetry)
        note = f"test error {error} %, symmetry {symmetry}"
        out.append(
            Verdict.reported(f"{word}, directions apart: cosine", smallest(one.apart_cosine), note)
        )
    for word in ("kolen-pollack", "jacobian-homeostasis"):
        gain = dataset.symmetry.sel(apart_rule=word) - dataset.symmetry.sel(apart_rule="early")
        out.append(
            Verdict.at_least(f"{word}: symmetry gained over the early rule", smallest(gain), 0.0)
        )
    return out


def _plus_minus(values: xr.DataArray) -> str:
    mean, half = _interval(values.values)
    return f"{mean:.3g} +- {half:.2g}"


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
