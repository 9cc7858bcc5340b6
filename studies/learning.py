"""Does the rule of eq. 26, read in the first moments, learn as back-propagation does?

A layered network settles on images, its output is driven towards the class (eq. 12), and weights
change by the rate of change behind the synapse times the rate before it (eq. 26). Beside it, a
feed-forward network of the same weights learns by back-propagation, written plainly in torch, on
the same batches with the same optimiser and rates.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    import ctebm
    from ctebm.networks.layered import LayeredField
    from ctebm.study.images import Images

RULES = Literal[
    "early", "early-with-slope", "symmetric", "presynaptic", "xie-seung",
    "equilibrium-propagation", "equilibrium-propagation-one-sided",
    "equilibrium-propagation-asymmetric", "equilibrium-propagation-continual", "coupled",
    "contrastive", "kolen-pollack", "jacobian-homeostasis", "chain", "chain-feedback", "implicit",
    "through-time",
]  # fmt: skip
WITHOUT_EPS = (
    "equilibrium-propagation", "equilibrium-propagation-one-sided",
    "equilibrium-propagation-asymmetric", "coupled", "contrastive", "kolen-pollack",
    "jacobian-homeostasis", "chain", "chain-feedback", "implicit",
)  # fmt: skip


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does the rule of eq. 26, read in the first moments, learn as back-propagation does?"""

    example = "--rule equilibrium-propagation --epochs 10 --out results/ep"

    rule: RULES = "early"
    """Rule that the weights follow."""
    eps: float = 0.1
    """Step size of the early phase, in membrane time constants."""
    n_steps: int | None = None
    """Steps of the early phase; by default each layer is read at its own first arrival."""
    sizes: tuple[int, ...] = (64, 64, 10)
    """Units of each layer, input first."""
    activation: str = "hard-sigmoid:lower=-0.1"
    """Rate of a unit: hard-sigmoid[:lower=-0.5], logistic[:gain=4], tanh or
    smooth-hard-sigmoid[:lower=-0.5,width=0.1]."""
    gain: float = 0.3
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    stability: float = 0.4
    """Smallest eigenvalue of the Hessian at the centred start, which scales the weights above
    the input down."""
    epochs: int = 30
    """Passes over the training images."""
    batch: int = 20
    """Images in a step of the optimiser."""
    rate: tuple[float, ...] = (3e-3,)
    """Learning rate, or one for each pair of neighbouring layers, input first."""
    decay: float = 0.9
    """Factor of the rates from epoch to epoch."""
    optimizer: str = "Adam"
    """Name of a class of torch.optim."""
    weight_decay: float = 0.0
    """Weight decay of the optimiser."""
    targets: tuple[float, float] = (0.1, 0.9)
    """Rates of the output that stand for another class and for this one; the closer they are, the
    weaker the feedback."""
    tol: float = 1e-4
    """Largest residual of an equilibrium."""
    warm: bool = False
    """Start from the equilibria of the epoch before."""
    separate: bool = False
    """Let the weights of the two directions learn separately."""
    angle: float = 0.0
    """Angle in degrees between the two directions at the start; for --separate only."""
    validate: bool = False
    """Judge by a stratified sixth of the training images, which are not learned from, and leave
    the test images alone; for choosing settings."""
    patience: int | None = None
    """Stop after so many epochs without a smaller error; for --validate only."""
    back_propagation: bool = True
    """Train the feed-forward network too."""
    allowance: float = 0.5
    """Percentage points by which the test error may exceed that of back-propagation."""
    max_error: float = 3.0
    """Test error that must be reached, in per cent."""
    data: Path | None = None
    """File of images (IDX, also .gz; npz, csv or netCDF) in place of scikit-learn's digits."""
    labels: Path | None = None
    """File of the labels, if the images are IDX."""
    test_data: Path | None = None
    """File of images to test on; without it a stratified fifth of the data is set aside."""
    test_labels: Path | None = None
    """File of the labels, if the images to test on are IDX."""
    n_images: int | None = None
    """Images to learn from, drawn at random; by default all."""
    checkpoint: Path | None = None
    """File to resume from if it is there, and to write after every epoch."""

    def __post_init__(self) -> None:
        study.check_activation(self.activation)
        study.check_layers(self.sizes)
        study.check_eps(self.eps)
        study.check_positive("--gain", self.gain)
        if len(self.rate) not in (1, len(self.sizes) - 1):
            raise ValueError(
                f"--rate needs 1 or {len(self.sizes) - 1} values, got {len(self.rate)}."
            )
        if self.epochs < 1:
            raise ValueError(f"--epochs needs 1 or more, got {self.epochs}.")
        if self.batch < 1:
            raise ValueError(f"--batch needs 1 or more, got {self.batch}.")
        if self.n_steps is not None and self.n_steps < 1:
            raise ValueError(f"--n-steps needs 1 or more, got {self.n_steps}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"--decay needs 0 < value <= 1, got {self.decay}.")
        study.check_positive("--rate", self.rate)
        study.check_positive("--tol", self.tol)
        self._refuse_ignored()
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"--weight-decay needs 0 <= value < 1, got {self.weight_decay}.")
        if self.angle and not self.separate:
            raise ValueError("--angle parts the two directions; give --separate too.")
        if not 0 <= self.angle <= 180:
            raise ValueError(f"--angle needs 0 to 180 degrees, got {self.angle}.")
        if not 0 <= self.targets[0] < self.targets[1] <= 1:
            raise ValueError(f"--targets needs 0 <= low < high <= 1, got {self.targets}.")
        if self.n_images is not None and self.n_images < 1:
            raise ValueError(f"--n-images needs 1 or more, got {self.n_images}.")
        if self.patience is not None and not self.validate:
            raise ValueError("--patience must not look at the images to test on; give --validate.")
        if self.test_labels is not None and self.test_data is None:
            raise ValueError("--test-labels was given without --test-data.")

    def _refuse_ignored(self) -> None:
        """Refuse what the rule, or a run without back-propagation, would not read."""
        if self.rule in WITHOUT_EPS:
            reason = f"--rule {self.rule} takes no steps; leave it out"
            study.refuse_ignored(self, ["eps", "n_steps"], reason)
        if not self.back_propagation:
            reason = (
                "--no-back-propagation leaves nothing to compare with; leave one of the two out"
            )
            study.refuse_ignored(self, ["allowance"], reason)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm

    train, test, note = _samples(settings)
    network, plan = _network(settings, train), _plan(settings)
    found = ctebm.train(
        network, train.input, train.label, plan,
        held_out=(test.input, test.label),
        checkpoint=settings.checkpoint,
        progress=progress,
        report=_say,
    )  # fmt: skip
    dataset = found.to_dataset()
    if settings.back_propagation:
        _add_back_propagation(dataset, settings, network, plan, train, test)
    dataset.attrs |= {
        "data": train.name, "data_note": note, "validated": int(settings.validate),
        "n_failed": int(bool(found.message)),
        "allowance": settings.allowance, "max_error": settings.max_error,
    }  # fmt: skip
    if found.message:
        print(found.message)
    return dataset


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _add_back_propagation(
    dataset: xr.Dataset,
    settings: Settings,
    network: LayeredField,
    plan: ctebm.Plan,
    train: Images,
    test: Images,
) -> None:
    """Put errors and times of the feed-forward network beside those of the rule."""
    import torch

    from ctebm.dataset import variable
    from ctebm.study.back_propagation import back_propagation

    errors = back_propagation(
        network, plan, (train.input, train.label), (test.input, test.label),
        getattr(torch, settings.dtype), _say,
    )  # fmt: skip
    for name, values in errors.items():
        units = "s" if "seconds" in name else "%"
        dataset[name] = variable("bp_epoch", values, name.replace("_", " "), units)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.learning import learning_figure

    return learning_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    if "test_error" not in dataset:
        return [Verdict.at_least("epochs without blowing up", 0, 1, str(dataset.message.values))]
    last = dataset.isel(epoch=-1)
    mine = float(last.test_error)
    error = "validation error" if dataset.validated else "test error"
    out = [Verdict.at_most(f"{error} (%)", mine, dataset.max_error, str(dataset.status.values))]
    if "bp_test_error" in dataset:
        theirs = float(dataset.bp_test_error[-1])
        out.append(Verdict.at_most(
            f"{error} beyond back-propagation's (points)", mine - theirs, dataset.allowance,
            f"back-propagation {theirs:.2f} %",
        ))  # fmt: skip
    out += [
        Verdict.reported("share of batches not settled", largest(dataset.unsettled),
                         f"{float(dataset.sweeps.mean()):.1f} sweeps a sample"),
    ]  # fmt: skip
    early = str(dataset.rule.values).startswith("Early(")
    for reference in ["chain"] if bool(dataset.tied) else ["chain_feedback", "chain"]:
        by = " by the feedback weights" if reference == "chain_feedback" else ""
        out.append(Verdict.at_least(
            f"smallest cosine with the chain gradient{by}",
            smallest(last.alignment.sel(reference=reference)), 0.99,
            f"{float(last.crossed):.0%} of runs meet a kink",
            must_hold=early and (bool(dataset.tied) or reference == "chain_feedback"),
        ))  # fmt: skip
    if "bp_seconds" in dataset:
        ratio = dataset.seconds.median() / dataset.bp_seconds.median()
        out.append(Verdict.reported("time for an epoch / back-propagation's", ratio))
    return out


def _samples(settings: Settings) -> tuple[Images, Images, str]:
    """Return the images to learn from and to judge by, and how they were chosen."""
    from ctebm.study.images import load_images, split_images
    from ctebm.study.problem import reachable

    train = load_images(settings.data, settings.labels)
    if settings.test_data is None:
        train, test = split_images(train, 0.2)
        note = f"{train.note}; a stratified fifth is set aside to test on"
    else:
        test = load_images(settings.test_data, settings.test_labels)
        note = f"{train.note}; tested on {test.name}"
    if settings.validate:
        train, test = split_images(train, 1 / 6)
        note += ", which is not used: judged by a stratified sixth of the others"
    if settings.n_images is not None:
        train = _some(train, settings.n_images)
        note += f"; {settings.n_images} of them, drawn at random, are learned from"
    rho = study.parse_activation(settings.activation)
    rates, reached = zip(*(reachable(part.input, rho) for part in (train, test)), strict=True)
    train, test = (
        dataclasses.replace(part, input=r) for part, r in zip((train, test), rates, strict=True)
    )
    return train, test, f"{note}; {reached[0]}"


def _some(images: Images, n: int) -> Images:
    """Return some images, the same for every seed."""
    import numpy as np

    if n > len(images.label):
        raise ValueError(f"--n-images needs at most {len(images.label)} here, got {n}.")
    chosen = np.random.default_rng(0).permutation(len(images.label))[:n]
    return dataclasses.replace(images, input=images.input[chosen], label=images.label[chosen])


def _network(settings: Settings, train: Images) -> LayeredField:
    import torch

    import ctebm

    if settings.sizes[0] != train.input.shape[1]:
        raise ValueError(
            f"{train.name} has {train.input.shape[1]} pixels, --sizes begins with "
            f"{settings.sizes[0]}; make them equal."
        )
    activation = study.parse_activation(settings.activation)
    network = ctebm.LayeredNetwork.random(
        settings.sizes, activation, gain=settings.gain, seed=settings.seed,
        dtype=getattr(torch, settings.dtype),
    )  # fmt: skip
    weak = ctebm.weakly_coupled(network, settings.stability)
    if settings.separate:
        weak = ctebm.FeedbackNetwork.at_angle(weak, settings.angle, settings.seed)
    return weak.centred({"x": train.input.mean(0)}).to(device=settings.device)


def _plan(settings: Settings) -> ctebm.Plan:
    import ctebm
    from ctebm.learning.plan import RULES

    rule = RULES[settings.rule]()
    if hasattr(rule, "eps"):
        # what has the field is a dataclass that has it
        rule = dataclasses.replace(rule, eps=settings.eps)  # pyright: ignore[reportArgumentType]
    if settings.n_steps is not None and hasattr(rule, "n_steps"):
        rule = dataclasses.replace(rule, n_steps=settings.n_steps)  # pyright: ignore[reportArgumentType]
    options: dict[str, bool | float] = {}
    if settings.weight_decay:
        options["weight_decay"] = settings.weight_decay
    if settings.optimizer in ("Adam", "AdamW", "SGD"):
        options["fused"] = True
    return ctebm.Plan(
        rule=rule, epochs=settings.epochs, batch=settings.batch, rate=settings.rate,
        decay=settings.decay, optimizer=settings.optimizer, tol=settings.tol, warm=settings.warm,
        options=options, low=settings.targets[0], high=settings.targets[1],
        tied=not settings.separate, patience=settings.patience, seed=settings.seed,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
