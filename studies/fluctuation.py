"""Can gradients be read from spontaneous activity, with no target shown?

Near equilibrium the response to a small constant force is in the fluctuations without it (N7). With
the force of a nudge on the output, that response is the back-propagated gradient times a_k(n). So a
network that only fluctuates tells its gradients: how well, after how long, and by which formula?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ExactSettings
from ctebm.study.problem import images_problem
from ctebm.study.record import TAU, labelled, stacked
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctebm.networks.energy import Network

EXACT_STEPS = 40  # up to which the identity is checked
EXACT_EPS = (1.0, 0.5, 0.1, 0.01)
FEWER_DIGITS = 10.0  # a second run has so much less noise, and must read the same


@dataclass(frozen=True)
class Settings(ExactSettings):
    """Can gradients be read from spontaneous activity, with no target shown?"""

    example = "--lag 1 8 --time 500 --out results/longer"

    n_samples: int = 1
    """Number of images; the gradient of each is read."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, input side first."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; no unit may rest at a kink."""
    eps: float = 0.1
    """Euler's step, in membrane time constants."""
    lag: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Times after the force would have been switched on, multiples of eps."""
    sigma: float = 0.01
    """Intensity of the noise."""
    chains: int = 256
    """Networks that fluctuate side by side."""
    time: float = 250.0
    """How long each is watched, in membrane time constants."""
    cosine: float = 0.9
    """Cosine with the gradient whose time is asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_eps(self.eps)
        for flag, value in (("--gain", self.gain), ("--lag", self.lag), ("--sigma", self.sigma),
                            ("--time", self.time)):  # fmt: skip
            study.check_positive(flag, value)
        if not 0 < self.cosine < 1:
            raise ValueError(f"--cosine needs 0 < cosine < 1, got {self.cosine}.")
        if self.chains < 8:
            raise ValueError(f"--chains needs 8 or more for its errors, got {self.chains}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import torch

    import ctebm

    one = images_problem(settings, settings.hidden, "hard-sigmoid", settings.gain)
    found, exact, sigma_free = [], [], []
    for i in progress(range(settings.n_samples), "images"):
        net = one.network.clamp({"x": one.x[i]})
        rest = ctebm.settle(net, tol=1e-13)
        force = torch.zeros_like(rest.state)
        force[net.layer("y")] = one.target[i] - rest.state[net.layer("y")]
        gradient = ctebm.chain_gradient(net, rest.state, one.target[i])
        found.append(stacked([
            _read(settings, net, rest.state, force, gradient, lag) for lag in settings.lag
        ]))  # fmt: skip
        exact.append(_identity(net, rest.state, force))
        sigma_free.append(_less_noise(settings, net, rest.state, force))
    depth = list(one.network.depth.values())[1:]
    return _recorded(settings, stacked(found), stacked(exact), stacked(sigma_free), depth)


def _read(
    settings: Settings, net: Network, s: Tensor, force: Tensor, gradient: Tensor, lag: float
) -> dict[str, Any]:
    """Return what fluctuations say at a lag, layer by layer and as time goes on."""
    import torch

    import ctebm
    from ctebm.early_inference.metrics import cosine

    read = ctebm.fluctuation_response(
        net, s, force, eps=settings.eps, lag=lag, sigma=settings.sigma, chains=settings.chains,
        time=settings.time, seed=settings.seed, threads=settings.threads,
    ).raise_for_status()  # fmt: skip
    told = read.agreement(gradient)
    needed = [*read.time_needed(settings.cosine, gradient).values()]
    parts = read.blocks.mean(1)
    number = torch.arange(1, len(parts) + 1).to(parts)
    so_far = parts.cumsum(0) / number.unsqueeze(-1)
    watched = settings.chains * settings.time * number / len(parts)
    rising, expected = [], []
    for where in net.layers.values():
        g, exact = gradient[where], read.exact[where]
        noise = read.predicted_error[where].square().sum() * watched[-1] / watched
        rising.append(cosine(so_far[:, where], g.expand(len(parts), -1)))
        along = -(exact @ g) / g.norm()
        expected.append(along / (exact.square().sum() + noise).sqrt())
    return {
        **{str(name): torch.as_tensor(x.values) for name, x in told.data_vars.items()},
        "z": (read.displacement - read.exact) / read.error,
        "watched": watched,
        "cosine_so_far": torch.stack(rising),
        "expected_so_far": torch.stack(expected),
        "time_needed": torch.as_tensor(needed, dtype=torch.float64),
    }


def _identity(net: Network, s: Tensor, force: Tensor) -> dict[str, Any]:
    """Return the error of N7 from closed-form covariances, and the textbook's first arrival."""
    import torch

    import ctebm
    from ctebm.sampling.fluctuation import response_of_covariances

    linear = ctebm.linearize(net, s)
    eye, worst, textbook = torch.eye(len(s)).to(s), [], s.new_zeros(())
    for eps in EXACT_EPS:
        C, M = linear.covariance(1.0, eps=eps), eye + eps * linear.jacobian
        lagged = [C]
        for _ in range(EXACT_STEPS + 1):
            lagged.append(M @ lagged[-1])
        for n in range(1, EXACT_STEPS + 1):
            four = [lagged[k] for k in (0, 1, n, n + 1)]
            off = response_of_covariances(four, 1.0, force)
            right = linear.response(force, eps=eps, n_steps=n)
            worst.append((off - right).abs().max() / right.abs().max())
        second = 2 * (lagged[0] - lagged[2]) @ force
        h1 = list(net.layers.values())[-2]
        right = linear.response(force, eps=eps, n_steps=2)[h1].abs().max()
        textbook = torch.maximum(textbook, second[h1].abs().max() / right)
    return {"identity_error": torch.stack(worst).max(), "textbook_share": textbook}


def _less_noise(settings: Settings, net: Network, s: Tensor, force: Tensor) -> dict[str, Any]:
    """Return how much a short reading changes when sigma is ten times smaller."""
    import ctebm

    short = {"eps": settings.eps, "lag": settings.lag[0], "chains": 8, "time": 10.0,
             "seed": settings.seed}  # fmt: skip
    strong, weak = (
        ctebm.fluctuation_response(net, s, force, sigma=sigma, **short).displacement
        for sigma in (settings.sigma, settings.sigma / FEWER_DIGITS)
    )
    return {"sigma_dependence": (strong - weak).abs().max() / weak.abs().max()}


def _recorded(
    settings: Settings,
    found: dict[str, Tensor],
    exact: dict[str, Tensor],
    sigma_free: dict[str, Tensor],
    depth: list[int],
) -> xr.Dataset:
    each, layer = ("sample", "lag"), ("sample", "lag", "layer")
    times = ("sample", "lag", "layer", "part")
    names = {
        "cosine": "cosine of minus the reading with the chain gradient",
        "cosine_error": "its standard error",
        "predicted_cosine": "cosine that linear theory predicts",
        "coefficient": "share of the chain gradient that is read",
        "coefficient_error": "its standard error",
        "predicted_coefficient": "share that linear theory predicts",
    }
    data = {name: (layer, found[name], words) for name, words in names.items()}
    data |= {
        "z": ((*each, "unit"), found["z"], "reading minus response, over the standard error"),
        "cosine_so_far": (times, found["cosine_so_far"], "cosine after part of the time"),
        "expected_so_far": (times, found["expected_so_far"], "the same, predicted"),
        "time_needed": (layer, found["time_needed"], "time to the cosine asked for", TAU),
        "identity_error": ("sample", exact["identity_error"], "largest relative error of N7"),
        "textbook_share": (
            "sample", exact["textbook_share"], "textbook's depth 1 at n = 2 over the right one",
        ),
        "sigma_dependence": (
            "sample", sigma_free["sigma_dependence"], "change of a reading with sigma/10",
        ),
    }  # fmt: skip
    coords = {
        "lag": ("lag", list(settings.lag), "time after the force", TAU),
        "depth": ("layer", depth, "hops from the output"),
        "watched": ("part", found["watched"][0, 0], "time watched, all chains", TAU),
    }
    attrs = {"target_cosine": settings.cosine, "eps": settings.eps}
    return labelled(data, attrs, coords)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    one = dataset.isel(sample=0)
    last = one.isel(lag=-1)
    rising, size, needed = [], [], []
    for layer in dataset.depth.values.argsort():
        k = int(dataset.depth[layer])
        label = f"depth {k}"
        part = last.isel(layer=layer)
        rising += [
            Series(part.watched, part.expected_so_far, line=True, colour=k),
            Series(part.watched[::3], part.cosine_so_far[::3], label, colour=k),
        ]
        part = one.isel(layer=layer)
        bar = 2 * part.coefficient_error
        size += [
            Series(part.lag, part.predicted_coefficient, line=True, colour=k),
            Series(part.lag, part.coefficient, label, colour=k,
                   low=part.coefficient - bar, high=part.coefficient + bar),
        ]  # fmt: skip
        reached = _reached(part, dataset.attrs["target_cosine"])
        needed += [
            Series(part.lag, part.time_needed, line=True, colour=k),
            Series(part.lag, reached, label, colour=k),
        ]
    lag, watched = "lag (time constants)", "time watched (time constants)"
    panels = [
        Panel(f"cosine at lag {float(dataset.lag[-1]):g}", watched, "cosine with gradient",
              rising, "x"),
        Panel("share of the gradient", lag, "coefficient", size),
        Panel(f"time to cosine {dataset.attrs['target_cosine']:g}", lag, "time watched", needed,
              "y"),
    ]  # fmt: skip
    return panel_figure(
        panels, question="Can gradients be read from fluctuations, with no target shown?",
        see="Yes, as linear theory (lines) predicts; each layer further down takes longer to read. "
        "Bars in b: two standard errors. c: no point where the first look is enough, or the whole "
        "run is not.",
    )  # fmt: skip


def _reached(part: xr.Dataset, cosine: float) -> list[float]:
    """Return the time after which the cosine stays above a value, NaN if it does not."""
    import numpy as np

    times = []
    for rising in part.cosine_so_far.transpose("lag", "part").values:
        below = np.flatnonzero(rising < cosine)
        first = below[-1] + 1 if len(below) else 0
        times.append(float(part.watched[first]) if first < len(rising) and first else np.nan)
    return times


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = [
        Verdict.at_most("N7 from closed-form covariances, relative error",
                        largest(dataset.identity_error), 1e-12,
                        f"n = 1 to {EXACT_STEPS}, eps = {', '.join(map(str, EXACT_EPS))}"),
        Verdict.at_most("textbook formula at depth 1, n = 2: share of the response",
                        largest(dataset.textbook_share), 1e-9),
        Verdict.at_most("reading - response of every unit / standard error",
                        largest(abs(dataset.z)), 4.5, f"{dataset.z.size} of them"),
        Verdict.at_most("change of a reading with a tenth of sigma, relative",
                        largest(dataset.sigma_dependence), 1e-6),
    ]  # fmt: skip
    for layer in dataset.depth.values.argsort():
        part, k = dataset.isel(layer=layer), int(dataset.depth[layer])
        for name in ("cosine", "coefficient"):
            off = abs(part[name] - part[f"predicted_{name}"]) / part[f"{name}_error"]
            claim = f"depth {k}: {name} - prediction / standard error"
            out.append(Verdict.at_most(claim, largest(off), 4.5, "all lags"))
        for lag in dataset.lag.values:
            needed = float(part.time_needed.sel(lag=lag).mean())
            claim = f"depth {k}: time to cosine {dataset.attrs['target_cosine']:g} at lag {lag:g}"
            out.append(Verdict.reported(claim, needed, "predicted"))
    return out


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
