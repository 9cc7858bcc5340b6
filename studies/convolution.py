"""Do convolutions learn by eq. 26 as by back-propagation?

A network of convolutions, pooling and one coupling all to all (eq. 6) settles on images, its output
is driven towards the class, and each layer is read at its own first arrival. Beside it learns the
feed-forward network of the same kernels by back-propagation, written plainly in torch, on the same
batches with the same optimiser and rates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from matplotlib.figure import Figure

    import ctebm
    from ctebm.study.images import Images

LOWER = -0.1  # the lower kink: at rest a unit fires at 0.1
N_MEASURED = 500  # images by which the first kernels are scaled
TOGETHER = 500  # images that are tested at a time


@dataclass(frozen=True)
class Settings(study.Settings):
    """Do convolutions learn by eq. 26 as by back-propagation?"""

    example = "--channels 16 --epochs 6 --out results/convolution"

    channels: tuple[int, ...] = (8,)
    """Maps of each convolution."""
    kernel: int = 3
    """Rows and columns of the kernels."""
    spread: tuple[float, ...] = (0.3, 0.05)
    """Standard deviation of the currents of each layer at the start, over images; the smaller
    towards the output, the weaker the feedback."""
    targets: tuple[float, float] = (0.1, 0.3)
    """Rates of the output that stand for another class and for this one."""
    eps: float = 0.5
    """Step size of the early phase, in membrane time constants."""
    epochs: int = 4
    """Passes over the images."""
    batch: int = 20
    """Images in a step of the optimiser."""
    rate: tuple[float, ...] = (3e-3, 3e-3)
    """Learning rate of Adam, one a layer above the input."""
    decay: float = 0.7
    """Factor of the rates from epoch to epoch."""
    tol: float = 1e-3
    """Largest residual of an equilibrium."""
    allowance: float = 1.5
    """Percentage points by which the test error may exceed that of back-propagation."""
    n_images: int | None = None
    """Images to learn from, drawn at random; by default all."""
    data: Path | None = None
    """File of square images in place of scikit-learn's digits."""
    labels: Path | None = None
    """File of the labels, if the images are IDX."""
    test_data: Path | None = None
    """File of images to test on; without it a stratified fifth of the data is set aside."""
    test_labels: Path | None = None
    """File of the labels, if the images to test on are IDX."""

    def __post_init__(self) -> None:
        study.refuse_ignored(self, ["device"], "this study runs on the CPU")
        n = len(self.channels) + 1
        for name in ("spread", "rate"):
            if len(getattr(self, name)) != n:
                raise ValueError(
                    f"--{name} needs one value for each of the {n} layers above the input, got "
                    f"{len(getattr(self, name))}."
                )
            study.check_positive(f"--{name}", getattr(self, name))
        study.check_eps(self.eps)
        study.check_positive("--tol", self.tol)
        if self.epochs < 1 or self.batch < 1:
            raise ValueError("--epochs and --batch need 1 or more.")
        if not 0 <= self.targets[0] < self.targets[1] <= 1:
            raise ValueError(f"--targets needs 0 <= low < high <= 1, got {self.targets}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch
    import xarray as xr

    import ctebm
    from ctebm.dataset import variable

    train, test = _samples(settings)
    dtype = getattr(torch, settings.dtype)
    x, x_test = (torch.as_tensor(part.input, dtype=dtype) for part in (train, test))
    kernels, weight, biases = _start(settings, x, train.n_classes)
    network = _network(settings, kernels, weight, biases, x.shape[1])
    learned = list(ctebm.PlasticField(network).parameters)
    low, high = settings.targets
    plan = ctebm.Plan(
        rule=ctebm.Early(eps=settings.eps), epochs=settings.epochs, batch=settings.batch,
        rate=tuple(settings.rate[_layer(name, len(kernels))] for name in learned),
        decay=settings.decay, low=low, high=high, tol=settings.tol, seed=settings.seed,
        options={"fused": True},
    )  # fmt: skip
    found = ctebm.train(
        network, network.state(x), train.label, plan, progress=progress,
    ).raise_for_status()  # fmt: skip
    predicted = [found.predict(network.state(part)) for part in x_test.split(TOGETHER)]
    mine = 100 * float((torch.cat(predicted).numpy() != test.label).mean())
    model = _FeedForward(settings, [*kernels, weight], biases)
    for epoch in progress(range(settings.epochs), "back-propagation"):
        model.epoch(epoch, x, torch.as_tensor(train.label))
    with torch.no_grad():
        guessed = torch.cat([model.output(part).argmax(-1) for part in x_test.split(TOGETHER)])
    theirs = 100 * float(np.mean(guessed.numpy() != test.label))
    history = found.to_dataset()
    return xr.Dataset(
        {
            "test_error": variable("network", [mine, theirs], "errors on the test images", "%"),
            "train_error": variable(
                ("network", "epoch"), [history.train_error.values, model.errors],
                "errors while training", "%",
            ),
            "sweeps": variable("epoch", history.sweeps.values, "updates of every layer"),
        },
        {
            "network": variable("network", ["eq. 26", "back-propagation"], "what learns"),
            "epoch": variable("epoch", np.arange(1, settings.epochs + 1), "epoch"),
        },
        {"allowance": settings.allowance, "data": train.name},
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    curves = [
        Series(dataset.epoch.values, dataset.train_error.sel(network=name), str(name), colour=i)
        for i, name in enumerate(dataset.network.values)
    ]
    mine, theirs = (float(e) for e in dataset.test_error)
    return panel_figure(
        [Panel(f"convolutions on {dataset.data}", "epoch", "errors while training (%)", curves)],
        question="Do convolutions learn by eq. 26 as by back-propagation?",
        see=f"Errors on the test images in the end: {mine:.2f} % and {theirs:.2f} %.",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    mine, theirs = (float(e) for e in dataset.test_error)
    return [
        Verdict.reported("test error (%)", mine, f"back-propagation {theirs:.2f} %"),
        Verdict.at_most(
            "test error beyond back-propagation's (points)", mine - theirs, dataset.allowance
        ),
        Verdict.reported("sweeps of a batch", float(dataset.sweeps[-1])),
    ]


def _samples(settings: Settings) -> tuple[Images, Images]:
    import numpy as np

    from ctebm.study.images import load_images, split_images

    train = load_images(settings.data, settings.labels)
    if settings.test_data is None:
        train, test = split_images(train, 0.2)
    else:
        test = load_images(settings.test_data, settings.test_labels)
    n = settings.n_images
    if n is not None:
        if not 1 <= n <= len(train.label):
            raise ValueError(f"--n-images needs 1 to {len(train.label)} here, got {n}.")
        chosen = np.random.default_rng(0).permutation(len(train.label))[:n]
        train = dataclasses.replace(train, input=train.input[chosen], label=train.label[chosen])
    return train, test


def _layer(name: str, n_kernels: int) -> int:
    """Return the place above the input of the layer that a parameter drives, from 0."""
    word, i = name.split(".")
    return {"kernels": int(i), "weights": n_kernels, "biases": max(int(i) - 1, 0)}[word]


def _side(n_pixels: int) -> int:
    side = round(n_pixels**0.5)
    if side * side != n_pixels:
        raise ValueError(f"expected square images, got {n_pixels} pixels.")
    return side


def _sent(below: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    """Return what rates send up: averages over pairs of rows and columns, or all to all."""
    from torch.nn import functional as F

    return F.avg_pool2d(F.conv2d(below, W), 2) if W.ndim == 4 else below.flatten(1) @ W


def _rates(current: torch.Tensor) -> torch.Tensor:
    return current.clamp(LOWER, LOWER + 1) - LOWER


def _beside(current: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return current + (b.reshape(-1, 1, 1) if current.ndim == 4 else b)


def _start(
    settings: Settings, x: torch.Tensor, n_classes: int
) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    """Return kernels, weights and biases with which currents have mean 0 and the spread asked."""
    import ctebm

    side = _side(x.shape[1])
    drawn = ctebm.ConvolutionalNetwork.random(
        (1, side, side), settings.channels, settings.kernel, [n_classes],
        ctebm.HardSigmoid(lower=LOWER), seed=settings.seed, dtype=x.dtype,
    )  # fmt: skip
    r = x[:N_MEASURED].reshape(-1, 1, side, side)
    scaled, biases = [], []
    for W, spread in zip([*drawn.kernels, *drawn.weights], settings.spread, strict=True):
        over = (0, 2, 3) if W.ndim == 4 else (0,)
        factor = spread / _sent(r, W).std(over)
        scaled.append(W * (factor.reshape(-1, 1, 1, 1) if W.ndim == 4 else factor))
        current = _sent(r, scaled[-1])
        biases.append(-current.mean(over))
        r = _rates(_beside(current, biases[-1]))
    return scaled[:-1], scaled[-1], biases


def _network(
    settings: Settings,
    kernels: Sequence[torch.Tensor],
    weight: torch.Tensor,
    biases: Sequence[torch.Tensor],
    n_pixels: int,
) -> ctebm.ConvolutionalNetwork:
    """Return the network that settles, whose biases take away what comes back at rest."""
    import torch

    import ctebm

    def built(biases: Sequence[torch.Tensor]) -> ctebm.ConvolutionalNetwork:
        side = _side(n_pixels)
        return ctebm.ConvolutionalNetwork(
            kernels, [weight], [None, *biases], ctebm.HardSigmoid(lower=LOWER),
            shape=(1, side, side), dtype=weight.dtype,
        )  # fmt: skip

    silent = built([torch.zeros_like(b) for b in biases])
    names = list(silent.layers)
    own = [b.clone() for b in biases]
    for l in range(1, len(names) - 1):  # all at rate 0 but the layer above, which is at rest
        s = silent.kernels[0].new_full((silent.n_units or 0,), LOWER)
        s[silent.layers[names[l]]] = s[silent.layers[names[l + 1]]] = 0
        back = silent.layer_force(names[l], s)
        own[l - 1] -= back.reshape(len(own[l - 1]), -1).mean(-1)
    return built(own)


class _FeedForward:
    """The same couplings without what comes back, which learn by automatic differentiation."""

    def __init__(
        self, settings: Settings, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor]
    ) -> None:
        import torch

        self.settings = settings
        self.weights = [W.clone().requires_grad_() for W in weights]
        self.biases = [b.clone().requires_grad_() for b in biases]
        pairs = zip(self.weights, self.biases, settings.rate, strict=True)
        groups = [{"params": [W, b], "lr": rate} for W, b, rate in pairs]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.errors: list[float] = []

    def output(self, x: torch.Tensor) -> torch.Tensor:
        """Return the currents of the output at rates of pixels."""
        side = _side(x.shape[1])
        r = current = x.reshape(-1, 1, side, side)
        for W, b in zip(self.weights, self.biases, strict=True):
            current = _beside(_sent(r, W), b)
            r = _rates(current)
        return current

    def epoch(self, epoch: int, x: torch.Tensor, label: torch.Tensor) -> None:
        """Go through the images in the order in which the other network does."""
        import numpy as np
        import torch

        low, high = self.settings.targets
        eye = torch.eye(len(self.biases[-1]), dtype=x.dtype)
        targets = low + LOWER + (high - low) * eye
        for group, rate in zip(self.optimizer.param_groups, self.settings.rate, strict=True):
            group["lr"] = rate * self.settings.decay**epoch
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(x))
        wrong = 0
        for chosen in torch.as_tensor(order).split(self.settings.batch):
            y = self.output(x[chosen])
            wrong += int((y.detach().argmax(-1) != label[chosen]).sum())
            # at a kink the slope towards the target counts, which lies inside
            slope = (y.clamp(LOWER, LOWER + 1) - targets[label[chosen]]).detach()
            (slope * y).sum().div(len(chosen)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.errors.append(100 * wrong / len(x))


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
