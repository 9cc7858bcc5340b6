"""Why does a naive deep run collapse, with nearly all hidden units pinned and dead?

Networks whose smallest Hessian eigenvalue at the centred state is set by scaling the weights above
the input, of several depths and with either of two lower kinks: first as they settle before they
learn anything, then through one epoch of plain stochastic gradient descent over eigenvalues and
rates, and with each cure by itself. How a step pushes a layer is in
:mod:`ctebm.study.diagnostics`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.learning_runs import (
    AFTER,
    BEFORE,
    Split,
    after_learning,
    before_learning,
    last_push,
    split,
)
from ctebm.study.record import labelled
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

    import ctebm

FALL = (1.0, 0.3, 0.1)  # of rates that fall upward, the last again above
KINKS = (-0.5, -0.1)
ADAM_RATE = 0.003
HARD, SOFT = 0.2, 0.1  # pushes that kill a layer, and that do no harm
FALLEN = -0.2  # an eigenvalue at which a network has fallen to the kinks
Rows = list[dict[str, float]]
NAIVE, STABLE = -0.6, 0.4  # eigenvalues; Glorot weights of gain 0.7 have about -0.7 at depth 3


@dataclass(frozen=True)
class Settings(study.Settings):
    """Why does a naive deep run collapse, with nearly all hidden units pinned and dead?"""

    example = "--width 256 --depths 1 3 --out results/wide"

    eigenvalues: tuple[float, ...] = (-0.6, -0.3, -0.1, 0.1, 0.4)
    """Smallest eigenvalues of the Hessian at the centred state."""
    depths: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of hidden layers, at the start."""
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)
    """Learning rates of every layer, in networks of three hidden layers."""
    rate: float = 0.1
    """Learning rate of the first layer in the naive run and its cures."""
    width: int = 128
    """Units in each hidden layer."""
    n_samples: int = 64
    """Number of images that are looked at before and after learning."""
    epochs: int = 1
    """Passes over the training images."""
    batch: int = 10
    """Images in a step of the optimiser."""
    eps: float = 0.1
    """Step size of the early phase, in membrane time constants."""
    data: Path | None = None
    """File of images (IDX, also .gz; npz, csv or netCDF) in place of scikit-learn's digits."""
    labels: Path | None = None
    """File of the labels, if the images are IDX."""
    n_training: int | None = None
    """Number of images; the first of the data are taken, all without this, and a fifth is set
    aside to test on."""

    def __post_init__(self) -> None:
        if len(set(self.eigenvalues)) < 3 or not all(-10 < e < 1 for e in self.eigenvalues):
            raise ValueError(
                f"--eigenvalues needs three or more below 1, got {self.eigenvalues}; 1 has no "
                "weights at all."
            )
        if not min(self.eigenvalues) < 0 < max(self.eigenvalues):
            raise ValueError(f"--eigenvalues needs some of either sign, got {self.eigenvalues}.")
        study.check_positive("--rate", self.rate)
        study.check_positive("--rates", self.rates)
        if len(set(self.rates)) < 2:
            raise ValueError(f"--rates needs two or more, got {self.rates}.")
        if not self.depths or min(self.depths) < 1 or self.width < 2:
            raise ValueError("--depths needs 1 or more hidden layers, --width 2 or more units.")
        if min(self.epochs, self.batch, self.n_samples) < 1:
            raise ValueError("--epochs, --batch and --n-samples need 1 or more.")
        if self.n_training is not None and self.n_training < 1:
            raise ValueError(f"--n-training needs 1 or more, got {self.n_training}.")
        study.check_eps(self.eps)


class Case(NamedTuple):
    """A run: what differs from the naive one, and whether it is expected to collapse."""

    name: str
    lower: float = KINKS[0]
    eigenvalue: float = NAIVE
    depth: int = 3
    falling: bool = False
    early: bool = False
    push: bool = False  # rates at which layers are pushed as in the naive run
    adam: bool = False
    collapses: bool | None = None  # None where nothing is claimed


CASES = (
    Case("naive", collapses=True),
    Case("early rule", early=True, collapses=True),
    Case("lower kink -0.1", lower=KINKS[1]),
    Case("falling rates", falling=True),
    Case("stable weights", eigenvalue=STABLE, collapses=False),
    Case("stable, pushed as hard", eigenvalue=STABLE, push=True, collapses=True),
    Case("stable, falling", eigenvalue=STABLE, falling=True, collapses=False),
    Case("stable, kink -0.1", eigenvalue=STABLE, lower=KINKS[1]),
    Case("stable, Adam", eigenvalue=STABLE, adam=True),
    Case("stable, Adam, kink -0.1", eigenvalue=STABLE, lower=KINKS[1], adam=True),
    Case("one hidden layer", depth=1),
    Case("two hidden layers", depth=2),
    Case("four hidden layers", depth=4),
)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    from ctebm.study.images import load_images

    images = load_images(settings.data, settings.labels, settings.n_training)
    data = split(images, settings.device)
    if len(data.train[0]) < settings.n_samples:
        raise ValueError(f"{data.name} leaves {len(data.train[0])} images; lower --n-samples.")
    grid = list(itertools.product(KINKS, settings.depths, settings.eigenvalues))
    plane = list(itertools.product(settings.eigenvalues, settings.rates))
    first = [
        before_learning(_network(settings, data, *at), data, settings.n_samples, settings.eps)
        for at in progress(grid, "networks before learning")
    ]
    trained = [
        _learn(settings, data, _network(settings, data, KINKS[0], 3, value), [rate] * 4)
        for value, rate in progress(plane, "eigenvalues and rates")
    ]
    cases = [_case(settings, data, case) for case in progress(CASES, "cures")]
    return _recorded(settings, data.name, first, trained, cases)


def _network(
    settings: Settings, data: Split, lower: float, depth: int, eigenvalue: float
) -> ctebm.LayeredNetwork:
    """Return Glorot weights, scaled above the input to the eigenvalue, with centred biases."""
    import torch

    import ctebm
    from ctebm.learning.initial_weights import smallest_curvature

    x, label = data.train
    sizes = (x.shape[1], *(settings.width,) * depth, int(label.max()) + 1)
    rho = ctebm.HardSigmoid(lower=lower)
    dtype = getattr(torch, settings.dtype)
    net = ctebm.LayeredNetwork.random(sizes, rho, gain=0.7, seed=settings.seed, dtype=dtype)
    first, *above = [W for W in net.weights if W is not None]
    scale = (1 - eigenvalue) / (1 - smallest_curvature(net))
    scaled = ctebm.LayeredNetwork(
        [first, *(W * scale for W in above)], net.biases, rho, dtype=dtype
    )
    return scaled.centred({"x": x.mean(0)}).to(device=settings.device)


def _learn(
    settings: Settings, data: Split, net: ctebm.LayeredNetwork, rates: Sequence[float],
    early: bool = False, adam: bool = False,
) -> dict[str, float]:  # fmt: skip
    import ctebm

    plan = ctebm.Plan(
        rule=ctebm.Early(eps=settings.eps) if early else ctebm.Chain(), batch=settings.batch,
        rate=tuple(rates), optimizer="Adam" if adam else "SGD", seed=settings.seed,
        epochs=settings.epochs,
    )  # fmt: skip
    return after_learning(net, data, settings.n_samples, settings.eps, plan)


def _case(settings: Settings, data: Split, case: Case) -> dict[str, float]:
    n = case.depth + 1
    net = _network(settings, data, case.lower, case.depth, case.eigenvalue)
    fall = [*FALL, *FALL[-1:] * n][:n] if case.falling else [1.0] * n
    rates = [(ADAM_RATE if case.adam else settings.rate) * f for f in fall]
    if case.push:
        naive = _network(settings, data, KINKS[0], case.depth, NAIVE)
        factor = last_push(naive, data, rates) / last_push(net, data, rates)
        rates = [rate * factor for rate in rates[:-1]] + rates[-1:]
    return _learn(settings, data, net, rates, case.early, case.adam)


def _recorded(settings: Settings, name: str, first: Rows, trained: Rows, cases: Rows) -> xr.Dataset:
    import numpy as np

    def table(rows: Rows, name: str, *shape: int) -> np.ndarray:
        return np.reshape([row[name] for row in rows], shape)

    n_eigenvalues, n_rates = len(settings.eigenvalues), len(settings.rates)
    shape = (len(KINKS), len(settings.depths), n_eigenvalues)
    start, plane = ("lower", "depth", "eigenvalue"), ("eigenvalue", "rate")
    variables: dict[str, tuple] = {
        f"start_{n}": (start, table(first, n, *shape), text) for n, text in BEFORE.items()
    }
    for n, text in AFTER.items():
        variables[n] = (plane, table(trained, n, n_eigenvalues, n_rates), text)
        variables[f"case_{n}"] = (("case",), table(cases, n, len(CASES)), text)
    eigenvalue = "smallest eigenvalue of the Hessian at the centred state"
    return labelled(
        variables,
        {"data": name, "epochs": settings.epochs, "batch": settings.batch},
        {
            "lower": ("lower", np.array(KINKS), "lower kink"),
            "depth": ("depth", np.array(settings.depths), "hidden layers"),
            "eigenvalue": ("eigenvalue", np.array(settings.eigenvalues), eigenvalue),
            "rate": ("rate", np.array(settings.rates), "learning rate"),
            "case": ("case", np.array([case.name for case in CASES]), "what differs"),
        },
    )


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.collapse import collapse_figure

    return collapse_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = _judge_start(dataset) + _judge_pushes(dataset)
    for case in CASES:
        out.append(_judge_case(case, dataset.sel(case=case.name)))
    return out


def _judge_start(dataset: xr.Dataset) -> list[Verdict]:
    """Above an eigenvalue of 0 a network rests between its kinks, below it falls to them."""
    out, stable = [], dataset.eigenvalue > 0
    fallen = dataset.eigenvalue < FALLEN
    for depth in dataset.depth.values:
        one = dataset.start_pinned.sel(lower=-0.5, depth=depth)
        claim = f"kink -0.5, {depth} hidden: pinned before learning, eigenvalue"
        few = "few directions fall with one layer" if depth == 1 else ""
        out += [
            Verdict.at_most(f"{claim} > 0, share", largest(one, stable), 0.05),
            Verdict.at_least(f"{claim} < -0.2, share", smallest(one, fallen), 0.1, few,
                             bool(depth > 1))
            if fallen.any() else Verdict.no_case(f"{claim} < -0.2, share", "give one below it"),
        ]  # fmt: skip
    claim = "smallest eigenvalue on the free units, settled"
    note = "the free part is always stable"
    out.append(Verdict.at_least(claim, smallest(dataset.start_hessian), 0, note))
    claim = "smallest cosine of the early rule with the chain gradient at the start"
    out.append(Verdict.reported(claim, dataset.start_cosine.min()))
    for lower in dataset.lower.values:
        linear = dataset.start_linear.sel(lower=lower).where(stable)
        claim = f"kink {lower:g}, eigenvalue > 0: last rates linear in the input, least share"
        out.append(Verdict.reported(claim, linear.min()))
    return out


def _judge_pushes(dataset: xr.Dataset) -> list[Verdict]:
    """A layer that a step pushes hard in all samples alike dies, one that is not lives."""
    push, dead, stable = dataset.push, dataset.dead, dataset.eigenvalue > 0
    hard, soft = ~(push <= HARD), ~(push >= SOFT)
    claims = (
        "first step pushes by > 0.2: dead share after the epoch, least",
        "first step pushes by < 0.1, eigenvalue > 0: dead share after it, largest",
    )
    least = dataset.start_push.isel(depth=int(dataset.depth.values.argmax()))
    least = least.sel(eigenvalue=dataset.eigenvalue.max())
    ratio = least.sel(lower=-0.5) / least.sel(lower=-0.1)
    fallen = dead.where(soft & (dataset.eigenvalue < FALLEN))
    return [
        Verdict.at_least(claims[0], smallest(dead, hard), 0.5)
        if hard.any() else Verdict.no_case(claims[0], "no run was; raise --rates"),
        Verdict.at_most(claims[1], largest(dead, soft & stable), 0.1)
        if (soft & stable).any() else Verdict.no_case(claims[1], "no run was; lower --rates"),
        Verdict.reported("first step pushes by < 0.1, eigenvalue < -0.2: the same",
                         fallen.max()),
        Verdict.reported("push of the same rate: lower kink -0.5 over -0.1, most stable", ratio),
    ]  # fmt: skip


def _judge_case(case: Case, one: xr.Dataset) -> Verdict:
    claim = f"{case.name}: dead share of the worst layer"
    note = (
        f"error {float(one.case_error_after):.0f} %, push {float(one.case_push):.2g}, "
        f"pinned {float(one.case_pinned):.0%}"
    )
    if case.collapses is None or (case.collapses and one.case_push < HARD):
        return Verdict.reported(claim, one.case_dead, note)
    if case.collapses:
        return Verdict.at_least(claim, one.case_dead, 0.9, note)
    return Verdict.at_most(claim, one.case_dead, 0.1, note)


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
