"""How does the step eps affect the correspondence between early inference and back-propagation?

A layered network settles on handwritten digits, then its output is driven towards the one-hot
target (eq. 12), at every eps. The displacement of each layer is compared with the chain gradient
(eqs. 22-25), the implicit gradient, and the laws of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.image_settings import ImageSettings
from ctebm.study.kinks import at_most_before_kinks, no_crossing
from ctebm.study.problem import problem_of, study_images
from ctebm.study.record import by_depth
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

TOL = {"float64": 1e-12, "float32": 2e-6}  # of the equilibria, a little above rounding


@dataclass(frozen=True)
class Settings(ImageSettings):
    """How does the step eps affect the correspondence of early inference with back-propagation?"""

    example = "--gain 1 --eps 0.5 0.1 0.02 --out results/strong"

    eps: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    """Step sizes, in membrane time constants."""
    n_samples: int = 64
    """Number of images; the first of the data are taken."""
    sizes: tuple[int, ...] = (64, 32, 32, 10)
    """Units of each layer, input first."""
    activation: str = "hard-sigmoid"
    """Rate of a unit: hard-sigmoid[:lower=-0.5], logistic[:gain=4], tanh or
    smooth-hard-sigmoid[:lower=-0.5,width=0.1]."""
    gain: float = 0.25
    """Gain of the random (Glorot) weights; biases are centred on the mean input."""
    t_end: float = 8.0
    """Time to run, in membrane time constants."""
    solver: Literal["euler", "heun", "midpoint", "rk4", "dopri5"] = "euler"
    """Integrator; dopri5 is for smooth activations only."""
    sigma: float = 0.0
    """Intensity of Langevin noise."""
    replicates: int = 16
    """Noisy runs of each image; for --sigma > 0 only."""
    baseline: Literal["undriven", "held", "equilibrium"] = "undriven"
    """What a noisy run is measured from, for --sigma > 0 only: the undriven run on the same noise,
    a run on the same noise whose output is held at its equilibrium, or the equilibrium."""
    save_all: bool = False
    """Keep every step; without this about 48 of each run are kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        study.check_activation(self.activation)
        study.check_eps(self.eps)
        study.check_layers(self.sizes)
        study.check_positive("--gain", self.gain)
        study.check_positive("--t-end", self.t_end)
        study.check_positive("--replicates", self.replicates)
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"--sigma must be >= 0, got {self.sigma}.")
        if self.sigma and self.solver != "euler":
            raise ValueError(f"--solver {self.solver} takes no noise; use euler with --sigma.")
        if not self.sigma:
            reason = "there is no noise; give --sigma too, or leave it out"
            study.refuse_ignored(self, ["replicates", "baseline"], reason)
        if self.solver == "dopri5" and self.activation.startswith("hard-sigmoid"):
            raise ValueError(
                "--solver dopri5 stalls where units chatter around the kinks of a hard sigmoid; "
                "use euler, heun or rk4, or --activation smooth-hard-sigmoid."
            )


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import ctebm
    from ctebm.early_inference.schedule import AFTER_ARRIVAL

    images = study_images(settings)
    one = problem_of(settings, images, settings.sizes, settings.activation, settings.gain)
    if one.network.activation.kinks and settings.solver == "dopri5":
        raise ValueError(
            "dopri5 stalls where units chatter around kinks, which the network of --weights has; "
            "use euler, heun or rk4."
        )
    study.check_t_end(settings.t_end, settings.eps, len(one.hidden) + 1 + AFTER_ARRIVAL)
    record = ctebm.correspondence(
        one.network, one.x, one.target, settings.eps, t_end=settings.t_end,
        method=settings.solver, save_all=settings.save_all, tol=TOL[settings.dtype],
        sigma=settings.sigma, replicates=settings.replicates if settings.sigma else 1,
        baseline=settings.baseline, seed=settings.seed,
        track=lambda eps: progress(eps, "step sizes"),
    )  # fmt: skip
    dataset = record.to_dataset()
    _refuse_hidden(dataset, settings)
    dataset["label"] = ("sample", one.images.label, {"long_name": "class", "units": "1"})
    dataset.attrs |= {"data": one.data, "data_note": f"{one.images.note}; {one.note}"}
    return dataset


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.correspondence import correspondence_figure

    return correspondence_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    kinked, noisy = bool(dataset.kinks), bool(dataset.sigma > 0)
    exact_arrival = kinked and not (noisy and bool(dataset.baseline == "equilibrium"))
    exact_run = kinked and (not noisy or bool(dataset.baseline == "held"))
    pinned = f"{float(dataset.pinned.mean()):.0%} of units pinned"
    tol = TOL[str(dataset.displacement.dtype)]
    force = largest(dataset.residual, dataset.converged)
    verdicts = [Verdict.at_most("equilibrium: largest force", force, tol, pinned)]
    for k, one in by_depth(dataset):
        if dataset.method == "euler":
            verdicts += _arrival(k, one, exact_arrival, exact_run)
            if exact_run and k > 0:
                verdicts.append(_departure(k, one, n_hidden=dataset.sizes["layer"] - 1))
        if exact_run:
            verdicts.append(_linear(k, one))
    verdicts += _continuous_limit(dataset)
    return verdicts + _end(dataset) + _kinks(dataset)


def _arrival(k: int, one: xr.Dataset, exact: bool, exact_after: bool) -> list[Verdict]:
    """P1, P2: ``-eps^(k+1) g`` at step k + 1, the binomial law at k + 2 still."""
    import numpy as np

    clear = no_crossing(one.first_crossing, until=k + 1)
    error = _error(one, k + 1).where(clear)
    note = f"error {float(error.max()):.1e}"
    if one.kinks:
        note += f"; {float(clear.mean()):.0%} of runs not at a kink before"
    claim = f"depth {k}: first arrival -eps^{k + 1} g"
    if not exact and one.kinks:
        return [Verdict.reported(f"{claim}, median error", np.nanmedian(error), note)]
    if not exact and k > 0:
        return [_remainder(claim, one.eps.values, error, one.rounding_floor)]
    out = [_at_rounding(f"{claim}, error / rounding floor", one, k + 1, note)]
    if exact_after or (k == 0 and not one.sigma):
        after = _error(one, k + 2).where(no_crossing(one.first_crossing, until=k + 2))
        claim = f"depth {k}: binomial law at step {k + 2}, error / rounding floor"
        out.append(_at_rounding(claim, one, k + 2, f"error {float(after.max()):.1e}"))
    return out


def _error(one: xr.Dataset, n: int) -> xr.DataArray:
    """Return the distance from ``-a_k(n) g_k`` relative to it; NaN without a gradient."""
    import numpy as np

    at = one.isel(save=n)
    return np.hypot(at.coefficient / at.law_coefficient - 1, at.tangent).transpose("sample", "eps")


def _at_rounding(claim: str, one: xr.Dataset, n: int, note: str) -> Verdict:
    """Hold the law at step n to rounding, where a gradient arrives and no kink came first."""
    clear, arrived = (
        no_crossing(one.first_crossing, until=n),
        one.coefficient.isel(save=n).notnull(),
    )
    ratio = _error(one, n) / one.rounding_floor
    return at_most_before_kinks(claim, ratio, clear, 5, note, where=arrived)


def _remainder(claim: str, eps: np.ndarray, error: xr.DataArray, floor: xr.DataArray) -> Verdict:
    """Smooth rates: the relative remainder of the first arrival is O(eps)."""
    import numpy as np

    middle, hidden = (of.median("sample").values for of in (error, floor))
    if len(eps) < 2:
        return Verdict.reported(f"{claim}, median error", middle.min(), "one eps has no slope")
    claim = f"{claim}, remainder is O(eps): slope"
    seen = np.flatnonzero(middle > 20 * hidden)
    seen = seen[np.argsort(eps[seen])][:3]
    if len(seen) < 2:
        note = f"error {middle.min():.1e}, above rounding at too few step sizes for a slope"
        return Verdict.at_least(claim, np.nan, 0.9, note)
    slope = np.polyfit(np.log(eps[seen]), np.log(middle[seen]), 1)[0]
    note = f"error {middle[seen[0]]:.1e} at eps = {eps[seen[0]]:g}"
    return Verdict.at_least(claim, slope, 0.9, note)


def _linear(k: int, one: xr.Dataset) -> Verdict:
    """P3: until a kink is met the whole motion is the linear response."""
    moved = (one.step > 0) & (one.law_coefficient != 0)
    clear = no_crossing(one.first_crossing, until=one.step) & moved
    arrived = one.coefficient.notnull()
    claim = f"depth {k}: linear response to the first kink, error / rounding floor"
    note = f"error {float(one.linear_error.where(clear & arrived).max()):.1e}"
    ratio = one.linear_error / one.rounding_floor
    return at_most_before_kinks(claim, ratio, clear, 5, note, where=arrived)


def _departure(k: int, one: xr.Dataset, n_hidden: int) -> Verdict:
    """P3: the direction is the chain gradient's until step k + 2; then activity has come back."""
    import numpy as np

    run = one.isel(eps=int(np.argmax(one.eps.values)))
    clear = no_crossing(run.first_crossing, until=run.step)
    off = (abs(run.tangent) > 10 * run.rounding_floor) & (run.step > k) & clear
    step = np.where(off.values.any(-1), run.step.values[off.values.argmax(-1)], -1)
    claim = f"depth {k}: step at which the direction leaves the chain gradient"
    late = no_crossing(run.first_crossing, until=k + 3).values
    if not late.any():
        return Verdict.no_case(claim, "every sample meets a kink before")
    step = step[late & run.tangent.isel(save=k + 1).notnull().values]
    expected = k + 3 if n_hidden > 1 else -1
    note = "" if n_hidden > 1 else "never (-1): nothing comes back through one hidden layer"
    other = [*step[step != expected], *([] if len(step) else [np.nan])]
    return Verdict.equal(claim, other[0] if other else expected, expected, note)


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
    note = f"largest gap {float(abs(gap).max()):.1e} at eps = {dataset.eps.values.max():g}"
    return [Verdict.at_most(claim, float((off / dataset.eps.values[:, None]).max()), 2, note)]


def _end(dataset: xr.Dataset) -> list[Verdict]:
    """What has become of size and direction at the end, at the smallest step."""
    import numpy as np

    silent = "no unit of the layer receives anything back, all are pinned"
    pinned = "no small change passes, the layer or all outputs are pinned"
    run = dataset.isel(eps=int(np.argmin(dataset.eps.values)))
    end = run.isel(save=int(np.flatnonzero(run.step.values >= 0)[-1]))
    out = []
    for k, one in by_depth(end):
        tag = f"depth {k} at t = {float(end.time):g}"
        share = one.coefficient / one.law_coefficient
        out += [
            _median(f"{tag}: coefficient / law", share, silent),
            _median(f"{tag}: cosine with the chain gradient", one.cosine, silent),
            _median(f"{tag}: cosine with the implicit gradient", one.cosine_implicit, pinned),
        ]
    return out


def _median(claim: str, values: xr.DataArray, why: str) -> Verdict:
    """Report the median over samples, and why some have no value."""
    gone = float(values.isnull().mean())
    value = float("nan") if gone == 1 else float(values.median("sample"))
    note = f"undefined in {gone:.0%} of samples: {why}" if gone else ""
    return Verdict.reported(f"{claim}, median", value, note)


def _kinks(dataset: xr.Dataset) -> list[Verdict]:
    """P7: when kinks are met, and what the first arrival has lost by then."""
    import numpy as np

    run = dataset.isel(eps=int(np.argmin(dataset.eps.values)))
    first = run.first_crossing.values
    crossed = ~no_crossing(first)
    if not crossed.any():
        return []
    time = first[crossed] * float(run.eps)
    out = [
        Verdict.reported("samples in which a unit meets or leaves a kink, share", crossed.mean()),
        Verdict.reported("time of the first crossing, where there is one, median", np.median(time)),
    ]
    for k, one in by_depth(dataset):
        late = _error(one, k + 1).where(~no_crossing(one.first_crossing, until=k + 1))
        if bool(late.notnull().any()):
            claim = f"depth {k}: first arrival at or after a crossing, median error"
            out.append(Verdict.reported(claim, np.nanmedian(late)))
    return out


def _refuse_hidden(dataset: xr.Dataset, settings: Settings) -> None:
    """Refuse a request whose first arrival is below the rounding floor."""
    import numpy as np

    if settings.solver == "dopri5":  # nothing arrives at a step
        return
    floor = np.nanmedian(dataset.rounding_floor.values, axis=0)
    if np.nanmax(floor) > 0.1:
        e, layer = np.unravel_index(np.nanargmax(floor), floor.shape)
        remedy = "use --dtype float64, " if settings.dtype == "float32" else "use "
        raise ValueError(
            f"{settings.dtype} can't measure depth {int(dataset.depth[layer])} at eps = "
            f"{float(dataset.eps[e]):g}: rounding alone is {floor[e, layer]:.1e} of the first "
            f"arrival; {remedy}a smaller --gain, a larger --eps or fewer layers."
        )


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
