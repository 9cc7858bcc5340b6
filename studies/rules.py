"""Every rule on the same network, data and budget: which descends the cost, and how well?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ctebm import study
from ctebm.dataset import variable
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import torch
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
PREDICTIVE = ("chain", "zero-divergence", "fixed-prediction")
STEPS = (1, 2, 4, 8, 16, 32)  # of inference with fixed predictions
STEP = 0.5  # membrane time constants of each
N_TRIED = 100  # images of which a rule's first gradient is taken
LOW, HIGH = 0.1, 0.9  # output of predictive coding for another class and for this one
ANGLE = 90  # degrees between directions that begin apart
EQUAL = 1e-12  # relative distance of gradients that are the same
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

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        study.check_layers(self.sizes)
        for flag in ("n_samples", "epochs", "n_seeds"):
            study.check_positive(f"--{flag.replace('_', '-')}", getattr(self, flag))


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
    predictive = _predictive(settings, progress, (rates, labels), held_out)
    opposite = _opposite(settings, progress, (rates, labels), held_out)
    return xr.Dataset(
        {
            **predictive, **opposite,
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
            "predictive_rule": variable(
                "predictive_rule", list(PREDICTIVE), "rule of predictive coding"
            ),
            "step": variable("step", list(STEPS), "steps with fixed predictions"),
            "depth": variable("depth", [1, 2], "couplings to the output"),
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


def _predictive(
    settings: Settings,
    progress: Progress,
    samples: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> dict[str, xr.Variable]:
    """Return what the rules of predictive coding reach, and how far they are from the gradient.

    The gradient is that of the perceptron by torch. It is asked of two hidden layers, so that
    there are two depths.
    """
    import torch
    from scipy.stats import binom

    import ctebm

    first, hidden, *_, last = settings.sizes
    x = torch.as_tensor(samples[0][:N_TRIED], dtype=torch.float64)
    label = torch.as_tensor(samples[1][:N_TRIED])
    target = LOW + (HIGH - LOW) * torch.eye(last, dtype=torch.float64)[label]
    rules = {
        "chain": ctebm.Chain(), "zero-divergence": ctebm.ZeroDivergence(),
        "fixed-prediction": ctebm.FixedPrediction(eps=STEP, n_steps=STEPS[-1]),
    }  # fmt: skip
    error = np.empty((settings.n_seeds, len(rules)))
    off, zero = np.empty((settings.n_seeds, 2, len(STEPS))), np.empty(settings.n_seeds)
    for seed in progress(range(settings.n_seeds), "predictive coding"):
        for i, rule in enumerate(rules.values()):
            start = ctebm.PredictiveNetwork.random(settings.sizes, ctebm.SignedTanh(), seed=seed)
            plan = ctebm.Plan(
                rule=rule, epochs=settings.epochs, batch=20, rate=settings.rate, seed=seed,
                tol=1e-12, low=LOW, high=HIGH,
            )  # fmt: skip
            found = ctebm.train(start, *samples, plan, held_out=held_out).raise_for_status()
            error[seed, i] = found.history["test_error"][-1]
        sizes = [first, hidden, hidden, last]
        deep = ctebm.PredictiveNetwork.random(sizes, ctebm.SignedTanh(), seed=seed)
        plastic, gradient = ctebm.PlasticField(deep), _back_propagated(deep, x, target)
        rest = plastic.settle(x, tol=1e-12)
        zero[seed] = _distances(
            rules["zero-divergence"].gradient(plastic, rest, target).weights, gradient
        ).max()
        for i, n in enumerate(STEPS):
            fixed = ctebm.FixedPrediction(eps=STEP, n_steps=n).gradient(plastic, rest, target)
            off[seed, :, i] = _distances(fixed.weights, gradient)[1::-1]  # the deepest comes first
    law = [binom.cdf(depth - 1, STEPS, STEP) for depth in (1, 2)]
    return {
        "predictive_test_error": variable(
            ("start", "predictive_rule"), error, "errors on the test images, predictive coding", "%"
        ),
        "zero_off": variable(
            "start", zero, "zero divergence: relative distance from the gradient, largest"
        ),
        "fixed_off": variable(
            ("start", "depth", "step"), off,
            "fixed predictions: relative distance from the gradient",
        ),
        "fixed_law": variable(("depth", "step"), law, "share that has not arrived"),
    }  # fmt: skip


def _back_propagated(
    net: ctebm.PredictiveNetwork, x: torch.Tensor, target: torch.Tensor
) -> list[torch.Tensor]:
    """Return the gradient of half the mean squared error of the perceptron, by torch alone."""
    import torch

    W = [W_l.clone().requires_grad_() for W_l in net.weights]
    for W_l, b_l in zip(W, net.biases[1:], strict=True):
        x = x.tanh() @ W_l + b_l
    return [*torch.autograd.grad((x - target).square().sum() / (2 * len(x)), W)]


def _distances(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> np.ndarray:
    """Return relative distances of gradients, layer by layer."""
    return np.array([float((a - b).norm() / b.norm()) for a, b in zip(mine, theirs, strict=True)])


def _opposite(
    settings: Settings,
    progress: Progress,
    samples: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> dict[str, xr.Variable]:
    """Return where Xie and Seung's rule begins to go, and what becomes of the network.

    Its runs may end with a layer that is held at its kinks; the last good epoch counts then.
    """
    import torch

    import ctebm

    rule = ctebm.XieSeung()
    cosine, error = np.empty(settings.n_seeds), np.empty(settings.n_seeds)
    for seed in progress(range(settings.n_seeds), "Xie and Seung"):
        start = _network(settings, seed, samples[0])
        plastic = ctebm.PlasticNetwork(start)
        x = start.state(samples[0][:N_TRIED], "x")
        rest = plastic.settle(x, tol=1e-12)
        off, on = start.state(torch.tensor([LOW, HIGH], dtype=start.dtype), "y").tolist()
        one_hot = torch.eye(settings.sizes[-1], dtype=start.dtype)
        target = off + (on - off) * one_hot[torch.as_tensor(samples[1][:N_TRIED])]
        both = [r.gradient(plastic, rest, target).weights for r in (rule, ctebm.Implicit())]
        cosine[seed] = max(
            float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(*both, strict=True)
        )
        plan = ctebm.Plan(
            rule=rule, epochs=settings.epochs, batch=20, rate=settings.rate, seed=seed
        )
        history = ctebm.train(start, *samples, plan, held_out=held_out).history
        error[seed] = history["test_error"][-1] if history else np.nan
    return {
        "opposite_cosine": variable(
            "start", cosine, "Xie and Seung: largest cosine with the gradient at the start"
        ),
        "opposite_test_error": variable(
            "start", error, "Xie and Seung: errors on the test images", "%"
        ),
    }


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
            Panel(
                "predictive coding", "steps with fixed predictions", "distance from the gradient",
                _arriving(dataset), log="xy",
            ),
        ],
        columns=2,
        question="Which rules descend the cost, and what do they reach with the same budget?",
        see="One point a seed. EP: equilibrium propagation (+: nudged to the target alone; cont.: "
        "weights move with the states; asym.: corrected for directions that differ). KP: Kolen and "
        "Pollack's rule. d: lines are the share that the binomial law leaves; zero divergence has "
        "the gradient itself.",
    )  # fmt: skip


def _apart(dataset: xr.Dataset) -> list[Series]:
    """Return errors against cosines of directions that begin apart, one point a seed."""
    apart = dataset[["apart_test_error", "apart_cosine"]].rename(
        apart_test_error="test_error", apart_cosine="cosine", apart_rule="rule"
    )
    return _reached(apart, list(APART))


def _arriving(dataset: xr.Dataset) -> list[Series]:
    """Return how fixed predictions come to the gradient, layer by layer."""
    from ctebm.figures.panels import against_theory

    return [
        one
        for i, depth in enumerate(dataset.depth.values)
        for one in against_theory(
            dataset.step.values, dataset.fixed_law.sel(depth=depth),
            dataset.fixed_off.sel(depth=depth).mean("start"), f"depth {depth}", colour=i,
        )
    ]  # fmt: skip


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
    for word in dataset.predictive_rule.values:
        error = dataset.predictive_test_error.sel(predictive_rule=word)
        note = f"+- {_interval(error.values)[1]:.2g}"
        out.append(
            Verdict.reported(f"{word}, predictive coding: test error, %", error.mean(), note)
        )
    off = abs(dataset.fixed_off - dataset.fixed_law)
    return [
        *out,
        Verdict.at_most(
            "zero divergence: distance from the gradient", largest(dataset.zero_off), EQUAL
        ),
        Verdict.at_most(
            "fixed predictions: distance from the gradient, off the binomial law", largest(off),
            EQUAL,
        ),
        Verdict.at_most(
            "xie-seung: largest cosine with the gradient at the start",
            largest(dataset.opposite_cosine), 0.0,
        ),
        Verdict.reported("xie-seung: test error, %", dataset.opposite_test_error.mean()),
    ]  # fmt: skip


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
