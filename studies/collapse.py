"""Why does a naive deep run collapse, with nearly all hidden units pinned and dead?

Networks whose smallest Hessian eigenvalue at the centred state is set by scaling the weights above
the input, of several depths and with either of two lower kinks: first as they settle before they
learn anything, then through one epoch of plain stochastic gradient descent over eigenvalues and
rates, and with each cure by itself.

A step of the rate :math:`\\eta` moves the current of a unit of layer `k` by
:math:`\\eta\\,\\bar g_k (1 + |\\rho_{k+1}|^2)` in every sample alike, where the mean gradient
:math:`\\bar g_k` over samples does not vanish. This *push* carries whole layers to a kink, and a
hidden unit at a kink in every sample learns nothing more. Adam moves every weight by the rate,
whatever the gradient, and pushes by :math:`\\eta (1 + |\\rho_{k+1}|_1)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import dataset, reported

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm
    from ctebm.learning.trainer import Trainer
    from ctebm.study.images import Images

FALL = (1.0, 0.3, 0.1)  # of rates that fall upward, the last again above
KINKS = (-0.5, -0.1)
ADAM_RATE = 0.003
NAIVE, STABLE = -0.6, 0.4  # eigenvalues; Glorot weights of gain 0.7 have about -0.7 at depth 3


@dataclass(frozen=True)
class Settings(study.Settings):
    """Why does a naive deep run collapse, with nearly all hidden units pinned and dead?"""

    eigenvalues: tuple[float, ...] = (-0.6, -0.3, -0.1, 0.1, 0.4)
    """Smallest eigenvalues of the Hessian at the centred state."""
    depths: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of hidden layers, at the start."""
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)
    """Learning rates of every layer, in networks of three hidden layers."""
    rate: float = 0.1
    """Of the first layer in the naive run and its cures."""
    width: int = 128
    """Units in each hidden layer."""
    n_samples: int = 64
    """Images looked at before and after learning."""
    epochs: int = 1
    """Passes over the training images."""
    batch: int = 10
    """Images a step."""
    eps: float = 0.1
    """Step of the early phase."""
    data: Path | None = None
    """Images: IDX (.gz), npz, csv or netCDF, instead of scikit-learn's digits."""
    labels: Path | None = None
    """Labels of IDX images."""
    n_training: int | None = None
    """The first images only, of which a fifth is tested on; all by default."""

    def __post_init__(self) -> None:
        if len(set(self.eigenvalues)) < 3 or not all(-10 < e < 1 for e in self.eigenvalues):
            raise ValueError(
                f"--eigenvalues needs three or more below 1, got {self.eigenvalues}; 1 has no "
                "weights at all."
            )
        if not min(self.eigenvalues) < 0 < max(self.eigenvalues):
            raise ValueError(f"--eigenvalues needs some of either sign, got {self.eigenvalues}.")
        if len(set(self.rates)) < 2 or not all(
            0 < r < float("inf") for r in (*self.rates, self.rate)
        ):
            raise ValueError(f"--rates needs two or more rates > 0, --rate one, got {self.rates}.")
        if not self.depths or min(self.depths) < 1 or self.width < 2:
            raise ValueError("--depths needs 1 or more hidden layers, --width 2 or more units.")
        if min(self.epochs, self.batch, self.n_samples) < 1:
            raise ValueError("--epochs, --batch and --n-samples need 1 or more.")
        if not 0 < self.eps <= 1:
            raise ValueError(f"--eps needs a step 0 < eps <= 1, got {self.eps}.")


class Data(NamedTuple):
    """Rates and labels to learn from and to test on."""

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


class Case(NamedTuple):
    """A run: what differs from the naive one."""

    name: str
    lower: float = KINKS[0]
    eigenvalue: float = NAIVE
    depth: int = 3
    falling: bool = False
    early: bool = False
    push: bool = False  # rates at which layers are pushed as in the naive run
    adam: bool = False


CASES = (
    Case("naive"),
    Case("early rule", early=True),
    Case("lower kink -0.1", lower=KINKS[1]),
    Case("falling rates", falling=True),
    Case("stable weights", eigenvalue=STABLE),
    Case("stable, pushed as hard", eigenvalue=STABLE, push=True),
    Case("stable, falling", eigenvalue=STABLE, falling=True),
    Case("stable, kink -0.1", eigenvalue=STABLE, lower=KINKS[1]),
    Case("stable, Adam", eigenvalue=STABLE, adam=True),
    Case("stable, Adam, kink -0.1", eigenvalue=STABLE, lower=KINKS[1], adam=True),
    Case("one hidden layer", depth=1),
    Case("two hidden layers", depth=2),
    Case("four hidden layers", depth=4),
)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    data = _data(settings)
    shape = (len(KINKS), len(settings.depths), len(settings.eigenvalues))
    first = [
        _before(settings, data, _network(settings, data, lower, depth, value))
        for lower, depth, value in progress(
            [(k, d, e) for k in KINKS for d in settings.depths for e in settings.eigenvalues],
            "networks before learning",
        )
    ]
    trained = [
        _learn(settings, data, _network(settings, data, KINKS[0], 3, value), [rate] * 4)
        for value, rate in progress(
            [(e, r) for e in settings.eigenvalues for r in settings.rates], "eigenvalues and rates"
        )
    ]
    cases = [_case(settings, data, case) for case in progress(CASES, "cures")]
    grid, plane = ("lower", "depth", "eigenvalue"), ("eigenvalue", "rate")
    flat = (len(settings.eigenvalues), len(settings.rates))
    variables: dict[str, tuple] = {
        f"start_{name}": (grid, np.reshape([one[name] for one in first], shape), text)
        for name, text in _BEFORE.items()
    }
    for name, text in _AFTER.items():
        variables[name] = (plane, np.reshape([one[name] for one in trained], flat), text)
        variables[f"case_{name}"] = ("case", np.array([one[name] for one in cases]), text)
    return dataset(
        variables,
        {"data": data.name, "epochs": settings.epochs, "batch": settings.batch},
        {
            "lower": ("lower", np.array(KINKS), "lower kink"),
            "depth": ("depth", np.array(settings.depths), "hidden layers"),
            "eigenvalue": (
                "eigenvalue", np.array(settings.eigenvalues),
                "smallest eigenvalue of the Hessian at the centred state",
            ),
            "rate": ("rate", np.array(settings.rates), "learning rate"),
            "case": ("case", np.array([case.name for case in CASES]), "what differs"),
        },
    )  # fmt: skip


_BEFORE = {
    "hessian": "smallest eigenvalue on the free units at the settled states",
    "pinned": "share of hidden units held at a kink",
    "dead": "share of hidden units held at a kink in every sample",
    "margin": "distance of a unit from losing or gaining a kink, median",
    "crossed": "share of samples in which a unit meets or leaves a kink early on",
    "cosine": "smallest cosine of the early rule with the chain gradient",
    "linear": "share of the last hidden layer's rates that is linear in the input",
    "push": "shift of the last hidden layer's currents by a step of rate 1",
    "error": "errors on the test images",
}
_AFTER = {
    "pinned": "largest share of a hidden layer's units held at a kink",
    "dead": "largest share of a hidden layer's units held at a kink in every sample",
    "push": "shift of the last hidden layer's currents by the first step",
    "error_before": "errors on the test images before learning (%)",
    "error_after": "errors on the test images (%)",
    "eigenvalue_after": "smallest eigenvalue at the centred state after learning",
}


def _data(settings: Settings) -> Data:
    import torch
    from sklearn.model_selection import train_test_split

    from ctebm.study.images import load_images

    images: Images = load_images(settings.data, settings.labels, settings.n_training)
    try:
        parts = train_test_split(
            images.input, images.label, test_size=0.2, stratify=images.label, random_state=0
        )
    except ValueError as error:
        raise ValueError(
            f"{images.name} can't be split into a stratified fifth ({error})."
        ) from None
    x, x_test, label, label_test = map(torch.as_tensor, parts)
    if len(x) < settings.n_samples:
        raise ValueError(f"{images.name} leaves {len(x)} images; lower --n-samples.")
    return Data(images.name, (x, label), (x_test, label_test))


def _network(
    settings: Settings, data: Data, lower: float, depth: int, eigenvalue: float
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


def _before(settings: Settings, data: Data, net: ctebm.LayeredNetwork) -> dict[str, float]:
    """Look at a network as it settles before it learns."""
    import torch

    import ctebm
    from ctebm.learning.plan import Plan
    from ctebm.learning.trainer import Trainer

    trainer = Trainer(net, Plan(tol=1e-3, max_sweeps=60))
    seen, state = _look(settings, trainer, data)
    mean = {name: sum(seen[name]) / len(seen[name]) for name in ("pinned", "dead")}
    few = state[:8].double()
    exact = trainer.plastic.to(dtype=torch.float64).to_network()
    at = exact.clamp({"x": few[:, : len(net.biases[0])]})
    point = ctebm.linearize(at, ctebm.settle(at, few[:, len(net.biases[0]) :]).state)
    return mean | {
        "hessian": float(point.lambda_min.min()),
        "margin": float(point.margin.median()),
        "crossed": seen["crossed"],
        "cosine": seen["cosine"],
        "linear": _linear_share(net, data),
        "push": _push(net, data, [1.0] * (len(net.layers) - 1))[-1],
        "error": trainer.error(*_states(net, data.test)),
    }


def _look(settings: Settings, trainer: Trainer, data: Data) -> tuple[dict[str, Any], Tensor]:
    """Return what the kinks do to the first samples, layer by layer, and their settled states."""
    import torch

    import ctebm
    from ctebm.learning.probe import kink_shares

    x, label = (of[: settings.n_samples] for of in data.train)
    exact = trainer.plastic.to(dtype=torch.float64)
    rest = exact.settle(exact.activation.inverse(x.double()), tol=1e-9, max_sweeps=1000)
    target = trainer.targets[label].double()
    early, chain = ctebm.Early(eps=settings.eps), ctebm.Chain()
    mine, reference = (rule.gradient(exact, rest, target).weights for rule in (early, chain))
    cosines = [float((a * b).sum() / (a.norm() * b.norm()))
               for a, b in zip(mine, reference, strict=True)]  # fmt: skip
    return {
        **kink_shares(exact, rest, exact.drive(rest, target, eps=settings.eps)),
        "cosine": min(cosines),
    }, torch.cat(rest.states, -1)


def _states(net: ctebm.LayeredNetwork, samples: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return net.activation.inverse(samples[0].to(net.dtype)), samples[1]


def _linear_share(net: ctebm.LayeredNetwork, data: Data) -> float:
    """Return the share of the variance of the last hidden rates that the pixels explain."""
    import torch

    from ctebm.learning.plastic import PlasticNetwork

    rates = data.train[0][:1000].double()
    rest = PlasticNetwork(net).settle(net.activation.inverse(rates.to(net.dtype)), tol=1e-4)
    r = net.activation(rest.states[-2]).double()
    pixels = torch.cat([rates, torch.ones(len(rates), 1, dtype=rates.dtype)], 1)
    left = r - pixels @ torch.linalg.lstsq(pixels, r, driver="gelsd").solution
    return 1 - float(left.square().sum() / (r - r.mean(0)).square().sum())


def _push(
    net: ctebm.LayeredNetwork, data: Data, rates: Sequence[float], adam: bool = False
) -> list[float]:
    """Return how far a first step moves the current of a unit, in all samples alike.

    The root mean square over the units of each hidden layer, input side first.
    """
    from ctebm.learning.gradient_rules import Chain
    from ctebm.learning.plan import Plan
    from ctebm.learning.plastic import PlasticNetwork
    from ctebm.learning.trainer import Trainer

    plastic = PlasticNetwork(net)
    x, label = _states(net, (data.train[0][:256], data.train[1][:256]))
    rest = plastic.settle(x, tol=1e-4)
    step = Chain().gradient(plastic, rest, Trainer(net, Plan()).targets[label]).biases
    rho = [net.activation(s) for s in rest.states[:-1]]
    size = [1 + float((r if adam else r.square()).sum(-1).mean()) for r in rho]
    mean = [1.0 if adam else float(g.square().mean().sqrt()) for g in step]
    return [rate * n * g for rate, n, g in zip(rates, size, mean, strict=True)][:-1]


def _learn(
    settings: Settings, data: Data, net: ctebm.LayeredNetwork, rates: Sequence[float],
    early: bool = False, adam: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Train for the epochs of the settings."""
    import ctebm
    from ctebm.learning.initial_weights import smallest_curvature
    from ctebm.learning.plan import Plan
    from ctebm.learning.trainer import Trainer

    plan = Plan(
        rule=ctebm.Early(eps=settings.eps) if early else ctebm.Chain(), batch=settings.batch,
        rate=tuple(rates), optimizer="Adam" if adam else "SGD", tol=1e-3, max_sweeps=60,
        seed=settings.seed,
    )  # fmt: skip
    trainer = Trainer(net, plan)
    train, test = _states(net, data.train), _states(net, data.test)
    before = trainer.error(*test)
    for epoch in range(settings.epochs):
        trainer.epoch(epoch, train, None)
    seen, _ = _look(settings, trainer, data)
    return {
        "pinned": max(seen["pinned"]),
        "dead": max(seen["dead"]),
        "push": _push(net, data, rates, adam)[-1],
        "error_before": before,
        "error_after": trainer.error(*test),
        "eigenvalue_after": smallest_curvature(trainer.plastic.to_network()),
    }


def _case(settings: Settings, data: Data, case: Case) -> dict[str, float]:
    n = case.depth + 1
    net = _network(settings, data, case.lower, case.depth, case.eigenvalue)
    fall = [*FALL, *FALL[-1:] * n][:n] if case.falling else [1.0] * n
    rates = [(ADAM_RATE if case.adam else settings.rate) * f for f in fall]
    if case.push:
        naive = _network(settings, data, KINKS[0], case.depth, NAIVE)
        factor = _push(naive, data, rates)[-1] / _push(net, data, rates)[-1]
        rates = [rate * factor for rate in rates[:-1]] + rates[-1:]
    return _learn(settings, data, net, rates, case.early, case.adam)


def draw(dataset: xr.Dataset) -> Figure:
    import numpy as np

    from ctebm.figures.panels import Panel, Series, panel_figure

    value = dataset.eigenvalue.values
    start = "smallest eigenvalue at the start"

    def by_depth(name: str, lower: float) -> list[Series]:
        one = dataset[f"start_{name}"].sel(lower=lower)
        return [
            Series(value, one.isel(depth=i), f"{int(d)} hidden", colour=i)
            for i, d in enumerate(dataset.depth.values)
        ]

    deepest = dataset.isel(depth=int(np.argmax(dataset.depth.values)))
    by_kink = {
        name: [
            Series(value, deepest[f"start_{name}"].isel(lower=i), f"lower kink {k:g}", colour=i)
            for i, k in enumerate(dataset.lower.values)
        ]
        for name in ("hessian", "linear")
    }
    by_kink["hessian"].append(Series(value, value, "centred state", line=True, colour=6))
    runs = [
        Series(dataset.push.sel(eigenvalue=e), dataset.dead.sel(eigenvalue=e), f"{e:g}", colour=i)
        for i, e in enumerate(value)
    ]
    level = dataset.push.sel(eigenvalue=value).values
    rate = dataset.rate.values
    field = (rate, value, dataset.dead.values, "dead share of the worst layer")
    return panel_figure(
        [
            Panel("before learning, lower kink -0.5", start, "share of hidden units pinned",
                  by_depth("pinned", -0.5)),
            Panel("before learning, lower kink -0.1", start, "share of hidden units pinned",
                  by_depth("pinned", -0.1)),
            Panel(f"{int(deepest.depth)} hidden layers, as settled", start,
                  "smallest eigenvalue, free units", by_kink["hessian"]),
            Panel("after an epoch, dashed: push 0.1", "learning rate of every layer", start,
                  log="x", field=field, contour=(rate, value, level, 0.1)),
            Panel("by eigenvalue at the start", "push of the last hidden layer by a step",
                  "dead share of the worst layer", runs, "x"),
            Panel(f"{int(deepest.depth)} hidden layers", start,
                  "last rates linear in the input, share", by_kink["linear"]),
        ]
    )  # fmt: skip


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    stable, fallen = dataset.eigenvalue > 0, dataset.eigenvalue < -0.2
    half = dataset.start_pinned.sel(lower=-0.5)
    for depth in dataset.depth.values:
        one = half.sel(depth=depth)
        claim = f"kink -0.5, {depth} hidden: pinned before learning,"
        out += [
            Verdict.at_most(f"{claim} eigenvalue > 0, share", one.where(stable).max(), 0.05),
            Verdict.at_least(f"{claim} eigenvalue < -0.2, share", one.where(fallen).min(), 0.1,
                             "few directions fall with one layer" if depth == 1 else "",
                             bool(depth > 1)),
        ]  # fmt: skip
    out += [
        Verdict.at_least("smallest eigenvalue on the free units, settled",
                         dataset.start_hessian.min(), 0, "the free part is always stable"),
        reported("smallest cosine of the early rule with the chain gradient at the start",
                 dataset.start_cosine.min()),
    ]  # fmt: skip
    for lower in dataset.lower.values:
        linear = dataset.start_linear.sel(lower=lower).where(stable)
        claim = f"kink {lower:g}, eigenvalue > 0: last rates linear in the input, least share"
        out.append(reported(claim, linear.min()))
    hard, soft = dataset.push > 0.2, dataset.push < 0.1
    deepest = dataset.start_push.sel(eigenvalue=dataset.eigenvalue.max()).isel(depth=-1)
    ratio = deepest.sel(lower=-0.5) / deepest.sel(lower=-0.1)
    out += [
        Verdict.at_least("pushed by > 0.2 a step: dead share, least",
                         dataset.dead.where(hard).min(), 0.5,
                         "" if hard.any() else "no run was; raise --rates", bool(hard.any())),
        Verdict.at_most("pushed by < 0.1 a step, eigenvalue > 0: dead share, largest",
                        dataset.dead.where(soft & stable).max(), 0.1),
        reported("pushed by < 0.1 a step, eigenvalue < -0.2: dead share, largest",
                 dataset.dead.where(soft & fallen).max()),
        reported("push of the same rate: lower kink -0.5 over -0.1, most stable", ratio),
    ]  # fmt: skip
    collapsed = {"naive": True, "early rule": True, "stable, pushed as hard": True,
                 "stable weights": False, "stable, falling": False}  # fmt: skip
    for name in dataset.case.values:
        one = dataset.sel(case=name)
        note = (
            f"error {float(one.case_error_after):.0f} %, push {float(one.case_push):.2g}, "
            f"pinned {float(one.case_pinned):.0%}"
        )
        claim = f"{name}: dead share of the worst layer"
        if name not in collapsed or (collapsed[name] and one.case_push < 0.2):
            out.append(reported(claim, one.case_dead, note))
        elif collapsed[name]:
            out.append(Verdict.at_least(claim, one.case_dead, 0.9, note))
        else:
            out.append(Verdict.at_most(claim, one.case_dead, 0.1, note))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
