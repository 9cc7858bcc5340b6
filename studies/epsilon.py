"""How does the step eps affect the correspondence between early inference and back-propagation?

A layered network settles on handwritten digits, then its output is driven towards the one-hot
target (eq. 12), at every eps. The displacement of each layer is compared with the chain gradient
(eqs. 22-25), the implicit gradient, and the laws of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ctebm import study
from ctebm.study.frame import Progress, Verdict
from ctebm.study.problem import ImageSettings, problem_of, reported, study_images

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ctebm.networks.activation import Activation


@dataclass(frozen=True)
class Settings(ImageSettings):
    """How does the step eps affect the correspondence of early inference with back-propagation?"""

    eps: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    """Step sizes, in membrane time constants."""
    n_samples: int = 64
    """Images, the first of the data."""
    sizes: tuple[int, ...] = (64, 32, 32, 10)
    """Units of each layer, input first."""
    activation: str = "hard-sigmoid"
    """hard-sigmoid[:lower=-0.5], logistic[:gain=4], tanh or
    smooth-hard-sigmoid[:lower=-0.5,width=0.1]."""
    t_end: float = 8.0
    """Time to run, in membrane time constants."""
    solver: Literal["euler", "heun", "midpoint", "rk4", "dopri5"] = "euler"
    """Integrator; dopri5 for smooth activations only."""
    sigma: float = 0.0
    """Langevin noise."""
    replicates: int = 16
    """Noisy runs of each image, if there is noise."""
    baseline: Literal["undriven", "held", "equilibrium"] = "undriven"
    """With noise, measure from the undriven run on the same noise, from a run on the same noise
    whose output is held at its equilibrium, or from the equilibrium."""
    save_all: bool = False
    """Keep every step instead of about 48."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_activation(self.activation)
        if not self.eps or not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"--eps needs steps 0 < eps <= 1, got {self.eps}.")
        if len(set(self.eps)) < len(self.eps):
            raise ValueError(f"--eps needs different steps, got {self.eps}.")
        if len(self.sizes) < 3 or min(self.sizes) < 1:
            raise ValueError(f"--sizes needs input, hidden and output layers, got {self.sizes}.")
        if not (0 < self.t_end < float("inf")):
            raise ValueError(f"--t-end needs a time > 0, got {self.t_end}.")
        if self.replicates < 1:
            raise ValueError(f"--replicates needs at least 1, got {self.replicates}.")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"--sigma must be >= 0, got {self.sigma}.")
        if self.sigma and self.solver != "euler":
            raise ValueError(f"--solver {self.solver} takes no noise; use euler with --sigma.")
        if self.solver == "dopri5" and self.activation.startswith("hard-sigmoid"):
            raise ValueError(
                "--solver dopri5 stalls where units chatter around the kinks of a hard sigmoid; "
                "use euler, heun or rk4, or --activation smooth-hard-sigmoid."
            )


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import torch

    import ctebm

    one = problem_of(settings, study_images(settings), settings.sizes, settings.activation)
    _refuse_stalling(one.network.activation, settings.solver)
    record = ctebm.correspondence(
        one.network,
        one.x,
        one.target,
        settings.eps,
        t_end=settings.t_end,
        method=settings.solver,
        save_all=settings.save_all,
        tol=1e-12 if one.network.dtype == torch.float64 else 2e-6,
        sigma=settings.sigma,
        replicates=settings.replicates if settings.sigma else 1,
        baseline=settings.baseline,
        seed=settings.seed,
        track=lambda eps: progress(eps, "step sizes"),
    )
    dataset = record.to_dataset()
    _refuse_hidden(dataset, settings)
    dataset["label"] = ("sample", one.images.label, {"long_name": "class", "units": "1"})
    dataset.attrs |= {"data": one.data, "data_note": f"{one.images.note}; {one.note}"}
    return dataset


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.correspondence import correspondence_figure

    return correspondence_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    kinked, noisy = bool(dataset.kinks), dataset.sigma > 0
    exact_arrival = kinked and not (noisy and dataset.baseline == "equilibrium")
    exact_run = kinked and (not noisy or dataset.baseline == "held")
    pinned = f"{float(dataset.pinned.mean()):.0%} of units pinned"
    tol = 1e-12 if dataset.displacement.dtype == np.float64 else 2e-6
    force = dataset.residual.where(dataset.converged).max()
    verdicts = [Verdict.at_most("equilibrium: largest force", force, tol, pinned)]
    for layer in np.argsort(dataset.depth.values):
        one = dataset.isel(layer=layer)
        if dataset.method == "euler":
            verdicts += _arrival(one, exact_arrival, exact_run)
            if exact_run and one.depth > 0:
                verdicts.append(_departure(one, n_hidden=dataset.sizes["layer"] - 1))
        if exact_run:
            verdicts.append(_linear(one))
    verdicts += _continuous_limit(dataset)
    return verdicts + _end(dataset) + _kinks(dataset)


def _arrival(one: xr.Dataset, exact: bool, exact_after: bool) -> list[Verdict]:
    """P1, P2: ``-eps^(k+1) g`` at step k + 1, the binomial law at k + 2 still."""
    import numpy as np

    k = int(one.depth)
    error, valid = _errors(one, k + 1)
    floor = one.rounding_floor.transpose("sample", "eps").values
    note = f"error {np.nanmax(error, initial=0):.1e}"
    if one.kinks:
        note += f"; {float(valid.mean()):.0%} of runs not at a kink before"
    claim = f"depth {k}: first arrival -eps^{k + 1} g"
    if not exact and one.kinks:
        return [reported(f"{claim}, median error", np.nanmedian(error), note)]
    if not exact and k > 0:
        return [_remainder(claim, one.eps.values, error, floor)]
    after, _ = _errors(one, k + 2)
    out = [Verdict.at_most(f"{claim}, error / rounding floor", _largest(error / floor), 5, note)]
    if exact_after or (k == 0 and not one.sigma):
        claim = f"depth {k}: binomial law at step {k + 2}, error / rounding floor"
        note = f"error {np.nanmax(after, initial=0):.1e}"
        out.append(Verdict.at_most(claim, _largest(after / floor), 5, note))
    return out


def _errors(one: xr.Dataset, n: int):
    """Return distances from ``-a_k(n) g_k`` relative to it, NaN where a kink came first."""
    import numpy as np

    at = one.isel(save=n)
    error = np.hypot(at.coefficient / at.law_coefficient - 1, at.tangent)
    valid = (one.first_crossing < 0) | (one.first_crossing > n)
    return error.where(valid).transpose("sample", "eps").values, valid


def _remainder(claim: str, sizes, error, floor) -> Verdict:
    """Smooth rates: the relative remainder of the first arrival is O(eps)."""
    import numpy as np

    middle, hidden = np.nanmedian(error, 0), np.nanmedian(floor, 0)
    seen = np.flatnonzero(middle > 20 * hidden)
    seen = seen[np.argsort(sizes[seen])][:3]
    if len(seen) < 2:
        return reported(f"{claim}, median error", middle.min(), "too few step sizes for a slope")
    slope = np.polyfit(np.log(sizes[seen]), np.log(middle[seen]), 1)[0]
    note = f"error {middle[seen[0]]:.1e} at eps = {sizes[seen[0]]:g}"
    return Verdict.at_least(f"{claim}, remainder is O(eps): slope", slope, 0.9, note)


def _linear(one: xr.Dataset) -> Verdict:
    """P3: until a kink is met the whole motion is the linear response."""
    before = (one.first_crossing < 0) | (one.step < one.first_crossing)
    error = one.linear_error.where(before & (one.step > 0) & (one.law_coefficient > 0))
    claim = f"depth {int(one.depth)}: linear response to the first kink, error / rounding floor"
    ratio = _largest((error / one.rounding_floor).values)
    return Verdict.at_most(claim, ratio, 5, f"error {_largest(error.values):.1e}")


def _departure(one: xr.Dataset, n_hidden: int) -> Verdict:
    """P3: the direction is the chain gradient's until step k + 2; then activity has come back."""
    import numpy as np

    k = int(one.depth)
    run = one.isel(eps=int(np.argmax(one.eps.values)))
    before = (run.first_crossing < 0) | (run.step < run.first_crossing)
    off = (abs(run.tangent) > 10 * run.rounding_floor) & (run.step > k) & before
    step = np.where(off.values.any(-1), run.step.values[off.values.argmax(-1)], -1)
    step = step[(run.first_crossing.values < 0) | (run.first_crossing.values > k + 3)]
    claim = f"depth {k}: step at which the direction leaves the chain gradient"
    if len(step) == 0:
        return reported(claim, np.nan, "every sample met a kink before")
    expected = k + 3 if n_hidden > 1 else -1
    note = "" if n_hidden > 1 else "never (-1): nothing comes back through one hidden layer"
    found = step[step != expected][:1]
    value = float(found[0]) if len(found) else float(expected)
    return Verdict(claim, value, float(expected), not len(found), note, relation="==")


def _continuous_limit(dataset: xr.Dataset) -> list[Verdict]:
    """P2: Euler's law parts from its continuous limit by -(eps t / 2) a'' to first order."""
    import numpy as np

    from ctebm.early_inference.laws import discretisation_error

    if dataset.method != "euler":
        return []
    gap = dataset.law_coefficient - dataset.continuous_coefficient
    predicted = discretisation_error(
        dataset.depth.values, dataset.time.values[..., None], dataset.eps.values[:, None, None]
    )
    size = np.nanmax(np.abs(predicted), 1)
    off = np.nanmax(np.abs(gap.transpose("eps", "save", "layer").values - predicted), 1) / size
    claim = "binomial law - continuous limit is -(eps t/2) a'' (1 + O(eps)): error / eps"
    worst = float(abs(gap).max())
    note = f"largest gap {worst:.1e} at eps = {dataset.eps.values.max():g}"
    return [Verdict.at_most(claim, float((off / dataset.eps.values[:, None]).max()), 2, note)]


def _end(dataset: xr.Dataset) -> list[Verdict]:
    """What has become of size and direction at the end, at the smallest step."""
    import numpy as np

    run = dataset.isel(eps=int(np.argmin(dataset.eps.values)))
    end = run.isel(save=int(np.flatnonzero(run.step.values >= 0)[-1]))
    out = []
    for layer in np.argsort(dataset.depth.values):
        one = end.isel(layer=layer)
        tag = f"depth {int(one.depth)} at t = {float(end.time):g}"
        share = one.coefficient / one.law_coefficient
        out += [
            _median(f"{tag}: coefficient / law", share, _SILENT),
            _median(f"{tag}: cosine with the chain gradient", one.cosine, _SILENT),
            _median(f"{tag}: cosine with the implicit gradient", one.cosine_implicit, _PINNED),
        ]
    return out


_SILENT = "no unit of the layer receives anything back, all are pinned"
_PINNED = "no small change passes, the layer or all outputs are pinned"


def _median(claim: str, values: xr.DataArray, why: str) -> Verdict:
    """Report the median over samples, and why some have no value."""
    gone = float(values.isnull().mean())
    value = float("nan") if gone == 1 else float(values.median("sample"))
    note = f"undefined in {gone:.0%} of samples: {why}" if gone else ""
    return reported(f"{claim}, median", value, note)


def _kinks(dataset: xr.Dataset) -> list[Verdict]:
    """P7: when kinks are met, and what the first arrival has lost by then."""
    import numpy as np

    run = dataset.isel(eps=int(np.argmin(dataset.eps.values)))
    crossed = run.first_crossing.values > 0
    if not crossed.any():
        return []
    time = run.first_crossing.values[crossed] * float(run.eps)
    out = [
        reported("samples in which a unit meets or leaves a kink, share", crossed.mean()),
        reported("time of the first crossing, where there is one, median", np.median(time)),
    ]
    for layer in np.argsort(dataset.depth.values):
        one = dataset.isel(layer=layer)
        n = int(one.depth) + 1
        at = one.isel(save=n)
        error = np.hypot(at.coefficient / at.law_coefficient - 1, at.tangent)
        late = error.where((one.first_crossing > 0) & (one.first_crossing <= n))
        if bool(late.notnull().any()):
            claim = f"depth {n - 1}: first arrival at or after a crossing, median error"
            out.append(reported(claim, np.nanmedian(late)))
    return out


def _largest(values) -> float:
    import numpy as np

    return float(np.nanmax(values, initial=0.0))


def _refuse_stalling(activation: Activation, solver: str) -> None:
    if activation.kinks and solver == "dopri5":
        raise ValueError(
            "dopri5 stalls where units chatter around kinks, which the network of --weights has; "
            "use euler, heun or rk4."
        )


def _refuse_hidden(dataset: xr.Dataset, settings: Settings) -> None:
    """Refuse a request whose first arrival is below the rounding floor."""
    import numpy as np

    if settings.solver == "dopri5":  # nothing arrives at a step
        return
    floor = np.nanmedian(dataset.rounding_floor.values, axis=0)
    if np.nanmax(floor) > 0.1:
        e, layer = np.unravel_index(np.nanargmax(floor), floor.shape)
        raise ValueError(
            f"{settings.dtype} can't measure depth {int(dataset.depth[layer])} at eps = "
            f"{float(dataset.eps[e]):g}: rounding alone is {floor[e, layer]:.1e} of the first "
            "arrival; use --dtype float64, a larger --eps or fewer layers."
        )


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
