"""How many equilibria has a layered network, of which kind, and how stiff are they?

Digits are clamped to the input of a layered network at every gain, for a hard and two smooth
nonlinearities. From many starts each image settles; the distinct stable equilibria, the share of
pinned units, both ends of the spectrum and the limit of Euler's step are recorded. On one image
plain Euler's chattering around the kinks is set beside the projected step (F2 of the theory page).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ImageSettings, gains_to_compare
from ctebm.study.problem import study_images
from ctebm.study.record import TAU, labelled, stacked
from ctebm.study.trained import activation_names, trained_network
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm
    from ctebm.study.images import Images

N_CHATTER, N_LATE = 400, 50  # steps of the Euler runs, and those at their end that are judged
SAME_STATE, SAME_ENERGY = 1e-5, 1e-7  # far above the tolerance, far below distances of equilibria
OPEN_RATES = (0.01, 0.99)  # of all activations, so that equilibria are those of the same images


@dataclass(frozen=True)
class Settings(ImageSettings):
    """How many equilibria has a layered network, of which kind, and how stiff are they?"""

    example = "--gain 0.5 1 2 --n-starts 64 --out results/many_starts"

    gain: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    activations: tuple[str, ...] = ("hard-sigmoid", "smooth-hard-sigmoid", "logistic")
    """Rates to compare: hard-sigmoid[:lower=-0.5], logistic[:gain=4], tanh or
    smooth-hard-sigmoid[:lower=-0.5,width=0.1]."""
    sizes: tuple[int, ...] = (64, 32, 32, 10)
    """Units of each layer, input first."""
    n_starts: int = 16
    """Random starts for each image."""
    eps: tuple[float, ...] = (0.2, 0.1, 0.05)
    """Step sizes of the plain and the projected Euler runs, in membrane time constants."""
    tol: float = 1e-10
    """Largest force at an equilibrium."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.activations:
            study.check_activation(name)
        study.check_eps(self.eps)
        if self.weights is None and not any(a.startswith("hard") for a in self.activations):
            reason = "Euler chatters at kinks alone; add hard-sigmoid, or leave it out"
            study.refuse_ignored(self, ["eps"], reason)
        study.check_layers(self.sizes)
        study.check_positive("--gain", self.gain)
        study.check_positive("--n-starts", self.n_starts)
        study.check_positive("--tol", self.tol)


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    images, rows, chatter = study_images(settings), [], None
    for name in progress(activation_names(settings, settings.activations), "nonlinearities"):
        row = []
        for gain in gains_to_compare(settings, settings.gain):
            whole, x = _network(settings, images, name, gain)
            network = whole.clamp({"x": x})
            points = _settled(settings, network)
            lowest = _lowest(points)
            row.append(_measured(network, points, lowest))
            if chatter is None and bool(row[-1]["pinned_share"][0] > 0):
                chatter = _chatter(whole.clamp({"x": x[0]}), lowest[0], settings)
        rows.append(stacked(row))
    return _recorded(settings, images, stacked(rows), chatter)


def _network(
    settings: Settings, images: Images, name: str, gain: float
) -> tuple[ctebm.LayeredNetwork, Tensor]:
    """Return a network and the states of its input."""
    import torch

    import ctebm

    dtype = getattr(torch, settings.dtype)
    rates = torch.as_tensor(images.input, dtype=dtype)
    whole = trained_network(settings.weights, images, dtype)
    if whole is None or not whole.activation.kinks:
        rates = rates.clamp(*OPEN_RATES)
    if whole is None:
        images.check_sizes(settings.sizes, "make them equal")
        whole = ctebm.LayeredNetwork.random(
            settings.sizes, study.parse_activation(name), gain=gain, seed=settings.seed, dtype=dtype
        ).centred({"x": rates.mean(0)})
    return whole.to(device=settings.device), whole.state(rates)


def _settled(settings: Settings, network: ctebm.LayeredNetwork) -> ctebm.FixedPoints:
    """Return where each image settles from each start, ``(start, sample)``."""
    import numpy as np

    import ctebm

    shape = (settings.n_starts, 1, network.bias.shape[-1])
    places = np.random.default_rng(settings.seed).uniform(size=shape)
    low, high = network.activation.box or (-0.5, 0.5)
    return ctebm.settle(network, low + (high - low) * places, tol=settings.tol)


def _lowest(points: ctebm.FixedPoints) -> Tensor:
    """Return each sample's state of lowest energy."""
    best = points.energy.argmin(0)
    return points.state.movedim(1, 0)[range(len(best)), best]


def _measured(
    network: ctebm.LayeredNetwork, points: ctebm.FixedPoints, lowest: Tensor
) -> dict[str, Tensor]:
    """Return what is known of each sample's equilibria, and of the one of lowest energy."""
    import ctebm

    linear = ctebm.linearize(network, lowest)
    found = {
        "n_stable": _distinct(points.state, points.energy),
        "pinned_share": linear.pinned.double().mean(-1),
        "lambda_min": linear.lambda_min,
        "lambda_max": linear.lambda_max,
        "eps_max": linear.eps_max,
        "margin": linear.margin,
        "residual": points.residual.amax(0),
        "converged_share": points.converged.double().mean(0),
        "iterations": points.iterations.double().mean(0),
    }
    return {name: values.double().cpu() for name, values in found.items()}


def _distinct(state: Tensor, energy: Tensor) -> Tensor:
    """Count different states, ``(start, sample, unit)``, by infinity norm and energy."""
    import torch

    counts = []
    for s, E in zip(state.movedim(1, 0), energy.movedim(1, 0), strict=True):
        near = torch.cdist(s, s, p=float("inf")) < SAME_STATE
        near &= (E[:, None] - E).abs() < SAME_ENERGY
        first = torch.arange(len(s), device=s.device)
        counts.append((near.int().argmax(1) == first).sum())
    return torch.stack(counts)


def _chatter(
    network: ctebm.LayeredNetwork, rest: Tensor, settings: Settings
) -> dict[str, np.ndarray]:
    """Return the distance from the equilibrium of plain and projected Euler runs (F2)."""
    import numpy as np
    import torch

    import ctebm

    assert network.box is not None
    nearby = rest + 0.05 * torch.cos(torch.arange(len(rest), dtype=rest.dtype)).to(rest)
    start, dynamics = network.box.project(nearby), ctebm.Dynamics(network)

    def distance(eps: float, projected: bool) -> np.ndarray:
        path = ctebm.simulate(dynamics, start, n_steps=N_CHATTER, eps=eps, projected=projected)
        return (path.state - rest).abs().amax(-1).cpu().numpy()

    return {
        kind: np.stack([distance(eps, kind == "projected") for eps in settings.eps])
        for kind in ("plain", "projected")
    }


def _recorded(
    settings: Settings,
    images: Images,
    found: dict[str, Tensor],
    chatter: dict[str, np.ndarray] | None,
) -> xr.Dataset:
    dims = ("activation", "gain", "sample")
    texts = {
        "n_stable": ("distinct stable equilibria found",),
        "pinned_share": ("share of pinned units",),
        "lambda_min": ("smallest eigenvalue of the Hessian",),
        "lambda_max": ("largest eigenvalue of the Hessian",),
        "eps_max": ("limit of Euler's step", TAU),
        "margin": ("distance from losing or gaining a pinned unit",),
        "residual": ("largest force over the starts",),
        "converged_share": ("share of starts that converged",),
        "iterations": ("mean steps of a start",),
    }
    names = activation_names(settings, settings.activations)
    gains = gains_to_compare(settings, settings.gain)
    variables: dict[str, tuple] = {name: (dims, found[name], *text) for name, text in texts.items()}
    coords = {
        "activation": ("activation", names, "nonlinearity"),
        "gain": ("gain", gains, "gain of the Glorot weights, 1 for given ones"),
    }
    for kind, distance in (chatter or {}).items():
        text = f"distance from the equilibrium, {kind} Euler"
        variables[kind] = (("eps", "step"), distance, text)
        coords["eps"] = ("eps", settings.eps, "Euler's step", TAU)
    attrs = {"data": images.name, "tolerance": settings.tol, "n_starts": settings.n_starts}
    n_failed = int((found["converged_share"] < 1).sum())
    return labelled(variables, attrs | {"n_failed": n_failed}, coords)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.fixed_points import fixed_points_figure

    return fixed_points_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    free = ~(dataset.pinned_share >= 1)
    claim = "lowest eigenvalue of a settled state"
    out = [
        Verdict.at_least("share of starts that converged", smallest(dataset.converged_share), 1.0),
        Verdict.at_most("largest force", largest(dataset.residual), dataset.tolerance),
        Verdict.at_least(claim, smallest(dataset.lambda_min, free), 0.0)
        if free.any()
        else Verdict.no_case(claim, "all units are pinned in every one"),
    ]
    top = dataset.isel(gain=int(dataset.gain.values.argmax()))
    for a, name in enumerate(dataset.activation.values):
        one, at = top.isel(activation=a), "at the largest gain"
        out.append(Verdict.reported(f"{name}: equilibria {at}", one.n_stable.median()))
        if bool((one.pinned_share > 0).any()):
            share = one.pinned_share.mean()
            out.append(Verdict.reported(f"{name}: share of pinned units {at}", share))
    return out + _judge_chatter(dataset)


def _judge_chatter(dataset: xr.Dataset) -> list[Verdict]:
    """F2: plain Euler chatters by about eps, projected steps settle."""
    claims = (
        "plain Euler: chattering over eps, least", "plain Euler: chattering over eps, spread",
        "projected over plain Euler: distance at the end",
    )  # fmt: skip
    if "plain" not in dataset:
        why = "no unit of the first image is pinned"
        return [Verdict.no_case(claim, why) for claim in claims]
    late = dataset.isel(step=slice(-N_LATE, None))
    plain = late.plain.max("step", skipna=False)
    size = plain / dataset.eps
    longest = int(dataset.eps.values.argmax())
    end = late.projected.isel(eps=longest, step=-1) / plain.isel(eps=longest)
    return [
        Verdict.at_least(claims[0], smallest(size), 1e-3),
        Verdict.at_most(claims[1], largest(size) / smallest(size), 10),
        Verdict.at_most(claims[2], end, 1e-2),
    ]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
