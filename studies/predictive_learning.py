"""Predictive coding learned by the early rule, beside back-propagation of the same perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ctebm import study
from ctebm.dataset import variable
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm

TOL = {"float64": 1e-12, "float32": 1e-6}  # residual of a forward pass, above its rounding
EQUAL = {"float64": 1e-12, "float32": 1e-6}  # largest distance of weights that are the same
LARGE = 0.1  # steps from which weights are the same
LOW, HIGH = 0.1, 0.9  # output states of another class and of this one


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does the early rule of predictive coding learn as back-propagation does?"""

    sizes: tuple[int, ...] = (64, 64, 10)
    """Units in each layer, input first."""

    epochs: int = 10
    """Passes over the images that are learned from."""

    n_seeds: int = 3
    """Networks and orders of samples."""

    rate: float = 0.003
    """Learning rate of Adam."""

    batch: int = 20
    """Images a step."""

    eps: float = 0.1
    """Step size of the early phase."""

    compared_eps: tuple[float, ...] = (1.0, 0.5, 0.1, 0.02, 0.004, 0.0008)
    """Step sizes at which weights are held against those of back-propagation."""

    n_compared: int = 200
    """Images of which the weights are held against those of back-propagation."""

    compared_epochs: int = 5
    """Passes over these."""

    allowance: float = 0.3
    """Difference of mean test errors that is allowed, in per cent."""

    def __post_init__(self) -> None:
        reason = "all is float64 or float32, as its results say, on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        for eps in (self.eps, *self.compared_eps):
            study.check_eps(eps)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import torch

    from ctebm.study.images import load_images, split_images

    train, test = split_images(load_images(), 0.2)
    mine, theirs = (np.empty(settings.n_seeds) for _ in range(2))
    for seed in progress(range(settings.n_seeds), "seeds"):
        mine[seed], theirs[seed], _ = _both(
            settings, seed, settings.eps, settings.epochs, torch.float64,
            (train.input, train.label), (test.input, test.label),
        )  # fmt: skip
    few = train.input[: settings.n_compared], train.label[: settings.n_compared]
    apart = np.empty((len(EQUAL), len(settings.compared_eps)))
    runs = [(i, j) for i in range(len(EQUAL)) for j in range(len(settings.compared_eps))]
    for i, j in progress(runs, "step sizes"):
        dtype, eps = getattr(torch, list(EQUAL)[i]), settings.compared_eps[j]
        *_, apart[i, j] = _both(settings, 0, eps, settings.compared_epochs, dtype, few, few)
    return xr.Dataset(
        {
            "test_error": variable("start", mine, "errors on the test images", "%"),
            "bp_test_error": variable("start", theirs, "errors of back-propagation", "%"),
            "apart": variable(
                ("dtype", "compared_eps"), apart, "largest distance from back-propagated weights"
            ),
        },
        {
            "dtype": variable("dtype", list(EQUAL), "precision"),
            "compared_eps": variable(
                "compared_eps", settings.compared_eps, "step size", "membrane time constant"
            ),
            "allowance": variable((), settings.allowance, "difference that is allowed", "%"),
        },
    )


def _both(
    settings: Settings,
    seed: int,
    eps: float,
    epochs: int,
    dtype: torch.dtype,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float, float]:
    """Train both; return test errors in per cent, and how far their weights are apart."""
    import torch

    import ctebm

    start = ctebm.PredictiveNetwork.random(
        settings.sizes, ctebm.SignedTanh(), seed=seed, dtype=dtype
    )
    plan = ctebm.Plan(
        rule=ctebm.Early(eps=eps), epochs=epochs, batch=settings.batch, rate=settings.rate,
        seed=seed, tol=TOL[str(dtype).removeprefix("torch.")], low=LOW, high=HIGH,
    )  # fmt: skip
    found = ctebm.train(start, *train, plan, held_out=test).raise_for_status()
    assert isinstance(found.network, ctebm.PredictiveNetwork)
    W, b = _back_propagated(start, plan, *train)
    x, label = (torch.as_tensor(part) for part in test)
    wrong = _output(x.to(dtype), W, b).argmax(-1) != label
    mine = [*found.network.weights, *found.network.biases[1:]]
    apart = max(float((p - q).abs().max()) for p, q in zip(mine, (*W, *b), strict=True))
    return float(found.history["test_error"][-1]), 100 * float(wrong.double().mean()), apart


def _output(x: Tensor, W: list[Tensor], b: list[Tensor]) -> Tensor:
    for W_l, b_l in zip(W, b, strict=True):
        x = x.tanh() @ W_l + b_l
    return x


def _back_propagated(
    start: ctebm.PredictiveNetwork, plan: ctebm.Plan, rates: np.ndarray, labels: np.ndarray
) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and biases of the perceptron after the same steps, by torch alone."""
    import torch

    W, b = ([p.clone().requires_grad_() for p in ps] for ps in (start.weights, start.biases[1:]))
    adam = torch.optim.Adam([*W, *b], lr=float(np.max(plan.rate)))
    x, label = torch.as_tensor(rates).to(W[0].dtype), torch.as_tensor(labels)
    target = LOW + (HIGH - LOW) * torch.eye(W[-1].shape[1], dtype=x.dtype)[label]
    for epoch in range(plan.epochs):
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(x))
        for chosen in torch.as_tensor(order).split(plan.batch):
            adam.zero_grad()
            e = _output(x[chosen], W, b) - target[chosen]
            (e.square().sum() / (2 * len(chosen))).backward()
            adam.step()
    return [W_l.detach() for W_l in W], [b_l.detach() for b_l in b]


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    both = np.sort(dataset.bp_test_error.values)
    errors = [
        Series(dataset.bp_test_error, dataset.test_error, "a seed", colour=0),
        Series(both, both, "as back-propagation", colour=1, line=True),
    ]
    apart = [
        Series(dataset.compared_eps.values, dataset.apart.sel(dtype=dtype), str(dtype), colour=i)
        for i, dtype in enumerate(dataset.dtype.values)
    ]
    return panel_figure(
        [
            Panel("test errors", "back-propagation (%)", "early rule (%)", errors),
            Panel("weights", r"step size $\epsilon$", "largest distance", apart, log="xy"),
        ],
        question="Does the early rule of predictive coding learn as back-propagation does?",
        see="b: the largest distance of a weight from back-propagation's after a few epochs; it is "
        "rounding, which grows as the step shrinks.",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    mean, reference = float(dataset.test_error.mean()), float(dataset.bp_test_error.mean())
    out = [
        Verdict.reported("test error of the early rule, %", mean, f"beside {reference:.3g} %"),
        Verdict.at_most(
            "difference from back-propagation's test error, %", abs(mean - reference),
            float(dataset.allowance),
        ),
    ]  # fmt: skip
    for dtype in dataset.dtype.values:
        apart = dataset.apart.sel(dtype=dtype)
        out.append(
            Verdict.at_most(
                f"{dtype}: distance of weights, eps >= {LARGE:g}",
                largest(apart, dataset.compared_eps >= LARGE), EQUAL[str(dtype)],
            )
        )  # fmt: skip
        below = largest(apart, dataset.compared_eps < LARGE)
        out.append(Verdict.reported(f"{dtype}: distance of weights below", below))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
